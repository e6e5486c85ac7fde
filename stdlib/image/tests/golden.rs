//! Post-processing against the golden values: maps, boxes, outlines and types exactly,
//! centroids and shares to 1e-9. Cases are whatever the folder holds.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod support;
#[path = "golden/tiling.rs"]
mod tiling;

use std::collections::BTreeMap;
use std::path::Path;

use cerb_image::clumps::Field;
use cerb_image::info::{self, Info, Mode};
use cerb_image::{
    ClassesHeader, Grid, Instance, Maps, MapsHeader, Mask, MaskGeometry, Rect, SlideFrame, Window,
    classes, glands, nuclei, regions, resize,
};
use cerb_store::{Digest, Store};
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

/// Clump by clump the queue holds one clump's seeds, so seeds of the very same probability, which
/// the published queue takes in whatever order its whole tile left it in, may leave in another.
#[test]
fn golden_nuclei_are_parted_alike_clump_by_clump() {
    let (folder, _) = golden();
    for case in list(&folder, |name| {
        name.starts_with("nuclei_") && name.ends_with(".npz")
    }) {
        let npz = Npz::open(&case);
        let (inner, contour) = (npz["inner"].probability(), npz["contour"].probability());
        let whole = Rect {
            x0: 0,
            y0: 0,
            x1: inner.width,
            y1: inner.height,
        };
        let pixels = inner.data.iter().zip(&contour.data);
        let field = Field {
            shapes: Window {
                x: 0,
                y: 0,
                width: inner.width,
                height: inner.height,
                channels: 2,
                core: whole,
                data: pixels.flat_map(|(&a, &b)| [a, b]).collect(),
            },
            types: None,
            slide: [inner.width as u32, inner.height as u32],
        };
        let options = nuclei::Options::default();
        let mut found = Vec::new();
        for clump in field.clumps(&options) {
            found.extend(field.nuclei(&clump, &options).unwrap());
        }
        let published = info::instances(&npz["inst_map"].labels(), None, &info::Options::default());
        let mut published: Vec<_> = published.into_iter().map(Instance::from).collect();
        for all in [&mut found, &mut published] {
            all.sort_by_key(|one| (one.bbox, one.contour.clone()));
        }
        let same = |a: &Instance, b: &Instance| (&a.contour, a.area) == (&b.contour, b.area);
        let other = found
            .iter()
            .filter(|one| !published.iter().any(|two| same(one, two)))
            .count();
        let what = stem(&case);
        assert_eq!(found.len(), published.len(), "{what}: number of nuclei");
        assert!(100 * other <= found.len(), "{what}: {other} differ");
    }
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

/// Asserts that a half-resolution input is what the file holds of it: every fourth pixel.
fn same_sparse(found: &[Grid<f32>], expected: &support::Array, what: &str) {
    for (channel, found) in found.iter().enumerate() {
        let mut sparse = Vec::new();
        for y in (0..found.height).step_by(4) {
            sparse.extend(found.row(y).iter().step_by(4));
        }
        let expected = expected.channel(channel);
        assert_eq!(sparse.len(), expected.data.len(), "{what}: size");
        let differ = |(a, b): &(&f32, &f32)| (*a - *b).abs() > 1e-6;
        let differ = sparse.iter().zip(&expected.data).filter(differ).count();
        assert_eq!(differ, 0, "{what}: channel {channel}");
    }
}

#[test]
fn golden_regions_give_their_glands_and_lumina_exactly() {
    let (folder, own) = golden();
    let cases = list(&folder, |name| {
        name.starts_with("region_") && name.ends_with(".npz") && !name.ends_with("_expected.npz")
    });
    assert!(
        !own || !cases.is_empty(),
        "no `region_*.npz` in {}",
        folder.display()
    );
    for case in &cases {
        let name = stem(case);
        let npz = Npz::open(case);
        let expected = Npz::open(&folder.join(format!("{name}_expected.npz")));
        let json = std::fs::read(folder.join(format!("{name}_expected.json"))).unwrap();
        let json: Value = serde_json::from_slice(&json).unwrap();
        let json = json["regions"].as_array().unwrap();
        let mask = npz["mask"].mask();
        let read = |names: &[&str]| -> Vec<Grid<f32>> {
            let channel = |name: &&str| match name.ends_with("type") {
                true => npz[*name].floats(),
                false => npz[*name].probability(),
            };
            names.iter().map(channel).collect()
        };
        let gland_maps = read(&["gland_inner", "gland_contour", "gland_type"]);
        let lumen_maps = read(&["lumen_inner", "lumen_contour"]);
        let regions = regions::regions(Some(&mask), gland_maps[0].width, gland_maps[0].height);
        assert_eq!(regions.len(), json.len(), "{name}: number of regions");
        for (k, (region, json)) in regions.iter().zip(json).enumerate() {
            let what = format!("{name}: region {k}");
            let bounds: Vec<usize> =
                serde_json::from_value(json["proc_bbox_rmin_rmax_cmin_cmax"].clone()).unwrap();
            let b = region.bounds;
            assert_eq!(vec![b.y0, b.y1, b.x0, b.x1], bounds, "{what}: bounds");
            let half = |maps: &[Grid<f32>]| {
                let read = |rect| Ok::<_, ()>(maps.iter().map(|map| map.crop(rect)).collect());
                region.half(maps.len(), read).unwrap()
            };
            let input = half(&gland_maps);
            same_sparse(
                &input,
                &expected[format!("r{k}_gland_half_input").as_str()],
                &what,
            );
            let glands = regions::glands(&input[0], &input[1]);
            let labels = expected[format!("r{k}_gland_inst_half").as_str()].labels();
            same(&glands, &labels, &format!("{what}: glands"));
            let objects = region.objects(&glands, Some(&input[2]));
            compare_placed(&objects, &json["gland"], &format!("{what}: glands"));

            let input = half(&lumen_maps);
            same_sparse(
                &input,
                &expected[format!("r{k}_lumen_half_input").as_str()],
                &what,
            );
            let lumina = regions::lumina(&input[0], &input[1], &glands);
            let labels = expected[format!("r{k}_lumen_inst_half").as_str()].labels();
            same(&lumina, &labels, &format!("{what}: lumina"));
            let objects = region.objects(&lumina, None);
            compare_placed(&objects, &json["lumen"], &format!("{what}: lumina"));
        }
    }
    println!("{} slides in regions", cases.len());
}

/// Compares objects in pixels of the maps, which come in the order of their labels.
fn compare_placed(found: &[Instance], expected: &Value, what: &str) {
    let mut expected: Vec<(u32, &Value)> = (expected.as_object().unwrap().iter())
        .map(|(id, object)| (id.parse().unwrap(), object))
        .collect();
    expected.sort_by_key(|(id, _)| *id);
    assert_eq!(found.len(), expected.len(), "{what}: number of objects");
    for (found, (id, object)) in found.iter().zip(expected) {
        let what = format!("{what}: object {id}");
        let bbox: [i32; 4] =
            serde_json::from_value(object["box_xyxy_reference_quirk"].clone()).unwrap();
        assert_eq!(found.bbox, bbox, "{what}: box");
        let contour: Vec<[i32; 2]> = serde_json::from_value(object["contour"].clone()).unwrap();
        assert_eq!(found.contour, contour, "{what}: outline");
        let centroid: [f64; 2] = serde_json::from_value(object["centroid"].clone()).unwrap();
        assert_eq!(found.centroid, centroid, "{what}: centroid");
        let class = object.get("type").and_then(Value::as_u64);
        assert_eq!(found.class.map(u64::from), class, "{what}: type");
        let prob = object.get("type_prob").and_then(Value::as_f64);
        assert_eq!(
            found.prob,
            prob.map(|prob| prob as f32),
            "{what}: share of the type"
        );
    }
}

#[test]
fn golden_class_maps_are_exact() {
    let (folder, own) = golden();
    let mut compared = 0;
    for case in list(&folder, |name| {
        name.starts_with("region_") && name.ends_with(".npz") && !name.contains("_expected")
    }) {
        let expected = Npz::open(&folder.join(format!("{}_expected.npz", stem(&case))));
        let Some(expected) = expected.get("pclass_quarter_masked") else {
            continue;
        };
        let npz = Npz::open(&case);
        let (classes, mask) = (npz["pclass"].floats(), npz["mask"].mask());
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let (width, height) = (classes.width as u32, classes.height as u32);
        let slide = SlideFrame {
            width: width.into(),
            height: height.into(),
            digest: Digest::of(b"slide"),
            mpp: 0.5,
        };
        let header = MapsHeader {
            classes: Default::default(),
            mpp: 0.5,
            scale: [1.0, 1.0],
            width,
            height,
            tile: 144,
            heads: BTreeMap::from([("Patch-Class".to_owned(), 1)]),
            slide,
        };
        let writer = Maps::writer(&store, header).unwrap();
        for row in 0..height.div_ceil(144) {
            for col in 0..width.div_ceil(144) {
                let value = |i: u32| {
                    let (x, y) = (col * 144 + i % 144, row * 144 + i / 144);
                    classes.at(x.min(width - 1) as usize, y.min(height - 1) as usize)
                };
                let tile = (0..144 * 144).map(value).collect();
                let heads = BTreeMap::from([("Patch-Class".to_owned(), tile)]);
                writer.put_tile(row, col, &heads).unwrap();
            }
        }
        let maps = writer.finish().unwrap();
        let geometry = MaskGeometry {
            mpp: 4.0,
            scale: [8.0, 8.0],
            slide: [width.into(), height.into()],
        };
        let mask = Mask::from_grid(&mask, geometry);
        let header = ClassesHeader::of(&maps);
        let data = classes::rows(&maps, "Patch-Class", Some(&mask), 0..header.height).unwrap();
        let found = Grid::from_vec(header.width as usize, header.height as usize, data).unwrap();
        same(&found, &expected.mask(), &stem(&case));
        compared += 1;
    }
    assert!(
        !own || compared > 0,
        "no `pclass_quarter_masked` in {}",
        folder.display()
    );
    println!("{compared} class maps");
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
