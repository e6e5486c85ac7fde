//! The two forms of a file, told by its name: text or YAML.

use crate::syntax::ast::{Document, Name, Text};
use crate::syntax::{RESERVED, parse_document};
use crate::{Diagnostic, FileId, Signature, yaml};

/// Finds the face of an operator, by its name.
pub(crate) type Faces<'a> = dyn Fn(&str) -> Option<&'a Signature> + 'a;

/// The form a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The language's own: `.cerb`.
    Text,
    /// YAML: `.cerb.yaml`, `.yaml`, `.yml`.
    Yaml,
}

/// The endings of file names, longest first.
const ENDINGS: [(&str, Form); 5] = [
    (".cerb.yaml", Form::Yaml),
    (".cerb.yml", Form::Yaml),
    (".cerb", Form::Text),
    (".yaml", Form::Yaml),
    (".yml", Form::Yaml),
];

impl Form {
    /// Returns the form of a file, by its name; none when it is not that of a pipeline or module.
    #[must_use]
    pub fn of(name: &str) -> Option<Form> {
        ending(name).map(|(_, form)| form)
    }

    /// Returns the form of a file of a folder that its name alone tells for a pipeline or module:
    /// the ending says `cerb`, for any YAML may lie there.
    #[must_use]
    pub fn in_folder(name: &str) -> Option<Form> {
        let (ending, form) = ending(name)?;
        (ending.starts_with(".cerb") && !stem(name).is_empty()).then_some(form)
    }
}

/// The ending of a pipeline's or module's file name, and its form.
pub(crate) fn ending(name: &str) -> Option<(&'static str, Form)> {
    ENDINGS
        .into_iter()
        .find(|(ending, _)| name.ends_with(ending))
}

/// The name a module has when `use` gives it none: its file's, without folder and ending.
#[must_use]
pub fn stem(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or("");
    ending(file)
        .and_then(|(ending, _)| file.strip_suffix(ending))
        .unwrap_or(file)
}

/// The name a module is bound to: the one that `use` gives it, or its file's when that is a word.
pub(crate) fn module_name(path: &Text, alias: Option<&Name>) -> Result<Name, Box<Diagnostic>> {
    if let Some(alias) = alias {
        return Ok(alias.clone());
    }
    let stem = stem(&path.text);
    let word = stem.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && stem.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !word || RESERVED.contains(&stem) {
        let title = format!("`{stem}` cannot be the name of a module");
        let found = Diagnostic::new("lang::unknown_name", title)
            .at(
                path.span,
                if word {
                    "a word of the language"
                } else {
                    "not a word"
                },
            )
            .help(format!("name it, `use \"{}\" as …`", path.text));
        return Err(Box::new(found));
    }
    Ok(Name {
        text: stem.to_owned(),
        span: path.span,
    })
}

/// Reads a file in the form of its name; returns what was understood and every mistake.
pub(crate) fn document(
    text: &str,
    name: &str,
    file: FileId,
    faces: &Faces<'_>,
) -> (Document, Vec<Diagnostic>) {
    read(text, Form::of(name).unwrap_or(Form::Text), file, faces)
}

/// Reads a file in one form; returns what was understood and every mistake.
pub(crate) fn read(
    text: &str,
    form: Form,
    file: FileId,
    faces: &Faces<'_>,
) -> (Document, Vec<Diagnostic>) {
    match form {
        Form::Text => parse_document(text, file),
        Form::Yaml => yaml::read(text, file, faces),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_says_the_form() {
        assert_eq!(Form::of("a/b.cerb"), Some(Form::Text));
        assert_eq!(Form::of("a/b.cerb.yaml"), Some(Form::Yaml));
        assert_eq!(Form::of("b.yml"), Some(Form::Yaml));
        assert_eq!(Form::of("survival"), None);
        assert_eq!(Form::in_folder("a/b.cerb.yml"), Some(Form::Yaml));
        assert_eq!(Form::in_folder("a/ci.yml"), None);
        assert_eq!(Form::in_folder("a/.cerb"), None);
    }
}
