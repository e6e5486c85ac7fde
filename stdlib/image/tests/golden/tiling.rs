//! The published geometry against the golden values of `tiling`, all exactly. Cases are whatever
//! the folder holds, and a file that no case here reads fails.

use std::path::Path;

use crate::support::{Npz, golden, golden_root, list};
use cerb_image::info::{self, Info, Mode};
use cerb_image::tiling::{Canvas, Tile, mirrored, tile_sets, touches};
use cerb_image::{Grid, GridHeader, Instance, Mask, MaskGeometry, PatchGrid, Rect, nuclei};
use serde_json::Value;

#[test]
fn golden_tiling_is_exact() {
    let (root, own) = golden_root();
    let folder = root.join("tiling");
    if !folder.is_dir() {
        assert!(!own, "no {}", folder.display());
        println!("skipped: no {}", folder.display());
        return;
    }
    let files = list(&folder, |_| true);
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        let json = || serde_json::from_slice::<Value>(&std::fs::read(&file).unwrap()).unwrap();
        match name {
            _ if name.starts_with("patch_grid") => cases(&json(), patch_grid),
            _ if name.starts_with("tile_sets") => cases(&json(), sets),
            _ if name.starts_with("tile_patch_query") => cases(&json(), query),
            _ if name.starts_with("image_tile_mode") => cases(&json(), image_mode),
            _ if name.starts_with("merge_") => merge(&file),
            _ => match name.strip_prefix("nuclei_merge_") {
                Some(input) => nuclei_merge(input, &json()),
                None => panic!("nothing reads {}", file.display()),
            },
        }
    }
}

fn cases(all: &Value, check: impl Fn(&str, &Value)) {
    let all = all.as_object().unwrap();
    assert!(!all.is_empty());
    all.iter().for_each(|(name, case)| check(name, case));
}

fn number(case: &Value, key: &str) -> u32 {
    case[key].as_u64().unwrap() as u32
}

fn size(case: &Value) -> [u32; 2] {
    serde_json::from_value(case["image_wh"].clone()).unwrap()
}

fn boxes(list: &Value) -> Vec<[i64; 4]> {
    serde_json::from_value(list.clone()).unwrap()
}

fn grid([width, height]: [u32; 2], input: u32, output: u32, stride: u32) -> GridHeader {
    GridHeader {
        mpp: 0.5,
        input,
        output,
        stride,
        width,
        height,
        scale: [1.0, 1.0],
    }
}

fn square((x, y): (i64, i64), side: u32) -> [i64; 4] {
    [x, y, x + i64::from(side), y + i64::from(side)]
}

fn outputs(grid: &PatchGrid) -> Vec<[i64; 4]> {
    let outputs = grid.cells.iter().map(|&cell| grid.output_origin(cell));
    outputs
        .map(|origin| square(origin, grid.header.output))
        .collect()
}

fn patch_grid(name: &str, case: &Value) {
    let (input, output) = (number(case, "patch_input"), number(case, "patch_output"));
    let header = grid(size(case), input, output, number(case, "stride"));
    let all = PatchGrid::covering(header.clone(), None);
    assert_eq!(outputs(&all), boxes(&case["patch_outputs_xyxy"]), "{name}");
    let inputs = all.cells.iter().map(|&cell| all.input_origin(cell));
    let inputs: Vec<_> = inputs.map(|origin| square(origin, input)).collect();
    assert_eq!(inputs, boxes(&case["patch_inputs_xyxy"]), "{name}: inputs");
    let Some(rows) = case.get("mask_rows").and_then(Value::as_array) else {
        return;
    };
    let rows: Vec<&[u8]> = rows
        .iter()
        .map(|row| row.as_str().unwrap().as_bytes())
        .collect();
    let data: Vec<u8> = rows.concat().iter().map(|&b| b - b'0').collect();
    let mask = Grid::from_vec(rows[0].len(), rows.len(), data).unwrap();
    let geometry = MaskGeometry {
        mpp: 8.0,
        scale: [1.0, 1.0],
        slide: [1, 1],
    };
    let kept = PatchGrid::covering(header, Some(&Mask::from_grid(&mask, geometry)));
    let flags = case["keep"].as_array().unwrap();
    let expected = all
        .cells
        .iter()
        .zip(flags)
        .filter(|(_, keep)| keep.as_u64() == Some(1) || keep.as_bool() == Some(true));
    let expected: Vec<_> = expected.map(|(&cell, _)| cell).collect();
    assert!(!expected.is_empty() && expected.len() < all.cells.len());
    assert_eq!(kept.cells, expected, "{name}: under the mask");
}

