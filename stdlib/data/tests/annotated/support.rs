//! What the integration tests share: small pictures and labels, files of every layout, and Python.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use cerb_data::{DataError, Sample, raster};
use cerb_image::{Grid, Rgb8};

/// Returns a picture in which every pixel is another, seeded.
pub fn picture(width: u32, height: u32, seed: u32) -> Rgb8 {
    let seed = (seed + 1).wrapping_mul(0x85eb_ca6b);
    let byte = |i: u32| ((i ^ seed).wrapping_mul(2_654_435_761) >> 24) as u8;
    let data = (0..3 * width * height).map(byte).collect();
    Rgb8::from_vec(width, height, data).unwrap()
}

/// Returns objects of 4 × 4 px in rows, numbered from 1, with a gap of one.
pub fn objects(width: usize, height: usize) -> Grid<i32> {
    let mut grid = Grid::filled(width, height, 0);
    let across = width.div_ceil(5);
    for y in 0..height {
        for x in 0..width {
            if x % 5 < 4 && y % 5 < 4 {
                grid.set(x, y, (y / 5 * across + x / 5) as i32 + 1);
            }
        }
    }
    grid
}

/// Returns a class of 1 to `last` for each object.
pub fn classes(ids: &Grid<i32>, last: i32) -> Grid<i32> {
    ids.map(|id| if id == 0 { 0 } else { (id - 1) % last + 1 })
}

/// Writes bytes below a folder, and the folders above them.
pub fn put(root: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Returns a picture as PNG.
pub fn png(image: &Rgb8) -> Vec<u8> {
    let mut bytes = Vec::new();
    raster::write_rgb(&mut bytes, image).unwrap();
    bytes
}

/// Returns labels below 256 as a grey PNG.
pub fn png_labels(labels: &Grid<i32>) -> Vec<u8> {
    let mut bytes = Vec::new();
    raster::write_grey(&mut bytes, &labels.map(|v| u8::try_from(v).unwrap())).unwrap();
    bytes
}

/// Returns a `.npy` file of version 1, rows first.
pub fn npy(descr: &str, shape: &[usize], numbers: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let shape: String = shape.iter().map(|n| format!("{n},")).collect();
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    while (10 + text.len() + 1) % 64 != 0 {
        text.push(' ');
    }
    text.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.bytes());
    bytes.extend(numbers);
    bytes
}

/// Interleaves two label maps as CoNIC does, as little-endian words of 16 bits.
pub fn interleaved(ids: &Grid<i32>, types: &Grid<i32>) -> Vec<u8> {
    let pairs = ids.data.iter().zip(&types.data);
    pairs
        .flat_map(|(&a, &b)| [a as u16, b as u16])
        .flat_map(u16::to_le_bytes)
        .collect()
}

/// Collects samples by name, or the first error.
pub fn collect(
    listing: Result<cerb_data::layout::Listing, DataError>,
) -> Result<BTreeMap<String, Sample>, DataError> {
    let listing = listing?;
    let (about, count) = (listing.about.clone(), listing.count);
    let samples: Result<Vec<Sample>, DataError> = listing.collect();
    let samples = samples?;
    assert_eq!(samples.len(), count);
    for sample in &samples {
        sample.check(&about.classes)?;
    }
    Ok(samples
        .into_iter()
        .map(|sample| (sample.id.clone(), sample))
        .collect())
}

/// Runs the Python oracle of datasets in a folder; without an interpreter it says so and returns `false`.
pub fn python(command: &str, folder: &Path) -> bool {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracles/data.py");
    let Some(interpreter) = std::env::var_os("CERB_PYTHON") else {
        assert!(
            std::env::var_os("CERB_REQUIRE_ORACLES").is_none(),
            "CERB_REQUIRE_ORACLES is set, and CERB_PYTHON is not"
        );
        eprintln!("skipped: CERB_PYTHON names no interpreter with NumPy, SciPy and h5py");
        return false;
    };
    let out = Command::new(interpreter)
        .arg(script)
        .arg(command)
        .arg(folder)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    true
}

/// Returns a `.mat` of version 5 with one array of doubles for each name, packed or not.
pub fn mat(variables: &[(&str, &Grid<i32>)], packed: bool) -> Vec<u8> {
    fn element(kind: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend((data.len() as u32).to_le_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }
    let mut bytes = b"MATLAB 5.0 MAT-file".to_vec();
    bytes.resize(124, b' ');
    bytes.extend([0, 1]);
    bytes.extend(b"IM");
    for (name, grid) in variables {
        let mut matrix = element(6, &[6, 0, 0, 0, 0, 0, 0, 0]);
        let shape = [grid.height as i32, grid.width as i32];
        matrix.extend(element(5, &shape.map(i32::to_le_bytes).concat()));
        matrix.extend(element(1, name.as_bytes()));
        let columns = (0..grid.width).flat_map(|x| (0..grid.height).map(move |y| grid.at(x, y)));
        let numbers: Vec<u8> = columns.flat_map(|v| f64::from(v).to_le_bytes()).collect();
        matrix.extend(element(9, &numbers));
        let matrix = element(14, &matrix);
        if packed {
            let mut encoder =
                flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            std::io::Write::write_all(&mut encoder, &matrix).unwrap();
            let matrix = encoder.finish().unwrap();
            bytes.extend(15u32.to_le_bytes());
            bytes.extend((matrix.len() as u32).to_le_bytes());
            bytes.extend(matrix);
        } else {
            bytes.extend(matrix);
        }
    }
    bytes
}

/// Returns a column of numbers.
pub fn column(numbers: impl IntoIterator<Item = i32>) -> Grid<i32> {
    let data: Vec<i32> = numbers.into_iter().collect();
    Grid::from_vec(1, data.len(), data).unwrap()
}

/// Returns the labels that Lizard has of these objects: `inst_map`, `id` and `class`.
pub fn typed_mat(ids: &Grid<i32>, last: i32) -> Vec<u8> {
    let most = ids.data.iter().copied().max().unwrap();
    let (id, class) = (
        column(1..=most),
        column((1..=most).map(|id| (id - 1) % last + 1)),
    );
    mat(&[("inst_map", ids), ("id", &id), ("class", &class)], true)
}
