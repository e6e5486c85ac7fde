//! One's own pictures and labels.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

use cerb_data::layout::{Known, plain};
use cerb_data::sample::{GLAND, NUCLEI, NUCLEI_TYPE, PATCH_CLASS};
use cerb_data::{DataError, npy};

use crate::support::{classes, collect, npy as file, objects, picture, png, png_labels, put};

const ABOUT: &str = r#"{"name": "own", "mpp": 0.5, "licence": "CC0 1.0",
    "classes": {"Nuclei-TYPE": ["none", "a", "b"], "Patch-Class": ["stroma", "muscle"]}}"#;

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "about.json", ABOUT);
    put(root.path(), "images/x.png", png(&picture(12, 9, 1)));
    root
}

fn read(root: &Path) -> Result<BTreeMap<String, cerb_data::Sample>, DataError> {
    collect(plain(root, &Known::default()))
}

#[test]
fn labels_are_read_as_png_npy_and_npz() {
    let root = root();
    let ids = objects(12, 9);
    put(root.path(), "labels/Nuclei-INST/x.png", png_labels(&ids));
    let types = classes(&ids, 2).data.into_iter().map(|v| v as u8);
    put(
        root.path(),
        "labels/Nuclei-TYPE/x.npy",
        file("|u1", &[9, 12], types),
    );
    let mut archive = Cursor::new(Vec::new());
    let glands = BTreeMap::from([(GLAND.to_owned(), ids.map(|id| id * 70_000))]);
    npy::write_labels(&mut archive, &glands).unwrap();
    put(root.path(), "labels/x.npz", archive.get_ref());
    put(
        root.path(),
        "masks/x.png",
        png_labels(&ids.map(|id| id.min(1))),
    );
    put(
        root.path(),
        "samples.csv",
        "ID, Patient ,fold,mpp\nx,p1,3,0.25\n",
    );
    let sample = &read(root.path()).unwrap()["x"];
    assert_eq!(sample.labels[NUCLEI], ids);
    assert_eq!(sample.labels[NUCLEI_TYPE], classes(&ids, 2));
    assert_eq!(sample.labels[GLAND], glands[GLAND]);
    assert_eq!(sample.mask.as_ref().unwrap().at(4, 0), 0);
    assert_eq!(
        (sample.patient.as_deref(), sample.fold, sample.mpp),
        (Some("p1"), 3, 0.25)
    );
}

#[test]
fn outlines_become_objects_and_types() {
    let root = root();
    let text = r#"[{"properties": {"classification": {"name": "B"}},
        "geometry": {"type": "Polygon", "coordinates": [[[2, 2], [6, 2], [6, 5], [2, 5], [2, 2]]]}}]"#;
    put(root.path(), "labels/Nuclei/x.geojson", text);
    let sample = &read(root.path()).unwrap()["x"];
    assert_eq!(sample.labels[NUCLEI].data.iter().sum::<i32>(), 4 * 3);
    assert_eq!(sample.labels[NUCLEI_TYPE].at(2, 2), 2);
    put(
        root.path(),
        "labels/Nuclei/x.geojson",
        text.replace("\"B\"", "\"C\""),
    );
    let error = read(root.path()).unwrap_err();
    assert!(
        matches!(&error, DataError::UnknownClass { class, .. } if class == "C"),
        "{error}"
    );
}

#[test]
fn a_class_of_the_whole_is_enough() {
    let root = root();
    put(root.path(), "samples.csv", "id,class\nx,Muscle\n");
    assert_eq!(
        read(root.path()).unwrap()["x"].labels[PATCH_CLASS].data,
        [1]
    );
}

#[test]
fn an_image_without_labels_and_labels_without_an_image_are_errors() {
    let root = root();
    let error = read(root.path()).unwrap_err();
    assert!(
        matches!(&error, DataError::NoLabels { image, count: 1 } if image.ends_with("images/x.png"))
    );
    assert_eq!(error.code(), "dataset::unmatched");
    put(
        root.path(),
        "labels/Nuclei-INST/x.png",
        png_labels(&objects(12, 9)),
    );
    put(
        root.path(),
        "labels/Nuclei-INST/y.png",
        png_labels(&objects(12, 9)),
    );
    let error = read(root.path()).unwrap_err();
    assert!(matches!(&error, DataError::NoImage { labels, count: 1 } if labels.ends_with("y.png")));
}

