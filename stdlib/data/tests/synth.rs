//! Synthetic tissue keeps its promises: the same everywhere, and true about itself.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use std::collections::{BTreeMap, BTreeSet};

use cerb_data::synth::{CHANNELS, Painted, Scene, SynthError, Tissue, Window, paint, patch};
use cerb_image::{Grid, Rect};

fn window(x: i64, y: i64, width: u32, height: u32) -> Window {
    Window {
        x,
        y,
        width,
        height,
    }
}

fn field(seed: u64, side: u32, mpp: f64) -> Painted {
    let tissue = Tissue::field(seed, 1000.0, 1000.0).unwrap();
    paint(&tissue, window(0, 0, side, side), mpp).unwrap()
}

/// Returns FNV-1a of a picture and all its labels.
fn digest(painted: &Painted) -> u64 {
    let labels = painted
        .labels
        .values()
        .flat_map(|map| map.data.iter().flat_map(|id| id.to_le_bytes()));
    painted
        .image
        .data
        .iter()
        .copied()
        .chain(labels)
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

/// Returns the pixels of each object of a map.
fn objects(map: &Grid<i32>) -> BTreeMap<i32, Vec<usize>> {
    let mut objects: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
    for (place, &id) in map.data.iter().enumerate().filter(|(_, id)| **id != 0) {
        objects.entry(id).or_default().push(place);
    }
    objects
}

#[test]
fn a_seed_decides_every_byte() {
    assert_eq!(field(3, 96, 0.5), field(3, 96, 0.5));
    assert_ne!(field(3, 96, 0.5).image, field(4, 96, 0.5).image);
}

#[test]
fn a_small_window_has_not_changed() {
    assert_eq!(
        format!("{:016x}", digest(&field(1, 128, 0.5))),
        "0c44d779d0d63a19"
    );
}

#[test]
fn any_window_is_a_part_of_the_whole() {
    for seed in 0..12 {
        let tissue = Tissue::field(seed, 1000.0, 1000.0).unwrap();
        let whole = paint(&tissue, window(40, 500, 330, 290), 0.5).unwrap();
        for (x, y, width, height) in [(40, 500, 64, 64), (151, 603, 101, 77), (369, 700, 1, 90)] {
            let part = paint(&tissue, window(x, y, width, height), 0.5).unwrap();
            let (left, top) = ((x - 40) as u32, (y - 500) as u32);
            for row in 0..height {
                for column in 0..width {
                    let (have, want) = (
                        part.image.at(column, row),
                        whole.image.at(left + column, top + row),
                    );
                    assert_eq!(
                        have, want,
                        "seed {seed}, {column}, {row} of the window at {x}, {y}"
                    );
                }
            }
            let rect = Rect {
                x0: left as usize,
                y0: top as usize,
                x1: (left + width) as usize,
                y1: (top + height) as usize,
            };
            for channel in CHANNELS {
                assert_eq!(
                    part.labels[channel],
                    whole.labels[channel].crop(rect),
                    "seed {seed}, {channel}"
                );
            }
        }
    }
}

#[test]
fn the_far_corner_of_a_slide_is_painted_alone() {
    let tissue = Tissue::field(6, 50_000.0, 50_000.0).unwrap();
    let corner = paint(&tissue, window(99_500, 99_400, 320, 300), 0.5).unwrap();
    let part = paint(&tissue, window(99_650, 99_500, 60, 60), 0.5).unwrap();
    let rect = Rect {
        x0: 150,
        y0: 100,
        x1: 210,
        y1: 160,
    };
    assert_eq!(
        part.labels["Nuclei-INST"],
        corner.labels["Nuclei-INST"].crop(rect)
    );
    assert_eq!(part.image.at(7, 9), corner.image.at(157, 109));
    assert!(objects(&corner.labels["Nuclei-INST"]).len() > 20);
}

#[test]
fn every_object_has_one_type_and_every_type_an_object() {
    for seed in 0..10 {
        let painted = field(seed, 320, 0.5);
        for (instance, kind, most) in [
            ("Nuclei-INST", "Nuclei-TYPE", 6),
            ("Gland-INST", "Gland-TYPE", 2),
        ] {
            let (map, kinds) = (&painted.labels[instance], &painted.labels[kind]);
            for (id, pixels) in objects(map) {
                let found: BTreeSet<i32> = pixels.iter().map(|&place| kinds.data[place]).collect();
                assert_eq!(found.len(), 1, "{instance} {id}");
                assert!(found.iter().all(|kind| (1..=most).contains(kind)));
            }
            let stray = map
                .data
                .iter()
                .zip(&kinds.data)
                .any(|(id, kind)| *id == 0 && *kind != 0);
            assert!(!stray, "{kind} without an object");
        }
    }
}

#[test]
fn lumina_lie_inside_one_gland() {
    let mut lumina = 0;
    let mut several = 0;
    for seed in 0..30 {
        let painted = field(seed, 448, 0.5);
        let glands = &painted.labels["Gland-INST"];
        let lumina_map = &painted.labels["Lumen-INST"].data;
        for (&lumen, &gland) in lumina_map.iter().zip(&glands.data) {
            // The lumina of a gland are numbered from its own number on.
            assert!(
                lumen == 0 || (0..8).contains(&(lumen - gland)),
                "{lumen} in {gland}"
            );
        }
        let mut of_gland: BTreeMap<i32, usize> = BTreeMap::new();
        for pixels in objects(&painted.labels["Lumen-INST"]).values() {
            let found: BTreeSet<i32> = pixels.iter().map(|&place| glands.data[place]).collect();
            assert_eq!(found.len(), 1);
            assert!(!found.contains(&0));
            lumina += 1;
            for gland in found {
                *of_gland.entry(gland).or_default() += 1;
            }
        }
        several += of_gland.values().filter(|count| **count > 1).count();
    }
    assert!(
        lumina > 10 && several > 0,
        "{lumina} lumina, {several} glands with several"
    );
}

#[test]
fn nuclei_are_darker_than_what_lies_around_them() {
    let (mut dark, mut all) = (0, 0);
    for seed in 0..10 {
        let painted = field(seed, 320, 0.5);
        let nuclei = &painted.labels["Nuclei-INST"];
        let red = |place: &usize| f64::from(painted.image.data[3 * place]);
        let ground: Vec<usize> = (0..nuclei.data.len())
            .filter(|place| nuclei.data[*place] == 0)
            .collect();
        let around = ground.iter().map(red).sum::<f64>() / ground.len() as f64;
        for pixels in objects(nuclei).values().filter(|pixels| pixels.len() > 20) {
            let inside = pixels.iter().map(red).sum::<f64>() / pixels.len() as f64;
            all += 1;
            dark += usize::from(inside < around - 10.0);
        }
    }
    assert!(all > 400 && dark * 100 > all * 93, "{dark} of {all}");
}

#[test]
fn all_kinds_and_classes_occur_in_sane_shares() {
    let mut classes = [0usize; 9];
    let mut kinds: BTreeMap<(&str, i32), BTreeSet<i32>> = BTreeMap::new();
    for seed in 0..6 {
        let tissue = Tissue::field(seed, 4000.0, 4000.0).unwrap();
        let painted = paint(&tissue, window(0, 0, 1000, 1000), 2.0).unwrap();
        for &class in &painted.labels["Patch-Class"].data {
            classes[class as usize] += 1;
        }
        for (instance, kind) in [("Nuclei-INST", "Nuclei-TYPE"), ("Gland-INST", "Gland-TYPE")] {
            let labels = painted.labels[instance]
                .data
                .iter()
                .zip(&painted.labels[kind].data);
            for (&id, &kind) in labels.filter(|(id, _)| **id != 0) {
                kinds.entry((instance, kind)).or_default().insert(id);
            }
        }
    }
    let total = classes.iter().sum::<usize>() as f64;
    for (class, count) in classes.iter().enumerate() {
        let share = *count as f64 / total;
        assert!((0.02..0.35).contains(&share), "class {class}: {share}");
    }
    for kind in 1..=6 {
        assert!(
            kinds[&("Nuclei-INST", kind)].len() > 300,
            "few nuclei of type {kind}"
        );
    }
    for kind in 1..=2 {
        assert!(
            kinds[&("Gland-INST", kind)].len() > 25,
            "few glands of type {kind}"
        );
    }
}

#[test]
fn a_patch_is_wholly_of_its_class() {
    for class in 0..9 {
        let painted = patch(11, class, 144, 0.5).unwrap();
        assert!(
            painted.labels["Patch-Class"]
                .data
                .iter()
                .all(|found| *found == i32::from(class))
        );
    }
    let glass = patch(11, 0, 144, 0.5).unwrap();
    assert!(objects(&glass.labels["Nuclei-INST"]).is_empty());
}

#[test]
fn a_section_lies_on_glass() {
    let tissue = Tissue::section(2, 6000.0, 6000.0).unwrap();
    let painted = paint(&tissue, window(0, 0, 750, 750), 8.0 / 2.0).unwrap();
    let middle = paint(&tissue, window(700, 700, 100, 100), 4.0).unwrap();
    let class = &painted.labels["Patch-Class"];
    assert_eq!(class.at(0, 0), 0);
    assert!(
        middle.labels["Patch-Class"]
            .data
            .iter()
            .any(|class| *class != 0)
    );
    let outside = paint(&tissue, window(-500, -500, 64, 64), 0.5).unwrap();
    assert!(
        outside.labels["Patch-Class"]
            .data
            .iter()
            .all(|class| *class == 0)
    );
}

#[test]
fn glass_is_known_without_painting() {
    for scene in [Scene::Section, Scene::Cores] {
        let (mut bare, mut tissue) = (0, 0);
        for seed in 0..3 {
            let slide = Tissue::new(seed, 8000.0, 8000.0, scene).unwrap();
            for (x, y) in (0..8).flat_map(|y| (0..8).map(move |x| (x, y))) {
                let window = window(250 * x, 250 * y, 250, 250);
                let painted = paint(&slide, window, 4.0).unwrap();
                let glass = painted.labels["Patch-Class"].data.iter().all(|&c| c == 0);
                let known = slide.is_glass(window, 4.0);
                assert!(glass || !known, "{scene:?} {seed}: {x}, {y}");
                bare += usize::from(known);
                tissue += usize::from(!glass);
            }
        }
        assert!(bare > 4 && tissue > 10, "{scene:?}: {bare}, {tissue}");
    }
    let field = Tissue::field(1, 8000.0, 8000.0).unwrap();
    assert!(!field.is_glass(window(0, 0, 500, 500), 4.0));
}

#[test]
fn what_cannot_be_painted_is_refused() {
    assert!(matches!(
        Tissue::field(1, 0.0, 10.0),
        Err(SynthError::Extent { .. })
    ));
    assert!(matches!(
        Tissue::field(1, f64::NAN, 10.0),
        Err(SynthError::Extent { .. })
    ));
    assert!(matches!(
        Tissue::field(1, 1e9, 10.0),
        Err(SynthError::Extent { .. })
    ));
    assert!(matches!(
        Tissue::new(1, 9.0, 9.0, Scene::Patch(9)),
        Err(SynthError::Class { class: 9 })
    ));
    let tissue = Tissue::field(1, 100.0, 100.0).unwrap();
    for mpp in [0.0, -1.0, f64::NAN, 100.0] {
        assert!(matches!(
            paint(&tissue, window(0, 0, 8, 8), mpp),
            Err(SynthError::Resolution { .. })
        ));
    }
    let huge = window(0, 0, u32::MAX, u32::MAX);
    assert!(matches!(
        paint(&tissue, huge, 0.5),
        Err(SynthError::Window { .. })
    ));
    let far = paint(&tissue, window(i64::MAX, i64::MIN, 8, 8), 0.5);
    assert!(matches!(far, Err(SynthError::Place { .. })));
    for (x, y) in [(-1, 0), (150, 0), (0, 193)] {
        let beyond = paint(&tissue, window(x, y, 51, 8), 0.5);
        assert!(
            matches!(beyond, Err(SynthError::Outside { .. })),
            "{x}, {y}"
        );
    }
    assert!(matches!(
        tissue.pixels(0.0),
        Err(SynthError::Resolution { .. })
    ));
    let none = paint(&tissue, window(5, 5, 0, 7), 0.5).unwrap();
    assert!(none.image.data.is_empty());
}
