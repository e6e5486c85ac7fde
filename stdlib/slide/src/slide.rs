//! A slide of any format: what is known of it, and its pixels at a level.

use std::fmt;
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cerb_image::Rgb8;
use cerb_image::tiling::mirrored;
use cerb_store::Digest;

use crate::SlideError;
use crate::flat::{Flat, picture};
use crate::foreign::Foreign;
use crate::native::Native;
use crate::reader::{Description, Reader, Rect, Target};
use crate::tiff::is_tiff;

/// Resolutions that a slide can have, in µm per pixel: finer is no light microscope,
/// coarser no scan. What TIAToolbox's and dlup's users met outside were misread units.
pub const PLAUSIBLE_MPP: RangeInclusive<f64> = 0.05..=4.0;

/// Largest region read by one call, in pixels: 0.8 GB of RGB.
const MOST_PIXELS: u64 = 1 << 28;

/// One resolution of the pyramid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Level-0 pixels per pixel, the mean of both axes, as OpenSlide gives it.
    pub downsample: f64,
}

/// µm per level-0 pixel.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolution {
    /// Along x.
    pub x: f64,
    /// Along y.
    pub y: f64,
    /// Where it was found: `given`, or the place in the file.
    pub source: String,
}

/// What is known of a slide before a pixel is read.
#[derive(Clone, Debug, PartialEq)]
pub struct SlideInfo {
    /// Columns of level 0.
    pub width: u32,
    /// Rows of level 0.
    pub height: u32,
    /// The pyramid, largest first.
    pub levels: Vec<Level>,
    /// The resolution, not yet judged: [`Slide::mpp`] does that.
    pub mpp: Option<Resolution>,
    /// Nominal power of the objective; for display, a resolution it is not.
    pub magnification: Option<f64>,
    /// `aperio`, `ome-tiff`, `generic-tiff`, `tiff`, `png`, `jpeg`, or OpenSlide's vendor.
    pub format: String,
    /// Who reads it: `native`, `openslide` or `flat`.
    pub reader: &'static str,
    /// Images beside the pyramid: `label`, `macro`, `thumbnail`.
    pub associated: Vec<String>,
}

/// What a region shows beyond the edge of the slide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outside {
    /// White, as the background of a brightfield slide.
    #[default]
    White,
    /// Black, as the reference implementation of Cerberus pads.
    Black,
    /// The slide mirrored at its edge, which is not repeated.
    Mirror,
}

impl Outside {
    pub(crate) fn colour(self) -> [u8; 3] {
        match self {
            Self::White => [255; 3],
            Self::Black | Self::Mirror => [0; 3],
        }
    }

    /// Says which of `size` pixels stands at index `i`.
    pub(crate) fn place(self, i: i64, size: u32) -> Option<u32> {
        let inside = match self {
            Self::White | Self::Black => Some(i).filter(|i| (0..i64::from(size)).contains(i)),
            Self::Mirror => return Some(mirrored(i, size)),
        };
        inside.map(|i| i as u32)
    }
}

/// An open slide; clones share the file and its cache, threads share one value.
#[derive(Clone)]
pub struct Slide {
    pub(crate) inner: Arc<Inner>,
    /// Digest of its bytes, when it was opened as an artifact.
    pub(crate) content: Option<Digest>,
}

pub(crate) struct Inner {
    pub(crate) path: PathBuf,
    pub(crate) info: SlideInfo,
    pub(crate) why_no_mpp: String,
    pub(crate) reader: Box<dyn Reader>,
}

impl fmt::Debug for Slide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slide")
            .field("path", &self.inner.path)
            .field("info", &self.inner.info)
            .finish()
    }
}

impl Slide {
    /// Opens a slide; `given_mpp`, µm per pixel, goes before what the file states.
    pub fn open(path: &Path, given_mpp: Option<f64>) -> Result<Self, SlideError> {
        Self::from_reader(path, given_mpp, open_reader(path)?)
    }

    /// Opens a slide with OpenSlide whatever its format, to compare the readers.
    pub fn open_with_openslide(path: &Path, given_mpp: Option<f64>) -> Result<Self, SlideError> {
        Self::from_reader(path, given_mpp, foreign(path, "it was asked for")?)
    }

