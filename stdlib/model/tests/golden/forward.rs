//! Logits, intermediate maps and inference of the network with formula weights.

use std::fs;
use std::path::Path;

use cerb_image::Rgb8;
use cerb_model::{
    Array, Backbone, CpuNetwork, Head, HeadMap, HeadMaps, Network, Precision, Values, Weights,
};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::files::{cases, golden, json, stem};

/// A golden forward: its images and its tensors.
struct Forward {
    name: String,
    images: Vec<Rgb8>,
    bytes: Vec<u8>,
}

/// Pairs `outputs_NAME.safetensors` with `input_NAME.png`, or with the batch `input_NAME_0.png`, `input_NAME_1.png`, ….
fn forwards() -> Vec<Forward> {
    cases("model", |name| {
        name.starts_with("outputs_") && name.ends_with(".safetensors")
    })
    .into_iter()
    .map(|path| {
        let name = stem(&path).strip_prefix("outputs_").unwrap().to_owned();
        let file = |suffix: String| golden("model").join(format!("input_{name}{suffix}.png"));
        let batch = (0..)
            .map(|index| file(format!("_{index}")))
            .take_while(|path| path.is_file());
        let images: Vec<_> = Some(file(String::new()))
            .into_iter()
            .filter(|path| path.is_file())
            .chain(batch)
            .map(|path| image_of(&path))
            .collect();
        assert!(!images.is_empty(), "no input for {path:?}");
        Forward {
            images,
            bytes: fs::read(&path).unwrap(),
            name,
        }
    })
    .collect()
}

fn image_of(path: &Path) -> Rgb8 {
    let image = image::open(path).unwrap().to_rgb8();
    Rgb8 {
        width: image.width(),
        height: image.height(),
        data: image.into_raw(),
    }
}

fn weights() -> Weights {
    let mut weights = Weights::formula(Backbone::Resnet34, &Head::published());
    weights
        .replace_from(&golden("model").join("bn_running_stats.safetensors"))
        .unwrap();
    weights
}

fn network() -> Network {
    Network::load(&weights()).unwrap()
}

fn floats(tensors: &SafeTensors, name: &str) -> (Vec<usize>, Vec<f32>) {
    let view = tensors.tensor(name).unwrap();
    assert_eq!(view.dtype(), Dtype::F32, "{name}");
    (
        view.shape().to_vec(),
        view.data()
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
            .collect(),
    )
}

fn indices(tensors: &SafeTensors, name: &str) -> Vec<usize> {
    let view = tensors.tensor(name).unwrap();
    assert_eq!(view.dtype(), Dtype::I64, "{name}");
    view.data()
        .chunks_exact(8)
        .map(|bytes| usize::try_from(i64::from_le_bytes(bytes.try_into().unwrap())).unwrap())
        .collect()
}

fn names(heads: &[Head]) -> Vec<String> {
    heads.iter().map(Head::name).collect()
}

/// Takes every `step`-th value of rows and columns from `start` of an array `[.., height, width]`.
fn sampled(array: &Array, start: [usize; 2], step: usize, [height, width]: [usize; 2]) -> Vec<f32> {
    let (rows, columns) = (
        array.shape[array.shape.len() - 2],
        array.shape[array.shape.len() - 1],
    );
    let planes = array.floats().unwrap().chunks_exact(rows * columns);
    planes
        .flat_map(|plane| {
            (0..height).flat_map(move |y| {
                (0..width)
                    .map(move |x| plane[(start[0] + y * step) * columns + start[1] + x * step])
            })
        })
        .collect()
}

fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

