//! The fence around a program: it reads everywhere and writes below its own directory alone.
//!
//! Linux' Landlock holds for a thread and for everything that thread starts, so the process is
//! started by a thread of its own that has been fenced in first.

use std::{io, path::Path, process, sync::atomic::AtomicBool};

/// Whether [`MISSING`] has been said.
pub(super) static TOLD: AtomicBool = AtomicBool::new(false);

/// Said once where the kernel cannot fence a program in.
pub(super) const MISSING: &str = "this kernel cannot keep a program from writing outside of its own directory (no Landlock); its inputs are compared afterwards all the same";

/// Starts a process that may write below `dir` alone; says whether it is fenced in.
pub(super) fn spawn(
    mut process: process::Command,
    dir: &Path,
) -> io::Result<(process::Child, bool)> {
    let start = || {
        let fenced = enclose(dir);
        Ok((process.spawn()?, fenced))
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("start of a program".to_owned())
            .spawn_scoped(scope, start)?;
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread that starts it panicked")))
    })
}

/// Fences this thread in, as far as the kernel can.
#[cfg(target_os = "linux")]
fn enclose(dir: &Path) -> bool {
    use landlock::{
        ABI, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
        path_beneath_rules,
    };
    // Everything that changes files. Later kernels can also forbid commands to devices, which
    // programs on a GPU need.
    let writes = AccessFs::from_write(ABI::V3);
    let devices = AccessFs::WriteFile | AccessFs::Truncate;
    let fence = || -> Result<_, RulesetError> {
        Ruleset::default()
            .handle_access(writes)?
            .create()?
            .add_rules(path_beneath_rules([dir], writes))?
            .add_rules(path_beneath_rules(["/dev"], devices))?
            // Shared memory between the processes of one program.
            .add_rules(path_beneath_rules(["/dev/shm"], writes))?
            .restrict_self()
    };
    fence().is_ok_and(|status| status.ruleset != RulesetStatus::NotEnforced)
}

/// Fences nothing in: this system has no means to.
#[cfg(not(target_os = "linux"))]
fn enclose(_dir: &Path) -> bool {
    false
}
