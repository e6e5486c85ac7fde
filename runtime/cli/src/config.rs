//! Files of values: `-P params.yaml`, and `cerb.yaml` and `cerb.local.yaml` beside a pipeline.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cerb_lang::{Diagnostic, Diagnostics, Place, SourceMap, Span, UNITS, listed, nearest};
use serde::de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::{Error, MessageFormatter, Spanned, UserMessageFormatter};

use crate::args::Device;
use crate::failure::Failure;
use crate::machine;
use crate::session::plain;

/// What `cerb.yaml` says: tracked, the same for everybody.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Shared {
    /// Values that go together, by name.
    pub profiles: BTreeMap<String, Profile>,
}

/// What `cerb.local.yaml` says: untracked, of this machine alone.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Local {
    /// Folders of roots, relative to the file.
    pub roots: BTreeMap<String, PathBuf>,
    /// Files that hold secrets, relative to the file.
    pub secrets: BTreeMap<String, PathBuf>,
    /// Values that go together, by name; over those of `cerb.yaml`.
    pub profiles: BTreeMap<String, Profile>,
}

/// Values that go together.
#[derive(Deserialize, Default, Clone)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    /// Values of parameters.
    pub params: BTreeMap<String, Plain>,
    /// Cores to use.
    #[serde(deserialize_with = "jobs")]
    pub jobs: Option<usize>,
    /// What runs the network.
    pub device: Option<Device>,
    /// Bytes of memory to use.
    #[serde(deserialize_with = "memory")]
    pub memory: Option<u64>,
}

impl Profile {
    /// Puts the values of another over these.
    pub fn take(&mut self, over: &Profile) {
        self.params.extend(over.params.clone());
        self.jobs = over.jobs.or(self.jobs);
        self.device = over.device.or(self.device);
        self.memory = over.memory.or(self.memory);
    }
}

/// A value of a parameter: the text of an expression, where a string is what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    /// The text.
    pub text: String,
    /// The bytes of its file.
    bytes: (usize, usize),
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Plain, D::Error> {
        let found = Spanned::<Text>::deserialize(from)?;
        let span = found.defined.span();
        let byte = |at: Option<u64>| at.and_then(|at| usize::try_from(at).ok()).unwrap_or(0);
        let start = byte(span.byte_offset());
        Ok(Plain {
            text: found.value.0,
            bytes: (start, start + byte(span.byte_len())),
        })
    }
}

/// What a value says.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Text, D::Error> {
        Ok(Text(from.deserialize_any(PlainVisitor { inner: false })?))
    }
}

/// A file of values: what it says, and its text.
pub struct File<T> {
    /// Its name.
    pub name: String,
    /// What it says.
    pub said: T,
    text: Arc<str>,
}

impl<T> File<T> {
    /// Says where a value of it stands, and its name before it.
    pub fn place(&self, name: &str, value: &Plain) -> Place {
        let (start, end) = value.bytes;
        let end = end.min(self.text.len());
        let written = self.text.get(start..end).unwrap_or_default();
        let value = (start, start + written.trim_end().len());
        let before = self.text.get(..start).and_then(|text| text.rfind(name));
        let name = before.map_or(value, |at| (at, at + name.len()));
        let byte = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Place {
            file: self.name.clone(),
            text: Arc::clone(&self.text),
            name: (byte(name.0), byte(name.1)),
            value: (byte(value.0), byte(value.1)),
        }
    }
}

/// An element of a list: like a value, but a string is quoted unless it is a quantity.
struct Element(String);

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Element, D::Error> {
        from.deserialize_any(PlainVisitor { inner: true })
            .map(Element)
    }
}

struct PlainVisitor {
    inner: bool,
}

