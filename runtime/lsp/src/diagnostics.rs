//! Mistakes as the protocol has them.

use std::collections::BTreeSet;

use cerb_lang::{DefinitionKind, FileId, Severity, Span};
use lsp_types::{DiagnosticRelatedInformation, DiagnosticSeverity, Location, NumberOrString};

use crate::view::{HERE, View};

/// What is said of the entries of a listing; not told while one stands in for all.
const OF_ENTRIES: &[&str] = &[
    "lang::duplicate_key",
    "lang::expectation_fails",
    "lang::missing_key",
    "lang::nothing_left",
    "lang::nothing_listed",
    "lang::unknown_fact",
];

impl View<'_> {
    /// What is wrong with the file; `guessed` when stand-ins were listed.
    pub fn diagnostics(&self, guessed: bool) -> Vec<lsp_types::Diagnostic> {
        // A file of `def`s is there to be used, and makes nothing itself.
        let mut bound = self.analysis.index.definitions.iter();
        let makes = bound.any(|d| d.span.file == HERE && d.kind == DefinitionKind::Let);
        let all = self.analysis.diagnostics.items.iter();
        let told = all.filter(|found| {
            let code = found.code.as_str();
            (makes || code != "lang::no_output") && !(guessed && OF_ENTRIES.contains(&code))
        });
        told.map(|found| diagnostic(self, found)).collect()
    }
}

/// A mistake as the protocol has it.
fn diagnostic(view: &View<'_>, found: &cerb_lang::Diagnostic) -> lsp_types::Diagnostic {
    let elsewhere = found.elsewhere().iter().flat_map(|other| &other.labels);
    let labels: Vec<&(Span, String)> = found.labels.iter().chain(elsewhere).collect();
    let first = labels.first().map(|(span, _)| *span);
    let mut message = found.title.clone();
    let range = match first {
        Some(span) if span.file == HERE => view.range(span),
        Some(span) => {
            let name = view.analysis.sources.file(span.file);
            message.push_str(&format!(" (in {})", name.map_or("", |f| &f.name)));
            used_at(view, span.file)
        }
        None => view.text.range(0, 0),
    };
    let here = first.is_some_and(|span| span.file == HERE);
    if let (true, Some((_, label))) = (here, labels.first())
        && !label.is_empty()
    {
        message.push_str(&format!("\n{label}"));
    }
    if let Some(help) = &found.help {
        message.push_str(&format!("\nhelp: {help}"));
    }
    let related = labels
        .iter()
        .skip(usize::from(here))
        .filter_map(|(span, label)| {
            let location: Location = view.location(*span)?;
            let message = if label.is_empty() {
                found.title.clone()
            } else {
                label.clone()
            };
            Some(DiagnosticRelatedInformation { location, message })
        });
    let related: Vec<_> = related.collect();
    lsp_types::Diagnostic {
        range,
        severity: Some(match found.severity {
            Severity::Error => DiagnosticSeverity::ERROR,
            Severity::Warning => DiagnosticSeverity::WARNING,
        }),
        code: Some(NumberOrString::String(found.code.clone())),
        code_description: view
            .workspace
            .explanation(&found.code)
            .map(|href| lsp_types::CodeDescription { href }),
        source: Some("cerb".to_owned()),
        message,
        related_information: (!related.is_empty()).then_some(related),
        ..lsp_types::Diagnostic::default()
    }
}

/// The `use` that asks for a file, directly or through others; else the head of the file.
fn used_at(view: &View<'_>, file: FileId) -> lsp_types::Range {
    let index = &view.analysis.index;
    let mut wanted = file;
    let mut seen = BTreeSet::new();
    while seen.insert(wanted) {
        let Some(user) = index.definitions.iter().find(|d| d.file == Some(wanted)) else {
            break;
        };
        if user.span.file == HERE {
            return view.range(user.whole);
        }
        wanted = user.span.file;
    }
    view.text.range(0, 0)
}
