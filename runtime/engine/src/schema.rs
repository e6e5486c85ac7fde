//! Parameters of an operator, read off its JSON schema: types, defaults, choices, ranges.

use cerb_lang::{Param, Type, UNITS, Unit, Value};
use schemars::{JsonSchema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

/// One parameter and the range its schema states, in base units.
#[derive(Debug, Clone)]
pub(crate) struct ParamSchema {
    /// What the language sees.
    pub param: Param,
    /// Whether the JSON number is whole (`Pixels(u32)`).
    pub whole: bool,
    /// Smallest value, and whether it is itself allowed.
    pub low: Option<(f64, bool)>,
    /// Largest value, and whether it is itself allowed.
    pub high: Option<(f64, bool)>,
}

/// What the schema of an operator says.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    /// The doc comment without its example.
    pub doc: String,
    /// The first `cerb` block of the doc comment.
    pub example: Option<String>,
    /// Parameters in the order they are declared in.
    pub params: Vec<ParamSchema>,
}

/// Reads the schema of a parameter struct; the error says what it cannot express.
pub(crate) fn describe<T: JsonSchema + DeserializeOwned>() -> Result<Described, String> {
    let root = SchemaGenerator::default()
        .into_root_schema_for::<T>()
        .to_value();
    let defs = root
        .get("$defs")
        .and_then(Json::as_object)
        .cloned()
        .unwrap_or_default();
    let text = root
        .get("description")
        .and_then(Json::as_str)
        .unwrap_or_default();
    if root.get("type").and_then(Json::as_str) != Some("object") {
        return Err("its parameters are not a struct with named fields (write `struct Name {}` when it has none)".to_owned());
    }
    let required: Vec<&str> = root
        .get("required")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .collect();
    let mut params = Vec::new();
    for (name, schema) in root
        .get("properties")
        .and_then(Json::as_object)
        .into_iter()
        .flatten()
    {
        let param = param(name, schema, !required.contains(&name.as_str()), &defs)
            .map_err(|reason| format!("its parameter `{name}` {reason}"))?;
        params.push(param);
    }
    let order = crate::fields::names::<T>();
    params.sort_by_key(|p| order.iter().position(|name| *name == p.param.name));
    let (doc, example) = split_example(text);
    Ok(Described {
        doc,
        example,
        params,
    })
}

/// Takes the first `cerb` block out of a doc comment.
fn split_example(text: &str) -> (String, Option<String>) {
    let mut doc = Vec::new();
    let mut example: Option<Vec<&str>> = None;
    let mut inside = false;
    for line in text.lines() {
        let fence = line.trim();
        if inside {
            if fence == "```" {
                inside = false;
            } else if let Some(lines) = &mut example {
                lines.push(line);
            }
        } else if example.is_none() && fence.starts_with("```cerb") {
            inside = true;
            example = Some(Vec::new());
        } else {
            doc.push(line);
        }
    }
    (
        doc.join("\n").trim().to_owned(),
        example.map(|lines| lines.join("\n").trim().to_owned()),
    )
}

/// Reads one property; without a default of its own an optional one is absent.
fn param(
    name: &str,
    schema: &Json,
    optional: bool,
    defs: &Map<String, Json>,
) -> Result<ParamSchema, String> {
    let shape = shape(schema, defs)?;
    let default = match schema.get("default") {
        Some(json) => Some(
            from_json(json, &shape.ty)
                .ok_or_else(|| format!("has a default that is no `{}`: {json}", shape.ty))?,
        ),
        None if optional => Some(Value::None),
        None => None,
    };
    let doc = schema
        .get("description")
        .and_then(Json::as_str)
        .unwrap_or_default()
        .to_owned();
    Ok(ParamSchema {
        param: Param {
            name: name.to_owned(),
            ty: shape.ty,
            doc,
            default,
            choices: shape.choices,
        },
        whole: shape.whole,
        low: shape.low,
        high: shape.high,
    })
}

struct Shape {
    ty: Type,
    choices: Vec<String>,
    whole: bool,
    low: Option<(f64, bool)>,
    high: Option<(f64, bool)>,
}

