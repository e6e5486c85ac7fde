//! Pictures that resemble stained tissue, painted from a seed together with the truth about them.

pub mod fields;
pub mod patches;
pub mod tissue;

use cerb_data::synth::SynthError;
use cerb_engine::{OpError, Registry};

/// Lists the operators of this family.
pub(crate) fn family() -> Registry {
    Registry::new()
        .with::<fields::Fields>()
        .with::<patches::Patches>()
        .with::<tissue::Painted>()
}

/// Bytes per pixel of what is painted at once: stains, labels, and the sample that is packed.
const PAINTED: u64 = 160;

/// Turns what cannot be painted into an operator's error: only parameters decide about it.
fn synth_error(error: SynthError) -> OpError {
    OpError::Input(error.to_string())
}
