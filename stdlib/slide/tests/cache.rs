//! Decoded tiles are kept: each is decoded once however many windows share it, within a bound.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod common;

use cerb_image::Rgb8;
use cerb_slide::{ReadOptions, Slide};

/// 2048 × 2048 px in tiles of 240 px.
const TILES: u64 = 9 * 9;

fn open() -> Slide {
    Slide::open(&common::fixture("skin-small.svs"), None).unwrap()
}

/// Corners of the windows of 448 px that give 144 px each, at 0.5 mpp.
fn corners(slide: &Slide) -> Vec<(i64, i64)> {
    let (width, height) = slide.size_at(0.5).unwrap();
    let axis = |length: u32| (0..i64::from(length)).step_by(144).map(|i| i - 152);
    axis(height)
        .flat_map(|y| axis(width).map(move |x| (x, y)))
        .collect()
}

fn window(slide: &Slide, (x, y): (i64, i64)) -> Rgb8 {
    slide
        .read_at(0.5, x, y, 448, 448, &ReadOptions::default())
        .unwrap()
}

#[test]
fn overlapping_windows_decode_each_tile_once() {
    let slide = open();
    let corners = corners(&slide);
    assert_eq!(corners.len(), 64);
    for corner in corners {
        window(&slide, corner);
    }
    assert_eq!(slide.decoded(), TILES);
}

#[test]
fn threads_that_want_one_tile_decode_it_once() {
    let slide = open();
    let corners = corners(&slide);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                corners
                    .iter()
                    .for_each(|&corner| drop(window(&slide, corner)))
            });
        }
    });
    assert_eq!(slide.decoded(), TILES);
}

#[test]
fn a_smaller_cache_decodes_more_and_gives_the_same() {
    let (free, bounded) = (open(), open());
    // Ten tiles of 173 kB.
    bounded.keep_at_most(10 * 3 * 240 * 240);
    for corner in corners(&free) {
        assert!(window(&free, corner) == window(&bounded, corner));
    }
    assert!(bounded.decoded() > 2 * TILES, "{}", bounded.decoded());
    let (own, none) = (open(), open());
    none.keep_at_most(0);
    assert!(window(&own, (0, 0)) == window(&none, (0, 0)));
}
