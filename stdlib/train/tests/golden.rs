//! Losses and training steps of the published code, every case that lies in the folders.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cerb_image::random::Random;
use cerb_kernels::{Arena, Isa, Map, Products};
use cerb_train::heads::{Backbone, Head, HeadKind};
use cerb_train::{
    Adam, AdamState, Batch, ByClass, Network, Plan, Role, Target, class_loss, formula,
    segmentation_loss,
};
use safetensors::SafeTensors;
use serde_json::Value;

/// Returns a folder of golden values, and whether it is the committed one.
fn folder(name: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = match std::env::var_os("CERB_GOLDEN") {
        Some(root) => workspace.join(root),
        None => workspace.join("tests/golden/reference"),
    };
    root.join(name)
}

/// Lists the files of a folder that end so; an absent folder has none.
fn list(name: &str, end: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder(name)) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.to_str().unwrap().ends_with(end));
    paths.sort();
    paths
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_str().unwrap().to_owned()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let values = bytes.chunks_exact(4);
    values
        .map(|v| f32::from_le_bytes(v.try_into().unwrap()))
        .collect()
}

/// Integers of any width as classes.
fn classes(tensor: &safetensors::tensor::TensorView) -> Vec<u8> {
    let count: usize = tensor.shape().iter().product();
    let width = tensor.data().len() / count.max(1);
    tensor.data().chunks_exact(width).map(|v| v[0]).collect()
}

fn named(head: &str) -> HeadKind {
    match head.rsplit('-').next().unwrap() {
        "INST" => HeadKind::Inst,
        "TYPE" => HeadKind::Type,
        _ => HeadKind::Out,
    }
}

/// `{"1": 12, "2": 1}` as weights by class, background 0.
fn class_weights(value: &Value) -> BTreeMap<String, Vec<f32>> {
    let of = |weights: &Value| {
        let weights = weights.as_object().unwrap();
        let most = weights
            .keys()
            .map(|k| k.parse::<usize>().unwrap())
            .max()
            .unwrap();
        let mut all = vec![0.0; most + 1];
        for (class, weight) in weights {
            all[class.parse::<usize>().unwrap()] = weight.as_f64().unwrap() as f32;
        }
        all
    };
    let heads = value.as_object().unwrap().iter();
    heads
        .map(|(head, weights)| (head.clone(), of(weights)))
        .collect()
}

fn loss_weights(value: &Value) -> BTreeMap<String, f32> {
    let heads = value.as_object().unwrap().iter();
    heads
        .map(|(head, v)| (head.clone(), v.as_f64().unwrap() as f32))
        .collect()
}

fn present(rows: &Value, head: &str) -> Vec<bool> {
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| row.as_array().unwrap().iter().any(|name| name == head))
        .collect()
}

/// Logits of the file, `[N, C, H, W]`, as a map.
fn logits_of(values: &[f32], [count, channels, height, width]: [usize; 4], arena: &Arena) -> Map {
    let plane = height * width;
    let mut map = arena.maps(count, height, width, channels);
    let stride = map.stride();
    for (at, pixel) in map.values_mut().chunks_exact_mut(stride).enumerate() {
        pixel.fill(0.0);
        for (channel, value) in pixel[..channels].iter_mut().enumerate() {
            *value = values[(at / plane * channels + channel) * plane + at % plane];
        }
    }
    map
}

/// The greatest distance of a gradient times `scale` from the file's `[N, C, H, W]`, as a share of the file's largest.
fn farthest(gradient: &Map, wanted: &[f32], scale: f32) -> f32 {
    let (channels, plane) = (gradient.channels, gradient.pixels() / gradient.count);
    let most = wanted.iter().fold(0.0f32, |most, v| most.max(v.abs()));
    let mut far = 0.0f32;
    let pixels = gradient.values().chunks_exact(gradient.stride());
    for (at, pixel) in pixels.enumerate() {
        for (channel, value) in pixel[..channels].iter().enumerate() {
            let wanted = wanted[(at / plane * channels + channel) * plane + at % plane];
            far = far.max((value * scale - wanted).abs());
        }
    }
    far / most.max(f32::MIN_POSITIVE)
}

