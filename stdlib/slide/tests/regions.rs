//! Regions at a resolution: sizes, levels, edges, and reading by tiles.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod common;

use cerb_image::Rgb8;
use cerb_slide::{Outside, ReadOptions, Resample, Slide};

fn open(name: &str) -> Slide {
    Slide::open(&common::fixture(name), None).unwrap()
}

fn crop(image: &Rgb8, x: u32, y: u32, width: u32, height: u32) -> Vec<u8> {
    (y..y + height)
        .flat_map(|row| {
            (x..x + width)
                .flat_map(move |column| [column, row])
                .collect::<Vec<_>>()
        })
        .collect::<Vec<_>>()
        .chunks_exact(2)
        .flat_map(|at| image.at(at[0], at[1]))
        .collect()
}

#[test]
fn the_file_says_size_levels_and_resolution() {
    let cmu = Slide::open(&common::cmu(), None).unwrap();
    let info = cmu.info();
    assert_eq!(
        (info.width, info.height, info.levels.len()),
        (2220, 2967, 1)
    );
    assert_eq!(
        (cmu.mpp().unwrap(), info.magnification),
        (0.499, Some(20.0))
    );
    assert_eq!((info.format.as_str(), info.reader), ("aperio", "native"));

    for (name, format, mpp, levels) in [
        ("skin-small.svs", "aperio", 0.2495, &[1.0, 4.0][..]),
        (
            "skin-small.ome.tif",
            "ome-tiff",
            0.2495,
            &[1.0, 2.0, 4.0, 8.0],
        ),
        (
            "glands-small.tif",
            "generic-tiff",
            0.25,
            &[1.0, 2.0, 4.0, 8.0],
        ),
    ] {
        let slide = open(name);
        assert_eq!(slide.info().format, format);
        assert!(
            (slide.mpp().unwrap() - mpp).abs() < 1e-9,
            "{name}: {:?}",
            slide.mpp()
        );
        let downsamples: Vec<_> = slide
            .info()
            .levels
            .iter()
            .map(|level| level.downsample)
            .collect();
        assert_eq!(downsamples, levels, "{name}");
    }
}

#[test]
fn a_given_resolution_goes_before_the_files() {
    let slide = Slide::open(&common::cmu(), Some(0.25)).unwrap();
    assert_eq!(slide.mpp().unwrap(), 0.25);
    assert_eq!(slide.info().mpp.as_ref().unwrap().source, "the pipeline");
}

#[test]
fn sizes_round_half_to_even_over_the_level() {
    let cmu = Slide::open(&common::cmu(), None).unwrap();
    // 2220 × 0.998 = 2215.56, 2967 × 0.998 = 2961.07.
    assert_eq!(cmu.size_at(0.5).unwrap(), (2216, 2961));
    // 1110 and 1483.5, which goes to the even 1484.
    assert_eq!(cmu.size_at(0.998).unwrap(), (1110, 1484));
    assert_eq!(open("glands-small.tif").size_at(0.5).unwrap(), (1024, 1024));
    assert_eq!(open("skin-small.svs").size_at(0.5).unwrap(), (1022, 1022));
}

#[test]
fn the_level_is_the_smallest_that_is_fine_enough() {
    let glands = open("glands-small.tif");
    for (mpp, level) in [
        (0.25, 0),
        (0.4, 0),
        (0.5, 1),
        (0.4999, 1),
        (0.49, 0),
        (0.99, 1),
        (1.0, 2),
        (8.0, 3),
        (0.1, 0),
    ] {
        assert_eq!(glands.level_at(mpp).unwrap(), level, "{mpp}");
    }
    assert_eq!(open("skin-small.ome.tif").level_at(0.499).unwrap(), 1);
    assert_eq!(glands.scale_at(0.5).unwrap(), [2.0, 2.0]);
}

