//! Random cases against `cellseg-metrics`, SciPy and scikit-learn.
//!
//! `tests/oracles/metrics.py` computes the same and compares. Without an interpreter that has the
//! libraries the tests say so and pass, unless `CERB_REQUIRE_ORACLES=1`.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use std::path::{Path, PathBuf};
use std::process::Command;

use cerb_image::Grid;
use cerb_image::random::Random;
use cerb_metrics::bootstrap::interval;
use cerb_metrics::calibration::Calibration;
use cerb_metrics::classes::{Confusion, average_precision, highest, one_against_rest, roc_auc};
use cerb_metrics::detection::within;
use cerb_metrics::overlap::{Overlaps, objects};
use cerb_metrics::segmentation::Segmentation;
use serde_json::{Value, json};

/// Of objects; scikit-learn is slow, so there are fewer of classes.
const CASES: usize = 200;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn interpreter() -> Option<PathBuf> {
    let python = match std::env::var_os("CERB_PYTHON") {
        Some(path) => PathBuf::from(path),
        None => workspace().join(".venv/bin/python"),
    };
    let able = Command::new(&python)
        .args(["-c", "import numpy, scipy, sklearn, cellseg_metrics"])
        .output();
    able.is_ok_and(|out| out.status.success()).then_some(python)
}

/// Has the script compare the cases of one section.
fn agree(section: &str, cases: &[Value]) {
    let Some(python) = interpreter() else {
        let reason = "no Python with tests/oracles/requirements.txt (`CERB_PYTHON`, or `.venv` in the workspace)";
        assert!(
            std::env::var_os("CERB_REQUIRE_ORACLES").is_none_or(|v| v != "1"),
            "{reason}"
        );
        println!("skipped: {reason}");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cases.json");
    std::fs::write(&file, serde_json::to_vec(cases).unwrap()).unwrap();
    let script = workspace().join("tests/oracles/metrics.py");
    let out = Command::new(python)
        .arg(script)
        .arg(section)
        .arg(&file)
        .output()
        .unwrap();
    let text = [out.stdout, out.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(out.status.success(), "{}{}", text[0], text[1]);
    let said = format!("{} cases agree: {section}", cases.len());
    assert!(text[0].contains(&said), "{}{}", text[0], text[1]);
}

/// Paints boxes and discs with gaps in their labels; the prediction moves, joins and drops some.
fn maps(random: &mut Random) -> [Grid<i32>; 2] {
    let (width, height) = (8 + random.below(60), 8 + random.below(60));
    let mut maps = [(); 2].map(|()| Grid::filled(width, height, 0));
    for id in 1..=random.below(25) as i32 {
        let [x, y] = [random.below(width) as i64, random.below(height) as i64];
        let radius = 1 + random.below(8) as i64;
        let round = random.chance(0.7);
        let mut drawn = [random.chance(0.9), random.chance(0.9)];
        let shift = [0; 2].map(|_| random.below(5) as i64 - 2);
        let join = random.chance(0.1);
        for (which, map) in maps.iter_mut().enumerate() {
            let (x, y) = (x + which as i64 * shift[0], y + which as i64 * shift[1]);
            let label = if which == 1 && join {
                3
            } else {
                3 * id + which as i32
            };
            if !std::mem::take(&mut drawn[which]) {
                continue;
            }
            for v in (y - radius).max(0)..(y + radius).min(height as i64) {
                for u in (x - radius).max(0)..(x + radius).min(width as i64) {
                    if !round || (u - x).pow(2) + (v - y).pow(2) < radius * radius {
                        map.set(u as usize, v as usize, label);
                    }
                }
            }
        }
    }
    maps
}

fn rows(map: &Grid<i32>) -> Vec<&[i32]> {
    (0..map.height).map(|y| map.row(y)).collect()
}

#[test]
fn oracle_objects() {
    let mut random = Random::of(&[1]);
    let case = |_| {
        let [truth, predicted] = maps(&mut random);
        let found = Segmentation::of(&truth, &predicted).unwrap();
        let overlaps = Overlaps::of(&truth, &predicted).unwrap();
        let points = |map| -> Vec<[f64; 2]> {
            objects(map)
                .iter()
                .map(cerb_metrics::overlap::Object::centroid)
                .collect()
        };
        let (a, b) = (points(&truth), points(&predicted));
        let detected: Vec<u64> = [1.1, 2.6, 6.05]
            .map(|radius| within(&a, &b, radius).tp)
            .to_vec();
        json!({
            "truth": rows(&truth), "predicted": rows(&predicted),
            "objects": [overlaps.truth.len(), overlaps.predicted.len()],
            "pq": found.panoptic.pq(), "dq": found.panoptic.dq(), "sq": found.panoptic.sq(),
            "dice": found.dice, "aji": found.aji, "aji_plus": found.aji_plus,
            "object_dice": found.object_dice, "hausdorff": found.object_hausdorff,
            "centroids": a, "detected": detected,
        })
    };
    agree("objects", &(0..CASES).map(case).collect::<Vec<_>>());
}

#[test]
fn oracle_classes() {
    let mut random = Random::of(&[2]);
    let case = |_| {
        let (count, classes) = (20 + random.below(80), 2 + random.below(6));
        let truth: Vec<usize> = (0..count).map(|_| random.below(classes)).collect();
        // Coarse scores, so that some are equal.
        let mut row = |truth: usize| -> Vec<f64> {
            let raw = (0..classes)
                .map(|c| (random.unit() * 20.0).ceil() + f64::from(u8::from(c == truth)) * 6.0);
            let raw: Vec<f64> = raw.collect();
            let sum: f64 = raw.iter().sum();
            raw.iter().map(|v| v / sum).collect()
        };
        let scores: Vec<Vec<f64>> = truth.iter().map(|&truth| row(truth)).collect();
        let predicted: Vec<usize> = scores.iter().map(|row| highest(row)).collect();
        let confusion = Confusion::of(&truth, &predicted, classes).unwrap();
        let right: Vec<bool> = truth.iter().zip(&predicted).map(|(a, b)| a == b).collect();
        let confidence: Vec<f64> = scores
            .iter()
            .zip(&predicted)
            .map(|(row, &c)| row[c])
            .collect();
        let calibration = Calibration::of(&right, &confidence, 10).unwrap();
        json!({
            "truth": truth, "scores": scores, "predicted": predicted,
            "confusion": confusion.counts, "accuracy": confusion.accuracy(),
            "mean_recall": confusion.mean_recall(), "f1": confusion.f1(),
            "average_precision": one_against_rest(&truth, &scores, classes, average_precision).unwrap(),
            "roc_auc": one_against_rest(&truth, &scores, classes, roc_auc).unwrap(),
            "calibration": calibration, "expected_error": calibration.expected_error(),
        })
    };
    agree("classes", &(0..CASES / 5).map(case).collect::<Vec<_>>());
}

#[test]
fn oracle_bootstrap() {
    let mut random = Random::of(&[3]);
    let values: Vec<f64> = (0..40).map(|_| random.normal() + random.unit()).collect();
    let mut means = Vec::new();
    let found = interval(40, 4000, 0.95, 7, |drawn| {
        let mean = drawn.iter().map(|&i| values[i]).sum::<f64>() / 40.0;
        means.push(mean);
        Some(mean)
    });
    agree(
        "bootstrap",
        &[json!({ "values": values, "means": means, "found": found })],
    );
}
