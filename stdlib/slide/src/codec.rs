//! Undoes the compressions of TIFF blocks (tiles and strips) into 8-bit RGB.

use std::io::Read;

use crate::jpeg::{self, Colour};

/// Compressions read natively (TIFF numbers in brackets).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    /// Stored (1).
    None,
    /// LZW, most significant bit first (5).
    Lzw,
    /// JPEG (7), with the shared tables of the directory.
    Jpeg {
        /// Quantisation and Huffman tables, a JPEG stream without image.
        tables: Option<Vec<u8>>,
        /// What the photometric entry says of the samples.
        colour: Colour,
    },
    /// zlib (8 and 32946).
    Deflate,
}

/// How the samples of a block lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Samples {
    /// Samples per pixel: 1 grey, 3 RGB, 4 RGB and something ignored.
    pub(crate) count: usize,
    /// Whether differences to the pixel on the left are stored (predictor 2).
    pub(crate) differences: bool,
    /// Whether 0 is white (photometric 0).
    pub(crate) inverted: bool,
}

/// Decodes one block of `width` × `height` pixels to RGB.
///
/// The last strip of a file may be stored at the height of the others, `full`.
pub(crate) fn decode(
    data: &[u8],
    compression: &Compression,
    samples: Samples,
    (width, height, full): (u32, u32, u32),
) -> Result<Vec<u8>, String> {
    let raw_size = width as usize * height as usize * samples.count;
    let raw = match compression {
        Compression::Jpeg { tables, colour } => {
            let (.., mut rgb) = jpeg::decode(tables.as_deref(), data, *colour, |w, h| {
                if w == width && (height..=full.max(height)).contains(&h) {
                    Ok(())
                } else {
                    Err(format!(
                        "it is {w} × {h} px, where {width} × {height} belong"
                    ))
                }
            })?;
            rgb.truncate(3 * width as usize * height as usize);
            return Ok(rgb);
        }
        Compression::None => data
            .get(..raw_size)
            .map(<[u8]>::to_vec)
            .ok_or_else(|| format!("it has {} bytes, where {raw_size} belong", data.len()))?,
        Compression::Lzw => lzw(data, raw_size)?,
        Compression::Deflate => {
            let mut raw = vec![0; raw_size];
            flate2::read::ZlibDecoder::new(data)
                .read_exact(&mut raw)
                .map_err(|error| format!("its deflate data: {error}"))?;
            raw
        }
    };
    Ok(to_rgb(raw, samples, width as usize))
}

fn lzw(data: &[u8], size: usize) -> Result<Vec<u8>, String> {
    let mut raw = vec![0; size];
    let mut decoder = weezl::decode::Decoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8);
    let (mut from, mut to) = (0, 0);
    while to < size {
        let step = decoder.decode_bytes(&data[from..], &mut raw[to..]);
        from += step.consumed_in;
        to += step.consumed_out;
        match step.status {
            Ok(weezl::LzwStatus::Ok) if step.consumed_in + step.consumed_out > 0 => {}
            Ok(_) => break,
            Err(error) => return Err(format!("its LZW data: {error}")),
        }
    }
    if to == size {
        Ok(raw)
    } else {
        Err(format!("it has {to} bytes of pixels, where {size} belong"))
    }
}

fn to_rgb(mut raw: Vec<u8>, samples: Samples, width: usize) -> Vec<u8> {
    let n = samples.count;
    if samples.differences {
        for row in raw.chunks_exact_mut(width * n) {
            for i in n..row.len() {
                row[i] = row[i].wrapping_add(row[i - n]);
            }
        }
    }
    if samples.inverted {
        raw.iter_mut().for_each(|v| *v = 255 - *v);
    }
    match n {
        3 => raw,
        1 => raw.iter().flat_map(|&v| [v; 3]).collect(),
        _ => raw
            .chunks_exact(n)
            .flat_map(|p| [p[0], p[1], p[2]])
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RGB: Samples = Samples {
        count: 3,
        differences: false,
        inverted: false,
    };

    #[test]
    fn predictor_adds_the_pixel_on_the_left() {
        let samples = Samples {
            differences: true,
            ..RGB
        };
        let rgb = decode(
            &[1, 2, 3, 1, 1, 255],
            &Compression::None,
            samples,
            (2, 1, 1),
        )
        .unwrap();
        assert_eq!(rgb, [1, 2, 3, 2, 3, 2]);
    }

    #[test]
    fn white_is_zero_is_inverted() {
        let samples = Samples {
            count: 1,
            differences: false,
            inverted: true,
        };
        let rgb = decode(&[0, 250], &Compression::None, samples, (2, 1, 1)).unwrap();
        assert_eq!(rgb, [255, 255, 255, 5, 5, 5]);
    }

    #[test]
    fn short_blocks_are_errors() {
        for compression in [Compression::None, Compression::Lzw, Compression::Deflate] {
            assert!(
                decode(&[1, 2, 3], &compression, RGB, (100, 100, 100)).is_err(),
                "{compression:?}"
            );
        }
    }

    #[test]
    fn lzw_round_trip() {
        let pixels: Vec<u8> = (0..30_000_u32).map(|i| (i * i % 251) as u8).collect();
        let packed = weezl::encode::Encoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8)
            .encode(&pixels)
            .unwrap();
        assert_eq!(
            decode(&packed, &Compression::Lzw, RGB, (100, 100, 100)).unwrap(),
            pixels
        );
    }
}
