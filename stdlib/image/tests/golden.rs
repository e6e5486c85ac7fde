//! Post-processing against the golden values: maps, boxes, outlines and types exactly,
//! centroids and shares to 1e-9. Cases are whatever the folder holds.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod support;

use std::path::Path;

use cerb_image::info::{self, Info, Mode};
use cerb_image::{Grid, glands, nuclei, resize};
use serde_json::Value;
use support::{Npz, golden, list};

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

fn same<T: PartialEq + std::fmt::Debug + Copy>(found: &Grid<T>, expected: &Grid<T>, what: &str) {
    assert_eq!(
        (found.width, found.height),
        (expected.width, expected.height),
        "{what}: size"
    );
    let differ = found
        .data
        .iter()
        .zip(&expected.data)
        .filter(|(a, b)| a != b)
        .count();
    assert_eq!(
        differ,
        0,
        "{what}: {differ} of {} values differ",
        found.data.len()
    );
}

#[test]
fn golden_nuclei_are_parted_exactly() {
    let (folder, _) = golden();
    let cases = list(&folder, |name| {
        name.starts_with("nuclei_") && name.ends_with(".npz")
    });
    assert!(
        !cases.is_empty(),
        "no `nuclei_*.npz` in {}",
        folder.display()
    );
    for case in &cases {
        let npz = Npz::open(case);
        let found = nuclei::split(
            &npz["inner"].probability(),
            &npz["contour"].probability(),
            &nuclei::Options::default(),
        );
        same(&found, &npz["inst_map"].labels(), &stem(case));
    }
    println!("{} nuclei maps", cases.len());
}

#[test]
fn golden_glands_and_lumina_are_separated_exactly() {
    let (folder, own) = golden();
    let wanted = |name: &str| {
        (name.starts_with("gland_") || name.starts_with("lumen_")) && name.ends_with(".npz")
    };
    let cases = list(&folder, wanted);
    assert!(
        !own || !cases.is_empty(),
        "no `gland_*.npz` or `lumen_*.npz` in {}",
        folder.display()
    );
    for case in &cases {
        let name = stem(case);
        let npz = Npz::open(case);
        let scale = if name.contains("ds05") { 0.5 } else { 1.0 };
        for (key, scale) in [("inst_map", scale), ("inst_map_ds05", 0.5)] {
            let Some(expected) = npz.get(key) else {
                continue;
            };
            let options = if name.starts_with("gland") {
                glands::Options::gland(scale)
            } else {
                glands::Options::lumen(scale)
            };
            let found = glands::split(
                &npz["inner"].probability(),
                &npz["contour"].probability(),
                &options,
            );
            same(&found, &expected.labels(), &format!("{name} {key}"));
        }
    }
    println!("{} gland and lumen maps", cases.len());
}

#[test]
fn golden_objects_are_described_exactly() {
    let (folder, _) = golden();
    let cases = list(&folder, |name| {
        name.ends_with(".npz") && !name.starts_with("region_") && name != "resize.npz"
    });
    let mut compared = 0;
    for case in &cases {
        let npz = Npz::open(case);
        for (key, suffix) in [("inst_map", ""), ("inst_map_ds05", "_ds05")] {
            let Some(map) = npz.get(key) else { continue };
            let prefix = format!("{}{suffix}.info_ds", stem(case));
            for file in list(&folder, |name| {
                name.starts_with(&prefix) && name.ends_with(".json")
            }) {
                let expected: Value =
                    serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
                let options = info::Options {
                    mode: Mode::Reference,
                    ds_factor: expected["ds_factor"].as_f64().unwrap(),
                };
                let types = npz.get("type").map(support::Array::floats);
                let found = info::instances(&map.labels(), types.as_ref(), &options);
                compare(&found, &expected["instances"], &stem(&file));
                compared += 1;
            }
        }
    }
    assert!(
        compared > 0,
        "no map with its `.info_ds*.json` in {}",
        folder.display()
    );
    println!("{compared} tables of objects");
}

fn compare(found: &[Info], expected: &Value, what: &str) {
    let expected = expected.as_object().unwrap();
    let ids: Vec<String> = found.iter().map(|info| info.id.to_string()).collect();
    assert_eq!(ids.len(), expected.len(), "{what}: number of objects");
    for info in found {
        let what = format!("{what}: object {}", info.id);
        let object = &expected[&info.id.to_string()];
        let whole = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap() as i32;
        assert_eq!(
            info.bbox,
            ["/box/0/1", "/box/0/0", "/box/1/1", "/box/1/0"].map(whole),
            "{what}: box"
        );
        let contour: Vec<[i32; 2]> = serde_json::from_value(object["contour"].clone()).unwrap();
        assert_eq!(info.contour, contour, "{what}: outline");
        let centroid: [f64; 2] = serde_json::from_value(object["centroid"].clone()).unwrap();
        assert!(
            (0..2).all(|i| (info.centroid[i] - centroid[i]).abs() <= 1e-9),
            "{what}: centroid"
        );
        if let Some(class) = object.get("type").and_then(Value::as_u64) {
            assert_eq!(info.class.map(u64::from), Some(class), "{what}: type");
            let prob = object["type_prob"].as_f64().unwrap();
            assert!(
                (info.prob.unwrap() - prob).abs() <= 1e-9,
                "{what}: share of the type"
            );
        }
    }
}

#[test]
fn golden_resizes_are_exact() {
    let (folder, own) = golden();
    let path = folder.join("resize.npz");
    if !path.is_file() {
        assert!(!own, "no `resize.npz` in {}", folder.display());
        println!("skipped: no `resize.npz` in {}", folder.display());
        return;
    }
    let npz = Npz::open(&path);
    let mut compared = 0;
    for name in npz.names() {
        let (case, kind) = name.split_once('.').unwrap();
        let input = |kind: &str| &npz[format!("{case}.{kind}").as_str()];
        let expected = &npz[name];
        match kind {
            "half_linear" | "up_linear" => {
                for channel in 0..expected.shape[2] {
                    let from = input("in").channel(channel);
                    let found = if kind == "half_linear" {
                        resize::half_bilinear(&from)
                    } else {
                        resize::double_bilinear(&from)
                    };
                    same(&found, &expected.channel(channel), name);
                }
            }
            "quarter_nearest" => same(
                &resize::quarter_nearest(&input("class_in").floats()),
                &expected.floats(),
                name,
            ),
            "double_nearest" => same(
                &resize::double_nearest(&input("class_in").floats()),
                &expected.floats(),
                name,
            ),
            kind if kind.starts_with("mask_to_") => {
                let found =
                    resize::nearest(&input("mask").mask(), expected.shape[1], expected.shape[0]);
                same(&found, &expected.mask(), name);
            }
            _ => continue,
        }
        compared += 1;
    }
    assert!(compared > 0, "{} holds no case", path.display());
}
