//! The directory a program runs in: inputs linked read-only, places for outputs, secrets.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs, io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, symlink},
    path::{Path, PathBuf},
};

use cerb_store::{Digest, Form, Store, StoreError, Stored};

use crate::{Bound, Ctx, OpError};

/// Second parts of names such as `slide.ome.tiff` and `table.csv.gz`.
const PACKED: [&str; 4] = ["gz", "bz2", "xz", "zst"];

/// The directory a program runs in.
pub(super) struct Stage {
    dir: PathBuf,
    places: BTreeMap<String, PathBuf>,
    watched: Vec<Watched>,
    reads: BTreeSet<PathBuf>,
    masks: Vec<Vec<u8>>,
}

/// A file or folder the program reads, and how it looked before.
struct Watched {
    port: String,
    path: PathBuf,
    before: Look,
    what: What,
}

enum What {
    Blob(Digest),
    Source(Box<Stored>),
}

/// What changes when the bytes of a file do.
type Look = (u64, u64, u64, i64, i64, i64, i64);

fn look(path: &Path) -> io::Result<Look> {
    let meta = fs::metadata(path)?;
    Ok((
        meta.dev(),
        meta.ino(),
        meta.len(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec(),
    ))
}

impl Stage {
    /// Lays out an empty directory.
    pub fn new(dir: &Path) -> Result<Stage, OpError> {
        for folder in ["in", "out", "tmp"] {
            fs::create_dir_all(dir.join(folder))?;
        }
        Ok(Stage {
            dir: dir.to_path_buf(),
            places: BTreeMap::new(),
            watched: Vec::new(),
            reads: BTreeSet::new(),
            masks: Vec::new(),
        })
    }

    /// Returns the directory itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the folder for what the program throws away.
    pub fn tmp(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    /// Returns the folder that outputs are collected from.
    pub fn out(&self) -> PathBuf {
        self.dir.join("out")
    }

    /// Returns where an input or a secret lies.
    pub fn place(&self, port: &str) -> Option<&Path> {
        self.places.get(port).map(PathBuf::as_path)
    }

    /// Returns the files and folders that the links lead to.
    pub fn reads(&self) -> impl Iterator<Item = &Path> {
        self.reads.iter().map(PathBuf::as_path)
    }

    /// Returns the bytes that must not be kept in logs.
    pub fn masks(&self) -> &[Vec<u8>] {
        &self.masks
    }

    /// Links what stands at an input port: a file, or a folder with an entry per key.
    pub fn put(&mut self, port: &str, bound: &Bound, store: &Store) -> Result<(), OpError> {
        let place = self.dir.join("in").join(port);
        let path = match bound {
            Bound::One(stored) => self.link(port, stored, &place, store)?,
            Bound::Growing(growing) => self.link(port, &growing.whole()?, &place, store)?,
            Bound::Keyed(all) => {
                fs::create_dir_all(&place)?;
                for (key, stored) in all {
                    self.link(port, stored, &below(&place, key, port)?, store)?;
                }
                place
            }
        };
        self.places.insert(port.to_owned(), path);
        Ok(())
    }

    /// Puts a copy of a secret where only this user reads it.
    pub fn put_secret(&mut self, param: &str, name: &str, ctx: &Ctx) -> Result<(), OpError> {
        let from = ctx.secret(name).ok_or_else(|| {
            OpError::Input(format!(
                "secret `{name}` is not bound\n  help: keep it in a file, and say which: `--secret {name}=FILE`"
            ))
        })?;
        let bytes = fs::read(from).map_err(|error| {
            let from = from.display();
            OpError::Input(format!(
                "secret `{name}` cannot be read from `{from}`: {error}"
            ))
        })?;
        let folder = self.secrets();
        fs::create_dir_all(&folder)?;
        let path = folder.join(param);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        io::Write::write_all(&mut file, &bytes)?;
        self.places.insert(param.to_owned(), path);
        // A program prints a secret without the newline that ends its file.
        let bare = bytes.trim_ascii().to_vec();
        if !bare.is_empty() {
            self.masks.push(bare);
        }
        Ok(())
    }

    fn secrets(&self) -> PathBuf {
        self.dir.join("secret")
    }

    /// Removes the copies of secrets.
    pub fn forget_secrets(&self) {
        // What cannot be removed now goes with the whole directory.
        let _ = fs::remove_dir_all(self.secrets());
    }

    /// Links one artifact at `place`, to which its extension is added; returns where it lies.
    fn link(
        &mut self,
        port: &str,
        stored: &Stored,
        place: &Path,
        store: &Store,
    ) -> Result<PathBuf, OpError> {
        match &stored.form {
            Form::Blob => {
                let path = with_extension(place, named(stored).unwrap_or(Path::new("")));
                self.link_blob(port, stored.digest, &path, store)?;
                Ok(path)
            }
            Form::Tree => {
                fs::create_dir_all(place)?;
                for (name, blob) in &store.tree(&stored.digest)?.entries {
                    self.link_blob(port, blob.digest, &below(place, name, port)?, store)?;
                }
                Ok(place.to_path_buf())
            }
            Form::Source { path } => self.link_source(port, stored, path, place),
        }
    }

    fn link_blob(
        &mut self,
        port: &str,
        digest: Digest,
        link: &Path,
        store: &Store,
    ) -> Result<(), OpError> {
        let path = store.blob_path(&digest);
        let before = look(&path).map_err(|_| StoreError::Missing {
            what: "blob",
            digest,
        })?;
        self.watch(port, &path, before, What::Blob(digest));
        self.tie(port, &path, link)
    }

    fn link_source(
        &mut self,
        port: &str,
        stored: &Stored,
        source: &Path,
        place: &Path,
    ) -> Result<PathBuf, OpError> {
        let unread = |error| StoreError::io("read", source, error);
        let path = fs::canonicalize(source).map_err(unread)?;
        let before = look(&path).map_err(unread)?;
        if path.is_file() && before.2 != stored.size {
            return Err(OpError::from(StoreError::Changed {
                path: source.to_path_buf(),
                reason: "its size is another than when it was listed".to_owned(),
            }));
        }
        self.watch(port, &path, before, What::Source(Box::new(stored.clone())));
        let extension = path
            .extension()
            .map(|extension| extension.to_ascii_lowercase());
        match extension
            .as_deref()
            .and_then(|extension| extension.to_str())
        {
            // DICOM slides are the files of a folder, found through any of them.
            Some("dcm") => {
                let folder = path.parent().unwrap_or(&path);
                self.tie(port, folder, place)?;
                Ok(place.join(path.file_name().unwrap_or_default()))
            }
            extension => {
                let link = with_extension(place, named(stored).unwrap_or(source));
                self.tie(port, &path, &link)?;
                // MIRAX keeps its pixels in a folder of the file's name.
                let pixels = path.with_extension("");
                if extension == Some("mrxs") && pixels.is_dir() {
                    self.tie(port, &pixels, place)?;
                }
                Ok(link)
            }
        }
    }

    fn watch(&mut self, port: &str, path: &Path, before: Look, what: What) {
        self.watched.push(Watched {
            port: port.to_owned(),
            path: path.to_path_buf(),
            before,
            what,
        });
    }

    fn tie(&mut self, port: &str, target: &Path, link: &Path) -> Result<(), OpError> {
        let clash = |_| {
            let name = super::shown(link, &self.dir.join("in").join(port));
            OpError::Input(format!(
                "two items at port `{port}` would share the file name `{name}`; rename one of them"
            ))
        };
        if let Some(folder) = link.parent() {
            fs::create_dir_all(folder).map_err(clash)?;
        }
        symlink(target, link).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => clash(error),
            _ => error.into(),
        })?;
        self.reads.insert(target.to_path_buf());
        Ok(())
    }

    /// Looks whether the inputs still are what they were; a damaged blob is set aside.
    pub fn unchanged(&self, name: &str, store: &Store) -> Result<(), OpError> {
        let mut changed = BTreeSet::new();
        for watched in &self.watched {
            if look(&watched.path).is_ok_and(|now| now == watched.before) {
                continue;
            }
            // Links and permissions may change without the bytes, so these decide.
            let same = match &watched.what {
                What::Blob(digest) => store.verify_blob(digest)?,
                What::Source(stored) => store.source(stored).is_ok(),
            };
            if !same {
                changed.insert(format!("`{}`", watched.port));
            }
        }
        if changed.is_empty() {
            return Ok(());
        }
        let ports: Vec<String> = changed.into_iter().collect();
        Err(OpError::Program(format!(
            "`{name}` changed its own input at {}, so its result cannot be believed\n  help: let it copy what it changes into `$TMPDIR` first",
            ports.join(", ")
        )))
    }
}

