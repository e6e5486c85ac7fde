//! Where something stands: byte spans in the files of one pipeline.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Names one file of a [`SourceMap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileId(pub u32);

/// A range of bytes in one file, half open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    /// The file it lies in.
    pub file: FileId,
    /// First byte.
    pub start: u32,
    /// First byte behind it.
    pub end: u32,
}

impl Span {
    /// Makes the span `start..end` of `file`.
    #[must_use]
    pub fn new(file: FileId, start: u32, end: u32) -> Self {
        Self { file, start, end }
    }

    /// Returns the smallest span that covers both; `self` when they lie in different files.
    #[must_use]
    pub fn to(self, other: Span) -> Span {
        if self.file != other.file {
            return self;
        }
        Span::new(
            self.file,
            self.start.min(other.start),
            self.end.max(other.end),
        )
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(self) -> u32 {
        self.end.saturating_sub(self.start)
    }

    /// Says whether a byte of its file lies in it, or directly behind it.
    #[must_use]
    pub fn touches(self, at: u32) -> bool {
        self.start <= at && at <= self.end
    }

    /// Says whether it covers nothing.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }
}

/// One file as it was read: the pipeline itself, a module, or a value from the command line.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// The name a user knows it by.
    pub name: String,
    /// Its text, whole.
    pub text: Arc<str>,
}

/// The files of one pipeline, in the order they were read; the pipeline itself is the first.
#[derive(Debug, Clone, Default)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    /// Adds a file and returns its id.
    pub fn add(&mut self, name: &str, text: &str) -> FileId {
        let id = FileId(u32::try_from(self.files.len()).unwrap_or(u32::MAX));
        self.files.push(SourceFile {
            name: name.to_owned(),
            text: Arc::from(text),
        });
        id
    }

    /// Adds a file, unless it is there already.
    pub(crate) fn add_once(&mut self, name: &str, text: &str) -> FileId {
        let same = |file: &SourceFile| file.name == name && *file.text == *text;
        match self.files.iter().position(same) {
            Some(place) => FileId(u32::try_from(place).unwrap_or(u32::MAX)),
            None => self.add(name, text),
        }
    }

    /// Returns the file, if there is one of that id.
    #[must_use]
    pub fn file(&self, id: FileId) -> Option<&SourceFile> {
        self.files.get(id.0 as usize)
    }

    /// All files, the pipeline first.
    #[must_use]
    pub fn files(&self) -> &[SourceFile] {
        &self.files
    }

    /// The text a span covers; empty when the span does not lie in a file.
    #[must_use]
    pub fn text(&self, span: Span) -> &str {
        self.file(span.file)
            .and_then(|file| file.text.get(span.start as usize..span.end as usize))
            .unwrap_or("")
    }

    /// Line and column of a span's start, both counted from one, the column in characters.
    #[must_use]
    pub fn line_column(&self, span: Span) -> (usize, usize) {
        let Some(before) = self
            .file(span.file)
            .and_then(|f| f.text.get(..span.start as usize))
        else {
            return (1, 1);
        };
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .map_or(0, |last| last.chars().count())
            + 1;
        (line, column)
    }
}
