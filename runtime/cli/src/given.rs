//! What comes from outside of a pipeline: values, roots and secrets, and which of them wins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cerb_lang::{Given, Outline};

use crate::args::With;
use crate::config::{self, Local, Plain, Profile, Shared};
use crate::failure::Failure;
use crate::words::nearest;

/// Tracked, beside the pipeline.
const SHARED: &str = "cerb.yaml";
/// Untracked, beside the pipeline.
pub const LOCAL: &str = "cerb.local.yaml";

/// Everything a pipeline is given.
pub struct Outside {
    /// Values of parameters; what is not here has its default.
    pub params: BTreeMap<String, Given>,
    /// Roots bound to folders of this machine.
    pub roots: BTreeMap<String, PathBuf>,
    /// Secrets bound to the files that hold them.
    pub secrets: BTreeMap<String, PathBuf>,
    /// What the profiles say of the machine.
    pub profile: Profile,
}

impl Outside {
    /// Reads the files beside the pipeline and joins them with the command line.
    ///
    /// Values: profiles < what the last run had (`before`) < `-P` < `-p`. Folders: default <
    /// `cerb.local.yaml` < `--root`.
    pub fn of(
        outline: &Outline,
        pipeline: &Path,
        with: &With,
        before: &BTreeMap<String, Given>,
    ) -> Result<Outside, Failure> {
        let beside = pipeline.parent().unwrap_or(Path::new(""));
        let local: Local = config::read_if_there(&beside.join(LOCAL))?;
        let (profile, mut params) = if with.profiles.is_empty() {
            (Profile::default(), BTreeMap::new())
        } else {
            let shared: Shared = config::read_if_there(&beside.join(SHARED))?;
            profiles(&with.profiles, &shared, &local)?
        };
        params.extend(before.clone());
        for file in &with.files {
            let values: BTreeMap<String, Plain> = config::read(file)?;
            take(&mut params, &values, &file.display().to_string());
        }
        let mut said = BTreeMap::new();
        for (name, value) in &with.params {
            if said.insert(name.clone(), Plain(value.clone())).is_some() {
                return Err(Failure::call(
                    format!("parameter `{name}` is set twice"),
                    format!("keep one `-p {name}=…`"),
                ));
            }
        }
        take(&mut params, &said, "-p");
        Ok(Outside {
            params,
            roots: roots(outline, &local, &with.roots, beside)?,
            secrets: secrets(outline, &local, &with.secrets, beside)?,
            profile,
        })
    }
}

fn take(params: &mut BTreeMap<String, Given>, values: &BTreeMap<String, Plain>, from: &str) {
    for (name, Plain(text)) in values {
        let (text, from) = (text.clone(), from.to_owned());
        params.insert(name.clone(), Given { text, from });
    }
}

/// Joins the profiles that are asked for, the later over the earlier.
fn profiles(
    wanted: &[String],
    shared: &Shared,
    local: &Local,
) -> Result<(Profile, BTreeMap<String, Given>), Failure> {
    let mut joined = Profile::default();
    let mut params = BTreeMap::new();
    for name in wanted {
        let found = [shared.profiles.get(name), local.profiles.get(name)];
        if found.iter().flatten().count() == 0 {
            let known = shared.profiles.keys().chain(local.profiles.keys());
            let mut known: Vec<&str> = known.map(String::as_str).collect();
            known.sort_unstable();
            known.dedup();
            let help = match (nearest(name, known.iter().copied()), known.as_slice()) {
                (Some(near), _) => format!("did you mean `--profile {near}`?"),
                (None, []) => {
                    format!("write it into `{SHARED}` beside the pipeline, below `profiles:`")
                }
                (None, known) => format!("there are {}", quoted(known)),
            };
            return Err(Failure::call(format!("there is no profile `{name}`"), help));
        }
        for profile in found.into_iter().flatten() {
            joined.take(profile);
            take(&mut params, &profile.params, &format!("profile {name}"));
        }
    }
    Ok((joined, params))
}

/// Binds each declared root: `--root` first, then `cerb.local.yaml`, then its default, relative to
/// the pipeline's folder.
///
/// A root without any stays unbound; it is an error only where the pipeline reads it.
fn roots(
    outline: &Outline,
    local: &Local,
    given: &[(String, String)],
    beside: &Path,
) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let mut roots = BTreeMap::new();
    for (name, default) in &outline.roots {
        if let Some(dir) = local.roots.get(name) {
            let dir = beside.join(dir);
            is_folder(&dir, &format!("`{}`", dir.display()), || {
                format!("`{LOCAL}` binds `{name}` to it; name the folder that holds its files")
            })?;
            roots.insert(name.clone(), dir);
        } else if let Some(default) = default {
            roots.insert(name.clone(), beside.join(default));
        }
    }
    let known: Vec<&str> = outline.roots.keys().map(String::as_str).collect();
    for (name, dir) in given {
        declared("root", name, &known)?;
        let path = PathBuf::from(dir);
        is_folder(&path, &format!("`{dir}`"), || {
            format!("bind `{name}` to the folder that holds its files: `--root {name}=DIR`")
        })?;
        roots.insert(name.clone(), path);
    }
    Ok(roots)
}

