//! A pipeline file made ready: its text, its bound roots, its store, the operators, the plan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cerb_engine::{DeviceChoice, ListEnv, Registry, Settings};
use cerb_lang::{Given, Kind, Plan, PlanOptions, Sources};
use cerb_store::Store;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::args::{Device, With};
use crate::failure::Failure;
use crate::machine;

/// Everything a command needs of one pipeline.
pub struct Session {
    /// The pipeline file as the user named it.
    pub file: PathBuf,
    /// The operators.
    pub registry: Registry,
    /// Where results are kept.
    pub store: Store,
    /// Roots bound to folders of this machine.
    pub roots: BTreeMap<String, PathBuf>,
    /// What runs the network.
    pub device: DeviceChoice,
    /// The device's class, which is part of the keys of what depends on it.
    pub device_class: String,
    text: String,
    options: PlanOptions,
    rehash: bool,
}

impl Session {
    /// Reads the file, binds the roots, opens the store and chooses the device.
    pub fn open(pipeline: &Path, args: &With) -> Result<Session, Failure> {
        let text = read(pipeline)?;
        let (device, device_class) = device(args.device)?;
        let store = Store::open(&store_dir(args.store.as_deref(), pipeline))?;
        Ok(Session {
            roots: bind(&declared_roots(&text), &args.roots, pipeline)?,
            registry: registry()?,
            options: PlanOptions {
                params: params(&args.params)?,
                test: None,
            },
            file: pipeline.to_path_buf(),
            rehash: args.rehash,
            text,
            store,
            device,
            device_class,
        })
    }

    /// Returns the checked plan, or every mistake of the first phase that has any.
    pub fn plan(&self) -> Result<Plan, Failure> {
        let env = ListEnv {
            roots: &self.roots,
            store: &self.store,
            rehash: self.rehash,
        };
        let catalog = self.registry.catalog(&env);
        let files = Beside {
            dir: folder(&self.file).to_path_buf(),
        };
        let name = self.file.display().to_string();
        Ok(cerb_lang::plan(
            &self.text,
            &name,
            &self.options,
            &catalog,
            &files,
        )?)
    }

    /// Returns the pipeline's name, which is its file's without the ending.
    pub fn name(&self) -> String {
        let name = self
            .file
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        name.strip_suffix(".cerb.yaml")
            .or_else(|| name.strip_suffix(".cerb"))
            .unwrap_or(&name)
            .to_owned()
    }

    /// Returns the folder outputs go to unless `--out` says otherwise.
    pub fn default_out(&self) -> PathBuf {
        Path::new("results").join(self.name())
    }

    /// Returns the settings of a preview: what decides keys, and nothing that runs.
    pub fn preview_settings(&self) -> Settings {
        Settings {
            jobs: machine::cores(),
            memory: machine::default_memory(),
            fail_fast: false,
            device: self.device,
            device_class: self.device_class.clone(),
            out: self.default_out(),
            refresh: Vec::new(),
            secrets: BTreeMap::new(),
            container: None,
        }
    }
}

/// Returns every operator there is.
pub fn registry() -> Result<Registry, Failure> {
    cerb_ops::registry().map_err(|errors| {
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::bug(all.join("; "))
    })
}

/// Chooses the device and names its class; `auto` is a GPU when one can be opened.
fn device(wanted: Device) -> Result<(DeviceChoice, String), Failure> {
    let gpu = match wanted {
        Device::Cpu => None,
        Device::Cuda | Device::Auto => Some(cerb_ops::device_class(DeviceChoice::Cuda)),
    };
    match gpu {
        Some(Ok(class)) => Ok((DeviceChoice::Cuda, class)),
        Some(Err(error)) if wanted == Device::Cuda => Err(Failure::titled(&error.to_string())),
        _ => {
            let class = cerb_ops::device_class(DeviceChoice::Cpu);
            Ok((
                DeviceChoice::Cpu,
                class.map_err(|error| Failure::bug(error.to_string()))?,
            ))
        }
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| {
        let title = format!("cannot read `{}`: {}", file.display(), plain(&error));
        let help = match error.kind() {
            std::io::ErrorKind::NotFound => nearby(file),
            std::io::ErrorKind::InvalidData => "a pipeline is a text file in UTF-8".to_owned(),
            std::io::ErrorKind::IsADirectory => nearby(&file.join("x.cerb")),
            _ => "check the file's permissions".to_owned(),
        };
        Failure::call(title, help)
    })
}

