//! What is said of operators, parameters, bindings and words, in Markdown.

use cerb_lang::{
    Analysis, Catalog, Definition, DefinitionKind, Param, Port, Signature, Type, Value, Vocable,
    WordKind, vocabulary,
};

/// A block of the language.
fn code(text: &str) -> String {
    format!("```cerb\n{text}\n```")
}

/// One input, as a signature writes it.
pub(crate) fn port(port: &Port) -> String {
    format!("{}: {}", port.name, port.ty)
}

/// One parameter, as a signature writes it.
pub(crate) fn param(param: &Param) -> String {
    match &param.default {
        Some(Value::None) | None => format!("{}: {}", param.name, param.ty),
        Some(default) => format!("{}: {} = {default}", param.name, param.ty),
    }
}

/// Each taker of an operator as its signature writes it, inputs first.
pub(crate) fn takers(signature: &Signature) -> Vec<String> {
    let inputs = signature.inputs.iter().map(port);
    inputs.chain(signature.params.iter().map(param)).collect()
}

/// The face of an operator on one line.
pub(crate) fn face(signature: &Signature) -> String {
    let takers = takers(signature).join(", ");
    format!("{}({takers}) -> {}", signature.name, signature.gives())
}

/// Everything about an operator.
pub(crate) fn operator(signature: &Signature) -> String {
    let takers = takers(signature);
    let gives = signature.gives();
    let face = if takers.len() > 3 {
        let lines: Vec<String> = takers.iter().map(|t| format!("  {t},")).collect();
        format!("{}(\n{}\n) -> {gives}", signature.name, lines.join("\n"))
    } else {
        format!("{}({}) -> {gives}", signature.name, takers.join(", "))
    };
    let mut parts = vec![code(&face), signature.doc.trim().to_owned()];
    let ports = signature.inputs.iter().map(|p| (&p.name, &p.doc));
    let params = signature.params.iter().map(|p| (&p.name, &p.doc));
    let lines: Vec<String> = ports
        .chain(params)
        .filter(|(_, doc)| !doc.trim().is_empty())
        .map(|(name, doc)| format!("- `{name}` {}", one_line(doc)))
        .collect();
    parts.push(lines.join("\n"));
    if let Some(example) = &signature.example
        && !signature.doc.contains(example.trim())
    {
        parts.push(code(example.trim()));
    }
    if signature.plan_time {
        parts.push("Evaluated while planning.".to_owned());
    }
    joined(parts)
}

/// A port or parameter of an operator: its type, what it is, what it may be.
pub(crate) fn taker(signature: &Signature, name: &str) -> Option<String> {
    if let Some(found) = signature.inputs.iter().find(|p| p.name == name) {
        let gathers = matches!(found.ty, Type::Map(_));
        let mut parts = vec![code(&port(found)), found.doc.trim().to_owned()];
        if gathers {
            parts.push("Takes the whole collection.".to_owned());
        }
        parts.push(format!("An input of `{}`.", signature.name));
        return Some(joined(parts));
    }
    let found = signature.params.iter().find(|p| p.name == name)?;
    let mut parts = vec![code(&param(found)), found.doc.trim().to_owned()];
    if !found.choices.is_empty() {
        let words: Vec<String> = found.choices.iter().map(|c| format!("`\"{c}\"`")).collect();
        parts.push(format!("One of {}.", words.join(", ")));
    }
    let need = match &found.default {
        None if !matches!(found.ty, Type::Optional(_)) => "It must be given; a",
        _ => "A",
    };
    parts.push(format!("{need} parameter of `{}`.", signature.name));
    Some(joined(parts))
}

/// A binding: its head, type, value, documentation and facts.
pub(crate) fn definition(analysis: &Analysis, place: usize) -> Option<String> {
    let found = analysis.index.definitions.get(place)?;
    let mut parts = vec![code(&head(found)), found.doc.trim().to_owned()];
    let facts = analysis.index.facts_of(place, &analysis.sources);
    let facts: Vec<String> = facts.iter().map(|fact| format!("- {fact}")).collect();
    parts.push(facts.join("\n"));
    Some(joined(parts))
}

fn head(found: &Definition) -> String {
    let ty = found.ty.as_ref().map(|ty| format!(": {ty}"));
    let ty = ty.unwrap_or_default();
    match found.kind {
        DefinitionKind::Let => match &found.value {
            Some(value) => format!("let {}{ty} = {value}", found.name),
            None => format!("let {}{ty}", found.name),
        },
        DefinitionKind::Variable => format!("for {}{ty}", found.name),
        DefinitionKind::Field => format!("{}{ty}", found.name),
        DefinitionKind::Param => match &found.value {
            Some(value) if !found.head.contains(&value.to_string()) => {
                format!("{}\n# here: {value}", found.head)
            }
            _ => found.head.clone(),
        },
        _ => found.head.clone(),
    }
}

/// A word of the language.
pub(crate) fn vocable(found: &Vocable) -> String {
    let sign = match found.kind {
        WordKind::Attribute => "@",
        _ => "",
    };
    let mut parts = vec![format!("`{sign}{}`: {}", found.word, found.doc)];
    if !found.example.is_empty() {
        parts.push(code(found.example));
    }
    joined(parts)
}

/// What a word means where it stands as one of these.
pub(crate) fn word(text: &str, kinds: &[WordKind]) -> Option<String> {
    let all = vocabulary();
    let found = all
        .iter()
        .find(|v| v.word == text && kinds.contains(&v.kind));
    found.map(vocable)
}

/// A kind of artifact: who makes it, and what can be read of it.
pub(crate) fn kind(name: &str, catalog: &dyn Catalog) -> Option<String> {
    let makes = |op: &String| {
        let signature = catalog.signature(op);
        signature.is_some_and(|s| s.outputs.iter().any(|p| names_kind(&p.ty, name)))
    };
    let makers: Vec<String> = catalog.names().into_iter().filter(makes).collect();
    if makers.is_empty() {
        return None;
    }
    let makers: Vec<String> = makers.iter().map(|op| format!("`{op}`")).collect();
    let mut parts = vec![code(name), format!("Made by {}.", makers.join(", "))];
    let fields: Vec<String> = catalog
        .fields(name)
        .iter()
        .map(|f| format!("- `.{}: {}` {}", f.name, f.ty, one_line(&f.doc)))
        .collect();
    parts.push(fields.join("\n"));
    Some(joined(parts))
}

fn names_kind(ty: &Type, name: &str) -> bool {
    match ty {
        Type::Kind(kind) => kind == name,
        Type::Map(item) | Type::List(item) | Type::Optional(item) => names_kind(item, name),
        _ => false,
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn joined(parts: Vec<String>) -> String {
    let said: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    said.join("\n\n")
}
