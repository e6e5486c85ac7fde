//! GlaS, CRAG and DigestPath.

use std::collections::BTreeMap;
use std::path::Path;

use cerb_data::layout::{Known, Layout};
use cerb_data::sample::{GLAND, SIGNET};
use cerb_data::{DataError, Sample};
use cerb_image::{Grid, Rgb8};

use crate::support::{collect, objects, picture, png, png_labels, put};

fn read(layout: Layout, root: &Path) -> Result<BTreeMap<String, Sample>, DataError> {
    collect(layout.list(root, &Known { mpp: Some(0.5) }))
}

/// A BMP of 24 bits, or of 8 bits with a palette of colours.
fn bmp(width: u32, height: u32, palette: bool, pixel: impl Fn(u32, u32) -> [u8; 3]) -> Vec<u8> {
    let (bits, colours) = if palette { (8u16, 256u32) } else { (24, 0) };
    let start = 54 + 4 * colours;
    let mut rows = Vec::new();
    for y in (0..height).rev() {
        for x in 0..width {
            let [r, g, b] = pixel(x, y);
            rows.extend(if palette { vec![r] } else { vec![b, g, r] });
        }
        rows.resize(rows.len().next_multiple_of(4), 0);
    }
    let mut bytes = b"BM".to_vec();
    bytes.extend((start + rows.len() as u32).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(start.to_le_bytes());
    bytes.extend(40u32.to_le_bytes());
    bytes.extend(width.to_le_bytes());
    bytes.extend(height.to_le_bytes());
    bytes.extend(1u16.to_le_bytes());
    bytes.extend(bits.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend((rows.len() as u32).to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend(colours.to_le_bytes());
    bytes.extend([0; 4]);
    // Colours that are not the numbers.
    bytes.extend((0..colours).flat_map(|i| [(255 - i) as u8, 7, i as u8, 0]));
    bytes.extend(rows);
    bytes
}

fn colours(image: &Rgb8) -> Vec<u8> {
    bmp(image.width, image.height, false, |x, y| image.at(x, y))
}

fn numbers(grid: &Grid<i32>) -> Vec<u8> {
    let (width, height) = (grid.width as u32, grid.height as u32);
    bmp(width, height, true, |x, y| {
        [grid.at(x as usize, y as usize) as u8, 0, 0]
    })
}

#[test]
fn glas_has_its_parts_as_folds_and_patients_by_its_table() {
    let root = tempfile::tempdir().unwrap();
    let ids = objects(13, 9);
    for name in ["train_1", "testA_12", "testB_2"] {
        put(
            root.path(),
            &format!("{name}.bmp"),
            colours(&picture(13, 9, 4)),
        );
        put(root.path(), &format!("{name}_anno.bmp"), numbers(&ids));
    }
    put(
        root.path(),
        "Grade.csv",
        "name,patient ID, grade (GlaS)\ntestA_12,7, benign\n",
    );
    let samples = collect(Layout::Glas.list(root.path(), &Known::default())).unwrap();
    let folds: Vec<u32> = samples.values().map(|sample| sample.fold).collect();
    assert_eq!(folds, [2, 3, 1]);
    let sample = &samples["testA_12"];
    assert_eq!(
        (sample.patient.as_deref(), sample.mpp),
        (Some("7"), 0.62005)
    );
    assert_eq!(sample.image, picture(13, 9, 4));
    assert_eq!(sample.labels[GLAND], ids);
    std::fs::remove_file(root.path().join("train_1_anno.bmp")).unwrap();
    assert!(matches!(
        read(Layout::Glas, root.path()),
        Err(DataError::NoLabels { count: 1, .. })
    ));
}

#[test]
fn a_hostile_bitmap_is_refused() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "train_1.bmp", colours(&picture(13, 9, 4)));
    let whole = numbers(&objects(13, 9));
    for (at, value) in [
        (18, u32::MAX),
        (22, 0x7fff_ffff),
        (18, 60_000),
        (10, u32::MAX),
    ] {
        let mut broken = whole.clone();
        broken[at..at + 4].copy_from_slice(&value.to_le_bytes());
        put(root.path(), "train_1_anno.bmp", &broken);
        assert_eq!(
            read(Layout::Glas, root.path()).unwrap_err().code(),
            "dataset::unreadable"
        );
    }
    put(root.path(), "train_1_anno.bmp", &whole[..whole.len() / 2]);
    assert!(read(Layout::Glas, root.path()).is_err());
}

#[test]
fn crag_has_two_folds() {
    let root = tempfile::tempdir().unwrap();
    let ids = objects(10, 10);
    for (part, name) in [("train", "train_1"), ("valid", "test_1")] {
        put(
            root.path(),
            &format!("{part}/Images/{name}.png"),
            png(&picture(10, 10, 1)),
        );
        put(
            root.path(),
            &format!("{part}/Annotation/{name}.png"),
            png_labels(&ids),
        );
    }
    let samples = read(Layout::Crag, root.path()).unwrap();
    assert_eq!((samples["train_1"].fold, samples["test_1"].fold), (1, 2));
    assert_eq!(samples["test_1"].labels[GLAND], ids);
    std::fs::remove_dir_all(root.path().join("valid/Annotation")).unwrap();
    assert_eq!(
        read(Layout::Crag, root.path()).unwrap_err().code(),
        "dataset::layout"
    );
}

fn jpeg(image: &Rgb8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 100);
    let kind = image::ExtendedColorType::Rgb8;
    image::ImageEncoder::write_image(encoder, &image.data, image.width, image.height, kind)
        .unwrap();
    bytes
}

