//! OpenSlide looked up at run time reads what the native reader reads, and DICOM.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod common;

use std::path::PathBuf;
use std::sync::OnceLock;

use cerb_slide::{Outside, Slide};

/// Finds a library: `CERB_OPENSLIDE_LIB`, one the system has, or the wheel's in the venv.
fn library(test: &str) -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    let found = *FOUND.get_or_init(|| {
        if std::env::var_os("CERB_OPENSLIDE_LIB").is_none()
            && let Some(wheel) = wheel()
        {
            // SAFETY: the first thing each test here does, behind one lock; nothing else reads
            // the environment of this process meanwhile.
            unsafe { std::env::set_var("CERB_OPENSLIDE_LIB", wheel) };
        }
        openslide_sys::load()
            .map(|version| println!("OpenSlide {version}"))
            .is_ok()
    });
    if !found {
        common::skip(test, "no OpenSlide library (CERB_OPENSLIDE_LIB)");
    }
    found
}

fn wheel() -> Option<PathBuf> {
    let lib = common::python("OpenSlide's wheel")?
        .parent()?
        .parent()?
        .join("lib");
    std::fs::read_dir(lib).ok()?.flatten().find_map(|python| {
        let library = python
            .path()
            .join("site-packages/openslide_bin/libopenslide.so.1");
        library.is_file().then_some(library)
    })
}

#[test]
fn both_readers_agree_on_svs() {
    if !library("both_readers_agree_on_svs") {
        return;
    }
    for path in [common::cmu(), common::fixture("skin-small.svs")] {
        let native = Slide::open(&path, None).unwrap();
        let foreign = Slide::open_with_openslide(&path, None).unwrap();
        assert_eq!(
            (native.info().reader, foreign.info().reader),
            ("native", "openslide")
        );
        assert_eq!(native.info().levels, foreign.info().levels);
        assert_eq!(native.mpp().unwrap(), foreign.mpp().unwrap());
        assert_eq!(native.info().magnification, foreign.info().magnification);
        for level in 0..native.info().levels.len() {
            for (x, y, w, h) in [(0, 0, 512, 512), (-30, 100, 200, 100), (400, 400, 300, 300)] {
                let read =
                    |slide: &Slide| slide.read_level(level, x, y, w, h, Outside::White).unwrap();
                assert!(
                    read(&native) == read(&foreign),
                    "{path:?} level {level} ({x}, {y})"
                );
            }
        }
        for name in &native.info().associated {
            assert!(
                native.read_associated(name).unwrap() == foreign.read_associated(name).unwrap(),
                "{name}"
            );
        }
    }
}

#[test]
fn dicom_is_read_by_openslide() {
    if !library("dicom_is_read_by_openslide") {
        return;
    }
    if openslide_sys::load().unwrap().starts_with('3') {
        return common::skip("dicom_is_read_by_openslide", "OpenSlide 3 reads no DICOM");
    }
    let dicom = Slide::open(&common::fixture("skin-small-dicom/volume-2048.dcm"), None).unwrap();
    assert_eq!(
        (dicom.info().format.as_str(), dicom.info().reader),
        ("dicom", "openslide")
    );
    assert!((dicom.mpp().unwrap() - 0.2495).abs() < 1e-6);
    // Its frames are the tiles of the SVS file, copied.
    let svs = Slide::open(&common::fixture("skin-small.svs"), None).unwrap();
    let read = |slide: &Slide| {
        slide
            .read_level(0, 500, 700, 600, 400, Outside::White)
            .unwrap()
    };
    assert!(read(&dicom) == read(&svs));
}

#[test]
fn what_is_no_slide_for_openslide_either_is_said_so() {
    if !library("what_is_no_slide_for_openslide_either_is_said_so") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "not a slide").unwrap();
    let error = Slide::open(&path, None).unwrap_err();
    assert_eq!(error.code(), "slide::not_a_slide");
    assert!(error.to_string().contains("notes.txt"), "{error}");
}
