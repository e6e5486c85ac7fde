//! Mistakes for programs: as JSON, and as SARIF 2.1.0 for code scanners.

use std::collections::BTreeSet;

use cerb_lang::{Diagnostic, Severity, SourceMap, Span};
use serde_json::{Map, Value, json};

use crate::commands::explain::{PAGES, gist};

/// The schema that SARIF documents name.
const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/// Returns a diagnostic as JSON: what, where, and what to do.
///
/// Lines and columns count from one, columns in characters; bytes from zero. The end is the first
/// place behind.
pub fn json(diagnostic: &Diagnostic, sources: &SourceMap) -> Value {
    let labels: Vec<Value> = diagnostic
        .labels
        .iter()
        .map(|(span, text)| place(*span, text, sources))
        .collect();
    let first = diagnostic.labels.first().map(|(span, _)| *span);
    json!({
        "code": diagnostic.code,
        "severity": severity(diagnostic),
        "title": diagnostic.title,
        "file": first.and_then(|span| sources.file(span.file)).map(|file| file.name.clone()),
        "range": first.map(|span| range(span, sources)),
        "labels": labels,
        "help": diagnostic.help,
    })
}

fn severity(diagnostic: &Diagnostic) -> &'static str {
    match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn place(span: Span, text: &str, sources: &SourceMap) -> Value {
    let file = sources.file(span.file).map(|file| file.name.clone());
    json!({ "file": file, "range": range(span, sources), "text": text })
}

fn range(span: Span, sources: &SourceMap) -> Value {
    let point = |byte: u32| {
        let (line, column) = sources.line_column(Span::new(span.file, byte, byte));
        json!({ "line": line, "column": column, "byte": byte })
    };
    json!({ "start": point(span.start), "end": point(span.end) })
}

/// A diagnostic on its way into a SARIF document.
pub struct Found {
    /// What was found.
    pub diagnostic: Diagnostic,
    /// The texts its labels point into.
    pub sources: SourceMap,
}

/// Returns a SARIF 2.1.0 document of everything that was found in these files.
pub fn sarif(found: &[Found], files: &[String]) -> Value {
    let rules: BTreeSet<&str> = found
        .iter()
        .map(|one| one.diagnostic.code.as_str())
        .collect();
    let rules: Vec<&str> = rules.into_iter().collect();
    let results: Vec<Value> = found.iter().map(|one| result(one, &rules, files)).collect();
    let rules: Vec<Value> = rules.iter().map(|code| rule(code)).collect();
    let artifacts: Vec<Value> = files
        .iter()
        .map(|file| json!({ "location": { "uri": uri(file) }, "encoding": "UTF-8" }))
        .collect();
    json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "cerb",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            } },
            "columnKind": "utf16CodeUnits",
            "artifacts": artifacts,
            "results": results,
        }],
    })
}

fn rule(code: &str) -> Value {
    let mut rule = json!({ "id": code });
    if let Some((_, page)) = PAGES.iter().find(|(known, _)| *known == code) {
        rule["shortDescription"] = json!({ "text": gist(page) });
        rule["help"] = json!({ "text": page, "markdown": page });
    }
    rule
}

fn result(found: &Found, rules: &[&str], files: &[String]) -> Value {
    let Found {
        diagnostic,
        sources,
    } = found;
    let help = diagnostic.help.iter().map(|help| format!("\n{help}"));
    let mut result = json!({
        "ruleId": diagnostic.code,
        "ruleIndex": rules.binary_search(&diagnostic.code.as_str()).ok(),
        "level": severity(diagnostic),
        "message": { "text": std::iter::once(diagnostic.title.clone()).chain(help).collect::<String>() },
    });
    let mut places = diagnostic
        .labels
        .iter()
        .filter_map(|(span, text)| location(*span, text, sources, files));
    if let Some(first) = places.next() {
        result["locations"] = json!([first]);
    }
    let others: Vec<Value> = places.collect();
    if !others.is_empty() {
        result["relatedLocations"] = Value::Array(others);
    }
    result
}

/// A place in one of the files; none for a value of the command line, which is no file.
fn location(span: Span, text: &str, sources: &SourceMap, files: &[String]) -> Option<Value> {
    let file = sources.file(span.file)?;
    let mut artifact = Map::new();
    artifact.insert("uri".to_owned(), json!(uri(&file.name)));
    match files.iter().position(|name| *name == file.name) {
        Some(index) => drop(artifact.insert("index".to_owned(), json!(index))),
        None if std::path::Path::new(&file.name).is_file() => {}
        None => return None,
    }
    let (start_line, start) = utf16(&file.text, span.start);
    let (end_line, end) = utf16(&file.text, span.end.max(span.start));
    let mut location = json!({ "physicalLocation": {
        "artifactLocation": artifact,
        "region": {
            "startLine": start_line,
            "startColumn": start,
            "endLine": end_line,
            "endColumn": end,
            "byteOffset": span.start,
            "byteLength": span.len(),
        },
    } });
    if !text.is_empty() {
        location["message"] = json!({ "text": text });
    }
    Some(location)
}

/// Line and column of a byte, both from one, the column in UTF-16 code units.
fn utf16(text: &str, byte: u32) -> (usize, usize) {
    let before = text.get(..byte as usize).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let last = before.rsplit('\n').next().unwrap_or_default();
    (line, last.encode_utf16().count() + 1)
}

/// A path as a URI reference: `/` between the parts, everything else that is special escaped.
pub fn uri(path: &str) -> String {
    let mut out = String::new();
    if path.starts_with('/') {
        out.push_str("file://");
    }
    for byte in path.trim_start_matches("./").bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_sarif_count_utf16() {
        assert_eq!(utf16("a\nb🔬c", 7), (2, 4));
        assert_eq!(utf16("", 0), (1, 1));
    }

    #[test]
    fn a_path_becomes_a_uri() {
        assert_eq!(uri("./a b/ü.cerb"), "a%20b/%C3%BC.cerb");
        assert_eq!(uri("/x/a.cerb"), "file:///x/a.cerb");
    }

    #[test]
    fn a_diagnostic_says_where_it_begins_and_ends() {
        let mut sources = SourceMap::default();
        let file = sources.add("a.cerb", "é x\n");
        let one = Diagnostic::new("lang::cycle", "a fact").at(Span::new(file, 3, 4), "here");
        let value = json(&one, &sources);
        assert_eq!(
            value["range"]["start"],
            json!({ "line": 1, "column": 3, "byte": 3 })
        );
        assert_eq!(
            value["range"]["end"],
            json!({ "line": 1, "column": 4, "byte": 4 })
        );
        assert_eq!(value["file"], "a.cerb");
    }
}
