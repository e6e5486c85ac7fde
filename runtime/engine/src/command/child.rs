//! A process at work: its streams, its end, and stopping it with all it started.

use std::{
    io::{self, Read},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, channel},
    },
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::{fence, log::Log};
use crate::{Ctx, OpError};

/// Longest pause between two looks at a process.
const PAUSE: Duration = Duration::from_millis(20);
/// How long the streams of a process that has ended are waited for.
const STREAMS: Duration = Duration::from_secs(2);

/// How a process ended and what it said.
pub(super) struct Ended {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// Whether it was kept from writing elsewhere; nothing in a container, which does that.
    pub fenced: Option<bool>,
}

/// Why there is no end to report.
pub(super) enum Unstarted {
    Io(io::Error),
    Stopped,
}

impl From<io::Error> for Unstarted {
    fn from(error: io::Error) -> Unstarted {
        Unstarted::Io(error)
    }
}

impl From<OpError> for Unstarted {
    fn from(_: OpError) -> Unstarted {
        Unstarted::Stopped
    }
}

/// Runs a process to its end, or stops it when the action is told to.
///
/// `stop` ends what the process has started elsewhere, which signals do not reach.
pub(super) fn run(
    mut process: Command,
    fenced: Option<&Path>,
    stop: Option<Command>,
    ctx: &Ctx,
    masks: &[Vec<u8>],
) -> Result<Ended, Unstarted> {
    ctx.check()?;
    process
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let (mut child, fenced) = match fenced {
        Some(dir) => {
            let (child, fenced) = fence::spawn(process, dir)?;
            (child, Some(fenced))
        }
        None => (process.spawn()?, None),
    };
    let stdout = child.stdout.take().map(|stream| Stream::of(stream, masks));
    let stderr = child.stderr.take().map(|stream| Stream::of(stream, masks));
    let stopped = wait(&child, stop, ctx);
    // Whatever it started and left behind ends with it.
    signal(&child, Signal::KILL);
    let status = child.wait()?;
    if stopped {
        return Err(Unstarted::Stopped);
    }
    Ok(Ended {
        status,
        stdout: stdout.map(Stream::finish).unwrap_or_default(),
        stderr: stderr.map(Stream::finish).unwrap_or_default(),
        fenced,
    })
}

/// Waits until a process has ended, without taking its end; says whether it was stopped.
fn wait(child: &Child, mut stop: Option<Command>, ctx: &Ctx) -> bool {
    let mut pause = Duration::from_millis(1);
    let mut patience = None;
    while !has_ended(child) {
        match patience {
            None if ctx.cancelled() => {
                signal(child, Signal::TERM);
                patience = Instant::now().checked_add(ctx.patience());
            }
            Some(until) if Instant::now() >= until => {
                signal(child, Signal::KILL);
                if let Some(mut stop) = stop.take() {
                    // Best effort: what it is to end may have ended by itself.
                    let _ = stop
                        .stdin(Stdio::null())
                        .stdout(Stdio::null())
                        .stderr(Stdio::null())
                        .status();
                }
            }
            _ => {}
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE);
    }
    patience.is_some()
}

fn pid(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()).ok()?)
}

/// Says whether a process has ended; it stays in the table, so that its number is not given away.
fn has_ended(child: &Child) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let Some(pid) = pid(child) else { return true };
    match waitid(WaitId::Pid(pid), options) {
        Ok(ended) => ended.is_some(),
        Err(error) => error != rustix::io::Errno::INTR,
    }
}

/// Sends a signal to a process and all it started.
fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = pid(child) {
        // The group is empty when all of it has ended.
        let _ = kill_process_group(pid, signal);
    }
}

/// A stream that is read by a thread of its own.
struct Stream {
    log: Arc<Mutex<Log>>,
    ended: Receiver<()>,
}

impl Stream {
    fn of(mut from: impl Read + Send + 'static, masks: &[Vec<u8>]) -> Stream {
        let log = Arc::new(Mutex::new(Log::new(masks)));
        let (end, ended) = channel::<()>();
        let to = Arc::clone(&log);
        let thread = std::thread::Builder::new().name("stream of a program".to_owned());
        // Without a thread the pipe is closed and the log stays empty.
        let _ = thread.spawn(move || {
            let _end = end;
            let mut chunk = vec![0; 1 << 16];
            loop {
                match from.read(&mut chunk) {
                    Ok(0) => return,
                    Ok(count) => to
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .write(&chunk[..count]),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return,
                }
            }
        });
        Stream { log, ended }
    }

    /// Returns what is kept; a process that hid from its group may hold the stream open longer.
    fn finish(self) -> Vec<u8> {
        let _ = self.ended.recv_timeout(STREAMS);
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .finish()
    }
}
