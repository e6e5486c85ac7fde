//! CoNIC's stacks.

use std::path::Path;

use cerb_data::layout::{Known, conic};
use cerb_data::sample::{NUCLEI, NUCLEI_TYPE};
use cerb_data::{DataError, Dataset};
use cerb_store::Store;

use crate::support::{classes, collect, interleaved, npy, objects, picture, put};

fn stacks(root: &Path, types: i32) {
    let images: Vec<u8> = (0..3).flat_map(|i| picture(12, 10, i).data).collect();
    put(root, "images.npy", npy("|u1", &[3, 10, 12, 3], images));
    let ids = objects(12, 10);
    let labels: Vec<u8> = (0..3)
        .flat_map(|_| interleaved(&ids, &classes(&ids, types)))
        .collect();
    put(root, "labels.npy", npy("<u2", &[3, 10, 12, 2], labels));
    put(
        root,
        "patch_info.csv",
        "patch_info\nconsep_1-0000\nconsep_1-0001\nglas_7-0003\n",
    );
}

#[test]
fn patches_are_read_with_their_sources() {
    let root = tempfile::tempdir().unwrap();
    stacks(root.path(), 6);
    let samples = collect(conic(root.path(), &Known::default())).unwrap();
    let ids: Vec<&str> = samples.keys().map(String::as_str).collect();
    assert_eq!(ids, ["consep_1-0000", "consep_1-0001", "glas_7-0003"]);
    let sample = &samples["glas_7-0003"];
    assert_eq!(
        (sample.source.as_deref(), sample.mpp),
        (Some("glas_7"), 0.5)
    );
    assert_eq!(sample.image, picture(12, 10, 2));
    assert_eq!(sample.labels[NUCLEI], objects(12, 10));
    assert_eq!(sample.labels[NUCLEI_TYPE], classes(&objects(12, 10), 6));
}

#[test]
fn without_a_list_patches_are_numbered() {
    let root = tempfile::tempdir().unwrap();
    stacks(root.path(), 6);
    std::fs::remove_file(root.path().join("patch_info.csv")).unwrap();
    let known = Known { mpp: Some(0.25) };
    let samples = collect(conic(root.path(), &known)).unwrap();
    assert_eq!(
        (samples["conic_00002"].mpp, &samples["conic_00002"].source),
        (0.25, &None)
    );
}

#[test]
fn a_class_beyond_the_six_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    stacks(root.path(), 6);
    let ids = objects(12, 10);
    let types = classes(&ids, 6).map(|class| if class == 6 { 7 } else { class });
    let labels = interleaved(&ids, &types).repeat(3);
    put(
        root.path(),
        "labels.npy",
        npy("<u2", &[3, 10, 12, 2], labels),
    );
    let error = collect(conic(root.path(), &Known::default())).unwrap_err();
    assert!(
        matches!(
            error,
            DataError::BeyondList {
                label: 7,
                last: 6,
                ..
            }
        ),
        "{error}"
    );
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let listing = conic(root.path(), &Known::default()).unwrap();
    let about = listing.about.clone();
    assert!(Dataset::collect(&store, about, listing).is_err());
}

#[test]
fn stacks_that_do_not_belong_together_are_errors() {
    let root = tempfile::tempdir().unwrap();
    let list = || {
        conic(root.path(), &Known::default())
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    assert!(list().contains("it has no `images.npy`"), "{}", list());
    stacks(root.path(), 6);
    put(root.path(), "patch_info.csv", "patch_info\na-1\n");
    assert!(list().contains("1 rows for 3 patches"), "{}", list());
    put(
        root.path(),
        "labels.npy",
        npy("<u2", &[2, 10, 12, 2], [0; 960]),
    );
    assert!(list().contains("`labels.npy` [2, 10, 12, 2]"), "{}", list());
    // A few bytes that say a million million images.
    let many = 1 << 40;
    put(root.path(), "images.npy", npy("|u1", &[many, 0, 0, 3], []));
    put(root.path(), "labels.npy", npy("<u2", &[many, 0, 0, 2], []));
    assert!(list().contains("`images.npy` has the shape"), "{}", list());
    put(
        root.path(),
        "images.npy",
        npy("|u1", &[3, 10, 12, 3], [0; 1080]),
    );
    put(
        root.path(),
        "labels.npy",
        npy("<u2", &[3, 10, 12, 2], [0; 960]),
    );
    assert!(list().contains("truncated?"), "{}", list());
}

#[test]
fn a_pixel_beyond_255_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    stacks(root.path(), 6);
    let images = (0..3 * 120 * 3).flat_map(|i| (i as f32).to_le_bytes());
    put(
        root.path(),
        "images.npy",
        npy("<f4", &[3, 10, 12, 3], images),
    );
    let error = collect(conic(root.path(), &Known::default()))
        .unwrap_err()
        .to_string();
    assert!(error.contains("0 to 255"), "{error}");
}
