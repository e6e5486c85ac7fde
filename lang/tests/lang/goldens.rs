//! `… ~ golden(root, "path")`: what is held against which file, and what is none.

use cerb_lang::{Claim, Golden, Held};

use crate::catalog::{codes, good};

const HEAD: &str = "root data
root refs = \"refs\"
let slides = slide.scan(data, \"*.svs\")
let wsi = for s in slides {
  let nuclei = instances.nuclei(stain.nuclei(s, tissue.mask(s), at: 0.5 mpp))
  { nuclei, geojson: export.geojson(nuclei) }
}
";

fn golden(claim: &str) -> Golden {
    let plan = good(&format!("{HEAD}{claim}\n"));
    match &plan.expects[0].claim {
        Claim::Golden(golden) => golden.clone(),
        other => panic!("{other:?}"),
    }
}

fn wrong(claim: &str) -> Vec<String> {
    codes(&format!("{HEAD}{claim}\n"))
}

#[test]
fn an_artifact_of_each_item_has_a_file_of_each() {
    let plan = good(&format!(
        "{HEAD}expect wsi.geojson ~ golden(refs, \"n/{{key}}.geojson\") within 1 %\n"
    ));
    let Claim::Golden(golden) = &plan.expects[0].claim else {
        panic!()
    };
    assert_eq!(
        (golden.root.as_str(), golden.path.as_str()),
        ("refs", "n/{key}.geojson")
    );
    let Held::Artifact { node, over, .. } = &golden.of else {
        panic!()
    };
    // The plan holds the node although no output names it.
    assert_eq!(plan.graph[*node].name, "wsi.geojson");
    assert_eq!(*over, Some(0));
    assert!(golden.within.is_some());
}

#[test]
fn numbers_are_columns_of_a_table() {
    let of = |claim: &str| match golden(claim).of {
        Held::Values { columns, over } => {
            let names: Vec<String> = columns.into_iter().map(|(name, _)| name).collect();
            (names.join(","), over)
        }
        Held::Artifact { .. } => panic!(),
    };
    assert_eq!(
        of("expect sum(wsi.nuclei.count) ~ golden(refs, \"n.csv\")"),
        ("value".to_owned(), None)
    );
    assert_eq!(
        of("expect wsi.nuclei.count ~ golden(refs, \"n.csv\") within 1 %"),
        ("value".to_owned(), Some(0))
    );
    assert_eq!(
        of(
            "let all = { slides: count(slides), nuclei: sum(wsi.nuclei.count) }\n\
            expect all ~ golden(refs, \"n.csv\") within 2"
        ),
        ("nuclei,slides".to_owned(), None)
    );
}

#[test]
fn a_golden_is_compared_and_nothing_else() {
    let bad = ["lang::bad_golden"];
    assert_eq!(wrong("let g = golden(refs, \"n.csv\")"), bad);
    assert_eq!(
        wrong("expect golden(refs, \"n.csv\") ~ count(slides) within 1"),
        bad
    );
    assert_eq!(wrong("expect golden(refs, \"n.csv\") == 3"), bad);
}

#[test]
fn its_path_lies_below_its_root_and_fits_what_is_kept() {
    for path in ["", "/n.csv", "../n.csv", "a//b", "n/{item}.csv", "C:/x"] {
        let claim = format!("expect count(slides) ~ golden(refs, \"{path}\")");
        assert_eq!(wrong(&claim), ["lang::bad_golden"], "{path}");
    }
    assert_eq!(
        wrong("expect wsi.geojson ~ golden(refs, \"n.geojson\")"),
        ["lang::bad_golden"]
    );
    assert_eq!(
        wrong("expect count(slides) ~ golden(refs, \"{key}.csv\")"),
        ["lang::bad_golden"]
    );
}

#[test]
fn arguments_and_bounds_have_their_types() {
    assert_eq!(
        wrong("expect count(slides) ~ golden(\"refs\", \"n.csv\")"),
        ["lang::type_mismatch"]
    );
    assert_eq!(
        wrong("expect count(slides) ~ golden(refs, 3)"),
        ["lang::type_mismatch"]
    );
    assert_eq!(
        wrong("expect count(slides) ~ golden(refs)"),
        ["lang::missing_argument"]
    );
    assert_eq!(
        wrong("expect count(slides) ~ golden(refs, \"n.csv\") within 3 px"),
        ["lang::unit_mismatch"]
    );
    // A record that holds an artifact is no row.
    assert_eq!(
        wrong("expect wsi ~ golden(refs, \"n.csv\")"),
        ["lang::type_mismatch"]
    );
}
