//! `cerb lsp` as an editor starts it: a whole session with a client that others wrote.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn a_pipeline_is_written_with_a_real_client() {
    let named = std::env::var_os("CERB_PYTHON").map(PathBuf::from);
    let python = named.unwrap_or_else(|| root().join(".venv/bin/python"));
    if !python.is_file() {
        let required = std::env::var("CERB_REQUIRE_ORACLES").as_deref() == Ok("1");
        assert!(
            !required,
            "no Python with tests/oracles/requirements.txt (CERB_PYTHON)"
        );
        println!("skipped: no Python with the oracles (CERB_PYTHON)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = Command::new(python)
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir"])
        .arg(folder.path())
        .arg(root().join("tests/oracles/lsp_session.py"))
        .env("CERB_PROGRAM", env!("CARGO_BIN_EXE_cerb"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
}

/// The exit code of `cerb lsp` when it is given this and then nothing more.
fn ends(input: &str) -> Option<i32> {
    let mut server = Command::new(env!("CARGO_BIN_EXE_cerb"))
        .arg("lsp")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    server
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    server.wait().unwrap().code()
}

#[test]
fn an_editor_that_dies_ends_the_program() {
    assert_eq!(ends(""), Some(1));
    assert_eq!(ends("Content-Length: 100\r\n\r\n{"), Some(1));
    let framed = |body: &str| format!("Content-Length: {}\r\n\r\n{body}", body.len());
    let start =
        framed(r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"capabilities":{}}}"#);
    let stop = framed(r#"{"jsonrpc":"2.0","id":2,"method":"shutdown"}"#);
    let exit = framed(r#"{"jsonrpc":"2.0","method":"exit"}"#);
    assert_eq!(ends(&format!("{start}{stop}{exit}")), Some(0));
}
