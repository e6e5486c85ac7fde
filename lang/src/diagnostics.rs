//! Mistakes as a user sees them: code, title, labels, help.

use std::fmt;
use std::sync::Arc;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    SourceCode, SourceSpan, SpanContents,
};

use crate::{SourceMap, Span};

/// Most mistakes shown at once.
pub const MOST: usize = 20;

/// Most bytes shown before and behind a label on its line, and of what a label covers.
const FAR: usize = 400;

/// How much a diagnostic weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// There is no plan.
    Error,
    /// There is a plan.
    Warning,
}

/// A text that is shown by whole lines, those with labels and no others.
#[derive(Debug, Clone)]
struct Lines {
    name: String,
    text: Arc<str>,
}

impl SourceCode for Lines {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        _after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let bytes = self.text.as_bytes();
        let (start, end) = (span.offset(), span.offset() + span.len());
        if end > bytes.len() {
            return Err(MietteError::OutOfBounds);
        }
        let line_start = bytes[..start]
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |i| i + 1);
        // Without context only the place is asked for: the head of a snippet, `[file:line:column]`.
        let (from, to) = if before == 0 {
            (start, end)
        } else {
            let last = end.saturating_sub(1).max(start);
            let line_end = bytes[last..]
                .iter()
                .position(|b| *b == b'\n')
                .map_or(bytes.len(), |i| last + i + 1);
            // Of a line that nobody can read only the surroundings are shown.
            (
                line_start.max(self.text.floor_char_boundary(start.saturating_sub(FAR))),
                line_end.min(self.text.ceil_char_boundary(end.saturating_add(FAR))),
            )
        };
        let line = bytes[..start].iter().filter(|b| **b == b'\n').count();
        let column = String::from_utf8_lossy(&bytes[line_start..from])
            .chars()
            .count();
        let count = bytes[from..to]
            .iter()
            .filter(|b| **b == b'\n')
            .count()
            .max(1);
        let covered = SourceSpan::from((from, to - from));
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            &bytes[from..to],
            covered,
            line,
            column,
            count,
        )))
    }
}

/// One mistake: a fact, where it stands, and what to do next.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// Stable code: `lang::unknown_param`.
    pub code: String,
    /// How much it weighs.
    pub severity: Severity,
    /// A fact, lower case, names in backticks, no period.
    pub title: String,
    /// What to look at; the first is the smallest span to edit.
    pub labels: Vec<(Span, String)>,
    /// The next action, pasteable, or nothing.
    pub help: Option<String>,
    /// The text of the first label's file; filled when a phase ends.
    source: Option<Lines>,
    /// Labels that lie in other files, one for each file.
    related: Vec<Diagnostic>,
}

impl Diagnostic {
    /// Makes an error without labels.
    #[must_use]
    pub fn new(code: &str, title: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            severity: Severity::Error,
            title: title.into(),
            labels: Vec::new(),
            help: None,
            source: None,
            related: Vec::new(),
        }
    }

    /// Adds a label.
    #[must_use]
    pub fn at(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push((span, text.into()));
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Makes it a warning.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Its labels that lie in other files than the first, one mistake for each file.
    #[must_use]
    pub fn elsewhere(&self) -> &[Diagnostic] {
        &self.related
    }

    /// Takes in the text its labels point into, so that it can be rendered alone.
    #[must_use]
    pub(crate) fn with_sources(mut self, sources: &SourceMap) -> Self {
        let Some(first) = self.labels.first().map(|(span, _)| span.file) else {
            return self;
        };
        self.source = sources.file(first).map(|file| Lines {
            name: file.name.clone(),
            text: Arc::clone(&file.text),
        });
        let (here, elsewhere): (Vec<_>, Vec<_>) = self
            .labels
            .drain(..)
            .partition(|(span, _)| span.file == first);
        self.labels = here;
        for (span, text) in elsewhere {
            let other = Diagnostic::new(&self.code, "").at(span, text);
            self.related.push(other.with_sources(sources));
        }
        self
    }

    /// Renders it alone.
    #[must_use]
    pub fn render(&self, color: bool, width: usize) -> String {
        let theme = if color {
            GraphicalTheme::unicode()
        } else {
            GraphicalTheme::unicode_nocolor()
        };
        let mut out = String::new();
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(width)
            .with_links(false)
            .with_context_lines(1)
            .with_cause_chain();
        if handler.render_report(&mut out, self).is_err() {
            return format!("{}\n  {}\n", self.code, self.title);
        }
        // What lies in other files stands under the own file, before the help.
        let help = out.rfind("\n  help: ").filter(|_| self.help.is_some());
        let end = out.split_off(help.map_or(out.len(), |at| at + 1));
        for other in &self.related {
            let shown = other.render(color, width);
            let snippet = shown.find("  ╭─[").or_else(|| shown.find("╭─["));
            let start = snippet.map_or(0, |at| shown[..at].rfind('\n').map_or(0, |at| at + 1));
            out.push_str(&shown[start..]);
        }
        out + &end
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)
    }
}

impl std::error::Error for Diagnostic {}

impl miette::Diagnostic for Diagnostic {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let source = self.source.as_ref()?;
        let first = self
            .labels
            .first()
            .map_or(0, |(span, _)| span.start as usize);
        // On a line that is shown in part the other labels may lie outside of it.
        let near = move |at: usize| {
            let (from, to) = (first.min(at), first.max(at));
            to - from <= FAR || source.text.get(from..to).is_none_or(|t| t.contains('\n'))
        };
        let shown = self.labels.iter().enumerate();
        let shown = shown.filter(move |(_, (span, _))| near(span.start as usize));
        Some(Box::new(shown.map(move |(i, (span, text))| {
            let start = span.start as usize;
            let most = source.text.floor_char_boundary(start + FAR);
            let range = start..(span.end as usize).min(most.max(start));
            let text = (!text.is_empty()).then(|| text.clone());
            if i == 0 {
                LabeledSpan::new_primary_with_span(text, range)
            } else {
                LabeledSpan::new_with_span(text, range)
            }
        })))
    }
}

/// All mistakes of one phase, at most [`MOST`].
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    /// The files they lie in.
    pub sources: SourceMap,
    /// The mistakes, in the order they stand in the file.
    pub items: Vec<Diagnostic>,
    /// How many more there are.
    pub more: usize,
}

impl Diagnostics {
    /// Sorts, keeps the first [`MOST`], and takes in the text.
    #[must_use]
    pub fn new(sources: SourceMap, mut items: Vec<Diagnostic>) -> Self {
        items.sort_by_cached_key(|d| (d.labels.first().map(|(span, _)| *span), d.title.clone()));
        // A `def` is looked at for each call of it; what is wrong inside is said once.
        let place = |d: &Diagnostic| d.labels.first().map(|(span, _)| *span);
        items.dedup_by(|a, b| (&a.code, &a.title, place(a)) == (&b.code, &b.title, place(b)));
        let more = items.len().saturating_sub(MOST);
        items.truncate(MOST);
        let items = items
            .into_iter()
            .map(|d| d.with_sources(&sources))
            .collect();
        Self {
            sources,
            items,
            more,
        }
    }

    /// Renders all of them for a terminal of `width` columns.
    #[must_use]
    pub fn render(&self, color: bool, width: usize) -> String {
        let mut out = self
            .items
            .iter()
            .map(|d| d.render(color, width))
            .collect::<Vec<_>>()
            .join("\n");
        if self.more > 0 {
            out.push_str(&format!("\n… and {} more\n", self.more));
        }
        out
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false, 100))
    }
}

impl std::error::Error for Diagnostics {}
