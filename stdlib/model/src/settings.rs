//! What a model says of itself: encoder, heads, resolution, patch sizes, licence.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};

use crate::error::ModelError;
use crate::heads::{Backbone, Head};

/// Largest settings file that is read; the published one is a few kilobytes.
const MAX_BYTES: u64 = 1 << 20;
/// The key of a safetensors file's metadata that holds our settings, as JSON.
pub(crate) const METADATA_KEY: &str = "cerb";

/// Describes a model before its weights are read.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSettings {
    /// Encoder.
    pub backbone: Backbone,
    /// Heads, in the order of the state dict; none means that the weights are an encoder's alone.
    pub heads: Vec<Head>,
    /// Resolution that the weights were trained at, in µm per pixel. The published model works on 20× images, which is 0.5.
    pub mpp: f64,
    /// Side of an input patch in pixels; 448 for the published model.
    pub input: u32,
    /// Side of the centre that is kept of an input patch, in pixels; 144 for the published model.
    pub output: u32,
    /// Terms under which the weights may be used, when they say so.
    pub licence: Option<String>,
    /// Names of the classes of heads of types and of patches, by their numbers, where the weights state them; else
    /// they are the published ones.
    pub classes: BTreeMap<String, Vec<String>>,
}

impl ModelSettings {
    /// Describes a model that works as the published one does: 448 px in, 144 px out, 0.5 µm per pixel.
    pub fn new(backbone: Backbone, heads: Vec<Head>) -> Self {
        Self {
            backbone,
            heads,
            mpp: 0.5,
            input: 448,
            output: 144,
            licence: None,
            classes: BTreeMap::new(),
        }
    }

    /// Says in words what the network is.
    pub fn describe(&self) -> String {
        let heads: Vec<_> = self.heads.iter().map(Head::name).collect();
        if heads.is_empty() {
            format!("a {} encoder", self.backbone)
        } else {
            format!("{} with {}", self.backbone, heads.join(", "))
        }
    }

    /// Returns the settings as they stand in a safetensors file's metadata.
    pub(crate) fn to_json(&self) -> Value {
        let heads: Vec<_> = self
            .heads
            .iter()
            .map(|head| json!([head.decoder, head.kind.to_string(), head.channels]))
            .collect();
        let mut said = json!({ "backbone": self.backbone.to_string(), "heads": heads, "mpp": self.mpp, "input": self.input, "output": self.output, "licence": self.licence });
        if !self.classes.is_empty() {
            said["classes"] = json!(self.classes);
        }
        said
    }

    /// Takes over what the settings say, and checks the whole.
    pub(crate) fn apply(&mut self, said: Said) -> Result<(), String> {
        self.backbone = said.backbone.unwrap_or(self.backbone);
        self.heads = said
            .heads
            .unwrap_or_else(|| std::mem::take(&mut self.heads));
        self.mpp = said.mpp.unwrap_or(self.mpp);
        self.input = said.input.unwrap_or(self.input);
        self.output = said.output.unwrap_or(self.output);
        self.licence = said.licence.or_else(|| self.licence.take());
        self.classes = said.classes;
        Head::check_all(&self.heads)?;
        for (name, classes) in &self.classes {
            let head = self.heads.iter().find(|head| head.name() == *name);
            if head.is_none_or(|head| head.channels != classes.len()) {
                return Err(format!(
                    "`classes` names {} classes of `{name}`, and no head has that name and so many",
                    classes.len()
                ));
            }
        }
        if !(0.05..=4.0).contains(&self.mpp) {
            return Err(format!(
                "`mpp` is {}, which is not between 0.05 and 4 µm per pixel",
                self.mpp
            ));
        }
        if self.input == 0 || !self.input.is_multiple_of(16) || self.input > 1 << 14 {
            return Err(format!(
                "the input patch is {} px, it must be a multiple of 16 px",
                self.input
            ));
        }
        if self.output == 0 || self.output > self.input {
            return Err(format!(
                "the output patch is {} px and the input patch {} px: it must fit inside",
                self.output, self.input
            ));
        }
        Ok(())
    }
}

