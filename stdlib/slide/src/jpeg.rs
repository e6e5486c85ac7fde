//! JPEG decoding with libjpeg's own arithmetic, so that pixels equal OpenSlide's.
//!
//! The decoder is libjpeg-turbo's as kept by mozjpeg, built by a C compiler alone
//! (docs/decisions/0003-slide-reader.md). Its errors leave C by unwinding, which the
//! crate compiles its C code for; they are caught here and no panic hook sees them.

use std::mem::{MaybeUninit, transmute};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use mozjpeg_sys::{
    J_COLOR_SPACE, jpeg_common_struct, jpeg_create_decompress, jpeg_decompress_struct,
    jpeg_destroy_decompress, jpeg_error_mgr, jpeg_mem_src, jpeg_read_header, jpeg_read_scanlines,
    jpeg_start_decompress, jpeg_std_error,
};

/// How the samples of a file are to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    /// As the JPEG header says: a file of its own.
    FromHeader,
    /// RGB whatever the header says. Aperio stores RGB without the Adobe marker.
    Rgb,
    /// YCbCr whatever the header says.
    YCbCr,
}

/// Reads width and height from the header.
pub(crate) fn size(data: &[u8]) -> Result<(u32, u32), String> {
    run(|decoder| {
        decoder.header(data, true)?;
        Ok((decoder.info.image_width, decoder.info.image_height))
    })
}

/// Decodes `data` to RGB, after the shared `tables` when there are any.
///
/// `fits` judges width and height before memory is asked for them.
pub(crate) fn decode(
    tables: Option<&[u8]>,
    data: &[u8],
    colour: Colour,
    fits: impl FnOnce(u32, u32) -> Result<(), String>,
) -> Result<(u32, u32, Vec<u8>), String> {
    run(|decoder| {
        if let Some(tables) = tables {
            decoder.header(tables, false)?;
        }
        decoder.header(data, true)?;
        fits(decoder.info.image_width, decoder.info.image_height)?;
        decoder.pixels(colour)
    })
}

/// What libjpeg calls back with: its own manager first, since C sees only that.
#[repr(C)]
pub(crate) struct Errors {
    manager: jpeg_error_mgr,
}

impl Errors {
    /// Makes the manager; its address does not change, since it is boxed.
    pub(crate) fn new() -> Box<Self> {
        // SAFETY: a C structure for which all zeros is a value; libjpeg fills it in.
        let mut errors = unsafe {
            Box::new(Self {
                manager: MaybeUninit::zeroed().assume_init(),
            })
        };
        // SAFETY: the manager is in place.
        unsafe { jpeg_std_error(&mut errors.manager) };
        errors.manager.error_exit = Some(on_error);
        errors.manager.emit_message = Some(on_message);
        errors
    }

    /// Returns what C is to see.
    pub(crate) fn manager(&mut self) -> *mut jpeg_error_mgr {
        &mut self.manager
    }
}

/// A payload for unwinding out of C: libjpeg's sentence.
struct Failure(String);

struct Decoder {
    info: Box<jpeg_decompress_struct>,
    // Kept in place behind `info.common.err`.
    _errors: Box<Errors>,
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: created in `run`; destroying is allowed in every state.
        unsafe { jpeg_destroy_decompress(&mut self.info) };
    }
}

/// Makes a decoder, lets `work` use it, and turns what libjpeg reports into an error.
fn run<T>(work: impl FnOnce(&mut Decoder) -> Result<T, String>) -> Result<T, String> {
    caught(|| {
        // SAFETY: both structures are C structures for which all zeros is a value; libjpeg
        // fills them in, and their addresses do not change, since they are boxed.
        let mut decoder = unsafe {
            let mut errors = Errors::new();
            let mut info: Box<jpeg_decompress_struct> =
                Box::new(MaybeUninit::zeroed().assume_init());
            info.common.err = errors.manager();
            Decoder {
                info,
                _errors: errors,
            }
        };
        // SAFETY: the version and size are those of the structure the crate declares.
        unsafe { jpeg_create_decompress(&mut *decoder.info) };
        work(&mut decoder)
    })
}

/// Runs `attempt` and turns what libjpeg reports by unwinding into an error.
pub(crate) fn caught<T>(attempt: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(attempt)) {
        Ok(result) => result,
        Err(payload) => match payload.downcast::<Failure>() {
            Ok(failure) => Err(failure.0),
            Err(other) => resume_unwind(other),
        },
    }
}

