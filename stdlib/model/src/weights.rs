//! Weights of a network: found on disk, checked against the network they say they are, and read.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::array::{Array, Values};
use crate::error::{Misfit, Misfits, ModelError};
use crate::formula;
use crate::heads::{Backbone, Head, HeadKind, PATCH_CLASS};
use crate::import::Checkpoint;
use crate::layout::{Role, layout};
use crate::settings::{METADATA_KEY, ModelSettings, Said};

/// Names of the weights file inside a model directory, the published one first.
const WEIGHTS_FILES: [&str; 2] = ["weights.tar", "weights.safetensors"];
const SETTINGS_FILE: &str = "settings.yml";
/// Names under which a model directory may state its licence.
const LICENCE_FILES: [&str; 6] = [
    "LICENSE",
    "LICENCE",
    "LICENSE.txt",
    "LICENCE.txt",
    "LICENSE.md",
    "LICENCE.md",
];
/// How far into a licence file its first line is looked for.
const LICENCE_BYTES: u64 = 4096;

/// Holds every tensor of a network under its canonical name, and what the model says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    settings: ModelSettings,
    tensors: BTreeMap<String, Array>,
}

impl Weights {
    /// Reads a model: the published directory of `weights.tar` and `settings.yml`, or a
    /// `.safetensors`, `.tar`, `.pth` or `.pt` file. A `settings.yml` beside a `weights.tar` or
    /// a `.safetensors` file belongs to it; without one, the names of the tensors say what they are.
    ///
    /// A state dict of a torchvision ResNet, with or without `backbone.` before its names,
    /// gives an encoder without heads. Every tensor must be there with the shape that the
    /// network needs, and no other; only `fc` and `num_batches_tracked` may be absent.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let mut opened = Opened::new(path)?;
        opened.read()
    }

    /// Reads what a model says of itself and checks the names and shapes of its tensors,
    /// without reading their values.
    pub fn describe(path: &Path) -> Result<ModelSettings, ModelError> {
        Opened::new(path).map(|opened| opened.settings)
    }

    /// Makes weights by formula: the same everywhere, untrained, for tests and for trying out.
    pub fn formula(backbone: Backbone, heads: &[Head]) -> Self {
        let slots = layout(backbone, heads);
        let tensors = slots
            .into_iter()
            .map(|slot| (formula::tensor(&slot.name, &slot.shape), slot.name))
            .map(|(tensor, name)| (name, tensor))
            .collect();
        Self {
            settings: ModelSettings::new(backbone, heads.to_vec()),
            tensors,
        }
    }

    /// Takes tensors that were trained here.
    ///
    /// # Errors
    /// When one is missing, too many, of another shape, or not finite.
    pub fn new(
        settings: ModelSettings,
        tensors: BTreeMap<String, Array>,
    ) -> Result<Self, ModelError> {
        let mut open: std::collections::BTreeSet<&String> = tensors.keys().collect();
        let mut wrong = Vec::new();
        for slot in layout(settings.backbone, &settings.heads) {
            open.remove(&slot.name);
            match tensors.get(&slot.name) {
                None if slot.role != Role::Value => {}
                Some(tensor) if tensor.shape == slot.shape => {
                    let floats = tensor.floats().unwrap_or_default();
                    if floats.iter().any(|value| !value.is_finite()) {
                        wrong.push(slot.name);
                    }
                }
                _ => wrong.push(slot.name),
            }
        }
        wrong.extend(open.into_iter().cloned());
        match wrong.first() {
            None => Ok(Self { settings, tensors }),
            Some(name) => Err(ModelError::Input(format!(
                "`{name}` is missing, of another shape, or not finite, or {} has no such tensor",
                settings.describe()
            ))),
        }
    }

    /// Rounds every number to 16 bits (IEEE half precision), as [`Weights::to_safetensors`] writes it when told to.
    ///
    /// # Errors
    /// When a number is too large for that.
    pub fn halved(mut self) -> Result<Self, ModelError> {
        for (name, tensor) in &mut self.tensors {
            if let Values::Float(values) = &mut tensor.values {
                for value in values {
                    *value = half::f16::from_f32(*value).to_f32();
                    if !value.is_finite() {
                        return Err(ModelError::Input(format!(
                            "`{name}` has numbers beyond 65,504, which 16 bits do not hold"
                        )));
                    }
                }
            }
        }
        Ok(self)
    }

    /// Returns what the model says of itself.
    pub fn settings(&self) -> &ModelSettings {
        &self.settings
    }

    /// Returns the tensor `name`, as the state dict calls it.
    pub fn tensor(&self, name: &str) -> Option<&Array> {
        self.tensors.get(name)
    }

    /// Returns every tensor with its name, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Array)> {
        self.tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Replaces tensors by those of the same names in a weights file, such as running
    /// statistics that were measured apart; names that the network lacks are an error.
    pub fn replace_from(&mut self, path: &Path) -> Result<(), ModelError> {
        let mut file = Checkpoint::open(path)?;
        let mut misfits = Vec::new();
        for (name, found) in file.tensors() {
            let (name, found) = (name.to_owned(), found.to_vec());
            match self.tensors.get(&name) {
                None => misfits.push(Misfit::Unexpected { name, found }),
                Some(own) if own.shape != found => misfits.push(Misfit::Shape {
                    name,
                    expected: own.shape.clone(),
                    found,
                }),
                Some(_) => {}
            }
        }
        self.refuse(path, misfits)?;
        let names: Vec<_> = file.tensors().map(|(name, _)| name.to_owned()).collect();
        for name in names {
            let tensor = file.read(&name)?;
            self.tensors.insert(name, tensor);
        }
        Ok(())
    }

    /// Takes the encoder of `other`, as transfer learning does; the heads stay.
    pub fn with_encoder(mut self, other: &Self) -> Result<Self, ModelError> {
        if other.settings.backbone != self.settings.backbone {
            return Err(ModelError::Input(format!(
                "the encoder is a {}, this network has a {}",
                other.settings.backbone, self.settings.backbone
            )));
        }
        let encoder = other
            .tensors
            .iter()
            .filter(|(name, _)| name.starts_with("backbone."));
        self.tensors
            .extend(encoder.map(|(name, tensor)| (name.clone(), tensor.clone())));
        Ok(self)
    }

    /// Writes one safetensors file that [`Weights::open`] reads; equal weights give equal bytes.
    pub fn save_safetensors(&self, path: &Path) -> Result<(), ModelError> {
        std::fs::write(path, self.to_safetensors(false)?).map_err(ModelError::io(path))
    }

    /// Returns the bytes of such a file, with numbers of 16 bits when `half`, else of 32.
    ///
    /// # Errors
    /// When there is no such file, which only a lack of memory makes.
    pub fn to_safetensors(&self, half: bool) -> Result<Vec<u8>, ModelError> {
        let fail = |error: safetensors::SafeTensorError| {
            ModelError::Input(format!("the weights cannot be written: {error}"))
        };
        let bytes: BTreeMap<&str, Vec<u8>> = self
            .tensors
            .iter()
            .map(|(name, tensor)| (name.as_str(), little_endian(&tensor.values, half)))
            .collect();
        let mut views = Vec::with_capacity(bytes.len());
        for (name, tensor) in &self.tensors {
            let dtype = match tensor.values {
                Values::Float(_) if half => safetensors::Dtype::F16,
                Values::Float(_) => safetensors::Dtype::F32,
                Values::Int(_) => safetensors::Dtype::I64,
            };
            let view = safetensors::tensor::TensorView::new(
                dtype,
                tensor.shape.clone(),
                &bytes[name.as_str()],
            )
            .map_err(fail)?;
            views.push((name.as_str(), view));
        }
        let metadata =
            HashMap::from([(METADATA_KEY.to_owned(), self.settings.to_json().to_string())]);
        safetensors::serialize(views, Some(metadata)).map_err(fail)
    }

    fn refuse(&self, path: &Path, misfits: Vec<Misfit>) -> Result<(), ModelError> {
        refuse(path, &self.settings, misfits)
    }
}