/// What a settings file decides; the rest is left to the weights and to the published model.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Said {
    pub(crate) backbone: Option<Backbone>,
    pub(crate) heads: Option<Vec<Head>>,
    pub(crate) mpp: Option<f64>,
    pub(crate) input: Option<u32>,
    pub(crate) output: Option<u32>,
    pub(crate) licence: Option<String>,
    pub(crate) classes: BTreeMap<String, Vec<String>>,
}

impl Said {
    /// Reads a `settings.yml`.
    pub(crate) fn read(path: &Path) -> Result<Self, ModelError> {
        let size = std::fs::metadata(path).map_err(ModelError::io(path))?.len();
        let fail = |reason: String| ModelError::Settings {
            path: path.to_owned(),
            reason,
        };
        if size > MAX_BYTES {
            return Err(fail(format!(
                "the file has {size} bytes, at most {MAX_BYTES} are read"
            )));
        }
        let text = std::fs::read_to_string(path).map_err(ModelError::io(path))?;
        Self::parse_yaml(&text).map_err(fail)
    }

    fn parse_yaml(text: &str) -> Result<Self, String> {
        let file: File = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let heads = match file.model_kwargs.decoder_kwargs {
            Some(Decoders(decoders)) => Some(heads(decoders, file.model_kwargs.considered_tasks)?),
            None => None,
        };
        Ok(Self {
            backbone: file
                .model_kwargs
                .encoder_backbone_name
                .map(|name| name.parse())
                .transpose()?,
            heads,
            mpp: file.mpp,
            input: file.input.or(file.dataset_kwargs.input_shape),
            output: file.output.or(file.dataset_kwargs.class_input_shape),
            licence: file.licence.or(file.license),
            classes: file.classes,
        })
    }

    /// Reads the settings that [`ModelSettings::to_json`] wrote.
    pub(crate) fn parse_json(text: &str) -> Result<Self, String> {
        let metadata: Metadata = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let heads = metadata.heads.map(|heads| {
            heads
                .into_iter()
                .map(|(decoder, kind, channels)| Ok(Head::new(&decoder, kind.parse()?, channels)))
                .collect::<Result<_, String>>()
        });
        Ok(Self {
            backbone: metadata.backbone.map(|name| name.parse()).transpose()?,
            heads: heads.transpose()?,
            mpp: metadata.mpp,
            input: metadata.input,
            output: metadata.output,
            licence: metadata.licence,
            classes: metadata.classes,
        })
    }

    /// Lets `other` decide what this leaves open.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            backbone: self.backbone.or(other.backbone),
            heads: self.heads.or(other.heads),
            mpp: self.mpp.or(other.mpp),
            input: self.input.or(other.input),
            output: self.output.or(other.output),
            licence: self.licence.or(other.licence),
            classes: if self.classes.is_empty() {
                other.classes
            } else {
                self.classes
            },
        }
    }
}

/// Returns the heads of the decoders that are built: all, or those named in `considered`.
fn heads(
    decoders: Vec<(String, Vec<(String, usize)>)>,
    considered: Option<Vec<String>>,
) -> Result<Vec<Head>, String> {
    if let Some(unknown) = considered
        .iter()
        .flatten()
        .find(|name| decoders.iter().all(|(decoder, _)| decoder != *name))
    {
        return Err(format!(
            "`considered_tasks` names `{unknown}`, which is not among `decoder_kwargs`"
        ));
    }
    let built = |name: &String| {
        considered
            .as_ref()
            .is_none_or(|considered| considered.contains(name))
    };
    let mut heads = Vec::new();
    for (decoder, kinds) in decoders.into_iter().filter(|(decoder, _)| built(decoder)) {
        for (kind, channels) in kinds {
            heads.push(Head::new(&decoder, kind.parse()?, channels));
        }
    }
    Ok(heads)
}

/// The keys of `settings.yml` that are read; others are left alone.
#[derive(serde::Deserialize)]
struct File {
    #[serde(default)]
    dataset_kwargs: DatasetArguments,
    #[serde(default)]
    model_kwargs: ModelArguments,
    mpp: Option<f64>,
    input: Option<u32>,
    output: Option<u32>,
    licence: Option<String>,
    license: Option<String>,
    #[serde(default)]
    classes: BTreeMap<String, Vec<String>>,
}