/// Binds each declared secret: `--secret` first, then `cerb.local.yaml`; never a value itself.
fn secrets(
    outline: &Outline,
    local: &Local,
    given: &[(String, String)],
    beside: &Path,
) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let known: Vec<&str> = outline.secrets.iter().map(String::as_str).collect();
    let mut secrets: BTreeMap<String, PathBuf> = known
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), beside.join(local.secrets.get(*name)?))))
        .collect();
    for (name, file) in given {
        declared("secret", name, &known)?;
        secrets.insert(name.clone(), PathBuf::from(file));
    }
    Ok(secrets)
}

/// Insists that every secret of a pipeline is bound to a file that can be read.
pub fn secrets_are_bound(
    wanted: &[String],
    bound: &BTreeMap<String, PathBuf>,
) -> Result<(), Failure> {
    for name in wanted {
        let ways = format!(
            "keep it in a file: `--secret {name}=FILE`, or in {LOCAL} `secrets: {{{name}: FILE}}`"
        );
        let title = match bound.get(name) {
            None => format!("the secret `{name}` is not bound"),
            Some(file) => match std::fs::File::open(file) {
                Ok(_) if !file.is_dir() => continue,
                Ok(_) => format!("the secret `{name}` is bound to a folder"),
                Err(error) => format!(
                    "the file of the secret `{name}` cannot be read: {}",
                    crate::session::plain(&error)
                ),
            },
        };
        return Err(Failure::call(title, ways).coded("cli::unbound_secret"));
    }
    Ok(())
}

fn declared(what: &str, name: &str, known: &[&str]) -> Result<(), Failure> {
    if known.contains(&name) {
        return Ok(());
    }
    let help = match known {
        [] => format!("this pipeline has no `{what}`; leave the option out"),
        some => format!("its {what}s are {}", quoted(some)),
    };
    Err(Failure::call(
        format!("the pipeline has no {what} `{name}`"),
        help,
    ))
}

fn is_folder(path: &Path, shown: &str, help: impl Fn() -> String) -> Result<(), Failure> {
    if path.is_dir() {
        return Ok(());
    }
    let what = if path.exists() {
        "is not a folder"
    } else {
        "is not there"
    };
    Err(Failure::call(format!("{shown} {what}"), help()))
}

fn quoted(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline() -> Outline {
        cerb_lang::outline(
            "cerb 1\nroot data\nroot refs = \"refs\"\nsecret token\n",
            "a.cerb",
        )
    }

    fn bound(given: &[(&str, &str)]) -> Result<BTreeMap<String, PathBuf>, Failure> {
        let pairs: Vec<_> = given
            .iter()
            .map(|(a, b)| ((*a).into(), (*b).into()))
            .collect();
        roots(&outline(), &Local::default(), &pairs, Path::new("x"))
    }

    #[test]
    fn defaults_of_roots_are_relative_to_the_pipeline() {
        let roots = bound(&[]).ok().unwrap();
        assert_eq!(
            roots,
            BTreeMap::from([("refs".into(), PathBuf::from("x/refs"))])
        );
    }

    #[test]
    fn a_root_that_is_not_declared_or_not_a_folder_is_refused() {
        assert!(bound(&[("dta", ".")]).is_err());
        assert!(bound(&[("data", "/nowhere/at/all")]).is_err());
        assert!(bound(&[("data", ".")]).is_ok());
    }

    #[test]
    fn a_secret_is_bound_to_a_file_that_is_there() {
        let wanted = ["token".to_owned()];
        let file = tempfile::NamedTempFile::new().unwrap();
        let bind = |path: &Path| BTreeMap::from([("token".to_owned(), path.to_path_buf())]);
        assert!(secrets_are_bound(&wanted, &BTreeMap::new()).is_err());
        assert!(secrets_are_bound(&wanted, &bind(Path::new("/nowhere"))).is_err());
        assert!(secrets_are_bound(&wanted, &bind(Path::new("/"))).is_err());
        assert!(secrets_are_bound(&wanted, &bind(file.path())).is_ok());
    }
}
