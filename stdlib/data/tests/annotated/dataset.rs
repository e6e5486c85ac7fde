//! The artifact: what is written comes back, whole and by windows, the same bytes for the same samples.

use std::collections::BTreeMap;

use cerb_data::sample::{GLAND, NUCLEI, NUCLEI_TYPE, PATCH_CLASS};
use cerb_data::{About, DataError, Dataset, Sample};
use cerb_image::{Grid, Rect};
use cerb_store::{Artifact, Store, Stored};

use crate::support::{classes, objects, picture, python};

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

fn about() -> About {
    let names = ["none", "a", "b"].map(str::to_owned).to_vec();
    About {
        name: "small".to_owned(),
        licence: Some("CC0 1.0".to_owned()),
        notes: vec!["synthetic".to_owned()],
        classes: BTreeMap::from([(NUCLEI_TYPE.to_owned(), names)]),
    }
}

fn samples() -> Vec<Sample> {
    let (ids, other) = (objects(37, 23), objects(16, 16).map(|id| id * 100_000));
    let mut first = Sample::new("b_1", 0.5, picture(37, 23, 1))
        .with(NUCLEI_TYPE, classes(&ids, 2))
        .with(NUCLEI, ids);
    first.mask = Some(Grid::filled(37, 23, 1).map(|v: u8| v));
    first.patient = Some("p".to_owned());
    first.fold = 2;
    let second = Sample::new("a", 0.248, picture(16, 16, 2))
        .with(GLAND, other)
        .of_class(7);
    vec![first, second]
}

fn written(store: &Store, samples: &[Sample]) -> Dataset {
    Dataset::collect(store, about(), samples.iter().cloned().map(Ok)).unwrap()
}

fn reopened(store: &Store, dataset: Dataset) -> Dataset {
    let stored = dataset.store(store).unwrap();
    Dataset::open(&stored, store).unwrap()
}

#[test]
fn what_is_written_comes_back_in_the_order_of_names() {
    let (_folder, store) = store();
    let dataset = written(&store, &samples());
    let stored = dataset.clone().store(&store).unwrap();
    assert_eq!(
        (&stored.fields["count"], &stored.fields["objects"]),
        (&2.into(), &56.into())
    );
    let again = Dataset::open(&stored, &store).unwrap();
    let read: Vec<Sample> = again.iter().collect::<Result<_, _>>().unwrap();
    let mut expected = samples();
    expected.reverse();
    assert_eq!(read, expected);
    assert_eq!(again.header().about, about());
    assert_eq!(again.header().samples[1].counts[NUCLEI], [40]);
    assert_eq!(again.header().samples[1].pixels, expected[1].pixels());
}

#[test]
fn the_order_of_writing_does_not_decide_the_bytes() {
    let (_folder, store) = store();
    let mut turned = samples();
    turned.reverse();
    assert_eq!(
        written(&store, &samples()).digest(),
        written(&store, &turned).digest()
    );
    turned[0].image.data[0] ^= 1;
    assert_ne!(
        written(&store, &samples()).digest(),
        written(&store, &turned).digest()
    );
}

#[test]
fn a_window_is_a_part_of_the_whole() {
    let (_folder, store) = store();
    let dataset = reopened(&store, written(&store, &samples()));
    let whole = dataset.sample(1).unwrap();
    for (x0, y0, x1, y1) in [
        (0, 0, 37, 23),
        (5, 7, 6, 8),
        (30, 20, 99, 99),
        (0, 22, 37, 23),
    ] {
        let rect = Rect { x0, y0, x1, y1 };
        let part = dataset.window(1, rect).unwrap();
        let cut = |grid: &Grid<i32>| grid.crop(rect);
        assert_eq!(part.labels[NUCLEI], cut(&whole.labels[NUCLEI]));
        assert_eq!(part.labels[NUCLEI_TYPE], cut(&whole.labels[NUCLEI_TYPE]));
        assert_eq!(part.mask, whole.mask.as_ref().map(|mask| mask.crop(rect)));
        for y in 0..part.image.height {
            for x in 0..part.image.width {
                assert_eq!(
                    part.image.at(x, y),
                    whole.image.at(x + x0 as u32, y + y0 as u32)
                );
            }
        }
    }
    let part = dataset
        .window(
            0,
            Rect {
                x0: 8,
                y0: 8,
                x1: 9,
                y1: 9,
            },
        )
        .unwrap();
    assert_eq!(part.labels[PATCH_CLASS], Grid::filled(1, 1, 7));
    let outside = Rect {
        x0: 40,
        y0: 0,
        x1: 50,
        y1: 1,
    };
    assert!(dataset.window(1, outside).is_err());
    assert!(dataset.sample(2).is_err());
}

