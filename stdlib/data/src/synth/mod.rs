//! Synthetic tissue: pictures that resemble H&E-stained sections, painted from a seed together
//! with the exact outlines and classes of what they show.
//!
//! Nothing here is a patient's. A picture is a function of its seed, its size and the place
//! alone: the section is planned in micrometres on coarse squares, each drawn from its own
//! stream of numbers, so that any window of a slide of 100,000 × 100,000 px can be painted
//! by itself, with the bytes it has in the whole.
//!
//! ```
//! # fn main() -> Result<(), cerb_data::synth::SynthError> {
//! use cerb_data::synth::{Tissue, Window, paint};
//! let tissue = Tissue::field(7, 500.0, 500.0)?;
//! let window = Window { x: 64, y: 64, width: 128, height: 128 };
//! let painted = paint(&tissue, window, 0.5)?;
//! assert_eq!(painted.labels["Nuclei-INST"].width, 128);
//! # Ok(())
//! # }
//! ```

mod artefacts;
mod canvas;
mod cells;
mod gland;
mod ground;
mod jpeg;
mod look;
mod noise;
mod nucleus;
mod random;
pub mod samples;
mod scanner;
mod sites;

use std::collections::BTreeMap;

use cerb_image::{Grid, Rgb8};

use look::Look;

/// Names of the label maps of a picture, as the network's outputs are named.
pub const CHANNELS: [&str; 6] = [
    "Gland-INST",
    "Gland-TYPE",
    "Lumen-INST",
    "Nuclei-INST",
    "Nuclei-TYPE",
    "Patch-Class",
];

/// Longest side of a tissue in µm: its squares have numbers to 255.
pub const LONGEST: f64 = 60_000.0;

/// Most pixels in one window; each takes about 60 bytes while it is painted.
pub const MOST_PIXELS: u64 = 1 << 26;

/// Finest and coarsest resolution in µm per pixel that can be painted.
pub const RESOLUTIONS: (f64, f64) = (0.1, 4.0);

/// Most columns or rows in one window.
pub const WIDEST: u32 = 1 << 14;

/// How far from the first pixel a window may begin.
pub const FURTHEST: i64 = 1 << 24;

/// What a picture shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// A piece of tissue in the middle of the glass, as on a slide.
    Section,
    /// Four small round pieces of tissue, scattered over the glass.
    Cores,
    /// Tissue of all classes from edge to edge, for training.
    Field,
    /// Tissue of one class of the `Patch-Class` head from edge to edge.
    Patch(u8),
}

/// A tissue that can be painted: all that decides about its pixels.
#[derive(Clone, Debug)]
pub struct Tissue {
    seed: u64,
    extent: [f64; 2],
    scene: Scene,
    /// How often each class of tissue is drawn where nothing else decides.
    shares: [f32; 9],
    look: Look,
}

/// A part of a picture in pixels at the resolution it is painted at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First column; about a [`Scene::Section`] and [`Scene::Cores`] lies glass.
    pub x: i64,
    /// First row.
    pub y: i64,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// A painted window and the truth about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Painted {
    /// The pixels.
    pub image: Rgb8,
    /// One map of whole numbers for each of [`CHANNELS`]; 0 is none. Identifiers in the
    /// `INST` maps are the same in every window that shows the object.
    pub labels: BTreeMap<String, Grid<i32>>,
}

/// Why a tissue cannot be painted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SynthError {
    /// A side is not positive, or longer than [`LONGEST`].
    #[error(
        "a synthetic tissue of {width} × {height} µm cannot be planned: each side is to be between 1 and {LONGEST} µm"
    )]
    Extent {
        /// Width asked for, in µm.
        width: f64,
        /// Height asked for, in µm.
        height: f64,
    },
    /// The resolution is outside [`RESOLUTIONS`].
    #[error("synthetic tissue cannot be painted at {mpp} mpp: choose between {} and {} mpp", RESOLUTIONS.0, RESOLUTIONS.1)]
    Resolution {
        /// Resolution asked for, in µm per pixel.
        mpp: f64,
    },
    /// The class is none of the nine.
    #[error("there is no tissue class {class}: choose one from 0 (background) to 8 (adipose)")]
    Class {
        /// Class asked for.
        class: u8,
    },
    /// The window is wider or higher than [`WIDEST`], or has more than [`MOST_PIXELS`].
    #[error(
        "a window of {width} × {height} px is too large to paint at once: paint it in tiles of at most {WIDEST} px a side and {MOST_PIXELS} px"
    )]
    Window {
        /// Columns asked for.
        width: u32,
        /// Rows asked for.
        height: u32,
    },
    /// The window reaches beyond a tissue that has no glass around it.
    #[error(
        "a window of {width} × {height} px at {x}, {y} px reaches beyond the tissue, which is {} × {} px at {mpp} mpp", tissue[0], tissue[1]
    )]
    Outside {
        /// First column asked for.
        x: i64,
        /// First row asked for.
        y: i64,
        /// Columns asked for.
        width: u32,
        /// Rows asked for.
        height: u32,
        /// Columns and rows of the tissue.
        tissue: [u32; 2],
        /// Resolution asked for, in µm per pixel.
        mpp: f64,
    },
    /// The window lies further from the tissue than pixels are counted.
    #[error(
        "a window at {x}, {y} px lies too far away to paint: stay within {FURTHEST} px of the corner"
    )]
    Place {
        /// First column asked for.
        x: i64,
        /// First row asked for.
        y: i64,
    },
}

