//! Metrics against the golden values, to 1e-9. Cases are whatever the folder holds.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

#[expect(dead_code, reason = "what other crates' golden values need")]
#[path = "../../image/tests/support/mod.rs"]
mod support;

use std::collections::BTreeSet;

use cerb_metrics::classes::{Confusion, average_precision, highest, one_against_rest, roc_auc};
use cerb_metrics::detection::within;
use cerb_metrics::overlap::{Overlaps, objects};
use cerb_metrics::segmentation::{
    Counts, Panoptic, Segmentation, mean, mean_pq, panoptic_by_class,
};
use serde_json::Value;
use support::{Npz, golden_root};

struct Case<'a> {
    name: &'a str,
    expected: &'a Value,
    left: BTreeSet<&'a str>,
}

impl<'a> Case<'a> {
    fn number(&mut self, key: &'a str, found: Option<f64>) {
        self.left.remove(key);
        self.compare(key, &self.expected[key], found);
    }

    fn compare(&self, key: &str, expected: &Value, found: Option<f64>) {
        match (expected.as_f64(), found) {
            (None, None) => assert!(expected.is_null(), "{}: {key}", self.name),
            (Some(a), Some(b)) => {
                assert!((a - b).abs() <= 1e-9, "{}: {key}: {b}, not {a}", self.name)
            }
            (a, b) => panic!("{}: {key}: {b:?}, not {a:?}", self.name),
        }
    }

    /// Compares what is defined to be 0 of nothing and is undefined here.
    fn number_of_something(&mut self, key: &'a str, found: Option<f64>, nothing: bool) {
        assert_eq!(nothing, found.is_none(), "{}: {key}", self.name);
        self.number(key, found.or(Some(0.0)));
    }

    fn counts(&self, key: &str, expected: &Value, found: Counts) {
        let numbers = ["tp", "fp", "fn"].map(|name| expected[name].as_u64().unwrap());
        assert_eq!(
            [found.tp, found.fp, found.r#fn],
            numbers,
            "{}: {key}",
            self.name
        );
    }

    fn panoptic(&self, key: &str, expected: &Value, found: &Panoptic) {
        self.counts(key, expected, found.counts);
        self.compare(key, &expected["dq"], found.dq());
        self.compare(key, &expected["sq"], Some(found.sq()));
        self.compare(key, &expected["pq"], found.pq());
    }

    fn numbers(&mut self, key: &'a str, found: &[Option<f64>]) {
        self.left.remove(key);
        let expected = self.expected[key].as_array().unwrap();
        assert_eq!(expected.len(), found.len(), "{}: {key}", self.name);
        for (expected, found) in expected.iter().zip(found) {
            self.compare(key, expected, *found);
        }
    }
}

#[test]
fn golden_metrics_are_exact() {
    let (root, own) = golden_root();
    let folder = root.join("metrics");
    assert!(folder.is_dir() || !own, "no {}", folder.display());
    if !folder.is_dir() {
        return;
    }
    let text = std::fs::read(folder.join("expected.json")).unwrap();
    let all: Value = serde_json::from_slice(&text).unwrap();
    let npz = Npz::open(&folder.join("inputs.npz"));
    let cases = all.as_object().unwrap();
    assert!(!cases.is_empty());
    for (name, expected) in cases {
        let keys = expected.as_object().unwrap().keys();
        let mut case = Case {
            name,
            expected,
            left: keys.map(String::as_str).collect(),
        };
        match npz.get(&format!("{name}.prob")) {
            Some(_) => check_classes(&npz, &mut case),
            None => check_objects(&npz, &mut case),
        }
        assert!(
            case.left.is_empty(),
            "{name}: nothing was compared with {:?}",
            case.left
        );
    }
    println!("{} metric cases", cases.len());
}

fn check_objects(npz: &Npz, case: &mut Case<'_>) {
    let map = |what: &str| {
        npz.get(&format!("{}.{what}", case.name))
            .map(|array| array.labels())
    };
    let (truth, predicted) = (map("true").unwrap(), map("pred").unwrap());
    let types = map("true_type").zip(map("pred_type"));
    let found = Segmentation::of(&truth, &predicted).unwrap();
    let overlaps = Overlaps::of(&truth, &predicted).unwrap();
    let nothing = overlaps.truth.is_empty() && overlaps.predicted.is_empty();
    case.number("dice", Some(found.dice));
    case.number("aji", found.aji);
    case.number("aji_plus", found.aji_plus);
    case.number_of_something("object_dice", found.object_dice, nothing);
    case.number("object_hausdorff", found.object_hausdorff);
    case.panoptic("pq", &case.expected["pq"], &found.panoptic);
    let glas = &case.expected["object_f1_glas"];
    case.counts("object_f1_glas", glas, found.glas);
    case.compare(
        "object_f1_glas",
        &glas["f1"],
        found.glas.f1().or(nothing.then_some(0.0)),
    );
    let points = |objects: Vec<_>| -> Vec<[f64; 2]> {
        objects
            .iter()
            .map(cerb_metrics::overlap::Object::centroid)
            .collect()
    };
    let (true_points, predicted_points) = (points(objects(&truth)), points(objects(&predicted)));
    for (radius, expected) in case.expected["detection"].as_object().unwrap() {
        let counts = within(&true_points, &predicted_points, radius.parse().unwrap());
        case.counts("detection", expected, counts);
        case.compare("detection", &expected["f1"], counts.f1());
    }
    for key in ["pq", "object_f1_glas", "detection"] {
        case.left.remove(key);
    }
    let Some((true_types, predicted_types)) = types else {
        return;
    };
    let by_class = case.expected["per_class_pq"].as_object().unwrap();
    let classes = by_class.keys().map(|class| class.parse().unwrap());
    let truth = (&truth, &true_types);
    let found = panoptic_by_class(truth, (&predicted, &predicted_types), classes).unwrap();
    for (class, expected) in by_class {
        case.panoptic("per_class_pq", expected, &found[&class.parse().unwrap()]);
    }
    case.left.remove("per_class_pq");
    case.number("mpq", mean_pq(&found));
}

fn check_classes(npz: &Npz, case: &mut Case<'_>) {
    let array = |what: &str| &npz[&format!("{}.{what}", case.name)];
    let truth: Vec<usize> = array("true").values().iter().map(|&v| v as usize).collect();
    let classes = array("prob").shape[1];
    let scores = array("prob").values();
    let scores: Vec<Vec<f64>> = scores.chunks(classes).map(<[f64]>::to_vec).collect();
    let predicted: Vec<usize> = scores.iter().map(|row| highest(row)).collect();
    let confusion = Confusion::of(&truth, &predicted, classes).unwrap();
    let precision = one_against_rest(&truth, &scores, classes, average_precision).unwrap();
    let area = one_against_rest(&truth, &scores, classes, roc_auc).unwrap();
    case.numbers("average_precision", &precision);
    case.number("mAP", mean(precision.into_iter().flatten()));
    case.number("roc_auc_ovr_macro", mean(area.into_iter().flatten()));
    case.number("accuracy", confusion.accuracy());
    case.numbers("per_class_recall", &confusion.recall());
    case.numbers("f1_per_class", &confusion.f1());
    case.number("f1_macro", confusion.macro_f1());
    let rows = serde_json::to_value(&confusion.counts).unwrap();
    assert_eq!(rows, case.expected["confusion_rows_true"], "{}", case.name);
    case.left.remove("confusion_rows_true");
}
