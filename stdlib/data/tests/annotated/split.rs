//! Folds: nothing that belongs together is parted, and what was parted is found.

use std::collections::{BTreeMap, BTreeSet};

use cerb_data::split::{Keep, check_between, check_folds, deal};
use cerb_data::{About, DataError, Dataset, Header, Sample};
use cerb_store::Store;
use proptest::prelude::*;

use crate::support::picture;

/// Id, source, patient, fold, and what is on the picture.
type Line<'a> = (&'a str, Option<&'a str>, Option<&'a str>, u32, u32);

/// A dataset of pictures of 4 × 4 px.
fn header(name: &str, rows: &[Line<'_>]) -> Header {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let about = About {
        name: name.to_owned(),
        ..About::default()
    };
    let samples = rows.iter().map(|&(id, source, patient, fold, seed)| {
        let mut sample = Sample::new(id, 0.5, picture(4, 4, seed)).of_class(1);
        sample.source = source.map(str::to_owned);
        sample.patient = patient.map(str::to_owned);
        sample.fold = fold;
        Ok(sample)
    });
    Dataset::collect(&store, about, samples)
        .unwrap()
        .header()
        .clone()
}

fn many(groups: &[usize]) -> Header {
    let names: Vec<(String, String)> = groups
        .iter()
        .enumerate()
        .flat_map(|(group, &count)| {
            (0..count).map(move |i| (format!("s{group}-{i}"), format!("p{group}")))
        })
        .collect();
    let rows: Vec<_> = (0..)
        .zip(&names)
        .map(|(seed, (id, patient))| (id.as_str(), None, Some(patient.as_str()), 0, seed))
        .collect();
    header("many", &rows)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn patients_stay_whole_and_no_fold_is_empty(groups in proptest::collection::vec(1usize..5, 5..12), seed: u64) {
        let header = many(&groups);
        let folds = deal(&header, Keep::Patient, &[1, 1, 1], seed).unwrap();
        prop_assert_eq!(&folds, &deal(&header, Keep::Patient, &[1, 1, 1], seed).unwrap());
        let mut of: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
        let mut sizes = [0usize; 3];
        for (entry, &fold) in header.samples.iter().zip(&folds) {
            of.entry(entry.patient.as_deref().unwrap()).or_default().insert(fold);
            sizes[fold as usize - 1] += 1;
        }
        prop_assert!(of.values().all(|folds| folds.len() == 1));
        let most = groups.iter().max().unwrap();
        prop_assert!(sizes.iter().min().unwrap() + most >= *sizes.iter().max().unwrap(), "{sizes:?}");
        prop_assert!(sizes.iter().all(|&size| size > 0));
    }
}

#[test]
fn shares_are_kept() {
    let header = many(&[1; 40]);
    let folds = deal(&header, Keep::Source, &[8, 1, 1], 5).unwrap();
    let count = |fold| folds.iter().filter(|&&f| f == fold).count();
    assert_eq!([count(1), count(2), count(3)], [32, 4, 4]);
    assert_ne!(folds, deal(&header, Keep::Source, &[8, 1, 1], 6).unwrap());
}

#[test]
fn what_has_the_same_pixels_is_not_parted() {
    let rows = [
        ("a", None, Some("p"), 0, 1),
        ("b", None, Some("q"), 0, 1),
        ("c", None, Some("r"), 0, 2),
    ];
    let folds = deal(&header("x", &rows), Keep::Patient, &[1, 1], 1).unwrap();
    assert_eq!(folds[0], folds[1]);
    assert_ne!(folds[0], folds[2]);
}

#[test]
fn more_folds_than_patients_and_nameless_patients_are_errors() {
    let rows = [
        ("a", None, Some("p"), 0, 1),
        ("b", None, Some("p"), 0, 2),
        ("c", None, Some("q"), 0, 3),
    ];
    let error = deal(&header("x", &rows), Keep::Patient, &[1, 1, 1], 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "2 patients cannot be dealt to 3 folds; ask for 2 folds at most"
    );
    let rows = [("a", Some("s"), None, 0, 1)];
    let error = deal(&header("x", &rows), Keep::Patient, &[1], 1).unwrap_err();
    assert!(
        matches!(&error, DataError::NoPatient { id } if id == "a"),
        "{error}"
    );
    assert!(deal(&header("x", &rows), Keep::Source, &[], 1).is_err());
    assert!(deal(&header("x", &rows), Keep::Source, &[0], 1).is_err());
}

#[test]
fn a_patient_a_source_or_a_picture_in_two_folds_is_a_leak() {
    let rows = [
        ("a", Some("s"), Some("p"), 1, 1),
        ("b", Some("t"), Some("p"), 2, 2),
        ("c", Some("u"), Some("p"), 3, 3),
    ];
    let error = check_folds(&header("x", &rows)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "one patient, `p`, is in two folds: `a` in fold 1 and `b` in fold 2, and 1 more; put all of it in one"
    );
    let rows = [("a", Some("s"), None, 1, 1), ("b", Some("s"), None, 2, 2)];
    let error = check_folds(&header("x", &rows)).unwrap_err();
    assert!(
        matches!(
            &error,
            DataError::Leak {
                what: "source image",
                ..
            }
        ),
        "{error}"
    );
    let rows = [
        ("a", Some("s"), Some("p"), 1, 9),
        ("b", Some("t"), Some("q"), 2, 9),
    ];
    let error = check_folds(&header("x", &rows)).unwrap_err();
    assert_eq!(error.code(), "dataset::leak");
    assert!(
        error
            .to_string()
            .starts_with("the same pixels stand twice: `a` in fold 1 and `b` in fold 2;"),
        "{error}"
    );
    let rows = [
        ("a", Some("s"), Some("p"), 1, 9),
        ("b", Some("s"), Some("p"), 1, 9),
        ("c", Some("s"), Some("p"), 0, 9),
    ];
    check_folds(&header("x", &rows)).unwrap();
}

#[test]
fn a_picture_of_two_datasets_is_found() {
    let first = header(
        "glas",
        &[("train_1", None, None, 1, 1), ("train_2", None, None, 1, 2)],
    );
    let second = header(
        "lizard",
        &[("glas_9", None, None, 1, 2), ("glas_8", None, None, 1, 3)],
    );
    let error = check_between(&[&first, &second]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`train_2` of glas and `glas_9` of lizard"),
        "{error}"
    );
    let third = header("crag", &[("x", None, None, 1, 8)]);
    check_between(&[&first, &third]).unwrap();
}
