//! Where everything is bound and read, as an editor asks for it.

use cerb_lang::{Analysis, Definition, DefinitionKind, FileId, PlanOptions, analyse, glimpse};

use crate::catalog::{Files, Toy, files};
use crate::plans::QUICKSTART;

fn look(text: &str, other: &Files) -> Analysis {
    analyse(text, "p.cerb", &PlanOptions::default(), &Toy::new(), other)
}

/// The definition at the last place where `mark` stands.
fn at<'a>(found: &'a Analysis, text: &str, mark: &str) -> &'a Definition {
    let place = u32::try_from(text.rfind(mark).unwrap()).unwrap();
    let (definition, _) = found.index.definition_at(FileId(0), place).unwrap();
    &found.index.definitions[definition]
}

#[test]
fn a_sound_pipeline_has_a_plan_and_no_mistakes() {
    let found = look(QUICKSTART, &files(&[]));
    assert!(found.diagnostics.items.is_empty());
    assert_eq!(found.plan.unwrap().outputs.len(), 4);
}

#[test]
fn names_lead_to_where_they_are_bound() {
    let found = look(QUICKSTART, &files(&[]));
    let param = at(&found, QUICKSTART, "at)");
    assert_eq!(param.kind, DefinitionKind::Param);
    assert_eq!(param.head, "param at: Mpp = 0.5 mpp");
    let variable = at(&found, QUICKSTART, "s, mask, nuclei)");
    assert_eq!(variable.kind, DefinitionKind::Variable);
    assert_eq!(variable.ty.as_ref().unwrap().to_string(), "Slide");
    // A field of a collection leads to the record that the `for` gives.
    let field = at(&found, QUICKSTART, "geojson\noutput");
    assert_eq!(field.kind, DefinitionKind::Field);
    let record = QUICKSTART.find("geojson: export").unwrap();
    assert_eq!(field.span.start as usize, record);
}

