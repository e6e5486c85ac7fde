//! The YAML form of a pipeline: to the same document as the text, with the same spans and messages.

mod callee;
mod items;
mod node;
mod out;
mod reader;
mod scalar;
mod shape;
mod tree;
mod value;
mod write;
mod wrong;

pub(crate) use tree::comments;
pub(crate) use write::write;

use crate::form::Faces;
use crate::syntax::ast::Document;
use crate::{Diagnostic, FileId};

/// Reads a YAML file; returns what was understood and every mistake.
///
/// Strings are quantities or strings as the parameters of the operators want them; where nothing is
/// known of the operator, what looks like a quantity is one.
pub(crate) fn read(text: &str, file: FileId, faces: &Faces<'_>) -> (Document, Vec<Diagnostic>) {
    let (root, faults) = tree::tree(text, file);
    let mut reader = reader::Reader::new(text, file, faces, faults);
    let document = root.map_or_else(Document::default, |root| reader.document(&root));
    (document, reader.faults)
}
