//! Text that knows where it may be broken, and how it is laid out in a width.

/// Widest line, in characters.
pub(super) const WIDTH: usize = 100;

/// A piece of an item, as it will be written.
#[derive(Debug)]
pub(super) enum Doc<'a> {
    /// Text without a line break.
    Text(&'a str),
    /// A space, or a line break when the group is broken.
    Line,
    /// Nothing, or a line break when the group is broken.
    Soft,
    /// A line break.
    Hard,
    /// Text that is written only when the group is broken.
    IfBroken(&'static str),
    /// Parts that are broken together or not at all; `true`: broken whatever their width.
    Group(Vec<Doc<'a>>, bool),
    /// Parts that stand two columns further in after a break.
    Nest(Vec<Doc<'a>>, bool),
    /// Lines that are laid out already, their indentation included.
    Lines(String),
    /// A comment behind what stands on its line.
    Behind(&'a str),
    /// A comment on a line of its own.
    Above(&'a str),
    /// A column where a run of lines may be aligned.
    Mark,
}

impl<'a> Doc<'a> {
    /// Makes a group that breaks when it is too wide or a part of it has to be broken.
    pub fn group(parts: Vec<Doc<'a>>) -> Doc<'a> {
        let forced = forced(&parts);
        Doc::Group(parts, forced)
    }

    /// Makes parts that stand further in.
    pub fn nest(parts: Vec<Doc<'a>>) -> Doc<'a> {
        let forced = forced(&parts);
        Doc::Nest(parts, forced)
    }
}

/// Says whether what these parts stand in has to be broken.
fn forced(parts: &[Doc<'_>]) -> bool {
    parts.iter().any(|part| match part {
        Doc::Group(_, forced) | Doc::Nest(_, forced) => *forced,
        Doc::Hard | Doc::Lines(_) | Doc::Behind(_) | Doc::Above(_) => true,
        _ => false,
    })
}

/// An item as text: from its first column, which stands at its indentation.
#[derive(Debug, Default)]
pub(super) struct Rendered {
    pub text: String,
    /// Bytes where a run of lines may be aligned.
    pub marks: Vec<usize>,
    /// A comment behind the last line, not part of the text.
    pub comment: Option<String>,
}

/// Lays an item out that starts in the column `indent`.
pub(super) fn render(parts: &[Doc<'_>], indent: usize) -> Rendered {
    let mut out = Rendered::default();
    let mut paper = Paper {
        content: 0,
        column: indent,
        indent,
        behind: Vec::new(),
    };
    let mut stack: Vec<(usize, bool, &Doc<'_>)> = parts
        .iter()
        .rev()
        .map(|part| (indent, true, part))
        .collect();
    while let Some((indent, broken, doc)) = stack.pop() {
        match doc {
            Doc::Text(text) => paper.write(&mut out, text),
            Doc::Line if !broken => paper.write(&mut out, " "),
            Doc::Soft if !broken => {}
            Doc::Line | Doc::Soft | Doc::Hard => paper.newline(&mut out, indent),
            Doc::IfBroken(text) if broken => paper.write(&mut out, text),
            Doc::IfBroken(_) => {}
            Doc::Group(parts, forced) => {
                let broken = *forced || !fits(parts, &stack, WIDTH.saturating_sub(paper.column));
                stack.extend(parts.iter().rev().map(|part| (indent, broken, part)));
            }
            Doc::Nest(parts, _) => {
                stack.extend(parts.iter().rev().map(|part| (indent + 2, broken, part)));
            }
            Doc::Lines(lines) => {
                paper.flush(&mut out);
                out.text.push_str(lines);
                let last = lines.rsplit('\n').next().unwrap_or("");
                let body = last.trim_start_matches(' ');
                paper.content = out.text.len() - body.len();
                paper.indent = last.len() - body.len();
                paper.column = last.chars().count();
            }
            Doc::Behind(comment) => paper.behind.push(comment),
            Doc::Above(comment) => paper.above(&mut out, comment),
            Doc::Mark => out.marks.push(out.text.len()),
        }
    }
    if let [only] = paper.behind.as_slice() {
        out.comment = Some((*only).to_owned());
    } else {
        paper.flush(&mut out);
    }
    out
}

/// Where the next text goes.
struct Paper<'a> {
    /// Byte where the current line's text starts, behind its indentation.
    content: usize,
    column: usize,
    indent: usize,
    /// Comments that end the current line.
    behind: Vec<&'a str>,
}

impl<'a> Paper<'a> {
    fn write(&mut self, out: &mut Rendered, text: &str) {
        out.text.push_str(text);
        self.column += text.chars().count();
    }

    fn newline(&mut self, out: &mut Rendered, indent: usize) {
        self.flush(out);
        out.text.truncate(out.text.trim_end_matches(' ').len());
        out.text.push('\n');
        out.text.extend(std::iter::repeat_n(' ', indent));
        self.content = out.text.len();
        self.column = indent;
        self.indent = indent;
    }

    /// Writes the comments of the line: one behind it, several above it.
    fn flush(&mut self, out: &mut Rendered) {
        match std::mem::take(&mut self.behind).as_slice() {
            [] => {}
            [only] => {
                out.text.push_str("  ");
                out.text.push_str(only);
            }
            several => several.iter().for_each(|comment| self.above(out, comment)),
        }
    }

    /// Puts a comment above the current line, or where it would start.
    ///
    /// What moves out of its brackets must not become documentation.
    fn above(&mut self, out: &mut Rendered, comment: &str) {
        let moved = out.text.len() > self.content;
        let kept = comment.trim_start_matches('#').len() + 1;
        let comment = if moved {
            &comment[comment.len().saturating_sub(kept)..]
        } else {
            comment
        };
        // Before a closing bracket it belongs to what the bracket closes.
        let closes = out.text[self.content..].starts_with([')', ']', '}', '>']);
        let further = if moved && closes { "  " } else { "" };
        let line = format!("{further}{comment}\n{}", " ".repeat(self.indent));
        out.text.insert_str(self.content, &line);
        for mark in &mut out.marks {
            if *mark >= self.content {
                *mark += line.len();
            }
        }
        self.content += line.len();
    }
}

/// Says whether parts fit flat, with what follows them up to the next place to break.
fn fits(parts: &[Doc<'_>], rest: &[(usize, bool, &Doc<'_>)], room: usize) -> bool {
    let mut left = room;
    let mut stack: Vec<(bool, &Doc<'_>)> = parts.iter().rev().map(|part| (false, part)).collect();
    let mut behind = rest.iter().rev();
    loop {
        let (broken, doc) = match stack.pop() {
            Some(next) => next,
            None => match behind.next() {
                Some((_, broken, doc)) => (*broken, *doc),
                None => return true,
            },
        };
        let width = match doc {
            Doc::Text(text) => text.chars().count(),
            Doc::Line | Doc::Soft if broken => return true,
            Doc::Line => 1,
            Doc::IfBroken(text) if broken => text.len(),
            Doc::Soft | Doc::IfBroken(_) | Doc::Behind(_) | Doc::Mark => 0,
            Doc::Hard | Doc::Above(_) => return true,
            Doc::Lines(lines) => {
                let first = lines.split('\n').next().unwrap_or("");
                return first.chars().count() <= left;
            }
            Doc::Group(parts, _) | Doc::Nest(parts, _) => {
                stack.extend(parts.iter().rev().map(|part| (broken, part)));
                0
            }
        };
        if width > left {
            return false;
        }
        left -= width;
    }
}