#[derive(Default, serde::Deserialize)]
struct DatasetArguments {
    input_shape: Option<u32>,
    class_input_shape: Option<u32>,
}

#[derive(Default, serde::Deserialize)]
struct ModelArguments {
    encoder_backbone_name: Option<String>,
    decoder_kwargs: Option<Decoders>,
    considered_tasks: Option<Vec<String>>,
}

/// Decoders with their heads, in the order of the file, which is that of the state dict.
struct Decoders(Vec<(String, Vec<(String, usize)>)>);

impl<'de> Deserialize<'de> for Decoders {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let decoders: Pairs<Pairs<usize>> = Pairs::deserialize(deserializer)?;
        Ok(Self(
            decoders
                .0
                .into_iter()
                .map(|(name, heads)| (name, heads.0))
                .collect(),
        ))
    }
}

/// A map whose order counts.
struct Pairs<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for InOrder<T> {
            type Value = Pairs<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<T>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(InOrder(std::marker::PhantomData))
    }
}

#[derive(serde::Deserialize)]
struct Metadata {
    backbone: Option<String>,
    heads: Option<Vec<(String, String, usize)>>,
    mpp: Option<f64>,
    input: Option<u32>,
    output: Option<u32>,
    licence: Option<String>,
    #[serde(default)]
    classes: BTreeMap<String, Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "
seed: 5
dataset_kwargs: { input_shape: 448, class_input_shape: 144, other: [1, 2] }
model_kwargs:
  encoder_backbone_name: resnet18
  backbone_imagenet_pretrained: null
  decoder_kwargs: { Nuclei: { INST: 3 }, 'Nuclei#TYPE': { TYPE: 7 }, Patch-Class: { OUT: 9 } }
  considered_tasks: [Patch-Class, Nuclei]
";

    #[test]
    fn heads_are_the_considered_decoders_in_the_order_of_the_state_dict() {
        let said = Said::parse_yaml(YAML).unwrap();
        let names: Vec<_> = said
            .heads
            .as_ref()
            .unwrap()
            .iter()
            .map(Head::name)
            .collect();
        assert_eq!(names, ["Nuclei-INST", "Patch-Class"]);
        assert_eq!(
            (said.backbone, said.input, said.output, said.mpp),
            (Some(Backbone::Resnet18), Some(448), Some(144), None)
        );
    }

    #[test]
    fn own_keys_decide_mpp_and_licence() {
        let said =
            Said::parse_yaml(&format!("{YAML}mpp: 0.25\nlicense: CC BY-NC-SA 4.0\n")).unwrap();
        assert_eq!(
            (said.mpp, said.licence.as_deref()),
            (Some(0.25), Some("CC BY-NC-SA 4.0"))
        );
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let wrong = |yaml: &str| Said::parse_yaml(yaml).unwrap_err();
        assert!(
            wrong("model_kwargs: { encoder_backbone_name: densenet121 }").contains("densenet121")
        );
        assert!(wrong(&YAML.replace("[Patch-Class, Nuclei]", "[Gland]")).contains("`Gland`"));
        assert!(wrong(&YAML.replace("INST: 3", "EDGE: 3")).contains("`EDGE`"));
        let mut settings = ModelSettings::new(Backbone::Resnet34, Head::published());
        assert!(
            settings
                .apply(Said {
                    mpp: Some(40.0),
                    ..Said::default()
                })
                .unwrap_err()
                .contains("40")
        );
    }

    #[test]
    fn json_gives_back_the_same_settings() {
        let settings = ModelSettings {
            licence: Some("CC0".to_owned()),
            mpp: 0.25,
            ..ModelSettings::new(Backbone::Resnet18, Head::published())
        };
        let mut read = ModelSettings::new(Backbone::Resnet34, Vec::new());
        read.apply(Said::parse_json(&settings.to_json().to_string()).unwrap())
            .unwrap();
        assert_eq!(read, settings);
    }
}
