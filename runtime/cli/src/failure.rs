//! What ends a command early: a title, what to do about it, and the exit code.

use std::path::Path;

use cerb_lang::{Diagnostic, Diagnostics, SourceMap, Span};
use serde_json::{Value, json};

use crate::args::When;
use crate::reports;
use crate::terminal::{self, Paint};

/// Exit codes; those of a run that ended (0, 1, 3, 130) are the engine's to decide.
pub mod exit {
    /// Done, or nothing to do.
    pub const DONE: u8 = 0;
    /// Nothing complete, or more failures than allowed.
    pub const FAILED: u8 = 1;
    /// The pipeline or the command line is wrong.
    pub const WRONG_CALL: u8 = 2;
    /// Something is not as it should be, and nothing is broken.
    pub const PARTIAL: u8 = 3;
    /// `plan --exit-code`: something would run.
    pub const WOULD_RUN: u8 = 4;
    /// Interrupted.
    pub const INTERRUPTED: u8 = 130;
    /// A bug in cerb.
    pub const BUG: u8 = 70;
}

/// Why a command ends early.
pub struct Failure {
    /// What the process exits with.
    pub exit: u8,
    what: What,
}

enum What {
    Pipeline(Box<Diagnostics>),
    Message {
        /// Stable, with a page of its own; a mistake in the call has none.
        code: Option<&'static str>,
        title: String,
        help: Option<String>,
    },
}

impl Failure {
    /// Returns a failure of the call itself: exit code 2.
    pub fn call(title: impl Into<String>, help: impl Into<String>) -> Failure {
        Failure {
            exit: exit::WRONG_CALL,
            what: What::Message {
                code: None,
                title: title.into(),
                help: Some(help.into()),
            },
        }
    }

    /// Returns a failure of the surroundings (a store that cannot be opened): exit code 1.
    pub fn surroundings(title: impl Into<String>, help: Option<String>) -> Failure {
        Failure {
            exit: exit::FAILED,
            what: What::Message {
                code: None,
                title: title.into(),
                help,
            },
        }
    }

    /// Takes a message apart that says what is wrong and, after a semicolon or `help:`, what to do.
    pub fn titled(text: &str) -> Failure {
        match text
            .split_once("\n  help: ")
            .or_else(|| text.split_once("; "))
        {
            Some((title, help)) => Failure::surroundings(title, Some(help.to_owned())),
            None => Failure::surroundings(text, None),
        }
    }

    /// Makes it one of the call: exit code 2.
    pub fn of_the_call(self) -> Failure {
        Failure {
            exit: exit::WRONG_CALL,
            ..self
        }
    }

    /// Returns what is wrong with the file itself, as mistakes of it; anything else is given back.
    pub fn of_the_file(self, file: &Path) -> Result<Diagnostics, Failure> {
        match self.what {
            What::Pipeline(all) => Ok(*all),
            What::Message {
                code: Some(code @ "cli::unreadable_pipeline"),
                title,
                help,
            } => {
                let mut sources = SourceMap::default();
                let id = sources.add(&file.display().to_string(), "");
                let mut found = Diagnostic::new(code, title).at(Span::new(id, 0, 0), "");
                found.help = help;
                Ok(Diagnostics::new(sources, vec![found]))
            }
            what => Err(Failure { what, ..self }),
        }
    }

    /// Adds the code that `cerb explain` knows it by.
    pub fn coded(mut self, stable: &'static str) -> Failure {
        if let What::Message { code, .. } = &mut self.what {
            *code = Some(stable);
        }
        self
    }

    /// Returns a failure of ours: exit code 70.
    pub fn bug(title: impl Into<String>) -> Failure {
        let help = "this is a bug in cerb; please report it".to_owned();
        Failure {
            exit: exit::BUG,
            ..Failure::surroundings(title, Some(help))
        }
    }

    /// Returns what a program reads instead of results: the exit code and the mistakes, on one line.
    pub fn event(&self) -> Value {
        json!({ "event": "failure", "exit": self.exit, "diagnostics": self.to_json() })
    }

    /// Returns the failure as JSON.
    pub fn to_json(&self) -> Value {
        match &self.what {
            What::Pipeline(all) => all
                .items
                .iter()
                .map(|one| reports::json(one, &all.sources))
                .collect(),
            What::Message { code, title, help } => {
                json!([{ "code": code, "severity": "error", "title": title, "help": help }])
            }
        }
    }

    /// Says in one line what is wrong.
    pub fn title(&self) -> String {
        match &self.what {
            What::Pipeline(all) => {
                let first = all.items.first();
                first.map_or_else(String::new, |found| found.title.clone())
            }
            What::Message { title, .. } => title.clone(),
        }
    }

    /// Writes the failure to standard error.
    pub fn report(&self, color: When) {
        let paint = Paint::stderr(color);
        match &self.what {
            What::Pipeline(diagnostics) => {
                eprintln!(
                    "{}",
                    diagnostics
                        .render(paint.is_on(), terminal::width())
                        .trim_end()
                );
            }
            What::Message { code, title, help } => {
                if let Some(code) = code {
                    eprintln!("{code}\n");
                }
                eprintln!("  {} {title}", paint.bad("×"));
                for line in help.iter().flat_map(|help| help.lines()) {
                    eprintln!("  {} {line}", paint.name("help:"));
                }
            }
        }
    }
}

impl From<Diagnostics> for Failure {
    fn from(diagnostics: Diagnostics) -> Failure {
        Failure {
            exit: exit::WRONG_CALL,
            what: What::Pipeline(Box::new(diagnostics)),
        }
    }
}

impl From<cerb_store::StoreError> for Failure {
    fn from(error: cerb_store::StoreError) -> Failure {
        let mut failure = Failure::titled(&error.to_string()).coded(error.code());
        if let What::Message { help, .. } = &mut failure.what {
            help.get_or_insert_with(|| "keep the store elsewhere with `--store DIR`".to_owned());
        }
        failure
    }
}

impl From<cerb_engine::EngineError> for Failure {
    fn from(error: cerb_engine::EngineError) -> Failure {
        Failure {
            exit: error.exit_code(),
            ..Failure::titled(&error.to_string()).coded(error.code())
        }
    }
}
