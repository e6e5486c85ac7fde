//! Targets, augmentation, sampling and windows against the golden values. Cases are whatever the folders hold.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

#[expect(dead_code, reason = "what other crates' golden values need")]
#[path = "../../image/tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;

use cerb_data::augment;
use cerb_data::sampling::{Order, Plan, Sampler, Scheme};
use cerb_data::targets::{Code, Target, Weights, targets};
use cerb_data::windows::{Border, Cut, Windows};
use cerb_image::{Grid, Rgb8};
use serde_json::Value;
use support::{Npz, golden_root, list};

/// Returns a folder of cases, or `None` when another set than the committed one has none.
fn folder(name: &str) -> Option<PathBuf> {
    let (root, own) = golden_root();
    let folder = root.join(name);
    assert!(folder.is_dir() || !own, "no {}", folder.display());
    folder.is_dir().then_some(folder)
}

fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<usize> {
    let values = value.as_array().unwrap().iter();
    values.map(|v| v.as_u64().unwrap() as usize).collect()
}

fn pairs(value: &Value) -> Vec<[usize; 2]> {
    let values = value.as_array().unwrap().iter().map(numbers);
    values.map(|pair| [pair[0], pair[1]]).collect()
}

#[test]
fn golden_targets_are_exact_and_weights_to_a_hundred_thousandth() {
    let Some(folder) = folder("targets") else {
        return;
    };
    let index = json(folder.join("index.json"));
    let cases = list(&folder, |name| name.ends_with(".npz"));
    assert!(!cases.is_empty());
    for path in &cases {
        let name = path.file_stem().unwrap().to_str().unwrap();
        check_targets(name, &index[name], &Npz::open(path));
    }
    println!("{} target cases", cases.len());
}

fn check_targets(name: &str, case: &Value, npz: &Npz) {
    let channels = case["channel"].as_array().unwrap().iter().enumerate();
    let labels: BTreeMap<String, Grid<i32>> = channels
        .map(|(i, channel)| {
            let labels = npz["input"].channel(i).map(|v| v as i32);
            (channel.as_str().unwrap().to_owned(), labels)
        })
        .collect();
    let codes: BTreeMap<String, Code> = case["channel_to_target"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(channel, code)| (channel.clone(), code.as_str().unwrap().parse().unwrap()))
        .collect();
    let crop = numbers(&case["crop_shape"]);
    let weights = match case["kwargs"]["gen_unet_weight_map"] == Value::Bool(false) {
        true => Weights::Even,
        false => Weights::BetweenObjects,
    };
    let made = targets(&labels, &codes, [crop[1], crop[0]], weights).unwrap();
    let mut outputs = npz.names().filter(|name| name.starts_with("out.")).count();
    for (channel, Target { map, weights, .. }) in &made {
        let expected = npz[&format!("out.{channel}")].channel(0).map(|v| v as i32);
        assert_eq!(map, &expected, "{name}: {channel}");
        outputs -= 1;
        let Some(weights) = weights else { continue };
        let expected = npz[&format!("out.{channel}#WEIGHT-MAP")].channel(0);
        let pairs = weights.data.iter().zip(&expected.data);
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(
            worst <= 1e-5,
            "{name}: weights of {channel} are off by {worst}"
        );
        outputs -= 1;
    }
    assert_eq!(outputs, 0, "{name}: outputs that nothing was compared with");
    let flags = case["has_flag"].as_array().unwrap();
    for (channel, target) in &made {
        let named = flags.iter().any(|flag| flag.as_str() == Some(channel));
        assert_eq!(target.annotated, named, "{name}: {channel}");
    }
}

