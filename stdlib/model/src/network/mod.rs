//! The network: one encoder, a decoder per kind of object, a head per output.

mod convolution;
mod decoder;
mod encoder;
mod footprint;
mod guard;
mod infer;
mod layers;
mod patch_class;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use cerb_image::Rgb8;

pub use footprint::window_bytes;
pub(crate) use infer::first_maximum;
pub use infer::{HeadMap, HeadMaps};

use crate::array::{Array, Values};
use crate::device::{self, Gpu};
use crate::error::ModelError;
use crate::heads::{Head, HeadKind};
use crate::layout;
use crate::precision::Precision;
use crate::settings::ModelSettings;
use crate::weights::Weights;
use convolution::{Convolution, Multiply};
use decoder::{Decoder, SegmentationHead, Window, cut_skip, up2, windows};
use encoder::Encoder;
use layers::{Source, Tap};
use patch_class::PatchClassHead;

/// A network with its weights on a device, ready to run; shared by threads as it is.
///
/// This is the reference path, Burn's own convolutions in evaluation mode, and what runs on a GPU.
#[derive(Debug)]
pub struct Network {
    layers: Layers,
    settings: ModelSettings,
    device: Device,
    device_class: String,
}

/// Everything with weights.
#[derive(Module, Debug)]
struct Layers {
    encoder: Encoder,
    conv_map: Option<Convolution>,
    /// In the order of `layout::decoders`.
    decoders: Vec<Decoder>,
    /// In the order of the heads, without the patch head.
    heads: Vec<SegmentationHead>,
    patch_class: Option<PatchClassHead>,
}

/// How much of the full-resolution maps to compute.
#[derive(Clone, Copy)]
enum Extent {
    Whole,
    /// Pixels of the centre, and patches that its classes answer for, per side.
    Centre(usize, usize),
}

impl Network {
    /// Puts weights on the CPU: the reference, in f32.
    pub fn load(weights: &Weights) -> Result<Self, ModelError> {
        let class = device::reference_class();
        Self::on(Device::flex(), class, weights, Multiply::Plain)
    }

    /// Puts weights on a GPU, whose convolutions multiply in `precision`.
    pub fn on_gpu(weights: &Weights, gpu: &Gpu, precision: Precision) -> Result<Self, ModelError> {
        gpu.check(precision)?;
        let multiply = Multiply::on_gpu(precision);
        guard::guarded(&gpu.device, 0, || {
            Self::on(gpu.device.clone(), gpu.class(), weights, multiply)
        })
    }

    /// Puts weights on the CPU, whose convolutions multiply as those of a GPU do in `precision`: what is known of a
    /// GPU's answers without one.
    pub fn as_on_gpu(weights: &Weights, precision: Precision) -> Result<Self, ModelError> {
        let class = device::reference_class();
        Self::on(Device::flex(), class, weights, Multiply::on_gpu(precision))
    }

    fn on(
        device: Device,
        device_class: String,
        weights: &Weights,
        multiply: Multiply,
    ) -> Result<Self, ModelError> {
        let settings = weights.settings().clone();
        let source = Source {
            weights,
            device: &device,
            multiply,
        };
        Ok(Self {
            layers: Layers::build(&source, &settings)?,
            settings,
            device_class,
            device,
        })
    }

    /// Returns what the model says of itself.
    pub fn settings(&self) -> &ModelSettings {
        &self.settings
    }

    /// Returns engine, version, instruction set or GPU, and precision: `burn-flex 0.22.1 x86-64-avx512 f32`.
    pub fn device_class(&self) -> &str {
        &self.device_class
    }

    /// Returns raw logits `[images, classes, height, width]` of the named heads, in the order they are named.
    ///
    /// The patch head gives `[images, classes, 1, 1]`. Images have one size, a multiple of 16 px.
    pub fn logits(&self, images: &[Rgb8], heads: &[&str]) -> Result<Vec<Array>, ModelError> {
        self.trace(images, heads, &mut |_, _| {})
    }

    /// Returns logits as [`Network::logits`] does and shows every map on the way by its name:
    /// `enc.conv1`, `enc.layer2`, `conv_map`, `dec.Nuclei#TYPE.3`, `dec.Patch-Class.bn1`.
    pub fn trace(
        &self,
        images: &[Rgb8],
        heads: &[&str],
        see: &mut dyn FnMut(&str, &Array),
    ) -> Result<Vec<Array>, ModelError> {
        let heads = self.select(heads)?;
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let input = self.input(images)?;
        let mut failed = None;
        let mut tap = |name: &str, map: &Tensor<4>| match read(map.clone()) {
            Ok(map) => see(name, &map),
            Err(error) => failed = Some(error),
        };
        let logits = self
            .layers
            .forward(&self.settings, input, &heads, Extent::Whole, &mut tap)?;
        match failed {
            Some(error) => Err(error),
            None => logits.into_iter().map(read).collect(),
        }
    }

