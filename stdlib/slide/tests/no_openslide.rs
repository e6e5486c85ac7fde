//! Without OpenSlide the native formats are read, and a file that needs it says how to install it.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod common;

use cerb_slide::Slide;

#[test]
fn a_missing_library_is_an_error_that_says_how_to_install_it() {
    // SAFETY: the only test of this program, before anything else reads the environment.
    unsafe { std::env::set_var("CERB_OPENSLIDE_LIB", "/nowhere/libopenslide.so.1") };
    assert!(Slide::open(&common::cmu(), None).is_ok());

    let error =
        Slide::open(&common::fixture("skin-small-dicom/volume-2048.dcm"), None).unwrap_err();
    assert_eq!(error.code(), "slide::needs_openslide");
    let text = error.to_string();
    for part in [
        "volume-2048.dcm",
        "DICOM",
        "/nowhere/",
        "apt-get install libopenslide0",
        "openslide-bin",
        "CERB_OPENSLIDE_LIB",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.svs");
    std::fs::write(&path, "not a slide").unwrap();
    assert_eq!(
        Slide::open(&path, None).unwrap_err().code(),
        "slide::not_a_slide"
    );

    // A TIFF that is not for the native reader says what it found there.
    let error = Slide::open(&common::fixture("glands-small.nuclei.tif"), None).unwrap_err();
    assert_eq!(error.code(), "slide::needs_openslide");
    assert!(error.to_string().contains("[16] bits"), "{error}");
}