/// Mean, spread, absolute sum and range, compared with a tolerance relative to the spread.
fn check_stats(values: &[f32], expected: &Value, what: &str) {
    let count = values.len() as f64;
    let sum: f64 = values.iter().map(|&value| f64::from(value)).sum();
    let mean = sum / count;
    let std = (values
        .iter()
        .map(|&value| (f64::from(value) - mean).powi(2))
        .sum::<f64>()
        / count)
        .sqrt();
    let extreme =
        |pick: fn(f32, f32) -> f32, start: f32| f64::from(values.iter().copied().fold(start, pick));
    let scale = expected["std"]
        .as_f64()
        .unwrap()
        .max(expected["mean"].as_f64().unwrap().abs());
    let near = |found: f64, key: &str, scale: f64| {
        let wanted = expected[key].as_f64().unwrap();
        assert!(
            (found - wanted).abs() <= 1e-4 * scale,
            "{what} {key}: {found} instead of {wanted}"
        );
    };
    near(mean, "mean", scale);
    near(std, "std", scale);
    near(
        values.iter().map(|&value| f64::from(value.abs())).sum(),
        "abs_sum",
        scale * count,
    );
    near(
        extreme(f32::min, f32::INFINITY),
        "min",
        scale.max(expected["min"].as_f64().unwrap().abs()),
    );
    near(
        extreme(f32::max, f32::NEG_INFINITY),
        "max",
        scale.max(expected["max"].as_f64().unwrap().abs()),
    );
}

#[test]
fn golden_logits_and_intermediate_maps_agree_with_the_reference() {
    let network = network();
    for Forward {
        name: case,
        images,
        bytes,
    } in forwards()
    {
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let stats_path = golden("model").join(format!("stats_{case}.json"));
        let stats = if stats_path.is_file() {
            json(&stats_path)
        } else {
            Value::Null
        };
        let heads = names(&Head::published());
        let asked: Vec<&str> = heads.iter().map(String::as_str).collect();

        let mut seen = Vec::new();
        let logits = network
            .trace(&images, &asked, &mut |layer, map| {
                let values = map.floats().unwrap();
                if tensors.tensor(&format!("feat_idx.{layer}")).is_ok() {
                    let (_, expected) = floats(&tensors, &format!("feat_val.{layer}"));
                    let found: Vec<f32> = indices(&tensors, &format!("feat_idx.{layer}"))
                        .into_iter()
                        .map(|index| values[index])
                        .collect();
                    let difference = largest_difference(&found, &expected);
                    assert!(difference <= 5e-4, "{case} {layer}: {difference}");
                }
                if let Some(expected) = stats["features"].get(layer) {
                    assert_eq!(
                        expected["shape"],
                        serde_json::json!(map.shape),
                        "{case} {layer}"
                    );
                    check_stats(values, expected, &format!("{case} {layer}"));
                }
                seen.push(layer.to_owned());
            })
            .unwrap();
        let wanted = tensors
            .names()
            .into_iter()
            .filter_map(|name| name.strip_prefix("feat_idx."));
        for layer in wanted.chain(
            stats["features"]
                .as_object()
                .into_iter()
                .flat_map(|map| map.keys().map(String::as_str)),
        ) {
            assert!(
                seen.iter().any(|seen| seen == layer),
                "{case} {layer} was not seen"
            );
        }

        let mut compared = 0;
        for (head, logits) in heads.iter().zip(&logits) {
            if let Some(expected) = stats["raw"].get(head) {
                check_stats(
                    logits.floats().unwrap(),
                    expected,
                    &format!("{case} {head}"),
                );
            }
            compared += check_logits(&tensors, &case, head, logits);
        }
        assert!(compared >= heads.len(), "{case}: {compared} comparisons");
    }
}

#[test]
fn our_kernels_give_the_golden_logits() {
    let network = CpuNetwork::load(&weights()).unwrap();
    for Forward {
        name: case,
        images,
        bytes,
    } in forwards()
    {
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let heads = names(&Head::published());
        let asked: Vec<&str> = heads.iter().map(String::as_str).collect();
        let each: Vec<Vec<Array>> = images
            .iter()
            .map(|image| network.logits(image, &asked).unwrap())
            .collect();
        let mut compared = 0;
        for (at, head) in heads.iter().enumerate() {
            let mut shape = each[0][at].shape.clone();
            shape[0] = images.len();
            let values = each.iter().flat_map(|logits| logits[at].floats().unwrap());
            let logits = Array {
                shape,
                values: Values::Float(values.copied().collect()),
            };
            compared += check_logits(&tensors, &format!("{case} kernels"), head, &logits);
        }
        assert!(compared >= heads.len(), "{case}: {compared} comparisons");
    }
}

