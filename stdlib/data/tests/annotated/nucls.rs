//! NuCLS, as released and as label maps.

use cerb_data::DataError;
use cerb_data::layout::{Known, nucls};
use cerb_data::sample::{NUCLEI, NUCLEI_TYPE};

use crate::support::{classes, collect, interleaved, npy, objects, picture, png, put};

const NAME: &str = "TCGA-A1-A0SP-DX1_id-5ea4_left-7053_top-53154";
const HEAD: &str = "raw_classification,main_classification,super_classification,type,xmin,ymin,xmax,ymax,coords_x,coords_y\n";

#[test]
fn label_maps_are_read_beside_their_pictures() {
    let root = tempfile::tempdir().unwrap();
    let ids = objects(8, 8);
    put(root.path(), "train_1.png", png(&picture(8, 8, 1)));
    let labels = interleaved(&ids, &classes(&ids, 2));
    put(root.path(), "train_1.npy", npy("<u2", &[8, 8, 2], labels));
    let samples = collect(nucls(root.path(), &Known::default())).unwrap();
    let sample = &samples["train_1"];
    assert_eq!((sample.mpp, &sample.patient), (0.25, &None));
    assert_eq!(sample.labels[NUCLEI], ids);
    assert_eq!(sample.labels[NUCLEI_TYPE], classes(&ids, 2));
}

#[test]
fn boxes_and_outlines_are_painted() {
    let root = tempfile::tempdir().unwrap();
    put(
        root.path(),
        &format!("rgb/{NAME}.png"),
        png(&picture(10, 8, 1)),
    );
    let rows = "tumor,tumor_nonMitotic,tumor_any,rectangle,1,1,4,3,\"\",\"\"\n\
                tils,lymphocyte,sTIL,polyline,5,2,9,6,\"5,8,8,5\",\"2,2,5,5\"\n";
    put(
        root.path(),
        &format!("csv/{NAME}.csv"),
        format!("{HEAD}{rows}"),
    );
    let samples = collect(nucls(root.path(), &Known::default())).unwrap();
    let sample = &samples[NAME];
    assert_eq!(sample.patient.as_deref(), Some("TCGA-A1-A0SP"));
    assert_eq!(sample.source.as_deref(), Some("TCGA-A1-A0SP-DX1"));
    let ids = &sample.labels[NUCLEI];
    let pixels = |id| ids.data.iter().filter(|&&v| v == id).count();
    assert_eq!((pixels(1), pixels(2)), (3 * 2, 4 * 4));
    assert_eq!((ids.at(1, 1), ids.at(3, 2), ids.at(4, 2)), (1, 1, 0));
    assert_eq!(sample.labels[NUCLEI_TYPE].at(5, 2), 3);
    assert_eq!(sample.counts()[NUCLEI_TYPE], [0, 1, 0, 1]);
}

#[test]
fn what_the_release_does_not_have_is_said() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "rgb/a.png", png(&picture(10, 8, 1)));
    let read = |rows: &str| {
        put(root.path(), "csv/a.csv", format!("{HEAD}{rows}"));
        collect(nucls(root.path(), &Known::default())).unwrap_err()
    };
    let error = read("x,y,cat,rectangle,1,1,4,3,,\n");
    assert!(
        matches!(&error, DataError::UnknownClass { class, .. } if class == "cat"),
        "{error}"
    );
    assert!(
        read("x,y,sTIL,rectangle,1,1,4,here,,\n")
            .to_string()
            .contains("`here` is no coordinate")
    );
    assert!(
        read("x,y,sTIL,polyline,1,1,4,3,\"1,2\",\"1,2\"\n")
            .to_string()
            .contains("outline")
    );
    put(root.path(), "csv/b.csv", HEAD);
    let error = collect(nucls(root.path(), &Known::default())).unwrap_err();
    assert!(
        matches!(&error, DataError::NoImage { count: 1, .. }),
        "{error}"
    );
}

#[test]
fn a_folder_without_either_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let error = collect(nucls(root.path(), &Known::default())).unwrap_err();
    assert_eq!(error.code(), "dataset::layout");
}

#[test]
fn the_real_tiles_are_read_where_they_are_at_hand() {
    let Some(root) = std::env::var_os("CERB_NUCLS") else {
        eprintln!("skipped: CERB_NUCLS names no folder with train_1.png, train_1.npy, …");
        return;
    };
    let samples = collect(nucls(root.as_ref(), &Known::default())).unwrap();
    assert!(
        samples
            .values()
            .all(|sample| sample.image.width == 256 && sample.counts()[NUCLEI] > vec![0])
    );
}
