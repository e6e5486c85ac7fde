//! A JSON Schema of the YAML form, from the operators: editors complete and check pipelines by it.

use serde_json::{Map, Value, json};

use crate::syntax::RESERVED;
use crate::types::UNITS;
use crate::{Param, Port, Signature, Type, Unit};

/// A word of the language.
const WORD: &str = "[A-Za-z_][A-Za-z0-9_]*";

/// Returns the JSON Schema (2020-12) of a pipeline in YAML that calls these operators.
#[must_use]
pub fn schema<'s>(signatures: impl IntoIterator<Item = &'s Signature>) -> Value {
    let mut signatures: Vec<&Signature> = signatures.into_iter().collect();
    signatures.sort_by(|a, b| a.name.cmp(&b.name));
    let mut defs = forms();
    for signature in &signatures {
        defs.insert(signature.name.clone(), call(signature));
    }
    defs.insert("mapping".into(), mapping(&signatures));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A cerb pipeline in YAML",
        "type": "object",
        "properties": items(true),
        "additionalProperties": false,
        "$defs": defs,
    })
}

/// The keys of a pipeline, or of a `test`.
fn items(whole: bool) -> Value {
    let names = |what: Value, doc: &str| {
        json!({
            "description": doc,
            "type": "object",
            "propertyNames": refer("name"),
            "additionalProperties": what,
        })
    };
    let with_doc = |key: &str, doc: &str| {
        let parts = json!({
            "type": "object",
            "properties": {key: {"type": ["string", "null"]}, "doc": refer("doc")},
            "additionalProperties": false,
        });
        names(json!({"anyOf": [{"type": ["string", "null"]}, parts]}), doc)
    };
    let mut all = json!({
        "cerb": {"description": "Version of the language.", "const": 1},
        "doc": refer("doc"),
        "use": with_doc("path", "Other files, by the name they have here."),
        "root": with_doc("default", "Folders that are bound per machine, with their defaults."),
        "secret": {
            "description": "Secrets that are bound where the pipeline runs.",
            "anyOf": [
                {"type": "array", "items": refer("name")},
                with_doc("doc", "Secrets, with what they are for."),
            ],
        },
        "param": names(refer("param"), "What can be set when the pipeline is run."),
        "op": {
            "description": "External programs.",
            "type": "object",
            "propertyNames": {"pattern": format!(r"^{WORD}(\.{WORD})*$")},
            "additionalProperties": refer("op"),
        },
        "def": names(refer("def"), "Steps under a name, put in place where they are called."),
        "let": refer("let"),
        "expect": {
            "description": "What must hold of the results.",
            "type": "array",
            "items": refer("claim"),
        },
        "output": {
            "description": "What is written where; `{key}` stands for the key of an item.",
            "type": "object",
            "additionalProperties": refer("value"),
        },
    });
    if let (true, Value::Object(all)) = (whole, &mut all) {
        let test = json!({
            "description": "Runs of the pipeline with some of its names bound otherwise.",
            "type": "object",
            "additionalProperties": refer("test"),
        });
        all.insert("test".into(), test);
    }
    all
}

