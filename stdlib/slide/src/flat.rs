//! PNG and JPEG pictures as slides of one level, decoded whole when first read.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use cerb_image::Rgb8;

use crate::SlideError;
use crate::jpeg::{self, Colour};
use crate::reader::{Description, Reader, Rect, Target};
use crate::slide::Level;

/// Largest picture held in memory, in pixels: 0.8 GB of RGB.
const MOST_PIXELS: u64 = 1 << 28;

/// The two formats.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Picture {
    /// PNG of any depth; transparency is put on white.
    Png,
    /// JPEG, its colours as its header says.
    Jpeg,
}

/// Recognises a picture by its first bytes.
pub(crate) fn picture(head: &[u8]) -> Option<Picture> {
    match head {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Picture::Png),
        [0xff, 0xd8, 0xff, ..] => Some(Picture::Jpeg),
        _ => None,
    }
}

/// A picture, decoded at most once.
pub(crate) struct Flat {
    path: PathBuf,
    picture: Picture,
    pixels: OnceLock<Result<Rgb8, String>>,
}

impl Flat {
    /// Reads the size; the pixels wait until they are needed.
    pub(crate) fn open(path: &Path, picture: Picture) -> Result<(Self, Description), SlideError> {
        let flat = Self {
            path: path.to_path_buf(),
            picture,
            pixels: OnceLock::new(),
        };
        let (format, size) = match picture {
            Picture::Png => (
                "png",
                flat.png()
                    .map(|reader| (reader.info().width, reader.info().height)),
            ),
            Picture::Jpeg => ("jpeg", flat.bytes().and_then(|data| jpeg::size(&data))),
        };
        let (width, height) = size.map_err(|what| flat.damaged(what))?;
        if u64::from(width) * u64::from(height) > MOST_PIXELS {
            return Err(SlideError::Unsupported {
                path: flat.path,
                what: format!(
                    "a picture of {width} × {height} px is too large to hold; \
                     store it as a tiled pyramid (TIFF)"
                ),
            });
        }
        let description = Description {
            format: format.to_owned(),
            levels: Level::pyramid(&[(width, height)]),
            why_no_resolution: "a picture states none that can be trusted".to_owned(),
            ..Description::default()
        };
        Ok((flat, description))
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        std::fs::read(&self.path).map_err(|error| error.to_string())
    }

    fn png(&self) -> Result<png::Reader<std::io::BufReader<std::fs::File>>, String> {
        let file = std::fs::File::open(&self.path).map_err(|error| error.to_string())?;
        let mut decoder = png::Decoder::new(std::io::BufReader::new(file));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        decoder
            .read_info()
            .map_err(|error| format!("its PNG data: {error}"))
    }

    fn decode(&self) -> Result<Rgb8, String> {
        match self.picture {
            Picture::Jpeg => {
                let (width, height, data) =
                    jpeg::decode(None, &self.bytes()?, Colour::FromHeader, |w, h| {
                        let small = u64::from(w) * u64::from(h) <= MOST_PIXELS;
                        if small {
                            Ok(())
                        } else {
                            Err("it grew since it was opened".to_owned())
                        }
                    })?;
                Ok(Rgb8 {
                    width,
                    height,
                    data,
                })
            }
            Picture::Png => {
                let mut reader = self.png()?;
                let size = reader
                    .output_buffer_size()
                    .ok_or("its PNG data are too large")?;
                let mut raw = vec![0; size];
                let info = reader
                    .next_frame(&mut raw)
                    .map_err(|error| format!("its PNG data: {error}"))?;
                raw.truncate(info.buffer_size());
                let on_white =
                    |v: u8, a: u8| ((u32::from(v) * u32::from(a) + 127) / 255) as u8 + (255 - a);
                let data = match info.color_type {
                    png::ColorType::Rgb => raw,
                    png::ColorType::Grayscale => raw.iter().flat_map(|&v| [v; 3]).collect(),
                    png::ColorType::GrayscaleAlpha => raw
                        .chunks_exact(2)
                        .flat_map(|p| [on_white(p[0], p[1]); 3])
                        .collect(),
                    png::ColorType::Rgba => raw
                        .chunks_exact(4)
                        .flat_map(|p| {
                            [
                                on_white(p[0], p[3]),
                                on_white(p[1], p[3]),
                                on_white(p[2], p[3]),
                            ]
                        })
                        .collect(),
                    png::ColorType::Indexed => {
                        return Err("its palette was not expanded".to_owned());
                    }
                };
                Ok(Rgb8 {
                    width: info.width,
                    height: info.height,
                    data,
                })
            }
        }
    }

    fn damaged(&self, what: String) -> SlideError {
        SlideError::Damaged {
            path: self.path.clone(),
            what,
        }
    }
}

impl Reader for Flat {
    fn read(&self, _level: usize, rect: Rect, target: Target<'_>) -> Result<(), SlideError> {
        let image = self.pixels.get_or_init(|| self.decode()).as_ref();
        let image = image.map_err(|what| self.damaged(what.clone()))?;
        if image.width < rect.x + rect.width || image.height < rect.y + rect.height {
            return Err(self.damaged("it shrank since it was opened".to_owned()));
        }
        for row in 0..rect.height {
            let from = 3 * ((rect.y + row) as usize * image.width as usize + rect.x as usize);
            let (to, length) = (row as usize * target.stride, 3 * rect.width as usize);
            target.data[to..to + length].copy_from_slice(&image.data[from..from + length]);
        }
        Ok(())
    }

    fn associated(&self, name: &str) -> Result<Rgb8, SlideError> {
        Err(SlideError::BadRequest {
            path: self.path.clone(),
            why: format!("it has no image called `{name}`"),
        })
    }
}
