//! Goldens: files that results were kept in, and how something made is held against them.

use std::{fs, io, path::Path, path::PathBuf};

use cerb_lang::{Unit, Value, Verdict};
use cerb_store::{Blob, Digest, Form, Store, StoreError, Stored};
use serde::Serialize;

use crate::OpError;

/// How near something made must be to its golden.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tolerance {
    /// A fraction: `within 1 %` is 0.01.
    Share(f64),
    /// A number, in the unit of what is compared.
    Amount(f64),
}

impl Tolerance {
    /// Takes the value of a `within` for a tolerance.
    pub(crate) fn of(value: &Value) -> Option<Tolerance> {
        let number = value.number().filter(|number| *number >= 0.0)?;
        Some(match value {
            Value::Quantity(_, Unit::Pct) => Tolerance::Share(number),
            _ => Tolerance::Amount(number),
        })
    }
}

/// How artifacts of one kind are kept as goldens, and compared with them.
pub trait Golden: Send + Sync {
    /// Says what differs first, and how far it is over the bound; nothing when they agree.
    ///
    /// `within` is what the pipeline says; without it the kind has bounds of its own.
    fn differs(
        &self,
        made: &Stored,
        golden: &Path,
        within: Option<Tolerance>,
        store: &Store,
    ) -> Result<Option<String>, OpError>;

    /// Writes something made to a path where nothing is.
    fn keep(&self, made: &Stored, to: &Path, store: &Store) -> Result<(), OpError> {
        copy(made, to, store)
    }
}

/// Plain values to be kept: the rows of a table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    /// Names of the columns; the first names the item when there is a row of each.
    pub columns: Vec<String>,
    /// The cells of each row.
    pub rows: Vec<Vec<serde_json::Value>>,
}

/// Something made, held against its golden.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// The claim, by its place in [`Plan::expects`](cerb_lang::Plan::expects).
    pub claim: usize,
    /// The item.
    pub item: Option<String>,
    /// The root that the golden lies below.
    pub root: String,
    /// Its path below the root.
    pub path: String,
    /// Where that is on this machine.
    pub file: PathBuf,
    /// Digest of the golden; `None` when there is none.
    pub digest: Option<Digest>,
    /// What came of it.
    pub verdict: Verdict,
    /// What was made; `None` when nothing was.
    pub made: Option<Stored>,
}

/// Ending of a golden that holds a digest alone.
const DIGEST: &str = "digest";

/// Compares by bytes: what is done for kinds that say nothing else.
pub(crate) struct Bytes;

impl Golden for Bytes {
    fn differs(
        &self,
        made: &Stored,
        golden: &Path,
        within: Option<Tolerance>,
        store: &Store,
    ) -> Result<Option<String>, OpError> {
        if within.is_some() {
            return Err(OpError::Input(format!(
                "bytes of {} are the same or not: leave `within` out",
                made.kind
            )));
        }
        let kept = store.digest_of(golden, false)?;
        let digest = content(made);
        Ok((kept.digest != digest).then(|| {
            format!(
                "it is other bytes: {} ({} bytes), and {} ({} bytes) was kept",
                digest.short(),
                made.size,
                kept.digest.short(),
                kept.size
            )
        }))
    }
}

/// A golden that is one line: the digest of what is to come out again.
pub(crate) struct DigestAlone;

impl Golden for DigestAlone {
    fn differs(
        &self,
        made: &Stored,
        golden: &Path,
        within: Option<Tolerance>,
        _: &Store,
    ) -> Result<Option<String>, OpError> {
        if within.is_some() {
            return Err(OpError::Input(
                "a digest is the same or not: leave `within` out".to_owned(),
            ));
        }
        let kept = fs::read_to_string(golden)?;
        let kept = kept.trim();
        if kept.parse::<Digest>().is_err() {
            return Err(OpError::Input(format!(
                "`{}` holds no digest",
                golden.display()
            )));
        }
        let digest = content(made);
        Ok((digest.to_string() != kept).then(|| {
            let kept = kept.get(..12).unwrap_or(kept);
            format!("its digest is {}, and {kept} was kept", digest.short())
        }))
    }

    fn keep(&self, made: &Stored, to: &Path, _: &Store) -> Result<(), OpError> {
        Ok(fs::write(to, format!("{}\n", content(made)))?)
    }
}

/// Returns whether a golden holds a digest alone, by its name.
pub(crate) fn is_digest(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|end| end == DIGEST)
}

/// Returns the digest of the bytes of an artifact.
fn content(made: &Stored) -> Digest {
    match made.form {
        Form::Source { .. } => made.content().unwrap_or(made.digest),
        Form::Blob | Form::Tree => made.digest,
    }
}

/// Copies an artifact's bytes: a file, or a folder of them, that is one's own to edit.
fn copy(made: &Stored, to: &Path, store: &Store) -> Result<(), OpError> {
    match &made.form {
        Form::Source { .. } => {
            fs::copy(store.source(made)?, to)?;
        }
        Form::Blob => blob(&made.digest, to, store)?,
        Form::Tree => {
            for (name, Blob { digest, .. }) in &store.tree(&made.digest)?.entries {
                let place = to.join(name);
                if let Some(folder) = place.parent() {
                    fs::create_dir_all(folder)?;
                }
                blob(digest, &place, store)?;
            }
        }
    }
    Ok(())
}

fn blob(digest: &Digest, to: &Path, store: &Store) -> Result<(), OpError> {
    let mut from = store.open_blob_verified(digest)?;
    io::copy(&mut from, &mut fs::File::create_new(to)?)?;
    Ok(())
}

/// Makes one verdict of those of all items.
pub(crate) fn verdict(all: &[Compared]) -> Verdict {
    let first = |wanted: fn(&Verdict) -> bool| all.iter().find(|one| wanted(&one.verdict));
    let found = first(|one| matches!(one, Verdict::Fails(_)))
        .or_else(|| first(|one| matches!(one, Verdict::Lost(_))))
        .or_else(|| first(|one| *one == Verdict::NotYet));
    let Some(found) = found else {
        return match all {
            [] => Verdict::Lost("there is nothing to compare: no item is left".to_owned()),
            _ => Verdict::Holds,
        };
    };
    let named = |words: &str, what: &str, alike: usize| match &found.item {
        None => words.to_owned(),
        Some(item) if alike == 1 => format!("`{item}`: {words}"),
        Some(item) => format!("`{item}`: {words}; {alike} of {} {what}", all.len()),
    };
    let count =
        |wanted: fn(&Verdict) -> bool| all.iter().filter(|one| wanted(&one.verdict)).count();
    match &found.verdict {
        Verdict::Fails(words) => {
            let alike = count(|one| matches!(one, Verdict::Fails(_)));
            Verdict::Fails(named(words, "differ", alike))
        }
        Verdict::Lost(words) => {
            let alike = count(|one| matches!(one, Verdict::Lost(_)));
            Verdict::Lost(named(words, "cannot be compared", alike))
        }
        other => other.clone(),
    }
}

/// Makes an artifact of rows; how is registered by who knows a format for them.
pub type KeepRows = fn(&Rows, &Store) -> Result<Stored, StoreError>;
