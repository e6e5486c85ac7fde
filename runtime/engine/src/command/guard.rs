//! The guard: it ends the programs of a driver that was killed and could not do so itself.
//!
//! It is a shell that is told of each program when that starts and when it ends, through a pipe that
//! only the driver holds. When the driver is gone, however it went, the pipe ends, and the guard
//! kills what is left. Where there is no shell, programs run without.

use std::{
    collections::BTreeSet,
    io::{self, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What it does: keeps the numbers of process groups, with blanks around each.
///
/// It outlives what ends the driver politely, because the driver may take its time.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
all=' '
while read -r sign group; do
  case $sign in
    +) all="$all$group " ;;
    -) case $all in
         *" $group "*) all="${all%% "$group" *} ${all#* "$group" }" ;;
       esac ;;
  esac
done
for group in $all; do
  kill -s KILL -- "-$group" 2>/dev/null
done
"#;

/// The shell, once it was started, and the programs it is to end.
struct Guard {
    shell: Option<Child>,
    programs: BTreeSet<u32>,
}

static GUARD: Mutex<Guard> = Mutex::new(Guard {
    shell: None,
    programs: BTreeSet::new(),
});

/// A program that ends with its driver until this is dropped.
///
/// To be dropped before the end of the program is taken: until then its number is no other's.
pub(super) struct Guarded(u32);

impl Drop for Guarded {
    fn drop(&mut self) {
        let mut guard = held();
        guard.programs.remove(&self.0);
        guard.tell('-', self.0);
    }
}

/// Starts the guard if there is none, so that no time passes between a program's start and [`watch`].
pub(super) fn ready() {
    let mut guard = held();
    if guard.shell.is_none() {
        guard.start();
    }
}

/// Lets a program, which leads a process group of its own, end with its driver.
pub(super) fn watch(program: u32) -> Guarded {
    let mut guard = held();
    guard.programs.insert(program);
    guard.tell('+', program);
    Guarded(program)
}

fn held() -> MutexGuard<'static, Guard> {
    GUARD.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Guard {
    /// Tells the shell; one that somebody has killed is started anew and told everything.
    fn tell(&mut self, sign: char, program: u32) {
        let Some(shell) = &mut self.shell else { return };
        // Looked at first: writing to a pipe that nobody reads may end a process.
        let ended = !matches!(shell.try_wait(), Ok(None));
        if ended || write(shell, &format!("{sign} {program}\n")).is_err() {
            self.start();
        }
    }

    fn start(&mut self) {
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", SCRIPT])
            .env_clear()
            // It holds no folder that somebody may want to unmount.
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // An interrupt from the terminal goes to the driver alone.
            .process_group(0);
        self.shell = shell.spawn().ok();
        if let Some(shell) = &mut self.shell {
            let all = self.programs.iter().map(|group| format!("+ {group}\n"));
            // One that ends at once does not come to guard anything.
            let _ = write(shell, &all.collect::<String>());
        }
    }
}

/// Writes lines to the shell's standard input, which no program gets: it is closed when one is started.
fn write(shell: &mut Child, lines: &str) -> io::Result<()> {
    match &mut shell.stdin {
        Some(pipe) => pipe.write_all(lines.as_bytes()),
        None => Err(io::ErrorKind::BrokenPipe.into()),
    }
}