/// The cross-entropy of each pixel, its mean and its gradient: a pixel is a sample of its own, so that the mean over
/// samples, times their number, is the sum.
fn cross_entropy(file: &SafeTensors, case: &Value) {
    let logits = file.tensor("logits").unwrap();
    let &[count, channels, height, width] = logits.shape() else {
        panic!("shape")
    };
    let (values, pixels) = (floats(logits.data()), count * height * width);
    let target = classes(&file.tensor("target").unwrap());
    let by_class: Option<Vec<f32>> = case["weights"].as_array().map(|weights| {
        let weights = weights.iter();
        weights.map(|v| v.as_f64().unwrap() as f32).collect()
    });
    let weights: Vec<f32> = target
        .iter()
        .map(|&class| by_class.as_ref().map_or(1.0, |by| by[usize::from(class)]))
        .collect();
    let arena = Arena::exact();
    let map = logits_of(&values, [count, channels, height, width], &arena);
    let loss = |map: &Map, at: std::ops::Range<usize>, samples: usize| {
        let target = Target {
            classes: target[at.clone()].to_vec(),
            weights: Some(weights[at].to_vec()),
            present: vec![true; samples],
        };
        segmentation_loss(map, &target, None, 1.0, &arena)
    };
    let each = floats(file.tensor("loss_map").unwrap().data());
    for (at, wanted) in each.iter().enumerate() {
        let mut pixel = arena.maps(1, 1, 1, channels);
        let stride = map.stride();
        pixel
            .values_mut()
            .copy_from_slice(&map.values()[at * stride..][..stride]);
        let made = loss(&pixel, at..at + 1, 1).value;
        let wanted = f64::from(*wanted);
        assert!(
            (made - wanted).abs() <= 1e-5 * wanted.abs().max(0.1),
            "{at}: {made} for {wanted}"
        );
    }
    // Ours is a mean over pixels; the file's is over weights.
    let all = loss(&map, 0..pixels, count);
    let scale = pixels as f64 / weights.iter().map(|&w| f64::from(w)).sum::<f64>();
    let wanted = case["mean_loss"].as_f64().unwrap();
    assert!((all.value * scale - wanted).abs() <= 1e-5 * wanted);
    let wanted = floats(file.tensor("grad_of_mean").unwrap().data());
    assert!(farthest(&all.gradient, &wanted, scale as f32) <= 1e-4);
}

/// Dice alone: no class's pixels weigh anything in the cross-entropy.
fn dice(file: &SafeTensors, case: &Value) {
    let logits = file.tensor("logits").unwrap();
    let &[count, channels, height, width] = logits.shape() else {
        panic!("shape")
    };
    let arena = Arena::exact();
    let map = logits_of(
        &floats(logits.data()),
        [count, channels, height, width],
        &arena,
    );
    let target = Target {
        classes: classes(&file.tensor("target").unwrap()),
        weights: None,
        present: vec![true; count],
    };
    let by = ByClass {
        weights: &vec![0.0; channels],
        everywhere: case["mask"].is_null(),
    };
    let loss = segmentation_loss(&map, &target, Some(by), 1.0, &arena);
    let wanted = case["loss"].as_f64().unwrap();
    assert!(
        (loss.value - wanted).abs() <= 1e-5 * wanted,
        "{} for {wanted}",
        loss.value
    );
    let wanted = floats(file.tensor("grad").unwrap().data());
    assert!(farthest(&loss.gradient, &wanted, 1.0) <= 1e-4);
}