fn refuse(path: &Path, settings: &ModelSettings, misfits: Vec<Misfit>) -> Result<(), ModelError> {
    if misfits.is_empty() {
        return Ok(());
    }
    Err(ModelError::Tensors {
        path: path.to_owned(),
        network: settings.describe(),
        misfits: Misfits(misfits),
    })
}

fn little_endian(values: &Values, half: bool) -> Vec<u8> {
    match values {
        Values::Float(values) if half => values
            .iter()
            .flat_map(|&value| half::f16::from_f32(value).to_le_bytes())
            .collect(),
        Values::Float(values) => values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
        Values::Int(values) => values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect(),
    }
}

/// A model whose names and shapes are known to fit, before its values are read.
struct Opened {
    checkpoint: Checkpoint,
    settings: ModelSettings,
}

impl Opened {
    fn new(path: &Path) -> Result<Self, ModelError> {
        let files = Files::find(path)?;
        let mut checkpoint = Checkpoint::open(&files.weights)?;
        if !checkpoint
            .tensors()
            .any(|(name, _)| name.starts_with("backbone."))
        {
            checkpoint.add_prefix("backbone.");
        }
        let mut settings = guess(&checkpoint);
        let (said, source) = files.said(&checkpoint)?;
        settings
            .apply(said)
            .map_err(|reason| ModelError::Settings {
                path: source,
                reason,
            })?;
        refuse(&files.weights, &settings, misfits(&checkpoint, &settings))?;
        Ok(Self {
            checkpoint,
            settings,
        })
    }

