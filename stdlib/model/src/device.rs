//! Where the network runs: on the CPU, or on the NVIDIA GPUs of the machine when they were asked for and are there.

use burn::tensor::Device;

use crate::error::ModelError;
use crate::precision::Precision;

/// The version of Burn that this crate is pinned to; part of the device class. A test holds it to the manifest.
const BURN: &str = "0.22.1";
/// What runs on the CPU, with the number of its order of sums, and its precision: the same bits on every machine
/// of the architecture whose paths the tests compare.
#[cfg(target_arch = "x86_64")]
const KERNELS: &str = "cerb-kernels 1 f32";
/// Elsewhere no test has compared the bits with those, so results are not shared.
#[cfg(not(target_arch = "x86_64"))]
const KERNELS: &str = "cerb-kernels 1 f32 unproved";
/// How f32 is multiplied on a GPU: it changes the bits, so it is part of the class.
const ON_GPU: &str = "f32-by-parts";

/// Says where to run: what `--device` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeviceChoice {
    /// The CPU.
    #[default]
    Cpu,
    /// NVIDIA GPUs.
    Cuda,
}

impl DeviceChoice {
    /// Returns engine, version, GPUs and precision of what runs the network:
    /// `cerb-kernels 1 f32`, `burn-cuda 0.22.1 NVIDIA-H200 f32-by-parts`.
    ///
    /// It is part of the cache key of what the network computes, beside the arguments, among which another precision
    /// is. Equal classes give equal bits on the CPU; on GPUs, where kernels are chosen by how fast they are, equal numbers
    /// within the tier of the precision.
    ///
    /// # Errors
    /// When the device cannot be used; the message says what is missing and what to do.
    pub fn device_class(self) -> Result<String, ModelError> {
        match self {
            Self::Cpu => Ok(KERNELS.to_owned()),
            Self::Cuda => gpus().map(|gpus| class_of(gpus.iter().map(|gpu| gpu.part.as_str()))),
        }
    }
}

/// Returns the class of GPUs by what they are called, each kind once.
fn class_of<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    let kinds: std::collections::BTreeSet<String> =
        parts.map(|part| part.replace(' ', "-")).collect();
    let kinds: Vec<String> = kinds.into_iter().collect();
    format!("burn-cuda {BURN} {} {ON_GPU}", kinds.join("+"))
}

/// Returns the class of the reference path, which is Burn's on the CPU: `burn-flex 0.22.1 x86-64-avx512 f32`.
pub(crate) fn reference_class() -> String {
    format!("burn-flex {BURN} {} f32", instruction_set())
}

/// A GPU of this machine that can be used.
#[derive(Debug)]
pub struct Gpu {
    pub(crate) device: Device,
    index: usize,
    part: String,
}

impl Gpu {
    /// Returns its number and what it is called: `GPU 0 (NVIDIA H200)`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("GPU {} ({})", self.index, self.part)
    }

    /// Returns the class of what it computes, as [`DeviceChoice::device_class`] does for all.
    pub(crate) fn class(&self) -> String {
        class_of(std::iter::once(self.part.as_str()))
    }

    /// Returns the bytes of its memory that nobody holds, when the driver tells.
    #[must_use]
    pub fn free_memory(&self) -> Option<u64> {
        free_memory(self.index)
    }

    /// Refuses a precision that it cannot compute in.
    pub(crate) fn check(&self, precision: Precision) -> Result<(), ModelError> {
        use burn::tensor::FloatDType;
        let kind = match precision {
            Precision::F32 => return Ok(()),
            Precision::Bf16 => FloatDType::BF16,
            Precision::F16 => FloatDType::F16,
        };
        match self.device.supports_dtype(kind) {
            true => Ok(()),
            false => Err(ModelError::NoPrecision {
                precision,
                gpu: self.name(),
            }),
        }
    }
}

#[cfg(not(feature = "cuda"))]
fn free_memory(_: usize) -> Option<u64> {
    None
}

#[cfg(feature = "cuda")]
fn free_memory(index: usize) -> Option<u64> {
    let told = std::panic::catch_unwind(|| {
        let context = cudarc::driver::CudaContext::new(index).ok()?;
        context.mem_get_info().ok()
    });
    told.ok().flatten().map(|(free, _)| free as u64)
}

/// Returns the GPUs of this machine, in the order of the driver.
///
/// # Errors
/// When there is none, or when what they need is not there; the message says what is missing and what to do.
#[cfg(not(feature = "cuda"))]
pub fn gpus() -> Result<Vec<Gpu>, ModelError> {
    Err(ModelError::NoCudaFeature)
}

/// Returns the GPUs of this machine, in the order of the driver.
///
/// All that is needed is looked for before a GPU is touched: an operation without it panics inside Burn.
///
/// # Errors
/// When there is none, or when what they need is not there; the message says what is missing and what to do.
#[cfg(feature = "cuda")]
pub fn gpus() -> Result<Vec<Gpu>, ModelError> {
    let found = std::panic::catch_unwind(|| {
        let cuda = burn::tensor::DeviceType::Cuda;
        let devices = Device::enumerate(cuda).into_vec();
        (crate::toolkit::look(devices.len()), devices)
    });
    let (toolkit, devices) = found.map_err(|_| ModelError::NoGpu)?;
    toolkit.check()?;
    let named = std::panic::catch_unwind(|| {
        let named = devices.into_iter().enumerate().map(|(index, device)| {
            let identity = device.identity();
            Gpu {
                part: identity.map_or_else(|| "unknown GPU".to_owned(), |identity| identity.name),
                index,
                device,
            }
        });
        named.collect()
    });
    named.map_err(|_| ModelError::Engine("a GPU could not be opened".to_owned()))
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
        let class = reference_class();
        assert!(
            class.starts_with("burn-flex 0.22.1 ") && class.ends_with(" f32"),
            "{class}"
        );
    }

    #[test]
    fn the_class_of_gpus_names_each_kind_once_and_how_they_multiply() {
        let class = class_of(["NVIDIA H200", "NVIDIA A40", "NVIDIA H200"].into_iter());
        assert_eq!(
            class,
            "burn-cuda 0.22.1 NVIDIA-A40+NVIDIA-H200 f32-by-parts"
        );
    }

    #[test]
    fn a_gpu_that_is_not_there_is_an_error_that_names_the_remedy() {
        if let Err(error) = DeviceChoice::Cuda.device_class() {
            assert!(error.to_string().contains("--device cpu"), "{error}");
        }
    }
}
