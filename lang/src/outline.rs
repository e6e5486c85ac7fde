//! What a file declares, read without planning it: for options, completion and lists of tests.

use std::collections::BTreeMap;

use crate::syntax::ast::{Item, ItemKind};
use crate::{FileId, Span, form};

/// What a file declares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// The `##` lines at its head.
    pub doc: String,
    /// Roots and their defaults, relative to the file.
    pub roots: BTreeMap<String, Option<String>>,
    /// Names of its secrets.
    pub secrets: Vec<String>,
    /// Its parameters.
    pub params: Vec<OutlineParam>,
    /// Names of its `test` blocks.
    pub tests: Vec<String>,
    /// Paths of the files it uses, as written.
    pub uses: Vec<String>,
}

/// A parameter that a file declares, as it is written there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineParam {
    /// Its name.
    pub name: String,
    /// Its type: `Mpp`.
    pub ty: String,
    /// Its default; none when it must be given.
    pub default: Option<String>,
    /// What it may be: `1..=599`.
    pub range: Option<String>,
    /// The `##` lines before it, else the comment behind it.
    pub doc: String,
}

/// Reads what a file declares; whatever else is wrong with it is passed over.
///
/// The form, text or YAML, is that of the file's name.
#[must_use]
pub fn outline(text: &str, name: &str) -> Outline {
    let (document, _) = form::document(text, name, FileId(0), &|_| None);
    let mut found = Outline {
        doc: document.doc,
        ..Outline::default()
    };
    for item in &document.items {
        declare(&mut found, item, text);
    }
    found
}

fn declare(found: &mut Outline, item: &Item, text: &str) {
    let written = |span: Span| {
        let range = span.start as usize..span.end as usize;
        text.get(range).unwrap_or("").to_owned()
    };
    match &item.kind {
        ItemKind::Root { name, default } => {
            let default = default.as_ref().map(|path| path.text.clone());
            found.roots.insert(name.text.clone(), default);
        }
        ItemKind::Secret { name } => found.secrets.push(name.text.clone()),
        ItemKind::Param {
            name,
            ty,
            default,
            range,
        } => found.params.push(OutlineParam {
            name: name.text.clone(),
            ty: written(ty.span),
            default: default.as_ref().map(|value| written(value.span)),
            range: range.as_ref().map(|value| written(value.span)),
            doc: if item.doc.is_empty() {
                comment_behind(text, item.span)
            } else {
                item.doc.clone()
            },
        }),
        ItemKind::Test { name, .. } => found.tests.push(name.text.clone()),
        ItemKind::Use { path, .. } => found.uses.push(path.text.clone()),
        _ => {}
    }
}

/// The comment on the line an item ends on.
pub(crate) fn comment_behind(text: &str, item: Span) -> String {
    let rest = text.get(item.end as usize..).unwrap_or("");
    let line = rest.lines().next().unwrap_or("").trim();
    line.strip_prefix('#').map_or("", str::trim).to_owned()
}
