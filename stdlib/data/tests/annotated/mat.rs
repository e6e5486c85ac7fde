//! MATLAB's files: what SciPy and h5py write is read, and what is damaged is an error.

use cerb_data::mat::{Mat, Value};
use proptest::prelude::*;

use crate::support::{column, mat, objects, put, python};

/// Written by h5py: a group of symbols, a packed and shuffled array in chunks, one that lies together, one in the header.
const HDF5: &[u8] = include_bytes!("small-v73.mat");

#[test]
fn our_own_files_are_read() {
    let ids = objects(7, 5);
    for packed in [false, true] {
        let bytes = mat(&[("inst_map", &ids), ("id", &column([3, 1]))], packed);
        let read = Mat::parse(&bytes).unwrap();
        assert_eq!(read.labels("inst_map").unwrap(), ids);
        assert_eq!(read.list("id").unwrap(), [3, 1]);
    }
}

fn check(path: &std::path::Path) {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let read = Mat::open(path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let labels = read
        .labels("inst_map")
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!((labels.width, labels.height), (23, 17), "{name}");
    for y in 0..17 {
        for x in 0..23 {
            assert_eq!(
                labels.at(x, y),
                (y * 23 + x) as i32 % 100,
                "{name}: {x}, {y}"
            );
        }
    }
    assert_eq!(
        read.list("id").unwrap(),
        (1..=99).collect::<Vec<_>>(),
        "{name}"
    );
}

#[test]
fn every_kind_that_scipy_and_h5py_write_is_read() {
    let folder = tempfile::tempdir().unwrap();
    if !python("write-mat", folder.path()) {
        return;
    }
    let mut read = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        check(&entry.unwrap().path());
        read += 1;
    }
    assert!(read > 30, "{read}");
}

#[test]
fn cells_structures_and_texts_are_read() {
    let folder = tempfile::tempdir().unwrap();
    if !python("write-nested-mat", folder.path()) {
        return;
    }
    let read = Mat::open(&folder.path().join("nested.mat")).unwrap();
    let Value::Struct(fields) = &read.0["s"] else {
        panic!("{:?}", read.0["s"]);
    };
    assert_eq!(fields["name"], Value::Text("gland".to_owned()));
    let Value::Cells(cells) = &fields["boxes"] else {
        panic!("{:?}", fields["boxes"]);
    };
    let Value::Array(first) = &cells[0] else {
        panic!("{:?}", cells[0]);
    };
    assert_eq!((cells.len(), first.integers().unwrap()), (2, vec![1, 2, 3]));
    assert!(read.array("z").unwrap_err().to_string().contains("complex"));
    assert!(
        read.array("sparse")
            .unwrap_err()
            .to_string()
            .contains("is sparse")
    );
    assert!(
        read.labels("s")
            .unwrap_err()
            .to_string()
            .contains("no numbers")
    );
    let error = read.labels("inst_map").unwrap_err().to_string();
    assert!(error.starts_with("it has no `inst_map`, only "), "{error}");
}

#[test]
fn the_latest_format_is_refused_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    if !python("write-latest-mat", folder.path()) {
        return;
    }
    let read = Mat::open(&folder.path().join("latest.mat")).unwrap();
    let error = read.labels("inst_map").unwrap_err().to_string();
    assert!(error.contains("save -v7"), "{error}");
}

#[test]
fn numbers_in_another_file_are_refused_and_not_taken_for_0() {
    let folder = tempfile::tempdir().unwrap();
    if !python("write-external-mat", folder.path()) {
        return;
    }
    let read = Mat::open(&folder.path().join("external.mat")).unwrap();
    let error = read.labels("inst_map").unwrap_err().to_string();
    assert!(error.contains("lies in other files"), "{error}");
}

/// A variable of cells, each an empty variable of 8 bytes.
fn cells(count: u32) -> Vec<u8> {
    let element = |kind: u32, data: &[u8]| {
        let mut bytes = [kind, data.len() as u32].map(u32::to_le_bytes).concat();
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    };
    let mut matrix = element(6, &[1, 0, 0, 0, 0, 0, 0, 0]);
    matrix.extend(element(5, &[count, 1].map(u32::to_le_bytes).concat()));
    matrix.extend(element(1, b"c"));
    matrix.extend((0..count).flat_map(|_| element(14, &[])));
    let mut bytes = mat(&[], false);
    bytes.extend(element(14, &matrix));
    bytes
}

