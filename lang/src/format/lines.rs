//! Lines below one another: empty lines, comments, and what stands in columns.

use super::Printer;
use super::doc::{Rendered, WIDTH, render};
use crate::syntax::Kind;

/// Widest difference that is made up for with spaces when `=` are aligned.
const SPREAD: usize = 16;

/// The same for comments behind lines.
const COMMENT_SPREAD: usize = 40;

/// An item, a comment or a `##` line.
struct Entry<'a> {
    /// Whether an empty line stands before it.
    blank: bool,
    /// Its first word, when lines with the same word may be aligned.
    word: &'a str,
    rendered: Rendered,
    /// Column of its comment as it was written.
    column: usize,
}

impl Entry<'_> {
    fn is_line(&self) -> bool {
        !self.rendered.text.contains('\n')
    }

    fn width(&self) -> usize {
        self.rendered.text.chars().count()
    }
}

impl<'a> Printer<'a> {
    /// Takes items or the lines of a block, up to `close`, and lays them out in the column `indent`.
    pub(super) fn lines(&mut self, close: Kind, indent: usize) -> String {
        let mut entries: Vec<Entry<'a>> = Vec::new();
        loop {
            let mut breaks = 0;
            while self.kind() == Kind::Newline {
                self.at += 1;
            }
            while let Some(comment) = self.unsaid() {
                self.said += 1;
                entries.push(Entry::comment(self.comment(&comment), comment.blank));
            }
            breaks = breaks.max(self.breaks.get(self.at).copied().unwrap_or(0));
            let Some(tok) = self
                .peek()
                .filter(|t| t.kind != close && t.kind != Kind::End)
            else {
                break;
            };
            let blank = breaks > 1;
            if tok.kind == Kind::Doc {
                let text = self.slice(tok.start, tok.end).trim_end();
                entries.push(Entry::comment(text, blank));
                self.at += 1;
                continue;
            }
            let word = match self.word() {
                word @ ("let" | "output" | "param" | "root") => word,
                _ => "",
            };
            let before = self.at;
            let mut parts = Vec::new();
            self.item(&mut parts);
            if self.at == before {
                self.take(&mut parts);
            }
            let column = self
                .unsaid()
                .map_or(0, |comment| self.column(comment.start));
            self.behind(&mut parts);
            entries.push(Entry {
                blank,
                word,
                rendered: render(&parts, indent),
                column,
            });
        }
        align(&mut entries, indent);
        let edge = " ".repeat(indent);
        let mut out = String::new();
        for (i, entry) in entries.iter().enumerate() {
            if i > 0 {
                out.push_str(if entry.blank { "\n\n" } else { "\n" });
            }
            out.push_str(&edge);
            out.push_str(&entry.rendered.text);
            if let Some(comment) = &entry.rendered.comment {
                out.push_str("  ");
                out.push_str(comment);
            }
        }
        out
    }

    /// The column of a byte in the text as it was written.
    fn column(&self, at: u32) -> usize {
        let before = self.slice(0, at);
        let line = before.rsplit('\n').next().unwrap_or("");
        line.chars().filter(|c| *c != '\u{feff}').count()
    }
}

impl Entry<'_> {
    fn comment(text: &str, blank: bool) -> Self {
        Entry {
            blank,
            word: "",
            rendered: Rendered {
                text: text.to_owned(),
                ..Rendered::default()
            },
            column: 0,
        }
    }
}

/// Aligns the `=` of lines that start with the same word and follow one another, then the comments
/// behind lines.
fn align(entries: &mut [Entry<'_>], indent: usize) {
    let mut from = 0;
    while from < entries.len() {
        let word = entries[from].word;
        let fits = |entry: &Entry<'_>| !word.is_empty() && entry.word == word && entry.is_line();
        let mut spans: Vec<(usize, usize)> = Vec::new();
        let mut to = from;
        while to < entries.len() && (to == from || !entries[to].blank) && fits(&entries[to]) {
            let mut wider = spans.clone();
            for (i, width) in cells(&entries[to].rendered).enumerate() {
                match wider.get_mut(i) {
                    Some((least, most)) => {
                        (*least, *most) = ((*least).min(width), (*most).max(width))
                    }
                    None => wider.push((width, width)),
                }
            }
            if wider.iter().any(|(least, most)| most - least > SPREAD) {
                break;
            }
            spans = wider;
            to += 1;
        }
        let to = to.max(from + 1);
        let widths: Vec<usize> = spans.iter().map(|(_, most)| *most).collect();
        let run = &mut entries[from..to];
        let padded: Vec<String> = run
            .iter()
            .map(|entry| pad(&entry.rendered, &widths))
            .collect();
        let too_wide = |(text, entry): (&String, &Entry<'_>)| {
            indent + text.chars().count() > WIDTH && entry.width() + indent <= WIDTH
        };
        if run.len() > 1 && !padded.iter().zip(run.iter()).any(too_wide) {
            for (entry, text) in run.iter_mut().zip(padded) {
                entry.rendered.text = text;
            }
        }
        from = to;
    }
    align_comments(entries, indent);
}

/// The widths of what stands before each mark, from the mark before.
fn cells(rendered: &Rendered) -> impl Iterator<Item = usize> {
    let mut from = 0;
    rendered.marks.iter().map(move |mark| {
        let cell = rendered.text.get(from..*mark).unwrap_or("");
        from = *mark;
        cell.chars().count()
    })
}

fn pad(rendered: &Rendered, widths: &[usize]) -> String {
    let mut out = String::new();
    let mut from = 0;
    for ((mark, cell), width) in rendered.marks.iter().zip(cells(rendered)).zip(widths) {
        out.push_str(rendered.text.get(from..*mark).unwrap_or(""));
        out.extend(std::iter::repeat_n(' ', width.saturating_sub(cell)));
        from = *mark;
    }
    out.push_str(rendered.text.get(from..).unwrap_or(""));
    out
}

/// Puts the comments behind consecutive lines in one column: the one they stand in, when they share
/// one that is far enough out, else two behind the longest line.
fn align_comments(entries: &mut [Entry<'_>], indent: usize) {
    let mut from = 0;
    while from < entries.len() {
        let fits = |entry: &Entry<'_>| entry.is_line() && entry.rendered.comment.is_some();
        let (mut least, mut most) = (usize::MAX, 0);
        let mut to = from;
        while to < entries.len() && (to == from || !entries[to].blank) && fits(&entries[to]) {
            let width = entries[to].width();
            let (lower, upper) = (least.min(width), most.max(width));
            if upper - lower > COMMENT_SPREAD {
                break;
            }
            (least, most) = (lower, upper);
            to += 1;
        }
        let to = to.max(from + 1);
        let run = &mut entries[from..to];
        if run.len() > 1 {
            let written = run[0].column;
            let shared = run.iter().all(|entry| entry.column == written);
            let near = indent + most + 2;
            let kept = shared && (near..=near + COMMENT_SPREAD).contains(&written);
            let column = if kept { written } else { near };
            for entry in run {
                let gap = (column - indent - 2).saturating_sub(entry.width());
                entry.rendered.text.extend(std::iter::repeat_n(' ', gap));
            }
        }
        from = to;
    }
}
