//! Everything that can go wrong with weights, devices and network input.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::precision::Precision;

/// Says why weights cannot be used or the network cannot run, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file could not be read or written.
    #[error("cannot access `{path}`: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path is no model directory and no weights file.
    #[error(
        "`{path}` is not a model: {reason}\n  help: give the directory of the published model, which holds `weights.tar` and `settings.yml`, or a `.safetensors`, `.tar`, `.pth` or `.pt` file",
        path = path.display()
    )]
    NotAModel {
        /// The path that was given.
        path: PathBuf,
        /// What was found there instead.
        reason: String,
    },
    /// The bytes of a weights file are torn or in a format that is not read here.
    #[error("`{path}` cannot be read as weights: {reason}\n  help: fetch the file again and compare its size or checksum with the publisher's", path = path.display())]
    Format {
        /// The weights file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A pickle names something that is not a tensor or a plain container.
    #[error(
        "`{path}` names `{name}`, which is not weights: refused, nothing of it was run\n  help: if you trust the file, save its tensors alone, as a state dict or as `.safetensors`",
        path = path.display()
    )]
    ForeignCode {
        /// The weights file.
        path: PathBuf,
        /// The global that the pickle asks for, `module.name`.
        name: String,
    },
    /// `settings.yml` or the metadata of a safetensors file cannot be used.
    #[error("settings in `{path}` cannot be used: {reason}", path = path.display())]
    Settings {
        /// The file with the settings.
        path: PathBuf,
        /// What is wrong with them.
        reason: String,
    },
    /// Tensors do not fit the network; all of them are listed.
    #[error("`{path}` does not fit {network}: {misfits}", path = path.display())]
    Tensors {
        /// The weights file.
        path: PathBuf,
        /// The network in words: `resnet34 with Nuclei-INST, Patch-Class`.
        network: String,
        /// Every tensor that does not fit, sorted by name.
        misfits: Misfits,
    },
    /// A head was asked for that these weights do not hold.
    #[error("these weights have no head `{asked}`\n  help: they have {}", known.join(", "))]
    UnknownHead {
        /// The name that was asked for.
        asked: String,
        /// The names that can be asked for.
        known: Vec<String>,
    },
    /// An image cannot go through the network.
    #[error("{0}")]
    Input(String),
    /// A GPU was asked for and this binary was built without the `cuda` feature.
    #[error(
        "`--device cuda` needs a binary built with CUDA support, and this one has none\n  help: run with `--device cpu`, or build with `cargo build --release --features cuda`"
    )]
    NoCudaFeature,
    /// A GPU was asked for and the driver's library is not there.
    #[error(
        "`--device cuda` found no NVIDIA driver: `libcuda.so.1` cannot be loaded\n  help: run with `--device cpu`, or install NVIDIA's driver and check that `nvidia-smi` lists a GPU"
    )]
    NoDriver,
    /// A GPU was asked for and the driver knows none.
    #[error(
        "`--device cuda` found no NVIDIA GPU on this machine\n  help: run with `--device cpu`, or check that `nvidia-smi` lists a GPU and that `CUDA_VISIBLE_DEVICES` does not hide it"
    )]
    NoGpu,
    /// The library that compiles for a GPU is not there.
    #[error(
        "`--device cuda` found a GPU and nothing that compiles for it: `libnvrtc.so` cannot be loaded\n  help: run with `--device cpu`, or get it, `pip install nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cuda-cccl` of a version no newer than the driver's, and set `LD_LIBRARY_PATH` to `nvidia/cu13/lib` and `CUDA_PATH` to `nvidia/cu13` of where pip put them"
    )]
    NoCompiler,
    /// The headers that code for a GPU includes are not there.
    #[error(
        "`--device cuda` found a GPU and not the headers that its code includes: {}\n  help: run with `--device cpu`, or get them, `pip install nvidia-cuda-runtime nvidia-cuda-cccl`, and set `CUDA_PATH` to `nvidia/cu13` of where pip put them",
        absent(folder.as_deref(), missing)
    )]
    NoHeaders {
        /// Where the toolkit lies: `CUDA_PATH`, or one of the usual places.
        folder: Option<PathBuf>,
        /// The headers that are not there.
        missing: Vec<String>,
    },
    /// A GPU cannot compute in the precision that was asked for.
    #[error("{gpu} cannot compute in {precision}\n  help: leave `precision` out for f32")]
    NoPrecision {
        /// The precision.
        precision: Precision,
        /// The GPU.
        gpu: String,
    },
    /// Images together take more memory than the device has.
    #[error("the device has no memory for {}: {said}", match images { 0 => "the weights".to_owned(), images => format!("{images} images at once") })]
    NoMemory {
        /// How many images there were; none when it was the weights.
        images: usize,
        /// What the engine said.
        said: String,
    },
    /// What came out are not numbers.
    #[error(
        "the network gave values that are not numbers\n  help: with `precision: \"f16\"` maps of these weights may be too large: `precision: \"bf16\"` has the range of f32; else the weights are damaged"
    )]
    NotNumbers,
    /// The tensor engine failed while computing or reading back.
    #[error("the tensor engine failed: {0}")]
    Engine(String),
}

