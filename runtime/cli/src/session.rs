//! A pipeline file made ready: its text, its bound roots, its store, the operators, the plan.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cerb_engine::{DeviceChoice, ListEnv, Registry, Settings};
use cerb_lang::{Diagnostics, Form, Given, Outline, Plan, PlanOptions, Sources, nearest};
use cerb_store::Store;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::TempDir;

use crate::args::{Device, With};
use crate::failure::Failure;
use crate::given::Outside;
use crate::machine;

/// Everything a command needs of one pipeline.
pub struct Session {
    /// The pipeline file as the user named it.
    pub file: PathBuf,
    /// The operators.
    pub registry: Registry,
    /// Where results are kept.
    pub store: Store,
    /// Values, roots and secrets from outside.
    pub outside: Outside,
    /// What the file declares.
    pub outline: Outline,
    /// What runs the network.
    pub device: DeviceChoice,
    /// The device's class, which is part of the keys of what depends on it.
    pub device_class: String,
    text: String,
    modules: Modules,
    rehash: bool,
    /// Stands in for a store that is not there; goes with the session.
    _stand_in: Option<TempDir>,
}

/// Whether a command keeps results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It does: a store that is not there is made.
    Results,
    /// It only looks: a store that is not there stays away.
    Nothing,
}

impl Session {
    /// Reads the file, binds what it declares, opens the store and chooses the device.
    pub fn open(pipeline: &Path, with: &With, keep: Keep) -> Result<Session, Failure> {
        Session::again(pipeline, with, &BTreeMap::new(), keep)
    }

    /// Opens it with the values of an earlier run, over which `with` goes.
    pub fn again(
        pipeline: &Path,
        with: &With,
        before: &BTreeMap<String, Given>,
        keep: Keep,
    ) -> Result<Session, Failure> {
        let text = read(pipeline)?;
        let modules = Modules::Beside(Beside::of(pipeline));
        Session::of(pipeline, (text, modules), with, before, keep)
    }

    /// Opens it with the text that a run kept of it.
    pub fn kept(
        pipeline: &Path,
        kept: Kept,
        with: &With,
        before: &BTreeMap<String, Given>,
    ) -> Result<Session, Failure> {
        let text = kept.main.clone();
        let text = (text, Modules::Kept(kept));
        Session::of(pipeline, text, with, before, Keep::Results)
    }

    fn of(
        pipeline: &Path,
        (text, modules): (String, Modules),
        with: &With,
        before: &BTreeMap<String, Given>,
        keep: Keep,
    ) -> Result<Session, Failure> {
        if says_nothing(&text) {
            let title = format!("there is nothing in `{}`", pipeline.display());
            let help = "a pipeline says what is made: `cerb help` lists the operators, and \
                        pipelines/quickstart.cerb is one to begin with";
            return Err(Failure::call(title, help).coded("cli::unreadable_pipeline"));
        }
        let outline = cerb_lang::outline(&text, &pipeline.display().to_string());
        let outside = Outside::of(&outline, pipeline, with, before)?;
        let wanted = with.device.or(outside.profile.device);
        let (device, device_class) = device(wanted.unwrap_or(Device::Cpu))?;
        let (store, stand_in) = store(&store_dir(with.store.as_deref(), pipeline), keep)?;
        Ok(Session {
            registry: registry()?,
            file: pipeline.to_path_buf(),
            rehash: with.rehash,
            outside,
            outline,
            text,
            modules,
            store,
            device,
            device_class,
            _stand_in: stand_in,
        })
    }

    /// Returns the checked plan, or every mistake of the first phase that has any.
    pub fn plan(&self) -> Result<Plan, Diagnostics> {
        self.plan_of(None)
    }

    /// Returns the checked plan of a `test` block.
    pub fn plan_of(&self, test: Option<&str>) -> Result<Plan, Diagnostics> {
        let env = ListEnv {
            roots: &self.outside.roots,
            store: &self.store,
            rehash: self.rehash,
        };
        let catalog = self.registry.catalog(&env);
        let files: &dyn Sources = match &self.modules {
            Modules::Beside(files) => files,
            Modules::Kept(files) => files,
        };
        let name = self.file.display().to_string();
        let options = PlanOptions {
            params: self.outside.params.clone(),
            test: test.map(str::to_owned),
        };
        cerb_lang::plan(&self.text, &name, &options, &catalog, files)
    }

