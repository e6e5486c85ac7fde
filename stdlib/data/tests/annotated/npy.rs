//! NumPy's files: what NumPy writes is read, and what is damaged is an error.

use std::collections::BTreeMap;
use std::io::Cursor;

use cerb_data::npy::{self, Npy};
use cerb_image::Grid;
use proptest::prelude::*;

use crate::support::{npy as file, objects, put, python};

#[test]
fn every_kind_and_order_that_numpy_writes_is_read() {
    let folder = tempfile::tempdir().unwrap();
    if !python("write-npy", folder.path()) {
        return;
    }
    let mut read = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.extension().unwrap() == "npz" {
            let arrays = npy::npz(std::fs::File::open(&path).unwrap()).unwrap();
            assert_eq!(
                arrays["a"].labels().unwrap().data,
                [1, 2, 3, 4, 5, 6],
                "{name}"
            );
            assert_eq!(arrays["b"].floats(), [0.5], "{name}");
        } else {
            let array = Npy::open(&path).unwrap().all().unwrap();
            // The script counts from -12 in signed kinds, from 0 in others; booleans alternate.
            let expected = |i: i32| match name.split('_').next().unwrap() {
                "bool" => i % 2,
                "u1" | "u2" | "u4" | "u8" => i,
                _ => i - 12,
            };
            assert_eq!(array.shape, [2, 3, 4], "{name}");
            let expected: Vec<i32> = (0..24).map(expected).collect();
            assert_eq!(array.integers().unwrap(), expected, "{name}");
            let floats: Vec<f64> = expected.iter().map(|&v| v.into()).collect();
            assert_eq!(array.floats(), floats, "{name}");
        }
        read += 1;
    }
    assert!(read > 30, "{read}");
}

#[test]
fn an_item_of_a_stack_is_read_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = put(folder.path(), "a.npy", file("|u1", &[3, 2, 2], 0..12));
    let mut stack = Npy::open(&path).unwrap();
    assert_eq!(stack.item(1).unwrap().labels().unwrap().data, [4, 5, 6, 7]);
    assert!(stack.item(3).is_err());
}

#[test]
fn what_is_no_plain_array_is_refused() {
    let rewritten = |from: &str, to: &str| {
        let text = file("<i4", &[1, 1], [0; 4]);
        let text: String = text.iter().map(|&b| b as char).collect();
        let text = text.replace(from, to);
        npy::parse(&text.chars().map(|c| c as u8).collect::<Vec<_>>())
    };
    assert!(rewritten("", "").is_ok());
    for (from, to, why) in [
        ("NUMPY", "NUMBY", "begin"),
        ("'<i4'", "'|O8'", "`|O8`"),
        ("'<i4'", "[('a', '<i4')]", "records"),
        ("'<i4'", "'<U4'", "`<U4`"),
        ("(1,1,)", "(-1,1)", "shape"),
        ("(1,1,)", "(99999999999999999999,)", "shape"),
        ("(1,1,)", "(4294967296, 4294967296)", "claims"),
        ("(1,1,)", "(2147483647,)", "claims"),
        ("'shape'", "'shave'", "`shape`"),
        ("False", "Maybe", "order"),
        ("\u{1}\u{0}", "\u{9}\u{0}", "version 9"),
    ] {
        let error = rewritten(from, to).unwrap_err().to_string();
        assert!(error.contains(why), "{from} → {to}: {error}");
    }
}

#[test]
fn a_file_that_is_cut_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let whole = file("<u2", &[4, 4], [7; 32]);
    for end in 0..whole.len() {
        assert!(npy::parse(&whole[..end]).is_err(), "{end}");
        let path = put(folder.path(), "a.npy", &whole[..end]);
        assert!(Npy::open(&path).is_err(), "{end}");
    }
}

#[test]
fn an_archive_that_claims_more_than_it_holds_is_refused() {
    let mut bytes = Cursor::new(Vec::new());
    let labels = BTreeMap::from([("a".to_owned(), Grid::filled(8, 8, 1))]);
    npy::write_labels(&mut bytes, &labels).unwrap();
    let bytes = bytes.into_inner();
    // The unpacked size in the central directory, 24 bytes behind its signature.
    let at = bytes
        .windows(4)
        .rposition(|word| word == b"PK\x01\x02")
        .unwrap()
        + 24;
    let mut bomb = bytes.clone();
    bomb[at..at + 4].copy_from_slice(&0xf000_0000u32.to_le_bytes());
    assert!(
        npy::npz(Cursor::new(bomb))
            .unwrap_err()
            .to_string()
            .contains("claims")
    );
}

#[test]
fn an_archive_has_the_same_bytes_on_every_system() {
    let mut bytes = Cursor::new(Vec::new());
    npy::write_labels(
        &mut bytes,
        &BTreeMap::from([("a".to_owned(), objects(9, 7))]),
    )
    .unwrap();
    let bytes = bytes.into_inner();
    // The directory says which system wrote the file: 3 is Unix, wherever it was written.
    let at = bytes
        .windows(4)
        .position(|word| word == b"PK\x01\x02")
        .unwrap();
    assert_eq!(bytes[at + 5], 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = npy::parse(&bytes);
        let mut headed = b"\x93NUMPY\x01\x00\x40\x00{'descr': '<i2', 'fortran_order': True, 'shape': (".to_vec();
        headed.extend(&bytes);
        let _ = npy::parse(&headed);
        let _ = npy::npz(Cursor::new(&bytes));
    }

    #[test]
    fn a_changed_byte_is_read_or_refused(at in 0usize..1000, value: u8) {
        let mut bytes = Cursor::new(Vec::new());
        let labels = BTreeMap::from([("a".to_owned(), objects(9, 7)), ("b".to_owned(), objects(3, 3))]);
        npy::write_labels(&mut bytes, &labels).unwrap();
        let mut bytes = bytes.into_inner();
        let at = at % bytes.len();
        bytes[at] = value;
        let _ = npy::npz(Cursor::new(&bytes));
    }
}
