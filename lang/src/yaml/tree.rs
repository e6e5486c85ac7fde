//! YAML text to a tree of scalars, lists and mappings, each with its place; nothing else of YAML gets in.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, StructureStyle, options};

use super::node::{Node, NodeKind, Place, Scalar};
use super::wrong::{anchor, shown, words};
use crate::syntax::{DEEPEST, Fault, too_deep};
use crate::{Diagnostic, FileId, Span};

/// Most nodes of one file; a pipeline of ten thousand bindings has a tenth of them.
const MOST_NODES: usize = 1_000_000;

/// A list or a mapping whose end has not been seen.
struct Open<'t> {
    parts: Parts<'t>,
    span: Span,
    flow: bool,
}

enum Parts<'t> {
    List(Vec<Node<'t>>),
    Map {
        entries: Vec<(Scalar<'t>, Node<'t>)>,
        /// The key whose value comes next, and whether it stands there for the first time.
        key: Option<(Scalar<'t>, bool)>,
        seen: HashMap<Cow<'t, str>, Span>,
    },
}

/// Builds the tree; what YAML has and a pipeline has not is a mistake.
pub(super) struct Builder<'t> {
    text: &'t str,
    file: FileId,
    open: Vec<Open<'t>>,
    root: Option<Node<'t>>,
    nodes: usize,
    documents: usize,
    faults: Vec<Diagnostic>,
}

/// Reads a whole file.
pub(super) fn tree(text: &str, file: FileId) -> (Option<Node<'_>>, Vec<Diagnostic>) {
    let mut how: Options = options! { emit_anchor_events: true, emit_unresolved_aliases: true };
    how.set_emit_comments(false);
    let mut builder = Builder {
        text,
        file,
        open: Vec::new(),
        root: None,
        nodes: 0,
        documents: 0,
        faults: Vec::new(),
    };
    for event in Parser::new_from_str_with_options(text, how) {
        let fault = match event {
            Ok((event, span)) => builder.event(event, &span),
            Err(error) => Err(builder.malformed(&error).into()),
        };
        if let Err(fault) = fault {
            builder.faults.push(*fault);
            return (None, builder.faults);
        }
    }
    (builder.root, builder.faults)
}

/// Counts the comments of a file.
pub(crate) fn comments(text: &str) -> usize {
    let mut how: Options = options! { max_buffered_comment_events: usize::MAX };
    how.set_emit_comments(true);
    Parser::new_from_str_with_options(text, how)
        .map_while(Result::ok)
        .filter(|(event, _)| matches!(event, Event::Comment(..)))
        .count()
}

impl<'t> Builder<'t> {
    fn span(&self, span: &granit_parser::Span) -> Span {
        let place = |at: usize| u32::try_from(at.min(self.text.len())).unwrap_or(u32::MAX);
        let range = span.byte_range().unwrap_or(0..0);
        Span::new(self.file, place(range.start), place(range.end))
    }

