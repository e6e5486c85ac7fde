//! Looking at files while the editor is answered: a thread that analyses what was edited.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cerb_lang::{Analysis, Sources, analyse, glimpse};
use crossbeam_channel::{Receiver, Sender};

use crate::Workspace;

/// What is known of a file as it is now.
pub(crate) enum Look {
    /// Nothing yet.
    Due,
    /// It is being looked at.
    Sent,
    /// All.
    Done(Arc<Analysis>),
    /// Nothing, through a bug.
    Failed,
}

/// What the thread is to do.
pub(crate) enum Task {
    /// Look at a file.
    Look(Job),
    /// Take an old analysis apart, which takes longer than a hover may.
    Drop(Arc<Analysis>),
}

/// A file as it was when it was sent to be looked at.
pub(crate) struct Job {
    pub uri: String,
    /// Which state of the open files it is.
    pub edition: u64,
    pub path: PathBuf,
    pub text: String,
    pub open: Open,
}

/// What came of a job.
pub(crate) struct Looked {
    pub uri: String,
    pub edition: u64,
    /// The analysis, and whether stand-ins were listed; nothing through a bug.
    pub found: Option<(Arc<Analysis>, bool)>,
}

/// The texts of the files that the editor has open, by place.
pub(crate) type Open = BTreeMap<PathBuf, String>;

/// Does what it is told to until nobody is left to tell it more.
pub(crate) fn work(workspace: &dyn Workspace, tasks: &Receiver<Task>, done: &Sender<Looked>) {
    for task in tasks {
        let job = match task {
            Task::Look(job) => job,
            Task::Drop(old) => {
                drop(old);
                continue;
            }
        };
        let look = || look(workspace, &job.open, &job.path, &job.text, None);
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(look));
        let found = found.map(|(analysis, guessed)| (Arc::new(analysis), guessed));
        let looked = Looked {
            uri: job.uri,
            edition: job.edition,
            found: found.ok(),
        };
        if done.send(looked).is_err() {
            return;
        }
    }
}

/// Looks at a text, or at what stands at one byte of it; says whether stand-ins were listed.
pub(crate) fn look(
    workspace: &dyn Workspace,
    open: &Open,
    path: &Path,
    text: &str,
    at: Option<u32>,
) -> (Analysis, bool) {
    let catalog = workspace.catalog(path, text);
    let sources = Opened {
        workspace,
        open,
        pipeline: path,
    };
    let name = path.to_string_lossy();
    let options = workspace.options(path);
    let analysis = match at {
        None => analyse(text, &name, &options, &*catalog, &sources),
        Some(at) => glimpse(text, &name, &options, &*catalog, &sources, at),
    };
    (analysis, catalog.stands_in())
}

/// Files as the editor has them, before those on disk.
struct Opened<'a> {
    workspace: &'a dyn Workspace,
    open: &'a Open,
    pipeline: &'a Path,
}

impl Sources for Opened<'_> {
    fn read(&self, path: &str) -> Result<String, String> {
        let place = self.workspace.place(self.pipeline, path);
        match place.and_then(|place| self.open.get(&place)) {
            Some(text) => Ok(text.clone()),
            None => self.workspace.read(self.pipeline, path),
        }
    }
}