impl<'de> Visitor<'de> for PlainVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, a text, true, false, or a list of these")
    }

    fn visit_bool<E>(self, value: bool) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_i64<E>(self, value: i64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_u64<E>(self, value: u64) -> Result<String, E> {
        Ok(value.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<String, E> {
        if value.is_finite() {
            Ok(format!("{value:?}"))
        } else {
            Err(E::custom("a value is a finite number"))
        }
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(if self.inner && !is_quantity(text) {
            format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
        } else {
            text.to_owned()
        })
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<String, E> {
        Err(E::custom(
            "there is no value; write `none`, or leave the line out to keep what else is said",
        ))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<String, A::Error> {
        let mut words = Vec::new();
        while let Some(Element(word)) = all.next_element()? {
            words.push(word);
        }
        Ok(format!("[{}]", words.join(", ")))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        Err(A::Error::custom(
            "a value is a number, a text, true, false, or a list of these, not names inside a name",
        ))
    }
}

/// Says whether a text is a number with a unit behind it: `0.5 mpp`.
fn is_quantity(text: &str) -> bool {
    let text = text.trim();
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || "+-._ ".contains(c));
    let number = text[..text.len() - unit.len()].trim();
    number.parse::<f64>().is_ok() && UNITS.iter().any(|known| known.0 == unit)
}

fn jobs<'de, D: Deserializer<'de>>(from: D) -> Result<Option<usize>, D::Error> {
    match Option::<usize>::deserialize(from)? {
        Some(0) => Err(D::Error::custom("`jobs` is at least 1")),
        given => Ok(given),
    }
}

fn memory<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    Option::<String>::deserialize(from)?
        .map(|text| machine::parse_bytes(&text).map_err(D::Error::custom))
        .transpose()
}

/// Reads a file of values.
pub fn read<T: DeserializeOwned>(file: &Path) -> Result<File<T>, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::call(
            format!("cannot read `{}`: {}", file.display(), plain(&error)),
            "name a YAML or JSON file of values, one `name: value` on a line",
        )
    })?;
    let name = file.display().to_string();
    Ok(File {
        said: parse(&text, &name)?,
        text: Arc::from(text),
        name,
    })
}

/// Reads a file of values if it is there.
pub fn read_if_there<T: DeserializeOwned + Default>(file: &Path) -> Result<File<T>, Failure> {
    if file.exists() {
        return read(file);
    }
    Ok(File {
        name: file.display().to_string(),
        said: T::default(),
        text: Arc::default(),
    })
}

fn parse<T: DeserializeOwned>(text: &str, name: &str) -> Result<T, Failure> {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| Failure::from(told(&error, text, name)))
}

/// Says what is wrong with a file of values, and where.
fn told(error: &Error, text: &str, name: &str) -> Diagnostics {
    let error = error.without_snippet();
    let mut sources = SourceMap::default();
    let file = sources.add(name, text);
    let mut help = None;
    let (title, label) = match error {
        Error::SerdeUnknownField {
            field, expected, ..
        } => {
            help = Some(match nearest(field, expected.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", listed(expected, "and")),
            });
            (format!("there is no setting `{field}`"), String::new())
        }
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => {
            help = Some(format!("it is one of {}", listed(expected, "or")));
            (
                format!("`{variant}` is none of the words this may be"),
                String::new(),
            )
        }
        other => {
            let message = match other {
                Error::Unexpected {
                    expected: "mapping start",
                    ..
                } => "names belong here, one `name: value` on a line".to_owned(),
                Error::InvalidScalar {
                    ty: "u64" | "usize",
                    ..
                } => "this is no whole number".to_owned(),
                other => UserMessageFormatter.format_message(other).into_owned(),
            };
            ("the file cannot be taken as values".to_owned(), message)
        }
    };
    let place = error.location().map(|place| place.span());
    let start = place.and_then(|span| span.byte_offset()).unwrap_or(0);
    // The parser does not say where a tab is that it cannot take for indentation.
    let (start, label) = match indenting_tab(text) {
        Some(tab) if start == 0 => (tab, "a tab; YAML is indented with spaces".to_owned()),
        _ => (start, label),
    };
    let length = place.and_then(|span| span.byte_len()).unwrap_or(0).max(1);
    let end = text.len() as u64;
    let (start, stop) = (start.min(end), (start + length).min(end));
    // Only the first line of what is pointed at, and no less than its first word.
    let rest = text.get(start as usize..).unwrap_or_default();
    let line = rest.lines().next().unwrap_or_default();
    let word = line
        .find(|c: char| !c.is_alphanumeric())
        .unwrap_or(line.len()) as u64;
    let shown = (stop - start).min(line.len() as u64).max(word);
    let span = Span::new(file, start as u32, (start + shown) as u32);
    let mut found = Diagnostic::new("cli::bad_values", title).at(span, label);
    if let Some(help) = help {
        found = found.help(help);
    }
    Diagnostics::new(sources, vec![found])
}

