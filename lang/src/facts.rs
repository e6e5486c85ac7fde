//! What is known before a pixel is read, and who decided it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Span, Value};

/// What is known of each port: of a call's inputs, or of its outputs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Port, then fact.
    pub ports: BTreeMap<String, BTreeMap<String, Fact>>,
}

impl Facts {
    /// Returns one fact of one port.
    #[must_use]
    pub fn get(&self, port: &str, name: &str) -> Option<&Fact> {
        self.ports.get(port)?.get(name)
    }

    /// Returns one fact as a number (in base units), if it is one.
    #[must_use]
    pub fn number(&self, port: &str, name: &str) -> Option<f64> {
        self.get(port, name)?.value.number()
    }

    /// Returns one fact as text, if it is text.
    #[must_use]
    pub fn text(&self, port: &str, name: &str) -> Option<&str> {
        self.get(port, name)?.value.text()
    }

    /// States one fact of one port; the span is filled by the language.
    pub fn set(&mut self, port: &str, name: &str, value: Value, origin: Origin) {
        self.ports.entry(port.to_owned()).or_default().insert(
            name.to_owned(),
            Fact {
                value,
                origin,
                span: None,
            },
        );
    }
}

/// One thing known of one port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fact {
    /// What it is.
    pub value: Value,
    /// What decided it.
    pub origin: Origin,
    /// Where in the pipeline it was decided; `None` when a file decided it.
    pub span: Option<Span>,
}

/// What decided a fact, seen from the call that states it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Origin {
    /// A parameter of this call.
    Param(String),
    /// A fact of an input of this call, passed on.
    Input {
        /// The input port.
        port: String,
        /// The fact of that port.
        fact: String,
    },
    /// The file itself: a slide's header, the settings beside the weights.
    Source,
    /// The operator as such.
    Call,
}

/// Why inputs and parameters cannot go together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Misfit {
    /// Stable code: `lang::mpp_mismatch`.
    pub code: &'static str,
    /// A fact, lower case, names in backticks, no period.
    pub title: String,
    /// What to point at, and what to say there.
    pub labels: Vec<(Origin, String)>,
    /// The next action, pasteable.
    pub help: Option<String>,
}
