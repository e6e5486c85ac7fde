//! Maps that are written, read, grown, interrupted and damaged.

use cerb_store::Parts;

use super::*;
use crate::Grid;

fn header() -> MapsHeader {
    let heads = BTreeMap::from([("Nuclei-INST".into(), 2), ("Nuclei-TYPE".into(), 1)]);
    let slide = SlideFrame {
        width: 50,
        height: 37,
        digest: Digest::of(b"slide"),
        mpp: 0.499,
    };
    MapsHeader {
        classes: Default::default(),
        mpp: 0.5,
        scale: [1.002, 1.002],
        width: 50,
        height: 37,
        tile: 16,
        heads,
        slide,
    }
}

/// Value of channel `c` at column `x`, row `y` in the maps of these tests.
fn value(x: i64, y: i64, c: usize) -> f32 {
    if (0..50).contains(&x) && (0..37).contains(&y) && !(16..32).contains(&x) {
        (x * 100 + y) as f32 / 7.0 + c as f32
    } else {
        0.0
    }
}

fn written(store: &Store) -> Maps {
    let writer = Maps::writer(store, header()).unwrap();
    for row in 0..3 {
        for col in 0..4 {
            let pixel = |i: i64| {
                value(
                    i64::from(col) * 16 + i / 2 % 16,
                    i64::from(row) * 16 + i / 32,
                    (i % 2) as usize,
                )
            };
            let tile: Vec<f32> = (0..512).map(pixel).collect();
            let heads = BTreeMap::from([("Nuclei-INST".to_owned(), tile)]);
            writer.put_tile(row, col, &heads).unwrap();
        }
    }
    writer.finish().unwrap()
}

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

#[test]
fn windows_are_what_was_written_and_zero_elsewhere() {
    let (_dir, store) = store();
    let maps = written(&store);
    let stored = maps.store(&store).unwrap();
    assert_eq!(stored.fields["tiles"], 9);
    let maps = Maps::open(&stored, &store).unwrap();
    for (x, y, w, h) in [
        (-5, -7, 70, 60),
        (0, 0, 50, 37),
        (15, 15, 2, 2),
        (33, 20, 9, 1),
        (60, 40, 5, 5),
    ] {
        let window = maps.window("Nuclei-INST", x, y, w, h).unwrap();
        for c in 0..2 {
            let grid = window.channel(c);
            for j in 0..h as usize {
                for i in 0..w as usize {
                    assert_eq!(grid.at(i, j), value(x + i as i64, y + j as i64, c));
                }
            }
        }
    }
    assert!(
        maps.window("Nuclei-TYPE", 0, 0, 9, 9)
            .unwrap()
            .data
            .iter()
            .all(|&v| v == 0.0)
    );
    assert!(maps.window("Gland-INST", 0, 0, 9, 9).is_err());
}

#[test]
fn blank_parts_are_known_without_reading() {
    let (_dir, store) = store();
    let maps = written(&store);
    assert!(
        maps.is_blank("Nuclei-INST", 16, 0, 32, 37).unwrap()
            && !maps.is_blank("Nuclei-INST", 15, 0, 32, 37).unwrap()
    );
    assert!(maps.is_blank("Nuclei-TYPE", 0, 0, 50, 37).unwrap());
}

#[test]
fn squares_cover_the_slide_once_and_see_their_margin() {
    let (_dir, store) = store();
    let maps = written(&store);
    let mut seen = Grid::filled(50, 37, 0);
    for window in maps.tiles("Nuclei-INST", 20, 3) {
        let window = window.unwrap();
        for y in window.core.y0..window.core.y1 {
            for x in window.core.x0..window.core.x1 {
                let (gx, gy) = (x + window.x as usize, y + window.y as usize);
                seen.set(gx, gy, seen.at(gx, gy) + 1);
                assert_eq!(
                    window.data[2 * (y * window.width + x)],
                    value(gx as i64, gy as i64, 0)
                );
            }
        }
    }
    assert!(seen.data.iter().all(|&n| n == 1));
    assert_eq!(
        maps.squares(20, 3)[1],
        Square {
            core: [20, 0, 40, 20],
            outer: [17, 0, 43, 23]
        }
    );
}

#[test]
fn the_order_and_the_thread_of_tiles_do_not_matter() {
    let (_dir, store) = store();
    let tile = |i: u32| (0..256).map(|v| (v * i) as f32).collect::<Vec<_>>();
    let write = |order: Vec<u32>| {
        let writer = Maps::writer(&store, header()).unwrap();
        std::thread::scope(|scope| {
            for i in order {
                let (writer, tile) = (&writer, tile(i));
                let heads = BTreeMap::from([("Nuclei-TYPE".to_owned(), tile)]);
                scope.spawn(move || writer.put_tile(i % 3, i % 4, &heads).unwrap());
            }
        });
        writer.finish().unwrap().store(&store).unwrap().digest
    };
    assert_eq!(write((0..12).collect()), write((0..12).rev().collect()));
}