    /// Finds heads by name.
    fn select(&self, names: &[&str]) -> Result<Vec<usize>, ModelError> {
        let known: Vec<_> = self.settings.heads.iter().map(Head::name).collect();
        names
            .iter()
            .map(|name| {
                known.iter().position(|known| known == name).ok_or_else(|| {
                    ModelError::UnknownHead {
                        asked: (*name).to_owned(),
                        known: known.clone(),
                    }
                })
            })
            .collect()
    }

    /// Checks the images and gives them to the device as `[images, 3, height, width]` in 0 to 1.
    fn input(&self, images: &[Rgb8]) -> Result<Tensor<4>, ModelError> {
        let (width, height) = images.first().map_or((0, 0), |image| {
            (image.width as usize, image.height as usize)
        });
        if width == 0 || height == 0 || width % 16 != 0 || height % 16 != 0 {
            return Err(ModelError::Input(format!(
                "an image of {width} × {height} px cannot go through the network: both sides must be multiples of 16 px"
            )));
        }
        let mut values = Vec::with_capacity(images.len() * 3 * width * height);
        for image in images {
            if (image.width as usize, image.height as usize) != (width, height)
                || image.data.len() != 3 * width * height
            {
                return Err(ModelError::Input(format!(
                    "images of one call must have one size: {width} × {height} px and {} × {} px",
                    image.width, image.height
                )));
            }
            for channel in 0..3 {
                values.extend(
                    image
                        .data
                        .iter()
                        .skip(channel)
                        .step_by(3)
                        .map(|&value| f32::from(value) / 255.0),
                );
            }
        }
        Ok(Tensor::from_data(
            TensorData::new(values, [images.len(), 3, height, width]),
            &self.device,
        ))
    }
}

/// Copies a map to the host.
fn read(map: Tensor<4>) -> Result<Array, ModelError> {
    let shape = map.dims().to_vec();
    let data = map
        .try_into_data()
        .map_err(|error| ModelError::Engine(error.to_string()))?;
    let values = data
        .try_into_vec::<f32>()
        .map_err(|error| ModelError::Engine(format!("{error:?}")))?;
    Ok(Array {
        shape,
        values: Values::Float(values),
    })
}

impl Layers {
    fn build(source: &Source, settings: &ModelSettings) -> Result<Self, ModelError> {
        let heads = &settings.heads;
        let segmentation = heads.iter().filter(|head| head.kind != HeadKind::Out);
        let patch_class = heads.iter().any(|head| head.kind == HeadKind::Out);
        Ok(Self {
            encoder: Encoder::build(source, settings.backbone)?,
            conv_map: (!heads.is_empty())
                .then(|| source.conv("conv_map", 1))
                .transpose()?,
            decoders: layout::decoders(heads)
                .into_iter()
                .map(|name| Decoder::build(source, name))
                .collect::<Result<_, _>>()?,
            heads: segmentation
                .map(|head| SegmentationHead::build(source, head))
                .collect::<Result<_, _>>()?,
            patch_class: patch_class
                .then(|| PatchClassHead::build(source))
                .transpose()?,
        })
    }

