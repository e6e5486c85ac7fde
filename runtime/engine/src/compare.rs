//! What differs between two pre-images of keys, field by field, in words and as JSON.

use std::collections::BTreeMap;

use cerb_lang::Type;
use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use crate::{Registry, schema::from_json};

/// Plain fields of a pre-image, and what they are to people.
const FIELDS: [(&str, &str); 4] = [
    ("operator", "its operator"),
    ("revision", "the revision of its operator"),
    ("determinism", "what its operator promises"),
    ("device", "its device"),
];

/// Parts of a program of the pipeline's own, and what they are to people.
const PROGRAM: [(&str, &str); 5] = [
    ("run", "its command line"),
    ("image", "its image"),
    ("inputs", "what its program reads"),
    ("params", "what its program takes"),
    ("outputs", "what its program makes"),
];

/// One field of two pre-images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// What is the matter with it: `its argument `at` changed from 8 mpp to 4 mpp`.
    pub words: String,
    /// The field, and what it was and is; or that it is the same, which is told of inputs.
    pub json: Json,
}

impl Difference {
    /// Returns whether the field is the same in both.
    #[must_use]
    pub fn same(&self) -> bool {
        self.json["same"] == true
    }
}

/// What is known of an argument besides its value.
#[derive(Default)]
pub(crate) struct Written {
    /// Its type, by which its value is written.
    pub ty: Option<Type>,
    /// The line it stands on.
    pub line: Option<usize>,
    /// Where it comes from, as the end of a sentence.
    pub place: String,
}

/// Compares the pre-images of one action in two runs; only what differs is told.
///
/// The registry knows the types of arguments, by which their values are written.
#[must_use]
pub fn differences(registry: &Registry, before: &Json, after: &Json) -> Vec<Difference> {
    let operator = after["operator"].as_str().unwrap_or_default();
    let signature = registry.signatures().find(|one| one.name == operator);
    let written = |name: &str| {
        let param = signature.and_then(|face| face.params.iter().find(|one| one.name == name));
        Written {
            ty: param.map(|param| param.ty.clone()),
            ..Written::default()
        }
    };
    let mut all = compare(before, after, written);
    all.retain(|one| !one.same());
    all
}

/// Compares two pre-images; inputs that are the same are told too, and without `inputs` in the
/// second one none is.
pub(crate) fn compare(
    before: &Json,
    after: &Json,
    written: impl Fn(&str) -> Written,
) -> Vec<Difference> {
    let mut all = Vec::new();
    for (field, words) in FIELDS {
        let (from, to) = (&before[field], &after[field]);
        if from != to {
            all.push(Difference {
                words: format!("{words} changed from {} to {}", plain(from), plain(to)),
                json: json!({ "field": field, "from": from, "to": to }),
            });
        }
    }
    for (part, words) in PROGRAM {
        let (from, to) = (&before["program"][part], &after["program"][part]);
        if from != to {
            all.push(Difference {
                words: format!("{words} changed"),
                json: json!({ "field": format!("program.{part}"), "from": from, "to": to }),
            });
        }
    }
    for (name, (from, to)) in pair(&before["args"], &after["args"]) {
        if from != to {
            all.push(argument(name, from, to, &written(name)));
        }
    }
    if after["inputs"].is_object() {
        for (port, (from, to)) in pair(&before["inputs"], &after["inputs"]) {
            all.push(input(port, from, to));
        }
    }
    all
}

/// Joins two objects by name; what is no object has no names.
fn pair<'a>(
    from: &'a Json,
    to: &'a Json,
) -> BTreeMap<&'a str, (Option<&'a Json>, Option<&'a Json>)> {
    let names = |json: &'a Json| json.as_object().into_iter().flat_map(Map::keys);
    names(from)
        .chain(names(to))
        .map(|name| (name.as_str(), (from.get(name), to.get(name))))
        .collect()
}

fn argument(name: &str, from: Option<&Json>, to: Option<&Json>, written: &Written) -> Difference {
    let write = |json: Option<&Json>| match (json, &written.ty) {
        (None, _) => "nothing".to_owned(),
        (Some(json), Some(ty)) => {
            from_json(json, ty).map_or_else(|| plain(json), |value| value.to_string())
        }
        (Some(json), None) => plain(json),
    };
    Difference {
        words: format!(
            "its argument `{name}` changed from {} to {}{}",
            write(from),
            write(to),
            written.place
        ),
        json: json!({ "field": format!("args.{name}"), "from": from, "to": to, "line": written.line }),
    }
}

fn input(port: &str, from: Option<&Json>, to: Option<&Json>) -> Difference {
    let field = format!("inputs.{port}");
    if from == to {
        return Difference {
            words: format!("its input `{port}` is the same"),
            json: json!({ "field": field, "same": true }),
        };
    }
    let words = match (from, to) {
        (Some(from), Some(to)) if from.is_object() && to.is_object() => {
            let mut parts = Vec::new();
            let told = |verb: &str, keys: Vec<&str>| match keys.as_slice() {
                [] => None,
                [one] => Some(format!("{verb} `{one}`")),
                [first, ..] => Some(format!("{verb} {} items, such as `{first}`", keys.len())),
            };
            let keys = |wanted: fn(Option<&Json>, Option<&Json>) -> bool| {
                pair(from, to)
                    .into_iter()
                    .filter(|(_, (from, to))| wanted(*from, *to))
                    .map(|(key, _)| key)
                    .collect::<Vec<_>>()
            };
            parts.extend(told("gained", keys(|from, _| from.is_none())));
            parts.extend(told("lost", keys(|_, to| to.is_none())));
            parts.extend(told(
                "changed at",
                keys(|from, to| from.is_some() && to.is_some() && from != to),
            ));
            format!("its input `{port}` {}", parts.join(", "))
        }
        (None, _) => format!("its input `{port}` is new"),
        (_, None) => format!("its input `{port}` is gone"),
        _ => format!("its input `{port}` changed"),
    };
    Difference {
        words,
        json: json!({ "field": field, "from": from, "to": to }),
    }
}

/// Writes a value without knowing its type.
fn plain(json: &Json) -> String {
    match json {
        Json::String(text) => format!("`{text}`"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(before: &Json, after: &Json) -> Vec<String> {
        let all = differences(&Registry::new(), before, after);
        all.into_iter().map(|one| one.words).collect()
    }

    #[test]
    fn what_differs_is_told_field_by_field_and_nothing_else() {
        let before = json!({
            "operator": "a.b", "revision": 1, "determinism": "exact",
            "args": { "at": 8, "same": 1, "old": 2 },
            "inputs": { "mask": "aa", "slides": { "x": "1", "y": "2" } },
        });
        assert!(words(&before, &before).is_empty());
        let after = json!({
            "operator": "a.b", "revision": 2, "determinism": "exact",
            "args": { "at": 4, "same": 1 },
            "inputs": { "mask": "bb", "slides": { "x": "1", "z": "2" } },
        });
        assert_eq!(
            words(&before, &after),
            [
                "the revision of its operator changed from 1 to 2",
                "its argument `at` changed from 8 to 4",
                "its argument `old` changed from 2 to nothing",
                "its input `mask` changed",
                "its input `slides` gained `z`, lost `y`",
            ]
        );
    }

    #[test]
    fn a_program_is_compared_by_its_parts() {
        let before = json!({ "operator": "p", "program": { "run": ["a"], "image": null } });
        let after = json!({ "operator": "p", "program": { "run": ["b"], "image": null } });
        assert_eq!(words(&before, &after), ["its command line changed"]);
    }
}
