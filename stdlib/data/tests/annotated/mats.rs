//! Sets whose labels are MATLAB's.

use std::path::Path;

use cerb_data::DataError;
use cerb_data::layout::{Known, Layout};
use cerb_data::sample::{GLAND, GLAND_TYPE, LUMEN, NUCLEI, NUCLEI_TYPE, PATCH_CLASS};

use crate::support::{
    classes, collect, column, mat, objects, picture, png, png_labels, put, typed_mat,
};

fn read(
    layout: Layout,
    root: &Path,
) -> Result<std::collections::BTreeMap<String, cerb_data::Sample>, DataError> {
    collect(layout.list(root, &Known::default()))
}

fn lizard() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let ids = objects(14, 11);
    for (folder, name) in [
        ("lizard_images1/Lizard_Images1", "glas_1"),
        ("lizard_images2/Lizard_Images2", "crag_2"),
    ] {
        put(
            root.path(),
            &format!("{folder}/{name}.png"),
            png(&picture(14, 11, 1)),
        );
        put(
            root.path(),
            &format!("lizard_labels/Lizard_Labels/Labels/{name}.mat"),
            typed_mat(&ids, 6),
        );
    }
    let info = "Filename,Source,Split\nglas_1,GlaS,1\ncrag_2,CRAG,3\n";
    put(root.path(), "lizard_labels/Lizard_Labels/info.csv", info);
    root
}

#[test]
fn lizard_has_types_by_object() {
    let root = lizard();
    let samples = read(Layout::Lizard, root.path()).unwrap();
    let sample = &samples["crag_2"];
    assert_eq!(
        (sample.fold, sample.source.as_deref(), sample.mpp),
        (3, Some("crag_2"), 0.5)
    );
    assert_eq!(sample.labels[NUCLEI], objects(14, 11));
    assert_eq!(sample.labels[NUCLEI_TYPE], classes(&objects(14, 11), 6));
    assert_eq!(samples["glas_1"].fold, 1);
}

#[test]
fn an_object_beyond_its_list_of_types_is_an_error() {
    let root = lizard();
    let ids = objects(14, 11);
    let short = mat(
        &[
            ("inst_map", &ids),
            ("id", &column([1, 2])),
            ("class", &column([1, 1])),
        ],
        true,
    );
    put(
        root.path(),
        "lizard_labels/Lizard_Labels/Labels/crag_2.mat",
        short,
    );
    let error = read(Layout::Lizard, root.path()).unwrap_err();
    assert!(
        matches!(error, DataError::NoType { label: 3, .. }),
        "{error}"
    );
    let uneven = mat(
        &[
            ("inst_map", &ids),
            ("id", &column([1, 2])),
            ("class", &column([1])),
        ],
        true,
    );
    put(
        root.path(),
        "lizard_labels/Lizard_Labels/Labels/crag_2.mat",
        uneven,
    );
    let error = read(Layout::Lizard, root.path()).unwrap_err().to_string();
    assert!(
        error.contains("`id` has 2 numbers and `class` 1"),
        "{error}"
    );
    let unnamed = mat(&[("instances", &ids)], true);
    put(
        root.path(),
        "lizard_labels/Lizard_Labels/Labels/crag_2.mat",
        unnamed,
    );
    let error = read(Layout::Lizard, root.path()).unwrap_err().to_string();
    assert!(
        error.contains("it has no `inst_map`, only instances"),
        "{error}"
    );
    std::fs::remove_file(root.path().join("lizard_images2/Lizard_Images2/crag_2.png")).unwrap();
    assert_eq!(
        read(Layout::Lizard, root.path()).unwrap_err().code(),
        "dataset::unmatched"
    );
}

#[test]
fn consep_has_its_two_parts_as_folds() {
    let root = tempfile::tempdir().unwrap();
    let ids = objects(9, 9);
    let labels = mat(&[("inst_map", &ids), ("type_map", &classes(&ids, 7))], true);
    for (part, name) in [("Train", "train_1"), ("Test", "test_1")] {
        put(
            root.path(),
            &format!("{part}/Images/{name}.png"),
            png(&picture(9, 9, 1)),
        );
        put(root.path(), &format!("{part}/Labels/{name}.mat"), &labels);
    }
    let samples = read(Layout::Consep, root.path()).unwrap();
    assert_eq!((samples["train_1"].fold, samples["test_1"].fold), (1, 2));
    assert_eq!(samples["test_1"].labels[NUCLEI_TYPE], classes(&ids, 7));
    assert_eq!(
        read(Layout::Consep, Path::new("nowhere"))
            .unwrap_err()
            .code(),
        "dataset::layout"
    );
}