    /// Runs the encoder and what the `wanted` heads need, once each; logits come in the order of `wanted`.
    fn forward(
        &self,
        settings: &ModelSettings,
        input: Tensor<4>,
        wanted: &[usize],
        extent: Extent,
        tap: Tap,
    ) -> Result<Vec<Tensor<4>>, ModelError> {
        let [_, _, height, width] = input.dims();
        let (kept, cells) = match extent {
            Extent::Whole => (Window::whole(height, width), 1),
            Extent::Centre(side, cells) => (Window::centre(height, width, side), cells),
        };
        let [x0, x1, x2, x3, x4] = self.encoder.forward(input, tap);
        let mut logits: Vec<Option<Tensor<4>>> = vec![None; settings.heads.len()];

        if let Some(head) = &self.patch_class
            && let Some(index) = wanted
                .iter()
                .copied()
                .find(|&index| settings.heads[index].kind == HeadKind::Out)
        {
            logits[index] = Some(head.forward(x4.clone(), cells, tap));
        }
        if let Some(conv_map) = &self.conv_map
            && wanted
                .iter()
                .any(|&index| settings.heads[index].kind != HeadKind::Out)
        {
            let windows = windows(&kept, height, width);
            let map = conv_map.forward(x4);
            tap("conv_map", &map);
            // What enters the first block is the same for all decoders.
            let origin = Window { y: 0..0, x: 0..0 };
            let first = windows[0].cut(up2(map), &origin) + cut_skip(&x3, &windows[0]);
            for (decoder, name) in self.decoders.iter().zip(layout::decoders(&settings.heads)) {
                let of_decoder = |&index: &usize| settings.heads[index].decoder == name;
                if !wanted.iter().any(of_decoder) {
                    continue;
                }
                let map = decoder.forward(name, first.clone(), [&x2, &x1, &x0], &windows, tap);
                let map = kept.cut(map, &windows[3]);
                let segmentation = settings
                    .heads
                    .iter()
                    .enumerate()
                    .filter(|(_, head)| head.kind != HeadKind::Out);
                for ((index, _), head) in segmentation
                    .zip(&self.heads)
                    .filter(|((index, _), _)| of_decoder(index) && wanted.contains(index))
                {
                    logits[index] = Some(head.forward(map.clone()));
                }
            }
        }
        wanted
            .iter()
            .map(|&index| {
                logits[index].clone().ok_or_else(|| {
                    ModelError::Engine(format!(
                        "the head `{}` gave nothing",
                        settings.heads[index].name()
                    ))
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heads::Backbone;
    use crate::testing::image;

    fn network(heads: &[Head]) -> Network {
        Network::load(&Weights::formula(Backbone::Resnet18, heads)).unwrap()
    }

    #[test]
    fn the_centre_comes_out_the_same_to_the_bit_as_from_whole_maps() {
        let heads = [
            Head::new("Nuclei", HeadKind::Inst, 3),
            Head::new("Gland#TYPE", HeadKind::Type, 3),
        ];
        let network = network(&heads);
        let input = || network.input(&[image(208, 176)]).unwrap();
        let forward = |extent| {
            network
                .layers
                .forward(&network.settings, input(), &[1, 0], extent, &mut |_, _| {})
                .unwrap()
        };
        let whole = forward(Extent::Whole);
        for (whole, centre) in whole.into_iter().zip(forward(Extent::Centre(48, 1))) {
            let cut = Window::centre(176, 208, 48).cut(whole, &Window::whole(176, 208));
            assert_eq!(read(cut).unwrap(), read(centre).unwrap());
        }
    }

    #[test]
    fn images_together_give_what_each_gives_alone() {
        let weights = Weights::formula(Backbone::Resnet18, &Head::published()[2..3]);
        let network = Network::as_on_gpu(&weights, Precision::F32).unwrap();
        let images = [
            image(144, 144),
            Rgb8 {
                data: vec![200; 3 * 144 * 144],
                ..image(144, 144)
            },
        ];
        let together = network.infer(&images, &["Nuclei-INST"], 144).unwrap();
        for (image, together) in images.iter().zip(&together) {
            let alone = network.infer(std::slice::from_ref(image), &["Nuclei-INST"], 144);
            assert_eq!(&alone.unwrap()[0], together);
        }
        assert_ne!(together[0], together[1]);
    }

    #[test]
    fn values_that_are_no_numbers_are_refused() {
        let mut network = network(&Head::published()[2..3]);
        let blown = Tensor::<4>::full([3, 96, 1, 1], f32::MAX, &Device::flex());
        let last = Convolution::new(blown, None, 1, Multiply::Plain);
        network.layers.heads[0].replace_last(last);
        let refused = network.infer(&[image(144, 144)], &["Nuclei-INST"], 144);
        assert!(
            matches!(refused, Err(ModelError::NotNumbers)),
            "{refused:?}"
        );
    }

    #[test]
    fn only_the_heads_asked_for_run_and_they_come_in_the_order_asked_for() {
        let network = network(&Head::published());
        let mut seen = Vec::new();
        let logits = network
            .trace(
                &[image(32, 48)],
                &["Patch-Class", "Gland-TYPE"],
                &mut |name, _| seen.push(name.to_owned()),
            )
            .unwrap();
        assert_eq!(
            [logits[0].shape.clone(), logits[1].shape.clone()],
            [vec![1, 9, 1, 1], vec![1, 3, 48, 32]]
        );
        assert!(
            seen.iter()
                .all(|name| !name.starts_with("dec.Nuclei") && !name.starts_with("dec.Lumen")),
            "{seen:?}"
        );
        assert!(matches!(
            network.logits(&[image(32, 32)], &["Nuclei"]),
            Err(ModelError::UnknownHead { .. })
        ));
    }

    #[test]
    fn images_that_cannot_pass_are_refused() {
        let network = network(&Head::published()[5..]);
        let refused = |images: &[Rgb8]| {
            matches!(
                network.infer(images, &["Patch-Class"], 144),
                Err(ModelError::Input(_))
            )
        };
        assert!(refused(&[image(150, 160)]) && refused(&[image(128, 128)]));
        assert!(matches!(
            network.logits(&[image(32, 32), image(48, 32)], &["Patch-Class"]),
            Err(ModelError::Input(_))
        ));
        assert!(
            network
                .infer(&[], &["Patch-Class"], 144)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_network_can_be_shared_by_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Network>();
    }
}