#[test]
fn golden_augmentations_are_exact() {
    let Some(folder) = folder("augs") else { return };
    let mut compared = 0;
    for path in list(&folder, |name| name.ends_with(".npz")) {
        let npz = Npz::open(&path);
        let image = |name: &str| {
            let data = npz[name].values().iter().map(|&v| v as u8).collect();
            let shape = &npz[name].shape;
            Rgb8::from_vec(shape[1] as u32, shape[0] as u32, data).unwrap()
        };
        let input = image("input");
        for name in npz.names().filter(|name| *name != "input") {
            let (primitive, parameters) = name.split_once('_').unwrap();
            let value = || parameters.parse::<f64>().unwrap();
            let size = |key: &str| {
                let of = |part: &str| part.strip_prefix(key)?.parse::<usize>().ok();
                parameters.split('_').find_map(of).unwrap()
            };
            let found = match primitive {
                "gaussian" => augment::gaussian(&input, size("kx"), size("ky")),
                "median" => augment::median(&input, size("k")),
                "hue" => augment::hue(&input, value()),
                "saturation" => augment::saturation(&input, 1.0 + value()),
                "brightness" => augment::brightness(&input, value()),
                // Published contrast changes nothing: `Options::reference` leaves it out.
                "contrast" => input.clone(),
                other => panic!("no primitive {other}"),
            };
            assert!(found == image(name), "{name}");
            compared += 1;
        }
    }
    assert!(compared > 0);
    println!("{compared} augmentations");
}

#[test]
fn golden_batches_come_in_their_order() {
    let Some(folder) = folder("sampling") else {
        return;
    };
    for path in list(&folder, |name| name.ends_with(".json")) {
        for (name, case) in json(path)["samplers"].as_object().unwrap() {
            let mut objects = numbers(&case["dataset_sizes"]);
            let (scheme, patches) = match case["sampler"].as_str().unwrap() {
                "fixed" => (Scheme::Fixed, None),
                "mixed" => (Scheme::Mixed, None),
                "mixed_patch" => (Scheme::Mixed, objects.pop()),
                other => panic!("no sampler {other}"),
            };
            let batch = case["batch"].as_u64().unwrap() as usize;
            let plan = Plan {
                objects,
                patches,
                batch,
                patch_batch: batch,
                scheme,
                order: Order::Stored,
            };
            let mut sampler = Sampler::new(plan, 5).unwrap();
            let epoch = sampler.epoch();
            let found: Vec<[usize; 2]> = (0..epoch)
                .flat_map(|_| sampler.draw())
                .map(|pick| [pick.dataset, pick.sample])
                .collect();
            assert_eq!(found, pairs(&case["dataset_and_index"]), "{name}");
            let length = case["actual_length"].as_u64().unwrap();
            assert_eq!(epoch * batch as u64, length, "{name}");
        }
    }
}

#[test]
fn golden_windows_lie_where_they_should() {
    let Some(folder) = folder("sampling") else {
        return;
    };
    for path in list(&folder, |name| name.ends_with(".json")) {
        for (name, case) in json(path)["patch_extraction"].as_object().unwrap() {
            let size = numbers(&case["image_hw"]);
            let number = |key: &str| case[key].as_u64().unwrap() as usize;
            let cut = Cut {
                window: number("window"),
                step: number("step"),
                border: match case["mode"].as_str().unwrap() {
                    "valid" => Border::Inside,
                    "mirror" => Border::Mirror,
                    other => panic!("no mode {other}"),
                },
            };
            let windows = Windows::over(size[1], size[0], cut).unwrap();
            assert_eq!(windows.corners.len(), number("n"), "{name}");
            let at = |offset: usize| -> Vec<[usize; 2]> {
                let corners = windows.corners.iter();
                let source = |&[x, y]: &[usize; 2]| {
                    let [x, y] = windows.source(x + offset, y + offset).unwrap();
                    [y, x]
                };
                corners.map(source).collect()
            };
            let top_left = pairs(&case["source_yx_of_patch_top_left"]);
            assert_eq!(at(0), top_left, "{name}");
            let centre = pairs(&case["source_yx_of_patch_centre_pixel"]);
            assert_eq!(at(cut.window / 2), centre, "{name}");
        }
    }
}