#[test]
fn an_image_that_the_list_of_splits_lacks_is_an_error() {
    let root = lizard();
    let info = "Filename,Source,Split\nglas_1,GlaS,1\n";
    put(root.path(), "lizard_labels/Lizard_Labels/info.csv", info);
    let error = read(Layout::Lizard, root.path()).unwrap_err();
    assert_eq!(error.code(), "dataset::folds");
    assert!(
        error
            .to_string()
            .contains("does not say the split of `crag_2`"),
        "{error}"
    );
    let empty = "Filename,Source,Split\nglas_1,GlaS,1\ncrag_2,CRAG,\n";
    put(root.path(), "lizard_labels/Lizard_Labels/info.csv", empty);
    assert_eq!(
        read(Layout::Lizard, root.path()).unwrap_err().code(),
        "dataset::folds"
    );
    let root = cerberus();
    put(
        root.path(),
        "gland/split.csv",
        "Filename,Split\na,1\nunused,0\n",
    );
    let error = read(Layout::Cerberus, root.path()).unwrap_err();
    assert!(
        error.to_string().contains("does not say the split of `b`"),
        "{error}"
    );
}

#[test]
fn half_a_set_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let ids = objects(9, 9);
    let labels = mat(&[("inst_map", &ids), ("type_map", &classes(&ids, 7))], true);
    put(root.path(), "Train/Images/a.png", png(&picture(9, 9, 1)));
    put(root.path(), "Train/Labels/a.mat", &labels);
    put(root.path(), "Test/Images/b.png", png(&picture(9, 9, 2)));
    let error = read(Layout::Consep, root.path()).unwrap_err().to_string();
    assert!(
        error.contains("`Test` has not both `Images` and `Labels`"),
        "{error}"
    );
    std::fs::remove_file(root.path().join("Test/Images/b.png")).unwrap();
    std::fs::create_dir(root.path().join("Test/Labels")).unwrap();
    let error = read(Layout::Consep, root.path()).unwrap_err().to_string();
    assert!(error.contains("`Test/Images` has no PNG"), "{error}");
}

#[test]
fn a_mask_without_an_image_is_an_error() {
    let root = cerberus();
    put(
        root.path(),
        "gland/masks/z.png",
        png_labels(&objects(10, 10)),
    );
    let error = read(Layout::Cerberus, root.path()).unwrap_err();
    assert!(
        matches!(&error, DataError::NoImage { labels, .. } if labels.ends_with("z.png")),
        "{error}"
    );
}

fn cerberus() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let ids = objects(10, 10);
    for (tissue, last) in [("gland", 2), ("nuclei", 6), ("lumen", 1)] {
        for name in ["a", "b", "unused"] {
            put(
                root.path(),
                &format!("{tissue}/images/{name}.png"),
                png(&picture(10, 10, 1)),
            );
            let labels = if tissue == "lumen" {
                mat(&[("inst_map", &ids)], false)
            } else {
                typed_mat(&ids, last)
            };
            put(root.path(), &format!("{tissue}/labels/{name}.mat"), labels);
        }
        put(
            root.path(),
            &format!("{tissue}/split.csv"),
            "Filename,Split\na.png,1\nb,2\nunused,0\n",
        );
    }
    put(
        root.path(),
        "gland/masks/a.png",
        png_labels(&ids.map(|id| id.min(1) * 255)),
    );
    for (class, name) in [("5_stroma", "p"), ("normal_epithelium", "p"), ("8", "q")] {
        put(
            root.path(),
            &format!("tissue-type/{class}/{name}.png"),
            png(&picture(6, 6, 1)),
        );
    }
    root
}

#[test]
fn the_published_training_has_objects_by_tissue_and_patches_by_class() {
    let root = cerberus();
    let samples = read(Layout::Cerberus, root.path()).unwrap();
    let ids: Vec<&str> = samples.keys().map(String::as_str).collect();
    let wanted = [
        "adipose.q",
        "gland.a",
        "gland.b",
        "lumen.a",
        "lumen.b",
        "normal_epithelium.p",
        "nuclei.a",
        "nuclei.b",
        "stroma.p",
    ];
    assert_eq!(ids, wanted);
    let gland = &samples["gland.a"];
    assert_eq!(gland.labels[GLAND_TYPE], classes(&objects(10, 10), 2));
    assert_eq!((gland.labels[GLAND].at(0, 0), gland.fold), (1, 1));
    assert_eq!(gland.mask.as_ref().unwrap().at(4, 4), 0);
    assert_eq!(
        samples["lumen.b"].labels.keys().collect::<Vec<_>>(),
        [LUMEN]
    );
    assert_eq!(samples["lumen.b"].source, samples["gland.b"].source);
    assert_eq!(samples["normal_epithelium.p"].labels[PATCH_CLASS].data, [2]);
}

#[test]
fn a_split_of_an_image_that_is_not_there_is_an_error() {
    let root = cerberus();
    put(
        root.path(),
        "lumen/split.csv",
        "Filename,Split\na,1\nb,1\nunused,0\nc,2\n",
    );
    let error = read(Layout::Cerberus, root.path()).unwrap_err();
    assert!(
        matches!(error, DataError::NoImage { count: 1, .. }),
        "{error}"
    );
    put(root.path(), "lumen/split.csv", "Filename,Split\na,one\n");
    let error = read(Layout::Cerberus, root.path()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`one`, the split of `a`, is no number"),
        "{error}"
    );
    put(root.path(), "tissue-type/cat/x.png", png(&picture(6, 6, 1)));
    std::fs::remove_dir_all(root.path().join("lumen")).unwrap();
    let error = read(Layout::Cerberus, root.path()).unwrap_err();
    assert!(matches!(error, DataError::UnknownClass { class, .. } if class == "cat"));
}
