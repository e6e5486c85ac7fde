//! A slide of 100,000 × 100,000 px: what is held and what is written follow the tissue, not the slide.

use std::fs;
use std::path::Path;

use crate::lab::Lab;

/// Pixels per side, at 0.25 mpp.
const SIDE: u32 = 100_000;
/// Side of the file's tiles.
const TILE: u32 = 512;
/// Downsamples of the levels.
const LEVELS: [u32; 4] = [1, 4, 16, 64];
/// Side of a field of tissue, in pixels: half a millimetre.
const FIELD: u32 = 4 * TILE;
/// Where the fields begin, in pixels: far from each other, and where tiles of the second level do.
const FIELDS: [[u32; 2]; 2] = [[8 * TILE, 4 * TILE], [184 * TILE, 188 * TILE]];

/// Returns the colour of a pixel: tissue with a dark round nucleus every 12 µm, and glass around it.
fn colour(x: u32, y: u32) -> [u8; 3] {
    let inside = |[left, top]: [u32; 2]| {
        (left..left + FIELD).contains(&x) && (top..top + FIELD).contains(&y)
    };
    let off = |v: u32| f64::from(v % 48) - 24.0;
    match (FIELDS.into_iter().any(inside), off(x).hypot(off(y)) < 11.0) {
        (false, _) => [244, 243, 245],
        (true, true) => [88, 56, 140],
        (true, false) => [228, 156, 196],
    }
}

/// Returns the pixels of one tile.
fn pixels(level: u32, col: u32, row: u32) -> Vec<u8> {
    let at = |i: u32| (i * level + level / 2).min(SIDE - 1);
    (0..TILE * TILE)
        .flat_map(|i| colour(at(col * TILE + i % TILE), at(row * TILE + i / TILE)))
        .collect()
}

/// Writes a tiled TIFF pyramid whose tiles of glass are all the same bytes of the file.
fn write_slide(path: &Path) {
    let mut file = b"II\x2a\0\0\0\0\0".to_vec();
    let glass = file.len() as u32;
    file.extend([244, 243, 245].repeat((TILE * TILE) as usize));
    let mut link = 4;
    for level in LEVELS {
        let side = SIDE.div_ceil(level);
        let across = side.div_ceil(TILE);
        let mut offsets = Vec::new();
        for (row, col) in (0..across).flat_map(|row| (0..across).map(move |col| (row, col))) {
            let tissue = |[left, top]: [u32; 2]| {
                let meets = |start: u32, tile: u32| {
                    start < (tile + 1) * TILE * level && tile * TILE * level < start + FIELD
                };
                meets(left, col) && meets(top, row)
            };
            offsets.push(match FIELDS.into_iter().any(tissue) {
                true => {
                    let at = file.len() as u32;
                    file.extend(pixels(level, col, row));
                    at
                }
                false => glass,
            });
        }
        let mut put = |bytes: Vec<u8>| {
            let at = file.len() as u32;
            file.extend(bytes);
            at
        };
        let long = |all: &[u32]| {
            all.iter()
                .flat_map(|v| v.to_le_bytes())
                .collect::<Vec<u8>>()
        };
        let tiles = offsets.len() as u32;
        let bits = put([8u16, 8, 8, 0]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect());
        // 0.25 mpp are 40,000 pixels per centimetre.
        let density = put(long(&[40_000 / level, 1]));
        let sizes = put(long(&vec![3 * TILE * TILE; offsets.len()]));
        let offsets = put(long(&offsets));
        let (short, number, rational) = (3u16, 4u16, 5u16);
        let entries: [(u16, u16, u32, u32); 15] = [
            (254, number, 1, u32::from(level > 1)),
            (256, number, 1, side),
            (257, number, 1, side),
            (258, short, 3, bits),
            (259, short, 1, 1),
            (262, short, 1, 2),
            (277, short, 1, 3),
            (282, rational, 1, density),
            (283, rational, 1, density),
            (284, short, 1, 1),
            (296, short, 1, 3),
            (322, number, 1, TILE),
            (323, number, 1, TILE),
            (324, number, tiles, offsets),
            (325, number, tiles, sizes),
        ];
        let mut directory = (entries.len() as u16).to_le_bytes().to_vec();
        for (tag, kind, count, value) in entries {
            directory.extend([tag, kind].map(u16::to_le_bytes).concat());
            directory.extend([count, value].map(u32::to_le_bytes).concat());
        }
        let at = file.len() as u32;
        file[link..link + 4].copy_from_slice(&at.to_le_bytes());
        file.extend(directory);
        link = file.len();
        file.extend([0; 4]);
    }
    fs::write(path, file).unwrap();
}

#[test]
fn a_slide_of_ten_gigapixels_takes_memory_and_disk_by_its_tissue() {
    let lab = Lab::new(
        r#"cerb 1
root data = "slides"
let slides = slide.scan(data, "*.tif")
let wsi = for s in slides {
  let mask   = tissue.mask(s)
  let maps   = stain.nuclei(s, mask, at: 0.5 mpp)
  let nuclei = instances.nuclei(maps, min_area: 20 px2)
  let page   = report.slide(s, mask, nuclei)
  { objects: export.geojson(nuclei), report: page.report }
}
output "{key}.geojson" = wsi.objects
output "{key}.html"    = wsi.report
"#,
    );
    write_slide(&lab.slide("large.tif"));
    let said = lab.cerb("run", &["--json"]).exits(0).calmly();
    let used = said.summary()["outcome"]["used"].clone();
    let bytes = |what: &str| used[what].as_u64().unwrap();
    // The promise for such a slide is 4 GiB and 20 GB.
    assert!((1..4 << 30).contains(&bytes("memory")), "{used}");
    assert!(bytes("scratch") + bytes("stored") < 1 << 30, "{used}");
    let objects = fs::read_to_string(lab.out().join("large.geojson")).unwrap();
    let found = objects.matches("\"Feature\"").count();
    let painted = 2 * (FIELD as usize / 48).pow(2);
    assert!(
        found.abs_diff(painted) < painted / 10,
        "{found} of {painted}"
    );
}