#[test]
fn a_stored_resolution_is_read_as_it_is() {
    let slide = open("glands-small.tif");
    let region = slide
        .read_at(0.5, -20, 100, 300, 200, &ReadOptions::default())
        .unwrap();
    assert!(
        region
            == slide
                .read_level(1, -20, 100, 300, 200, Outside::White)
                .unwrap()
    );
}

#[test]
fn tiles_join_to_what_one_read_gives() {
    for name in ["skin-small.svs", "skin-small.ome.tif"] {
        let slide = open(name);
        for mpp in [0.22, 0.2495, 0.3, 0.499, 0.5, 0.731, 2.0, 8.0] {
            let (width, height) = slide.size_at(mpp).unwrap();
            let (x, y) = (-7, i64::from(height) / 2);
            let (w, h) = ((width + 20).min(1301), (height / 2 + 31).min(701));
            for outside in [Outside::White, Outside::Black, Outside::Mirror] {
                let options = ReadOptions {
                    outside,
                    ..ReadOptions::default()
                };
                let whole = slide.read_at(mpp, x, y, w, h, &options).unwrap();
                let (left, top) = (w * 3 / 7, h * 2 / 5);
                for [tx, ty, tw, th] in [
                    [0, 0, left, top],
                    [left, 0, w - left, top],
                    [0, top, left, h - top],
                    [left, top, w - left, h - top],
                ] {
                    let (at_x, at_y) = (x + i64::from(tx), y + i64::from(ty));
                    let tile = slide.read_at(mpp, at_x, at_y, tw, th, &options).unwrap();
                    assert!(
                        tile.data == crop(&whole, tx, ty, tw, th),
                        "{name} at {mpp}, {outside:?}: ({tx}, {ty})"
                    );
                }
            }
        }
    }
}

#[test]
fn beyond_the_slide_is_white_black_or_mirrored() {
    let slide = open("glands-small.tif");
    for (outside, colour) in [(Outside::White, [255; 3]), (Outside::Black, [0; 3])] {
        for mpp in [0.25, 0.6] {
            let options = ReadOptions {
                outside,
                ..ReadOptions::default()
            };
            let image = slide.read_at(mpp, -10, -10, 30, 30, &options).unwrap();
            assert_eq!(
                [image.at(0, 20), image.at(20, 9), image.at(9, 9)],
                [colour; 3]
            );
            let all = slide.read_at(mpp, 1 << 20, 5, 10, 10, &options).unwrap();
            assert!(all == Rgb8::filled(10, 10, colour));
        }
    }
    let mirrored = slide
        .read_level(0, -10, -4, 40, 40, Outside::Mirror)
        .unwrap();
    let inside = slide.read_level(0, 0, 0, 40, 40, Outside::White).unwrap();
    for (x, y) in [(3, 0), (10, 7), (0, 5)] {
        assert_eq!(
            mirrored.at(10 - x, 4 + y),
            inside.at(x, y),
            "the edge is not repeated"
        );
    }
    // The mirror repeats when a region is wider than the slide.
    assert_eq!(
        slide
            .read_level(3, -600, 0, 1400, 3, Outside::Mirror)
            .unwrap()
            .width,
        1400
    );
}

#[test]
fn the_last_pixel_is_made_of_the_slide_alone() {
    // 2967 rows at half size: the last row covers one row of the slide and one of nothing.
    let slide = Slide::open(&common::cmu(), None).unwrap();
    let last = slide
        .read_at(0.998, 500, 1483, 1, 1, &ReadOptions::default())
        .unwrap();
    let source = slide
        .read_level(0, 1000, 2966, 2, 1, Outside::White)
        .unwrap();
    let mean =
        |c: usize| (u32::from(source.data[c]) + u32::from(source.data[3 + c])).div_ceil(2) as u8;
    assert_eq!(last.data, [mean(0), mean(1), mean(2)]);
}