    /// Returns the pipeline's name, which is its file's without the ending.
    pub fn name(&self) -> String {
        cerb_lang::stem(&self.file.to_string_lossy()).to_owned()
    }

    /// Returns the folder outputs go to unless `--out` says otherwise.
    pub fn default_out(&self) -> PathBuf {
        Path::new("results").join(self.name())
    }

    /// Says who decided the memory that a run may use, where `asked` is what its call says.
    pub fn memory_by(&self, asked: Option<u64>) -> String {
        let profile = self.outside.profile.memory;
        let who = match (asked, profile) {
            (Some(_), _) => Some("asked for"),
            (None, Some(_)) => Some("by the profile"),
            (None, None) => None,
        };
        machine::memory_by(asked.or(profile).unwrap_or_default(), who)
    }

    /// Returns the settings of a preview: what decides keys, and nothing that runs.
    pub fn preview_settings(&self) -> Settings {
        Settings {
            jobs: self.outside.profile.jobs.unwrap_or_else(machine::cores),
            memory: self
                .outside
                .profile
                .memory
                .unwrap_or_else(machine::default_memory),
            fail_fast: false,
            device: self.device,
            device_class: self.device_class.clone(),
            out: self.default_out(),
            roots: self.outside.roots.clone(),
            refresh: Vec::new(),
            secrets: self.outside.secrets.clone(),
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
        Some(Err(error)) if wanted == Device::Cuda => {
            Err(Failure::titled(&error.to_string()).of_the_call())
        }
        _ => {
            let class = cerb_ops::device_class(DeviceChoice::Cpu);
            Ok((
                DeviceChoice::Cpu,
                class.map_err(|error| Failure::bug(error.to_string()))?,
            ))
        }
    }
}

/// Says whether a text is blank lines and comments alone.
fn says_nothing(text: &str) -> bool {
    let text = text.trim_start_matches('\u{feff}');
    text.lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

/// Opens the store; one that is not there is made, or stands in a folder that goes with the session.
fn store(place: &Path, keep: Keep) -> Result<(Store, Option<TempDir>), Failure> {
    if keep == Keep::Results {
        return Ok((Store::open(place)?, None));
    }
    if place.join("runs").is_dir() {
        return Ok((Store::open_or_look(place)?, None));
    }
    let stand_in = tempfile::tempdir().map_err(|error| {
        let title = format!("cannot make a temporary folder: {}", plain(&error));
        Failure::surroundings(
            title,
            Some("set TMPDIR to one that can be written".to_owned()),
        )
    })?;
    Ok((Store::open(stand_in.path())?, Some(stand_in)))
}

/// Reads a pipeline's text.
pub fn read(file: &Path) -> Result<String, Failure> {
    let bytes = std::fs::read(file).map_err(|error| {
        let title = format!("cannot read `{}`: {}", file.display(), plain(&error));
        let help = match error.kind() {
            std::io::ErrorKind::NotFound => nearby(file),
            std::io::ErrorKind::IsADirectory => nearby(&file.join("x.cerb")),
            _ => "check the file's permissions".to_owned(),
        };
        Failure::call(title, help).coded("cli::unreadable_pipeline")
    })?;
    utf8(bytes, &file.display().to_string())
}

/// Takes bytes for text; says where they are none.
pub fn utf8(bytes: Vec<u8>, name: &str) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let before = error.as_bytes().get(..at).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Failure::call(
            format!("`{name}` is no text in UTF-8: line {line}, byte {at} of the file"),
            "a pipeline is a text file; save it as UTF-8",
        )
        .coded("cli::unreadable_pipeline")
    })
}

/// How many pipelines of a folder are listed.
const LISTED: usize = 6;