#[test]
fn more_cells_than_memory_is_for_are_refused() {
    let Value::Cells(few) = &Mat::parse(&cells(3)).unwrap().0["c"] else {
        panic!("cells are no cells");
    };
    assert_eq!(few.len(), 3);
    let error = Mat::parse(&cells((1 << 20) + 1)).unwrap_err().to_string();
    assert!(error.contains("more than 1048576 cells"), "{error}");
}

#[test]
fn a_file_of_another_kind_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for bytes in [
        &b""[..],
        b"\x89PNG\r\n\x1a\n",
        &[0; 200],
        b"not a matrix at all",
    ] {
        let path = put(folder.path(), "a.mat", bytes);
        let error = Mat::open(&path).unwrap_err();
        assert_eq!(error.code(), "dataset::unreadable");
        assert!(
            error.to_string().contains("no `.mat` of version 5 or 7.3"),
            "{error}"
        );
    }
}

#[test]
fn a_cut_file_is_no_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    check(&put(folder.path(), "whole.mat", HDF5));
    let whole = mat(
        &[("inst_map", &objects(7, 5)), ("id", &column([3, 1]))],
        true,
    );
    for (whole, step) in [(whole.as_slice(), 1), (HDF5, 7)] {
        for end in (0..whole.len() - 8).step_by(step) {
            let read = Mat::parse(&whole[..end]);
            let complete =
                read.is_ok_and(|read| read.labels("inst_map").is_ok() && read.list("id").is_ok());
            assert!(!complete, "{end} of {}", whole.len());
        }
    }
}

#[test]
fn a_length_beyond_the_file_is_refused() {
    let whole = mat(&[("inst_map", &objects(7, 5))], false);
    for at in [
        128 + 4,
        128 + 8 + 4,
        128 + 8 + 16 + 4,
        128 + 8 + 16 + 8,
        128 + 8 + 16 + 12,
    ] {
        for value in [u32::MAX, 0x7fff_ffff, 1 << 20] {
            let mut broken = whole.clone();
            broken[at..at + 4].copy_from_slice(&value.to_le_bytes());
            let read = Mat::parse(&broken);
            assert!(
                read.is_err() || read.unwrap().labels("inst_map").is_err(),
                "{value} at {at}"
            );
        }
    }
}

#[test]
fn an_array_larger_than_its_file_can_hold_is_refused() {
    // Its shape, as HDF5 has it: 23 and 17.
    let shape = [23u64.to_le_bytes(), 17u64.to_le_bytes()].concat();
    let mut broken = HDF5.to_vec();
    let at = broken.windows(16).position(|bytes| bytes == shape).unwrap();
    broken[at..at + 8].copy_from_slice(&(1u64 << 26).to_le_bytes());
    let error = Mat::parse(&broken).unwrap().labels("inst_map").unwrap_err();
    assert!(error.to_string().contains("cannot come from"), "{error}");
    // One chunk fits where four were written.
    let mut broken = HDF5.to_vec();
    for (from, to) in [(0, 16u64), (8, 16)] {
        broken[at + from..at + from + 8].copy_from_slice(&to.to_le_bytes());
    }
    assert!(Mat::parse(&broken).unwrap().labels("inst_map").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_changed_file_is_read_or_refused(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..4)) {
        let small = mat(&[("inst_map", &objects(7, 5))], false);
        for whole in [HDF5, &small] {
            let mut bytes = whole.to_vec();
            for &(at, value) in &changes {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            let _ = Mat::parse(&bytes);
        }
    }

    #[test]
    fn any_bytes_behind_a_head_are_read_or_refused(rest in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = mat(&[], false);
        bytes.extend(&rest);
        let _ = Mat::parse(&bytes);
        let mut bytes = b"\x89HDF\r\n\x1a\n".to_vec();
        bytes.extend(&rest);
        let _ = Mat::parse(&bytes);
    }
}