#[test]
fn losses_and_their_gradients() {
    let index = folder("losses").join("index.json");
    if !index.exists() && std::env::var_os("CERB_GOLDEN").is_some() {
        return;
    }
    let index = json(&index);
    let mut seen = 0;
    for path in &list("losses", ".safetensors") {
        let bytes = std::fs::read(path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let case = &index[stem(path)];
        if case["losses_weighted"].is_null() {
            match case["smooth"].is_null() {
                true => cross_entropy(&file, case),
                false => dice(&file, case),
            }
            seen += 1;
            continue;
        }
        let by_class = class_weights(&case["class_weight"]);
        let weights = loss_weights(&case["loss_weights"]);
        for (head, wanted) in case["losses_weighted"].as_object().unwrap() {
            let Some(head) = head.strip_suffix("_loss").filter(|head| *head != "overall") else {
                continue;
            };
            let logits = file.tensor(&format!("logits.{head}")).unwrap();
            let &[count, channels, height, width] = logits.shape() else {
                panic!("shape")
            };
            let values = floats(logits.data());
            let arena = Arena::exact();
            let map = logits_of(&values, [count, channels, height, width], &arena);
            let target = Target {
                classes: classes(&file.tensor(&format!("target.{head}")).unwrap()),
                weights: file
                    .tensor(&format!("target.{head}#WEIGHT-MAP"))
                    .ok()
                    .map(|v| floats(v.data())),
                present: present(&case["has_target"], head),
            };
            let weight = weights[head];
            let loss = match named(head) {
                HeadKind::Out => class_loss(&map, &target, weight, true, &arena),
                HeadKind::Inst => segmentation_loss(&map, &target, None, weight, &arena),
                HeadKind::Type => {
                    let by = ByClass {
                        weights: &by_class[head],
                        everywhere: false,
                    };
                    segmentation_loss(&map, &target, Some(by), weight, &arena)
                }
            };
            let wanted = wanted.as_f64().unwrap();
            let far = (loss.value - wanted).abs();
            assert!(
                far <= 1e-5 * wanted.abs(),
                "{path:?} {head}: {} for {wanted}",
                loss.value
            );
            let wanted = floats(file.tensor(&format!("grad.{head}")).unwrap().data());
            let far = farthest(&loss.gradient, &wanted, 1.0);
            assert!(far <= 1e-4, "{path:?} {head}: {far}");
            seen += 1;
        }
    }
    assert!(seen > 0 || std::env::var_os("CERB_GOLDEN").is_some());
}

/// A batch of the golden file: `seg` or `cls`.
fn batch(kind: &str, case: &Value) -> Batch {
    let bytes = std::fs::read(folder("train_step").join("batches.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let images = file.tensor(&format!("{kind}.img")).unwrap();
    let &[count, height, width, 3] = images.shape() else {
        panic!("shape")
    };
    let rows = &case[format!("has_target_rows_{kind}")];
    let mut targets = BTreeMap::new();
    for head in Head::published() {
        let name = head.name();
        // A head of the other kind of batch has a target of another size, which the published code skips.
        if (head.kind == HeadKind::Out) == (kind == "cls") {
            let target = Target {
                classes: classes(&file.tensor(&format!("{kind}.target.{name}")).unwrap()),
                weights: None,
                present: present(rows, &name),
            };
            targets.insert(name, target);
        }
    }
    Batch {
        images: images.data().to_vec(),
        count,
        height,
        width,
        targets,
    }
}

/// The roles that the published code gives its decoders: those whose name is part of a target's name learn.
fn plan(case: &Value, kind: &str) -> Plan {
    let rows = case[format!("has_target_rows_{kind}")].as_array().unwrap();
    let names: Vec<&str> = rows
        .iter()
        .flat_map(|row| {
            row.as_array()
                .unwrap()
                .iter()
                .map(|name| name.as_str().unwrap())
        })
        .collect();
    let subtype = case["model_flags"]["subtype_nuclei"] == true;
    let mut plan = Plan {
        weights: loss_weights(&case["loss_weights"]),
        class_weights: class_weights(&case["class_weight"]),
        dropout: 0.0,
        reference: true,
        frozen_encoder: subtype,
        ..Plan::default()
    };
    for head in Head::published() {
        let chosen = names.iter().any(|name| name.contains(&head.decoder));
        let only = !subtype || head.name() == "Nuclei-TYPE";
        let role = if chosen && only {
            Role::Learns
        } else {
            Role::Watched
        };
        plan.roles.insert(head.name(), role);
        if subtype && !only {
            plan.frozen.push(head.name());
        }
    }
    plan
}

fn formulaic(network: &Network) -> Vec<f32> {
    let parameters = network.parameters();
    let mut state = vec![0.0; parameters.len()];
    for entry in parameters.entries() {
        let values = formula::values(&entry.name, &entry.shape);
        parameters.import(&entry.name, &values, &mut state).unwrap();
        assert!(parameters.export(entry, &state) == values, "{}", entry.name);
    }
    state
}

fn network(backbone: Backbone, products: Products) -> Network {
    Network::new(backbone, &Head::published(), products, Isa::best()).unwrap()
}

fn norm(values: &[f32]) -> f64 {
    values
        .iter()
        .map(|&v| f64::from(v).powi(2))
        .sum::<f64>()
        .sqrt()
}

/// How far the norm of one tensor's gradient may be. Patch classes go through the batch norm of four pooled samples,
/// which magnifies what is rounded: the first layers' differ by a little more there.
fn bound_of_norm(kind: &str) -> f64 {
    if kind == "cls" { 3e-3 } else { 1e-3 }
}

/// A bias before a batch norm: its gradient is rounding alone, and ours is zero.
fn idle(name: &str) -> bool {
    name.ends_with("conv.bias") && name.contains(".block.")
        || name.ends_with("Patch-Class.conv1.bias")
}

#[test]
fn steps_of_training() {
    let mut seen = 0;
    for path in list("train_step", ".json") {
        if stem(&path).ends_with("_grads_step1") {
            continue;
        }
        let case = json(&path);
        let what = stem(&path);
        let backbone: Backbone = case["backbone"].as_str().unwrap().parse().unwrap();
        let network = network(backbone, Products::Direct);
        let parameters = network.parameters();
        let mut state = formulaic(&network);
        let mut adam = AdamState::new(parameters);
        let rate = case["optimizer"]["lr"].as_f64().unwrap();
        for (at, step) in case["steps"].as_array().unwrap().iter().enumerate() {
            let kind = step["batch"].as_str().unwrap();
            let (batch, plan) = (batch(kind, &case), plan(&case, kind));
            let mut gradients = vec![0.0; parameters.len()];
            let mut touched = vec![false; parameters.entries().len()];
            let before = state.clone();
            let losses = network
                .step(
                    &batch,
                    &plan,
                    &mut state,
                    &mut gradients,
                    &mut touched,
                    Random::of(&[]),
                )
                .unwrap();
            // The reference differs from itself by this when other CPU kernels are used.
            let itself = &case["same_reference_other_cpu_kernels_rel_diff"][at];
            let bound = |key: &str, least: f64| least.max(4.0 * itself[key].as_f64().unwrap());
            // Adam's first steps go by the signs of gradients: at its published rate small differences grow.
            let small = case["optimizer"]["lr"].as_f64().unwrap() < 1e-4;
            let later = |first: f64| match (at, small) {
                (0, _) => first,
                (_, true) => 1e-3,
                (_, false) => 5e-3,
            };
            let wanted = step["losses_before_update"].as_object().unwrap();
            for (name, wanted) in wanted {
                let made = match name.strip_suffix("_loss").unwrap() {
                    "overall" => losses.total(),
                    head => losses.heads[head],
                };
                let wanted = wanted.as_f64().unwrap();
                let far = (made - wanted).abs();
                let bound = bound("overall_rel_diff", later(1e-4));
                assert!(
                    far <= bound * wanted.abs().max(1.0),
                    "{what} {at} {name}: {made} for {wanted}"
                );
            }
            let wanted = step["total_grad_l2"].as_f64().unwrap();
            let made = norm(&gradients);
            let far = (made - wanted).abs() / wanted;
            assert!(
                far <= bound("grad_l2_rel_diff", later(1e-3)),
                "{what} {at}: gradient {made} for {wanted}"
            );
            Adam::default().step(
                parameters, &mut state, &gradients, &touched, rate, &mut adam,
            );
            if at == 0 {
                check_step(
                    &what,
                    step,
                    parameters,
                    [&before, &state, &gradients],
                    &touched,
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 0 || std::env::var_os("CERB_GOLDEN").is_some());
}

/// Compares what the first step did to each tensor that the file describes.
fn check_step(
    what: &str,
    step: &Value,
    parameters: &cerb_train::Parameters,
    [before, after, gradients]: [&Vec<f32>; 3],
    touched: &[bool],
) {
    for (entry, &touched) in parameters.entries().iter().zip(touched) {
        let name = &entry.name;
        let wanted = &step["after_update"][name];
        if let Some(norm_wanted) = wanted["grad_l2"].as_f64().filter(|_| !idle(name)) {
            let made = norm(&gradients[entry.range.clone()]);
            let far = (made - norm_wanted).abs() / norm_wanted.max(1e-9);
            assert!(
                far <= bound_of_norm(step["batch"].as_str().unwrap()),
                "{what} {name}: gradient {made} for {norm_wanted}"
            );
            let (old, new) = (
                parameters.export(entry, before),
                parameters.export(entry, after),
            );
            let moved: f64 = old
                .iter()
                .zip(&new)
                .map(|(a, b)| f64::from((a - b).abs()))
                .sum();
            let moved = moved / old.len() as f64;
            let wanted = wanted["delta_abs_mean"].as_f64().unwrap();
            assert!(
                (moved - wanted).abs() <= 1e-2 * wanted,
                "{what} {name}: moved {moved} for {wanted}"
            );
        } else if !wanted.is_null() && !idle(name) {
            assert!(
                !touched,
                "{what} {name} has no gradient in the published code"
            );
        }
        let wanted = &step["bn_running_after"][name];
        if let Some(wanted) = wanted["abs_sum"].as_f64() {
            let values = parameters.export(entry, after);
            let made: f64 = values.iter().map(|&v| f64::from(v.abs())).sum();
            assert!(
                (made - wanted).abs() <= 1e-5 * wanted,
                "{what} {name}: {made} for {wanted}"
            );
        }
    }
}

#[test]
fn gradients_of_every_tensor() {
    let mut seen = 0;
    for path in list("train_step", "_grads_step1.json") {
        let (what, norms) = (stem(&path), json(&path));
        let case =
            json(&path.with_file_name(format!("{}.json", what.trim_end_matches("_grads_step1"))));
        let backbone: Backbone = case["backbone"].as_str().unwrap().parse().unwrap();
        let network = network(backbone, Products::Direct);
        let parameters = network.parameters();
        let mut state = formulaic(&network);
        let mut gradients = vec![0.0; parameters.len()];
        let mut touched = vec![false; parameters.entries().len()];
        let kind = case["steps"][0]["batch"].as_str().unwrap();
        let (batch, plan) = (batch(kind, &case), plan(&case, kind));
        network
            .step(
                &batch,
                &plan,
                &mut state,
                &mut gradients,
                &mut touched,
                Random::of(&[]),
            )
            .unwrap();
        let bytes = std::fs::read(path.with_extension("safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let without: Vec<&str> = norms["params_without_grad"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap())
            .collect();
        for (entry, &touched) in parameters.entries().iter().zip(&touched) {
            let name = &entry.name;
            if !entry.learned {
                if let Ok(wanted) = file.tensor(&format!("bn.{name}")) {
                    for (made, wanted) in parameters
                        .export(entry, &state)
                        .iter()
                        .zip(floats(wanted.data()))
                    {
                        let far = (made - wanted).abs();
                        assert!(
                            far <= 1e-4 * wanted.abs().max(0.1),
                            "{what} {name}: {made} for {wanted}"
                        );
                    }
                }
                continue;
            }
            assert!(
                touched != without.contains(&name.as_str()) || idle(name),
                "{what} {name}"
            );
            if idle(name) || !touched {
                continue;
            }
            let made = parameters.export(entry, &gradients);
            let wanted = norms["grad_l2_per_parameter"][name].as_f64().unwrap();
            let far = (norm(&made) - wanted).abs() / wanted;
            assert!(
                far <= bound_of_norm(kind),
                "{what} {name}: {} for {wanted}",
                norm(&made)
            );
            if let Ok(wanted) = file.tensor(&format!("grad.{name}")) {
                let wanted = floats(wanted.data());
                let most = wanted.iter().fold(0.0f32, |most, v| most.max(v.abs()));
                for (made, wanted) in made.iter().zip(&wanted) {
                    assert!(
                        (made - wanted).abs() <= 5e-3 * most,
                        "{what} {name}: {made} for {wanted}"
                    );
                }
            }
            seen += 1;
        }
    }
    assert!(seen > 0 || std::env::var_os("CERB_GOLDEN").is_some());
}

#[test]
fn tiles_round_more_and_mean_the_same() {
    let path = folder("train_step").join("resnet18_seg_types_trained.json");
    if !path.exists() && std::env::var_os("CERB_GOLDEN").is_some() {
        return;
    }
    let case = json(&path);
    let run = |products: Products| {
        let network = network(Backbone::Resnet18, products);
        let parameters = network.parameters();
        let (mut state, mut gradients) = (formulaic(&network), vec![0.0; parameters.len()]);
        let mut touched = vec![false; parameters.entries().len()];
        let (batch, plan) = (batch("seg", &case), plan(&case, "seg"));
        let random = Random::of(&[]);
        let losses = network
            .step(
                &batch,
                &plan,
                &mut state,
                &mut gradients,
                &mut touched,
                random,
            )
            .unwrap();
        (losses.total(), norm(&gradients))
    };
    let (direct, tiles) = (run(Products::Direct), run(Products::Winograd));
    assert!(
        (direct.0 - tiles.0).abs() < 1e-5 * direct.0,
        "{direct:?} {tiles:?}"
    );
    assert!(
        (direct.1 - tiles.1).abs() < 1e-2 * direct.1,
        "{direct:?} {tiles:?}"
    );
}
