//! YAML as it is written: on one line where it fits, in quotes where it has to be.

use super::scalar::{Look, foreign_number, look};

/// Widest line that a value is put on whole.
const WIDTH: usize = 100;

/// A value to be written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Out {
    /// Nothing behind the key.
    Null,
    /// A number or a Bool, as it is.
    Bare(String),
    /// A reference, an expression or a quantity: what it means does not depend on quotes.
    Code(String),
    /// A string; in quotes when it looks like something else.
    Text(String),
    List(Vec<Out>),
    Map(Vec<(String, Out)>),
    /// A mapping that is never put on one line.
    Tall(Vec<(String, Out)>),
}

impl Out {
    /// As it stands on one line; `None` when it does not.
    fn flat(&self) -> Option<String> {
        match self {
            Out::Null => Some("null".into()),
            Out::Bare(text) => Some(text.clone()),
            Out::Code(text) => scalar(text, true, false),
            Out::Text(text) => scalar(text, true, true),
            Out::List(items) => {
                let items: Vec<String> = items.iter().map(Out::flat).collect::<Option<_>>()?;
                Some(format!("[{}]", items.join(", ")))
            }
            Out::Map(entries) => {
                let entry = |(key, value): &(String, Out)| {
                    Some(format!("{}: {}", word(key), value.flat()?))
                };
                let entries: Vec<String> = entries.iter().map(entry).collect::<Option<_>>()?;
                Some(format!("{{{}}}", entries.join(", ")))
            }
            Out::Tall(_) => None,
        }
    }

    /// As a value of its own line, when it is no list or mapping.
    fn line(&self) -> Option<String> {
        match self {
            Out::Null => Some(String::new()),
            Out::Code(text) => scalar(text, false, false),
            Out::Text(text) => scalar(text, false, true),
            _ => self.flat(),
        }
    }
}

/// Writes the entries of a mapping, each on its line.
pub(super) fn entries(out: &mut String, indent: usize, all: &[(String, Out)]) {
    for (key, value) in all {
        let pad = " ".repeat(indent);
        let word = word(key);
        // YAML looks for the colon of a plain key 1024 characters far.
        let head = if word.len() > 1000 {
            format!("{pad}? {word}\n{pad}:")
        } else {
            format!("{pad}{word}:")
        };
        behind(out, &head, indent + 2, value);
    }
}

/// Writes what stands behind a key or a dash.
fn behind(out: &mut String, head: &str, indent: usize, value: &Out) {
    out.push_str(head);
    let column = head.len() - head.rfind('\n').map_or(0, |at| at + 1);
    if let Some(line) = value.line() {
        let whole = !matches!(value, Out::List(_) | Out::Map(_));
        let empty = matches!(value, Out::List(items) if items.is_empty());
        if whole || empty || column + 1 + line.chars().count() <= WIDTH {
            if !line.is_empty() {
                out.push(' ');
                out.push_str(&line);
            }
            out.push('\n');
            return;
        }
    }
    let pad = " ".repeat(indent);
    match value {
        Out::Code(text) | Out::Text(text) if literal(text) => {
            out.push_str(" |-\n");
            for line in text.split('\n') {
                if !line.is_empty() {
                    out.push_str(&pad);
                    out.push_str(line);
                }
                out.push('\n');
            }
        }
        Out::Code(text) | Out::Text(text) => {
            out.push(' ');
            out.push_str(&escaped(text));
            out.push('\n');
        }
        Out::List(items) => {
            out.push('\n');
            for item in items {
                dash(out, indent, item);
            }
        }
        Out::Map(all) | Out::Tall(all) => {
            out.push('\n');
            entries(out, indent, all);
        }
        Out::Null | Out::Bare(_) => out.push('\n'),
    }
}

/// Writes an entry of a list; a mapping begins on the line of its dash.
fn dash(out: &mut String, indent: usize, item: &Out) {
    let pad = " ".repeat(indent);
    if let Out::Map(all) | Out::Tall(all) = item {
        let flat = item
            .flat()
            .filter(|flat| indent + 2 + flat.chars().count() <= WIDTH);
        if flat.is_none() {
            let mut inner = String::new();
            entries(&mut inner, indent + 2, all);
            out.push_str(&format!("{pad}- {}", inner.get(indent + 2..).unwrap_or("")));
            return;
        }
    }
    behind(out, &format!("{pad}-"), indent + 2, item);
}