    fn from_reader(
        path: &Path,
        given_mpp: Option<f64>,
        opened: Opened,
    ) -> Result<Self, SlideError> {
        let (reader, description, by) = opened;
        let Description {
            format,
            levels,
            resolution,
            why_no_resolution,
            magnification,
            associated,
        } = description;
        let Some(first) = levels.first() else {
            let why = "it has no level".to_owned();
            return Err(SlideError::NotASlide {
                path: path.to_path_buf(),
                why,
            });
        };
        let given = given_mpp.map(|mpp| Resolution {
            x: mpp,
            y: mpp,
            source: "the pipeline".to_owned(),
        });
        let info = SlideInfo {
            width: first.width,
            height: first.height,
            mpp: given.or(resolution),
            levels,
            magnification,
            format,
            reader: by,
            associated,
        };
        let inner = Inner {
            path: path.to_path_buf(),
            info,
            why_no_mpp: why_no_resolution,
            reader,
        };
        Ok(Self {
            inner: Arc::new(inner),
            content: None,
        })
    }

    /// Returns what is known of the slide.
    pub fn info(&self) -> &SlideInfo {
        &self.inner.info
    }

    /// Returns the digest of the slide's bytes; `None` when it was opened by its path alone.
    pub fn content(&self) -> Option<Digest> {
        self.content
    }

    /// Returns the file that is read.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Bounds the memory that decoded tiles are kept in, in bytes, if they take more now.
    ///
    /// Without it a slide keeps up to 256 MiB. What is read does not depend on it, only how often a
    /// tile is decoded.
    pub fn keep_at_most(&self, bytes: u64) {
        self.inner.reader.keep_at_most(bytes);
    }

    /// Returns how many tiles have been decoded, by whatever thread or clone; 0 for a slide that
    /// OpenSlide reads, which keeps its own.
    pub fn decoded(&self) -> u64 {
        self.inner.reader.decoded()
    }

    /// Returns µm per level-0 pixel, the mean of both axes.
    ///
    /// Never a guess: a slide that states none, one outside [`PLAUSIBLE_MPP`], and axes that
    /// differ by more than a tenth are errors.
    pub fn mpp(&self) -> Result<f64, SlideError> {
        self.resolution().map(|[x, y]| (x + y) / 2.0)
    }

    pub(crate) fn resolution(&self) -> Result<[f64; 2], SlideError> {
        let path = self.inner.path.clone();
        let Some(Resolution { x, y, source }) = &self.inner.info.mpp else {
            return Err(SlideError::NoMpp {
                path,
                why: self.inner.why_no_mpp.clone(),
            });
        };
        for mpp in [*x, *y] {
            if !PLAUSIBLE_MPP.contains(&mpp) {
                return Err(SlideError::MppOutOfRange {
                    path,
                    mpp,
                    from: source.clone(),
                });
            }
        }
        if (x / y).max(y / x) > 1.1 {
            return Err(SlideError::MppConflict {
                path,
                x: *x,
                y: *y,
                from: source.clone(),
            });
        }
        Ok([*x, *y])
    }

    /// Reads `width` × `height` pixels of a level from (`x`, `y`) in the level's own pixels.
    pub fn read_level(
        &self,
        level: usize,
        x: i64,
        y: i64,
        width: u32,
        height: u32,
        outside: Outside,
    ) -> Result<Rgb8, SlideError> {
        let Some(&Level {
            width: columns,
            height: rows,
            ..
        }) = self.inner.info.levels.get(level)
        else {
            let levels = self.inner.info.levels.len();
            return Err(self.bad_request(format!(
                "it has {levels} levels, and level {level} is not one of them"
            )));
        };
        self.check_size(width, height)?;
        let mut image = Rgb8::filled(width, height, outside.colour());
        if width == 0 || height == 0 {
            return Ok(image);
        }
        let fold = |first: i64, count: u32, size: u32| -> Vec<Option<u32>> {
            (0..i64::from(count))
                .map(|i| outside.place(first.saturating_add(i), size))
                .collect()
        };
        let (xs, ys) = (fold(x, width, columns), fold(y, height, rows));
        let (Some((left, right)), Some((top, bottom))) = (span(&xs), span(&ys)) else {
            return Ok(image);
        };
        let rect = Rect {
            x: left,
            y: top,
            width: right - left,
            height: bottom - top,
        };
        let stride = 3 * width as usize;
        if outside != Outside::Mirror {
            // What is inside lies in one piece: decode straight into its place.
            let first =
                |places: &[Option<u32>]| places.iter().position(Option::is_some).unwrap_or(0);
            let start = first(&ys) * stride + 3 * first(&xs);
            self.inner.reader.read(
                level,
                rect,
                Target {
                    data: &mut image.data[start..],
                    stride,
                },
            )?;
            return Ok(image);
        }
        let mut source = Rgb8::filled(rect.width, rect.height, [0; 3]);
        let target = Target {
            data: &mut source.data,
            stride: 3 * rect.width as usize,
        };
        self.inner.reader.read(level, rect, target)?;
        for (j, row) in ys.iter().enumerate() {
            for (i, column) in xs.iter().enumerate() {
                if let (Some(column), Some(row)) = (column, row) {
                    image.set(i as u32, j as u32, source.at(column - left, row - top));
                }
            }
        }
        Ok(image)
    }

