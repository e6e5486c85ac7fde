//! `cerb export`: a run as others read it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use cerb_store::Store;
use clap::Args;
use zip::write::SimpleFileOptions;

use crate::args::When;
use crate::failure::{Failure, exit};
use crate::history;
use crate::provenance::{self, Content, Piece};
use crate::session::{self, plain};
use crate::terminal::{Paint, count};

/// Export a run with its provenance, as a Workflow Run RO-Crate
///
/// A crate says in terms that archives know (RO-Crate 1.1, Provenance Run Crate 0.5) what was run, on
/// which inputs, with which parameters, weights and operators, and what came of it. Inputs
/// and results are named by their digests; no path of this machine stands in it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  cerb export --ro-crate last                            a folder beside you
  cerb export --ro-crate last --out paper.zip            one file
  cerb export --ro-crate 01K9X --with-results --license https://creativecommons.org/licenses/by/4.0/")]
pub struct Export {
    /// The run: its id, the beginning of it, `last` or `last~1`
    #[arg(long, value_name = "RUN", required = true)]
    pub ro_crate: String,

    /// A folder that is not there yet, or a file that ends in .zip [default: PIPELINE-RUN.crate]
    #[arg(long, value_name = "DIR|FILE.zip")]
    pub out: Option<PathBuf>,

    /// Put the published outputs into the crate; otherwise it names them by their digests
    #[arg(long)]
    pub with_results: bool,

    /// The licence of the crate, as an address or in words; without it the crate says that none is stated
    #[arg(long, value_name = "TEXT")]
    pub license: Option<String>,

    /// The store to look in [default: .cerb/ here, else pipelines/.cerb/]
    #[arg(long, value_name = "DIR", env = "CERB_STORE", hide_env_values = true)]
    pub store: Option<PathBuf>,
}

impl Export {
    /// Writes the crate.
    pub fn execute(self, color: When) -> Result<u8, Failure> {
        let store = Store::open_or_look(&session::find_store(self.store.as_deref())?)?;
        let files = history::find(&store, &self.ro_crate)?;
        let id = files.id().to_string();
        let wanted = provenance::Wanted {
            results: self.with_results,
            license: self.license.as_deref(),
        };
        let pieces = provenance::pieces(&store, files, &wanted)?;
        let named = || {
            let short = id.get(..10).unwrap_or(&id);
            PathBuf::from(format!("{}-{short}.crate", pieces.name))
        };
        let out = self.out.clone().unwrap_or_else(named);
        let taken = || {
            let title = format!("`{}` is there already", out.display());
            Failure::call(title, "name another place: `--out DIR` or `--out FILE.zip`")
        };
        let zipped = out.extension().is_some_and(|ending| ending == "zip");
        if taken_by_something(&out) || (zipped && out.exists()) {
            return Err(taken());
        }
        let failed = |error: &io::Error| {
            let title = format!("cannot write `{}`: {}", out.display(), plain(error));
            Failure::call(title, "name another place: `--out DIR` or `--out FILE.zip`")
        };
        if zipped {
            let beside =
                tempfile::tempdir_in(session::folder(&out)).map_err(|error| failed(&error))?;
            let folder = beside.path().join("crate");
            lay_out(&store, &pieces.all, &folder, &failed)?;
            let staged = beside.path().join("zip");
            zip(&folder, &staged)
                .and_then(|()| fs::rename(&staged, &out))
                .map_err(|error| failed(&error))?;
        } else {
            lay_out(&store, &pieces.all, &out, &failed)?;
        }
        let paint = Paint::stdout(color);
        println!(
            "{} {}  {}",
            paint.good("→"),
            out.display(),
            paint.dim(&format!(
                "run {id}, {}, {}",
                count(pieces.actions as u64, "action", "actions"),
                count(pieces.all.len() as u64, "file", "files")
            ))
        );
        for note in &pieces.notes {
            println!("  {} {}", paint.warn("note"), note);
        }
        Ok(exit::DONE)
    }
}

/// Whether nothing can be laid out at a place: a file is there, or a folder in which something lies.
fn taken_by_something(place: &Path) -> bool {
    place.exists() && fs::read_dir(place).map_or(true, |mut entries| entries.next().is_some())
}

/// Writes the files of a crate below a folder.
fn lay_out(
    store: &Store,
    pieces: &[Piece],
    folder: &Path,
    failed: &dyn Fn(&io::Error) -> Failure,
) -> Result<(), Failure> {
    for piece in pieces {
        let to = folder.join(&piece.path);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(|error| failed(&error))?;
        }
        match &piece.content {
            Content::Text(text) => fs::write(&to, text).map_err(|error| failed(&error))?,
            Content::Stored(stored) => drop(store.publish(stored, &to)?),
            Content::File(from) => drop(fs::copy(from, &to).map_err(|error| failed(&error))?),
        }
    }
    Ok(())
}

/// Puts a folder into a zip file, in the order of names.
fn zip(folder: &Path, to: &Path) -> io::Result<()> {
    let mut archive = zip::ZipWriter::new(File::create(to)?);
    let mut folders = vec![folder.to_path_buf()];
    let mut files = Vec::new();
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next)? {
            let path = entry?.path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    files.sort();
    for file in files {
        let name = file.strip_prefix(folder).unwrap_or(&file);
        let mut from = File::open(&file)?;
        let large = from.metadata()?.len() >= u64::from(u32::MAX);
        let options = SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Deflated)
            .large_file(large);
        archive.start_file(name.to_string_lossy(), options)?;
        io::copy(&mut from, &mut archive)?;
    }
    archive.finish()?;
    Ok(())
}