/// A key.
fn word(key: &str) -> String {
    scalar(key, true, true).unwrap_or_else(|| escaped(key))
}

/// A scalar on one line, in the quotes it needs; `None` when it has several lines.
fn scalar(text: &str, inside: bool, string: bool) -> Option<String> {
    if text.contains('\n') {
        return None;
    }
    let odd =
        |c: char| c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}');
    if text.contains(odd) {
        return Some(escaped(text));
    }
    if plain(text, inside) && !(string && misread(text)) {
        return Some(text.to_owned());
    }
    Some(if !text.contains(['"', '\\']) {
        format!("\"{text}\"")
    } else {
        format!("'{}'", text.replace('\'', "''"))
    })
}

/// Says whether YAML takes a text without quotes as it is.
fn plain(text: &str, inside: bool) -> bool {
    let first = text.chars().next().unwrap_or(' ');
    let dash = first == '-' && text.as_bytes().get(1).is_some_and(|b| b.is_ascii_digit());
    let indicator = "-?:,[]{}#&*!|>'\"%@`=<~".contains(first) && !dash;
    let breaks = |c: char| ",[]{}".contains(c);
    !text.is_empty()
        && !indicator
        && !text.starts_with(char::is_whitespace)
        && !text.ends_with(char::is_whitespace)
        && !text.ends_with(':')
        && !text.contains(": ")
        && !text.contains(" #")
        && !(inside && (text.contains(breaks) || text.contains(':')))
        && !text.starts_with("---")
        && !text.starts_with("...")
}

/// Says whether some reader of YAML takes a word for something else than a string.
fn misread(text: &str) -> bool {
    const WORDS: [&str; 10] = [
        "null", "none", "true", "false", "yes", "no", "on", "off", "nan", "inf",
    ];
    let lower = text.to_ascii_lowercase();
    text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '$' | '+' | '.'))
        || look(text) != Look::Words
        || foreign_number(text)
        || WORDS.contains(&lower.as_str())
}

/// Says whether a text can stand as a block of lines.
fn literal(text: &str) -> bool {
    text.split('\n').next().is_some_and(|first| !first.starts_with([' ', '\t']) && !first.is_empty())
        && !text.ends_with('\n')
        && !text.chars().any(|c| (c.is_control() && c != '\n') || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}'))
        // Lines of spaces alone would be lost.
        && text.split('\n').all(|line| line.is_empty() || !line.trim().is_empty())
}

/// A string in double quotes with escapes.
fn escaped(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: Out) -> String {
        let mut out = String::new();
        entries(&mut out, 0, &[("a".into(), value)]);
        out
    }

    #[test]
    fn strings_are_quoted_where_they_must_be() {
        for (text, wanted) in [
            ("x", "a: x\n"),
            ("*.svs", "a: \"*.svs\"\n"),
            ("yes", "a: \"yes\"\n"),
            ("1", "a: \"1\"\n"),
            ("a: b", "a: \"a: b\"\n"),
            ("say \"x\"", "a: say \"x\"\n"),
            ("\"x\"", "a: '\"x\"'\n"),
            ("a\nb", "a: |-\n  a\n  b\n"),
            (" a\nb", "a: \" a\\nb\"\n"),
            ("", "a: \"\"\n"),
        ] {
            assert_eq!(written(Out::Text(text.into())), wanted);
        }
        assert_eq!(written(Out::Code("5 %".into())), "a: 5 %\n");
        assert_eq!(
            written(Out::List(vec![Out::Code("$(f(a, b))".into())])),
            "a: [\"$(f(a, b))\"]\n"
        );
    }

    #[test]
    fn what_does_not_fit_on_a_line_is_put_on_several() {
        let long = |c: &str| Out::Text(c.repeat(60));
        let list = Out::List(vec![Out::Map(vec![
            ("k".into(), long("x")),
            ("l".into(), long("y")),
        ])]);
        let wanted = format!("a:\n  - k: {}\n    l: {}\n", "x".repeat(60), "y".repeat(60));
        assert_eq!(written(list), wanted);
    }
}