#[test]
fn digestpath_tissue_is_malignant_where_the_mask_is_bright() {
    let root = tempfile::tempdir().unwrap();
    let mut mask = Rgb8::filled(16, 16, [0; 3]);
    (0..8).for_each(|y| (0..16).for_each(|x| mask.set(x, y, [255; 3])));
    put(
        root.path(),
        "tissue-train-pos-v1/a.jpg",
        jpeg(&picture(16, 16, 1)),
    );
    put(root.path(), "tissue-train-pos-v1/a_mask.jpg", jpeg(&mask));
    put(
        root.path(),
        "tissue-train-neg/b.jpg",
        jpeg(&picture(16, 16, 2)),
    );
    let samples = read(Layout::DigestpathTissue, root.path()).unwrap();
    assert_eq!(samples["a"].counts()["Lesion-TYPE"], [128, 128]);
    assert_eq!(samples["b"].counts()["Lesion-TYPE"], [256]);
    let error = Layout::DigestpathTissue
        .list(root.path(), &Known::default())
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("state it, `mpp: 0.5 mpp`"),
        "{error}"
    );
    std::fs::remove_file(root.path().join("tissue-train-pos-v1/a.jpg")).unwrap();
    assert!(matches!(
        read(Layout::DigestpathTissue, root.path()),
        Err(DataError::NoImage { .. })
    ));
}

#[test]
fn digestpath_signet_paints_boxes() {
    let root = tempfile::tempdir().unwrap();
    put(
        root.path(),
        "sig-train-pos/a.jpeg",
        jpeg(&picture(20, 16, 1)),
    );
    let boxes = |rest: &str| {
        format!(
            "<annotation><object><name>ring_cell_cancer</name><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>6</xmax><ymax>8</ymax></bndbox></object>{rest}</annotation>"
        )
    };
    put(
        root.path(),
        "sig-train-pos/a.xml",
        boxes(
            "<object><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>20</xmax><ymax>16</ymax></bndbox></object>",
        ),
    );
    put(
        root.path(),
        "sig-train-neg/b.jpeg",
        jpeg(&picture(16, 16, 2)),
    );
    let samples = read(Layout::DigestpathSignet, root.path()).unwrap();
    let labels = &samples["a"].labels[SIGNET];
    let pixels = |id| labels.data.iter().filter(|&&v| v == id).count();
    assert_eq!((pixels(1), pixels(2)), (4 * 5, 20 * 16 - 20));
    assert_eq!(samples["b"].counts()[SIGNET], [0]);
    put(
        root.path(),
        "sig-train-pos/a.xml",
        boxes("<object><bndbox><xmin>x</xmin></bndbox></object>"),
    );
    let error = read(Layout::DigestpathSignet, root.path())
        .unwrap_err()
        .to_string();
    assert!(error.contains("a box has no number `xmin`"), "{error}");
}

#[test]
fn two_folders_for_one_part_of_crag_and_an_empty_one_are_errors() {
    let root = tempfile::tempdir().unwrap();
    for part in ["train", "valid", "test"] {
        put(
            root.path(),
            &format!("{part}/Images/{part}_1.png"),
            png(&picture(9, 9, 1)),
        );
        put(
            root.path(),
            &format!("{part}/Annotation/{part}_1.png"),
            png_labels(&objects(9, 9)),
        );
    }
    let why = || read(Layout::Crag, root.path()).unwrap_err().to_string();
    assert!(why().contains("two names of one part"), "{}", why());
    std::fs::remove_dir_all(root.path().join("test")).unwrap();
    assert_eq!(read(Layout::Crag, root.path()).unwrap().len(), 2);
    for folder in ["Images", "Annotation"] {
        std::fs::remove_file(root.path().join(format!("valid/{folder}/valid_1.png"))).unwrap();
    }
    assert!(why().contains("`Images` has no PNG"), "{}", why());
}
