//! The YAML form of a pipeline: to the same document as the text, with the same spans and messages.

mod items;
mod out;
mod reader;
mod scalar;
mod tree;
mod value;
mod write;

pub(crate) use tree::comments;
pub(crate) use write::write;

use crate::syntax::ast::Document;
use crate::{Catalog, Diagnostic, FileId};

/// Reads a YAML file; returns what was understood and every mistake.
///
/// Strings are quantities or strings as the parameters of `catalog` want them; without one, what
/// looks like a quantity is one.
pub(crate) fn read(
    text: &str,
    file: FileId,
    catalog: Option<&dyn Catalog>,
) -> (Document, Vec<Diagnostic>) {
    let (root, faults) = tree::tree(text, file);
    let mut reader = reader::Reader::new(text, file, catalog, faults);
    let document = root.map_or_else(Document::default, |root| reader.document(&root));
    (document, reader.faults)
}
