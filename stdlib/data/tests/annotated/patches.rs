//! NCT-CRC-HE's folders and PanNuke's stacks.

use std::collections::BTreeMap;
use std::path::Path;

use cerb_data::layout::{Known, Layout};
use cerb_data::sample::{NUCLEI, NUCLEI_TYPE, PATCH_CLASS};
use cerb_data::{DataError, Sample};
use cerb_image::Grid;

use crate::support::{collect, npy, picture, put};

fn read(layout: Layout, root: &Path) -> Result<BTreeMap<String, Sample>, DataError> {
    collect(layout.list(root, &Known::default()))
}

fn tiff(seed: u32) -> Vec<u8> {
    let image = picture(8, 8, seed);
    let mut bytes = std::io::Cursor::new(Vec::new());
    let encoder = image::codecs::tiff::TiffEncoder::new(&mut bytes);
    let kind = image::ExtendedColorType::Rgb8;
    image::ImageEncoder::write_image(encoder, &image.data, 8, 8, kind).unwrap();
    bytes.into_inner()
}

#[test]
fn folders_become_the_nine_classes() {
    let root = tempfile::tempdir().unwrap();
    let folders = [
        "BACK", "TUM", "NORM", "LYM", "MUS", "STR", "DEB", "MUC", "ADI",
    ];
    for (seed, folder) in (0..).zip(folders) {
        put(
            root.path(),
            &format!("{folder}/{folder}-AA.tif"),
            tiff(seed),
        );
    }
    let samples = read(Layout::Nct, root.path()).unwrap();
    for (class, folder) in (0..).zip(folders) {
        let sample = &samples[&format!("{folder}-AA")];
        assert_eq!(sample.labels[PATCH_CLASS].data, [class], "{folder}");
        assert_eq!(sample.image, picture(8, 8, class as u32));
    }
    put(root.path(), "CAT/x.tif", tiff(1));
    let error = read(Layout::Nct, root.path()).unwrap_err();
    assert!(
        matches!(&error, DataError::UnknownClass { class, .. } if class == "CAT"),
        "{error}"
    );
}

#[test]
fn a_map_for_each_class_becomes_one() {
    let root = tempfile::tempdir().unwrap();
    let pixels = [picture(4, 2, 1), picture(4, 2, 2)];
    let images = pixels
        .iter()
        .flat_map(|image| &image.data)
        .flat_map(|&v| f64::from(v).to_le_bytes());
    put(
        root.path(),
        "fold2/images.npy",
        npy("<f8", &[2, 2, 4, 3], images),
    );
    let mut masks = vec![[0f64; 6]; 16];
    masks[0][0] = 9.0; // One neoplastic nucleus,
    masks[1][0] = 9.0;
    masks[1][4] = 9.0; // an epithelial one below it that shares its number,
    masks[2][4] = 9.0;
    masks[3][5] = 1.0; // and the background.
    masks[12][3] = 2.0;
    let bytes = masks.iter().flatten().flat_map(|v| v.to_le_bytes());
    let masks = put(
        root.path(),
        "fold2/masks.npy",
        npy("<f8", &[2, 2, 4, 6], bytes),
    );
    let samples = read(Layout::Pannuke, root.path()).unwrap();
    let first = &samples["fold2_00000"];
    assert_eq!((first.fold, first.mpp), (2, 0.25));
    assert_eq!(first.image, pixels[0]);
    let grid = |data: [i32; 8]| Grid::from_vec(4, 2, data.to_vec()).unwrap();
    assert_eq!(first.labels[NUCLEI], grid([1, 1, 2, 0, 0, 0, 0, 0]));
    assert_eq!(first.labels[NUCLEI_TYPE], grid([1, 1, 5, 0, 0, 0, 0, 0]));
    assert_eq!(samples["fold2_00001"].labels[NUCLEI_TYPE].at(0, 1), 4);
    std::fs::write(&masks, npy("<f8", &[2, 2, 4, 5], vec![0; 640])).unwrap();
    let error = read(Layout::Pannuke, root.path()).unwrap_err().to_string();
    assert!(error.contains("[2, 2, 4, 5]"), "{error}");
    std::fs::remove_file(masks).unwrap();
    let error = read(Layout::Pannuke, root.path()).unwrap_err();
    assert_eq!(error.code(), "dataset::layout");
    assert!(
        error.to_string().contains("fold 2 has no `masks.npy`"),
        "{error}"
    );
}