impl Tissue {
    /// Returns a piece of tissue on glass of `width` × `height` µm.
    pub fn section(seed: u64, width: f64, height: f64) -> Result<Self, SynthError> {
        Self::new(seed, width, height, Scene::Section)
    }

    /// Returns `width` × `height` µm of tissue of all classes.
    pub fn field(seed: u64, width: f64, height: f64) -> Result<Self, SynthError> {
        Self::new(seed, width, height, Scene::Field)
    }

    /// Returns `width` × `height` µm that show `scene`.
    pub fn new(seed: u64, width: f64, height: f64, scene: Scene) -> Result<Self, SynthError> {
        let fits = |side: f64| (1.0..=LONGEST).contains(&side);
        if !fits(width) || !fits(height) {
            return Err(SynthError::Extent { width, height });
        }
        if let Scene::Patch(class @ 9..) = scene {
            return Err(SynthError::Class { class });
        }
        let look = Look::draw(seed);
        Ok(Self {
            seed,
            extent: [width, height],
            scene,
            shares: sites::SHARES,
            look,
        })
    }

    /// Shows these classes of tissue alone, where nothing else decides; each as often beside the others as before.
    ///
    /// # Errors
    /// When there is none, or one that does not exist.
    pub fn of_classes(mut self, classes: &[u8]) -> Result<Self, SynthError> {
        let unknown = classes.iter().find(|&&class| class > 8);
        if let Some(&class) = unknown.or(classes.is_empty().then_some(&u8::MAX)) {
            return Err(SynthError::Class { class });
        }
        for (class, share) in (0..).zip(&mut self.shares) {
            if !classes.contains(&class) {
                *share = 0.0;
            }
        }
        Ok(self)
    }

    /// Returns the size of the whole picture in pixels at `mpp` µm per pixel.
    ///
    /// # Errors
    /// When the resolution is outside [`RESOLUTIONS`].
    pub fn pixels(&self, mpp: f64) -> Result<[u32; 2], SynthError> {
        if !(RESOLUTIONS.0..=RESOLUTIONS.1).contains(&mpp) {
            return Err(SynthError::Resolution { mpp });
        }
        Ok(self.extent.map(|side| (side / mpp).ceil() as u32))
    }
}

impl Tissue {
    /// Says whether glass surrounds the tissue.
    fn has_glass(&self) -> bool {
        matches!(self.scene, Scene::Section | Scene::Cores)
    }

    /// Says whether a window shows glass alone, without painting it; some windows of glass are not recognised.
    pub fn is_glass(&self, window: Window, mpp: f64) -> bool {
        let place = |at: i64| (at as f64 * mpp) as f32;
        let low = (place(window.x), place(window.y));
        let high = (
            place(window.x + i64::from(window.width)),
            place(window.y + i64::from(window.height)),
        );
        let sites = sites::Sites::about(self, low, high);
        sites
            .all()
            .iter()
            .all(|site| site.class == sites::class::GLASS)
    }

    /// Returns the colour of clean glass, as the scanner of this picture sees it.
    pub fn glass(&self) -> [u8; 3] {
        self.look.white.map(|white| white as u8)
    }
}

/// Paints one window of a tissue at `mpp` µm per pixel.
pub fn paint(tissue: &Tissue, window: Window, mpp: f64) -> Result<Painted, SynthError> {
    let Window {
        x,
        y,
        width,
        height,
    } = window;
    let whole = tissue.pixels(mpp)?;
    let fits = width.max(height) <= WIDEST && u64::from(width) * u64::from(height) <= MOST_PIXELS;
    if !fits {
        return Err(SynthError::Window { width, height });
    }
    if [x, y]
        .iter()
        .any(|place| !(-FURTHEST..=FURTHEST).contains(place))
    {
        return Err(SynthError::Place { x, y });
    }
    let within = |at: i64, side: u32, whole: u32| at >= 0 && at + i64::from(side) <= whole.into();
    let inside = within(x, width, whole[0]) && within(y, height, whole[1]);
    if !tissue.has_glass() && !inside {
        return Err(SynthError::Outside {
            x,
            y,
            width,
            height,
            tissue: whole,
            mpp,
        });
    }
    let frame = scanner::frame(&tissue.look, window, mpp);
    let mut canvas = canvas::Canvas::empty(frame, mpp);
    let plan = cells::Plan::about(tissue, &canvas);
    ground::paint(tissue, &plan, &mut canvas);
    for gland in &plan.glands {
        gland.paint(&mut canvas);
    }
    artefacts::beneath(tissue, &plan, &mut canvas);
    for nucleus in &plan.nuclei {
        nucleus.paint_cytoplasm(&mut canvas);
    }
    for nucleus in &plan.nuclei {
        nucleus.paint(&mut canvas);
    }
    artefacts::above(tissue, &mut canvas);
    let image = scanner::develop(tissue, &canvas, window);
    Ok(Painted {
        image,
        labels: canvas.labels(window),
    })
}

/// Paints a square of `size` px at `mpp` that is wholly of one class of the `Patch-Class` head.
pub fn patch(seed: u64, class: u8, size: u32, mpp: f64) -> Result<Painted, SynthError> {
    let side = (f64::from(size) * mpp).max(1.0);
    let tissue = Tissue::new(seed, side, side, Scene::Patch(class))?;
    let window = Window {
        x: 0,
        y: 0,
        width: size,
        height: size,
    };
    paint(&tissue, window, mpp)
}
