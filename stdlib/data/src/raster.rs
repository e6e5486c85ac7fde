//! Image files: pictures and label images as published sets have them, and PNG as datasets keep it.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Seek, Write};
use std::path::Path;

use cerb_image::{Grid, Rect, Rgb8};
use image::codecs::bmp::BmpDecoder;
use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::array::{MAX_BYTES, MAX_PIXELS, read_whole};
use crate::{DataError, Refused};

/// Longest side of an image that is read whole.
const MAX_SIDE: u32 = 1 << 16;

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    limits
}

fn bytes_of(path: &Path) -> Result<Vec<u8>, DataError> {
    read_whole(path, MAX_BYTES)
}

/// Refuses more pixels than are read whole.
fn check_size(width: u32, height: u32) -> Result<(), Refused> {
    let pixels = u64::from(width) * u64::from(height);
    if width.max(height) > MAX_SIDE || pixels > MAX_PIXELS {
        return Err(Refused::new(format!(
            "it claims {width} × {height} px; {MAX_PIXELS} px are read at most, and {MAX_SIDE} a side"
        )));
    }
    Ok(())
}

fn decode(bytes: &[u8]) -> Result<DynamicImage, Refused> {
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(Refused::new)?;
    reader.limits(limits());
    let decoder = reader.into_decoder().map_err(Refused::new)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    DynamicImage::from_decoder(decoder).map_err(Refused::new)
}

/// Reads a picture: PNG, JPEG, TIFF or BMP, whatever its name says; an alpha channel is dropped.
///
/// # Errors
/// When it cannot be read, is damaged, or claims more than 65,536 px a side or 512 million of them.
pub fn read_rgb(path: &Path) -> Result<Rgb8, DataError> {
    let image = decode(&bytes_of(path)?).map_err(|why| why.of(path))?;
    let image = image.into_rgb8();
    let (width, height) = image.dimensions();
    Rgb8::from_vec(width, height, image.into_raw())
        .ok_or_else(|| Refused::new("its size is not that of its pixels").of(path))
}

/// Reads a label image: grey of 1 to 16 bits, or the numbers of a palette's colours.
///
/// # Errors
/// When it cannot be read, is damaged, too large, or in colour.
pub fn read_labels(path: &Path) -> Result<Grid<i32>, DataError> {
    labels(&bytes_of(path)?).map_err(|why| why.of(path))
}

fn labels(bytes: &[u8]) -> Result<Grid<i32>, Refused> {
    match image::guess_format(bytes).map_err(Refused::new)? {
        ImageFormat::Png => png_labels(bytes),
        ImageFormat::Bmp => {
            let mut decoder = BmpDecoder::new(Cursor::new(bytes)).map_err(Refused::new)?;
            decoder.set_indexed_color(true);
            decoder.set_limits(limits()).map_err(Refused::new)?;
            let (width, height) = decoder.dimensions();
            check_size(width, height)?;
            let size = decoder.total_bytes();
            let channels = u64::from(decoder.color_type().bytes_per_pixel());
            let mut raw = vec![0; size as usize];
            decoder.read_image(&mut raw).map_err(Refused::new)?;
            grey(width, height, &raw, channels as usize)
        }
        _ => match decode_labels(bytes)? {
            DynamicImage::ImageLuma8(image) => {
                let (width, height) = image.dimensions();
                grey(width, height, image.as_raw(), 1)
            }
            DynamicImage::ImageLuma16(image) => {
                let (width, height) = image.dimensions();
                let data = image.as_raw().iter().map(|&v| v.into()).collect();
                Grid::from_vec(width as usize, height as usize, data).ok_or_else(odd)
            }
            DynamicImage::ImageRgb8(image) => {
                let (width, height) = image.dimensions();
                grey(width, height, image.as_raw(), 3)
            }
            DynamicImage::ImageRgba8(image) => {
                let (width, height) = image.dimensions();
                grey(width, height, image.as_raw(), 4)
            }
            _ => Err(Refused::new(
                "its pixels are no labels: save grey of 8 or 16 bits, or a PNG with a palette",
            )),
        },
    }
}

/// Decodes labels, whose numbers must stay what they are: few bits would be stretched to 8.
fn decode_labels(bytes: &[u8]) -> Result<DynamicImage, Refused> {
    let reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(Refused::new)?;
    let decoder = reader.into_decoder().map_err(Refused::new)?;
    match decoder.original_color_type() {
        few @ (ExtendedColorType::L1 | ExtendedColorType::L2 | ExtendedColorType::L4) => {
            Err(Refused::new(format!(
                "it has {} bits a pixel; save labels with 8 or 16, or as PNG",
                few.bits_per_pixel()
            )))
        }
        _ => decode(bytes),
    }
}

fn odd() -> Refused {
    Refused::new("its size is not that of its pixels")
}

