//! A process at work: its streams, its end, and stopping it with all it started.

use std::{
    io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

#[cfg(target_os = "linux")]
use rustix::process::{PidfdFlags, pidfd_open};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};

use super::{fence, guard, log::Log};
use crate::{Ctx, OpError};

/// Longest pause between two looks at a process, and whether it is to be stopped.
const PAUSE: Duration = Duration::from_millis(20);
/// First pause where nothing tells of its end.
const BRIEF: Duration = Duration::from_millis(1);
/// Bytes of a stream that are read at once.
const CHUNK: usize = 1 << 14;
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
    guard::ready();
    let (mut child, fenced) = match fenced {
        Some(dir) => {
            let (child, fenced) = fence::spawn(process, dir)?;
            (child, Some(fenced))
        }
        None => (process.spawn()?, None),
    };
    let guarded = guard::watch(child.id());
    let out = child.stdout.take().map(OwnedFd::from);
    let err = child.stderr.take().map(OwnedFd::from);
    let mut streams = [Stream::of(out, masks), Stream::of(err, masks)];
    let stopped = attend(&child, &mut streams, stop, ctx);
    // Whatever it started and left behind ends with it.
    signal(&child, Signal::KILL);
    drop(guarded);
    let status = child.wait()?;
    if stopped {
        return Err(Unstarted::Stopped);
    }
    // A process that hid from its group may hold a stream open for longer than is waited.
    let until = Instant::now() + STREAMS;
    while streams.iter().any(|stream| stream.from.is_some()) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        listen(&mut streams, None, left);
    }
    let [stdout, stderr] = streams.map(|mut stream| stream.log.finish());
    Ok(Ended {
        status,
        stdout,
        stderr,
        fenced,
    })
}

/// Reads the streams of a process until it has ended, without taking its end; says whether it was stopped.
fn attend(child: &Child, streams: &mut [Stream; 2], mut stop: Option<Command>, ctx: &Ctx) -> bool {
    let process = handle(child);
    // Without a handle that tells of its end, it is looked at often at first.
    let mut pause = if process.is_some() { PAUSE } else { BRIEF };
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
        listen(streams, process.as_ref(), pause);
        pause = (pause * 2).min(PAUSE);
    }
    patience.is_some()
}

/// Waits until a stream says something or the process ends, at most so long, and reads what is said.
fn listen(streams: &mut [Stream; 2], process: Option<&OwnedFd>, most: Duration) {
    let open = |stream: &&mut Stream| stream.from.is_some();
    let ready: Vec<bool> = {
        let files = streams.iter().filter_map(|stream| stream.from.as_ref());
        let mut watched: Vec<PollFd> = files
            .chain(process)
            .map(|file| PollFd::new(file, PollFlags::IN))
            .collect();
        if watched.is_empty() {
            return std::thread::sleep(most);
        }
        let most = Timespec::try_from(most).ok();
        match poll(&mut watched, most.as_ref()) {
            // Interrupted, or nothing: whoever waits looks again.
            Err(_) | Ok(0) => return,
            Ok(_) => watched
                .iter()
                .map(|one| !one.revents().is_empty())
                .collect(),
        }
    };
    for (stream, ready) in streams.iter_mut().filter(open).zip(ready) {
        if ready {
            stream.read();
        }
    }
}

/// Returns a file that becomes readable when a process ends, where the system has such files.
fn handle(child: &Child) -> Option<OwnedFd> {
    #[cfg(target_os = "linux")]
    return pidfd_open(pid(child)?, PidfdFlags::empty()).ok();
    #[cfg(not(target_os = "linux"))]
    return None;
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
        Err(error) => error != Errno::INTR,
    }
}

/// Sends a signal to a process and all it started.
fn signal(child: &Child, signal: Signal) {
    if let Some(pid) = pid(child) {
        // The group is empty when all of it has ended.
        let _ = kill_process_group(pid, signal);
    }
}

/// One stream of a process.
struct Stream {
    log: Log,
    from: Option<OwnedFd>,
}

impl Stream {
    fn of(from: Option<OwnedFd>, masks: &[Vec<u8>]) -> Stream {
        let log = Log::new(masks);
        Stream { log, from }
    }

    /// Reads what there is; it closes at its end.
    fn read(&mut self) {
        let Some(from) = &self.from else { return };
        let mut chunk = [0; CHUNK];
        match rustix::io::read(from, &mut chunk) {
            Ok(0) => self.from = None,
            Ok(count) => self.log.write(&chunk[..count]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => self.from = None,
        }
    }
}
