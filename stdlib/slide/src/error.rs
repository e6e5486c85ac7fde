//! What can go wrong with a slide, each said with the file and the way out.

use std::path::PathBuf;

/// Why a slide cannot be opened or read.
#[derive(Debug, thiserror::Error)]
pub enum SlideError {
    /// The operating system refuses the file.
    #[error("cannot read `{}`: {source}", path.display())]
    Io {
        /// The slide.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is no image that can be read here.
    #[error("`{}` is not a slide: {why}", path.display())]
    NotASlide {
        /// The file.
        path: PathBuf,
        /// What was seen instead.
        why: String,
    },
    /// The file contradicts itself or ends too early.
    #[error("`{}` is damaged: {what}", path.display())]
    Damaged {
        /// The slide.
        path: PathBuf,
        /// The place and what is wrong there.
        what: String,
    },
    /// One tile or strip cannot be decoded.
    #[error(
        "`{}` is damaged: tile at column {column}, row {row} of level {level}, {} × {} px from ({}, {}): {why}",
        path.display(), size[0], size[1], corner[0], corner[1]
    )]
    Tile {
        /// The slide.
        path: PathBuf,
        /// Level of the tile, 0 the largest; an image beside the levels is named in `why`.
        level: usize,
        /// Column of the tile.
        column: u32,
        /// Row of the tile; of a file in strips the strip's number.
        row: u32,
        /// Its first pixel in the level, x and y.
        corner: [u32; 2],
        /// Its pixels, across and down.
        size: [u32; 2],
        /// What the decoder says.
        why: String,
    },
    /// A well-formed file that neither the native reader nor OpenSlide can read.
    #[error("`{}` cannot be read: {what}", path.display())]
    Unsupported {
        /// The slide.
        path: PathBuf,
        /// The feature that is missing.
        what: String,
    },
    /// The file needs OpenSlide, which is not installed.
    #[error(
        "`{}` needs OpenSlide ({why}), which was not found: {reason}; install it with \
         `apt-get install libopenslide0`, or with `pip install openslide-bin` and \
         {} set to its `libopenslide.so.1`",
        path.display(),
        openslide_sys::LIBRARY_VARIABLE
    )]
    NeedsOpenSlide {
        /// The slide.
        path: PathBuf,
        /// Why the native reader does not do.
        why: String,
        /// What the loader says.
        reason: String,
    },
    /// OpenSlide reports an error.
    #[error("OpenSlide cannot read `{}`: {message}", path.display())]
    OpenSlide {
        /// The slide.
        path: PathBuf,
        /// OpenSlide's words.
        message: String,
    },
    /// Neither the file nor the caller states a resolution.
    #[error(
        "`{}` has no resolution: {why}; state it, `slide.scan(…, mpp: 0.25 mpp)`, \
         or in the column `mpp` of the cohort table",
        path.display()
    )]
    NoMpp {
        /// The slide.
        path: PathBuf,
        /// What was looked at.
        why: String,
    },
    /// A resolution that no slide has.
    #[error(
        "`{}` has an impossible resolution: {mpp} mpp from {from}, outside 0.05 to 4 mpp; \
         state the right one, `slide.scan(…, mpp: 0.25 mpp)`",
        path.display()
    )]
    MppOutOfRange {
        /// The slide.
        path: PathBuf,
        /// The value, in µm per pixel.
        mpp: f64,
        /// Where it was found.
        from: String,
    },
    /// The resolutions along x and y are not those of one slide.
    #[error(
        "`{}` has conflicting resolutions: {x} mpp along x and {y} mpp along y from {from}; \
         state the right one, `slide.scan(…, mpp: 0.25 mpp)`",
        path.display()
    )]
    MppConflict {
        /// The slide.
        path: PathBuf,
        /// µm per pixel along x.
        x: f64,
        /// µm per pixel along y.
        y: f64,
        /// Where they were found.
        from: String,
    },
    /// Pixels finer than the scanner made were asked for.
    #[error(
        "`{}` has {mpp} mpp: reading it at {at} mpp enlarges {factor:.2} times, more than {limit}; \
         read at a coarser resolution, or allow upsampling",
        path.display()
    )]
    Upsampling {
        /// The slide.
        path: PathBuf,
        /// Resolution asked for.
        at: f64,
        /// Resolution of the finest level.
        mpp: f64,
        /// How much it would be enlarged.
        factor: f64,
        /// The largest factor that needs no asking.
        limit: f64,
    },
    /// The call makes no sense for this slide.
    #[error("cannot read that from `{}`: {why}", path.display())]
    BadRequest {
        /// The slide.
        path: PathBuf,
        /// What is wrong with the request.
        why: String,
    },
    /// The file is not the one that was listed.
    #[error(
        "`{}` changed while it was in use: it had {expected} bytes when it was listed and has {found} now; \
         run again",
        path.display()
    )]
    Changed {
        /// The slide.
        path: PathBuf,
        /// Bytes when listed.
        expected: u64,
        /// Bytes now.
        found: u64,
    },
}

impl SlideError {
    /// Returns the stable code of the error, for instance `slide::no_mpp`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "slide::io",
            Self::NotASlide { .. } => "slide::not_a_slide",
            Self::Damaged { .. } => "slide::damaged",
            Self::Tile { .. } => "slide::tile",
            Self::Unsupported { .. } => "slide::unsupported",
            Self::NeedsOpenSlide { .. } => "slide::needs_openslide",
            Self::OpenSlide { .. } => "slide::openslide",
            Self::NoMpp { .. } => "slide::no_mpp",
            Self::MppOutOfRange { .. } => "slide::mpp_out_of_range",
            Self::MppConflict { .. } => "slide::mpp_conflict",
            Self::Upsampling { .. } => "slide::upsampling",
            Self::BadRequest { .. } => "slide::bad_request",
            Self::Changed { .. } => "slide::changed",
        }
    }
}
