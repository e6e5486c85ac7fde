//! Where the network runs: on the CPU, or on an NVIDIA GPU when one was asked for and is there.

use burn::tensor::Device;

use crate::error::ModelError;

/// The version of Burn that this crate is pinned to; part of the device class. A test holds it to the manifest.
const BURN: &str = "0.22.1";
/// What runs on the CPU, with the number of its order of sums, and its precision: the same bits on every machine
/// of the architecture whose paths the tests compare.
#[cfg(target_arch = "x86_64")]
const KERNELS: &str = "cerb-kernels 1 f32";
/// Elsewhere no test has compared the bits with those, so results are not shared.
#[cfg(not(target_arch = "x86_64"))]
const KERNELS: &str = "cerb-kernels 1 f32 unproved";

/// Says where to run: what `--device` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeviceChoice {
    /// The CPU.
    #[default]
    Cpu,
    /// The first NVIDIA GPU.
    Cuda,
}

impl DeviceChoice {
    /// Probes for the device without touching it, and says what to do when it is not there.
    pub fn probe(self) -> Result<(), ModelError> {
        open(self).map(drop)
    }

    /// Returns engine, version, GPU and precision of what [`Inference`](crate::Inference) runs:
    /// `cerb-kernels 1 f32`, `burn-cuda 0.22.1 NVIDIA-H200 f32`.
    ///
    /// Equal classes give equal bits; it is part of the cache key of what the network computes.
    pub fn device_class(self) -> Result<String, ModelError> {
        match self {
            Self::Cpu => Ok(KERNELS.to_owned()),
            Self::Cuda => self.reference_class(),
        }
    }

    /// Returns the class of the reference path, which is Burn's everywhere: `burn-flex 0.22.1 x86-64-avx512 f32`.
    pub(crate) fn reference_class(self) -> Result<String, ModelError> {
        match self {
            Self::Cpu => Ok(format!("burn-flex {BURN} {} f32", instruction_set())),
            Self::Cuda => {
                open(self).map(|device| format!("burn-cuda {BURN} {} f32", gpu_name(&device)))
            }
        }
    }
}

/// Opens the device, or says why it cannot be used.
pub(crate) fn open(choice: DeviceChoice) -> Result<Device, ModelError> {
    match choice {
        DeviceChoice::Cpu => Ok(Device::flex()),
        DeviceChoice::Cuda => open_gpu(),
    }
}

#[cfg(not(feature = "cuda"))]
fn open_gpu() -> Result<Device, ModelError> {
    Err(ModelError::NoCudaFeature)
}

/// Asks the runtime for its devices before touching one: an operation on an absent GPU panics inside Burn.
#[cfg(feature = "cuda")]
fn open_gpu() -> Result<Device, ModelError> {
    let found =
        std::panic::catch_unwind(|| Device::enumerate(burn::tensor::DeviceType::Cuda).into_vec());
    found
        .ok()
        .and_then(|devices| devices.into_iter().next())
        .ok_or(ModelError::NoGpu)
}

#[cfg(not(feature = "cuda"))]
fn gpu_name(_: &Device) -> String {
    "no-gpu".to_owned()
}

#[cfg(feature = "cuda")]
fn gpu_name(device: &Device) -> String {
    device.identity().map_or_else(
        || "unknown-gpu".to_owned(),
        |identity| identity.name.replace(' ', "-"),
    )
}

/// Returns the widest instruction set that Burn's kernels choose by at run time.
fn instruction_set() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            return "x86-64-avx512";
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
        {
            return "x86-64-avx2";
        }
    }
    std::env::consts::ARCH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_device_class_names_the_pinned_version() {
        let manifest = include_str!("../../../Cargo.toml");
        assert!(manifest.contains(&format!("burn = {{ version = \"={BURN}\"")));
        assert_eq!(DeviceChoice::Cpu.device_class().unwrap(), KERNELS);
        let class = DeviceChoice::Cpu.reference_class().unwrap();
        assert!(
            class.starts_with("burn-flex 0.22.1 ") && class.ends_with(" f32"),
            "{class}"
        );
    }

    #[test]
    fn a_gpu_that_is_not_there_is_an_error_that_names_the_remedy() {
        if let Err(error) = DeviceChoice::Cuda.probe() {
            assert!(error.to_string().contains("--device cpu"), "{error}");
        }
    }
}