    fn event(
        &mut self,
        event: Event<'t>,
        span: &granit_parser::Span,
    ) -> Result<(), Box<Diagnostic>> {
        let at = self.span(span);
        let tag = match &event {
            Event::Scalar(_, _, _, tag)
            | Event::SequenceStart(_, _, tag)
            | Event::MappingStart(_, _, tag) => tag.is_some(),
            _ => false,
        };
        if tag {
            let at = span.tag_span().map_or(at, |tag| self.span(&tag));
            self.faults.push(
                Diagnostic::new("lang::yaml_tag", "a pipeline has no tags")
                    .at(at, "a tag")
                    .help("leave it out; the types are those of the operators"),
            );
        }
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Diagnostic::new(
                        "lang::yaml_documents",
                        "a file holds one pipeline",
                    )
                    .at(at, "a second one starts here")
                    .help("leave out the `---`, or make it a file of its own")
                    .into());
                }
            }
            Event::Anchor(..) => return Err(anchor(at, "an anchor").into()),
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                return Err(anchor(at, "an alias").into());
            }
            Event::Scalar(value, style, ..) => {
                let found = self.scalar(value, style, at);
                self.count(at)?;
                self.place(Placed::Scalar(found))?;
            }
            Event::SequenceStart(style, ..) => self.begin(Parts::List(Vec::new()), style, at)?,
            Event::MappingStart(style, ..) => {
                let parts = Parts::Map {
                    entries: Vec::new(),
                    key: None,
                    seen: HashMap::new(),
                };
                self.begin(parts, style, at)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    self.place(Placed::Node(end(open, at)))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, at: Span) -> Result<(), Box<Diagnostic>> {
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            let title = format!("the file has more than {MOST_NODES} values");
            return Err(Diagnostic::new("lang::too_long", title)
                .at(at, "one too many")
                .into());
        }
        Ok(())
    }

    fn begin(
        &mut self,
        parts: Parts<'t>,
        style: StructureStyle,
        span: Span,
    ) -> Result<(), Box<Diagnostic>> {
        self.count(span)?;
        if self.open.len() >= usize::from(DEEPEST) {
            let Fault(found) = too_deep(span);
            return Err(found);
        }
        self.open.push(Open {
            parts,
            span,
            flow: style == StructureStyle::Flow,
        });
        Ok(())
    }

    fn scalar(&self, text: Cow<'t, str>, style: ScalarStyle, at: Span) -> Scalar<'t> {
        let plain = style == ScalarStyle::Plain;
        let quotes = matches!(style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted);
        let inner = if quotes && at.len() >= 2 {
            Span::new(at.file, at.start + 1, at.end - 1)
        } else {
            at
        };
        // A value that is left out is a `~` of no length.
        let text = if plain && at.is_empty() {
            "".into()
        } else {
            text
        };
        let written = self
            .text
            .get(inner.start as usize..inner.end as usize)
            .unwrap_or("");
        let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        let trimmed = u32::try_from(written.trim_end().len()).unwrap_or(u32::MAX);
        let span = match (written == text, block) {
            (_, true) => Span::new(at.file, at.start, at.start + trimmed),
            (true, false) => inner,
            (false, false) => at,
        };
        let place = if written == text {
            Place::Exact
        } else {
            aligned(&text, written, inner.start, style).map_or(Place::Whole, Place::Bytes)
        };
        Scalar {
            text,
            plain,
            span,
            place,
        }
    }

    /// Puts something where it belongs: in the open list or mapping, or at the top.
    fn place(&mut self, placed: Placed<'t>) -> Result<(), Box<Diagnostic>> {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(placed.node());
            return Ok(());
        };
        match &mut open.parts {
            Parts::List(items) => items.push(placed.node()),
            Parts::Map { entries, key, seen } => match (key.take(), placed) {
                (Some((key, first)), placed) => {
                    if first {
                        entries.push((key, placed.node()));
                    }
                }
                (None, Placed::Node(node)) => {
                    let title = format!("a key is a word, not {}", node.words());
                    return Err(Diagnostic::new("lang::yaml_shape", title)
                        .at(node.span, "this stands where a key is expected")
                        .into());
                }
                (None, Placed::Scalar(word)) => {
                    if &*word.text == "<<" {
                        return Err(anchor(word.span, "a merge key").into());
                    }
                    let first = *seen.entry(word.text.clone()).or_insert(word.span);
                    let fresh = first == word.span;
                    if !fresh {
                        let title = format!("`{}` stands twice", shown(&word.text));
                        self.faults.push(
                            Diagnostic::new("lang::yaml_duplicate_key", title)
                                .at(word.span, "again here")
                                .at(first, "first here"),
                        );
                    }
                    *key = Some((word, fresh));
                }
            },
        }
        Ok(())
    }

    /// What the YAML parser says, where it says it.
    fn malformed(&self, error: &granit_parser::ScanError) -> Diagnostic {
        let at = error.marker().byte_offset().unwrap_or(0);
        let mut at = (0..=at.min(self.text.len()))
            .rev()
            .find(|i| self.text.is_char_boundary(*i))
            .unwrap_or(0);
        // The parser stops behind a tab.
        if words(error.kind()).0.starts_with("a tab") && self.text[..at].ends_with('\t') {
            at -= 1;
        }
        let width = self
            .text
            .get(at..)
            .and_then(|t| t.chars().next())
            .map_or(0, char::len_utf8);
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let span = Span::new(self.file, place(at), place(at + width));
        if *error.kind() == ErrorKind::RecursionLimitExceeded {
            let Fault(found) = too_deep(span);
            return *found;
        }
        let (title, help) = words(error.kind());
        let found = Diagnostic::new("lang::yaml_syntax", title).at(span, "here");
        match help {
            Some(help) => found.help(help),
            None => found,
        }
    }
}

/// Longest scalar whose bytes are each found in the file.
const LONGEST: usize = 1 << 16;

/// Finds where each byte of a value stands in what is written, which differs in white space and
/// escapes; `None` when it differs in more.
fn aligned(value: &str, written: &str, start: u32, style: ScalarStyle) -> Option<Rc<[u32]>> {
    if value.len() > LONGEST || written.len() > 4 * LONGEST {
        return None;
    }
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = written;
    for c in value.chars() {
        if !c.is_whitespace() {
            rest = rest.trim_start();
        }
        let here = start + u32::try_from(written.len() - rest.len()).ok()?;
        let next = rest.chars().next();
        let taken = match (next, style) {
            (Some('\\'), ScalarStyle::DoubleQuoted) => match rest.chars().nth(1)? {
                'x' => 4,
                'u' => 6,
                'U' => 10,
                other => 1 + other.len_utf8(),
            },
            (Some('\''), ScalarStyle::SingleQuoted) => 2,
            (Some(same), _) if same == c => c.len_utf8(),
            // A fold: what is a space or a line break here is white space there, or nothing.
            _ if c.is_whitespace() => 0,
            _ => return None,
        };
        let first = u32::try_from(taken).ok().filter(|_| taken != c.len_utf8());
        for i in 0..c.len_utf8() {
            // A character that is escaped stands at the first byte of its escape.
            let within = if first.is_some() {
                0
            } else {
                u32::try_from(i).ok()?
            };
            bytes.push(here + within);
        }
        rest = rest.get(taken..)?;
    }
    Some(bytes.into())
}

/// Something to put somewhere.
enum Placed<'t> {
    Scalar(Scalar<'t>),
    Node(Node<'t>),
}

impl<'t> Placed<'t> {
    fn node(self) -> Node<'t> {
        match self {
            Placed::Node(node) => node,
            Placed::Scalar(found) => Node {
                span: found.span,
                kind: NodeKind::Scalar(found),
            },
        }
    }
}

/// Closes a list or a mapping; one without brackets ends where its last part does.
fn end(open: Open<'_>, at: Span) -> Node<'_> {
    let (kind, last) = match open.parts {
        Parts::List(items) => {
            let last = items.last().map(|node| node.span);
            (NodeKind::List(items), last)
        }
        Parts::Map { entries, .. } => {
            let last = entries.last().map(|(key, node)| key.span.to(node.span));
            (NodeKind::Map(entries), last)
        }
    };
    let end = if open.flow {
        at
    } else {
        last.unwrap_or(open.span)
    };
    Node {
        kind,
        span: open.span.to(end),
    }
}
