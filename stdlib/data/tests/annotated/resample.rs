//! Another resolution: means stay, labels stay labels and lie where they lay.

use cerb_data::Sample;
use cerb_data::sample::{NUCLEI, PATCH_CLASS};
use cerb_image::{Grid, Rgb8};

use crate::support::{objects, picture};

#[test]
fn half_a_resolution_averages_blocks_and_takes_labels_under_centres() {
    let image = picture(8, 6, 3);
    let sample = Sample::new("a", 0.25, image.clone())
        .with(NUCLEI, objects(8, 6))
        .of_class(4);
    let half = sample.at(0.5).unwrap();
    assert_eq!((half.image.width, half.image.height, half.mpp), (4, 3, 0.5));
    for y in 0..3 {
        for x in 0..4 {
            for c in 0..3 {
                let at = |dx, dy| u32::from(image.at(2 * x + dx, 2 * y + dy)[c]);
                let sum = at(0, 0) + at(1, 0) + at(0, 1) + at(1, 1);
                assert_eq!(u32::from(half.image.at(x, y)[c]), (sum + 2) / 4);
            }
            let (x, y) = (x as usize, y as usize);
            assert_eq!(
                half.labels[NUCLEI].at(x, y),
                objects(8, 6).at(2 * x + 1, 2 * y + 1)
            );
        }
    }
    assert_eq!(half.labels[PATCH_CLASS], Grid::filled(1, 1, 4));
}

#[test]
fn one_colour_stays_at_every_scale() {
    let sample = Sample::new("a", 0.62005, Rgb8::filled(77, 52, [200, 17, 255]));
    for mpp in [0.25, 0.4, 0.5, 0.62, 0.7, 1.3, 8.0, 100.0] {
        let other = sample.at(mpp).unwrap();
        let expected = (77.0 * 0.62005 / mpp).round().max(1.0) as u32;
        assert_eq!(other.image.width, expected, "{mpp}");
        assert!(
            other.image.pixels().all(|pixel| pixel == [200, 17, 255]),
            "{mpp}"
        );
    }
}

#[test]
fn what_grows_comes_back() {
    let mut sample = Sample::new("a", 0.5, picture(9, 7, 1)).with(NUCLEI, objects(9, 7));
    sample.mask = Some(objects(9, 7).map(|id| u8::from(id > 2)));
    let grown = sample.at(0.5 / 3.0).unwrap();
    let back = grown.at(0.5).unwrap();
    assert_eq!((&back.labels, &back.mask), (&sample.labels, &sample.mask));
    assert_eq!(sample.at(0.5).unwrap(), sample);
}

#[test]
fn a_ramp_is_interpolated() {
    let mut image = Rgb8::filled(2, 1, [0; 3]);
    image.set(1, 0, [100; 3]);
    let grown = Sample::new("a", 1.0, image).at(0.5).unwrap();
    let values: Vec<u8> = grown.image.pixels().map(|pixel| pixel[0]).collect();
    assert_eq!(values[..4], [0, 25, 75, 100]);
}

#[test]
fn an_impossible_resolution_is_an_error() {
    let sample = Sample::new("a", 0.5, picture(4, 4, 1));
    for mpp in [0.0, -1.0, f64::NAN, 0.01, f64::INFINITY] {
        assert!(sample.at(mpp).is_err(), "{mpp}");
    }
}

#[test]
fn a_sample_that_would_grow_beyond_memory_is_refused() {
    let sample = Sample::new("a", 0.5, Rgb8::filled(2000, 2000, [9; 3]));
    let error = sample.at(0.5 / 15.0).unwrap_err().to_string();
    assert!(error.contains("would have 30000 × 30000 px"), "{error}");
}
