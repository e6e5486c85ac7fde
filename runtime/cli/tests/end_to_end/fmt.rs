//! `cerb fmt`: what it writes, what it leaves alone, and how it says so.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::lab::{CERB, cerb};

const UGLY: &str = "let a=1  # one\r\nlet bc=[1,2]\r\n";
const NICE: &str = "let a  = 1  # one\nlet bc = [1, 2]\n";

#[test]
fn fmt_writes_a_file_once_and_check_only_tells() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.cerb");
    let name = file.to_str().unwrap();
    fs::write(&file, UGLY).unwrap();
    cerb(&["fmt", "--check", name])
        .exits(3)
        .says("-let bc=[1,2]")
        .says("+let bc = [1, 2]")
        .says("1 of 1 file would be changed");
    assert_eq!(fs::read_to_string(&file).unwrap(), UGLY);
    cerb(&["fmt", name]).exits(0).says("a.cerb");
    assert_eq!(fs::read_to_string(&file).unwrap(), NICE);
    let again = cerb(&["fmt", name]).exits(0);
    assert_eq!(again.out, "");
    cerb(&["fmt", "--check", dir.path().to_str().unwrap()]).exits(0);
}

#[test]
fn fmt_leaves_a_file_with_a_mistake_alone_and_does_the_others() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.cerb"), "let a=\n").unwrap();
    fs::write(dir.path().join("b.cerb"), UGLY).unwrap();
    cerb(&["fmt", dir.path().to_str().unwrap()])
        .exits(2)
        .says("lang::unexpected_token");
    assert_eq!(
        fs::read_to_string(dir.path().join("a.cerb")).unwrap(),
        "let a=\n"
    );
    assert_eq!(fs::read_to_string(dir.path().join("b.cerb")).unwrap(), NICE);
}

#[test]
fn only_files_of_the_language_are_formatted() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.txt", "a.cerb.yaml", "a.yml"] {
        let file = dir.path().join(name);
        fs::write(&file, UGLY).unwrap();
        cerb(&["fmt", file.to_str().unwrap()])
            .exits(2)
            .says("is no .cerb text");
        assert_eq!(fs::read_to_string(&file).unwrap(), UGLY);
    }
}

#[test]
fn fmt_reads_standard_input() {
    let mut child = Command::new(CERB)
        .args(["fmt", "--stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(UGLY.as_bytes())
        .unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(out.stdout).unwrap(), NICE);
}

#[test]
fn bytes_that_are_no_text_are_named_by_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.cerb");
    fs::write(&file, b"let a = 1\nlet b = \"\xff\"\n").unwrap();
    for verb in ["fmt", "check"] {
        cerb(&[verb, file.to_str().unwrap()])
            .exits(2)
            .says("line 2, byte 19 of the file")
            .calmly();
    }
    let yaml = dir.path().join("a.cerb.yaml");
    fs::write(&yaml, b"let:\n  a: 1\n  b: \"\xff\"\n").unwrap();
    cerb(&["check", yaml.to_str().unwrap()])
        .exits(2)
        .says("line 3, byte 18 of the file")
        .calmly();
}
