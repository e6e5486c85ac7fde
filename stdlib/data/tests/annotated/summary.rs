//! What a dataset holds: counted and painted.

use std::collections::BTreeMap;

use cerb_data::sample::{NUCLEI, NUCLEI_TYPE};
use cerb_data::{About, Dataset, Sample, Sheet, Summary};
use cerb_image::Rgb8;
use cerb_store::Store;

use crate::support::{classes, objects};

fn dataset(store: &Store, count: u32) -> Dataset {
    let names = ["none", "a", "b", "c"].map(str::to_owned).to_vec();
    let about = About {
        name: "x".to_owned(),
        licence: Some("CC0 1.0".to_owned()),
        notes: Vec::new(),
        classes: BTreeMap::from([(NUCLEI_TYPE.to_owned(), names)]),
    };
    let samples = (0..count).map(|i| {
        let ids = objects(40, 20);
        let image = Rgb8::filled(40, 20, [i as u8; 3]);
        let mut sample = Sample::new(format!("s{i:03}"), 0.5, image);
        sample.fold = i % 2 + 1;
        sample.patient = Some(format!("p{}", i / 2));
        sample = match i % 3 {
            0 => sample.of_class(2),
            _ => sample.with(NUCLEI_TYPE, classes(&ids, 3)).with(NUCLEI, ids),
        };
        sample.licence = (i == 1).then(|| "CC BY 4.0".to_owned());
        Ok(sample)
    });
    Dataset::collect(store, about, samples).unwrap()
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    (folder, store)
}

#[test]
fn classes_are_counted_by_fold() {
    let (_folder, store) = store();
    let summary = Summary::of(dataset(&store, 5).header());
    assert_eq!(
        (summary.samples, summary.patients, summary.sources),
        (5, 3, 0)
    );
    assert_eq!(summary.folds, BTreeMap::from([(1, 3), (2, 2)]));
    assert_eq!(
        (summary.pixels, summary.sides, summary.mpp),
        (4000, [20, 40], vec![0.5])
    );
    assert!((summary.area_mm2 - 0.001).abs() < 1e-12);
    assert_eq!(
        summary.licences,
        BTreeMap::from([("CC BY 4.0".to_owned(), 1), ("CC0 1.0".to_owned(), 4)])
    );
    let find = |channel: &str, class: &str| {
        let row = summary
            .rows
            .iter()
            .find(|row| row.channel == channel && row.class == class);
        let row = row.unwrap_or_else(|| panic!("{channel} {class}"));
        (row.images, row.count, row.folds.clone())
    };
    // 8 × 4 objects in each of three images, of which the first class has 11.
    assert_eq!(
        find(NUCLEI, "objects"),
        (3, 96, BTreeMap::from([(1, 64), (2, 32)]))
    );
    assert_eq!(find(NUCLEI_TYPE, "a").1, 33);
    assert_eq!(
        find("Patch-Class", "2"),
        (2, 2, BTreeMap::from([(1, 1), (2, 1)]))
    );
}

#[test]
fn a_sheet_shows_samples_evenly_with_outlines_and_frames() {
    let (_folder, store) = store();
    let dataset = dataset(&store, 10);
    let sheet = Sheet {
        columns: 3,
        side: 40,
        most: 5,
    };
    let painted = sheet.paint(&dataset).unwrap();
    assert_eq!((painted.width, painted.height), (3 * 46 + 6, 2 * 46 + 6));
    // The second sample that is shown is the third: outlined objects, 4 px a side, so 2 × 2 inside.
    let (left, top) = (6 + 46, 6 + 10);
    assert_eq!(painted.at(left + 3, top), [255, 127, 14]);
    assert_eq!(painted.at(left + 1, top + 1), [2; 3]);
    assert_eq!(painted.at(left + 5, top), [44, 160, 44]);
    // The first has a class and so a frame.
    assert_eq!(painted.at(6, 16), [44, 160, 44]);
    assert_eq!(painted.at(6 + 20, 16 + 10), [0; 3]);
    let small = Sheet { side: 20, ..sheet };
    assert_eq!(small.paint(&dataset).unwrap().width, 3 * 26 + 6);
    assert!(
        Sheet {
            columns: 0,
            ..sheet
        }
        .paint(&dataset)
        .is_err()
    );
    assert!(sheet.paint(&dataset.only(&[]).unwrap()).is_err());
    let huge = Sheet {
        columns: 5,
        side: 4096,
        most: 10,
    };
    let error = huge.paint(&dataset).unwrap_err().to_string();
    assert!(
        error.contains("a contact sheet of 20510 × 8204 px"),
        "{error}"
    );
}
