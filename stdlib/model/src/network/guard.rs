//! Work on a device whose engine may panic or run out of memory: both come back as errors.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::tensor::Device;

use crate::error::ModelError;

/// How the engines and the driver say that memory ran out, in lower case.
const NO_MEMORY: [&str; 3] = ["out of device memory", "out-of-memory", "out_of_memory"];

/// Does work for so many images; gives back what the device holds for later when memory ran out.
pub(super) fn guarded<T>(
    device: &Device,
    images: usize,
    work: impl FnOnce() -> Result<T, ModelError>,
) -> Result<T, ModelError> {
    // A network is not changed by running it, so none is left half done.
    let done = catch_unwind(AssertUnwindSafe(work));
    let done = done.unwrap_or_else(|panic| Err(ModelError::Engine(words(panic.as_ref()))));
    match done {
        Err(ModelError::Engine(said)) if is_no_memory(&said) => {
            let cleaned = catch_unwind(AssertUnwindSafe(|| device.memory_cleanup()));
            let said = first_line(&said);
            match cleaned {
                Ok(()) => Err(ModelError::NoMemory { images, said }),
                Err(panic) => Err(ModelError::Engine(words(panic.as_ref()))),
            }
        }
        done => done,
    }
}

fn is_no_memory(said: &str) -> bool {
    let said = said.to_lowercase();
    NO_MEMORY.iter().any(|words| said.contains(words))
}

/// Returns the line that tells of memory; engines add where they were.
fn first_line(said: &str) -> String {
    let mut lines = said.lines().map(str::trim);
    lines
        .find(|line| is_no_memory(line))
        .unwrap_or(said)
        .to_owned()
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(said: &'static str) -> ModelError {
        let work = || -> Result<(), _> { Err(ModelError::Engine(said.to_owned())) };
        guarded(&Device::flex(), 4, work).unwrap_err()
    }

    #[test]
    fn what_the_engines_say_when_memory_runs_out_is_understood() {
        // As cubecl 0.11 and the driver's bindings word it.
        for said in [
            "An error happened during execution\nCaused by:\n  out of device memory allocating 512 bytes\n   0: frame",
            "An out-of-memory error happened during launch\nCaused by:\n  full",
            "CUDA allocation error: DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
        ] {
            let error = told(said);
            assert!(
                matches!(error, ModelError::NoMemory { images: 4, .. }),
                "{error}"
            );
            assert_eq!(error.to_string().lines().count(), 1, "{error}");
        }
        assert!(matches!(
            told("The device is poisoned"),
            ModelError::Engine(_)
        ));
    }

    #[test]
    fn a_panic_of_the_engine_is_an_error() {
        let work =
            || -> Result<(), ModelError> { panic!("out of device memory allocating 8 bytes") };
        let error = guarded(&Device::flex(), 2, work).unwrap_err();
        assert!(
            matches!(error, ModelError::NoMemory { images: 2, .. }),
            "{error}"
        );
        let work = || -> Result<(), ModelError> { panic!("poisoned") };
        let error = guarded(&Device::flex(), 2, work).unwrap_err();
        assert!(
            matches!(&error, ModelError::Engine(said) if said == "poisoned"),
            "{error}"
        );
    }
}
