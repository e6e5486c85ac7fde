//! Names, shapes and order of the state dict, and the weight formula.

use std::fs;

use cerb_model::{Backbone, Head, Role, Values, Weights, layout};
use serde_json::Value;

use crate::files::{cases, json, stem};

#[test]
fn golden_state_dict_keys_have_our_names_shapes_and_order() {
    for path in cases("model", |name| name.starts_with("state_dict_keys_")) {
        let backbone: Backbone = stem(&path).split('_').nth(3).unwrap().parse().unwrap();
        let slots = layout(backbone, &Head::published());
        // serde_json sorts the keys of an object, so their order is read off the text.
        let text = fs::read_to_string(&path).unwrap();
        let expected = json(&path);
        let keys = expected["keys"].as_object().unwrap();
        assert_eq!(keys.len(), slots.len(), "{path:?}");
        let mut last = 0;
        for slot in &slots {
            let place = text
                .find(&format!("\"{}\":", slot.name))
                .unwrap_or_else(|| panic!("{} in {path:?}", slot.name));
            assert!(place > last, "{} is out of order", slot.name);
            last = place;
            let key = &keys[&slot.name];
            assert_eq!(key["shape"], serde_json::json!(slot.shape), "{}", slot.name);
            assert_eq!(
                key["dtype"],
                if slot.role == Role::Count {
                    "int64"
                } else {
                    "float32"
                },
                "{}",
                slot.name
            );
        }
    }
}

#[test]
fn golden_weight_formula_gives_the_published_values() {
    for path in cases("model", |name| name.starts_with("weights_formula_tests")) {
        let expected = json(&path);
        let weights = Weights::formula(Backbone::Resnet34, &Head::published());
        let tests = expected["tests"].as_array().unwrap();
        assert!(!tests.is_empty());
        for test in tests {
            let name = test["key"].as_str().unwrap();
            let tensor = weights.tensor(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(serde_json::json!(tensor.shape), test["shape"], "{name}");
            let Values::Float(values) = &tensor.values else {
                continue;
            };
            let first: Vec<f64> = values.iter().take(4).map(|&value| value.into()).collect();
            let wanted: Vec<f64> = test["first4"]
                .as_array()
                .unwrap()
                .iter()
                .map(|value| value.as_f64().unwrap())
                .collect();
            assert_eq!(first, wanted, "{name}");
            assert_eq!(
                f64::from(*values.last().unwrap()),
                test["last"].as_f64().unwrap(),
                "{name}"
            );
            close(
                values.iter().map(|&value| f64::from(value)).sum(),
                &test["sum_f64"],
                1e-9,
                name,
            );
            close(
                values.iter().map(|&value| f64::from(value.abs())).sum(),
                &test["abs_sum_f64"],
                1e-9,
                name,
            );
        }
        let floats = || {
            weights
                .tensors()
                .filter_map(|(_, tensor)| tensor.floats())
                .flatten()
                .map(|&value| f64::from(value))
        };
        close(
            floats().sum(),
            &expected["whole_model_sum_f64"],
            1e-6,
            "sum",
        );
        close(
            floats().map(f64::abs).sum(),
            &expected["whole_model_abs_sum_f64"],
            1e-6,
            "absolute sum",
        );
    }
}

fn close(found: f64, expected: &Value, tolerance: f64, what: &str) {
    let expected = expected.as_f64().unwrap();
    assert!(
        (found - expected).abs() <= tolerance * expected.abs().max(1.0),
        "{what}: {found} instead of {expected}"
    );
}