/// Says which pipelines lie where one was looked for, or which of them was meant.
fn nearby(file: &Path) -> String {
    let names = std::fs::read_dir(folder(file)).into_iter().flatten();
    let names = names
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names
        .filter(|name| Form::in_folder(name).is_some())
        .collect();
    names.sort();
    let wanted = file.file_name().unwrap_or_default().to_string_lossy();
    if let Some(near) = nearest(&wanted, names.iter().map(String::as_str)) {
        return format!("did you mean `{}`?", file.with_file_name(near).display());
    }
    match names.get(..LISTED) {
        Some(first) if names.len() > LISTED => {
            let more = names.len() - LISTED;
            format!(
                "pipelines in that folder: {} and {more} more",
                first.join(", ")
            )
        }
        _ if names.is_empty() => {
            "name a pipeline file, such as `pipelines/quickstart.cerb`".to_owned()
        }
        _ => format!("pipelines in that folder: {}", names.join(", ")),
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
    /// Values from outside, and who said so.
    pub params: BTreeMap<String, AskedValue>,
    /// Values of `--root`, absolute.
    pub roots: Vec<(String, String)>,
    /// The `test` block that was run.
    #[serde(default)]
    pub test: Option<String>,
}

/// A value from outside, as `request.json` keeps it.
#[derive(Serialize, Deserialize)]
pub struct AskedValue {
    /// The value, as the pipeline would write it.
    pub text: String,
    /// Who said so: `-p`, `params.yaml`, `profile quick`.
    pub from: String,
}

/// What is to be asked again.
pub struct Again {
    /// The pipeline file.
    pub file: PathBuf,
    /// The command line, with the roots of that run.
    pub with: With,
    /// The values of that run.
    pub params: BTreeMap<String, Given>,
}

impl Asked {
    /// Writes down what was asked for, so that it can be asked again from any folder.
    pub fn of(session: &Session, with: &With, test: Option<&str>) -> Asked {
        let absolute =
            |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let root = |(name, dir): &(String, String)| {
            (name.clone(), absolute(Path::new(dir)).display().to_string())
        };
        let value = |given: &Given| AskedValue {
            text: given.text.clone(),
            from: given.from.clone(),
        };
        Asked {
            file: absolute(&session.file),
            params: session
                .outside
                .params
                .iter()
                .map(|(name, given)| (name.clone(), value(given)))
                .collect(),
            roots: with.roots.iter().map(root).collect(),
            test: test.map(str::to_owned),
        }
    }

    /// Finds the last run that can be asked again; what `with` gives goes before what that run was given.
    pub fn last(with: &With) -> Result<Again, Failure> {
        let place = find_store(with.store.as_deref())?;
        let store = Store::open_or_look(&place)?;
        for id in store.runs()? {
            let request: Option<Value> =
                store.open_run(&id.to_string())?.read_json("request.json")?;
            let Some(asked) = request.and_then(|mut request| {
                serde_json::from_value::<Asked>(request["asked"].take()).ok()
            }) else {
                continue;
            };
            if asked.test.is_some() {
                continue;
            }
            let mut with = With {
                store: Some(place),
                ..with.clone()
            };
            for root in asked.roots {
                if !with.roots.iter().any(|(name, _)| *name == root.0) {
                    with.roots.push(root);
                }
            }
            let given = |AskedValue { text, from }| Given::new(&text, &from);
            let params = asked.params.into_iter();
            return Ok(Again {
                file: asked.file,
                with,
                params: params.map(|(name, value)| (name, given(value))).collect(),
            });
        }
        Err(Failure::call(
            "there is no run yet to ask about",
            "name the pipeline: `cerb why PIPELINE NODE`",
        ))
    }
}

/// Where the modules of `use` are read from.
enum Modules {
    Beside(Beside),
    Kept(Kept),
}

/// The text that a run kept: its pipeline and the modules that it used.
pub struct Kept {
    main: String,
    modules: BTreeMap<String, String>,
}

impl Kept {
    /// Takes names and texts, the pipeline itself first.
    pub fn new(files: impl IntoIterator<Item = (String, String)>) -> Kept {
        let mut files = files.into_iter();
        Kept {
            main: files.next().unwrap_or_default().1,
            modules: files.collect(),
        }
    }
}

impl Sources for Kept {
    fn read(&self, path: &str) -> Result<String, String> {
        let text = self.modules.get(path).cloned();
        text.ok_or_else(|| "the run kept no text of it".to_owned())
    }
}

/// Reads the modules of `use`: a file beside the pipeline, or, by its bare name, one of the prelude.
pub struct Beside {
    dir: PathBuf,
}

impl Beside {
    /// The modules of a pipeline.
    pub fn of(pipeline: &Path) -> Beside {
        Beside {
            dir: folder(pipeline).to_path_buf(),
        }
    }
}

impl Sources for Beside {
    fn read(&self, path: &str) -> Result<String, String> {
        if Form::of(path).is_none() {
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
}
