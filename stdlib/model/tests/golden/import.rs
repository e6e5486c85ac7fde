//! Checkpoints in every container and nesting, value by value.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use cerb_model::{Array, Backbone, Checkpoint, Head, Role, Values, Weights, layout};

use crate::files::{cases, golden, json};

/// Returns the pattern of the checkpoint goldens: a ramp that starts where the name's hash says.
fn pattern(name: &str, shape: &[usize]) -> Array {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let count: usize = shape.iter().product();
    let values = if name.ends_with("num_batches_tracked") {
        Values::Int(vec![(hash % 1000).cast_signed(); count])
    } else {
        let offset = if name.ends_with("running_var") {
            1.0
        } else {
            -125.0
        };
        Values::Float(
            (0..count as u64)
                .map(|index| ((index + hash % 251) % 251) as f32)
                .map(|ramp| (ramp + offset) / 128.0)
                .collect(),
        )
    };
    Array {
        shape: shape.to_vec(),
        values,
    }
}

/// Unpacks a golden file beside a copy of its settings, when it is packed.
fn unpacked(path: &Path, folder: &Path, name: &str) -> PathBuf {
    let to = folder.join(name);
    let mut from = fs::File::open(path).unwrap();
    let mut to_file = fs::File::create(&to).unwrap();
    if path.extension().is_some_and(|extension| extension == "gz") {
        std::io::copy(&mut flate2::read::GzDecoder::new(from), &mut to_file).unwrap();
    } else {
        std::io::copy(&mut from, &mut to_file).unwrap();
    }
    to
}

#[test]
fn golden_published_layout_opens_as_a_model_directory_with_exact_values() {
    for path in cases("checkpoint", |name| {
        name.starts_with("weights_") && name.contains(".tar")
    }) {
        let folder = tempfile::tempdir().unwrap();
        unpacked(&path, folder.path(), "weights.tar");
        fs::copy(
            golden("checkpoint").join("settings.yml"),
            folder.path().join("settings.yml"),
        )
        .unwrap();
        let weights = Weights::open(folder.path()).unwrap();
        let settings = weights.settings();
        assert_eq!(
            (
                settings.backbone,
                settings.input,
                settings.output,
                settings.mpp
            ),
            (Backbone::Resnet34, 448, 144, 0.5)
        );
        assert_eq!(settings.heads, Head::published());
        assert_eq!(weights.tensors().count(), 558);
        for (name, tensor) in weights.tensors() {
            assert!(*tensor == pattern(name, &tensor.shape), "{name}");
        }
    }
}

#[test]
fn golden_torchvision_layout_opens_as_an_encoder_with_exact_values() {
    for path in cases("checkpoint", |name| name.contains("torchvision")) {
        let folder = tempfile::tempdir().unwrap();
        let file = unpacked(&path, folder.path(), "encoder.pth");
        let encoder = Weights::open(&file).unwrap();
        assert!(encoder.settings().heads.is_empty());
        let mut compared = 0;
        for (name, tensor) in encoder.tensors() {
            let original = name.strip_prefix("backbone.").unwrap();
            assert!(*tensor == pattern(original, &tensor.shape), "{name}");
            compared += 1;
        }
        let expected = layout(encoder.settings().backbone, &[])
            .iter()
            .filter(|slot| slot.role == Role::Value)
            .count();
        assert!(compared >= expected, "{compared} of {expected}");

        let whole = Weights::formula(encoder.settings().backbone, &Head::published())
            .with_encoder(&encoder)
            .unwrap();
        assert_eq!(
            whole.tensor("backbone.conv1.weight"),
            encoder.tensor("backbone.conv1.weight")
        );
        assert!(whole.tensor("conv_map.weight").is_some());
    }
}

#[test]
fn golden_small_checkpoints_with_optimizer_state_have_exact_values() {
    let index = json(&golden("checkpoint").join("index.json"));
    let expected: BTreeMap<String, Vec<usize>> =
        serde_json::from_value(index["small_keys"].clone()).unwrap();
    assert!(!expected.is_empty());
    for path in cases("checkpoint", |name| name.starts_with("small_")) {
        let mut checkpoint = Checkpoint::open(&path).unwrap();
        let found: BTreeMap<String, Vec<usize>> = checkpoint
            .tensors()
            .map(|(name, shape)| (name.to_owned(), shape.to_vec()))
            .collect();
        assert_eq!(found, expected, "{path:?}");
        for (name, shape) in &expected {
            assert_eq!(
                checkpoint.read(name).unwrap(),
                pattern(name, shape),
                "{name} of {path:?}"
            );
        }
    }
}