#[test]
fn of_a_collection_is_told_what_holds_for_all() {
    let facts = |pattern: &str| {
        let text = format!("cerb 1\nroot data\nlet slides = slide.scan(data, \"{pattern}\")\n");
        let found = look(&text, &files(&[]));
        let facts = &at(&found, &text, "slides =").facts;
        facts.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(facts("*"), ["mpp"]);
    assert_eq!(facts("scales/*"), [""; 0]);
}

#[test]
fn bindings_have_types_and_facts_with_the_line_that_decided_them() {
    let text = QUICKSTART.replace(
        "  let maps ",
        "  let grid = patch.grid(s, mask, input: 448 px, output: 144 px, at: at)\n  let maps ",
    );
    let found = look(&text, &files(&[]));
    let grid = at(&found, &text, "grid =");
    assert_eq!(grid.ty.as_ref().unwrap().to_string(), "PatchGrid");
    let place = found
        .index
        .definitions
        .iter()
        .position(|d| d == grid)
        .unwrap();
    let facts = found.index.facts_of(place, &found.sources);
    assert_eq!(facts, ["mpp: 0.5 mpp — decided on line 8"]);
    let wsi = at(&found, &text, "wsi =");
    assert!(
        wsi.ty
            .as_ref()
            .unwrap()
            .to_string()
            .starts_with("Map<Key, {geojson: File")
    );
}

#[test]
fn a_name_that_stands_alone_in_a_record_is_marked() {
    let found = look(QUICKSTART, &files(&[]));
    let place = u32::try_from(QUICKSTART.find("{ nuclei,").unwrap() + 2).unwrap();
    let read = found
        .index
        .reads
        .iter()
        .find(|r| r.span.start == place)
        .unwrap();
    assert!(read.shorthand);
    assert_eq!(found.index.reads_of(read.definition).count(), 4);
}

#[test]
fn a_broken_file_still_has_names_and_only_the_mistakes_of_its_text() {
    let text = "let a = 4 px\nlet b = nope(\nlet c = a + b\n";
    let found = look(text, &files(&[]));
    let codes: Vec<_> = found
        .diagnostics
        .items
        .iter()
        .map(|d| d.code.as_str())
        .collect();
    assert_eq!(codes, ["lang::unclosed"]);
    assert!(found.plan.is_none() && !found.parsed);
    assert_eq!(at(&found, text, "a + b").name, "a");
    assert_eq!(
        at(&found, text, "a + b").ty.as_ref().unwrap().to_string(),
        "Px"
    );
}

#[test]
fn calls_know_who_takes_each_argument() {
    let text = "def f(a: Px, b: Px = 2 px) -> Px { a + b }\nlet x = f(1 px, b: 3 px)\n";
    let found = look(text, &files(&[]));
    let call = &found.index.calls[0];
    let takers: Vec<_> = call.args.iter().map(|a| a.taker.as_deref()).collect();
    assert_eq!(takers, [Some("a"), Some("b")]);
    let def = &found.index.definitions[call.definition.unwrap()];
    assert_eq!(def.head, "def f(a: Px, b: Px = 2 px) -> Px");
    assert_eq!(def.parts.len(), 2);
}

#[test]
fn names_of_used_files_lead_into_them() {
    let other = files(&[(
        "lib/a.cerb",
        "cerb 1\n## Twice as much.\ndef twice(a: Px) -> Px { a + a }\n",
    )]);
    let text = "use \"lib/a.cerb\" as lib\nlet x = lib.twice(1 px)\n";
    let found = look(text, &other);
    let def = at(&found, text, "twice(1");
    assert_eq!(def.span.file, FileId(1));
    assert_eq!(def.doc, "Twice as much.");
    assert_eq!(at(&found, text, "lib.twice").kind, DefinitionKind::Module);
}

#[test]
fn an_inner_name_hides_the_outer_one_in_its_scope() {
    let text = "let a = 1 px\ndef f(a: Px) -> Px { a }\nlet b = f(a)\n";
    let found = look(text, &files(&[]));
    assert_eq!(at(&found, text, "a }").kind, DefinitionKind::Port);
    assert_eq!(at(&found, text, "a)").kind, DefinitionKind::Let);
    let inside = u32::try_from(text.find("a }").unwrap()).unwrap();
    let scope = found.index.scope_at(FileId(0), inside).unwrap();
    let visible = found.index.visible(scope);
    assert_eq!(
        found.index.definitions[visible["a"]].kind,
        DefinitionKind::Port
    );
    assert!(visible.contains_key("b"));
}

#[test]
fn names_that_are_bound_nowhere_are_known() {
    let found = look("let a = nope + 1\n", &files(&[]));
    assert_eq!(found.index.unknown.len(), 1);
}

#[test]
fn the_bindings_and_mistakes_of_a_test_are_known() {
    let text = "let a = 1 px\nlet b = a + 1 px\nexpect b == 2 px\ntest \"t\" {\n  let a = 2 px + 1 px\n  expect b == nope\n}\n";
    let found = look(text, &files(&[]));
    let codes: Vec<_> = found
        .diagnostics
        .items
        .iter()
        .map(|d| d.code.as_str())
        .collect();
    assert!(codes.contains(&"lang::unknown_name"), "{codes:?}");
    let inner = at(&found, text, "a = 2 px");
    assert_eq!(inner.value.as_ref().unwrap().to_string(), "3 px");
    assert_eq!(at(&found, text, "b == nope").kind, DefinitionKind::Let);
}

#[test]
fn a_glimpse_says_of_its_place_what_a_whole_look_says() {
    let text = format!(
        "{QUICKSTART}let half = at * 2\nlet many = [1 px, 2 px]\nlet lost = nothing + 1\n\
         def twice(a: Px) -> Px {{ a + a }}\nlet two = twice(3 px)\n\
         test \"small\" {{ let half = 3 mpp\n expect half < 4 mpp }}\n"
    );
    let whole = look(&text, &files(&[]));
    let options = PlanOptions::default();
    for at in 0..=u32::try_from(text.len()).unwrap() {
        let (toy, none) = (Toy::new(), files(&[]));
        let part = glimpse(&text, "p.cerb", &options, &toy, &none, at);
        let here = |found: &Analysis| {
            let index = &found.index;
            let definition = index.definition_at(FileId(0), at);
            (
                definition.map(|(place, span)| (index.definitions[place].clone(), span)),
                definition.map(|(place, _)| index.facts_of(place, &found.sources)),
                index
                    .call_at(FileId(0), at)
                    .map(|call| (call.callee.clone(), call.args.clone())),
                index.argument_at(FileId(0), at).map(|(_, arg)| arg.clone()),
                index.field_at(FileId(0), at).cloned(),
                index.attribute_at(FileId(0), at),
            )
        };
        let (mut part, mut whole) = (here(&part), here(&whole));
        // Places in a list that is shorter.
        for found in [&mut part, &mut whole] {
            found
                .0
                .iter_mut()
                .for_each(|(definition, _)| definition.parts.clear());
        }
        assert_eq!(part, whole, "at {at}: {:?}", text.get(at as usize..));
    }
}