impl ModelError {
    /// Returns a closure that adds `path` to an I/O error.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

/// Says which headers are missing where.
fn absent(folder: Option<&Path>, missing: &[String]) -> String {
    let names: Vec<String> = missing.iter().map(|name| format!("`{name}`")).collect();
    let names = names.join(", ");
    match folder {
        Some(folder) => format!("`{}` lacks {names}", folder.join("include").display()),
        None => format!("no folder of a CUDA toolkit was found, and {names} are needed"),
    }
}

/// Most tensors that a message shows; weights of another network differ in hundreds.
const SHOWN: usize = 40;

/// Lists the tensors that do not fit a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Misfits(pub Vec<Misfit>);

/// Names one tensor that does not fit, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// The network needs it and the file lacks it.
    Missing {
        /// Canonical name.
        name: String,
        /// Shape the network needs.
        expected: Vec<usize>,
    },
    /// The file holds it and the network has no place for it.
    Unexpected {
        /// Name in the file.
        name: String,
        /// Its shape.
        found: Vec<usize>,
    },
    /// It has another shape than the network needs.
    Shape {
        /// Canonical name.
        name: String,
        /// Shape the network needs.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// It holds integers where numbers are needed, or the other way round.
    Kind {
        /// Canonical name.
        name: String,
        /// Element type in the file.
        found: String,
    },
    /// It holds a value that is infinite or not a number.
    NotFinite {
        /// Canonical name.
        name: String,
    },
}

impl Misfit {
    /// Returns the name of the tensor.
    pub fn name(&self) -> &str {
        match self {
            Self::Missing { name, .. }
            | Self::Unexpected { name, .. }
            | Self::Shape { name, .. }
            | Self::Kind { name, .. }
            | Self::NotFinite { name } => name,
        }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { name, expected } => write!(f, "missing `{name}` {expected:?}"),
            Self::Unexpected { name, found } => write!(f, "unexpected `{name}` {found:?}"),
            Self::Shape {
                name,
                expected,
                found,
            } => write!(f, "`{name}` is {found:?}, expected {expected:?}"),
            Self::Kind { name, found } => write!(f, "`{name}` holds {found}"),
            Self::NotFinite { name } => write!(f, "`{name}` holds values that are not finite"),
        }
    }
}

impl fmt::Display for Misfits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 {
            "tensor"
        } else {
            "tensors"
        };
        write!(f, "{} {plural}", self.0.len())?;
        self.0
            .iter()
            .take(SHOWN)
            .try_for_each(|misfit| write!(f, "\n  {misfit}"))?;
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}