fn refer(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

/// An object with these keys and no others.
fn object(properties: Value, required: &[&str]) -> Value {
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// What does not depend on the operators.
fn forms() -> Map<String, Value> {
    let reserved = RESERVED.join("|");
    let path = format!(r"{WORD}(\.{WORD})*");
    let takes = json!({
        "type": ["object", "null"],
        "propertyNames": refer("name"),
        "additionalProperties": {"anyOf": [
            refer("type"),
            object(json!({"type": refer("type"), "default": refer("value")}), &["type"]),
        ]},
    });
    let command = json!({"anyOf": [
        {"type": "string"},
        {"type": "array", "items": {"type": ["string", "number", "boolean"]}},
    ]});
    let whole =
        |least: u32, most: u32| json!({"type": "integer", "minimum": least, "maximum": most});
    let for_keys = json!({
        "for": {
            "type": "object",
            "minProperties": 1,
            "propertyNames": refer("name"),
            "additionalProperties": refer("value"),
        },
        "where": refer("value"),
        "let": refer("let"),
        "result": refer("value"),
        "@": refer("for-attributes"),
    });
    let branch = json!({
        "if": {"type": "object", "required": ["result"], "properties": {"let": {}, "result": {}}, "additionalProperties": false},
        "then": object(json!({"let": refer("let"), "result": refer("value")}), &["result"]),
        "else": refer("value"),
    });
    let def = json!({
        "doc": refer("doc"),
        "takes": takes.clone(),
        "gives": refer("type"),
        "let": refer("let"),
        "result": refer("value"),
    });
    let op = json!({
        "doc": refer("doc"),
        "takes": takes,
        "gives": refer("type"),
        "run": command,
        "image": {"type": "string"},
        "revision": {"type": "integer", "minimum": 0},
    });
    let param = object(
        json!({"type": refer("type"), "default": refer("value"), "in": refer("value"), "doc": refer("doc")}),
        &["type"],
    );
    let claim = json!({
        "if": {"type": "object", "required": ["that"]},
        "then": object(
            json!({"that": refer("value"), "within": refer("value"), "else": {"type": "string"}, "doc": refer("doc")}),
            &["that"],
        ),
        "else": refer("value"),
    });
    let value = json!({
        "if": {"type": "object"},
        "then": refer("mapping"),
        "else": {
            "if": {"type": "array"},
            "then": {"items": refer("value")},
            "else": {"if": {"type": "string", "pattern": r"^\$"}, "then": refer("reference"), "else": {"type": ["string", "number", "boolean", "null"]}},
        },
    });
    let own = json!({
        "description": "A call of a `def`, an `op` or a module of the pipeline.",
        "type": "object",
        "properties": {"@": refer("call-attributes")},
        "patternProperties": {
            format!(r"^{path}\(\)$"): {
                "if": {"type": "array"},
                "then": {"items": refer("value")},
                "else": {"anyOf": [{"type": "null"}, refer("value")]},
            },
            format!("^{WORD}$"): refer("value"),
        },
        "additionalProperties": false,
    });
    let record = json!({
        "type": "object",
        "minProperties": 1,
        "patternProperties": {format!("^{WORD}$"): refer("value")},
        "additionalProperties": false,
    });
    let all = json!({
        "name": {"type": "string", "pattern": format!("^(?!({reserved})$){WORD}$")},
        "doc": {"description": "What it is for, in Markdown.", "type": "string"},
        "reference": {
            "description": "`$name`, `$name.field` or an expression in brackets, `$(n + 1)`.",
            "type": "string",
            "pattern": format!(r"^\$({path}|\([\s\S]*\))\s*$"),
        },
        "type": {
            "description": "`Mpp`, `[Str]`, `Map<Key, Instances>`, `Int?` or `{name: Str}`.",
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": refer("type"), "minItems": 1, "maxItems": 1},
                {"type": "object", "additionalProperties": refer("type")},
            ],
        },
        "value": value,
        "record": record,
        "own": own,
        "for": object(for_keys, &["for", "result"]),
        "if": object(json!({"if": refer("value"), "then": branch.clone(), "else": branch}), &["if", "then", "else"]),
        "let": {
            "description": "Names for values.",
            "type": "object",
            "propertyNames": refer("name"),
            "additionalProperties": refer("value"),
        },
        "param": {"anyOf": [{"type": "string"}, param]},
        "op": object(op, &["gives"]),
        "def": object(def, &["gives", "result"]),
        "claim": claim,
        "test": {"type": "object", "properties": items(false), "additionalProperties": false},
        "call-attributes": object(
            json!({
                "retry": {"description": "Further attempts after a failure.", "anyOf": [whole(0, 1000), refer("reference")]},
                "timeout": {"description": "Longest time it may take.", "anyOf": [quantity(Unit::Dur), refer("reference")]},
                "temp": {"description": "The result goes after its last reader.", "enum": [true, null]},
                "gpu": {"description": "GPUs preferred.", "anyOf": [whole(0, 1000), refer("reference")]},
            }),
            &[],
        ),
        "for-attributes": object(
            json!({"tolerate": {"description": "Share of the items that may fail.", "anyOf": [quantity(Unit::Pct), refer("reference")]}}),
            &[],
        ),
    });
    match all {
        Value::Object(all) => all,
        _ => Map::new(),
    }
}

/// A mapping where a value is expected: a `for`, an `if`, a call or a record.
fn mapping(signatures: &[&Signature]) -> Value {
    let described: Map<String, Value> = signatures
        .iter()
        .map(|signature| {
            (
                signature.name.clone(),
                json!({"description": signature.doc}),
            )
        })
        .collect();
    let called: Vec<Value> = signatures
        .iter()
        .map(|signature| {
            let name = &signature.name;
            json!({"if": {"required": [name]}, "then": refer(name)})
        })
        .collect();
    let names: Vec<&str> = signatures.iter().map(|s| s.name.as_str()).collect();
    json!({
        "type": "object",
        "properties": described,
        // A name with a dot is that of an operator; what the pipeline declares is called as `name()`.
        "propertyNames": {"anyOf": [
            {"enum": names},
            {"pattern": format!(r"^({WORD}|@|{WORD}(\.{WORD})*\(\))$")},
        ]},
        "if": {"required": ["for"]},
        "then": refer("for"),
        "else": {
            "if": {"required": ["if"]},
            "then": refer("if"),
            "else": {
                "if": {"propertyNames": {"pattern": format!("^{WORD}$")}},
                "then": refer("record"),
                "else": {
                    "if": {"propertyNames": {"not": {"enum": names}}},
                    "then": refer("own"),
                    "else": {"allOf": called},
                },
            },
        },
    })
}

/// A call of one operator.
fn call(signature: &Signature) -> Value {
    let mut takers: Vec<(&str, Value)> = Vec::new();
    for Port { name, ty, doc } in &signature.inputs {
        takers.push((name, taker(ty, doc, &[], None)));
    }
    for Param {
        name,
        ty,
        doc,
        default,
        choices,
    } in &signature.params
    {
        let default = default.as_ref().map(ToString::to_string);
        takers.push((name, taker(ty, doc, choices, default)));
    }
    let ports: Vec<&Value> = takers.iter().map(|(_, schema)| schema).collect();
    let single = match ports.first() {
        Some(first) => json!({"anyOf": [{"type": "null"}, first]}),
        None => json!({"type": "null"}),
    };
    let mut positional = json!({
        "description": signature.doc,
        "if": {"type": "array"},
        "then": {"items": false},
        "else": single,
    });
    if !ports.is_empty() {
        positional["then"]["prefixItems"] = json!(ports);
    }
    let mut properties = Map::new();
    properties.insert(signature.name.clone(), positional);
    properties.extend(
        takers
            .iter()
            .map(|(name, schema)| ((*name).to_owned(), schema.clone())),
    );
    properties.insert("@".into(), refer("call-attributes"));
    let mut all = object(Value::Object(properties), &[&signature.name]);
    all["description"] = json!(signature.doc);
    all
}

/// What an argument may be: a value of its type, a reference, or a mapping that gives it.
fn taker(ty: &Type, doc: &str, choices: &[String], default: Option<String>) -> Value {
    let mut any = plain(ty, choices);
    any.push(refer("reference"));
    any.push(refer("mapping"));
    let mut schema = json!({"anyOf": any});
    let shown = format!("`{ty}`");
    let default = default.map(|default| format!(", `{default}` when left out"));
    let doc = if doc.is_empty() {
        String::new()
    } else {
        format!("{doc} ")
    };
    schema["description"] = json!(format!("{doc}{shown}{}", default.unwrap_or_default()));
    schema
}

/// The values of a type that are written without a reference.
fn plain(ty: &Type, choices: &[String]) -> Vec<Value> {
    match ty {
        Type::Bool => vec![json!({"type": "boolean"})],
        Type::Int => vec![json!({"type": "integer"})],
        Type::Float => vec![json!({"type": "number"})],
        Type::Str if !choices.is_empty() => vec![json!({"enum": choices})],
        Type::Str => vec![json!({"type": "string", "pattern": r"^(?!\$)"})],
        Type::Quantity(unit) => vec![quantity(*unit)],
        Type::Optional(inner) => {
            let mut any = plain(inner, choices);
            any.push(json!({"enum": [null, "none"]}));
            any
        }
        Type::List(item) => {
            let mut any = plain(item, choices);
            any.push(refer("reference"));
            vec![json!({"type": "array", "items": {"anyOf": any}})]
        }
        Type::Record(_) | Type::Map(_) | Type::Kind(_) | Type::Root | Type::Secret => Vec::new(),
    }
}

/// A number and one of the units of its kind.
fn quantity(unit: Unit) -> Value {
    let units: Vec<&str> = UNITS
        .iter()
        .filter(|(_, base, _)| *base == unit.base())
        .map(|(spelling, _, _)| *spelling)
        .collect();
    let number = r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?";
    json!({
        "type": "string",
        "pattern": format!(r"^{number}\s*({})$", units.join("|")),
    })
}
