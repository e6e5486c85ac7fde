//! Pixels and geometry: masks, labels, morphology, watershed, contours, resizes,
//! and the artifacts that carry them between operators.
//!
//! Coordinates are XY, boxes half-open `[x0, y0, x1, y1]`, arrays row-major. The
//! binary operations agree to the pixel with OpenCV, SciPy and scikit-image where
//! those are named; `tests/` compares them on random input.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod areas;
pub mod artefacts;
pub mod blur;
pub mod classes;
pub mod clumps;
pub mod contour;
pub mod focus;
pub mod glands;
mod grid;
pub mod info;
mod instances;
pub mod label;
mod maps;
mod mask;
pub mod math;
pub mod morphology;
mod normalise;
pub mod nuclei;
pub mod otsu;
mod pack;
mod patches;
pub mod pieces;
pub mod random;
pub mod regions;
pub mod resize;
pub mod runs;
pub mod stain;
pub mod tiling;
pub mod tissue;
pub mod units;
pub mod watershed;

pub use classes::{Classes, ClassesHeader};
pub use grid::{Grid, Rect, Rgb8};
pub use instances::{
    ClassName, Instance, Instances, InstancesHeader, InstancesIter, InstancesWriter, SlideFrame,
};
pub use maps::{Maps, MapsHeader, MapsWriter, Square, Tiles, Window};
pub use mask::{Mask, MaskGeometry};
pub use normalise::Staining;
pub use patches::{Cell, GridHeader, PatchGrid};
