//! The pixels are OpenSlide's, tifffile's and OpenCV's: `tests/oracles/slide.py` compares them.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod common;

use std::fmt::Write as _;
use std::path::Path;

use cerb_image::Rgb8;
use cerb_slide::{Outside, Pyramid, PyramidWriter, ReadOptions, Resample, Slide, TILE, Tile};

/// Regions dumped for the oracle, and the list of them.
struct Cases {
    folder: tempfile::TempDir,
    lines: String,
    count: usize,
}

impl Cases {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            lines: String::new(),
            count: 0,
        }
    }

    fn add(&mut self, oracle: &str, slide: &Slide, level: &str, rect: [u32; 4], image: &Rgb8) {
        let file = format!("{}.rgb", self.count);
        self.count += 1;
        std::fs::write(self.folder.path().join(&file), &image.data).unwrap();
        let path = slide.path().canonicalize().unwrap();
        let [x, y, w, h] = rect;
        let (ow, oh) = (image.width, image.height);
        let path = path.display();
        writeln!(
            self.lines,
            "{oracle}\t{path}\t{level}\t{x}\t{y}\t{w}\t{h}\t{file}\t{ow}\t{oh}"
        )
        .unwrap();
    }

    /// Adds every level whole, and a region that cuts tiles.
    fn levels(&mut self, oracle: &str, slide: &Slide) {
        for (i, level) in slide.info().levels.iter().enumerate() {
            let whole = [0, 0, level.width, level.height];
            let inner = [
                level.width / 3,
                level.height / 4,
                level.width / 2,
                level.height / 3,
            ];
            for rect @ [x, y, w, h] in [whole, inner] {
                let image = slide
                    .read_level(i, x.into(), y.into(), w, h, Outside::White)
                    .unwrap();
                self.add(oracle, slide, &i.to_string(), rect, &image);
            }
        }
    }

    fn associated(&mut self, slide: &Slide) {
        for name in &slide.info().associated {
            let image = slide.read_associated(name).unwrap();
            self.add(
                "associated",
                slide,
                name,
                [0, 0, image.width, image.height],
                &image,
            );
        }
    }

    fn check(self, python: &Path) {
        assert!(self.count > 0);
        std::fs::write(self.folder.path().join("cases.txt"), self.lines).unwrap();
        common::oracle(python, &["check", self.folder.path().to_str().unwrap()]);
    }
}

#[test]
fn svs_pixels_are_openslides_at_every_level() {
    let Some(python) = common::python("svs_pixels_are_openslides_at_every_level") else {
        return;
    };
    let mut cases = Cases::new();
    for path in [common::cmu(), common::fixture("skin-small.svs")] {
        let slide = Slide::open(&path, None).unwrap();
        assert_eq!(slide.info().reader, "native");
        cases.levels("openslide", &slide);
        cases.associated(&slide);
        assert_eq!(
            slide.info().associated.len(),
            3,
            "{:?}",
            slide.info().associated
        );
    }
    cases.check(&python);
}

#[test]
fn generic_tiff_pixels_are_openslides_at_every_level() {
    let Some(python) = common::python("generic_tiff_pixels_are_openslides_at_every_level") else {
        return;
    };
    let slide = Slide::open(&common::fixture("glands-small.tif"), None).unwrap();
    let mut cases = Cases::new();
    cases.levels("openslide", &slide);
    cases.check(&python);
}

#[test]
fn what_is_written_here_openslide_and_tifffile_read() {
    let Some(python) = common::python("what_is_written_here_openslide_and_tifffile_read") else {
        return;
    };
    // Sides that halve evenly: OpenSlide counts places in pixels of the largest level.
    let (width, height) = (1104, 704);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made.tif");
    let about = Pyramid {
        width,
        height,
        mpp: 0.5,
        quality: 85,
        description: "synthetic".to_owned(),
    };
    let file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    let mut writer = PyramidWriter::new(file, about).unwrap();
    for (row, column) in (0..3).flat_map(|row| (0..5).map(move |column| (row, column))) {
        let (w, h) = (
            TILE.min(width - column * TILE),
            TILE.min(height - row * TILE),
        );
        let at = (0..h).flat_map(|y| (0..w).map(move |x| (x + column * TILE, y + row * TILE)));
        let data = at
            .flat_map(|(x, y)| match x > 600 {
                true => [240; 3],
                false => [
                    (x % 251) as u8,
                    (y % 241) as u8,
                    ((x * y) / 500 % 256) as u8,
                ],
            })
            .collect();
        let pixels = Rgb8::from_vec(w, h, data).unwrap();
        writer
            .put(Tile::new(column, row, pixels, 85).unwrap())
            .unwrap();
    }
    writer.finish().unwrap();
    let slide = Slide::open(&path, None).unwrap();
    assert_eq!(slide.info().levels.len(), 4);
    assert_eq!(slide.mpp().unwrap(), 0.5);
    let mut cases = Cases::new();
    cases.levels("openslide", &slide);
    cases.levels("tifffile", &slide);
    cases.check(&python);
}