#[test]
fn one_name_stands_for_one_sample() {
    let (_folder, store) = store();
    let writer = Dataset::writer(&store, about());
    writer.push(&samples()[0]).unwrap();
    assert!(matches!(writer.push(&samples()[0]), Err(DataError::SameId { id }) if id == "b_1"));
}

#[test]
fn a_type_beyond_the_list_is_not_written() {
    let (_folder, store) = store();
    let wrong = samples()
        .remove(0)
        .with(NUCLEI_TYPE, Grid::filled(37, 23, 3));
    let error = Dataset::writer(&store, about()).push(&wrong).unwrap_err();
    assert_eq!(error.code(), "dataset::unknown_class");
    assert_eq!(
        error.to_string(),
        "`Nuclei-TYPE` of sample `b_1` holds 3, and its list ends at 2; the labels and the list do not belong together"
    );
}

#[test]
fn classes_must_be_those_of_the_head() {
    let (_folder, store) = store();
    let dataset = written(&store, &samples());
    let list = |names: &[&str]| {
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>()
    };
    let header = dataset.header();
    header
        .fits(NUCLEI_TYPE, &list(&["none", "a", "b"]))
        .unwrap();
    header.fits(GLAND, &[]).unwrap();
    for wrong in [
        &["none", "b", "a"][..],
        &["none", "a"],
        &["none", "a", "b", "c"],
    ] {
        let error = header.fits(NUCLEI_TYPE, &list(wrong)).unwrap_err();
        assert!(matches!(error, DataError::Classes { .. }), "{error}");
    }
    let error = header.fits("Lumen-INST", &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no sample is annotated with `Lumen-INST`, only with Gland-INST, Nuclei-INST, Nuclei-TYPE, Patch-Class"
    );
}

#[test]
fn folds_and_parts_keep_the_files() {
    let (_folder, store) = store();
    let dataset = written(&store, &samples());
    assert_eq!(dataset.header().fold(2).unwrap(), [1]);
    let error = dataset.header().fold(1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "fold 1 has no sample; the samples lie in folds 0, 2"
    );
    let dealt = dataset.with_folds(&[1, 3]).unwrap();
    assert_eq!(dealt.sample(0).unwrap().fold, 1);
    let part = reopened(&store, dealt.only(&[1]).unwrap());
    assert_eq!(
        (part.len(), part.sample(0).unwrap().id),
        (1, "b_1".to_owned())
    );
    assert_eq!(part.sample(0).unwrap().image, samples()[0].image);
    assert!(dataset.with_folds(&[1]).is_err() && dataset.only(&[2]).is_err());
}

#[test]
fn damaged_files_are_errors() {
    let (_folder, store) = store();
    let dataset = written(&store, &samples()[1..]);
    let stored = dataset.clone().store(&store).unwrap();
    let tree = store.tree(&stored.digest).unwrap();
    for name in tree.entries.keys() {
        let bytes = store.read_blob(&tree.entries[name].digest).unwrap();
        for i in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[i] ^= 0x20;
            let mut other = tree.clone();
            other
                .entries
                .insert(name.clone(), store.put_bytes(&broken).unwrap());
            let other = store.put_tree(&other).unwrap();
            let other = Stored::tree(Dataset::KIND, other, BTreeMap::new());
            // A changed letter of a note is another dataset; what is read must still hold together.
            let read = Dataset::open(&other, &store).map(|dataset| dataset.sample(0));
            if let Ok(Ok(sample)) = read {
                sample.check(&BTreeMap::new()).unwrap();
                assert_eq!(
                    (sample.image.width, sample.image.height),
                    (16, 16),
                    "byte {i} of {name}"
                );
            }
        }
        let mut other = tree.clone();
        other.entries.remove(name);
        let other = store.put_tree(&other).unwrap();
        let other = Stored::tree(Dataset::KIND, other, BTreeMap::new());
        assert!(Dataset::open(&other, &store).is_err(), "without {name}");
    }
}

#[test]
fn numpy_opens_the_labels_and_finds_the_pixels() {
    let (folder, store) = store();
    let dataset = written(&store, &samples());
    let stored = dataset.store(&store).unwrap();
    let out = folder.path().join("published");
    store.publish(&stored, &out).unwrap();
    python("dataset", &out);
}