#[test]
fn labels_of_another_size_are_an_error() {
    let root = root();
    put(
        root.path(),
        "labels/Nuclei-INST/x.png",
        png_labels(&objects(9, 12)),
    );
    let error = read(root.path()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`Nuclei-INST` of sample `x` is 9 × 12 px and its image 12 × 9 px; labels must lie pixel on pixel"
    );
}

#[test]
fn a_resolution_is_stated_somewhere() {
    let root = root();
    put(root.path(), "about.json", "{}");
    put(
        root.path(),
        "labels/Nuclei-INST/x.png",
        png_labels(&objects(12, 9)),
    );
    let error = read(root.path()).unwrap_err().to_string();
    assert!(error.contains("sample `x` has no resolution"), "{error}");
    let known = Known { mpp: Some(0.3) };
    assert_eq!(collect(plain(root.path(), &known)).unwrap()["x"].mpp, 0.3);
    put(root.path(), "about.json", "{\"mmp\": 1}");
    assert!(read(root.path()).unwrap_err().to_string().contains("mmp"));
}

#[test]
fn what_stands_twice_is_an_error_and_nothing_is_lost() {
    let root = root();
    let ids = objects(12, 9);
    put(root.path(), "labels/Nuclei-INST/x.png", png_labels(&ids));
    put(root.path(), "samples.csv", "id,fold\nx,1\nx,2\n");
    let error = read(root.path()).unwrap_err().to_string();
    assert!(error.contains("`x` has two rows"), "{error}");
    put(root.path(), "samples.csv", "id,fold\n,1\n");
    let error = read(root.path()).unwrap_err().to_string();
    assert!(error.contains("a row has no `id`"), "{error}");
    std::fs::remove_file(root.path().join("samples.csv")).unwrap();
    let text = r#"[{"geometry": {"type": "Polygon", "coordinates": [[[2, 2], [6, 2], [6, 5]]]}}]"#;
    put(root.path(), "labels/Nuclei/x.geojson", text);
    let error = read(root.path()).unwrap_err().to_string();
    assert!(
        error.contains("sample `x` has `Nuclei-INST` twice"),
        "{error}"
    );
    std::fs::remove_file(root.path().join("labels/Nuclei/x.geojson")).unwrap();
    put(root.path(), "masks/y.png", png_labels(&ids));
    let error = read(root.path()).unwrap_err();
    assert_eq!(error.code(), "dataset::unmatched");
    assert!(
        error
            .to_string()
            .ends_with("y.png` has no image; add its image, or move it away"),
        "{error}"
    );
}

#[test]
fn what_the_caller_says_of_the_resolution_stands() {
    let root = root();
    put(
        root.path(),
        "labels/Nuclei-INST/x.png",
        png_labels(&objects(12, 9)),
    );
    put(root.path(), "samples.csv", "id,mpp\nx,0.25\n");
    let known = Known { mpp: Some(0.4) };
    assert_eq!(collect(plain(root.path(), &known)).unwrap()["x"].mpp, 0.4);
    assert_eq!(read(root.path()).unwrap()["x"].mpp, 0.25);
}

#[test]
fn a_negative_label_is_told_as_one() {
    let root = root();
    let below = objects(12, 9)
        .data
        .into_iter()
        .flat_map(|v| (-v).to_le_bytes());
    put(
        root.path(),
        "labels/Nuclei-INST/x.npy",
        file("<i4", &[9, 12], below),
    );
    let error = read(root.path()).unwrap_err();
    assert_eq!(error.code(), "dataset::unknown_class");
    assert!(
        error.to_string().contains("holds -1; labels count from 0"),
        "{error}"
    );
}
