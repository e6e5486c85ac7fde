//! What the tests of several operators share.

use cerb_data::{About, Dataset, Sample};
use cerb_engine::{Ctx, Operator};
use cerb_image::{ClassName, Grid, Instance, Instances, InstancesHeader, Rgb8, SlideFrame};
use cerb_store::{Digest, Parts, Store, StoreError};

/// Returns a store that vanishes with its folder.
pub(crate) fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

/// Returns a dataset of images `s0`, `s1`, … of 12 × 8 px, each of one grey and with two nuclei, of class `a` and `b`.
pub(crate) fn annotated(
    store: &Store,
    count: usize,
    change: impl Fn(usize, &mut Sample),
) -> Dataset {
    let names = ["none", "a", "b"].map(str::to_owned).to_vec();
    let about = About {
        name: "synthetic squares".to_owned(),
        classes: [("Nuclei-TYPE".to_owned(), names)].into(),
        ..About::default()
    };
    let sample = |i: usize| {
        let mut ids = Grid::filled(12, 8, 0);
        for (x, y, id) in [
            (1, 1, 1),
            (2, 1, 1),
            (1, 2, 1),
            (2, 2, 1),
            (8, 5, 2),
            (9, 5, 2),
        ] {
            ids.set(x, y, id);
        }
        let image = Rgb8::filled(12, 8, [i as u8; 3]);
        let mut sample = Sample::new(format!("s{i}"), 0.5, image)
            .with("Nuclei-TYPE", ids.clone())
            .with("Nuclei-INST", ids);
        change(i, &mut sample);
        Ok(sample)
    };
    Dataset::collect(store, about, (0..count).map(sample)).unwrap()
}

/// Returns the header of the objects of [`instance`].
pub(crate) fn header() -> InstancesHeader {
    InstancesHeader {
        tissue: "nuclei".into(),
        classes: vec![ClassName {
            id: 2,
            name: "epithelial".into(),
            colour: [200, 0, 0],
        }],
        mpp: 0.5,
        scale: [2.012, 2.012],
        slide: SlideFrame {
            width: 7168,
            height: 7712,
            digest: Digest::of(b"slide"),
            mpp: 0.2485,
        },
    }
}

/// Returns the `i`th of any number of squares of 5 × 5 px, with a class every other time.
pub(crate) fn instance(i: i32) -> Instance {
    let (x, y) = (10 * (i % 50), 10 * (i / 50));
    Instance {
        contour: vec![[x, y], [x, y + 4], [x + 4, y + 4], [x + 4, y]],
        centroid: [f64::from(x) + 2.0, f64::from(y) + 2.0],
        bbox: [x, y, x + 5, y + 5],
        area: 25,
        class: (i % 2 == 0).then_some(2),
        prob: (i % 2 == 0).then_some(0.75),
    }
}

/// Returns a table of the first `count` squares.
pub(crate) fn instances(store: &Store, count: i32) -> Instances {
    let mut writer = Instances::writer(store, header()).unwrap();
    for i in 0..count {
        writer.push(&instance(i)).unwrap();
    }
    writer.finish().unwrap()
}

/// Returns the path of the real slide that the quickstart reads.
pub(crate) fn quickstart_slide() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../pipelines/data/CMU-1-Small-Region.svs")
}

/// Opens a slide file as the engine would hand it to an operator.
pub(crate) fn open(path: &std::path::Path, mpp: Option<f64>, store: &Store) -> cerb_slide::Slide {
    use cerb_store::{Artifact, Stored};
    let content = store.digest_of(path, false).unwrap();
    let mut fields = std::collections::BTreeMap::from([(
        "content".to_owned(),
        content.digest.to_string().into(),
    )]);
    fields.extend(mpp.map(|mpp| ("mpp_given".to_owned(), mpp.into())));
    let stored = Stored::source("Slide", path.to_path_buf(), content.size, fields);
    <cerb_slide::Slide as Artifact>::open(&stored, store).unwrap()
}

/// Returns a PNG of grey noise: a picture that states no resolution.
pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
    painted(width, height, |x, y| {
        [(x.wrapping_mul(31) ^ y.wrapping_mul(17)) as u8; 3]
    })
}

/// Returns a PNG whose pixels a function gives.
pub(crate) fn painted(width: u32, height: u32, pixel: impl Fn(u32, u32) -> [u8; 3]) -> Vec<u8> {
    let data: Vec<u8> = (0..height)
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .flat_map(|(x, y)| pixel(x, y))
        .collect();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder
        .write_header()
        .unwrap()
        .write_image_data(&data)
        .unwrap();
    bytes
}

/// Opens painted pixels as a slide of `mpp`.
pub(crate) fn painted_slide(
    dir: &std::path::Path,
    store: &Store,
    mpp: f64,
    size: (u32, u32),
    pixel: impl Fn(u32, u32) -> [u8; 3],
) -> cerb_slide::Slide {
    let path = dir.join(format!("painted-{}-{}.png", size.0, size.1));
    std::fs::write(&path, painted(size.0, size.1, pixel)).unwrap();
    open(&path, Some(mpp), store)
}

/// Runs an operator that is cut short as often as it has kept three more parts, until it ends; returns what
/// it made, and how often it was cut short.
pub(crate) fn resumed<O: Operator>(
    operator: &O,
    input: impl Fn() -> O::In,
    store: &Store,
) -> (O::Out, usize) {
    use std::sync::atomic::{AtomicUsize, Ordering};
    for cuts in 0..100 {
        let kept = AtomicUsize::new(0);
        let stands = move || match kept.fetch_add(1, Ordering::SeqCst) {
            0..3 => Ok(()),
            _ => Err(StoreError::artifact("part", "cut short")),
        };
        let work = Digest::of(b"work");
        let parts = Parts::new(store, work, work, || {}).only_if(stands);
        let mut ctx = Ctx::detached(store).with_threads(2).with_parts(parts);
        match operator.run(input(), &mut ctx) {
            Ok(out) => return (out, cuts),
            Err(error) => assert!(error.to_string().contains("cut short"), "{error}"),
        }
    }
    panic!("it never ends: what was kept is made again");
}

/// Returns the tissue of a slide, as `tissue.mask` finds it.
pub(crate) fn tissue_of(slide: &cerb_slide::Slide, store: &Store) -> cerb_image::Mask {
    let input = crate::tissue::mask::In {
        slide: slide.clone(),
    };
    let tissue = crate::tissue::mask::Tissue::default();
    tissue.run(input, &mut Ctx::detached(store)).unwrap().mask
}

/// Paints over the real slide, read at a resolution: a function gives the new pixel for column, row and old pixel.
pub(crate) fn drawn_on(
    dir: &std::path::Path,
    store: &Store,
    mpp: f64,
    pixel: impl Fn(u32, u32, [u8; 3]) -> [u8; 3],
) -> cerb_slide::Slide {
    let real = open(&quickstart_slide(), None, store);
    let (width, height) = real.size_at(mpp).unwrap();
    let options = crate::reading::options(false);
    let image = real.read_at(mpp, 0, 0, width, height, &options).unwrap();
    painted_slide(dir, store, mpp, (width, height), |x, y| {
        pixel(x, y, image.at(x, y))
    })
}