/// Returns the path of a key or name below a folder; one that leads out of it is an error.
fn below(folder: &Path, name: &str, port: &str) -> Result<PathBuf, OpError> {
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains('\0');
    if name.split('/').all(plain) {
        return Ok(folder.join(name));
    }
    Err(OpError::Input(format!(
        "`{name}` at port `{port}` cannot be the name of a file; rename it"
    )))
}

/// Returns the name an artifact gives itself.
fn named(stored: &Stored) -> Option<&Path> {
    stored.fields.get("name")?.as_str().map(Path::new)
}

/// Adds the extension of `named` to a place, for programs that go by it.
fn with_extension(place: &Path, named: &Path) -> PathBuf {
    let mut path = OsString::from(place);
    if let Some(extension) = extension(named) {
        path.push(".");
        path.push(extension);
    }
    path.into()
}

/// Returns the extension that programs tell the format of a file by: `csv`, `tar.gz`, `ome.tiff`.
#[must_use]
pub fn extension(path: &Path) -> Option<String> {
    let part = |path: &Path| {
        let text = path.extension()?.to_str()?;
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        plain.then(|| text.to_owned())
    };
    let last = part(path)?;
    match part(&path.with_extension("")) {
        Some(before) if before == "ome" || PACKED.contains(&last.as_str()) => {
            Some(format!("{before}.{last}"))
        }
        _ => Some(last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_that_programs_go_by_are_kept() {
        let name = |named: &str| {
            let path = with_extension(Path::new("in/x"), Path::new(named));
            path.to_string_lossy().into_owned()
        };
        assert_eq!(name("a.b/TCGA-1.2-x.svs"), "in/x.svs");
        assert_eq!(name("slide.ome.tiff"), "in/x.ome.tiff");
        assert_eq!(name("table.csv.gz"), "in/x.csv.gz");
        assert_eq!(name("table"), "in/x");
        assert_eq!(name(".hidden"), "in/x");
        assert_eq!(name("odd.a b"), "in/x");
    }

    #[test]
    fn a_key_cannot_lead_out_of_its_folder() {
        for key in ["../a", "a/../b", "", "/a", "a//b", "a\0b"] {
            assert!(below(Path::new("in"), key, "all").is_err(), "{key:?}");
        }
        assert!(below(Path::new("in"), "a b/c'd", "all").is_ok());
    }
}
