//! A slide as an artifact and in a listing, and pictures as slides.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod common;

use cerb_slide::{Outside, Slide, describe};
use cerb_store::{Artifact, Digest, Store, Stored};

#[test]
fn a_listing_says_what_is_known_of_a_slide() {
    let fields = describe(&common::cmu(), None, "c0ffee").unwrap();
    assert_eq!(fields["content"], "c0ffee");
    assert_eq!(
        (fields["width"].as_u64(), fields["height"].as_u64()),
        (Some(2220), Some(2967))
    );
    assert_eq!(
        (fields["mpp_x"].as_f64(), fields["mpp_y"].as_f64()),
        (Some(0.499), Some(0.499))
    );
    assert_eq!(fields["mpp_source"], "`MPP` of the Aperio description");
    assert_eq!(
        (&fields["format"], &fields["reader"]),
        (&"aperio".into(), &"native".into())
    );
    assert_eq!(fields["levels"], 1);
    assert!(!fields.contains_key("mpp_given"));
}

#[test]
fn an_artifact_opens_where_the_file_lies_and_sees_that_it_changed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let path = folder.path().join("a.svs");
    std::fs::copy(common::cmu(), &path).unwrap();
    let size = std::fs::metadata(&path).unwrap().len();
    let content = Digest::of(b"stands for the bytes").to_string();
    let fields = describe(&path, Some(0.3), &content).unwrap();
    let stored = Stored::source("Slide", path.clone(), size, fields);

    let slide = <Slide as Artifact>::open(&stored, &store).unwrap();
    assert_eq!(slide.mpp().unwrap(), 0.3);
    assert!(slide.store(&store).is_err());

    std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .unwrap()
        .set_len(size + 1)
        .unwrap();
    let error = <Slide as Artifact>::open(&stored, &store)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("a.svs") && error.contains("changed"),
        "{error}"
    );
    std::fs::remove_file(&path).unwrap();
    assert!(<Slide as Artifact>::open(&stored, &store).is_err());
    let mask = Stored {
        kind: "Mask".to_owned(),
        ..stored
    };
    assert!(<Slide as Artifact>::open(&mask, &store).is_err());
}

#[test]
fn a_slide_in_the_store_is_named_by_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("store")).unwrap();
    let blob = store
        .put_file(&common::fixture("glands-small.tif"))
        .unwrap();
    let slide = Slide::of_blob(&store, blob).unwrap();
    let mpp = slide.mpp().unwrap();
    let stored = slide.store(&store).unwrap();
    assert_eq!((stored.digest, stored.size), (blob.digest, blob.size));
    assert_eq!(stored.fields["mpp"].as_f64(), Some(mpp));
    let again = <Slide as Artifact>::open(&stored, &store).unwrap();
    assert_eq!(again.content(), Some(blob.digest));
    assert!(again.info().levels.len() > 1);
    store.discard(&blob.digest).unwrap();
    assert!(<Slide as Artifact>::open(&stored, &store).is_err());
}

#[test]
fn a_png_is_a_slide_of_one_level_with_a_resolution_given() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    let save = |colour, data: &[u8]| {
        let mut encoder = png::Encoder::new(std::fs::File::create(&path).unwrap(), 3, 2);
        encoder.set_color(colour);
        encoder
            .write_header()
            .unwrap()
            .write_image_data(data)
            .unwrap();
    };
    let pixels: Vec<u8> = (10..28).collect();
    save(png::ColorType::Rgb, &pixels);
    let slide = Slide::open(&path, Some(0.5)).unwrap();
    assert_eq!(
        (slide.info().format.as_str(), slide.info().reader),
        ("png", "flat")
    );
    assert_eq!(
        slide
            .read_level(0, 0, 0, 3, 2, Outside::White)
            .unwrap()
            .data,
        pixels
    );
    assert_eq!(
        slide
            .read_level(0, 1, 1, 3, 1, Outside::Black)
            .unwrap()
            .data,
        [22, 23, 24, 25, 26, 27, 0, 0, 0]
    );
    assert_eq!(
        Slide::open(&path, None).unwrap().mpp().unwrap_err().code(),
        "slide::no_mpp"
    );

    // Transparent is white.
    save(
        png::ColorType::Rgba,
        &[
            [9, 9, 9, 0],
            [9, 9, 9, 255],
            [0, 0, 0, 128],
            [0; 4],
            [0; 4],
            [0; 4],
        ]
        .concat(),
    );
    let row = Slide::open(&path, None)
        .unwrap()
        .read_level(0, 0, 0, 3, 1, Outside::White)
        .unwrap();
    assert_eq!(row.data, [255, 255, 255, 9, 9, 9, 127, 127, 127]);
}

#[test]
fn a_jpeg_is_a_slide_of_one_level() {
    // The first tile of a slide is a JPEG of its own: YCbCr, as its header says.
    let svs = std::fs::read(common::fixture("skin-small.svs")).unwrap();
    let start = svs
        .windows(3)
        .position(|window| window == [0xff, 0xd8, 0xff])
        .unwrap();
    let end = start
        + svs[start..]
            .windows(2)
            .position(|window| window == [0xff, 0xd9])
            .unwrap()
        + 2;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tile.jpg");
    std::fs::write(&path, &svs[start..end]).unwrap();
    let picture = Slide::open(&path, Some(0.25)).unwrap();
    assert_eq!(
        (picture.info().width, picture.info().format.as_str()),
        (240, "jpeg")
    );
    assert_eq!(
        picture
            .read_level(0, 0, 0, 240, 240, Outside::White)
            .unwrap()
            .data
            .len(),
        240 * 240 * 3
    );
}
