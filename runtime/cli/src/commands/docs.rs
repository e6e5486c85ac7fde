//! `cerb docs`: writes the generated reference.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cerb_engine::ListEnv;
use cerb_store::Store;
use clap::Args;

use crate::args::When;
use crate::failure::{Failure, exit};
use crate::reference::{self, MARK};
use crate::session::{self, plain};
use crate::terminal::{Paint, count};

/// Write the reference of operators, language and commands as Markdown
///
/// One page for each family of operators, one for the words of the language, one for
/// artifacts and their fields, and one for the command line. The JSON Schema beside them is
/// for editors of pipelines in YAML.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cerb docs --out docs/reference
  cerb docs --out docs/reference --check      3 when a page is not what would be written, for CI")]
pub struct Docs {
    /// The folder of the pages
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// Write nothing; exit with 3 when a page is missing, out of date or left over
    #[arg(long)]
    pub check: bool,
}

impl Docs {
    /// Writes or compares the pages.
    pub fn execute(self, color: When) -> Result<u8, Failure> {
        let paint = Paint::stdout(color);
        let pages = pages()?;
        let old = left_over(&self.out, &pages);
        let stale: Vec<&String> = pages
            .iter()
            .filter(|(name, text)| {
                let there = std::fs::read_to_string(self.out.join(name));
                there.ok().as_ref() != Some(*text)
            })
            .map(|(name, _)| name)
            .collect();
        if self.check {
            for name in &stale {
                println!(
                    "{} {} is not current",
                    paint.bad("×"),
                    self.out.join(name).display()
                );
            }
            for path in &old {
                println!("{} {} is left over", paint.bad("×"), path.display());
            }
            if stale.is_empty() && old.is_empty() {
                let n = count(pages.len() as u64, "page", "pages");
                println!(
                    "{} {n} of {} are current",
                    paint.good("✓"),
                    self.out.display()
                );
                return Ok(exit::DONE);
            }
            println!("write them anew: `cerb docs --out {}`", self.out.display());
            return Ok(exit::PARTIAL);
        }
        for name in &stale {
            write(&self.out.join(name), &pages[*name])?;
        }
        for path in &old {
            std::fs::remove_file(path).map_err(|error| cannot(path, &error))?;
        }
        println!(
            "{} {}, {} written",
            paint.good("✓"),
            count(pages.len() as u64, "page", "pages"),
            stale.len()
        );
        Ok(exit::DONE)
    }
}

fn pages() -> Result<BTreeMap<String, String>, Failure> {
    let registry = session::registry()?;
    let folder = tempfile::tempdir().map_err(|error| Failure::surroundings(plain(&error), None))?;
    let (store, roots) = (Store::open(folder.path())?, BTreeMap::new());
    let env = ListEnv {
        roots: &roots,
        store: &store,
        rehash: false,
    };
    let mut pages = reference::pages(&registry, &registry.catalog(&env));
    let schema = cerb_lang::schema(registry.signatures());
    pages.insert("pipeline.schema.json".into(), format!("{schema:#}\n"));
    Ok(pages)
}

/// Lists the pages that were written once and are no more.
fn left_over(out: &Path, pages: &BTreeMap<String, String>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for below in ["", "operators"] {
        let entries = std::fs::read_dir(out.join(below))
            .into_iter()
            .flatten()
            .flatten();
        for name in entries.map(|entry| entry.file_name().to_string_lossy().into_owned()) {
            let path = Path::new(below).join(&name);
            let known = pages.contains_key(path.to_string_lossy().as_ref());
            let path = out.join(path);
            let ours = || std::fs::read_to_string(&path).is_ok_and(|text| text.starts_with(MARK));
            if !known && ours() {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(path);
    std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(path, text))
        .map_err(|error| cannot(path, &error))
}

fn cannot(path: &Path, error: &std::io::Error) -> Failure {
    let title = format!("cannot write `{}`: {}", path.display(), plain(error));
    Failure::surroundings(
        title,
        Some("name another folder with `--out DIR`".to_owned()),
    )
}
