//! Patterns: the files below a root that match one, by key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cerb_engine::{ListEnv, Misfit, Origin, RootRef};
use globset::{GlobBuilder, GlobMatcher};

/// Names and reasons shown of one fault; the count in the title is of all.
const SHOWN: usize = 20;
/// Folders within folders that are looked into; deeper ones are taken for a cycle of links.
const DEEPEST: usize = 40;

/// How the faults of a pattern are told: what is listed, and the codes.
pub(crate) struct Faults {
    pub one: &'static str,
    pub many: &'static str,
    pub bad_pattern: &'static str,
    pub no_match: &'static str,
    pub same_key: &'static str,
    pub unreadable: &'static str,
}

/// A pattern of paths below a root.
pub(crate) struct Pattern<'a> {
    pub root: &'a RootRef,
    pub pattern: &'a str,
    /// Most files taken, the first ones by key.
    pub limit: Option<u32>,
}

/// A file that matches.
pub(crate) struct Found {
    /// Its path below the fixed prefix, without extension.
    pub key: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Its path below the root, as the user reads it.
    pub shown: String,
}

impl Found {
    /// Says why the file cannot be used, naming it once and as the user does.
    pub fn says(&self, reason: &str) -> String {
        // A reason begins with the path as it was opened, which may be written with a `./`.
        let named = reason
            .strip_prefix('`')
            .and_then(|rest| rest.split_once("` "));
        match named {
            Some((path, rest))
                if Path::new(path).ends_with(&self.shown) || Path::new(path) == self.path =>
            {
                format!("`{}` {rest}", self.shown)
            }
            _ => format!("`{}`: {reason}", self.shown),
        }
    }
}

impl Pattern<'_> {
    /// Lists the files that match by key, as many as wanted.
    pub fn files(&self, env: &ListEnv, faults: &Faults) -> Result<Vec<Found>, Misfit> {
        let prefix = fixed_prefix(self.pattern);
        // Checks the pattern as a path too: absolute ones and `..` are refused.
        env.below(self.root, self.pattern, "pattern")?;
        let root = env.root(self.root)?;
        let folder = root.join(prefix);
        let matcher = self.matcher(faults)?;
        let mut paths = Vec::new();
        if let Err((closed, error)) = walk(&folder, self.depth(), &mut paths)
            && closed != folder
        {
            let shown = closed.strip_prefix(&root).unwrap_or(&closed);
            return Err(Misfit {
                code: faults.unreadable,
                title: format!("the folder `{}` cannot be read: {error}", shown.display()),
                labels: vec![(Origin::Param("pattern".into()), "looks into it".into())],
                help: Some(format!(
                    "give yourself the right to read it, or narrow the pattern: {} in it would be missing",
                    faults.many
                )),
            });
        }
        let mut by_key: BTreeMap<String, Vec<Found>> = BTreeMap::new();
        for path in paths {
            let Ok(below) = path.strip_prefix(&root) else {
                continue;
            };
            if !matcher.is_match(below) {
                continue;
            }
            let key = path
                .strip_prefix(&folder)
                .unwrap_or(below)
                .with_extension("");
            let key = key
                .components()
                .map(|part| part.as_os_str().to_string_lossy())
                .collect::<Vec<_>>()
                .join("/");
            let shown = below.to_string_lossy().into_owned();
            by_key
                .entry(key.clone())
                .or_default()
                .push(Found { key, path, shown });
        }
        if by_key.is_empty() {
            return Err(self.nothing(&folder, faults));
        }
        if let Some(same) = by_key.values().find(|same| same.len() > 1) {
            let repeated = by_key.values().filter(|same| same.len() > 1).count();
            let names = same
                .iter()
                .map(|file| format!("`{}`", file.shown))
                .collect::<Vec<_>>()
                .join(" and ");
            let title = if repeated == 1 {
                format!("two {} have the same key `{}`", faults.many, same[0].key)
            } else {
                format!(
                    "{repeated} keys belong to more than one {}, `{}` among them",
                    faults.one, same[0].key
                )
            };
            return Err(Misfit {
                code: faults.same_key,
                title,
                labels: vec![(Origin::Param("pattern".into()), format!("matches {names}"))],
                help: Some("a key is the path below the pattern's fixed prefix, without extension: rename one, or narrow the pattern".into()),
            });
        }
        let limit = self.limit.map_or(usize::MAX, |limit| limit as usize);
        Ok(by_key.into_values().flatten().take(limit).collect())
    }

    /// Returns how many folders below its fixed prefix a match may lie in.
    fn depth(&self) -> usize {
        let rest = self.pattern.split('/').count() - fixed_prefix(self.pattern).iter().count();
        // What stands in braces may be folders too.
        let endless = self.pattern.contains("**") || self.pattern.contains('{');
        if endless { DEEPEST } else { rest - 1 }
    }

    fn matcher(&self, faults: &Faults) -> Result<GlobMatcher, Misfit> {
        let glob = GlobBuilder::new(self.pattern)
            .literal_separator(true)
            .build();
        glob.map(|glob| glob.compile_matcher())
            .map_err(|error| Misfit {
                code: faults.bad_pattern,
                title: format!("`{}` is no pattern", self.pattern),
                labels: vec![(Origin::Param("pattern".into()), error.kind().to_string())],
                help: None,
            })
    }

    fn nothing(&self, folder: &Path, faults: &Faults) -> Misfit {
        let there = match std::fs::read_dir(folder) {
            Err(error) => format!("the folder cannot be read: {error}"),
            Ok(entries) => {
                let mut names: Vec<String> = entries
                    .flatten()
                    .map(|entry| {
                        let slash = if entry.path().is_dir() { "/" } else { "" };
                        format!("`{}{slash}`", entry.file_name().to_string_lossy())
                    })
                    .collect();
                names.sort();
                if names.is_empty() {
                    "it is empty".to_owned()
                } else {
                    format!("it holds {}", shortened(&names, ", "))
                }
            }
        };
        Misfit {
            code: faults.no_match,
            title: format!(
                "nothing in `{}` matches `{}`",
                folder.display(),
                self.pattern
            ),
            labels: vec![(Origin::Param("pattern".into()), there)],
            help: Some(format!(
                "is it the right folder? `--root {}=DIR` binds another",
                self.root.0
            )),
        }
    }
}

/// Returns the folders of a pattern before the first that is not spelled out.
fn fixed_prefix(pattern: &str) -> PathBuf {
    let folders = pattern.rsplit_once('/').map_or("", |(folders, _)| folders);
    folders
        .split('/')
        .take_while(|part| !part.contains(['*', '?', '[', '{', '\\']))
        .collect()
}

/// Adds the files below a folder, sorted: also links that lead nowhere, so that whoever reads
/// them says so. Fails with the first folder that cannot be read.
fn walk(
    folder: &Path,
    deeper: usize,
    files: &mut Vec<PathBuf>,
) -> Result<(), (PathBuf, std::io::Error)> {
    let closed = |error| (folder.to_path_buf(), error);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(closed)? {
        paths.push(entry.map_err(closed)?.path());
    }
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if deeper > 0 {
                walk(&path, deeper - 1, files)?;
            }
        } else if path.is_file() || path.is_symlink() {
            files.push(path);
        }
    }
    Ok(())
}

/// Joins the first of many words, and says how many more there are.
pub(crate) fn shortened(words: &[String], separator: &str) -> String {
    let mut text = words
        .iter()
        .take(SHOWN)
        .cloned()
        .collect::<Vec<_>>()
        .join(separator);
    if words.len() > SHOWN {
        text.push_str(&format!("{separator}and {} more", words.len() - SHOWN));
    }
    text
}
