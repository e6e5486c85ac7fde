//! The text of a file as an editor has it: lines, positions, edits.

use lsp_types::{Position, Range, TextDocumentContentChangeEvent};

/// What the columns of positions count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Bytes.
    Utf8,
    /// UTF-16 code units.
    #[default]
    Utf16,
}

/// A text with the starts of its lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Text {
    pub text: String,
    starts: Vec<usize>,
    encoding: Encoding,
}

impl Text {
    pub fn new(text: String, encoding: Encoding) -> Self {
        let starts = starts(&text);
        Self {
            text,
            starts,
            encoding,
        }
    }

    /// The byte at a position; one beyond a line is its end, one beyond the text is the end.
    pub fn offset(&self, at: Position) -> usize {
        let line = at.line as usize;
        let Some(start) = self.starts.get(line).copied() else {
            return self.text.len();
        };
        let end = self.starts.get(line + 1).copied();
        let whole = self.text.get(start..end.unwrap_or(self.text.len()));
        let content = whole.unwrap_or("").trim_end_matches(['\n', '\r']);
        let mut column = 0;
        for (place, c) in content.char_indices() {
            if column >= at.character as usize {
                return start + place;
            }
            column += self.width(c);
        }
        start + content.len()
    }

    /// The position of a byte.
    pub fn position(&self, at: usize) -> Position {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        let line = self.starts.partition_point(|start| *start <= at).max(1) - 1;
        let start = self.starts.get(line).copied().unwrap_or(0);
        let before = self.text.get(start..at).unwrap_or("");
        let column: usize = before.chars().map(|c| self.width(c)).sum();
        Position::new(small(line), small(column))
    }

    /// The range of bytes.
    pub fn range(&self, start: usize, end: usize) -> Range {
        Range::new(self.position(start), self.position(end))
    }

    /// The range of everything.
    pub fn whole(&self) -> Range {
        self.range(0, self.text.len())
    }

    /// Columns between two bytes of one line.
    pub fn columns(&self, start: usize, end: usize) -> u32 {
        let between = self.text.get(start..end).unwrap_or("");
        small(between.chars().map(|c| self.width(c)).sum())
    }

    /// Takes an edit.
    pub fn change(&mut self, change: TextDocumentContentChangeEvent) {
        match change.range {
            None => self.text = change.text,
            Some(range) => {
                let (start, end) = (self.offset(range.start), self.offset(range.end));
                self.text
                    .replace_range(start.min(end)..end.max(start), &change.text);
            }
        }
        self.starts = starts(&self.text);
    }

    fn width(&self, c: char) -> usize {
        match self.encoding {
            Encoding::Utf8 => c.len_utf8(),
            Encoding::Utf16 => c.len_utf16(),
        }
    }
}

/// Where lines start: behind `\n`, `\r\n`, and `\r` alone.
fn starts(text: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let ends = |(i, byte): (usize, &u8)| {
        let ends = *byte == b'\n' || (*byte == b'\r' && bytes.get(i + 1) != Some(&b'\n'));
        ends.then_some(i + 1)
    };
    std::iter::once(0)
        .chain(bytes.iter().enumerate().filter_map(ends))
        .collect()
}

pub(crate) fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(range: Option<(u32, u32, u32, u32)>, text: &str) -> TextDocumentContentChangeEvent {
        TextDocumentContentChangeEvent {
            range: range.map(|(a, b, c, d)| Range::new(Position::new(a, b), Position::new(c, d))),
            range_length: None,
            text: text.to_owned(),
        }
    }

    #[test]
    fn columns_count_utf16_units_unless_bytes_were_agreed_on() {
        let text = "a😀é = 1\r\nb";
        let wide = Text::new(text.to_owned(), Encoding::Utf16);
        assert_eq!(wide.position(text.find('=').unwrap()), Position::new(0, 5));
        assert_eq!(wide.offset(Position::new(0, 3)), 5);
        let bytes = Text::new(text.to_owned(), Encoding::Utf8);
        assert_eq!(bytes.position(text.find('=').unwrap()), Position::new(0, 8));
        assert_eq!(bytes.offset(Position::new(0, 7)), 7);
    }

    #[test]
    fn all_line_ends_count_and_positions_beyond_them_are_their_end() {
        let text = Text::new("one\r\ntwo\rthree\n".to_owned(), Encoding::Utf16);
        assert_eq!(text.offset(Position::new(0, 99)), 3);
        assert_eq!(text.offset(Position::new(1, 0)), 5);
        assert_eq!(text.offset(Position::new(2, 0)), 9);
        assert_eq!(text.offset(Position::new(9, 9)), 15);
        assert_eq!(text.position(5), Position::new(1, 0));
        assert_eq!(text.position(15), Position::new(3, 0));
    }

    #[test]
    fn edits_change_what_they_cover() {
        let mut text = Text::new("a 😀 b\r\nc\n".to_owned(), Encoding::Utf16);
        text.change(edit(Some((0, 2, 0, 4)), "x"));
        assert_eq!(text.text, "a x b\r\nc\n");
        text.change(edit(Some((0, 5, 1, 0)), ""));
        assert_eq!(text.text, "a x bc\n");
        text.change(edit(Some((7, 7, 9, 9)), "d"));
        assert_eq!(text.text, "a x bc\nd");
        text.change(edit(Some((1, 1, 0, 4)), "!"));
        assert_eq!(text.text, "a x !");
        text.change(edit(None, "new"));
        assert_eq!(text.text, "new");
    }
}
