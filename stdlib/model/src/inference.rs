//! The network as pipelines run it: our own kernels on the CPU, Burn on a GPU.

use cerb_image::Rgb8;

use crate::cpu::CpuNetwork;
use crate::device::DeviceChoice;
use crate::error::ModelError;
use crate::network::{HeadMaps, Network};
use crate::settings::ModelSettings;
use crate::weights::Weights;

/// A network with its weights on a device, ready to answer for images; shared by threads as it is.
#[derive(Debug)]
pub enum Inference {
    /// Our own kernels, on the CPU.
    Cpu(Box<CpuNetwork>),
    /// Burn, on a GPU.
    Gpu(Box<Network>),
}

impl Inference {
    /// Puts weights on a device.
    pub fn load(weights: &Weights, choice: DeviceChoice) -> Result<Self, ModelError> {
        Ok(match choice {
            DeviceChoice::Cpu => Self::Cpu(Box::new(CpuNetwork::load(weights)?)),
            DeviceChoice::Cuda => Self::Gpu(Box::new(Network::load(weights, choice)?)),
        })
    }

    /// Returns what the model says of itself.
    pub fn settings(&self) -> &ModelSettings {
        match self {
            Self::Cpu(network) => network.settings(),
            Self::Gpu(network) => network.settings(),
        }
    }

    /// Lets one image spread over the threads of the current rayon pool, for images so large that there is no
    /// memory for one on each thread.
    #[must_use]
    pub fn spread(self) -> Self {
        match self {
            Self::Cpu(network) => Self::Cpu(Box::new(network.spread())),
            gpu @ Self::Gpu(_) => gpu,
        }
    }

    /// Returns what the named heads say of the central `kept` pixels of an image: a multiple of `settings().output`.
    ///
    /// Only these heads run, and of their decoders only what decides the centre. Sides are multiples of
    /// 16 px; with 448 px the central 144 px start at row and column 152.
    pub fn infer(&self, image: &Rgb8, heads: &[&str], kept: usize) -> Result<HeadMaps, ModelError> {
        match self {
            Self::Cpu(network) => network.infer(image, heads, kept),
            Self::Gpu(network) => {
                let mut maps = network.infer(std::slice::from_ref(image), heads, kept)?;
                let nothing = || ModelError::Engine("it gave nothing".to_owned());
                maps.pop().ok_or_else(nothing)
            }
        }
    }
}