/// Finds the first tab before the words of a line.
fn indenting_tab(text: &str) -> Option<u64> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        if let Some(tab) = line[..indent].find('\t') {
            return Some(at + tab as u64);
        }
        at += line.len() as u64;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    type Values = BTreeMap<String, Plain>;

    fn text(yaml: &str, name: &str) -> String {
        parse::<Values>(yaml, "p.yaml").ok().unwrap()[name]
            .text
            .clone()
    }

    fn refused<T: DeserializeOwned>(yaml: &str) -> String {
        match parse::<T>(yaml, "p.yaml") {
            Ok(_) => panic!("it was taken"),
            Err(failure) => failure.to_json().to_string(),
        }
    }

    #[test]
    fn values_become_the_text_of_expressions() {
        assert_eq!(text("n: 3", "n"), "3");
        assert_eq!(text("at: 0.5 mpp", "at"), "0.5 mpp");
        assert_eq!(text("x: 1.0", "x"), "1.0");
        assert_eq!(text("on: true", "on"), "true");
        assert_eq!(text("word: no", "word"), "no");
        assert_eq!(text("all: [1, 2]", "all"), "[1, 2]");
        assert_eq!(text("all: [0.5 mpp, 1 mpp]", "all"), "[0.5 mpp, 1 mpp]");
        assert_eq!(text("all: [a, \"b\\\"c\"]", "all"), r#"["a", "b\"c"]"#);
        assert_eq!(text("{\n\t\"n\": 3\n}", "n"), "3");
    }

    #[test]
    fn a_value_and_its_name_are_found_in_their_file() {
        for text in [
            "n: 99\nfoo: 0.5 mpp\n",
            "{\n\t\"foo\": \"0.5 mpp\"}",
            "foo: [1,\n 2] # x\n",
        ] {
            let file = File {
                name: "v.yaml".to_owned(),
                said: parse::<Values>(text, "v.yaml").ok().unwrap(),
                text: Arc::from(text),
            };
            let place = file.place("foo", &file.said["foo"]);
            let of = |(from, to): (u32, u32)| &text[from as usize..to as usize];
            assert_eq!(of(place.name), "foo");
            let value = of(place.value);
            assert!(
                value.contains("0.5 mpp") || value.starts_with('['),
                "{value}"
            );
            assert!(!value.contains('#'), "{value}");
        }
    }

    #[test]
    fn what_is_no_plain_value_is_refused_where_it_stands() {
        let said = refused::<Values>("n: 3\nm:\n  k: 1\n");
        assert!(
            said.contains("names inside a name") && said.contains("\"line\":"),
            "{said}"
        );
        assert!(refused::<Values>("n:\n").contains("there is no value"));
        assert!(refused::<Values>("n: .inf\n").contains("finite"));
        assert!(refused::<Values>("- 1\n- 2\n").contains("cli::bad_values"));
        assert!(refused::<Values>("n: 1\nn: 2\n").contains("duplicate"));
    }

    #[test]
    fn mistakes_of_shape_are_told_in_words_and_at_their_place() {
        assert!(refused::<Local>("roots: 3\n").contains("names belong here"));
        assert!(refused::<Shared>("profiles: {q: {jobs: x}}\n").contains("no whole number"));
        let said = refused::<Local>("roots:\n\tdata: /x\n");
        assert!(
            said.contains("a tab") && said.contains("\"line\":2"),
            "{said}"
        );
    }

    #[test]
    fn an_unknown_setting_gets_a_suggestion() {
        let said = refused::<Local>("rots:\n  data: /x\n");
        assert!(said.contains("did you mean `roots`?"), "{said}");
        let said = refused::<Shared>("profiles:\n  quick: {job: 2}\n");
        assert!(said.contains("did you mean `jobs`?"), "{said}");
        assert!(refused::<Shared>("profiles: {q: {device: tpu}}\n").contains("`cuda`"));
        assert!(refused::<Shared>("profiles: {q: {memory: 4 bananas}}\n").contains("4GiB"));
        assert!(refused::<Shared>("profiles: {q: {jobs: 0}}\n").contains("at least 1"));
    }

    #[test]
    fn a_profile_goes_over_another_value_by_value() {
        let local: Local = parse(
            "profiles: {quick: {params: {n: 3}, memory: 8 GiB}}\n",
            "l.yaml",
        )
        .ok()
        .unwrap();
        let mut all: Profile = parse("{params: {n: 1, m: 2}, jobs: 2}", "s.yaml")
            .ok()
            .unwrap();
        all.take(&local.profiles["quick"]);
        assert_eq!((&*all.params["n"].text, &*all.params["m"].text), ("3", "2"));
        assert_eq!((all.jobs, all.memory), (Some(2), Some(8 << 30)));
    }
}