#[test]
fn ome_tiff_pixels_are_tifffiles_at_every_level() {
    let Some(python) = common::python("ome_tiff_pixels_are_tifffiles_at_every_level") else {
        return;
    };
    let slide = Slide::open(&common::fixture("skin-small.ome.tif"), None).unwrap();
    assert_eq!(slide.info().levels.len(), 4);
    let mut cases = Cases::new();
    cases.levels("tifffile", &slide);
    cases.check(&python);
}

#[test]
fn a_tcga_slide_is_openslides_at_every_level() {
    let test = "a_tcga_slide_is_openslides_at_every_level";
    let (Some(path), Some(python)) = (common::tcga(test), common::python(test)) else {
        return;
    };
    let slide = Slide::open(&path, None).unwrap();
    let mut cases = Cases::new();
    cases.levels("openslide", &slide);
    cases.check(&python);
}

#[test]
fn area_is_opencvs_within_one() {
    let Some(python) = common::python("area_is_opencvs_within_one") else {
        return;
    };
    let slide = Slide::open(&common::cmu(), None).unwrap();
    let mpp = slide.mpp().unwrap();
    let mut cases = Cases::new();
    // (factor, output side): the source side is a whole number, so OpenCV starts where we do.
    for (factor, side) in [
        (2.0, 400),
        (3.0, 300),
        (2.5, 400),
        (1.25, 800),
        (4.0, 500),
        (7.3, 100),
    ] {
        let image = slide
            .read_at(mpp * factor, 0, 0, side, side, &ReadOptions::default())
            .unwrap();
        let from = (f64::from(side) * factor).round() as u32;
        cases.add("area", &slide, "0", [0, 0, from, from], &image);
    }
    cases.check(&python);
}

#[test]
fn the_tiatoolbox_preset_is_opencvs_cubic_within_one() {
    let test = "the_tiatoolbox_preset_is_opencvs_cubic_within_one";
    let Some(python) = common::python(test) else {
        return;
    };
    let slide = Slide::open(&common::fixture("glands-small.tif"), None).unwrap();
    let options = ReadOptions {
        resample: Resample::Tiatoolbox13,
        ..ReadOptions::default()
    };
    let mut cases = Cases::new();
    // 0.75 mpp is read from 0.5 mpp: 448 px are 672 of level 1, from (90, 150).
    assert_eq!(slide.level_at(0.75).unwrap(), 1);
    let image = slide.read_at(0.75, 60, 100, 448, 448, &options).unwrap();
    cases.add("cubic", &slide, "1", [90, 150, 672, 672], &image);
    let image = slide.read_at(0.75, 0, 0, 600, 200, &options).unwrap();
    cases.add("cubic", &slide, "1", [0, 0, 900, 300], &image);
    cases.check(&python);
}

#[test]
fn every_compression_and_layout_comes_back_as_written() {
    let test = "every_compression_and_layout_comes_back_as_written";
    let Some(python) = common::python(test) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    common::oracle(&python, &["make", folder.path().to_str().unwrap()]);
    let list = std::fs::read_to_string(folder.path().join("made.txt")).unwrap();
    assert!(list.lines().count() > 10);
    for line in list.lines() {
        let [file, width, height, pixels] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let slide = Slide::open(&folder.path().join(file), None).unwrap();
        let (width, height) = (width.parse().unwrap(), height.parse().unwrap());
        assert_eq!(
            (slide.info().width, slide.info().height),
            (width, height),
            "{file}"
        );
        let image = slide
            .read_level(0, 0, 0, width, height, Outside::White)
            .unwrap();
        let expected = std::fs::read(folder.path().join(pixels)).unwrap();
        assert!(image.data == expected, "{file}: other pixels");
        assert_eq!(slide.mpp().unwrap_err().code(), "slide::no_mpp", "{file}");
    }
}
