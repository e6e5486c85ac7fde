//! What the process asks of the operating system before anything else runs.

/// Sets the process up: a quiet end on a closed pipe, and an allocator that keeps large buffers.
///
/// - `cerb help | head` closes the pipe while we write. Rust ignores `SIGPIPE`
///   and turns it into a panic; the default action ends the process quietly.
/// - glibc returns every block above 128 KiB to the kernel at once. A forward
///   pass allocates and frees activations of 51 MB, and mapping and unmapping
///   them costs about one second of system time per patch (measured); with these
///   thresholds the heap keeps them.
#[cfg(target_os = "linux")]
pub fn set_up() {
    // SAFETY: called once, first thing in `main`, before any thread exists; both
    // calls only store numbers in the C library and cannot touch Rust memory.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        #[cfg(target_env = "gnu")]
        {
            libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
            libc::mallopt(libc::M_TRIM_THRESHOLD, 1 << 30);
        }
    }
}

/// Lets the calling thread see an error, and not the end of the process, when it writes a pipe whose
/// reader has gone away.
#[cfg(unix)]
pub fn outlive_readers() {
    let mut pipe = std::mem::MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: the calls write and read the one set, which lives here, and change which signals this
    // thread takes; a blocked SIGPIPE waits in the thread until that ends, and goes with it.
    unsafe {
        libc::sigemptyset(pipe.as_mut_ptr());
        libc::sigaddset(pipe.as_mut_ptr(), libc::SIGPIPE);
        libc::pthread_sigmask(libc::SIG_BLOCK, pipe.as_ptr(), std::ptr::null_mut());
    }
}

/// Does nothing where a closed pipe is an error anyway.
#[cfg(not(unix))]
pub fn outlive_readers() {}

/// Does nothing where none of this is needed.
#[cfg(not(target_os = "linux"))]
pub fn set_up() {}

/// Replaces Rust's panic message with one that a user can act on, and exit code 70.
///
/// Code that recovers from a panic of its own (a worker thread, say) sees the
/// message too, but only a panic that reaches `main` decides the exit code.
pub fn report_bugs() {
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let message = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        let place = info
            .location()
            .map(|at| format!(" ({}:{})", at.file(), at.line()))
            .unwrap_or_default();
        eprintln!(
            "cerb: a bug in cerb {}: {message}{place}",
            env!("CARGO_PKG_VERSION")
        );
        eprintln!("  what was finished is safe in the store; the same command goes on from there");
        eprintln!("  please report this line together with the command you ran");
    }));
}