    fn read(&mut self) -> Result<Weights, ModelError> {
        let mut tensors = BTreeMap::new();
        let mut misfits = Vec::new();
        let names: Vec<_> = self
            .checkpoint
            .tensors()
            .map(|(name, _)| name.to_owned())
            .filter(|name| !is_foreign_classifier(&self.settings, name))
            .collect();
        for name in names {
            let tensor = self.checkpoint.read(&name)?;
            if tensor
                .floats()
                .is_some_and(|values| values.iter().any(|value| !value.is_finite()))
            {
                misfits.push(Misfit::NotFinite { name: name.clone() });
            }
            tensors.insert(name, tensor);
        }
        refuse(self.checkpoint.path(), &self.settings, misfits)?;
        Ok(Weights {
            settings: self.settings.clone(),
            tensors,
        })
    }
}

/// The classifier of an encoder that was trained on other classes: of any shape, and not kept.
fn is_foreign_classifier(settings: &ModelSettings, name: &str) -> bool {
    settings.heads.is_empty() && name.starts_with("backbone.fc.")
}

/// Compares names, shapes and types with those of the network; sorted by name.
fn misfits(checkpoint: &Checkpoint, settings: &ModelSettings) -> Vec<Misfit> {
    let mut open: BTreeMap<&str, &[usize]> = checkpoint
        .tensors()
        .filter(|(name, _)| !is_foreign_classifier(settings, name))
        .collect();
    let mut misfits = Vec::new();
    for slot in layout(settings.backbone, &settings.heads) {
        match open.remove(slot.name.as_str()) {
            None if slot.role == Role::Value => misfits.push(Misfit::Missing {
                name: slot.name,
                expected: slot.shape,
            }),
            None => {}
            Some(found) if found != slot.shape => misfits.push(Misfit::Shape {
                name: slot.name,
                expected: slot.shape,
                found: found.to_vec(),
            }),
            Some(_) => {
                if let Some(found) = checkpoint.wrong_kind(&slot.name, slot.role != Role::Count) {
                    misfits.push(Misfit::Kind {
                        name: slot.name,
                        found: found.to_owned(),
                    });
                }
            }
        }
    }
    misfits.extend(open.into_iter().map(|(name, found)| Misfit::Unexpected {
        name: name.to_owned(),
        found: found.to_vec(),
    }));
    misfits.sort_by(|a, b| a.name().cmp(b.name()));
    misfits
}

