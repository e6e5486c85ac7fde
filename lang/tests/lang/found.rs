//! What the fuzzer found, each as the smallest text that showed it.

use cerb_lang::{Catalog, to_text, to_yaml};

use crate::catalog::{Toy, codes, files, plan_named};

fn text(yaml: &str) -> Result<String, Vec<String>> {
    let toy = Toy::new();
    to_text(yaml, "a.cerb.yaml", &|op| toy.signature(op))
        .map_err(|found| found.items.into_iter().map(|d| d.code).collect())
}

#[test]
fn a_module_whose_file_is_no_name_has_no_other_form_either() {
    for path in ["x##.cerb", "for.cerb", "##", ""] {
        let written = format!("use \"{path}\"");
        assert_eq!(codes(&written)[0], "lang::unknown_name", "{path}");
        let found = to_yaml(&written, "a.cerb").unwrap_err();
        assert_eq!(found.items[0].code, "lang::unknown_name", "{path}");
    }
}

#[test]
fn a_key_of_yaml_is_a_name_and_nothing_beside_it() {
    for yaml in [
        "use: {x##: x.cerb}",
        "let: {\"a # b\": 1}",
        "let: {\" a\": 1}",
        "let: {\"a\\n\": 1}",
        "secret: [\"a#\"]",
    ] {
        let found = plan_named(yaml, "a.cerb.yaml", &[], &files(&[])).unwrap_err();
        assert_eq!(found.items[0].code, "lang::yaml_shape", "{yaml}");
        assert_eq!(text(yaml).unwrap_err()[0], "lang::yaml_shape", "{yaml}");
    }
}

#[test]
fn a_command_that_is_computed_has_no_form_in_yaml_where_it_would_be_taken_literally() {
    for (line, code) in [
        ("image !\"x\"", "lang::type_mismatch"),
        ("run a", "lang::type_mismatch"),
        ("run [\"x\", a]", "lang::type_mismatch"),
        ("takes 1", "lang::unknown_field"),
        ("n \"$x\"", "lang::unknown_field"),
    ] {
        let written = format!("op x(a: Slide) -> File {{ {line} }}\n");
        let found = to_yaml(&written, "a.cerb").unwrap_err();
        assert_eq!(found.items[0].code, code, "{line}");
        assert!(codes(&written).contains(&code.to_owned()), "{line}");
    }
}

#[test]
fn empty_lines_at_the_end_of_a_doc_say_nothing_in_both_forms() {
    for written in ["## a\n##\n", "## a\n##  \n##\nlet x = 1\n"] {
        let yaml = to_yaml(written, "a.cerb").unwrap();
        let back = text(&yaml).unwrap();
        assert_eq!(to_yaml(&back, "a.cerb").unwrap(), yaml);
        assert!(back.starts_with("## a\n"), "{back}");
    }
}
