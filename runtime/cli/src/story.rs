//! A run that was, whole: all that its own files say, for its page and for what it is exported as.

use std::path::{Path, PathBuf};

use cerb_engine::{Event, Manifest, Moment};
use cerb_store::RunFiles;
use serde_json::Value;

use crate::failure::Failure;
use crate::history::{self, Past};
use crate::work::Work;

/// What the files of a run say; empty where it did not get that far.
pub struct Story {
    /// Its end, its parameters, its beginning.
    pub past: Past,
    /// What was asked for.
    pub request: Value,
    /// What the engine wrote as it began.
    pub about: Value,
    /// What the results held at its end.
    pub manifest: Option<Manifest>,
    /// What happened.
    pub moments: Vec<Moment>,
    /// What its stages took.
    pub work: Work,
    /// Folders of the machine it ran on, longest first, and what stands for each where others read of it.
    places: Vec<(String, String)>,
}

impl Story {
    /// Reads them.
    pub fn of(files: RunFiles) -> Result<Story, Failure> {
        let moments = match files.events() {
            Ok(moments) => moments,
            // Lines of another version: as far as they are known.
            Err(_) => history::moments(&files.events::<Value>()?),
        };
        let request: Value = files.read_json("request.json")?.unwrap_or_default();
        Ok(Story {
            places: places(&request, &files),
            request,
            about: files.read_json("run.json")?.unwrap_or_default(),
            manifest: files.read_json("manifest.json")?,
            work: Work::of(&moments),
            moments,
            past: Past::of(files)?,
        })
    }

    /// Returns a text without the folders of the machine: `data:case-07.svs`.
    pub fn portable(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (folder, name) in &self.places {
            if text.contains(folder.as_str()) {
                text = renamed(&text, folder, name);
            }
        }
        text
    }

    /// Returns the milliseconds from the first to the last that is known of it.
    pub fn length_ms(&self) -> u64 {
        let wall = self.outcome("wall_ms").as_u64().unwrap_or(0);
        let last = self.moments.last().map_or(0, |moment| moment.at_ms);
        wall.max(last)
    }

    /// Returns a field of its end.
    pub fn outcome(&self, field: &str) -> &Value {
        self.past
            .outcome
            .as_ref()
            .map_or(&Value::Null, |outcome| &outcome[field])
    }

    /// Returns how many results were there before it began, when it got so far.
    pub fn hits_before(&self) -> usize {
        let started = self.moments.iter().find_map(|moment| match moment.event {
            Event::RunStarted { hits, .. } => Some(hits),
            _ => None,
        });
        started.unwrap_or(0)
    }
}

/// Writes a name for a folder, where it is one and not the beginning of another.
fn renamed(text: &str, folder: &str, name: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(folder) {
        out.push_str(&rest[..at]);
        rest = &rest[at + folder.len()..];
        match rest.chars().next() {
            Some('/') => {
                out.push_str(name);
                rest = &rest[1..];
            }
            Some(next) if next.is_alphanumeric() || matches!(next, '-' | '_' | '.') => {
                out.push_str(folder);
            }
            _ => out.push_str(name.trim_end_matches([':', '/'])),
        }
    }
    out.push_str(rest);
    out
}

/// Returns the folders that a run knew, and their names.
fn places(request: &Value, files: &RunFiles) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (name, dir) in request["roots"].as_object().into_iter().flatten() {
        all.extend(
            dir.as_str()
                .map(|dir| (PathBuf::from(dir), format!("{name}:"))),
        );
    }
    if let Some(out) = request["settings"]["out"].as_str() {
        all.push((PathBuf::from(out), "results/".to_owned()));
    }
    if let Some(store) = files.dir().ancestors().nth(2) {
        all.push((store.to_path_buf(), "store/".to_owned()));
    }
    // Last, so that of two names of one folder it is the other.
    if let Some(folder) = request["asked"]["file"]
        .as_str()
        .and_then(|file| Path::new(file).parent())
    {
        all.push((folder.to_path_buf(), String::new()));
    }
    let real = all.iter().filter_map(|(dir, name)| {
        let real = std::fs::canonicalize(dir).ok()?;
        (real != *dir).then(|| (real, name.clone()))
    });
    let real: Vec<_> = real.collect();
    all.extend(real);
    let mut all: Vec<(String, String)> = all
        .into_iter()
        // The root of everything stands for nothing.
        .filter(|(dir, _)| dir.is_absolute() && dir.parent().is_some())
        .map(|(dir, name)| {
            (
                dir.display().to_string().trim_end_matches('/').to_owned(),
                name,
            )
        })
        .collect();
    all.sort_by_key(|(dir, _)| std::cmp::Reverse(dir.len()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gets_its_name_and_one_beside_it_does_not() {
        let text = "`/x/data/a.svs`, /x/data-2/a.svs and \"/x/data\"";
        let expected = "`data:a.svs`, /x/data-2/a.svs and \"data\"";
        assert_eq!(renamed(text, "/x/data", "data:"), expected);
    }
}
