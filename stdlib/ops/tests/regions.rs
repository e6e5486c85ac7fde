//! `instances.* (reference: true)` against the golden values of whole slides: the operators give what
//! the published program gives. Cases are whatever the folder holds.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

#[path = "../../image/tests/support/mod.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod support;

use std::collections::BTreeMap;
use std::path::Path;

use cerb_engine::{Ctx, Operator};
use cerb_image::{Grid, Instance, Instances, Maps, MapsHeader, Mask, MaskGeometry, SlideFrame};
use cerb_ops::instances::{glands, lumina, nuclei};
use cerb_store::{Digest, Store};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use support::{Npz, golden, golden_root, list};

/// Side of the stored tiles, in pixels; what is found does not depend on it.
const TILE: u32 = 256;

fn read_json(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap()
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

/// Returns an operator as a pipeline would make it.
fn operator<O: Operator + DeserializeOwned>(args: Value) -> O {
    serde_json::from_value(args).unwrap()
}

/// Writes the channels of heads as maps of 0.5 mpp.
fn maps(store: &Store, heads: &[(&str, Vec<Grid<f32>>)]) -> Maps {
    let (width, height) = (heads[0].1[0].width as u32, heads[0].1[0].height as u32);
    let header = MapsHeader {
        classes: Default::default(),
        mpp: 0.5,
        scale: [1.0, 1.0],
        width,
        height,
        tile: TILE,
        heads: heads
            .iter()
            .map(|(head, channels)| ((*head).to_owned(), channels.len() as u32))
            .collect(),
        slide: SlideFrame {
            width: width.into(),
            height: height.into(),
            digest: Digest::of(b"slide"),
            mpp: 0.5,
        },
    };
    let writer = Maps::writer(store, header).unwrap();
    for (row, col) in (0..height.div_ceil(TILE))
        .flat_map(|row| (0..width.div_ceil(TILE)).map(move |col| (row, col)))
    {
        let tile = |channels: &Vec<Grid<f32>>| -> Vec<f32> {
            let place = |i: u32| (col * TILE + i % TILE, row * TILE + i / TILE);
            let value = |(x, y): (u32, u32), channel: &Grid<f32>| match x < width && y < height {
                true => channel.at(x as usize, y as usize),
                false => 0.0,
            };
            (0..TILE * TILE)
                .flat_map(|i| channels.iter().map(move |channel| value(place(i), channel)))
                .collect()
        };
        let tiles: BTreeMap<String, Vec<f32>> = heads
            .iter()
            .map(|(head, channels)| ((*head).to_owned(), tile(channels)))
            .collect();
        writer.put_tile(row, col, &tiles).unwrap();
    }
    writer.finish().unwrap()
}

/// Returns the inside and the rim of a head as the files hold them.
fn shapes(npz: &Npz, of: &str) -> Vec<Grid<f32>> {
    ["inner", "contour"]
        .map(|name| npz[format!("{of}{name}").as_str()].probability())
        .into()
}

fn all(found: &Instances) -> Vec<Instance> {
    found.iter().unwrap().map(Result::unwrap).collect()
}

/// Lists the golden objects of every region in the order of their labels.
fn expected<'a>(regions: &'a [Value], of: &str) -> Vec<&'a Value> {
    let mut all = Vec::new();
    for region in regions {
        let objects = region[of].as_object().unwrap().iter();
        let mut objects: Vec<(u32, &Value)> = objects
            .map(|(id, object)| (id.parse().unwrap(), object))
            .collect();
        objects.sort_by_key(|(id, _)| *id);
        all.extend(objects.into_iter().map(|(_, object)| object));
    }
    all
}

/// Compares objects with golden ones: all exactly, shares as they are stored.
fn compare(found: &[Instance], expected: &[&Value], bbox: &str, share: &str, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: number of objects");
    for (at, (found, golden)) in found.iter().zip(expected).enumerate() {
        let what = format!("{what}: object {at}");
        let read = |name: &str| golden[name].clone();
        let outline: Vec<[i32; 2]> = serde_json::from_value(read("contour")).unwrap();
        assert_eq!(found.contour, outline, "{what}: outline");
        let corners: [i32; 4] = serde_json::from_value(read(bbox)).unwrap();
        assert_eq!(found.bbox, corners, "{what}: box");
        let centroid: [f64; 2] = serde_json::from_value(read("centroid")).unwrap();
        let near = (0..2).all(|i| (found.centroid[i] - centroid[i]).abs() <= 1e-9);
        assert!(
            near,
            "{what}: centroid {:?}, not {centroid:?}",
            found.centroid
        );
        let class = golden.get("type").and_then(Value::as_u64);
        assert_eq!(found.class.map(u64::from), class, "{what}: type");
        let share = golden.get(share).and_then(Value::as_f64);
        assert_eq!(found.prob, share.map(|share| share as f32), "{what}: share");
    }
}

