//! How a program failed, in words.

use std::{collections::BTreeMap, io, os::unix::process::ExitStatusExt, process::ExitStatus};

use cerb_store::{Blob, Store};

use super::{
    child::{Ended, Unstarted},
    line::Line,
};
use crate::OpError;

/// Lines shown of the end of a log.
const LINES: usize = 20;
/// Characters shown of one line.
const WIDTH: usize = 300;

/// Signals that end programs, by number (those whose number is the same on every system), and why.
const SIGNALS: [(i32, &str, &str); 9] = [
    (1, "SIGHUP", ""),
    (2, "SIGINT", ""),
    (4, "SIGILL", "it may be built for another processor"),
    (6, "SIGABRT", "it gave up by itself"),
    (8, "SIGFPE", "a division by zero, as a rule"),
    (9, "SIGKILL", "often because memory ran out"),
    (11, "SIGSEGV", "it crashed"),
    (13, "SIGPIPE", ""),
    (15, "SIGTERM", ""),
];

/// Says why a program could not be started, or that it was stopped.
pub(super) fn unstarted(name: &str, line: &Line, error: &Unstarted) -> OpError {
    let program = line.program().to_string_lossy().into_owned();
    let error = match error {
        Unstarted::Stopped => return OpError::Cancelled,
        Unstarted::Io(error) => error,
    };
    match error.kind() {
        io::ErrorKind::NotFound => OpError::Input(format!(
            "`{name}` cannot start `{program}`: there is no such program{}\n  help: install it, or name the one that is there",
            searched(&program)
        )),
        io::ErrorKind::PermissionDenied => OpError::Input(format!(
            "`{name}` cannot start `{program}`: it is not executable\n  help: `chmod +x` it, or start it through its interpreter"
        )),
        io::ErrorKind::ArgumentListTooLong => OpError::Input(format!(
            "`{name}` cannot start `{program}`: its arguments are too long for the system\n  help: pass long values as a File"
        )),
        io::ErrorKind::OutOfMemory | io::ErrorKind::WouldBlock => {
            OpError::Resources(format!("`{name}` cannot start `{program}`: {error}"))
        }
        _ => OpError::Infrastructure(format!("`{name}` cannot start `{program}`: {error}")),
    }
}

/// Says where a program was looked for.
fn searched(program: &str) -> String {
    if program.contains('/') {
        return String::new();
    }
    let path = std::env::var("PATH").unwrap_or_default();
    format!(" on PATH ({path})")
}

impl Ended {
    /// Fails when the program did, with the end of what it said.
    pub fn check(
        &self,
        name: &str,
        line: &Line,
        logs: &BTreeMap<String, Blob>,
        store: &Store,
    ) -> Result<(), OpError> {
        if self.status.success() {
            return Ok(());
        }
        let stream = if self.stderr.trim_ascii().is_empty() {
            "stdout"
        } else {
            "stderr"
        };
        let said = String::from_utf8_lossy(match stream {
            "stderr" => &self.stderr,
            _ => &self.stdout,
        });
        let mut text = format!(
            "`{name}` {}",
            how(self.status, line.shell, self.fenced.is_none())
        );
        let lines = last_lines(&said);
        if lines.is_empty() {
            text.push_str(", and said nothing");
        } else {
            text.push_str(&format!("; its {stream} ends:"));
            for line in lines {
                text.push_str("\n    ");
                text.push_str(&line);
            }
        }
        if self.fenced != Some(false)
            && ["Permission denied", "Read-only file system"]
                .iter()
                .any(|refused| said.contains(refused))
        {
            text.push_str("\n  help: a program writes only below the directory it starts in; it finds room in `$TMPDIR`");
        }
        // A shell gives 128 and the signal of the program in it.
        if self.status.signal() == Some(9) || (line.shell && self.status.code() == Some(137)) {
            text.push_str("\n  help: run fewer at once with `--jobs`");
        }
        if let Some(log) = logs.get(stream) {
            let path = store.blob_path(&log.digest);
            text.push_str(&format!("\n  all of it: `{}`", path.display()));
        }
        Err(OpError::Program(text))
    }
}

/// Says how a process ended.
fn how(status: ExitStatus, shell: bool, boxed: bool) -> String {
    let signal = |number: i32| {
        let known = SIGNALS.iter().find(|(known, ..)| *known == number);
        match known {
            Some((_, name, "")) => format!("{name} ({number})"),
            Some((_, name, why)) => format!("{name} ({number}), {why}"),
            None => format!("signal {number}"),
        }
    };
    match (status.code(), status.signal()) {
        (_, Some(number)) => format!("was killed by {}", signal(number)),
        (Some(126), _) if shell => {
            "ended with exit code 126: a program in it is not executable".to_owned()
        }
        (Some(127), _) if shell => {
            format!(
                "ended with exit code 127: a program in it was not found{}",
                if boxed {
                    " in its image".to_owned()
                } else {
                    searched("")
                }
            )
        }
        (Some(code @ 129..=192), _) if shell => format!(
            "ended with exit code {code}: a program in it was killed by {}",
            signal(code - 128)
        ),
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, None) => "did not end as programs do".to_owned(),
    }
}

/// Returns the last lines of a log, fit for a terminal.
fn last_lines(said: &str) -> Vec<String> {
    let lines: Vec<&str> = said.trim_end().lines().collect();
    let first = lines.len().saturating_sub(LINES);
    lines[first..]
        .iter()
        .map(|line| {
            // Of a line that a progress bar wrote over and over, what was left standing.
            let line = line
                .trim_end_matches('\r')
                .rsplit('\r')
                .next()
                .unwrap_or("");
            let plain = line.chars().filter(|c| *c == '\t' || !c.is_control());
            plain.take(WIDTH).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_by_name() {
        let code = |code: i32| how(ExitStatus::from_raw(code << 8), true, false);
        assert_eq!(code(3), "ended with exit code 3");
        assert!(code(127).contains("was not found on PATH ("));
        assert!(
            how(ExitStatus::from_raw(127 << 8), true, true).ends_with("not found in its image")
        );
        assert!(code(137).contains("was killed by SIGKILL (9), often because memory ran out"));
        assert_eq!(
            how(ExitStatus::from_raw(15), false, false),
            "was killed by SIGTERM (15)"
        );
        assert_eq!(
            how(ExitStatus::from_raw(137 << 8), false, false),
            "ended with exit code 137"
        );
    }

    #[test]
    fn only_the_end_of_a_log_is_shown_and_no_control_characters() {
        let said: String = (0..50).map(|n| format!("line {n}\n")).collect();
        let lines = last_lines(&said);
        assert_eq!((lines.len(), lines[19].as_str()), (20, "line 49"));
        assert_eq!(last_lines("1 %\r50 %\r\x1b[1mdone\x07\r\n"), ["[1mdone"]);
        assert!(last_lines("\n\n").is_empty());
    }
}
