//! How long one training sample takes: cutting and augmenting, and its targets.
//!
//! `cargo bench -p cerb-data --bench samples` prints milliseconds on one thread.

use std::collections::BTreeMap;
use std::time::Instant;

use cerb_data::augment::{self, Options, Patch, Purpose};
use cerb_data::targets::{Code, Weights, Width, targets};
use cerb_image::random::Random;
use cerb_image::{Grid, Rgb8};

const STORED: usize = 996;
const SIDE: usize = 448;
const OBJECTS: i32 = 400;

/// Returns a stored patch of noise with 400 discs of 8 to 16 px radius.
fn patch() -> Patch {
    let mut random = Random::of(&[1]);
    let data = (0..3 * STORED * STORED)
        .map(|_| 128 + random.below(100) as u8)
        .collect();
    let mut labels = Grid::filled(STORED, STORED, 0);
    for id in 1..=OBJECTS {
        let [cx, cy] = [0; 2].map(|_| random.below(STORED) as i64);
        let radius = 8 + random.below(9) as i64;
        for y in (cy - radius).max(0)..(cy + radius).min(STORED as i64) {
            for x in (cx - radius).max(0)..(cx + radius).min(STORED as i64) {
                if (x - cx).pow(2) + (y - cy).pow(2) < radius * radius {
                    labels.set(x as usize, y as usize, id);
                }
            }
        }
    }
    let types = labels.map(|id| id % 6 + i32::from(id > 0));
    Patch {
        image: Rgb8::from_vec(STORED as u32, STORED as u32, data).unwrap_or_default(),
        labels: BTreeMap::from([
            ("Nuclei-INST".to_owned(), labels),
            ("Nuclei-TYPE".to_owned(), types),
        ]),
    }
}

/// Prints the mean and the shortest time; on a busy machine the latter says more.
fn report(what: &str, rounds: u64, mut work: impl FnMut(u64)) {
    let (mut sum, mut least) = (0.0, f64::INFINITY);
    for round in 0..rounds {
        let begin = Instant::now();
        work(round);
        let took = begin.elapsed().as_secs_f64() * 1000.0;
        (sum, least) = (sum + took, least.min(took));
    }
    let mean = sum / rounds as f64;
    println!("{what:>44}: mean {mean:6.2} ms, shortest {least:6.2} ms");
}

fn main() {
    let patch = patch();
    let options = Options::default();
    let cut = |i: u64, options: &Options| {
        let mut random = augment::random_of(5, i, 0);
        augment::augment(&patch, Purpose::Segmentation, SIDE, options, &mut random)
    };
    report("augment 448 of 996 px, two label channels", 100, |i| {
        std::hint::black_box(cut(i, &options).is_ok());
    });
    let stained = Options {
        stain: 0.1,
        ..options
    };
    report("the same with stains", 100, |i| {
        std::hint::black_box(cut(i, &stained).is_ok());
    });
    let image = augment::centre(&patch, SIDE)
        .map(|p| p.image)
        .unwrap_or_default();
    report("Gaussian blur 5 x 5 px", 50, |_| {
        drop(augment::gaussian(&image, 5, 5))
    });
    report("median blur 3 px", 50, |_| drop(augment::median(&image, 3)));
    report("median blur 5 px", 50, |_| drop(augment::median(&image, 5)));
    report("noise", 50, |i| {
        let mut random = Random::of(&[i]);
        drop(augment::noise(
            &image,
            8.0,
            augment::Noise::Colour,
            &mut random,
        ));
    });
    report("hue", 50, |_| drop(augment::hue(&image, 3.3)));
    report("saturation", 50, |_| drop(augment::saturation(&image, 1.1)));
    let codes = |width| {
        BTreeMap::from([
            ("Nuclei-INST".to_owned(), Code::ErodedContour(width)),
            ("Nuclei-TYPE".to_owned(), Code::Type),
        ])
    };
    for (what, width) in [("3 px", Width::Three), ("11 px", Width::Eleven)] {
        let made = |labels| targets(labels, &codes(width), [SIDE; 2], Weights::BetweenObjects);
        report(
            &format!("targets of 448 in 996 px, 400 objects, {what}"),
            20,
            |_| {
                std::hint::black_box(made(&patch.labels).is_ok());
            },
        );
    }
    if let Ok(crop) = cut(1, &options) {
        report("targets of an augmented crop, 3 px", 20, |_| {
            let made = targets(
                &crop.labels,
                &codes(Width::Three),
                [SIDE; 2],
                Weights::BetweenObjects,
            );
            std::hint::black_box(made.is_ok());
        });
    }
}
