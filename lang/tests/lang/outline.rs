//! What a file declares is found without planning it, and in spite of its mistakes.

use cerb_lang::outline;

#[test]
fn an_outline_lists_what_a_file_declares() {
    let text = "## Nuclei.\ncerb 1\nroot data = \"slides\"\nroot refs\nsecret token\nuse \"lib/steps.cerb\" as s\n\
                param n: Int = 599 in 1..=599   # -p n=3 for a quick look\n## Where to work.\nparam at: Mpp\n\
                test \"one slide\" {\n  let n = 1\n}\n";
    let found = outline(text, "a.cerb");
    assert_eq!(found.doc, "Nuclei.");
    assert_eq!(found.roots["data"].as_deref(), Some("slides"));
    assert_eq!(found.roots["refs"], None);
    assert_eq!(found.secrets, ["token"]);
    assert_eq!(found.uses, ["lib/steps.cerb"]);
    assert_eq!(found.tests, ["one slide"]);
    let [n, at] = found.params.as_slice() else {
        panic!("two parameters")
    };
    assert_eq!((n.ty.as_str(), n.default.as_deref()), ("Int", Some("599")));
    assert_eq!(n.range.as_deref(), Some("1..=599"));
    assert_eq!(n.doc, "-p n=3 for a quick look");
    assert_eq!(
        (at.default.as_deref(), at.doc.as_str()),
        (None, "Where to work.")
    );
}

#[test]
fn a_mistake_hides_only_the_item_it_is_in() {
    let found = outline(
        "root data\nlet a = (\nroot = 1\nroot refs = \"r\"\nlet",
        "a.cerb",
    );
    assert_eq!(found.roots.keys().collect::<Vec<_>>(), ["data", "refs"]);
}