fn sets_of(case: &Value) -> Vec<Vec<Tile>> {
    let [tile, margin, output] =
        ["tile_shape", "margin", "patch_output"].map(|key| number(case, key));
    tile_sets(size(case), tile, margin, output)
}

fn sets(name: &str, case: &Value) {
    let found = sets_of(case);
    let expected = case["sets"].as_array().unwrap();
    assert_eq!(found.len(), expected.len(), "{name}");
    for (set, expected) in found.iter().zip(expected) {
        let what = format!("{name}: {}", expected["kind"]);
        let places: Vec<_> = set.iter().map(|tile| tile.bounds).collect();
        assert_eq!(places, boxes(&expected["boxes_xyxy"]), "{what}");
        let flags: Vec<_> = set.iter().map(|tile| tile.shared.map(i64::from)).collect();
        let key = "flags_top_bottom_left_right";
        assert_eq!(flags, boxes(&expected[key]), "{what}: flags");
        let kind = expected["kind"].as_str().unwrap();
        for tile in set {
            assert_eq!(format!("{:?}", tile.set).to_lowercase(), kind);
        }
    }
}

fn query(name: &str, case: &Value) {
    let [width, height] = size(case);
    let patches = outputs(&PatchGrid::covering(
        grid([width, height], 448, 144, 144),
        None,
    ));
    let tiles = boxes(&case["grid_tiles"]);
    let sets = tile_sets([width, height], number(case, "tile_shape"), 64, 144);
    let found: Vec<_> = sets[0].iter().map(|tile| tile.bounds).collect();
    assert_eq!(found, tiles, "{name}");
    let expected: Vec<Vec<usize>> =
        serde_json::from_value(case["patch_indices_per_tile_sorted"].clone()).unwrap();
    for (tile, expected) in tiles.iter().zip(expected) {
        let found: Vec<usize> = (0..patches.len())
            .filter(|&i| touches(patches[i], *tile))
            .collect();
        assert_eq!(found, expected, "{name}: {tile:?}");
    }
}

fn image_mode(name: &str, case: &Value) {
    let [height, width]: [u32; 2] = serde_json::from_value(case["image_hw"].clone()).unwrap();
    let patches = PatchGrid::covering(grid([width, height], 448, 144, 144), None);
    assert_eq!(
        patches.cells.len(),
        number(case, "n_patches_unique") as usize
    );
    // Padded images begin 152 px before the image, and list columns first.
    let mut inputs: Vec<[i64; 2]> = patches
        .cells
        .iter()
        .map(|&cell| patches.input_origin(cell))
        .map(|(x, y)| [x + 152, y + 152])
        .collect();
    inputs.sort_unstable();
    let flipped = |key: &str| -> Vec<[i64; 2]> {
        let list: Vec<[i64; 2]> = serde_json::from_value(case[key].clone()).unwrap();
        list.into_iter().map(|[y, x]| [x, y]).collect()
    };
    assert_eq!(inputs, flipped("input_tl_yx"), "{name}");
    let shifted: Vec<_> = inputs.iter().map(|p| p.map(|v| v + 152)).collect();
    assert_eq!(
        shifted,
        flipped("output_tl_yx_in_padded"),
        "{name}: outputs"
    );
    for (key, length) in [("row_source_index", height), ("col_source_index", width)] {
        let expected: Vec<u32> = serde_json::from_value(case[key].clone()).unwrap();
        let found: Vec<u32> = (0..expected.len() as i64)
            .map(|i| mirrored(i - 152, length))
            .collect();
        assert_eq!(found, expected, "{name}: {key}");
    }
}

