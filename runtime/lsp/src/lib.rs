//! What an editor knows of a pipeline: the language server of cerb, over any connection.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod complete;
mod cursor;
mod describe;
mod diagnostics;
mod document;
mod look;
mod navigate;
mod outline;
mod server;
mod transport;
mod view;

use std::path::{Path, PathBuf};

use cerb_lang::{Catalog, PlanOptions};
use lsp_types::Uri;

pub use lsp_server;
pub use lsp_types;
pub use server::{Ended, serve};
pub use transport::{Writer, stdio};
pub use view::to_uri;

/// Whether something is listed that was not there when it was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum News {
    /// Nothing is.
    #[default]
    None,
    /// It is being listed.
    Coming,
    /// It was listed since this was last asked.
    Here,
}

/// The operators there are for a pipeline, and what they list.
pub trait Operators: Catalog {
    /// Whether something was listed that only stands in for what is there.
    ///
    /// What depends on how many entries there are, and on their keys, is not told then.
    fn stands_in(&self) -> bool {
        false
    }
}

/// What the server asks of the world, per pipeline; it is asked again at every edit, by two threads.
pub trait Workspace: Sync {
    /// The operators there are for a pipeline, and what they list.
    ///
    /// A listing may touch slow disks: an implementation keeps what it listed for a while, and
    /// gives one stand-in entry when it cannot list now, so that a `for` over it is still checked.
    fn catalog<'a>(&'a self, pipeline: &Path, text: &'a str) -> Box<dyn Operators + 'a>;

    /// Whether a listing came, or will: every pipeline is then looked at again.
    fn news(&self) -> News {
        News::None
    }

    /// Reads a file that a pipeline uses.
    ///
    /// # Errors
    /// Why it cannot be read, in words.
    fn read(&self, pipeline: &Path, module: &str) -> Result<String, String>;

    /// Where a file that a pipeline uses lies, or one inside the program can be read.
    fn place(&self, pipeline: &Path, module: &str) -> Option<PathBuf>;

    /// How a pipeline is planned.
    fn options(&self, _pipeline: &Path) -> PlanOptions {
        PlanOptions::default()
    }

    /// Formats a text.
    ///
    /// # Errors
    /// Why it cannot be formatted, in words.
    fn format(&self, pipeline: &Path, text: &str) -> Result<String, String>;

    /// Where the explanation of an error code can be read, when there is such a place.
    fn explanation(&self, _code: &str) -> Option<Uri> {
        None
    }
}
