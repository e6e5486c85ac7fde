//! The state dict of a network: every tensor's name and shape, in the order of the published model.

use crate::heads::{Backbone, Head, HeadKind, Widths};

/// Describes one tensor of a state dict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Canonical name: no `module.`, encoder under `backbone.`.
    pub name: String,
    /// Shape as PyTorch stores it; convolutions are `[out, in, height, width]`.
    pub shape: Vec<usize>,
    /// What it is for.
    pub role: Role,
}

/// Says what a tensor of a state dict is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Decides the outputs: must be there.
    Value,
    /// `num_batches_tracked` of a batch norm: an integer that nothing reads, may be absent.
    Count,
    /// The encoder's `fc`, which classifies ImageNet and is never run: may be absent.
    Unused,
}

/// Returns every tensor of a network with these heads; no heads means the encoder alone.
pub fn layout(backbone: Backbone, heads: &[Head]) -> Vec<Slot> {
    let widths = backbone.widths();
    let mut slots = Slots {
        all: Vec::new(),
        widths,
    };
    slots.encoder(backbone);
    if !heads.is_empty() {
        slots.weight("conv_map", &[widths.map, widths.encoder[3], 1, 1]);
    }
    for decoder in decoders(heads) {
        slots.decoder(decoder);
    }
    for head in heads.iter().filter(|head| head.kind == HeadKind::Out) {
        slots.patch_class(head);
    }
    for head in heads.iter().filter(|head| head.kind != HeadKind::Out) {
        slots.head(head);
    }
    slots.all
}

/// Returns the segmentation decoders that `heads` need, each once, in their order.
pub fn decoders(heads: &[Head]) -> Vec<&str> {
    let mut names = Vec::new();
    for head in heads.iter().filter(|head| head.kind != HeadKind::Out) {
        if !names.contains(&head.decoder.as_str()) {
            names.push(head.decoder.as_str());
        }
    }
    names
}

struct Slots {
    all: Vec<Slot>,
    widths: Widths,
}

impl Slots {
    fn push(&mut self, name: String, shape: &[usize], role: Role) {
        self.all.push(Slot {
            name,
            shape: shape.to_vec(),
            role,
        });
    }

    fn weight(&mut self, layer: &str, shape: &[usize]) {
        self.push(format!("{layer}.weight"), shape, Role::Value);
    }

    fn conv(&mut self, layer: &str, shape: &[usize]) {
        self.weight(layer, shape);
        self.push(format!("{layer}.bias"), &shape[..1], Role::Value);
    }

    fn norm(&mut self, layer: &str, channels: usize) {
        for part in ["weight", "bias", "running_mean", "running_var"] {
            self.push(format!("{layer}.{part}"), &[channels], Role::Value);
        }
        self.push(format!("{layer}.num_batches_tracked"), &[], Role::Count);
    }

    fn encoder(&mut self, backbone: Backbone) {
        let widths = self.widths.encoder;
        self.weight("backbone.conv1", &[widths[0], 3, 7, 7]);
        self.norm("backbone.bn1", widths[0]);
        let mut before = widths[0];
        for (layer, (width, blocks)) in widths.into_iter().zip(backbone.blocks()).enumerate() {
            for block in 0..blocks {
                let name = format!("backbone.layer{}.{block}", layer + 1);
                self.weight(&format!("{name}.conv1"), &[width, before, 3, 3]);
                self.norm(&format!("{name}.bn1"), width);
                self.weight(&format!("{name}.conv2"), &[width, width, 3, 3]);
                self.norm(&format!("{name}.bn2"), width);
                if before != width {
                    self.weight(&format!("{name}.downsample.0"), &[width, before, 1, 1]);
                    self.norm(&format!("{name}.downsample.1"), width);
                }
                before = width;
            }
        }
        self.push(
            "backbone.fc.weight".to_owned(),
            &[1000, widths[3]],
            Role::Unused,
        );
        self.push("backbone.fc.bias".to_owned(), &[1000], Role::Unused);
    }

    fn decoder(&mut self, name: &str) {
        for (level, widths) in self.widths.decoder.into_iter().enumerate() {
            for unit in 0..2 {
                let block = format!("decoder_head.{name}.{level}.block.{unit}");
                self.norm(&format!("{block}.bn"), widths[unit + 1]);
                self.conv(
                    &format!("{block}.conv"),
                    &[widths[unit + 1], widths[unit], 3, 3],
                );
            }
        }
    }

    fn patch_class(&mut self, head: &Head) {
        let name = format!("decoder_head.{}", head.decoder);
        self.norm(&format!("{name}.bn1"), self.widths.encoder[3]);
        self.conv(
            &format!("{name}.conv1"),
            &[self.widths.map, self.widths.encoder[3], 1, 1],
        );
        self.norm(&format!("{name}.bn2"), self.widths.map);
        self.conv(
            &format!("{name}.conv2"),
            &[head.channels, self.widths.map, 1, 1],
        );
    }

    fn head(&mut self, head: &Head) {
        let name = format!("output_head.{}.{}.x", head.decoder, head.kind);
        self.norm(&format!("{name}.0.block.0.bn"), self.widths.head);
        self.conv(
            &format!("{name}.0.block.0.conv"),
            &[self.widths.head, self.widths.decoder[3][2], 1, 1],
        );
        self.conv(
            &format!("{name}.1.conv"),
            &[head.channels, self.widths.head, 1, 1],
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_network_has_558_tensors_and_resnet18_462() {
        assert_eq!(layout(Backbone::Resnet34, &Head::published()).len(), 558);
        assert_eq!(layout(Backbone::Resnet18, &Head::published()).len(), 462);
    }

    #[test]
    fn the_encoder_alone_has_no_other_tensors() {
        assert!(
            layout(Backbone::Resnet18, &[])
                .iter()
                .all(|slot| slot.name.starts_with("backbone."))
        );
    }
}