#[test]
fn growing_maps_are_read_as_whole_ones_are() {
    use cerb_store::Growth;
    let (_dir, store) = store();
    let (by, of) = (Digest::of(b"infer 1"), Digest::of(b"action"));
    let growth = Arc::new(Growth::default());
    let teller = Arc::clone(&growth);
    let parts = Parts::new(&store, by, of, move || teller.tell());
    let reading = Parts::new(&store, by, of, || {});
    let growing = Growing::new(&store, Arc::clone(&growth), "maps", reading, || false);
    let places = [(0, 0), (0, 3), (1, 1), (2, 2)];
    let tile = |at: (u32, u32)| {
        let values = (0..256).map(|v| (v * (at.0 + 2 * at.1)) as f32).collect();
        BTreeMap::from([("Nuclei-TYPE".to_owned(), values)])
    };
    let (read, printed) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let maps = Maps::open_growing(&growing).unwrap();
            let first = maps.window("Nuclei-TYPE", 0, 0, 30, 10).unwrap();
            let print = maps.fingerprint("Nuclei-TYPE", 0, 0, 50, 37).unwrap();
            assert!(maps.is_blank("Nuclei-INST", 0, 0, 50, 37).unwrap());
            let whole = maps.window("Nuclei-TYPE", 0, 0, 50, 37).unwrap();
            assert_eq!(maps.stored_tiles().unwrap(), 3, "one tile is all zeros");
            ((first, whole), print)
        });
        let writer = Maps::writer(&store, header()).unwrap();
        let writer = writer.with_parts(&parts, &places).unwrap();
        for at in places {
            std::thread::sleep(std::time::Duration::from_millis(5));
            writer.put_tile(at.0, at.1, &tile(at)).unwrap();
        }
        let stored = writer.finish().unwrap().store(&store).unwrap();
        parts.clear([&stored]).unwrap();
        growth.end(Some(BTreeMap::from([("maps".to_owned(), stored)])));
        reader.join().unwrap()
    });
    let writer = Maps::writer(&store, header()).unwrap();
    for at in places {
        writer.put_tile(at.0, at.1, &tile(at)).unwrap();
    }
    let maps = writer.finish().unwrap();
    assert_eq!(read.0, maps.window("Nuclei-TYPE", 0, 0, 30, 10).unwrap());
    assert_eq!(read.1, maps.window("Nuclei-TYPE", 0, 0, 50, 37).unwrap());
    assert_eq!(
        printed,
        maps.fingerprint("Nuclei-TYPE", 0, 0, 50, 37).unwrap()
    );
}

#[test]
fn interrupted_writing_takes_over_what_was_made() {
    let (_dir, store) = store();
    let parts = || Parts::new(&store, Digest::of(b"infer 1"), Digest::of(b"action"), || {});
    let places = [(0, 0), (1, 1)];
    let tile = |v: f32| BTreeMap::from([("Nuclei-TYPE".to_owned(), vec![v; 256])]);
    let begin = || {
        let writer = Maps::writer(&store, header()).unwrap();
        writer.with_parts(&parts(), &places).unwrap()
    };
    let writer = begin();
    assert!(!writer.is_made(0, 0));
    writer.put_tile(0, 0, &tile(1.0)).unwrap();
    drop(writer);
    let writer = begin();
    assert!(writer.is_made(0, 0) && !writer.is_made(1, 1));
    writer.put_tile(1, 1, &tile(2.0)).unwrap();
    let resumed = writer.finish().unwrap().store(&store).unwrap();
    let writer = Maps::writer(&store, header()).unwrap();
    writer.put_tile(0, 0, &tile(1.0)).unwrap();
    writer.put_tile(1, 1, &tile(2.0)).unwrap();
    assert_eq!(writer.finish().unwrap().store(&store).unwrap(), resumed);
}

#[test]
fn a_header_that_makes_no_sense_is_refused() {
    let (_dir, store) = store();
    let huge = MapsHeader {
        classes: Default::default(),
        tile: u32::MAX,
        ..header()
    };
    let empty = MapsHeader {
        classes: Default::default(),
        tile: 0,
        ..header()
    };
    let blurred = MapsHeader {
        classes: Default::default(),
        mpp: f64::NAN,
        ..header()
    };
    for wrong in [huge, empty, blurred] {
        assert!(Maps::writer(&store, wrong).is_err());
    }
}

#[test]
fn a_network_that_was_trained_on_other_classes_names_them() {
    let mut header = header();
    let published = crate::classes::tissues();
    assert_eq!(
        header.classes_of("Patch-Class", published.clone()),
        published
    );
    let names = ["background", "stroma", "necrosis"].map(str::to_owned);
    header.classes.insert("Patch-Class".into(), names.to_vec());
    let own = header.classes_of("Patch-Class", published.clone());
    let named: Vec<(u32, &str)> = own.iter().map(|one| (one.id, one.name.as_str())).collect();
    assert_eq!(named, [(0, "background"), (1, "stroma"), (2, "necrosis")]);
    assert_eq!(
        (own[0].colour, own[1].colour),
        (published[0].colour, published[5].colour)
    );
    // Types of objects begin at 1: 0 is none.
    let types = header.classes_of("Patch-Class", published[1..].to_vec());
    assert_eq!(types[0].name, "stroma");
    // Maps of before are read, and those without names written as before.
    let text = serde_json::to_string(&MapsHeader {
        classes: Default::default(),
        ..header
    })
    .unwrap();
    assert!(!text.contains("classes"));
    serde_json::from_str::<MapsHeader>(&text).unwrap();
}