/// Returns the golden forward of small images: what multiplies slowly is tried on it.
fn small() -> Forward {
    let mut all = forwards().into_iter();
    all.find(|case| case.images[0].width <= 256).unwrap()
}

#[test]
fn f32_in_the_parts_of_a_gpu_gives_the_golden_logits() {
    let network = Network::as_on_gpu(&weights(), Precision::F32).unwrap();
    let case = small();
    let tensors = SafeTensors::deserialize(&case.bytes).unwrap();
    let heads = names(&Head::published());
    let asked: Vec<&str> = heads.iter().map(String::as_str).collect();
    let logits = network.logits(&case.images, &asked).unwrap();
    let compared = heads
        .iter()
        .zip(&logits)
        .map(|(head, logits)| check_logits(&tensors, "by parts", head, logits));
    assert!(compared.sum::<usize>() >= heads.len());
}

#[test]
fn what_sixteen_bits_change_is_bounded() {
    let case = small();
    let heads = names(&Head::published());
    let asked: Vec<&str> = heads.iter().map(String::as_str).collect();
    let exact = network().logits(&case.images, &asked).unwrap();
    // The golden weights are a formula that amplifies what is rounded; bf16 rounds eight times as much as f16.
    for (precision, most, most_others) in
        [(Precision::Bf16, 0.2, 3e-2), (Precision::F16, 4e-2, 6e-3)]
    {
        let network = Network::as_on_gpu(&weights(), precision).unwrap();
        let other = network.logits(&case.images, &asked).unwrap();
        let (mut far, mut others, mut pixels) = (Vec::new(), 0, 0);
        for (exact, other) in exact.iter().zip(&other) {
            let classes = exact.shape[1];
            let size: usize = exact.shape[2..].iter().product();
            let (exact, other) = (exact.floats().unwrap(), other.floats().unwrap());
            far.extend(exact.iter().zip(other).map(|(a, b)| (a - b).abs()));
            let images = exact
                .chunks(classes * size)
                .zip(other.chunks(classes * size));
            for (exact, other) in images {
                let first = |values: &[f32], pixel: usize| {
                    let of = |&a: &usize, &b: &usize| {
                        values[a * size + pixel].total_cmp(&values[b * size + pixel])
                    };
                    (0..classes).max_by(of).unwrap()
                };
                let differs = |&pixel: &usize| first(exact, pixel) != first(other, pixel);
                others += (0..size).filter(differs).count();
                pixels += size;
            }
        }
        far.sort_by(f32::total_cmp);
        let of_a_thousand = far[far.len() - 1 - far.len() / 1000];
        let share = others as f64 / pixels as f64;
        println!("{precision}: 99.9 % within {of_a_thousand:.1e}, other classes {share:.1e}");
        assert!(of_a_thousand > 1e-6, "{precision} changes nothing");
        assert!(of_a_thousand <= most, "{precision}: {of_a_thousand}");
        assert!(share <= most_others, "{precision}: {share}");
    }
}

/// Compares what the file holds of a head: `raw.` or `raw_s4.` every n-th pixel, `raw_crop.` the centre.
fn check_logits(tensors: &SafeTensors, case: &str, head: &str, logits: &Array) -> usize {
    let [_, _, height, width] = logits.shape[..] else {
        panic!("{head}")
    };
    let mut compared = 0;
    for name in tensors.names() {
        let Some((kind, _)) = name.split_once('.').filter(|(_, of)| *of == head) else {
            continue;
        };
        if !kind.starts_with("raw") {
            continue;
        }
        let (shape, expected) = floats(tensors, name);
        let size = [shape[2], shape[3]];
        let found = if kind == "raw_crop" {
            sampled(
                logits,
                [(height - size[0]) / 2, (width - size[1]) / 2],
                1,
                size,
            )
        } else {
            sampled(logits, [0, 0], height.div_ceil(size[0]), size)
        };
        let tolerance = if head == "Patch-Class" { 1e-4 } else { 5e-4 };
        let difference = largest_difference(&found, &expected);
        println!("{case} {name}: largest difference {difference:.1e}");
        assert!(difference <= tolerance, "{case} {name}: {difference}");
        compared += 1;
    }
    compared
}

