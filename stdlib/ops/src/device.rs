//! The device the network runs on, as the command line asks for it before a plan is made.

use cerb_engine::DeviceChoice;
use cerb_model::ModelError;

/// Returns what the keys of `device` operators carry for a device: engine, version, instruction set or GPU, precision.
///
/// # Errors
/// When the device is not there; the message says what to do.
pub fn device_class(choice: DeviceChoice) -> Result<String, ModelError> {
    match choice {
        DeviceChoice::Cpu => cerb_model::DeviceChoice::Cpu.device_class(),
        DeviceChoice::Cuda => cerb_model::DeviceChoice::Cuda.device_class(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_always_there() {
        assert!(device_class(DeviceChoice::Cpu).unwrap().contains("kernels"));
    }
}
