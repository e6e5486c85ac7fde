//! The command line: places filled in with paths and values.
//!
//! In the form that `sh` reads, a value never becomes text of the script: it travels in a
//! variable, and the script names that variable, quoted as its surroundings need it. So no
//! value can end a quotation or start a command, whatever it holds.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::Path,
    process,
};

use cerb_lang::{Command, Piece, Run, Value};

use super::stage::Stage;
use crate::OpError;

/// The shell that reads a command line, and how: it stops at the first command that fails and
/// at a variable that is not set.
const SHELL: [&str; 3] = ["/bin/sh", "-eu", "-c"];

/// A program, its arguments, and the variables that its arguments name.
pub(super) struct Line {
    pub words: Vec<OsString>,
    pub variables: Vec<(OsString, OsString)>,
    /// Whether a shell reads it.
    pub shell: bool,
}

impl Line {
    /// Returns the program.
    pub fn program(&self) -> &OsStr {
        self.words
            .first()
            .map_or(OsStr::new(""), OsString::as_os_str)
    }

    /// Returns the process it makes in a directory, with these variables and no others.
    pub fn process(&self, stage: &Stage, variables: Vec<(OsString, OsString)>) -> process::Command {
        let mut process = process::Command::new(self.program());
        process
            .args(self.words.iter().skip(1))
            .current_dir(stage.dir())
            .env_clear()
            .envs(variables);
        process
    }
}

/// Fills in the command line.
pub(super) fn fill(
    command: &Command,
    args: &BTreeMap<String, Value>,
    stage: &Stage,
) -> Result<Line, OpError> {
    let values = Values {
        command,
        args,
        stage,
    };
    match &command.run {
        Run::Shell(pieces) => values.shell(pieces),
        Run::Words(words) => values.words(words),
    }
}

struct Values<'a> {
    command: &'a Command,
    args: &'a BTreeMap<String, Value>,
    stage: &'a Stage,
}

/// What stands in one place.
enum Filling {
    One(OsString),
    Many(Vec<OsString>),
    Nothing,
}

impl Values<'_> {
    fn of(&self, port: &str) -> Result<Filling, OpError> {
        let path = |path: &Path| Filling::One(path.as_os_str().to_owned());
        if self.command.outputs.iter().any(|one| one.name == port) {
            return Ok(path(&self.stage.out().join(port)));
        }
        if let Some(place) = self.stage.place(port) {
            return Ok(path(place));
        }
        if self.command.inputs.iter().any(|one| one.name == port) {
            return Ok(Filling::Nothing);
        }
        match self.args.get(port) {
            None => Err(OpError::Operator(format!(
                "`{{{port}}}` in the command line of `{}` is none of its ports",
                self.command.name
            ))),
            Some(Value::None) => Ok(Filling::Nothing),
            Some(Value::List(all)) => Ok(Filling::Many(all.iter().map(text).collect())),
            Some(value) => Ok(Filling::One(text(value))),
        }
    }

    fn words(&self, words: &[Vec<Piece>]) -> Result<Line, OpError> {
        let mut filled = Vec::new();
        for word in words {
            if let [Piece::Port(port)] = word.as_slice()
                && let Filling::Many(all) = self.of(port)?
            {
                filled.extend(all);
                continue;
            }
            filled.extend(self.word(word)?);
        }
        if filled.is_empty() {
            return Err(OpError::Input(format!(
                "the command line of `{}` is empty",
                self.command.name
            )));
        }
        Ok(Line {
            words: filled,
            variables: Vec::new(),
            shell: false,
        })
    }

    /// Fills in one word; nothing when it holds something that is absent.
    fn word(&self, pieces: &[Piece]) -> Result<Option<OsString>, OpError> {
        let mut word = OsString::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => word.push(text),
                Piece::Port(port) => match self.of(port)? {
                    Filling::One(value) => word.push(value),
                    Filling::Many(all) => word.push(all.join(OsStr::new(" "))),
                    Filling::Nothing => return Ok(None),
                },
            }
        }
        Ok(Some(word))
    }

    fn shell(&self, pieces: &[Piece]) -> Result<Line, OpError> {
        let mut quotes = Quotes::default();
        let mut script = String::new();
        let mut variables = BTreeMap::new();
        for piece in pieces {
            let port = match piece {
                Piece::Text(text) => {
                    quotes.read(text);
                    script.push_str(text);
                    continue;
                }
                Piece::Port(port) => port,
            };
            let all = match self.of(port)? {
                Filling::One(value) => vec![(format!("cerb_{port}"), value)],
                Filling::Many(all) => all
                    .into_iter()
                    .enumerate()
                    .map(|(at, value)| (format!("cerb_{port}_{at}"), value))
                    .collect(),
                Filling::Nothing => Vec::new(),
            };
            let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
            script.push_str(&quotes.naming(&names));
            variables.extend(all);
        }
        let words = SHELL.iter().map(OsString::from);
        Ok(Line {
            words: words.chain([script.into()]).collect(),
            variables: variables
                .into_iter()
                .map(|(name, value)| (name.into(), value))
                .collect(),
            shell: true,
        })
    }
}

