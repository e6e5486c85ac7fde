//! `cerb fmt`: writes pipelines in the one layout, or says which are not in it.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use cerb_lang::{Diagnostics, Form};
use clap::Args;
use similar::{ChangeTag, TextDiff};

use crate::args::When;
use crate::commands::check::collect;
use crate::failure::{Failure, exit};
use crate::session::{plain, read, utf8};
use crate::terminal::{Paint, count, width};

/// Write pipelines in the one layout; comments and meaning stay
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cerb fmt tcga.cerb
  cerb fmt pipelines                 every .cerb file below a folder
  cerb fmt --check .                 only say what would change, and exit with 3
  cerb fmt --stdin < tcga.cerb       for editors

A file with a mistake in it is not touched. A comma behind the last of a list keeps it one to a line.")]
pub struct Fmt {
    /// Files, or folders with .cerb files below them
    #[arg(value_name = "FILE", required_unless_present = "stdin")]
    pub files: Vec<PathBuf>,

    /// Write nothing: show what would change, and exit with 3
    #[arg(long)]
    pub check: bool,

    /// Read a pipeline from standard input and write it to standard output
    #[arg(long, conflicts_with_all = ["files", "check"])]
    pub stdin: bool,
}

impl Fmt {
    /// Formats every file that has no mistake; fails when one has.
    pub fn execute(self, color: When) -> Result<u8, Failure> {
        if self.stdin {
            return from_stdin();
        }
        let paint = Paint::stdout(color);
        let files = files(&self.files)?;
        let (mut changed, mut code) = (0, exit::DONE);
        for file in &files {
            let text = read(file)?;
            let formatted = match cerb_lang::format(&text, &file.display().to_string()) {
                Ok(formatted) => formatted,
                Err(found) => {
                    complain(&found, color);
                    code = exit::WRONG_CALL;
                    continue;
                }
            };
            if formatted == text {
                continue;
            }
            changed += 1;
            if self.check {
                print!("{}", difference(file, &text, &formatted, paint));
            } else {
                replace(file, &formatted)?;
                println!("{} {}", paint.good("✓"), file.display());
            }
        }
        if self.check && changed > 0 {
            let all = count(files.len() as u64, "file", "files");
            eprintln!("{changed} of {all} would be changed; `cerb fmt` does it");
            code = code.max(exit::PARTIAL);
        }
        Ok(code)
    }
}

fn from_stdin() -> Result<u8, Failure> {
    let mut bytes = Vec::new();
    let mut stdin = std::io::stdin();
    stdin.read_to_end(&mut bytes).map_err(|error| {
        let title = format!("cannot read standard input: {}", plain(&error));
        Failure::surroundings(title, None)
    })?;
    let text = utf8(bytes, "standard input")?;
    print!("{}", cerb_lang::format(&text, "standard input")?);
    Ok(exit::DONE)
}

fn complain(found: &Diagnostics, color: When) {
    let paint = Paint::stderr(color);
    eprintln!("{}", found.render(paint.is_on(), width()).trim_end());
}

/// Lists the files that are named, and the .cerb files below the folders that are named.
fn files(what: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let is_text = |file: &Path| Form::of(&file.to_string_lossy()) == Some(Form::Text);
    let mut files = Vec::new();
    for path in what {
        if path.is_dir() {
            let mut below = Vec::new();
            collect(path, &mut below);
            below.retain(|file| is_text(file));
            below.sort();
            files.extend(below);
        } else if is_text(path) {
            files.push(path.clone());
        } else {
            return Err(Failure::call(
                format!("`{}` is no .cerb text", path.display()),
                "`cerb fmt` writes files whose name ends in `.cerb`; YAML has formatters of its own",
            ));
        }
    }
    Ok(files)
}

/// Puts a text in the place of a file, whole or not at all; what a link points to is replaced, and
/// its permissions stay.
fn replace(file: &Path, text: &str) -> Result<(), Failure> {
    let write = || -> std::io::Result<()> {
        let target = std::fs::canonicalize(file)?;
        let folder = target.parent().unwrap_or(Path::new("."));
        let permissions = std::fs::metadata(&target)?.permissions();
        if permissions.readonly() {
            return Err(std::io::ErrorKind::PermissionDenied.into());
        }
        let mut part = tempfile::Builder::new()
            .prefix(".cerb-fmt-")
            .tempfile_in(folder)?;
        part.write_all(text.as_bytes())?;
        part.as_file().set_permissions(permissions)?;
        part.persist(&target).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|error| {
        let title = format!("cannot write `{}`: {}", file.display(), plain(&error));
        Failure::surroundings(
            title,
            Some("check the permissions of the file and its folder".to_owned()),
        )
    })
}

/// What would change, as a unified diff.
fn difference(file: &Path, old: &str, new: &str, paint: Paint) -> String {
    let diff = TextDiff::from_lines(old, new);
    let mut out = format!("{}\n", paint.bold(&file.display().to_string()));
    for hunk in diff.unified_diff().context_radius(2).iter_hunks() {
        out.push_str(&format!(
            "{}\n",
            paint.name(hunk.header().to_string().trim_end())
        ));
        for change in hunk.iter_changes() {
            let line = change.value().trim_end_matches(['\n', '\r']);
            out.push_str(&match change.tag() {
                ChangeTag::Delete => paint.bad(&format!("-{line}")),
                ChangeTag::Insert => paint.good(&format!("+{line}")),
                ChangeTag::Equal => format!(" {line}"),
            });
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_through_its_link_with_its_permissions() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("a.cerb"), dir.path().join("b.cerb"));
        std::fs::write(&file, "old").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("a.cerb", &link).unwrap();
        replace(&link, "new").ok().unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "new");
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o640
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