/// Says which pipelines lie where one was looked for.
fn nearby(file: &Path) -> String {
    let mut found: Vec<String> = std::fs::read_dir(folder(file))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(".cerb"))
        .map(|path| {
            path.strip_prefix(".")
                .unwrap_or(&path)
                .display()
                .to_string()
        })
        .collect();
    found.sort();
    match found.as_slice() {
        [] => "name a pipeline file, such as `pipelines/quickstart.cerb`".to_owned(),
        some => format!("pipelines in that folder: {}", some.join(", ")),
    }
}

/// Returns what the system says, without its error number.
pub fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_lowercase().chain(letters).collect())
        .unwrap_or_default()
}

/// Returns the folder a file lies in; `.` for a bare name.
pub fn folder(file: &Path) -> &Path {
    file.parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Returns where the store is: as given, or `.cerb/` beside the pipeline.
pub fn store_dir(given: Option<&Path>, pipeline: &Path) -> PathBuf {
    given.map_or_else(|| folder(pipeline).join(".cerb"), Path::to_path_buf)
}

/// Returns the store asked for, or the one that lies where stores usually lie.
///
/// Only a store that is there: looking must not make one.
pub fn find_store(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let usual = [PathBuf::from(".cerb"), PathBuf::from("pipelines/.cerb")];
    let places = given.map_or_else(|| usual.to_vec(), |given| vec![given.to_path_buf()]);
    places
        .iter()
        .find(|place| place.join("runs").is_dir())
        .cloned()
        .ok_or_else(|| {
            let looked: Vec<String> = places
                .iter()
                .map(|place| format!("`{}`", place.display()))
                .collect();
            Failure::call(
                format!("there is no store at {}", looked.join(" or ")),
                "name it with `--store DIR`; it lies beside the pipeline, as `.cerb`",
            )
        })
}

/// What the last run was asked for, as `request.json` keeps it.
#[derive(Serialize, Deserialize)]
pub struct Asked {
    /// The pipeline file, absolute.
    pub file: PathBuf,
    /// Values of `-p`.
    pub params: Vec<(String, String)>,
    /// Values of `--root`, absolute.
    pub roots: Vec<(String, String)>,
}

impl Asked {
    /// Writes down what was asked for, so that it can be asked again from any folder.
    pub fn of(pipeline: &Path, with: &With) -> Asked {
        let absolute =
            |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let root = |(name, dir): &(String, String)| {
            (name.clone(), absolute(Path::new(dir)).display().to_string())
        };
        Asked {
            file: absolute(pipeline),
            params: with.params.clone(),
            roots: with.roots.iter().map(root).collect(),
        }
    }

    /// Finds the last run that can be asked again; what `with` gives goes before what that run was given.
    pub fn last(with: &With) -> Result<(PathBuf, With), Failure> {
        let place = find_store(with.store.as_deref())?;
        let store = Store::open(&place)?;
        for id in store.runs()? {
            let request: Option<Value> =
                store.open_run(&id.to_string())?.read_json("request.json")?;
            let Some(asked) = request.and_then(|mut request| {
                serde_json::from_value::<Asked>(request["asked"].take()).ok()
            }) else {
                continue;
            };
            let mut with = With {
                store: Some(place),
                ..with.clone()
            };
            let add = |given: &mut Vec<(String, String)>, before: Vec<(String, String)>| {
                for pair in before {
                    if !given.iter().any(|(name, _)| *name == pair.0) {
                        given.push(pair);
                    }
                }
            };
            add(&mut with.params, asked.params);
            add(&mut with.roots, asked.roots);
            return Ok((asked.file, with));
        }
        Err(Failure::call(
            "there is no run yet to ask about",
            "name the pipeline: `cerb why PIPELINE NODE`",
        ))
    }
}

fn params(given: &[(String, String)]) -> Result<BTreeMap<String, Given>, Failure> {
    let mut params = BTreeMap::new();
    for (name, value) in given {
        let value = Given {
            text: value.clone(),
            from: "-p".to_owned(),
        };
        if params.insert(name.clone(), value).is_some() {
            return Err(Failure::call(
                format!("parameter `{name}` is set twice"),
                format!("keep one `-p {name}=…`"),
            ));
        }
    }
    Ok(params)
}

/// Binds each declared root: `--root` first, else its default, relative to the pipeline's folder.
///
/// A root without either stays unbound; it is an error only where the pipeline reads it.
fn bind(
    declared: &BTreeMap<String, Option<String>>,
    given: &[(String, String)],
    pipeline: &Path,
) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let mut roots = BTreeMap::new();
    for (name, default) in declared {
        if let Some(default) = default {
            roots.insert(name.clone(), folder(pipeline).join(default));
        }
    }
    for (name, dir) in given {
        if !declared.contains_key(name) {
            let known: Vec<_> = declared.keys().map(|name| format!("`{name}`")).collect();
            let help = match known.as_slice() {
                [] => "this pipeline has no `root`; leave the option out".to_owned(),
                some => format!("its roots are {}", some.join(", ")),
            };
            return Err(Failure::call(
                format!("the pipeline has no root `{name}`"),
                help,
            ));
        }
        let path = PathBuf::from(dir);
        if !path.is_dir() {
            let what = if path.exists() {
                "is not a folder"
            } else {
                "is not there"
            };
            let help =
                format!("bind `{name}` to the folder that holds its files: `--root {name}=DIR`");
            return Err(Failure::call(format!("`{dir}` {what}"), help));
        }
        roots.insert(name.clone(), path);
    }
    Ok(roots)
}