/// Writes a plain value: numbers in base units, without their unit.
fn text(value: &Value) -> OsString {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) | Value::Quantity(value, _) => value.to_string(),
        Value::Str(text) | Value::Root(text) | Value::Secret(text) => text.clone(),
        Value::List(all) => {
            let all: Vec<OsString> = all.iter().map(text).collect();
            return all.join(OsStr::new(" "));
        }
        Value::None => String::new(),
    }
    .into()
}

/// Which quotation of `sh` the text read so far leaves open.
#[derive(Default)]
struct Quotes {
    /// Innermost last; empty where nothing is quoted.
    open: Vec<Open>,
    escaped: bool,
    dollar: bool,
    comment: bool,
    /// Whether a word is open, so that a `#` is a part of it.
    inside: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Open {
    Single,
    Double,
    /// `$(` or `(`.
    Bracket,
}

impl Quotes {
    fn read(&mut self, text: &str) {
        for c in text.chars() {
            self.step(c);
        }
    }

    fn step(&mut self, c: char) {
        let dollar = std::mem::replace(&mut self.dollar, false);
        let inside = std::mem::replace(&mut self.inside, !c.is_whitespace() && !";|&(".contains(c));
        if std::mem::replace(&mut self.escaped, false) {
            return;
        }
        if self.comment {
            self.comment = c != '\n';
            return;
        }
        match (self.open.last(), c) {
            (Some(Open::Single), '\'') | (Some(Open::Double), '"') => {
                self.open.pop();
            }
            (Some(Open::Single), _) => {}
            (_, '\\') => self.escaped = true,
            (_, '$') => self.dollar = true,
            (_, '"') => self.open.push(Open::Double),
            (Some(Open::Double), '(') if dollar => self.open.push(Open::Bracket),
            (Some(Open::Double), _) => {}
            (_, '\'') => self.open.push(Open::Single),
            (_, '(') => self.open.push(Open::Bracket),
            (Some(Open::Bracket), ')') => {
                self.open.pop();
            }
            (_, '#') if !inside => self.comment = true,
            _ => {}
        }
    }

    /// Names variables so that each is one word here, or a part of the word that is open.
    fn naming(&mut self, names: &[&str]) -> String {
        (self.inside, self.dollar) = (true, false);
        // A backslash before a place is one; it does not take the quote off the value.
        let backslash = if std::mem::take(&mut self.escaped) {
            "\\"
        } else {
            ""
        };
        let (before, after) = match self.open.last() {
            Some(Open::Double) => ("${", "}"),
            Some(Open::Single) => ("'\"${", "}\"'"),
            Some(Open::Bracket) | None => ("\"${", "}\""),
        };
        let named: Vec<String> = names
            .iter()
            .map(|name| format!("{before}{name}{after}"))
            .collect();
        format!("{backslash}{}", named.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills `@` in a script with the variable `x` and lets `sh` print the words it sees.
    fn seen(script: &str, value: &str) -> String {
        let mut quotes = Quotes::default();
        let mut parts = script.split('@');
        let mut filled = String::new();
        if let Some(first) = parts.next() {
            quotes.read(first);
            filled.push_str(first);
        }
        for part in parts {
            filled.push_str(&quotes.naming(&["x"]));
            quotes.read(part);
            filled.push_str(part);
        }
        let output = process::Command::new("/bin/sh")
            .args([
                "-eu",
                "-c",
                &format!("show() {{ printf '[%s]' \"$@\"; }}; {filled}"),
            ])
            .env("x", value)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn a_value_is_one_word_wherever_it_stands() {
        for nasty in [
            "a  b",
            "'; echo no; \"",
            "$(echo no) `echo no` *",
            "\\",
            "a\nb",
            "ü'\"",
            "",
        ] {
            assert_eq!(seen("show @", nasty), format!("[{nasty}]"));
            assert_eq!(seen("show --in=@.x", nasty), format!("[--in={nasty}.x]"));
            assert_eq!(seen("show \"a @ b\"", nasty), format!("[a {nasty} b]"));
            assert_eq!(seen("show 'a @ b'", nasty), format!("[a {nasty} b]"));
            assert_eq!(seen("# it's\nshow @", nasty), format!("[{nasty}]"));
            assert_eq!(seen("show a#'@'", nasty), format!("[a#{nasty}]"));
            assert_eq!(seen("show \\'@\\'", nasty), format!("['{nasty}']"));
            assert_eq!(seen("show \\@", nasty), format!("[\\{nasty}]"));
            assert_eq!(seen("(show \"\\\"@\")", nasty), format!("[\"{nasty}]"));
        }
        assert_eq!(seen("show \"<$(show @)>\" @", "a  b"), "[<[a  b]>][a  b]");
    }
}
