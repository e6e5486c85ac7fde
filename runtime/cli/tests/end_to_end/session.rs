//! Sessions written down in Markdown: files, commands and what they said, done again in a folder.
//!
//! ```` ```cerb first.cerb ```` is a file, and so is any other block whose second word is a name.
//! In a `console` block each line that begins with `$ ` is a command; what stands behind it is what it
//! says, on both streams. `…` stands for any text of a line, alone on a line for any lines. Times,
//! identities of runs and sizes of the machine may differ. `CERB_BLESS=1` writes what was said into the page.

use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::lab::CERB;

/// A fenced block: the words behind its fence, where its content stands, and the content.
pub struct Block {
    pub words: Vec<String>,
    pub start: usize,
    pub text: String,
}

/// Finds the fenced blocks of a page.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    let mut at = 0;
    for line in page.split_inclusive('\n') {
        at += line.len();
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(words)) => {
                let words = words.split_whitespace().map(str::to_owned).collect();
                open = Some(Block {
                    words,
                    start: at,
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (Some(block), None) => block.text.push_str(line),
            (None, None) => {}
        }
    }
    found
}

/// Runs a command line in a folder, as a user would type it; returns what it said on both streams.
pub fn typed(line: &str, folder: &Path) -> String {
    let bin = Path::new(CERB).parent().unwrap();
    let path = env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .args(["-c", &format!("{{ {line}\n}} 2>&1")])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100")
        .env_remove("CERB_STORE")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

/// Writes the files of a page and types its commands; returns what came out otherwise.
pub fn replay(file: &Path, folder: &Path) -> Vec<String> {
    let page = fs::read_to_string(file).unwrap();
    let mut wrong = Vec::new();
    let mut blessed = String::new();
    let mut copied = 0;
    for block in blocks(&page) {
        match block.words.as_slice() {
            [_, name] if name.contains('.') => {
                let path = folder.join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, &block.text).unwrap();
            }
            [word] if word == "console" => {
                let (said, faults) = console(&block.text, folder);
                let line = page[..block.start].lines().count();
                let place = |fault| format!("{}:{line}: {fault}", file.display());
                wrong.extend(faults.into_iter().map(place));
                blessed.push_str(&page[copied..block.start]);
                blessed.push_str(&said);
                copied = block.start + block.text.len();
            }
            _ => {}
        }
    }
    blessed.push_str(&page[copied..]);
    if bless() && blessed != page {
        fs::write(file, blessed).unwrap();
        return Vec::new();
    }
    wrong
}

/// Whether pages are to be rewritten.
pub fn bless() -> bool {
    env::var_os("CERB_BLESS").is_some()
}

/// Types the commands of a block; returns the block with what was said where it differs, and how it differs.
fn console(text: &str, folder: &Path) -> (String, Vec<String>) {
    let (mut said, mut wrong) = (String::new(), Vec::new());
    let mut rest = text;
    while let Some(line) = rest.lines().next() {
        rest = rest[line.len()..].strip_prefix('\n').unwrap_or("");
        let command = line
            .strip_prefix("$ ")
            .unwrap_or_else(|| panic!("no `$ ` before `{line}`"));
        let end = if rest.starts_with("$ ") {
            0
        } else {
            rest.find("\n$ ").map_or(rest.len(), |at| at + 1)
        };
        let (shown, behind) = rest.split_at(end);
        rest = behind;
        let real = typed(command, folder);
        said.push_str(&format!("{line}\n"));
        if fits(shown, &real) {
            said.push_str(shown);
        } else {
            said.push_str(&real);
            wrong.push(format!(
                "`{command}` says\n{real}and the page shows\n{shown}"
            ));
        }
    }
    (said, wrong)
}

/// Says whether a text is what a page shows of it.
pub fn fits(shown: &str, real: &str) -> bool {
    let lines = |text: &str| -> Vec<String> { text.trim_end().lines().map(plain).collect() };
    let (shown, real) = (lines(shown), lines(real));
    wild(&shown, &real, &|line| line.trim() == "…", &|a, b| {
        let letters = |line: &str| -> Vec<char> { line.chars().collect() };
        wild(&letters(a), &letters(b), &|c| *c == '…', &|a, b| a == b)
    })
}

/// Says whether a sequence fits one in which some members stand for any number of others.
fn wild<T>(
    shown: &[T],
    real: &[T],
    any: &dyn Fn(&T) -> bool,
    same: &dyn Fn(&T, &T) -> bool,
) -> bool {
    // Which beginnings of `real` the members looked at so far fit.
    let mut fit: Vec<bool> = (0..=real.len()).map(|n| n == 0).collect();
    for want in shown {
        let mut next = vec![false; real.len() + 1];
        for n in 0..=real.len() {
            next[n] = if any(want) {
                fit[n] || (n > 0 && next[n - 1])
            } else {
                n > 0 && fit[n - 1] && same(want, &real[n - 1])
            };
        }
        fit = next;
    }
    fit[real.len()]
}

/// A line without what differs from run to run: times, identities of runs, the machine, memory.
fn plain(line: &str) -> String {
    let line = line.trim_end();
    // What a run used, and who decided what it may use.
    if line.starts_with("busiest: ") || line.starts_with("at most ") {
        return "USED".to_owned();
    }
    let decided = line.find(" (75 % of ").and_then(|from| {
        let to = from + line[from..].find(')')? + 1;
        Some(format!("{}{}", &line[..from], &line[to..]))
    });
    let line = decided.as_deref().unwrap_or(line);
    let indent = &line[..line.len() - line.trim_start().len()];
    let mut words: Vec<&str> = Vec::new();
    let all: Vec<&str> = line.split_whitespace().collect();
    for (i, word) in all.iter().enumerate() {
        let next = all
            .get(i + 1)
            .map_or("", |next| next.trim_end_matches([',', ')', ';']));
        let number = word.trim_start_matches('(').parse::<f64>().is_ok();
        let machine = ["cores", "core"].contains(&next)
            || (next == "GiB" && i > 1 && all[i - 1].starts_with("core"));
        let run = word.len() == 26
            && word
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        words.push(if run {
            "RUN"
        } else if number && (["ms", "s", "min"].contains(&next) || machine) {
            if word.starts_with('(') { "(#" } else { "#" }
        } else if *word == "cores" {
            "core"
        } else if *word == "cores," {
            "core,"
        } else {
            word
        });
    }
    let joined = words
        .join(" ")
        .replace("# ms", "# s")
        .replace("# min # s", "# s");
    format!("{indent}{joined}")
}

#[test]
fn what_a_page_shows_fits_what_was_said() {
    assert!(fits("a …c\n…\nz", "a b c\nx\ny\nz"));
    assert!(fits("…\nz", "z"));
    assert!(!fits("a …c\nz", "a b d\nz"));
    assert!(!fits("a", "a\nb"));
    assert!(fits("[1/6] mask · 0.2 s", "[1/6] mask · 11 ms"));
    assert!(!fits("3838 nuclei", "3839 nuclei"));
    assert!(fits(
        "cpu, 2 cores, 17.7 GiB · run 01M8368B5V13HVCHPK41HP47YE",
        "cpu, 1 core, 3 GiB · run 01M8368B5V13HVCHPK41HP4700"
    ));
    assert!(fits(
        "2 cores, 17.7 GiB (75 % of the machine) · x\nbusiest: maps, 77 % of 2.0 s · 1 MiB stored",
        "2 cores, 1 GiB (75 % of the control group) · x\nat most 33 MiB of memory"
    ));
}