/// Returns labels from interleaved bytes: colours are labels only where they are grey.
fn grey(width: u32, height: u32, raw: &[u8], channels: usize) -> Result<Grid<i32>, Refused> {
    let same = |pixel: &[u8]| pixel.iter().take(3).all(|v| *v == pixel[0]);
    if channels > 1 && !raw.chunks_exact(channels).all(same) {
        return Err(Refused::new(
            "it is in colour, and labels are grey values or a palette's numbers",
        ));
    }
    let data = raw
        .iter()
        .step_by(channels.max(1))
        .map(|&v| v.into())
        .collect();
    Grid::from_vec(width as usize, height as usize, data).ok_or_else(odd)
}

fn png_labels(bytes: &[u8]) -> Result<Grid<i32>, Refused> {
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let head = decoder.read_header_info().map_err(Refused::new)?;
    let (width, height) = (head.width, head.height);
    check_size(width, height)?;
    let mut reader = decoder.read_info().map_err(Refused::new)?;
    let (colour, depth) = reader.output_color_type();
    let size = reader
        .output_buffer_size()
        .filter(|&size| size as u64 <= MAX_BYTES);
    let size = size.ok_or_else(|| Refused::new(format!("it claims {width} × {height} px")))?;
    let mut raw = vec![0; size];
    let frame = reader.next_frame(&mut raw).map_err(Refused::new)?;
    let (w, bits) = (width as usize, depth as usize);
    match (colour, depth) {
        (png::ColorType::Rgb, png::BitDepth::Eight) => grey(width, height, &raw, 3),
        (png::ColorType::Rgba, png::BitDepth::Eight) => grey(width, height, &raw, 4),
        (png::ColorType::GrayscaleAlpha, png::BitDepth::Eight) => {
            let data = raw.iter().step_by(2).map(|&v| v.into()).collect();
            Grid::from_vec(w, height as usize, data).ok_or_else(odd)
        }
        (png::ColorType::Grayscale | png::ColorType::Indexed, _) => {
            let mut data = Vec::with_capacity(w * height as usize);
            for line in raw.chunks_exact(frame.line_size) {
                data.extend((0..w).map(|x| sample(line, x, bits)));
            }
            Grid::from_vec(w, height as usize, data).ok_or_else(odd)
        }
        _ => Err(Refused::new(
            "it is in colour, and labels are grey values or a palette's numbers",
        )),
    }
}

/// Returns value `x` of a line of PNG samples of 1, 2, 4, 8 or 16 bits.
fn sample(line: &[u8], x: usize, bits: usize) -> i32 {
    if bits == 16 {
        return i32::from(u16::from_be_bytes([line[2 * x], line[2 * x + 1]]));
    }
    let at = x * bits;
    let shift = 8 - bits - at % 8;
    i32::from(line[at / 8]) >> shift & ((1 << bits) - 1)
}

/// Writes a picture as PNG: the same pixels give the same bytes.
///
/// # Errors
/// When it has no pixel, or writing fails.
pub fn write_rgb(to: impl Write, image: &Rgb8) -> Result<(), Refused> {
    write(
        to,
        image.width,
        image.height,
        png::ColorType::Rgb,
        &image.data,
    )
}

/// Writes an array of bytes as a grey PNG.
///
/// # Errors
/// When it has no pixel, or writing fails.
pub fn write_grey(to: impl Write, grid: &Grid<u8>) -> Result<(), Refused> {
    let (width, height) = (grid.width as u32, grid.height as u32);
    write(to, width, height, png::ColorType::Grayscale, &grid.data)
}

fn write(
    to: impl Write,
    width: u32,
    height: u32,
    colour: png::ColorType,
    data: &[u8],
) -> Result<(), Refused> {
    let mut encoder = png::Encoder::new(to, width, height);
    encoder.set_color(colour);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Balanced);
    let mut writer = encoder.write_header().map_err(Refused::new)?;
    writer.write_image_data(data).map_err(Refused::new)?;
    writer.finish().map_err(Refused::new)
}

/// Reads a window of a PNG that [`write_rgb`] wrote; rows below it are not unpacked.
pub(crate) fn rgb_window(file: File, window: Rect) -> Result<Rgb8, Refused> {
    let (rect, data) = rows(BufReader::new(file), window, png::ColorType::Rgb)?;
    Rgb8::from_vec(rect.width() as u32, rect.height() as u32, data).ok_or_else(odd)
}

/// Reads a window of a PNG that [`write_grey`] wrote.
pub(crate) fn grey_window(file: File, window: Rect) -> Result<Grid<u8>, Refused> {
    let (rect, data) = rows(BufReader::new(file), window, png::ColorType::Grayscale)?;
    Grid::from_vec(rect.width(), rect.height(), data).ok_or_else(odd)
}