impl Decoder {
    fn header(&mut self, data: &[u8], image: bool) -> Result<(), String> {
        if data.len() < 4 {
            return Err(format!("{} bytes are no JPEG", data.len()));
        }
        let length = data
            .len()
            .try_into()
            .map_err(|_| "too large for a JPEG".to_owned())?;
        // SAFETY: `data` outlives the reading of its header and pixels; libjpeg stays in bounds.
        unsafe {
            jpeg_mem_src(&mut self.info, data.as_ptr(), length);
            jpeg_read_header(&mut self.info, image.into());
        }
        Ok(())
    }

    fn pixels(&mut self, colour: Colour) -> Result<(u32, u32, Vec<u8>), String> {
        let info = &mut *self.info;
        match (info.num_components, colour) {
            (1, _) | (3, Colour::FromHeader) => {}
            (3, Colour::Rgb) => info.jpeg_color_space = J_COLOR_SPACE::JCS_RGB,
            (3, Colour::YCbCr) => info.jpeg_color_space = J_COLOR_SPACE::JCS_YCbCr,
            (n, _) => return Err(format!("it has {n} components, where 1 or 3 are read")),
        }
        info.out_color_space = J_COLOR_SPACE::JCS_EXT_RGB;
        // SAFETY: the header has been read; each row pointer has room for one row.
        unsafe {
            jpeg_start_decompress(info);
            let (width, height) = (info.output_width, info.output_height);
            let row = 3 * width as usize;
            if info.output_components != 3 {
                return Err(format!(
                    "it decodes to {} components",
                    info.output_components
                ));
            }
            let mut data = vec![0; row * height as usize];
            while info.output_scanline < height {
                let first = info.output_scanline as usize;
                let mut rows = [std::ptr::null_mut(); 16];
                let mut count = 0;
                for (slot, line) in rows
                    .iter_mut()
                    .zip(data[first * row..].chunks_exact_mut(row))
                {
                    *slot = line.as_mut_ptr();
                    count += 1;
                }
                if jpeg_read_scanlines(info, rows.as_mut_ptr(), count) == 0 {
                    return Err("its pixels end too early".to_owned());
                }
            }
            Ok((width, height, data))
        }
    }
}

/// Leaves libjpeg with its sentence; never returns.
unsafe extern "C-unwind" fn on_error(info: &mut jpeg_common_struct) {
    // SAFETY: libjpeg calls with its manager in place, and writes at most 200 bytes
    // (JMSG_LENGTH_MAX) of a C string, whatever the crate's type for the buffer says.
    let message = unsafe {
        let mut buffer = [0_u8; 256];
        if let Some(format) = (*info.err).format_message {
            let format: unsafe extern "C-unwind" fn(*mut jpeg_common_struct, *mut u8) =
                transmute(format);
            format(info, buffer.as_mut_ptr());
        }
        let end = buffer.iter().position(|&b| b == 0).unwrap_or(0);
        String::from_utf8_lossy(&buffer[..end]).into_owned()
    };
    resume_unwind(Box::new(Failure(message)));
}

/// Takes what libjpeg calls a warning for an error when pixels are lost by it.
unsafe extern "C-unwind" fn on_message(info: &mut jpeg_common_struct, level: std::ffi::c_int) {
    // SAFETY: libjpeg calls with its manager in place.
    unsafe {
        if level < 0 && PIXELS_LOST.contains(&(*info.err).msg_code) {
            on_error(info);
        }
    }
}

/// Bogus progression, hit marker, bad Huffman code, premature end, and resync (`jerror.h`).
const PIXELS_LOST: [i32; 5] = [
    mozjpeg_sys::JWRN_BOGUS_PROGRESSION,
    mozjpeg_sys::JWRN_HIT_MARKER,
    mozjpeg_sys::JWRN_HUFF_BAD_CODE,
    mozjpeg_sys::JWRN_JPEG_EOF,
    mozjpeg_sys::JWRN_MUST_RESYNC,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_an_error_and_no_panic() {
        for data in [&b""[..], b"\xff\xd8", b"not a jpeg at all", &[0xff; 64]] {
            assert!(decode(None, data, Colour::FromHeader, |_, _| Ok(())).is_err());
        }
    }

    #[test]
    fn the_error_is_libjpegs_sentence() {
        let why = size(b"not a jpeg at all").unwrap_err();
        assert!(why.contains("Not a JPEG file"), "{why}");
    }
}
