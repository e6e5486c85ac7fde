//! Truth and what was found: joined by name, or an error that names who stands alone.

use cerb_data::joined::{Pair, joined};
use cerb_data::sample::{GLAND, NUCLEI, NUCLEI_TYPE};
use cerb_data::{About, DataError, Dataset, Sample};
use cerb_image::{Grid, Rgb8};
use cerb_store::Store;

use crate::support::objects;

fn dataset(names: &[&str], classes: usize, change: impl Fn(&mut Sample)) -> Dataset {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let names_of: Vec<_> = (0..classes).map(|class| format!("class {class}")).collect();
    let named = (!names_of.is_empty()).then(|| (NUCLEI_TYPE.to_owned(), names_of));
    let about = About {
        classes: named.into_iter().collect(),
        ..About::default()
    };
    let sample = |name: &&str| {
        let ids = objects(12, 10);
        let types = ids.map(|id| i32::from(id != 0));
        let mut sample = Sample::new(*name, 0.5, Rgb8::filled(12, 10, [9; 3]))
            .with(NUCLEI, ids)
            .with(NUCLEI_TYPE, types);
        change(&mut sample);
        Ok(sample)
    };
    Dataset::collect(&store, about, names.iter().map(sample)).unwrap()
}

fn join(truth: &Dataset, found: &Dataset) -> Result<Vec<Pair>, DataError> {
    joined(truth.header(), found.header(), NUCLEI)
}

#[test]
fn samples_are_joined_by_name() {
    let truth = dataset(&["a", "b"], 2, |_| {});
    let pairs = join(&truth, &dataset(&["b", "a"], 2, |_| {})).unwrap();
    let places: Vec<_> = pairs.iter().map(|pair| (pair.truth, pair.found)).collect();
    assert_eq!(places, [(0, 0), (1, 1)]);
}

#[test]
fn a_sample_without_its_other_is_named_on_either_side() {
    let (two, three) = (
        dataset(&["a", "b"], 2, |_| {}),
        dataset(&["a", "b", "c"], 2, |_| {}),
    );
    let error = join(&three, &two).unwrap_err();
    assert_eq!(error.code(), "dataset::unmatched");
    assert!(
        error
            .to_string()
            .starts_with("sample `c` stands alone: what was found has it not"),
        "{error}"
    );
    let error = join(&two, &dataset(&["a", "b", "c", "d"], 2, |_| {})).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("2 samples stand alone, `c` the first: the truth has it not"),
        "{error}"
    );
}

#[test]
fn what_is_not_annotated_in_the_truth_is_not_measured() {
    let truth = dataset(&["a", "b"], 2, |sample| {
        if sample.id == "b" {
            sample.labels.clear();
            sample
                .labels
                .insert(GLAND.to_owned(), Grid::filled(12, 10, 1));
        }
    });
    let found = dataset(&["a", "b"], 2, |_| {});
    assert_eq!(join(&truth, &found).unwrap().len(), 1);
    // The other way round `b` was not looked at.
    let error = join(&found, &truth).unwrap_err();
    assert!(
        error.to_string().starts_with("sample `b` stands alone"),
        "{error}"
    );
    assert!(joined(truth.header(), found.header(), "Lumen-INST").is_err());
}

#[test]
fn sizes_resolutions_and_classes_are_the_same_on_both_sides() {
    let truth = dataset(&["a"], 2, |_| {});
    let finer = dataset(&["a"], 2, |sample| sample.mpp = 0.25);
    let error = join(&truth, &finer).unwrap_err();
    assert_eq!(error.code(), "dataset::sizes");
    assert!(
        error
            .to_string()
            .contains("0.5 mpp, and what was found of it 12 × 10 px of 0.25 mpp"),
        "{error}"
    );
    let more = join(&truth, &dataset(&["a"], 3, |_| {})).unwrap_err();
    assert_eq!(more.code(), "dataset::classes");
}

#[test]
fn types_without_their_names_or_their_other_are_refused() {
    let truth = dataset(&["a", "b"], 2, |_| {});
    for (truth, found) in [
        (&truth, &dataset(&["a", "b"], 0, |_| {})),
        (&dataset(&["a", "b"], 0, |_| {}), &truth),
    ] {
        let error = join(truth, found).unwrap_err();
        assert_eq!(error.code(), "dataset::classes");
        let said = error.to_string();
        assert!(said.contains("has no list of classes in"), "{said}");
    }
    let half = dataset(&["a", "b"], 2, |sample| {
        if sample.id == "b" {
            sample.labels.remove(NUCLEI_TYPE);
        }
    });
    let said = join(&truth, &half).unwrap_err().to_string();
    assert!(
        said.starts_with("sample `b` stands alone: what was found has it not, or not annotated with `Nuclei-TYPE`"),
        "{said}"
    );
    let said = join(&half, &truth).unwrap_err().to_string();
    assert!(said.contains("the truth has it not"), "{said}");
    // Where one side has no types at all, objects alone are compared.
    let none = dataset(&["a", "b"], 0, |sample| {
        sample.labels.remove(NUCLEI_TYPE);
    });
    assert_eq!(join(&truth, &none).unwrap().len(), 2);
}

#[test]
fn labels_are_read_without_the_image_and_with_the_mask() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut mask = Grid::filled(3, 2, 1);
    mask.set(0, 0, 0);
    let mut sample = Sample::new("a", 0.5, Rgb8::filled(3, 2, [9; 3]))
        .with(NUCLEI, Grid::filled(3, 2, 7))
        .of_class(2);
    sample.mask = Some(mask);
    let dataset = Dataset::collect(&store, About::default(), [Ok(sample)]).unwrap();
    let of = dataset.labels(0).unwrap();
    assert_eq!(of.labels[NUCLEI].data, [7; 6]);
    assert_eq!(of.labels["Patch-Class"].data, [2]);
    let inside: Vec<bool> = of.mask.unwrap().data.iter().map(|&v| v != 0).collect();
    assert_eq!(inside, [false, true, true, true, true, true]);
    assert!(dataset.labels(1).is_err());
}
