//! Containers: the same command line in an image that is pinned by its digest.
//!
//! The directory of the program stands at the same path inside, its inputs beside it and
//! read-only, and there is no network. What is written belongs to the user.

use std::{
    ffi::{OsStr, OsString},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::{line::Line, stage::Stage};
use crate::OpError;

/// Programs that run containers, in the order they are looked for.
const ENGINES: [(&str, Dialect); 4] = [
    ("podman", Dialect::Podman),
    ("docker", Dialect::Docker),
    ("apptainer", Dialect::Apptainer),
    ("singularity", Dialect::Apptainer),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Podman,
    Docker,
    Apptainer,
}

/// A program that runs containers.
#[derive(Debug)]
pub(super) struct Engine {
    path: PathBuf,
    dialect: Dialect,
}

/// A process that runs a container, and the one that ends it.
pub(super) struct Boxed {
    pub process: Command,
    /// Nothing where the container ends with its process.
    pub stop: Option<Command>,
}

impl Engine {
    /// Finds the engine that was asked for, by name or path, else the first there is.
    pub fn find(asked: Option<&str>, path: &OsStr) -> Result<Engine, OpError> {
        let candidates: Vec<&str> = match asked {
            Some(asked) => vec![asked],
            None => ENGINES.iter().map(|(name, _)| *name).collect(),
        };
        for candidate in &candidates {
            let name = Path::new(candidate).file_name().and_then(OsStr::to_str);
            let known = ENGINES.iter().find(|(known, _)| Some(*known) == name);
            let Some((_, dialect)) = known else {
                let text = format!(
                    "`{candidate}` is none of the programs that run containers: podman, docker, apptainer, singularity"
                );
                return Err(OpError::Input(text));
            };
            let found = if candidate.contains('/') {
                Some(PathBuf::from(candidate)).filter(|path| is_program(path))
            } else {
                std::env::split_paths(path)
                    .map(|folder| folder.join(candidate))
                    .find(|path| is_program(path))
            };
            if let Some(path) = found {
                return Ok(Engine {
                    path,
                    dialect: *dialect,
                });
            }
        }
        Err(OpError::Input(format!(
            "it runs in a container, and there is no {} on PATH\n  help: install podman (or docker, or apptainer)",
            candidates.join(", no ")
        )))
    }

    /// Returns the process that runs a command line in an image.
    pub fn process(
        &self,
        image: &str,
        line: &Line,
        stage: &Stage,
        variables: &[(OsString, OsString)],
    ) -> Boxed {
        // The directory's name is its own on this machine as long as it lives.
        let parts: Vec<String> = stage
            .dir()
            .components()
            .rev()
            .take(2)
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect();
        let name = format!("cerb-{}", parts.join("-"));
        let mut process = Command::new(&self.path);
        process.current_dir(stage.dir());
        match self.dialect {
            Dialect::Podman | Dialect::Docker => {
                process.args(["run", "--rm", "--network=none"]);
                process.arg("--security-opt=label=disable");
                process.arg(format!("--name={name}"));
                process.arg(self.user());
                process.arg(joined("--workdir=", stage.dir()));
                for mount in mounts(stage) {
                    process.arg("--mount").arg(mount);
                }
                for (name, value) in variables {
                    let mut variable = name.clone();
                    variable.push("=");
                    variable.push(value);
                    process.arg("--env").arg(variable);
                }
                process.arg(joined("--entrypoint=", line.program()));
                process.arg(image).args(line.words.iter().skip(1));
            }
            Dialect::Apptainer => {
                process.args(["exec", "--containall", "--cleanenv"]);
                process.args(["--net", "--network=none"]);
                process.arg("--pwd").arg(stage.dir());
                for mount in mounts(stage) {
                    process.arg("--mount").arg(mount);
                }
                for (name, value) in variables {
                    for prefix in ["APPTAINERENV_", "SINGULARITYENV_"] {
                        process.env(joined(prefix, name), value);
                    }
                }
                process.arg(format!("docker://{image}")).args(&line.words);
            }
        }
        let stop = (self.dialect != Dialect::Apptainer).then(|| {
            let mut stop = Command::new(&self.path);
            stop.args(["kill", &name]);
            stop
        });
        Boxed { process, stop }
    }

    /// Returns the option by which files that are written belong to the user.
    fn user(&self) -> String {
        let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
        if self.dialect == Dialect::Podman && !user.is_root() {
            return "--userns=keep-id".to_owned();
        }
        format!("--user={}:{}", user.as_raw(), group.as_raw())
    }
}

fn joined(option: &str, value: impl AsRef<OsStr>) -> OsString {
    let mut joined = OsString::from(option);
    joined.push(value);
    joined
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Returns what stands inside at its own path: the directory, and read-only what it links to.
fn mounts(stage: &Stage) -> Vec<OsString> {
    let mount = |path: &Path, more: &str| {
        // A row of comma-separated values, for every engine.
        let cell = |name: &str| {
            let text = format!("{name}={}", path.display()).replace('"', "\"\"");
            format!("\"{text}\"")
        };
        OsString::from(format!(
            "type=bind,{},{}{more}",
            cell("source"),
            cell("destination")
        ))
    };
    let reads = stage.reads().map(|path| mount(path, ",ro"));
    std::iter::once(mount(stage.dir(), ""))
        .chain(reads)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_engine_it_is_said_what_to_install() {
        let dir = tempfile::tempdir().unwrap();
        let error = Engine::find(None, dir.path().as_os_str()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it runs in a container, and there is no podman, no docker, no apptainer, no singularity on PATH\n  help: install podman (or docker, or apptainer)"
        );
        let error = Engine::find(Some("rocket"), dir.path().as_os_str()).unwrap_err();
        assert!(error.to_string().contains("`rocket` is none of"), "{error}");
    }

    #[test]
    fn the_first_engine_there_is_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["docker", "apptainer"] {
            let path = dir.path().join(name);
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::fs::write(dir.path().join("podman"), "not executable").unwrap();
        let engine = Engine::find(None, dir.path().as_os_str()).unwrap();
        assert_eq!(engine.dialect, Dialect::Docker);
        let engine = Engine::find(Some("apptainer"), dir.path().as_os_str()).unwrap();
        assert_eq!(engine.dialect, Dialect::Apptainer);
    }
}