fn shape(schema: &Json, defs: &Map<String, Json>) -> Result<Shape, String> {
    if let Some(target) = schema.get("$ref").and_then(Json::as_str) {
        let name = target.trim_start_matches("#/$defs/");
        return shape(
            defs.get(name)
                .ok_or_else(|| format!("refers to `{target}`, which is not there"))?,
            defs,
        );
    }
    if let Some(any) = schema.get("anyOf").and_then(Json::as_array) {
        let given: Vec<&Json> = any
            .iter()
            .filter(|one| one.get("type").and_then(Json::as_str) != Some("null"))
            .collect();
        if let (1, true) = (given.len(), given.len() < any.len()) {
            return shape(given[0], defs).map(optional);
        }
    }
    let choices = choices(schema);
    let (name, nullable) = match schema.get("type") {
        Some(Json::String(name)) => (name.as_str(), false),
        Some(Json::Array(names)) => (
            names
                .iter()
                .filter_map(Json::as_str)
                .find(|name| *name != "null")
                .unwrap_or("null"),
            names.iter().any(|name| name == "null"),
        ),
        _ if !choices.is_empty() => ("string", false),
        _ => return Err("has a type that no argument can have".to_owned()),
    };
    let (whole, ty) = match (schema.get("x-cerb-type").and_then(Json::as_str), name) {
        (Some("Root"), _) => (false, Type::Root),
        (Some(unit), number) => (
            number == "integer",
            Type::Quantity(unit_named(unit).ok_or_else(|| {
                format!("has the quantity `{unit}`, which is none of the language's")
            })?),
        ),
        (None, "boolean") => (false, Type::Bool),
        (None, "integer") => (true, Type::Int),
        (None, "number") => (false, Type::Float),
        (None, "string") => (false, Type::Str),
        (None, "array") => {
            let items = schema.get("items").ok_or("is a list of anything")?;
            let inner = shape(items, defs)?;
            (inner.whole, Type::List(Box::new(inner.ty)))
        }
        _ => {
            return Err(format!(
                "has the JSON type `{name}`, which no argument can have"
            ));
        }
    };
    let bound = |inclusive: &str, exclusive: &str| {
        schema
            .get(exclusive)
            .and_then(Json::as_f64)
            .map(|limit| (limit, false))
            .or_else(|| {
                schema
                    .get(inclusive)
                    .and_then(Json::as_f64)
                    .map(|limit| (limit, true))
            })
    };
    let found = Shape {
        ty,
        choices,
        whole,
        low: bound("minimum", "exclusiveMinimum"),
        high: bound("maximum", "exclusiveMaximum"),
    };
    Ok(if nullable { optional(found) } else { found })
}

fn optional(shape: Shape) -> Shape {
    Shape {
        ty: Type::Optional(Box::new(shape.ty)),
        ..shape
    }
}

/// Reads the words of an enum of strings, with or without docs on its variants.
fn choices(schema: &Json) -> Vec<String> {
    if let Some(words) = schema.get("enum").and_then(Json::as_array) {
        return words
            .iter()
            .filter_map(Json::as_str)
            .map(str::to_owned)
            .collect();
    }
    let Some(variants) = schema.get("oneOf").and_then(Json::as_array) else {
        return Vec::new();
    };
    variants
        .iter()
        .flat_map(
            |variant| match variant.get("const").and_then(Json::as_str) {
                Some(word) => vec![word.to_owned()],
                None => choices(variant),
            },
        )
        .collect()
}

fn unit_named(name: &str) -> Option<Unit> {
    UNITS
        .iter()
        .map(|(_, unit, _)| *unit)
        .find(|unit| unit.type_name() == name)
}

/// Returns the plain type that a word names; quantities by the name of their kind.
pub(crate) fn plain_type(word: &str) -> Option<Type> {
    Some(match word {
        "Bool" => Type::Bool,
        "Int" => Type::Int,
        "Float" => Type::Float,
        "Str" => Type::Str,
        word => Type::Quantity(unit_named(word)?),
    })
}

/// Turns JSON in base units into a value of the language.
pub(crate) fn from_json(json: &Json, ty: &Type) -> Option<Value> {
    Some(match (ty, json) {
        (Type::Optional(_), Json::Null) => Value::None,
        (Type::Optional(inner), json) => from_json(json, inner)?,
        (Type::Bool, Json::Bool(value)) => Value::Bool(*value),
        (Type::Int, json) => Value::Int(json.as_i64()?),
        (Type::Float, json) => Value::Float(json.as_f64()?),
        (Type::Quantity(unit), json) => Value::Quantity(json.as_f64()?, *unit),
        (Type::Str, Json::String(text)) => Value::Str(text.clone()),
        (Type::Root, Json::String(name)) => Value::Root(name.clone()),
        (Type::List(inner), Json::Array(all)) => Value::List(
            all.iter()
                .map(|one| from_json(one, inner))
                .collect::<Option<_>>()?,
        ),
        _ => return None,
    })
}

/// Turns a value of the language into JSON in base units; the error says what is wrong with it.
pub(crate) fn to_json(value: &Value, whole: bool) -> Result<Json, String> {
    let number = |value: f64| {
        if whole && value.fract() == 0.0 && value.abs() < 9e15 {
            Ok(Json::from(value as i64))
        } else if whole {
            Err(format!("{value} is not a whole number"))
        } else {
            serde_json::Number::from_f64(value)
                .map(Json::Number)
                .ok_or_else(|| "it is not a finite number".to_owned())
        }
    };
    match value {
        Value::Bool(value) => Ok(Json::Bool(*value)),
        Value::Int(value) if whole => Ok(Json::from(*value)),
        Value::Int(value) => number(*value as f64),
        Value::Float(value) | Value::Quantity(value, _) => number(*value),
        Value::Str(text) | Value::Root(text) | Value::Secret(text) => {
            Ok(Json::String(text.clone()))
        }
        Value::List(all) => all
            .iter()
            .map(|one| to_json(one, whole))
            .collect::<Result<_, _>>()
            .map(Json::Array),
        Value::None => Ok(Json::Null),
    }
}
