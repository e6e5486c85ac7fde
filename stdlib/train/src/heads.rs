//! Which encoder and which heads a network has, and what they are called.

use std::fmt;
use std::str::FromStr;

/// Names the encoder, a torchvision ResNet with a stride-1 stem, and how wide the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Backbone {
    /// 2, 2, 2, 2 basic blocks.
    Resnet18,
    /// 3, 4, 6, 3 basic blocks: the published model.
    Resnet34,
    /// The blocks of ResNet-18 with half the channels everywhere, decoders and heads included: for CPUs.
    Compact,
}

impl Backbone {
    /// Returns the number of basic blocks in layers 1 to 4.
    pub fn blocks(self) -> [usize; 4] {
        match self {
            Self::Resnet18 | Self::Compact => [2, 2, 2, 2],
            Self::Resnet34 => [3, 4, 6, 3],
        }
    }

    /// Returns the channels of every part of the network around this encoder.
    pub fn widths(self) -> Widths {
        match self {
            Self::Resnet18 | Self::Resnet34 => Widths::of_base(64),
            Self::Compact => Widths::of_base(32),
        }
    }
}

/// Channels of a network's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Widths {
    /// Of the encoder's layers 1 to 4; the stem has those of layer 1.
    pub encoder: [usize; 4],
    /// Of each decoder block: in, between, out.
    pub decoder: [[usize; 3]; 4],
    /// Between the two convolutions of a segmentation head.
    pub head: usize,
    /// Of what the encoder hands to the decoders, and between the two convolutions of the patch head.
    pub map: usize,
}

impl Widths {
    /// Scales the published network, whose base is 64.
    fn of_base(base: usize) -> Widths {
        Widths {
            encoder: [base, 2 * base, 4 * base, 8 * base],
            decoder: [
                [4 * base, 4 * base, 2 * base],
                [2 * base, 2 * base, base],
                [base, base, base],
                [base, base, base],
            ],
            head: base + base / 2,
            map: 4 * base,
        }
    }
}

impl fmt::Display for Backbone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resnet18 => "resnet18",
            Self::Resnet34 => "resnet34",
            Self::Compact => "compact",
        })
    }
}

impl FromStr for Backbone {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "resnet18" => Ok(Self::Resnet18),
            "resnet34" => Ok(Self::Resnet34),
            "compact" => Ok(Self::Compact),
            other => Err(format!(
                "the encoder `{other}` is not supported, only `resnet18`, `resnet34` and `compact` are"
            )),
        }
    }
}

/// Says what a head predicts, as the published settings spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HeadKind {
    /// `INST`: background, inner and contour of each pixel.
    Inst,
    /// `TYPE`: the class of each pixel.
    Type,
    /// `OUT`: one class for the whole patch.
    Out,
}

impl fmt::Display for HeadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inst => "INST",
            Self::Type => "TYPE",
            Self::Out => "OUT",
        })
    }
}

impl FromStr for HeadKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "INST" => Ok(Self::Inst),
            "TYPE" => Ok(Self::Type),
            "OUT" => Ok(Self::Out),
            other => Err(format!(
                "the head `{other}` is not supported, only `INST`, `TYPE` and `OUT` are"
            )),
        }
    }
}

/// Describes one output of the network.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Head {
    /// Decoder that feeds it, as the state dict spells it: `Nuclei#TYPE`.
    pub decoder: String,
    /// What it predicts.
    pub kind: HeadKind,
    /// Classes, background included.
    pub channels: usize,
}

/// The one decoder that classifies patches; its head is `OUT`.
pub const PATCH_CLASS: &str = "Patch-Class";

impl Head {
    /// Describes the head `kind` of `decoder` with `channels` classes.
    pub fn new(decoder: &str, kind: HeadKind, channels: usize) -> Self {
        Self {
            decoder: decoder.to_owned(),
            kind,
            channels,
        }
    }

    /// Returns the name of the output: `Nuclei-INST`, `Nuclei-TYPE`, `Patch-Class`.
    pub fn name(&self) -> String {
        match self.kind {
            HeadKind::Out => self.decoder.clone(),
            kind => format!(
                "{}-{kind}",
                self.decoder.split('#').next().unwrap_or_default()
            ),
        }
    }

    /// Returns the six heads of the published model, in the order of its state dict.
    pub fn published() -> Vec<Self> {
        vec![
            Self::new("Lumen", HeadKind::Inst, 3),
            Self::new("Gland", HeadKind::Inst, 3),
            Self::new("Nuclei", HeadKind::Inst, 3),
            Self::new("Nuclei#TYPE", HeadKind::Type, 7),
            Self::new("Gland#TYPE", HeadKind::Type, 3),
            Self::new(PATCH_CLASS, HeadKind::Out, 9),
        ]
    }

    /// Checks a set of heads that a file describes: known kinds in their places, classes
    /// that fit a byte, no name twice.
    pub fn check_all(heads: &[Self]) -> Result<(), String> {
        let mut names = std::collections::BTreeSet::new();
        for head in heads {
            let (decoder, name) = (&head.decoder, head.name());
            if (head.kind == HeadKind::Out) != (decoder == PATCH_CLASS) {
                return Err(format!(
                    "the decoder `{decoder}` cannot have the head `{}`: `OUT` belongs to `{PATCH_CLASS}`",
                    head.kind
                ));
            }
            if decoder.is_empty() || decoder.contains('.') {
                return Err(format!("`{decoder}` cannot be the name of a decoder"));
            }
            if !(2..=256).contains(&head.channels) {
                return Err(format!(
                    "the head `{name}` has {} classes, 2 to 256 are possible",
                    head.channels
                ));
            }
            if !names.insert(name.clone()) {
                return Err(format!("two heads are called `{name}`"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_outputs_have_the_names_of_the_specification() {
        let names: Vec<_> = Head::published().iter().map(Head::name).collect();
        assert_eq!(
            names,
            [
                "Lumen-INST",
                "Gland-INST",
                "Nuclei-INST",
                "Nuclei-TYPE",
                "Gland-TYPE",
                "Patch-Class"
            ]
        );
    }

    #[test]
    fn two_heads_of_one_name_are_refused() {
        let heads = [
            Head::new("Nuclei", HeadKind::Type, 3),
            Head::new("Nuclei#TYPE", HeadKind::Type, 7),
        ];
        assert!(Head::check_all(&heads).unwrap_err().contains("Nuclei-TYPE"));
    }
}
