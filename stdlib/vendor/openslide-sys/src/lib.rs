//! OpenSlide's C functions, looked up in the shared library when first used.
//!
//! Stands in for the `openslide-sys` on crates.io, which links OpenSlide when the
//! program is built. The program so starts where OpenSlide is not installed; call
//! [`load`] first and read its error. A function called without a library answers
//! as OpenSlide does on failure (null, -1, or nothing), and never panics.

use std::ffi::OsString;
use std::sync::OnceLock;

/// Names the environment variable that holds the path of the library.
pub const LIBRARY_VARIABLE: &str = "CERB_OPENSLIDE_LIB";

#[cfg(target_os = "macos")]
const NAMES: &[&str] = &[
    "libopenslide.1.dylib",
    "/opt/homebrew/lib/libopenslide.1.dylib",
    "/usr/local/lib/libopenslide.1.dylib",
    "libopenslide.0.dylib",
];
#[cfg(windows)]
const NAMES: &[&str] = &["libopenslide-1.dll", "libopenslide-0.dll"];
#[cfg(not(any(target_os = "macos", windows)))]
const NAMES: &[&str] = &["libopenslide.so.1", "libopenslide.so.0"];

/// A loaded library, or the sentence that says why there is none.
static LOADED: OnceLock<Result<sys::Functions, String>> = OnceLock::new();

/// Looks the library up once and returns its version, for instance `4.0.1`.
///
/// `CERB_OPENSLIDE_LIB` alone is tried when it is set, so that a wrong path is seen;
/// otherwise the names under which OpenSlide is installed on this system.
pub fn load() -> Result<String, String> {
    let functions = loaded().as_ref().map_err(Clone::clone)?;
    // SAFETY: the function was resolved by its name from OpenSlide, and returns a static string.
    let version = unsafe { (functions.openslide_get_version)() };
    if version.is_null() {
        return Err("the library found does not say its version".to_owned());
    }
    // SAFETY: not null, and a C string by the library's contract.
    Ok(unsafe { std::ffi::CStr::from_ptr(version) }
        .to_string_lossy()
        .into_owned())
}

fn loaded() -> &'static Result<sys::Functions, String> {
    LOADED.get_or_init(
        || match std::env::var_os(LIBRARY_VARIABLE).filter(|v| !v.is_empty()) {
            Some(path) => resolve(&path).map_err(|why| format!("{LIBRARY_VARIABLE}: {why}")),
            None => {
                let mut reasons = Vec::new();
                for name in NAMES {
                    match resolve(&OsString::from(name)) {
                        Ok(functions) => return Ok(functions),
                        Err(why) => reasons.push(why),
                    }
                }
                Err(reasons.join("; "))
            }
        },
    )
}

fn resolve(path: &OsString) -> Result<sys::Functions, String> {
    // SAFETY: loading runs the library's initialisers; OpenSlide's (and GLib's) are made for it.
    let library = unsafe { libloading::Library::new(path) }.map_err(|error| {
        let system = std::error::Error::source(&error).map(ToString::to_string);
        format!(
            "cannot load `{}`: {}",
            path.display(),
            system.unwrap_or_else(|| error.to_string())
        )
    })?;
    let functions = sys::Functions::of(&library)?;
    // Never unloaded: the functions are kept for the life of the process.
    std::mem::forget(library);
    Ok(functions)
}

/// The C interface under the names that bindgen gives it.
pub mod sys {
    use std::ffi::{c_char, c_double, c_int, c_void};

    /// An open slide.
    #[repr(C)]
    #[derive(Debug)]
    pub struct openslide_t {
        _private: [u8; 0],
    }

    /// A cache of tiles (OpenSlide 4).
    #[repr(C)]
    #[derive(Debug)]
    pub struct openslide_cache_t {
        _private: [u8; 0],
    }

