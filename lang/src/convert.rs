//! One form of a pipeline to the other; nothing is lost but comments.

use crate::eval::too_long;
use crate::form::Faces;
use crate::print::Printer;
use crate::syntax::ast::Document;
use crate::syntax::{Kind, lex};
use crate::{Diagnostics, Form, Signature, SourceMap, form, yaml};

/// Returns a pipeline that is written as text as YAML.
///
/// # Errors
/// The mistakes of a text that does not follow the grammar, or binds a name twice.
pub fn to_yaml(text: &str, name: &str) -> Result<String, Diagnostics> {
    let (map, document) = read(text, name, Form::Text, &|_| None)?;
    yaml::write(&document, text).map_err(|faults| Diagnostics::new(map, faults))
}

/// Returns a pipeline that is written as YAML as text, in the layout of [`format`](crate::format()).
///
/// Strings are quantities or strings as the parameters of the operators want them; `faces` finds
/// their signatures by name.
///
/// # Errors
/// The mistakes of a file that is no pipeline in YAML.
pub fn to_text<'a>(
    text: &str,
    name: &str,
    faces: &(dyn Fn(&str) -> Option<&'a Signature> + 'a),
) -> Result<String, Diagnostics> {
    let (_, document) = read(text, name, Form::Yaml, faces)?;
    crate::format(&Printer::new(text).document(&document), name)
}

/// Counts the comments of a file, which its other form has no place for.
#[must_use]
pub fn comments(text: &str, name: &str) -> usize {
    match Form::of(name) {
        Some(Form::Yaml) => yaml::comments(text),
        _ => {
            let (tokens, _) = lex(text);
            tokens.iter().filter(|t| t.kind == Kind::Comment).count()
        }
    }
}

fn read(
    text: &str,
    name: &str,
    form: Form,
    faces: &Faces<'_>,
) -> Result<(SourceMap, Document), Diagnostics> {
    if let Some(found) = too_long(text, name) {
        return Err(found);
    }
    let mut map = SourceMap::default();
    let file = map.add(name, text);
    let (document, faults) = form::read(text, form, file, faces);
    if faults.is_empty() {
        Ok((map, document))
    } else {
        Err(Diagnostics::new(map, faults))
    }
}
