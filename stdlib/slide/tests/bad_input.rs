//! Files that lie, end early or are no slides: an error that names the file, and never a panic.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod common;

use std::path::{Path, PathBuf};

use cerb_slide::{Outside, Slide, SlideError, describe};

/// A folder for files made up here.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

fn refused(path: &Path) -> SlideError {
    let error = Slide::open(path, None).unwrap_err();
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(
        error.to_string().contains(name),
        "{error} does not name {name}"
    );
    error
}

/// A little-endian TIFF of one directory: entries (number, type, count, value) and pixels at byte 8.
fn tiff(entries: &[(u16, u16, u32, u32)], pixels: &[u8], next: u32) -> Vec<u8> {
    let mut bytes = b"II\x2a\0".to_vec();
    bytes.extend((8 + pixels.len() as u32).to_le_bytes());
    bytes.extend(pixels);
    bytes.extend((entries.len() as u16).to_le_bytes());
    for (number, kind, count, value) in entries {
        bytes.extend(number.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(next.to_le_bytes());
    bytes
}

/// Entries of a grey picture of 16 × 16 in one strip.
fn grey() -> Vec<(u16, u16, u32, u32)> {
    let strip = [
        (273, 4, 1, 8),
        (277, 3, 1, 1),
        (278, 3, 1, 16),
        (279, 4, 1, 256),
    ];
    [
        &[
            (256, 3, 1, 16),
            (257, 3, 1, 16),
            (258, 3, 1, 8),
            (259, 3, 1, 1),
            (262, 3, 1, 1),
        ],
        &strip[..],
    ]
    .concat()
}

fn with(changes: &[(u16, u16, u32, u32)]) -> Vec<u8> {
    let mut entries = grey();
    for change in changes {
        entries.retain(|entry| entry.0 != change.0);
        entries.push(*change);
    }
    entries.sort_unstable();
    tiff(&entries, &[7; 256], 0)
}

#[test]
fn the_made_up_tiff_is_sound() {
    let slide = Slide::open(&Files::new().write("a.tif", &with(&[])), Some(0.5));
    let image = slide
        .unwrap()
        .read_level(0, 0, 0, 16, 16, Outside::White)
        .unwrap();
    assert!(image.data.iter().all(|&v| v == 7));
}

#[test]
fn what_is_not_a_slide_is_refused_by_name() {
    let files = Files::new();
    assert_eq!(
        refused(&files.write("empty.svs", b"")).code(),
        "slide::not_a_slide"
    );
    assert!(
        refused(&files.write("empty.svs", b""))
            .to_string()
            .contains("empty")
    );
    assert!(matches!(
        refused(&files.0.path().join("absent.svs")),
        SlideError::Io { .. }
    ));
    assert!(refused(files.0.path()).to_string().contains("folder"));
    for bytes in [
        &b"II"[..],
        b"hello",
        &[0; 200],
        b"\xff\xd8\xff\xe0 no jpeg",
        b"\x89PNG\r\n\x1a\n no png",
    ] {
        refused(&files.write("x.bin", bytes));
    }
}

#[test]
fn a_truncated_slide_is_an_error_wherever_it_is_cut() {
    let whole = std::fs::read(common::cmu()).unwrap();
    let files = Files::new();
    let n = whole.len();
    // Every byte of header and end, where the directories are, and steps between.
    let cuts = (1..300)
        .chain(n - 600..n)
        .chain((300..n - 600).step_by(9973));
    for cut in cuts {
        refused(&files.write("cut.svs", &whole[..cut]));
    }
    for name in ["skin-small.ome.tif", "glands-small.tif"] {
        let whole = std::fs::read(common::fixture(name)).unwrap();
        for cut in (1..whole.len()).step_by(whole.len() / 150) {
            refused(&files.write("cut.tif", &whole[..cut]));
        }
    }
}

#[test]
fn flipped_bytes_never_panic() {
    let files = Files::new();
    let mut random = 1_u64;
    let mut next = move |below: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    for name in ["skin-small.svs", "skin-small.ome.tif", "glands-small.tif"] {
        let whole = std::fs::read(common::fixture(name)).unwrap();
        // Where the directories are: behind the offset in the header, and all over.
        for round in 0..150 {
            let mut bytes = whole.clone();
            for _ in 0..1 + next(4) {
                let at = match round % 3 {
                    0 => next(bytes.len()),
                    1 => next(1024),
                    _ => bytes.len() - 1 - next(4096),
                };
                bytes[at] = next(256) as u8;
            }
            if let Ok(slide) = Slide::open(&files.write("flipped.tif", &bytes), Some(0.25)) {
                for level in 0..slide.info().levels.len() {
                    let _ = slide.read_level(level, 0, 0, 700, 700, Outside::White);
                }
                for name in &slide.info().associated {
                    let _ = slide.read_associated(name);
                }
            }
        }
    }
}

#[test]
fn lying_entries_are_errors_that_say_what_is_wrong() {
    let files = Files::new();
    for (change, part) in [
        ((256, 3, 1, 0), "width of 0"),
        ((256, 4, 1, u32::MAX), "width of 4294967295"),
        ((279, 4, 1, 257 << 20), "truncated?"),
        (
            (273, 4, u32::MAX, 8),
            "4294967295 block offsets for 1 blocks",
        ),
        ((279, 4, 7, 8), "7 block sizes for 1 blocks"),
        ((278, 3, 1, 2), "1 block offsets for 8 blocks"),
        ((270, 2, u32::MAX, 8), "4294967295 values"),
        ((270, 2, 1 << 20, 8), "truncated?"),
        ((270, 99, 5, 8), "type 99"),
        ((262, 5, 1, 8), "type 5"),
        ((257, 2, 1, 8), "type 2"),
    ] {
        let error = refused(&files.write("lies.tif", &with(&[change])));
        assert_eq!(error.code(), "slide::damaged");
        assert!(error.to_string().contains(part), "{change:?}: {error}");
    }
    let huge = with(&[
        (322, 4, 1, 1 << 30),
        (323, 4, 1, 1 << 30),
        (324, 4, 1, 8),
        (325, 4, 1, 0),
    ]);
    assert!(
        refused(&files.write("huge.tif", &huge))
            .to_string()
            .contains("too large")
    );
    let empty = tiff(&[], &[7; 256], 0);
    assert!(
        refused(&files.write("none.tif", &empty))
            .to_string()
            .contains("0 entries")
    );
}

#[test]
fn directories_in_a_circle_are_an_error() {
    let files = Files::new();
    let circle = tiff(&grey(), &[7; 256], 8 + 256);
    let error = refused(&files.write("circle.tif", &circle)).to_string();
    assert!(error.contains("circle"), "{error}");
    // A SubIFDs entry that points to its own directory ends too.
    let xml = b"<OME xmlns=\"http://www.openmicroscopy.org/Schemas/OME/2016-06\"/>\0";
    let mut pixels = [7; 256];
    pixels[..xml.len()].copy_from_slice(xml);
    let mut entries = grey();
    entries.extend([(270, 2, xml.len() as u32, 8), (330, 4, 1, 8 + 256)]);
    entries.sort_unstable();
    let own = files.write("own.ome.tif", &tiff(&entries, &pixels, 0));
    assert!(Slide::open(&own, None).is_ok_and(|slide| slide.info().levels.len() == 2));
}

#[test]
fn a_corrupt_tile_is_an_error_that_names_it_and_the_others_are_read() {
    let path = common::fixture("skin-small.svs");
    let mut bytes = std::fs::read(&path).unwrap();
    // The tiles of level 0 come first in the file: break the 41st JPEG stream after its header.
    let starts: Vec<_> = (0..bytes.len() - 2)
        .filter(|&i| bytes[i..i + 3] == [0xff, 0xd8, 0xff])
        .collect();
    bytes[starts[40] + 700..starts[41]].fill(0xff);
    let files = Files::new();
    let slide = Slide::open(&files.write("broken.svs", &bytes), None).unwrap();
    let error = slide
        .read_level(0, 0, 0, 2048, 2048, Outside::White)
        .unwrap_err();
    assert_eq!(error.code(), "slide::tile");
    // 9 tiles a row: tile 40 is in row 4, column 4.
    assert!(
        error
            .to_string()
            .contains("column 4, row 4 of level 0, 240 × 240 px from (960, 960)"),
        "{error}"
    );
    assert!(slide.read_level(0, 0, 0, 900, 900, Outside::White).is_ok());
    assert!(
        slide
            .read_level(0, 1200, 1200, 800, 800, Outside::White)
            .is_ok()
    );
    assert!(
        slide
            .read_level(0, 1000, 1000, 10, 10, Outside::White)
            .is_err(),
        "an error is not kept as pixels"
    );
}

#[test]
fn no_resolution_is_an_error_that_names_the_remedy() {
    let files = Files::new();
    // Two rationals lie over the first pixels: 100 000 / 1 per cm is 0.1 µm, 72 per inch 353 µm.
    let stated = |unit: Option<u32>, per: u32| {
        let mut pixels = [7; 256];
        pixels[..4].copy_from_slice(&per.to_le_bytes());
        pixels[4..8].copy_from_slice(&1_u32.to_le_bytes());
        let mut entries = grey();
        entries.extend([(282, 5, 1, 8), (283, 5, 1, 8)]);
        entries.extend(unit.map(|unit| (296, 3, 1, unit)));
        entries.sort_unstable();
        tiff(&entries, &pixels, 0)
    };
    let mpp = |bytes: &[u8]| {
        Slide::open(&files.write("plain.tif", bytes), None)
            .unwrap()
            .mpp()
    };
    assert_eq!(mpp(&stated(Some(3), 100_000)).unwrap(), 0.1);
    assert_eq!(mpp(&stated(Some(2), 101_600)).unwrap(), 0.25);
    for bytes in [
        with(&[]),
        stated(None, 100_000),
        stated(Some(1), 100_000),
        stated(Some(2), 72),
    ] {
        let error = mpp(&bytes).unwrap_err();
        assert_eq!(error.code(), "slide::no_mpp");
        let text = error.to_string();
        assert!(
            text.contains("`slide.scan(…, mpp: 0.25 mpp)`") && text.contains("cohort table"),
            "{text}"
        );
    }
    assert!(
        mpp(&stated(Some(2), 72))
            .unwrap_err()
            .to_string()
            .contains("352.7")
    );
}

#[test]
fn an_impossible_resolution_is_an_error_with_value_and_source() {
    let files = Files::new();
    let svs = std::fs::read(common::fixture("skin-small.svs")).unwrap();
    let at = svs
        .windows(12)
        .position(|window| window == b"MPP = 0.2495")
        .unwrap();
    let mut bytes = svs.clone();
    bytes[at..at + 12].copy_from_slice(b"MPP = 0.0249");
    let error = Slide::open(&files.write("odd.svs", &bytes), None)
        .unwrap()
        .mpp()
        .unwrap_err();
    assert_eq!(error.code(), "slide::mpp_out_of_range");
    assert!(
        error
            .to_string()
            .contains("0.0249 mpp from `MPP` of the Aperio description"),
        "{error}"
    );
    let path = files.write("odd.svs", &bytes);
    assert!(
        describe(&path, None, "c0").is_err(),
        "a listing does not hide it"
    );
    assert_eq!(
        describe(&path, Some(0.25), "c0").unwrap()["mpp_source"],
        "the pipeline"
    );
    for given in [0.0, -1.0, 4.1, f64::NAN, f64::INFINITY] {
        assert_eq!(
            Slide::open(&path, Some(given))
                .unwrap()
                .mpp()
                .unwrap_err()
                .code(),
            "slide::mpp_out_of_range"
        );
    }
}

#[test]
fn requests_that_make_no_sense_are_errors() {
    let slide = Slide::open(&common::cmu(), None).unwrap();
    let options = cerb_slide::ReadOptions::default();
    assert_eq!(
        slide
            .read_level(1, 0, 0, 1, 1, Outside::White)
            .unwrap_err()
            .code(),
        "slide::bad_request"
    );
    for mpp in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(
            slide.read_at(mpp, 0, 0, 1, 1, &options).unwrap_err().code(),
            "slide::bad_request"
        );
    }
    assert!(
        slide
            .read_at(0.5, 0, 0, u32::MAX, u32::MAX, &options)
            .is_err()
    );
    assert!(
        slide
            .read_at(0.5, i64::MIN, i64::MAX, 1, 1, &options)
            .is_err()
    );
    assert!(
        slide
            .read_level(0, i64::MIN, i64::MAX, 5, 5, Outside::Mirror)
            .is_ok()
    );
    assert!(slide.read_associated("barcode").is_err());
    assert!(
        slide
            .read_level(0, 0, 0, 0, 5, Outside::Mirror)
            .unwrap()
            .data
            .is_empty()
    );
}

#[test]
fn a_slide_smaller_than_a_window_is_read_in_the_middle_of_white() {
    let files = Files::new();
    let slide = Slide::open(&files.write("small.tif", &with(&[])), Some(0.5)).unwrap();
    for (mpp, side) in [(0.5, 16), (1.0, 8), (0.4, 20)] {
        assert_eq!(slide.size_at(mpp).unwrap(), (side, side));
        let options = cerb_slide::ReadOptions::default();
        let window = slide.read_at(mpp, -152, -152, 448, 448, &options).unwrap();
        let painted: Vec<_> = (0..448 * 448)
            .map(|i| (i % 448, i / 448))
            .filter(|&(x, y)| window.at(x, y) == [7; 3])
            .collect();
        assert_eq!(painted.len() as u32, side * side, "{mpp}");
        assert_eq!(painted.first(), Some(&(152, 152)));
        assert_eq!(painted.last(), Some(&(151 + side, 151 + side)));
        assert_eq!(window.at(151, 152), [255; 3]);
    }
}

#[test]
fn a_slide_one_pixel_wide_is_read_at_any_resolution() {
    let files = Files::new();
    let one = with(&[(256, 3, 1, 1), (279, 4, 1, 16)]);
    let slide = Slide::open(&files.write("line.tif", &one), Some(0.5)).unwrap();
    for mpp in [0.5, 0.4, 1.0, 8.0, 100.0] {
        let (width, height) = slide.size_at(mpp).unwrap();
        assert!(width == 1 && height >= 1, "{width} × {height} at {mpp}");
        for outside in [Outside::White, Outside::Black, Outside::Mirror] {
            let options = cerb_slide::ReadOptions {
                outside,
                ..Default::default()
            };
            let window = slide.read_at(mpp, -10, -10, 30, 30, &options).unwrap();
            assert_eq!(window.at(10, 10), [7; 3], "{outside:?} at {mpp}");
        }
    }
}

#[test]
fn axes_that_differ_a_little_are_read_each_at_its_own_and_a_lot_is_an_error() {
    let files = Files::new();
    let stated = |x: u32, y: u32| {
        let mut pixels = [7; 256];
        for (i, value) in [x, 1, y, 1].into_iter().enumerate() {
            pixels[4 * i..4 * i + 4].copy_from_slice(&value.to_le_bytes());
        }
        let mut entries = grey();
        entries.extend([(282, 5, 1, 8), (283, 5, 1, 16), (296, 3, 1, 3)]);
        entries.sort_unstable();
        Slide::open(&files.write("axes.tif", &tiff(&entries, &pixels, 0)), None).unwrap()
    };
    // Pixels per cm: 0.5 µm along x, 0.4 and 0.47 µm along y.
    let error = stated(20_000, 25_000).mpp().unwrap_err();
    assert_eq!(error.code(), "slide::mpp_conflict");
    assert!(
        error
            .to_string()
            .contains("0.5 mpp along x and 0.4 mpp along y"),
        "{error}"
    );
    let slide = stated(20_000, 21_300);
    assert_eq!(slide.size_at(1.0).unwrap(), (8, 8));
    let [x, y] = slide.scale_at(1.0).unwrap();
    assert!(x == 2.0 && (y - 2.13).abs() < 1e-9, "{x} {y}");
}

#[test]
fn a_file_cut_while_it_is_read_is_said_to_have_changed() {
    let files = Files::new();
    let bytes = std::fs::read(common::fixture("skin-small.svs")).unwrap();
    let path = files.write("shrinking.svs", &bytes);
    let slide = Slide::open(&path, None).unwrap();
    let corner = || slide.read_level(0, 0, 0, 200, 200, Outside::White);
    let before = corner().unwrap();
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(100_000))
        .unwrap();
    let all = slide.read_level(0, 0, 0, 2048, 2048, Outside::White);
    let error = all.unwrap_err();
    assert_eq!(error.code(), "slide::changed");
    let text = error.to_string();
    let sizes = format!("it had {} bytes", bytes.len());
    assert!(
        text.contains("shrinking.svs") && text.contains(&sizes),
        "{text}"
    );
    assert!(text.contains("has 100000 now"), "{text}");
    assert!(
        corner().unwrap() == before,
        "what was decoded is still there"
    );
}

#[cfg(unix)]
#[test]
fn a_file_removed_while_it_is_read_is_read_to_its_end() {
    let files = Files::new();
    let bytes = std::fs::read(common::fixture("skin-small.svs")).unwrap();
    let path = files.write("gone.svs", &bytes);
    let slide = Slide::open(&path, None).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(
        slide
            .read_level(0, 0, 0, 2048, 2048, Outside::White)
            .is_ok()
    );
    assert_eq!(refused(&path).code(), "slide::io");
}