    macro_rules! functions {
        ($(fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty = $failed:expr)?;)*
         optional $(fn $oname:ident($($oarg:ident: $oty:ty),*) $(-> $oret:ty = $ofailed:expr)?;)*) => {
            /// Every function as found in the library.
            pub(crate) struct Functions {
                $(pub(crate) $name: unsafe extern "C" fn($($ty),*) $(-> $ret)?,)*
                $($oname: Option<unsafe extern "C" fn($($oty),*) $(-> $oret)?>,)*
            }

            impl Functions {
                pub(crate) fn of(library: &libloading::Library) -> Result<Self, String> {
                    // SAFETY: the types are those of openslide.h, version 3.4 and later.
                    unsafe {
                        Ok(Self {
                            $($name: *library.get(concat!(stringify!($name), "\0").as_bytes())
                                .map_err(|error| error.to_string())?,)*
                            $($oname: library.get(concat!(stringify!($oname), "\0").as_bytes())
                                .ok().map(|symbol| *symbol),)*
                        })
                    }
                }
            }

            $(
                /// See `openslide.h`.
                ///
                /// # Safety
                /// As the C function says.
                pub unsafe fn $name($($arg: $ty),*) $(-> $ret)? {
                    match super::loaded() {
                        Ok(functions) => unsafe { (functions.$name)($($arg),*) },
                        Err(_) => functions!(@failed $($failed)?),
                    }
                }
            )*
            $(
                /// See `openslide.h`; absent from OpenSlide 3.
                ///
                /// # Safety
                /// As the C function says.
                pub unsafe fn $oname($($oarg: $oty),*) $(-> $oret)? {
                    match super::loaded().as_ref().ok().and_then(|functions| functions.$oname) {
                        Some(function) => unsafe { function($($oarg),*) },
                        None => functions!(@failed $($ofailed)?),
                    }
                }
            )*
        };
        (@failed) => { () };
        (@failed $value:expr) => { $value };
    }

    functions! {
        fn openslide_get_version() -> *const c_char = std::ptr::null();
        fn openslide_detect_vendor(filename: *const c_char) -> *const c_char = std::ptr::null();
        fn openslide_open(filename: *const c_char) -> *mut openslide_t = std::ptr::null_mut();
        fn openslide_close(osr: *mut openslide_t);
        fn openslide_get_error(osr: *mut openslide_t) -> *const c_char = std::ptr::null();
        fn openslide_get_level_count(osr: *mut openslide_t) -> c_int = -1;
        fn openslide_get_level_dimensions(osr: *mut openslide_t, level: c_int, w: *mut i64, h: *mut i64);
        fn openslide_get_level0_dimensions(osr: *mut openslide_t, w: *mut i64, h: *mut i64);
        fn openslide_get_level_downsample(osr: *mut openslide_t, level: c_int) -> c_double = -1.0;
        fn openslide_get_best_level_for_downsample(osr: *mut openslide_t, downsample: c_double) -> c_int = -1;
        fn openslide_read_region(osr: *mut openslide_t, dest: *mut u32, x: i64, y: i64, level: c_int, w: i64, h: i64);
        fn openslide_get_property_names(osr: *mut openslide_t) -> *const *const c_char = std::ptr::null();
        fn openslide_get_property_value(osr: *mut openslide_t, name: *const c_char) -> *const c_char = std::ptr::null();
        fn openslide_get_associated_image_names(osr: *mut openslide_t) -> *const *const c_char = std::ptr::null();
        fn openslide_get_associated_image_dimensions(osr: *mut openslide_t, name: *const c_char, w: *mut i64, h: *mut i64);
        fn openslide_read_associated_image(osr: *mut openslide_t, name: *const c_char, dest: *mut u32);
        optional
        fn openslide_get_icc_profile_size(osr: *mut openslide_t) -> i64 = -1;
        fn openslide_read_icc_profile(osr: *mut openslide_t, dest: *mut c_void);
        fn openslide_get_associated_image_icc_profile_size(osr: *mut openslide_t, name: *const c_char) -> i64 = -1;
        fn openslide_read_associated_image_icc_profile(osr: *mut openslide_t, name: *const c_char, dest: *mut c_void);
        fn openslide_cache_create(capacity: usize) -> *mut openslide_cache_t = std::ptr::null_mut();
        fn openslide_set_cache(osr: *mut openslide_t, cache: *mut openslide_cache_t);
        fn openslide_cache_release(cache: *mut openslide_cache_t);
    }
}