#[test]
fn enlarging_needs_to_be_asked_for() {
    let slide = open("glands-small.tif");
    let mut options = ReadOptions::default();
    assert!(slide.read_at(0.17, 0, 0, 10, 10, &options).is_ok());
    let error = slide.read_at(0.16, 0, 0, 10, 10, &options).unwrap_err();
    assert_eq!(error.code(), "slide::upsampling");
    assert!(error.to_string().contains("1.56 times"), "{error}");
    options.allow_upsample = true;
    assert_eq!(
        slide.read_at(0.1, 0, 0, 50, 50, &options).unwrap().width,
        50
    );
}

#[test]
fn the_tiatoolbox_preset_reads_a_stored_level_unchanged() {
    let slide = open("glands-small.tif");
    let options = ReadOptions {
        resample: Resample::Tiatoolbox13,
        ..ReadOptions::default()
    };
    let preset = slide.read_at(0.5, 144, 288, 448, 448, &options).unwrap();
    assert!(
        preset
            == slide
                .read_level(1, 144, 288, 448, 448, Outside::White)
                .unwrap()
    );
    // 0.2495 mpp: 449 px of level 1 at 0.499 mpp become 448.
    let skin = open("skin-small.ome.tif");
    assert_eq!(
        skin.read_at(0.5, -152, 144, 448, 448, &options)
            .unwrap()
            .width,
        448
    );
}

#[test]
fn threads_share_one_slide() {
    let slide = open("skin-small.svs");
    let expected = slide
        .read_level(0, 0, 0, 2048, 2048, Outside::White)
        .unwrap();
    let fresh = open("skin-small.svs");
    std::thread::scope(|scope| {
        for thread in 0..8_u32 {
            let (slide, expected) = (fresh.clone(), &expected);
            scope.spawn(move || {
                for i in 0..20 {
                    let (x, y) = (
                        (thread * 211 + i * 97) % 1700,
                        (thread * 83 + i * 151) % 1700,
                    );
                    let tile = slide
                        .read_level(0, x.into(), y.into(), 300, 300, Outside::White)
                        .unwrap();
                    assert!(tile.data == crop(expected, x, y, 300, 300));
                }
            });
        }
    });
}

/// BLAKE3 of RGB bytes, so that the pixels are held where there is no Python. Those of whole levels
/// are the ones that `tests/oracle.rs` finds equal to OpenSlide's and tifffile's; those of resampled
/// regions hold what this reader gives, whose kernels the oracle compares with OpenCV's.
#[test]
fn pixels_have_the_digests_written_down() {
    let area = ReadOptions::default();
    let preset = ReadOptions {
        resample: Resample::Tiatoolbox13,
        ..area
    };
    let cmu = Slide::open(&common::cmu(), None).unwrap();
    let (svs, ome, tif) = (
        open("skin-small.svs"),
        open("skin-small.ome.tif"),
        open("glands-small.tif"),
    );
    let level = |slide: &Slide, level| {
        let size = slide.info().levels[level];
        slide
            .read_level(level, 0, 0, size.width, size.height, Outside::White)
            .unwrap()
    };
    let found = [
        ("cmu level 0", level(&cmu, 0)),
        ("cmu label", cmu.read_associated("label").unwrap()),
        ("cmu macro", cmu.read_associated("macro").unwrap()),
        (
            "cmu at 0.5",
            cmu.read_at(0.5, -30, 700, 1000, 600, &area).unwrap(),
        ),
        (
            "cmu at 0.998",
            cmu.read_at(0.998, 0, 0, 1110, 1484, &area).unwrap(),
        ),
        ("svs level 0", level(&svs, 0)),
        ("svs level 1", level(&svs, 1)),
        (
            "svs at 0.5, tiatoolbox",
            svs.read_at(0.5, 100, -50, 448, 448, &preset).unwrap(),
        ),
        ("ome level 0", level(&ome, 0)),
        ("ome level 3", level(&ome, 3)),
        ("tif level 0", level(&tif, 0)),
        ("tif level 2", level(&tif, 2)),
    ]
    .map(|(what, image)| format!("{what}: {}", &blake3::hash(&image.data).to_hex()[..16]));
    assert_eq!(found.join("\n"), include_str!("digests.txt").trim_end());
}
