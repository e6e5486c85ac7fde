//! Every other format, through OpenSlide, which is looked up when a file needs it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use cerb_image::Rgb8;
use openslide_rs::{Address, OpenSlide, Region, Size, errors::OpenSlideError};

use crate::SlideError;
use crate::reader::{Description, Reader, Rect, Target};
use crate::slide::{Level, Resolution};

/// A slide held by OpenSlide.
pub(crate) struct Foreign {
    path: PathBuf,
    levels: Vec<Level>,
    // An error stays with OpenSlide's handle, so a fresh one takes its place.
    handle: RwLock<Arc<OpenSlide>>,
}

impl Foreign {
    /// Opens the slide; `why` says why the native reader does not do.
    pub(crate) fn open(path: &Path, why: &str) -> Result<(Self, Description), SlideError> {
        openslide_sys::load().map_err(|reason| SlideError::NeedsOpenSlide {
            path: path.to_path_buf(),
            why: why.to_owned(),
            reason,
        })?;
        let slide = OpenSlide::new(path).map_err(|error| failure(path, error))?;
        let property = |name: &str| slide.property_value(name).ok();
        let number = |name: &str| property(name).and_then(|value| value.trim().parse::<f64>().ok());
        let resolution = number("openslide.mpp-x")
            .zip(number("openslide.mpp-y"))
            .map(|(x, y)| Resolution {
                x,
                y,
                source: "`openslide.mpp-x` and `-y` of OpenSlide".to_owned(),
            });
        let levels: Vec<_> = slide
            .all_level_dimensions()
            .iter()
            .zip(slide.all_level_downsamples())
            .map(|(size, &downsample)| Level {
                width: size.w,
                height: size.h,
                downsample,
            })
            .collect();
        let description = Description {
            format: property("openslide.vendor").unwrap_or_else(|| "unknown".to_owned()),
            levels: levels.clone(),
            resolution,
            why_no_resolution: "OpenSlide finds none in it".to_owned(),
            magnification: number("openslide.objective-power"),
            associated: slide.associated_image_names().unwrap_or_default(),
        };
        let handle = RwLock::new(Arc::new(slide));
        Ok((
            Self {
                path: path.to_path_buf(),
                levels,
                handle,
            },
            description,
        ))
    }

    fn with<T>(
        &self,
        work: impl Fn(&OpenSlide) -> Result<T, OpenSlideError>,
    ) -> Result<T, SlideError> {
        let handle = self
            .handle
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        work(&handle).map_err(|error| {
            if let Ok(fresh) = OpenSlide::new(&self.path) {
                *self.handle.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
            }
            failure(&self.path, error)
        })
    }
}

impl Reader for Foreign {
    fn read(&self, level: usize, rect: Rect, target: Target<'_>) -> Result<(), SlideError> {
        // OpenSlide takes the corner in level-0 pixels.
        let downsample = self.levels[level].downsample;
        let corner = |v: u32| (f64::from(v) * downsample).round() as u32;
        let region = Region {
            address: Address {
                x: corner(rect.x),
                y: corner(rect.y),
            },
            level: level as u32,
            size: Size {
                w: rect.width,
                h: rect.height,
            },
        };
        let pixels = self.with(|slide| slide.read_region(&region))?;
        let rows = pixels.chunks_exact(4 * rect.width as usize);
        for (row, line) in rows.zip(target.data.chunks_mut(target.stride)) {
            on_white(row, line);
        }
        Ok(())
    }

    fn associated(&self, name: &str) -> Result<Rgb8, SlideError> {
        let (size, pixels) = self.with(|slide| slide.read_associated_buffer(name))?;
        let mut image = Rgb8::filled(size.w, size.h, [255; 3]);
        on_white(&pixels, &mut image.data);
        Ok(image)
    }
}

/// Puts OpenSlide's premultiplied, native-endian ARGB on white.
fn on_white(argb: &[u8], rgb: &mut [u8]) {
    for (pixel, out) in argb.chunks_exact(4).zip(rgb.chunks_exact_mut(3)) {
        let [a, r, g, b] =
            u32::from_ne_bytes([pixel[0], pixel[1], pixel[2], pixel[3]]).to_be_bytes();
        out.copy_from_slice(&[r, g, b].map(|v| v.saturating_add(255 - a)));
    }
}

fn failure(path: &Path, error: OpenSlideError) -> SlideError {
    let path = path.to_path_buf();
    match error {
        OpenSlideError::UnsupportedFile(_) => SlideError::NotASlide {
            path,
            why: "OpenSlide does not know its format either".to_owned(),
        },
        OpenSlideError::LibraryError(message) => SlideError::OpenSlide { path, message },
        other => SlideError::OpenSlide {
            path,
            message: other.to_string(),
        },
    }
}
