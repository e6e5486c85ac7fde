//! What a program wrote: one plain file for each of its outputs.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use cerb_lang::{Command, Type};
use cerb_store::{Store, Stored};

use super::stage::Stage;
use crate::OpError;

/// Names shown of what was written instead.
const SHOWN: usize = 10;

/// Stores what lies at each output: `out/port`, or the only `out/port.*`.
pub(super) fn outputs(
    command: &Command,
    stage: &Stage,
    store: &Store,
) -> Result<BTreeMap<String, Stored>, OpError> {
    let written = written(&stage.out())?;
    // All outputs are looked for before the first is taken.
    let mut found = Vec::new();
    for port in &command.outputs {
        let (ty, optional) = match &port.ty {
            Type::Optional(inner) => (&**inner, true),
            ty => (ty, false),
        };
        let Type::Kind(kind) = ty else {
            let name = &command.name;
            let text = format!("output `{}` of `{name}` is no file", port.name);
            return Err(OpError::Operator(text));
        };
        let prefix = format!("{}.", port.name);
        let matches: Vec<&String> = written
            .iter()
            .filter(|name| **name == port.name || name.starts_with(&prefix))
            .collect();
        match matches.as_slice() {
            [] if optional => {}
            [] => return Err(missing(&command.name, &port.name, &written)),
            [name] => found.push((port, kind, plain(&command.name, stage, name)?, *name)),
            [one, other, ..] => {
                return Err(OpError::Program(format!(
                    "`{}` wrote `{}` more than once: `out/{one}` and `out/{other}`\n  help: write one of them, the rest into `$TMPDIR`",
                    command.name, port.name
                )));
            }
        }
    }
    let mut stored = BTreeMap::new();
    for (port, kind, path, name) in found {
        let blob = store.put_file(&path)?;
        let fields = BTreeMap::from([("name".to_owned(), name.as_str().into())]);
        stored.insert(port.name.clone(), Stored::blob(kind, blob, fields));
    }
    Ok(stored)
}

/// Lists the names in a folder, sorted.
fn written(out: &Path) -> Result<Vec<String>, OpError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(out)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn missing(command: &str, port: &str, written: &[String]) -> OpError {
    let mut names: Vec<String> = written
        .iter()
        .take(SHOWN)
        .map(|name| format!("`out/{name}`"))
        .collect();
    if written.len() > SHOWN {
        names.push(format!("{} more", written.len() - SHOWN));
    }
    let instead = if names.is_empty() {
        "there is nothing in `out`".to_owned()
    } else {
        format!("there is {}", names.join(", "))
    };
    OpError::Program(format!(
        "`{command}` ended well and wrote no `{port}`: neither `out/{port}` nor `out/{port}.*`; {instead}\n  help: `{{{port}}}` in its command line is the path to write to"
    ))
}

/// Returns the path of an output once it is known to be a plain file of the program's own.
fn plain(command: &str, stage: &Stage, name: &str) -> Result<PathBuf, OpError> {
    let path = stage.out().join(name);
    let wrong = |what: &str| OpError::Program(format!("`{command}` wrote `out/{name}` as {what}"));
    let real =
        fs::canonicalize(&path).map_err(|_| wrong("a link to something that is not there"))?;
    let own = fs::canonicalize(stage.dir())?;
    if !real.starts_with(&own) {
        return Err(wrong(
            "a link to what it has not made\n  help: copy what is passed on",
        ));
    }
    let meta = fs::metadata(&real)?;
    if meta.is_dir() {
        return Err(wrong(
            "a folder, and a file is needed\n  help: pack it into one, with `tar` or `zip`",
        ));
    }
    if !meta.is_file() {
        return Err(wrong("a pipe, socket or device, and a file is needed"));
    }
    Ok(path)
}