/// Reads encoder and heads off the names of the tensors, for files that come without settings.
fn guess(checkpoint: &Checkpoint) -> ModelSettings {
    let shapes: BTreeMap<&str, &[usize]> = checkpoint.tensors().collect();
    let deep = shapes.contains_key("backbone.layer3.5.conv1.weight");
    let channels = |name: &str| shapes.get(name).and_then(|shape| shape.first().copied());
    let narrow = Backbone::Compact.widths().encoder[0];
    let backbone = if deep {
        Backbone::Resnet34
    } else if channels("backbone.conv1.weight") == Some(narrow) {
        Backbone::Compact
    } else {
        Backbone::Resnet18
    };
    let mut heads: Vec<Head> = shapes
        .keys()
        .filter_map(|name| {
            let (decoder, kind) = name
                .strip_prefix("output_head.")?
                .strip_suffix(".x.1.conv.weight")?
                .rsplit_once('.')?;
            Some(Head::new(
                decoder,
                kind.parse::<HeadKind>().ok()?,
                channels(name)?,
            ))
        })
        .collect();
    if let Some(channels) = channels("decoder_head.Patch-Class.conv2.weight") {
        heads.push(Head::new(PATCH_CLASS, HeadKind::Out, channels));
    }
    // The published order where the names are the published ones, others behind.
    let published: Vec<_> = Head::published().iter().map(Head::name).collect();
    heads.sort_by_key(|head| {
        published
            .iter()
            .position(|name| *name == head.name())
            .unwrap_or(published.len())
    });
    ModelSettings::new(backbone, heads)
}

/// The files of a model.
struct Files {
    weights: PathBuf,
    settings: Option<PathBuf>,
    licence: Option<PathBuf>,
}

impl Files {
    fn find(path: &Path) -> Result<Self, ModelError> {
        let found = std::fs::metadata(path).map_err(ModelError::io(path))?;
        if !found.is_dir() {
            let own = path
                .extension()
                .is_some_and(|extension| extension == "safetensors")
                || path.ends_with(WEIGHTS_FILES[0]);
            let settings = path
                .parent()
                .and_then(|folder| existing(folder, SETTINGS_FILE));
            let settings = settings.filter(|_| own);
            return Ok(Self {
                weights: path.to_owned(),
                settings,
                licence: None,
            });
        }
        let not_a_model = |reason: &str| ModelError::NotAModel {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let weights = WEIGHTS_FILES
            .iter()
            .find_map(|name| existing(path, name))
            .ok_or_else(|| not_a_model("the directory holds no `weights.tar`"))?;
        let settings = existing(path, SETTINGS_FILE);
        if settings.is_none() && weights.ends_with(WEIGHTS_FILES[0]) {
            return Err(not_a_model(
                "the directory holds `weights.tar` and no `settings.yml`",
            ));
        }
        Ok(Self {
            weights,
            settings,
            licence: LICENCE_FILES.iter().find_map(|name| existing(path, name)),
        })
    }

    /// Returns what `settings.yml`, then the metadata, then a licence file say, and the file to name when it cannot be used.
    fn said(&self, checkpoint: &Checkpoint) -> Result<(Said, PathBuf), ModelError> {
        let file = self
            .settings
            .as_deref()
            .map(Said::read)
            .transpose()?
            .unwrap_or_default();
        let metadata = match checkpoint.metadata().get(METADATA_KEY) {
            Some(text) => Said::parse_json(text).map_err(|reason| ModelError::Settings {
                path: self.weights.clone(),
                reason,
            })?,
            None => Said::default(),
        };
        let source = self
            .settings
            .clone()
            .unwrap_or_else(|| self.weights.clone());
        Ok((
            file.or(metadata).or(Said {
                licence: self.licence(),
                ..Said::default()
            }),
            source,
        ))
    }

    /// Returns the first line of a licence file in the model's directory.
    fn licence(&self) -> Option<String> {
        let mut text = Vec::new();
        let file = std::fs::File::open(self.licence.as_ref()?).ok()?;
        file.take(LICENCE_BYTES).read_to_end(&mut text).ok()?;
        let text = String::from_utf8_lossy(&text);
        let line = text
            .lines()
            .map(|line| line.trim_matches(['#', ' ', '\t']))
            .find(|line| !line.is_empty())?;
        Some(line.chars().take(200).collect())
    }
}

fn existing(folder: &Path, name: &str) -> Option<PathBuf> {
    Some(folder.join(name)).filter(|path| path.is_file())
}
