//! What comes from outside of a pipeline: values, roots and secrets, and which of them wins.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cerb_lang::{Diagnostic, Diagnostics, Given, Outline, Plan, listed, nearest};

use crate::args::With;
use crate::config::{self, File, Local, Plain, Profile, Shared};
use crate::failure::Failure;

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
        let local: File<Local> = config::read_if_there(&beside.join(LOCAL))?;
        let (profile, mut params) = if with.profiles.is_empty() {
            (Profile::default(), BTreeMap::new())
        } else {
            let shared: File<Shared> = config::read_if_there(&beside.join(SHARED))?;
            profiles(&with.profiles, &shared, &local)?
        };
        params.extend(before.clone());
        for file in &with.files {
            let values: File<BTreeMap<String, Plain>> = config::read(file)?;
            take(&mut params, &values.said, &values, &values.name);
        }
        let mut said = BTreeSet::new();
        for (name, value) in &with.params {
            if !said.insert(name) {
                return Err(Failure::call(
                    format!("parameter `{name}` is set twice"),
                    format!("keep one `-p {name}=…`"),
                ));
            }
            params.insert(name.clone(), Given::new(value, "-p"));
        }
        Ok(Outside {
            params,
            roots: roots(outline, &local.said, &with.roots, beside)?,
            secrets: secrets(outline, &local.said, &with.secrets, beside)?,
            profile,
        })
    }
}

/// Takes the values of a file, with where they stand in it.
fn take<T>(
    params: &mut BTreeMap<String, Given>,
    values: &BTreeMap<String, Plain>,
    file: &File<T>,
    from: &str,
) {
    for (name, value) in values {
        let given = Given {
            text: value.text.clone(),
            from: from.to_owned(),
            place: Some(file.place(name, value)),
        };
        params.insert(name.clone(), given);
    }
}

/// Joins the profiles that are asked for, the later over the earlier.
fn profiles(
    wanted: &[String],
    shared: &File<Shared>,
    local: &File<Local>,
) -> Result<(Profile, BTreeMap<String, Given>), Failure> {
    let mut joined = Profile::default();
    let mut params = BTreeMap::new();
    for name in wanted {
        let own = shared.said.profiles.get(name);
        let over = local.said.profiles.get(name);
        if own.or(over).is_none() {
            let known = shared.said.profiles.keys();
            let known = known.chain(local.said.profiles.keys());
            let mut known: Vec<&str> = known.map(String::as_str).collect();
            known.sort_unstable();
            known.dedup();
            let help = match (nearest(name, known.iter().copied()), known.as_slice()) {
                (Some(near), _) => format!("did you mean `--profile {near}`?"),
                (None, []) => {
                    format!("write it into `{SHARED}` beside the pipeline, below `profiles:`")
                }
                (None, known) => format!("there are {}", listed(known, "and")),
            };
            return Err(Failure::call(format!("there is no profile `{name}`"), help));
        }
        let from = format!("profile {name}");
        if let Some(profile) = own {
            joined.take(profile);
            take(&mut params, &profile.params, shared, &from);
        }
        if let Some(profile) = over {
            joined.take(profile);
            take(&mut params, &profile.params, local, &from);
        }
    }
    Ok((joined, params))
}

/// Binds each declared root as the files say: in `cerb.local.yaml`, else by its default.
pub fn bound_roots(outline: &Outline, local: &Local, beside: &Path) -> BTreeMap<String, PathBuf> {
    let bound = |(name, default): (&String, &Option<String>)| {
        let own = local.roots.get(name).cloned();
        let dir = own.or_else(|| default.as_ref().map(PathBuf::from))?;
        Some((name.clone(), beside.join(dir)))
    };
    outline.roots.iter().filter_map(bound).collect()
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
    let mut roots = bound_roots(outline, local, beside);
    for (name, dir) in &roots {
        if local.roots.contains_key(name) {
            is_folder(dir, &format!("`{}`", dir.display()), || {
                format!("`{LOCAL}` binds `{name}` to it; name the folder that holds its files")
            })?;
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
pub fn secrets_are_bound(plan: &Plan, bound: &BTreeMap<String, PathBuf>) -> Result<(), Failure> {
    let unbound = unbound_secrets(plan, bound);
    if unbound.items.is_empty() {
        return Ok(());
    }
    Err(Failure::from(unbound))
}

/// Finds the secrets of a pipeline that are bound to no file that can be read.
pub fn unbound_secrets(plan: &Plan, bound: &BTreeMap<String, PathBuf>) -> Diagnostics {
    let secrets = plan.secrets.iter();
    let found = secrets.filter_map(|(name, at)| {
        let title = unbound(name, bound.get(name).map(PathBuf::as_path))?;
        let help = format!(
            "keep it in a file: `--secret {name}=FILE`, or in {LOCAL} `secrets: {{{name}: FILE}}`"
        );
        let found = Diagnostic::new("cli::unbound_secret", title);
        Some(found.at(*at, "declared here").help(help))
    });
    Diagnostics::new(plan.sources.clone(), found.collect())
}

/// Says what is wrong with the file that a secret is bound to.
fn unbound(name: &str, file: Option<&Path>) -> Option<String> {
    let Some(file) = file else {
        return Some(format!("the secret `{name}` is not bound"));
    };
    match std::fs::File::open(file) {
        Ok(_) if !file.is_dir() => None,
        Ok(_) => Some(format!("the secret `{name}` is bound to a folder")),
        Err(error) => Some(format!(
            "the file of the secret `{name}` cannot be read: {}",
            crate::session::plain(&error)
        )),
    }
}

fn declared(what: &str, name: &str, known: &[&str]) -> Result<(), Failure> {
    if known.contains(&name) {
        return Ok(());
    }
    let help = match (known, nearest(name, known.iter().copied())) {
        ([], _) => format!("this pipeline has no `{what}`; leave the option out"),
        (_, Some(near)) => format!("did you mean `--{what} {near}=…`?"),
        ([only], None) => format!("it has `{only}`"),
        (some, None) => format!("its {what}s are {}", listed(some, "and")),
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
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(unbound("token", None).is_some());
        assert!(unbound("token", Some(Path::new("/nowhere"))).is_some());
        assert!(unbound("token", Some(Path::new("/"))).is_some());
        assert_eq!(unbound("token", Some(file.path())), None);
    }
}