fn merge(file: &Path) {
    let npz = Npz::open(file);
    let whole =
        |name: &str| -> Vec<usize> { npz[name].values().iter().map(|&v| v as usize).collect() };
    let [height, width]: [usize; 2] = whole("canvas_hw").try_into().unwrap();
    let shape = &npz["predictions"].shape;
    let (side, channels) = (shape[1], shape[3]);
    let floats =
        |name: &str| -> Vec<f32> { npz[name].values().iter().map(|&v| v as f32).collect() };
    let mut canvas = Canvas::new(width, height, channels);
    let predictions = floats("predictions");
    let patches = predictions.chunks_exact(side * side * channels);
    for (place, patch) in whole("locations_xyxy").chunks_exact(4).zip(patches) {
        canvas.add(place[0], place[1], side, patch);
    }
    let differ = |a: &[f32], b: &[f32]| a.iter().zip(b).filter(|(a, b)| a != b).count();
    assert_eq!(canvas.values.len(), floats("merged_on_disk").len());
    assert_eq!(differ(&canvas.values, &floats("merged_on_disk")), 0);
    assert_eq!(
        canvas.counts,
        whole("count").iter().map(|&n| n as u8).collect::<Vec<_>>()
    );
    // Sum by count plus 1e-6, which the published code uses for images: the same but for that.
    for (mean, other) in canvas.values.iter().zip(floats("merged_in_memory")) {
        assert!((mean - other).abs() <= 2e-6 * mean.abs(), "{mean} {other}");
    }
}

/// Merges the nuclei of the named input over the four sets, as `instances.nuclei` does.
fn nuclei_merge(input: &str, case: &Value) {
    let folder = golden().0;
    let whole = folder.join(format!("{input}.npz"));
    let (npz, prefix) = if whole.is_file() {
        (Npz::open(&whole), "nuclei_")
    } else {
        (Npz::open(&folder.join(format!("nuclei_{input}.npz"))), "")
    };
    let [inner, contour, types] =
        ["inner", "contour", "type"].map(|name| &npz[format!("{prefix}{name}").as_str()]);
    let (inner, contour, types) = (inner.probability(), contour.probability(), types.floats());
    let sets = sets_of(case);
    let find = |tile: &Tile| -> Vec<Info> {
        let (x, y, width, height) = tile.on_slide(size(case));
        let (x, y) = (x as usize, y as usize);
        let part = Rect {
            x0: x,
            y0: y,
            x1: x + width as usize,
            y1: y + height as usize,
        };
        let options = nuclei::Options::default();
        let labels = nuclei::split(&inner.crop(part), &contour.crop(part), &options);
        let published = info::Options {
            mode: Mode::Reference,
            ..info::Options::default()
        };
        info::instances(&labels, Some(&types.crop(part)), &published)
    };
    let crosses: Vec<(Tile, Vec<Info>)> = sets
        .get(3)
        .into_iter()
        .flatten()
        .map(|tile| (*tile, find(tile)))
        .filter(|(_, found)| !found.is_empty())
        .collect();
    let squares: Vec<Tile> = crosses.iter().map(|(tile, _)| *tile).collect();
    let mut merged: Vec<Instance> = Vec::new();
    for tile in sets.iter().take(3).flatten() {
        merged.extend(tile.kept(find(tile), &squares));
    }
    for (tile, found) in crosses {
        merged.extend(tile.kept(found, &squares));
    }
    let key = |bbox: [i32; 4], centroid: [f64; 2]| (bbox, centroid.map(|v| (v * 1e6) as i64));
    merged.sort_by_key(|object| key(object.bbox, object.centroid));
    let mut expected: Vec<&Value> = case["instances"].as_array().unwrap().iter().collect();
    let read = |object: &Value| -> ([i32; 4], [f64; 2]) {
        (
            serde_json::from_value(object["box_xyxy"].clone()).unwrap(),
            serde_json::from_value(object["centroid"].clone()).unwrap(),
        )
    };
    expected.sort_by_key(|object| {
        let (bbox, centroid) = read(object);
        key(bbox, centroid)
    });
    assert_eq!(merged.len(), expected.len(), "{input}: number of nuclei");
    for (object, golden) in merged.iter().zip(expected) {
        let (bbox, centroid) = read(golden);
        let contour: Vec<[i32; 2]> = serde_json::from_value(golden["contour"].clone()).unwrap();
        assert_eq!((object.bbox, &object.contour), (bbox, &contour), "{input}");
        assert!((0..2).all(|i| (object.centroid[i] - centroid[i]).abs() <= 1e-9));
        assert_eq!(object.class.map(u64::from), golden["type"].as_u64());
        let share = golden["prob"].as_f64().unwrap();
        assert!((f64::from(object.prob.unwrap()) - share).abs() <= 1e-7);
    }
}