/// Finds the `root` items of a pipeline and their defaults, before it is planned.
///
/// Planning lists slides, and listing needs the roots bound, so they are read off the
/// tokens; a malformed item is left to the parser, which says what is wrong with it.
fn declared_roots(text: &str) -> BTreeMap<String, Option<String>> {
    let (tokens, _) = cerb_lang::lex(text);
    let seen: Vec<(Kind, &str)> = tokens
        .iter()
        .filter(|token| !token.kind.is_trivia())
        .map(|token| {
            (
                token.kind,
                text.get(token.start as usize..token.end as usize)
                    .unwrap_or_default(),
            )
        })
        .collect();
    let mut roots = BTreeMap::new();
    for (at, token) in seen.iter().enumerate() {
        let begins = at == 0 || seen[at - 1].0 == Kind::Newline;
        let (true, (Kind::Word, "root"), Some((Kind::Word, name))) =
            (begins, token, seen.get(at + 1))
        else {
            continue;
        };
        let default = match (seen.get(at + 2), seen.get(at + 3)) {
            (Some((Kind::Assign, _)), Some((Kind::Text, quoted))) => {
                Some(quoted.trim_matches('"').to_owned())
            }
            _ => None,
        };
        roots.insert((*name).to_owned(), default);
    }
    roots
}

/// Reads the modules of `use`: a file beside the pipeline, or, by its bare name, one of the prelude.
struct Beside {
    dir: PathBuf,
}

impl Sources for Beside {
    fn read(&self, path: &str) -> Result<String, String> {
        if !path.ends_with(".cerb") {
            return cerb_ops::prelude::module(path)
                .map(str::to_owned)
                .ok_or_else(|| {
                    let known = cerb_ops::prelude::modules().join("`, `");
                    format!("the prelude has `{known}`; a file's name ends in `.cerb`")
                });
        }
        let relative = Path::new(path);
        let inside = relative.components().all(|part| {
            matches!(
                part,
                std::path::Component::Normal(_) | std::path::Component::CurDir
            )
        });
        if !inside {
            return Err("a module's path is relative and has no `..`".to_owned());
        }
        std::fs::read_to_string(self.dir.join(relative)).map_err(|error| plain(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_lies_beside_the_pipeline_unless_told_otherwise() {
        assert_eq!(store_dir(None, Path::new("a.cerb")), Path::new("./.cerb"));
        assert_eq!(store_dir(None, Path::new("x/a.cerb")), Path::new("x/.cerb"));
        assert_eq!(
            store_dir(Some(Path::new("/s")), Path::new("x/a.cerb")),
            Path::new("/s")
        );
    }

    #[test]
    fn defaults_of_roots_are_relative_to_the_pipeline() {
        let declared = BTreeMap::from([
            ("data".to_owned(), Some("slides".to_owned())),
            ("refs".to_owned(), None),
        ]);
        let roots = bind(&declared, &[], Path::new("x/a.cerb")).ok().unwrap();
        assert_eq!(
            roots,
            BTreeMap::from([("data".to_owned(), PathBuf::from("x/slides"))])
        );
    }

    #[test]
    fn roots_are_read_off_the_tokens() {
        let text = "cerb 1\nroot data   # per machine\nroot refs = \"refs\"\nlet root = slide.scan(root: data)\n";
        let expected = [
            ("data".to_owned(), None),
            ("refs".to_owned(), Some("refs".to_owned())),
        ];
        assert_eq!(declared_roots(text), BTreeMap::from(expected));
    }

    #[test]
    fn a_root_that_is_not_declared_or_not_a_folder_is_refused() {
        let declared = BTreeMap::from([("data".to_owned(), None)]);
        let give = |name: &str, dir: &str| {
            bind(
                &declared,
                &[(name.to_owned(), dir.to_owned())],
                Path::new("a.cerb"),
            )
        };
        assert!(give("dta", ".").is_err());
        assert!(give("data", "/nowhere/at/all").is_err());
        assert!(give("data", ".").is_ok());
    }
}
