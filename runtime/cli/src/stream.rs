//! The stream of events in a file of its own, for `--events FILE`.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use cerb_engine::Moment;

use crate::failure::Failure;
use crate::process;
use crate::session::plain;

/// Lines that may wait for a slow reader before the run waits for it too.
const WAITING: usize = 4096;

/// Writes events into a file, or a pipe whose reader may go away.
pub struct Stream {
    path: PathBuf,
    lines: SyncSender<Vec<u8>>,
    writer: JoinHandle<std::io::Result<()>>,
}

impl Stream {
    /// Makes the file.
    pub fn create(path: &Path) -> Result<Stream, Failure> {
        if path == Path::new("-") {
            return Err(Failure::call(
                "`--events` writes a file, not standard output",
                "for standard output give `--json`",
            ));
        }
        let mut file = File::create(path).map_err(|error| {
            let title = format!(
                "cannot write events to `{}`: {}",
                path.display(),
                plain(&error)
            );
            Failure::call(title, "give `--events` a file that can be written")
        })?;
        let (lines, waiting) = sync_channel::<Vec<u8>>(WAITING);
        // A thread of its own, since a closed pipe ends whoever writes it, unless that one minds.
        let writer = std::thread::spawn(move || {
            process::outlive_readers();
            waiting.iter().try_for_each(|line| file.write_all(&line))
        });
        Ok(Stream {
            path: path.to_path_buf(),
            lines,
            writer,
        })
    }

    /// Writes one line; when the reader has gone away, nothing.
    pub fn take(&self, moment: &Moment) {
        if let Ok(mut line) = serde_json::to_vec(moment) {
            line.push(b'\n');
            // Told at the end.
            let _ = self.lines.send(line);
        }
    }

    /// Waits until all is written; says why not everything was.
    pub fn finish(self) -> Result<(), String> {
        drop(self.lines);
        match self.writer.join() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!(
                "not all events were written to `{}`: {}",
                self.path.display(),
                plain(&error)
            )),
            Err(_) => Err(format!(
                "not all events were written to `{}`",
                self.path.display()
            )),
        }
    }
}