#[test]
fn golden_inference_gives_the_probabilities_and_classes_of_the_reference() {
    let (network, kernels) = (network(), CpuNetwork::load(&weights()).unwrap());
    for Forward {
        name: case,
        images,
        bytes,
    } in forwards()
    {
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        // Asked for in another order than the file's: outputs go by name.
        let mut heads = names(&Head::published());
        heads.reverse();
        let asked: Vec<&str> = heads.iter().map(String::as_str).collect();
        let results = network.infer(&images, &asked, 144).unwrap();
        let ours = images
            .iter()
            .map(|image| kernels.infer(image, &asked, 144).unwrap());
        let ours: Vec<HeadMaps> = ours.collect();
        let mut compared = 0;
        let both = results.iter().enumerate().chain(ours.iter().enumerate());
        for (index, result) in both {
            for head in &heads {
                let name = format!("infer.{index}.{head}");
                if tensors.tensor(&name).is_err() {
                    continue;
                }
                compared += 1;
                match &result.maps[head] {
                    HeadMap::Probabilities { channels, values } => {
                        let (shape, expected) = floats(&tensors, &name);
                        let step = result.height.div_ceil(shape[0]);
                        let pixel = |y: usize, x: usize| {
                            &values[(y * step * result.width + x * step) * channels..][..*channels]
                        };
                        let found: Vec<f32> = (0..shape[0])
                            .flat_map(|y| {
                                (0..shape[1]).flat_map(move |x| pixel(y, x).iter().copied())
                            })
                            .collect();
                        let difference = largest_difference(&found, &expected);
                        assert!(difference <= 1e-4, "{case} {name}: {difference}");
                    }
                    HeadMap::Types(types) => check_types(
                        &network,
                        &images[index],
                        head,
                        types,
                        tensors.tensor(&name).unwrap().data(),
                        &format!("{case} {name}"),
                    ),
                    // One class wins on all golden images; the logits are compared elsewhere.
                    HeadMap::Patches(class) => assert!(
                        tensors
                            .tensor(&name)
                            .unwrap()
                            .data()
                            .iter()
                            .all(|expected| [*expected] == class[..]),
                        "{case} {name}: {class:?}"
                    ),
                }
            }
        }
        assert!(
            compared >= 2 * heads.len() * images.len(),
            "{case}: {compared} comparisons"
        );
    }
}

/// Lets a pixel's type differ only where the two largest logits are within 1e-3.
fn check_types(
    network: &Network,
    image: &Rgb8,
    head: &str,
    found: &[u8],
    expected: &[u8],
    what: &str,
) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let different: Vec<usize> = (0..found.len())
        .filter(|&pixel| found[pixel] != expected[pixel])
        .collect();
    println!(
        "{what}: {} of {} pixels differ",
        different.len(),
        found.len()
    );
    if different.is_empty() {
        return;
    }
    let logits = &network
        .logits(std::slice::from_ref(image), &[head])
        .unwrap()[0];
    let side = (found.len() as f64).sqrt() as usize;
    let [_, classes, height, width] = logits.shape[..] else {
        panic!("{what}")
    };
    let centre = sampled(
        logits,
        [(height - side) / 2, (width - side) / 2],
        1,
        [side, side],
    );
    for pixel in different {
        let mut values: Vec<f32> = (0..classes)
            .map(|class| centre[class * side * side + pixel])
            .collect();
        values.sort_by(f32::total_cmp);
        assert!(
            values[classes - 1] - values[classes - 2] < 1e-3,
            "{what} pixel {pixel}"
        );
    }
}
