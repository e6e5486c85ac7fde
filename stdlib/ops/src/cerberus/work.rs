//! What every window needs, whoever looks at it, and how it is read.

use cerb_engine::OpError;
use cerb_image::{Cell, PatchGrid, Rgb8, Staining};
use cerb_model::{Head, HeadKind, HeadMap, HeadMaps, ModelError};
use cerb_slide::{ReadOptions, Slide};

use super::tile::Said;
use crate::reading::slide_error;

/// Where to look, and for what.
pub(super) struct Work<'a> {
    pub(super) slide: Slide,
    pub(super) grid: &'a PatchGrid,
    pub(super) heads: Vec<Head>,
    /// What the heads are called.
    pub(super) names: Vec<String>,
    pub(super) options: ReadOptions,
    pub(super) stain: Option<Staining>,
}

impl Work<'_> {
    /// Reads what the network sees for a cell, stained as it is to be.
    pub(super) fn image(&self, cell: Cell) -> Result<Rgb8, OpError> {
        let header = &self.grid.header;
        let (x, y) = self.grid.input_origin(cell);
        let image = self
            .slide
            .read_at(header.mpp, x, y, header.input, header.input, &self.options);
        let mut image = image.map_err(slide_error)?;
        if let Some(stain) = &self.stain {
            stain.apply(&mut image);
        }
        Ok(image)
    }

    /// Returns what the heads are called.
    pub(super) fn names(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    /// Returns the pixels, per side, that a window answers for.
    pub(super) fn kept(&self) -> usize {
        self.grid.header.output as usize
    }
}

/// Turns what the network says of a window into what a tile holds.
pub(super) fn said(maps: HeadMaps) -> Vec<Said> {
    let (width, height) = (maps.width, maps.height);
    let tile = |(name, map): (String, HeadMap)| {
        let (channels, values) = map.to_tile(width, height);
        (name, channels, values)
    };
    maps.maps.into_iter().map(tile).collect()
}

/// Returns how many channels the maps of a head have.
pub(super) fn channels(head: &Head) -> u32 {
    match head.kind {
        // Background is left out.
        HeadKind::Inst => head.channels as u32 - 1,
        HeadKind::Type | HeadKind::Out => 1,
    }
}

/// Turns a model's error into an operator's: what cannot be read, or has no place, may be otherwise next time.
pub(super) fn model_error(error: ModelError) -> OpError {
    match error {
        ModelError::Io { .. } => OpError::Infrastructure(error.to_string()),
        ModelError::NoMemory { .. } => OpError::Resources(error.to_string()),
        other => OpError::Input(other.to_string()),
    }
}
