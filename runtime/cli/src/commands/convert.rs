//! `cerb convert`: writes a pipeline in its other form, text or YAML.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use cerb_lang::Form;
use clap::Args;

use crate::args::When;
use crate::failure::{Failure, exit};
use crate::session::{folder, plain, read, registry};
use crate::terminal::{Paint, count};

/// Write a pipeline in its other form: text as YAML, YAML as text
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cerb convert tcga.cerb                          to standard output
  cerb convert tcga.cerb -o tcga.cerb.yaml
  cerb convert tcga.cerb.yaml -o tcga.cerb

Both forms mean the same: the same plan, the same keys, the same results. Comments are left out;
what `##` lines and `doc:` say stays.")]
pub struct Convert {
    /// A .cerb or .cerb.yaml file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Write here instead of to standard output
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// Write over a file that is there
    #[arg(long, requires = "out")]
    pub force: bool,
}

impl Convert {
    /// Converts the file and writes it.
    pub fn execute(self, color: When) -> Result<u8, Failure> {
        let name = self.file.display().to_string();
        let Some(form) = Form::of(&name) else {
            return Err(Failure::call(
                format!("`{name}` is neither text nor YAML by its name"),
                "a text ends in `.cerb`, YAML in `.cerb.yaml`",
            ));
        };
        if let Some(out) = &self.out {
            fits(out, form, self.force)?;
        }
        let text = read(&self.file)?;
        let converted = match form {
            Form::Text => cerb_lang::to_yaml(&text, &name)?,
            Form::Yaml => {
                let registry = registry()?;
                let faces: BTreeMap<&str, _> = registry
                    .signatures()
                    .map(|face| (face.name.as_str(), face))
                    .collect();
                cerb_lang::to_text(&text, &name, &|op| faces.get(op).copied())?
            }
        };
        match &self.out {
            Some(out) => put(out, &converted, self.force)?,
            None => print!("{converted}"),
        }
        let lost = cerb_lang::comments(&text, &name);
        if lost > 0 {
            let paint = Paint::stderr(color);
            let lost = count(lost as u64, "comment is", "comments are");
            eprintln!("{} {lost} left out", paint.name("note:"));
        }
        Ok(exit::DONE)
    }
}

/// Refuses to write a form under the name of the other, or over what is there.
fn fits(out: &Path, from: Form, force: bool) -> Result<(), Failure> {
    let (wanted, ending) = match from {
        Form::Text => (Form::Yaml, ".cerb.yaml"),
        Form::Yaml => (Form::Text, ".cerb"),
    };
    let shown = out.display();
    if Form::of(&out.to_string_lossy()) != Some(wanted) {
        return Err(Failure::call(
            format!("`{shown}` does not end in `{ending}`"),
            format!(
                "the file is read by its name; write to `{}{ending}`",
                cerb_lang::stem(&out.to_string_lossy())
            ),
        ));
    }
    if out.exists() && !force {
        return Err(Failure::call(
            format!("`{shown}` is there already"),
            "choose another name, or write over it with `--force`",
        ));
    }
    Ok(())
}

/// Writes a file whole or not at all.
fn put(out: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let write = || -> std::io::Result<()> {
        let mut part = tempfile::Builder::new()
            .prefix(".cerb-convert-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(folder(out))?;
        part.write_all(text.as_bytes())?;
        if force {
            part.persist(out).map_err(|error| error.error)?;
        } else {
            part.persist_noclobber(out).map_err(|error| error.error)?;
        }
        Ok(())
    };
    write().map_err(|error| {
        Failure::surroundings(
            format!("cannot write `{}`: {}", out.display(), plain(&error)),
            Some("check the permissions of its folder".to_owned()),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_over_only_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("a.cerb.yaml");
        assert!(fits(&out, Form::Text, false).is_ok());
        put(&out, "cerb: 1\n", false).ok().unwrap();
        assert!(fits(&out, Form::Text, false).is_err());
        assert!(put(&out, "", false).is_err());
        assert_eq!(std::fs::read_to_string(&out).unwrap(), "cerb: 1\n");
        assert!(fits(&out, Form::Text, true).is_ok());
        put(&out, "cerb: 1\nlet: {a: 1}\n", true).ok().unwrap();
        assert!(std::fs::read_to_string(&out).unwrap().contains("let"));
    }

    #[test]
    fn a_form_has_the_name_it_is_read_by() {
        assert!(fits(Path::new("/nowhere/a.cerb"), Form::Text, false).is_err());
        assert!(fits(Path::new("/nowhere/a.cerb"), Form::Yaml, false).is_ok());
        assert!(fits(Path::new("/nowhere/a.txt"), Form::Yaml, false).is_err());
    }
}