#[test]
fn golden_regions_come_out_of_the_operators() {
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
        let (name, npz) = (stem(case), Npz::open(case));
        let golden = read_json(&folder.join(format!("{name}_expected.json")));
        let regions = golden["regions"].as_array().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let maps = maps(
            &store,
            &[
                ("Gland-INST", shapes(&npz, "gland_")),
                ("Gland-TYPE", vec![npz["gland_type"].floats()]),
                ("Lumen-INST", shapes(&npz, "lumen_")),
            ],
        );
        let ratio = golden["mask_downsample_ratio"].as_f64().unwrap_or(8.0);
        let geometry = MaskGeometry {
            mpp: 0.5 * ratio,
            scale: [ratio; 2],
            slide: [maps.header().width.into(), maps.header().height.into()],
        };
        let mask = || Some(Mask::from_grid(&npz["mask"].mask(), geometry));
        let ctx = &mut Ctx::detached(&store);

        let published: glands::Glands = operator(json!({ "reference": true }));
        let input = glands::In {
            maps: maps.clone(),
            mask: mask(),
        };
        let inside = published.run(input, ctx).unwrap().glands;
        let quirk = "box_xyxy_reference_quirk";
        let golden = expected(regions, "gland");
        compare(
            &all(&inside),
            &golden,
            quirk,
            "type_prob",
            &format!("{name}: glands"),
        );
        assert!(!golden.is_empty());

        let published: lumina::Lumina = operator(json!({ "reference": true }));
        let mask = mask();
        let found = published
            .run(lumina::In { maps, mask, inside }, ctx)
            .unwrap();
        let golden = expected(regions, "lumen");
        compare(
            &all(&found.lumina),
            &golden,
            quirk,
            "type_prob",
            &format!("{name}: lumina"),
        );
        assert!(!golden.is_empty());
    }
    println!("{} slides in regions", cases.len());
}

#[test]
fn golden_merges_of_nuclei_come_out_of_the_operator() {
    let (root, own) = golden_root();
    let folder = root.join("tiling");
    if !folder.is_dir() {
        assert!(!own, "no {}", folder.display());
        println!("skipped: no {}", folder.display());
        return;
    }
    let mut compared = 0;
    let cases = list(&folder, |name| name.starts_with("nuclei_merge_"));
    assert!(
        !own || !cases.is_empty(),
        "no `nuclei_merge_*` in {}",
        folder.display()
    );
    for case in &cases {
        let name = stem(case);
        let input = name.trim_start_matches("nuclei_merge_");
        let golden_merge = read_json(case);
        // The operator answers for whole published patches; other sides are for the library alone.
        if golden_merge["patch_output"] != 144 {
            continue;
        }
        let whole = golden().0.join(format!("{input}.npz"));
        let (npz, of) = match whole.is_file() {
            true => (Npz::open(&whole), "nuclei_"),
            false => (
                Npz::open(&golden().0.join(format!("nuclei_{input}.npz"))),
                "",
            ),
        };
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let maps = maps(
            &store,
            &[
                ("Nuclei-INST", shapes(&npz, of)),
                (
                    "Nuclei-TYPE",
                    vec![npz[format!("{of}type").as_str()].floats()],
                ),
            ],
        );
        let published: nuclei::Nuclei = operator(json!({
            "reference": true,
            "tile": golden_merge["tile_shape"],
            "margin": golden_merge["margin"],
        }));
        let found = published
            .run(nuclei::In { maps }, &mut Ctx::detached(&store))
            .unwrap();
        let mut found = all(&found.nuclei);
        let near = |centroid: [f64; 2]| centroid.map(|v| (v * 1e6) as i64);
        found.sort_by_key(|one| (one.bbox, near(one.centroid)));
        let mut golden: Vec<&Value> = golden_merge["instances"]
            .as_array()
            .unwrap()
            .iter()
            .collect();
        golden.sort_by_key(|one| {
            let bbox: [i32; 4] = serde_json::from_value(one["box_xyxy"].clone()).unwrap();
            (
                bbox,
                near(serde_json::from_value(one["centroid"].clone()).unwrap()),
            )
        });
        assert!(golden.len() > 100, "{name}: {}", golden.len());
        compare(&found, &golden, "box_xyxy", "prob", &name);
        compared += 1;
    }
    assert!(!own || compared > 0);
    println!("{compared} merges of nuclei");
}