fn rows(
    from: impl BufRead + Seek,
    window: Rect,
    colour: png::ColorType,
) -> Result<(Rect, Vec<u8>), Refused> {
    let mut decoder = png::Decoder::new(from);
    decoder.set_transformations(png::Transformations::IDENTITY);
    let head = decoder.read_header_info().map_err(Refused::new)?;
    let (width, height) = (head.width as usize, head.height as usize);
    let kind = (head.color_type, head.bit_depth, head.interlaced);
    if kind != (colour, png::BitDepth::Eight, false) || width > 1 << 24 {
        return Err(Refused::new("it is not an image as datasets keep them"));
    }
    let rect = Rect {
        x0: window.x0.min(width),
        x1: window.x1.min(width),
        y0: window.y0.min(height),
        y1: window.y1.min(height),
    };
    let channels = colour.samples();
    let mut reader = decoder.read_info().map_err(Refused::new)?;
    let mut data = Vec::new();
    for y in 0..rect.y1 {
        let row = reader.next_row().map_err(Refused::new)?;
        let row = row.ok_or_else(|| Refused::new("it ends too early"))?;
        if y >= rect.y0 {
            data.extend_from_slice(&row.data()[rect.x0 * channels..rect.x1 * channels]);
        }
    }
    Ok((rect, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(colour: png::ColorType, depth: png::BitDepth, width: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, 1);
        encoder.set_color(colour);
        encoder.set_depth(depth);
        if colour == png::ColorType::Indexed {
            encoder.set_palette([9; 48].as_slice());
        }
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(data).unwrap();
        writer.finish().unwrap();
        bytes
    }

    #[test]
    fn labels_are_grey_values_or_places_in_a_palette() {
        use png::{BitDepth, ColorType};
        let read = |bytes: Vec<u8>| labels(&bytes).unwrap().data;
        let wide = png(ColorType::Grayscale, BitDepth::Sixteen, 2, &[1, 2, 0, 7]);
        assert_eq!(read(wide), [258, 7]);
        let palette = png(ColorType::Indexed, BitDepth::Four, 3, &[0x1f, 0x20]);
        assert_eq!(read(palette), [1, 15, 2]);
        let bits = png(ColorType::Grayscale, BitDepth::One, 3, &[0b1010_0000]);
        assert_eq!(read(bits), [1, 0, 1]);
        let grey = png(ColorType::Rgb, BitDepth::Eight, 1, &[5, 5, 5]);
        assert_eq!(read(grey), [5]);
        let colour = png(ColorType::Rgb, BitDepth::Eight, 1, &[5, 5, 6]);
        assert!(labels(&colour).is_err());
    }

    fn tiff<P: image::Pixel<Subpixel = S> + image::PixelWithColorType, S>(
        image: image::ImageBuffer<P, Vec<S>>,
    ) -> Vec<u8>
    where
        [S]: image::EncodableLayout,
        S: image::Primitive,
    {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Tiff).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn numbers_of_16_bits_stay_what_they_are_or_are_refused() {
        let wide = image::ImageBuffer::from_raw(2, 1, vec![300u16, 7]).unwrap();
        assert_eq!(
            labels(&tiff::<image::Luma<u16>, _>(wide)).unwrap().data,
            [300, 7]
        );
        let colour = image::ImageBuffer::from_raw(1, 1, vec![300u16; 3]).unwrap();
        assert!(labels(&tiff::<image::Rgb<u16>, _>(colour)).is_err());
    }

    /// A TIFF of one row of 1 bit a pixel.
    fn bits(row: u8) -> Vec<u8> {
        let mut bytes = b"II*\0\x08\0\0\0\x08\0".to_vec();
        let end = 10 + 8 * 12 + 4;
        for (tag, value) in [
            (256u16, 8u32),
            (257, 1),
            (258, 1),
            (259, 1),
            (262, 1),
            (273, end),
            (278, 1),
            (279, 1),
        ] {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(4u16.to_le_bytes());
            bytes.extend(1u32.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend([0; 4]);
        bytes.push(row);
        bytes
    }

    #[test]
    fn bits_that_would_be_stretched_are_refused() {
        assert_eq!(
            decode(&bits(0b1000_0000)).unwrap().into_luma8().as_raw()[..2],
            [255, 0]
        );
        let error = labels(&bits(0b1000_0000)).unwrap_err().to_string();
        assert!(error.contains("1 bits a pixel"), "{error}");
    }

    #[test]
    fn an_image_that_claims_more_than_memory_holds_is_refused_before_it_is_read() {
        // A header alone: 65,536 px a side of one bit would unpack to 512 MiB, and to 16 GiB of labels.
        let mut bytes = png(png::ColorType::Grayscale, png::BitDepth::One, 8, &[0]);
        bytes[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
        let mut hasher = flate2::Crc::new();
        hasher.update(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&hasher.sum().to_be_bytes());
        for error in [labels(&bytes).unwrap_err(), decode(&bytes).unwrap_err()] {
            assert!(
                error.to_string().contains("claims 65536 × 65536 px"),
                "{error}"
            );
        }
    }

    #[test]
    fn damaged_images_are_errors() {
        let bytes = png(png::ColorType::Rgb, png::BitDepth::Eight, 4, &[7; 12]);
        for end in 0..bytes.len() - 12 {
            assert!(decode(&bytes[..end]).is_err(), "{end}");
            assert!(labels(&bytes[..end]).is_err(), "{end}");
        }
    }
}