    /// Reads an image beside the pyramid, one of [`SlideInfo::associated`].
    ///
    /// Labels and macros may show a patient's name.
    pub fn read_associated(&self, name: &str) -> Result<Rgb8, SlideError> {
        self.inner.reader.associated(name)
    }

    pub(crate) fn check_size(&self, width: u32, height: u32) -> Result<(), SlideError> {
        if u64::from(width) * u64::from(height) > MOST_PIXELS {
            return Err(self.bad_request(format!(
                "a region of {width} × {height} px is too large for one call; read it in tiles"
            )));
        }
        Ok(())
    }

    pub(crate) fn bad_request(&self, why: String) -> SlideError {
        SlideError::BadRequest {
            path: self.inner.path.clone(),
            why,
        }
    }
}

fn span(places: &[Option<u32>]) -> Option<(u32, u32)> {
    let inside = places.iter().flatten();
    Some((*inside.clone().min()?, inside.max()? + 1))
}

type Opened = (Box<dyn Reader>, Description, &'static str);

/// Picks the reader by the first bytes, the name's ending only where they do not tell.
fn open_reader(path: &Path) -> Result<Opened, SlideError> {
    let not = |why: &str| SlideError::NotASlide {
        path: path.to_path_buf(),
        why: why.to_owned(),
    };
    let io = |source| SlideError::Io {
        path: path.to_path_buf(),
        source,
    };
    let meta = std::fs::metadata(path).map_err(io)?;
    if meta.is_dir() {
        return Err(not(
            "it is a folder; name a file in it (of DICOM, the largest level)",
        ));
    }
    if meta.len() == 0 {
        return Err(not("the file is empty"));
    }
    let mut head = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(132).read_to_end(&mut head))
        .map_err(io)?;
    let ending = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default()
        .to_ascii_lowercase();
    if is_tiff(&head) {
        return match Native::open(path) {
            Ok((reader, description)) => Ok((Box::new(reader), description, "native")),
            Err(SlideError::Unsupported { what, .. }) => foreign(path, &what),
            Err(error) => Err(error),
        };
    }
    // The index of a MIRAX slide is a JPEG of its overview.
    if let Some(picture) = picture(&head).filter(|_| ending != "mrxs") {
        let (reader, description) = Flat::open(path, picture)?;
        return Ok((Box::new(reader), description, "flat"));
    }
    match foreign_format(&head, &ending) {
        Some(format) => foreign(path, &format!("it is {format}")),
        None if openslide_sys::load().is_ok() => foreign(path, "its format is unknown here"),
        None => Err(not(
            "neither TIFF (SVS, OME-TIFF), PNG nor JPEG, nor a format of OpenSlide's",
        )),
    }
}

fn foreign(path: &Path, why: &str) -> Result<Opened, SlideError> {
    let (reader, description) = Foreign::open(path, why)?;
    Ok((Box::new(reader), description, "openslide"))
}

/// Names a format that only OpenSlide reads.
fn foreign_format(head: &[u8], ending: &str) -> Option<&'static str> {
    if head.get(128..132) == Some(b"DICM") {
        return Some("DICOM");
    }
    if head.starts_with(b"ZISRAWFILE") {
        return Some("Zeiss CZI");
    }
    if head.starts_with(b"SQLite format 3") && ending == "svslide" {
        return Some("Sakura");
    }
    match ending {
        "mrxs" => Some("MIRAX"),
        "vms" | "vmu" => Some("Hamamatsu"),
        "dcm" => Some("DICOM"),
        "czi" => Some("Zeiss CZI"),
        _ => None,
    }
}
