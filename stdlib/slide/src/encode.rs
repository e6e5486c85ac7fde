//! JPEG encoding of tiles: baseline, colour at half the resolution, libjpeg's own arithmetic.

use std::ffi::{c_ulong, c_void};
use std::mem::MaybeUninit;
use std::ptr::null_mut;

use cerb_image::Rgb8;
use mozjpeg_sys::{
    J_COLOR_SPACE, JCP_FASTEST, JINT_COMPRESS_PROFILE, jpeg_c_set_int_param, jpeg_compress_struct,
    jpeg_create_compress, jpeg_destroy_compress, jpeg_finish_compress, jpeg_mem_dest,
    jpeg_set_defaults, jpeg_set_quality, jpeg_start_compress, jpeg_write_scanlines,
};

use crate::jpeg::{Errors, caught};

unsafe extern "C" {
    /// Frees what libjpeg's memory destination took.
    fn free(memory: *mut c_void);
}

struct Encoder {
    info: Box<jpeg_compress_struct>,
    // Kept in place behind `info.common.err`.
    _errors: Box<Errors>,
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // SAFETY: created in `encode`; destroying is allowed in every state.
        unsafe { jpeg_destroy_compress(&mut self.info) };
    }
}

/// Encodes an image at a quality from 1 to 100.
pub(crate) fn encode(image: &Rgb8, quality: u8) -> Result<Vec<u8>, String> {
    let row = 3 * image.width as usize;
    if row == 0 || image.data.len() != row * image.height as usize {
        return Err("it has no pixels".to_owned());
    }
    caught(|| {
        // SAFETY: both structures are C structures for which all zeros is a value; libjpeg fills
        // them in, and their addresses do not change, since they are boxed. It reads `row` bytes of
        // each line, and `out` and `size` live until it has finished.
        unsafe {
            let mut errors = Errors::new();
            let mut info: Box<jpeg_compress_struct> = Box::new(MaybeUninit::zeroed().assume_init());
            info.common.err = errors.manager();
            let mut encoder = Encoder {
                info,
                _errors: errors,
            };
            let info = &mut *encoder.info;
            jpeg_create_compress(info);
            let (mut out, mut size): (*mut u8, c_ulong) = (null_mut(), 0);
            jpeg_mem_dest(info, &mut out, &mut size);
            info.image_width = image.width;
            info.image_height = image.height;
            info.input_components = 3;
            info.in_color_space = J_COLOR_SPACE::JCS_RGB;
            // What mozjpeg does beyond libjpeg costs ten times as long for a tenth of the bytes.
            jpeg_c_set_int_param(info, JINT_COMPRESS_PROFILE, JCP_FASTEST as i32);
            jpeg_set_defaults(info);
            jpeg_set_quality(info, i32::from(quality.clamp(1, 100)), 1);
            jpeg_start_compress(info, 1);
            for line in image.data.chunks_exact(row) {
                let mut lines = [line.as_ptr()];
                jpeg_write_scanlines(info, lines.as_mut_ptr(), 1);
            }
            // Only now does `out` name what is to be freed: an error before leaks one buffer.
            jpeg_finish_compress(info);
            let bytes = std::slice::from_raw_parts(out, size as usize).to_vec();
            free(out.cast());
            Ok(bytes)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jpeg::{Colour, decode};

    #[test]
    fn what_is_encoded_is_decoded_again() {
        let pixel = |i: u32| [(i % 97) as u8 + 100, (i / 97 % 90) as u8 + 90, 180];
        let data = (0..97 * 90).flat_map(pixel).collect();
        let image = Rgb8::from_vec(97, 90, data).unwrap();
        let bytes = encode(&image, 95).unwrap();
        let (width, height, back) = decode(None, &bytes, Colour::YCbCr, |_, _| Ok(())).unwrap();
        assert_eq!((width, height), (97, 90));
        let worst = back.iter().zip(&image.data).map(|(a, b)| a.abs_diff(*b));
        assert!(worst.clone().max() < Some(40), "{:?}", worst.max());
        assert!(encode(&image, 30).unwrap().len() < bytes.len());
        assert_eq!(encode(&image, 95).unwrap(), bytes);
    }

    #[test]
    fn nothing_is_not_encoded() {
        assert!(encode(&Rgb8::filled(0, 0, [0; 3]), 90).is_err());
    }
}
