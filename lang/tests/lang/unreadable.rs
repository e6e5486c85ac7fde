//! Items that are there and cannot be read: they fail alone, and nobody forgets them.

use cerb_lang::Plan;

use crate::catalog::{codes, good, plan};

/// Slides of which the last of three cannot be read.
const HEAD: &str = "root data\nlet slides = slide.scan(data, \"damaged/*\")\n";
const WSI: &str = "let wsi = for s in slides {
  export.geojson(instances.nuclei(stain.nuclei(s, tissue.mask(s), at: 0.5 mpp)))
}\noutput \"{key}\" = wsi\n";

fn warned(plan: &Plan) -> Vec<&str> {
    plan.warnings.iter().map(|found| &*found.title).collect()
}

/// Keys of what can and of what cannot be read.
fn keys(plan: &Plan, cohort: &str) -> (String, String) {
    let cohort = plan.cohorts.iter().find(|one| one.name == cohort).unwrap();
    let good = cohort.items.iter().map(|item| item.key.as_str());
    let bad = cohort.unreadable.iter().map(|one| one.key.as_str());
    (good.collect(), bad.collect())
}

#[test]
fn one_of_three_is_a_warning_and_the_others_are_planned() {
    let plan = good(&format!("{HEAD}{WSI}"));
    assert_eq!(keys(&plan, "slides"), ("ab".into(), "c".into()));
    assert_eq!(warned(&plan), ["1 of 3 files cannot be read as slides"]);
    let why = &plan.cohorts[0].unreadable[0];
    assert_eq!(
        (why.path.as_str(), why.why.as_str()),
        ("data/c.svs", "it is cut off")
    );
}

#[test]
fn nothing_that_can_be_read_is_a_mistake() {
    let text = format!("{HEAD}{WSI}").replace("damaged", "ruined");
    assert_eq!(codes(&text), ["slide::unreadable"]);
}

#[test]
fn what_is_counted_can_be_read() {
    let plan = good(&format!("{HEAD}{WSI}expect count(slides) == 3\n"));
    assert!(
        warned(&plan).contains(&"`count(slides) == 3` does not hold"),
        "{:?}",
        warned(&plan)
    );
    let plan = good(&format!("{HEAD}{WSI}expect count(slides) == 2\n"));
    assert_eq!(plan.warnings.len(), 1);
}

#[test]
fn no_condition_forgets_what_cannot_be_read() {
    let text = format!("{HEAD}{WSI}").replace("in slides {", "in slides where s.mpp > 1 mpp {");
    assert_eq!(keys(&good(&text), "wsi"), (String::new(), "c".into()));
}

#[test]
fn a_join_has_what_can_be_read_on_both_sides() {
    let other = "let others = slide.scan(data, \"*.svs\")\n";
    let wsi = WSI.replace("s in slides", "s in slides, o in others");
    let plan = good(&format!("{HEAD}{other}{wsi}"));
    assert_eq!(keys(&plan, "wsi"), ("ab".into(), "c".into()));
    let wsi = WSI.replace("s in slides", "o in others, s in slides");
    let wsi = wsi.replace("stain.nuclei(s", "stain.nuclei(o");
    let plan = good(&format!("{HEAD}{other}{wsi}"));
    assert_eq!(keys(&plan, "wsi"), ("ab".into(), "c".into()));
    // Both lack the same: they stay one collection.
    let same = "let others = slide.scan(data, \"damaged/*\", mpp: 0.5 mpp)\n";
    let plan = good(&format!("{HEAD}{same}{wsi}"));
    assert_eq!(plan.cohorts.len(), 1);
    assert_eq!(plan.cohorts[0].unreadable.len(), 1);
}

#[test]
fn the_only_one_is_never_what_is_left_by_chance() {
    let text =
        format!("{HEAD}let one = only(slides)\noutput \"m\" = export.mask(tissue.mask(one))\n");
    let found = plan(&text).unwrap_err();
    assert_eq!(
        found.items[0].title,
        "`only` takes one item, and 1 of 3 cannot be read"
    );
}
