//! Weights that cannot be used are refused with a message that names the fault, and never with a panic.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use std::fs;
use std::io::Write;
use std::path::Path;

use cerb_model::{Backbone, Checkpoint, Head, Misfit, ModelError, Weights};

// ---- a writer of pickles and containers, small enough to write wrong ones by hand

/// Writes pickle instructions of protocol 2.
#[derive(Clone, Default)]
struct Pickle(Vec<u8>);

impl Pickle {
    fn new() -> Self {
        Self(vec![0x80, 2])
    }
    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
    fn text(self, text: &str) -> Self {
        let length = u32::try_from(text.len()).unwrap().to_le_bytes();
        self.raw(b"X").raw(&length).raw(text.as_bytes())
    }
    fn int(self, number: usize) -> Self {
        self.raw(b"J")
            .raw(&i32::try_from(number).unwrap().to_le_bytes())
    }
    fn global(self, module: &str, name: &str) -> Self {
        self.raw(format!("c{module}\n{name}\n").as_bytes())
    }
    fn ints(self, numbers: &[usize]) -> Self {
        numbers
            .iter()
            .fold(self.raw(b"("), |pickle, &number| pickle.int(number))
            .raw(b"t")
    }
    /// A tensor of a storage of `count` floats.
    fn tensor(
        self,
        key: &str,
        kind: &str,
        count: usize,
        offset: usize,
        shape: &[usize],
        strides: &[usize],
    ) -> Self {
        let storage = self
            .global("torch._utils", "_rebuild_tensor_v2")
            .raw(b"((")
            .text("storage")
            .global("torch", kind)
            .text(key)
            .text("cpu")
            .int(count);
        storage
            .raw(b"tQ")
            .int(offset)
            .ints(shape)
            .ints(strides)
            .raw(b"\x89)tR")
    }
    fn end(self) -> Vec<u8> {
        self.raw(b".").0
    }
}

/// Writes a container of PyTorch 1.6 or later.
fn zip(path: &Path, pickle: &[u8], storages: &[(&str, Vec<u8>)], method: zip::CompressionMethod) {
    let mut writer = zip::ZipWriter::new(fs::File::create(path).unwrap());
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    writer.start_file("archive/data.pkl", options).unwrap();
    writer.write_all(pickle).unwrap();
    for (key, bytes) in storages {
        writer
            .start_file(format!("archive/data/{key}"), options)
            .unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap();
}

/// Writes a stream as PyTorch did before 1.6.
fn stream(path: &Path, pickle: &[u8], storages: &[(&str, usize, Vec<u8>)]) {
    let magic = Pickle::new()
        .raw(b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19")
        .end();
    let protocol = Pickle::new().raw(b"M\xe9\x03").end();
    let machine = Pickle::new()
        .raw(b"}(")
        .text("little_endian")
        .raw(b"\x88u")
        .end();
    let keys = storages
        .iter()
        .fold(Pickle::new().raw(b"]("), |pickle, (key, ..)| {
            pickle.text(key)
        })
        .raw(b"e")
        .end();
    let mut bytes = [&magic[..], &protocol, &machine, pickle, &keys].concat();
    for (_, count, data) in storages {
        bytes.extend_from_slice(&(*count as u64).to_le_bytes());
        bytes.extend_from_slice(data);
    }
    fs::write(path, bytes).unwrap();
}

fn le(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

const STORED: zip::CompressionMethod = zip::CompressionMethod::Stored;

fn heads() -> Vec<Head> {
    Head::published()[5..].to_vec()
}

fn misfits(error: &ModelError) -> &[Misfit] {
    match error {
        ModelError::Tensors { misfits, .. } => &misfits.0,
        other => panic!("{other}"),
    }
}

/// Writes the formula weights of a small network as a PyTorch file, changed by `edit`.
fn checkpoint(
    path: &Path,
    edit: impl Fn(&str) -> Option<(String, Vec<usize>)>,
    more: &[(&str, Vec<usize>)],
) {
    let weights = Weights::formula(Backbone::Resnet18, &heads());
    let tensors = weights
        .tensors()
        .filter(|(name, _)| !name.ends_with("num_batches_tracked") && !name.contains(".fc."));
    let kept = tensors.filter_map(|(name, tensor)| match edit(name) {
        Some((name, shape)) if shape.is_empty() => Some((name, tensor.shape.clone())),
        other => other,
    });
    let all: Vec<(String, Vec<usize>)> = kept
        .chain(
            more.iter()
                .map(|(name, shape)| ((*name).to_owned(), shape.clone())),
        )
        .collect();
    // One shared storage of zeros: shapes are what is looked at.
    let largest = all
        .iter()
        .map(|(_, shape)| shape.iter().product::<usize>())
        .max()
        .unwrap();
    let pickle = all.iter().fold(
        Pickle::new().raw(b"}(").text("desc").raw(b"}("),
        |pickle, (name, shape)| {
            let strides: Vec<usize> = (0..shape.len())
                .map(|axis| shape[axis + 1..].iter().product())
                .collect();
            pickle
                .text(name)
                .tensor("0", "FloatStorage", largest, 0, shape, &strides)
        },
    );
    zip(
        path,
        &pickle.raw(b"uu").end(),
        &[("0", le(&vec![0.5; largest]))],
        zip::CompressionMethod::Deflated,
    );
}

// ---- claims

#[test]
fn a_directory_without_weights_says_what_belongs_there() {
    let folder = tempfile::tempdir().unwrap();
    let message = Weights::open(folder.path()).unwrap_err().to_string();
    assert!(
        message.contains("holds no `weights.tar`") && message.contains("`settings.yml`"),
        "{message}"
    );
    assert!(matches!(
        Weights::open(&folder.path().join("absent")),
        Err(ModelError::Io { .. })
    ));
}

#[test]
fn a_missing_an_extra_and_a_wrongly_shaped_tensor_are_named_together() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.pt");
    checkpoint(&path, |name| Some((name.to_owned(), Vec::new())), &[]);
    Weights::open(&path).unwrap();

    let edit = |name: &str| match name {
        "backbone.layer2.0.bn1.bias" => None,
        "decoder_head.Patch-Class.conv1.weight" => Some((name.to_owned(), vec![256, 256, 1, 1])),
        _ => Some((name.to_owned(), Vec::new())),
    };
    checkpoint(
        &path,
        edit,
        &[("backbone.layer5.0.conv1.weight", vec![3, 2])],
    );
    let error = Weights::open(&path).unwrap_err();
    assert_eq!(
        misfits(&error),
        [
            Misfit::Missing {
                name: "backbone.layer2.0.bn1.bias".to_owned(),
                expected: vec![128]
            },
            Misfit::Unexpected {
                name: "backbone.layer5.0.conv1.weight".to_owned(),
                found: vec![3, 2]
            },
            Misfit::Shape {
                name: "decoder_head.Patch-Class.conv1.weight".to_owned(),
                expected: vec![256, 512, 1, 1],
                found: vec![256, 256, 1, 1]
            },
        ]
    );
    let message = error.to_string();
    assert!(
        message.contains(
            "`decoder_head.Patch-Class.conv1.weight` is [256, 256, 1, 1], expected [256, 512, 1, 1]"
        ),
        "{message}"
    );
    assert!(
        matches!(Weights::describe(&path), Err(ModelError::Tensors { .. })),
        "plans find it too"
    );
}

#[test]
fn module_is_taken_off_all_names_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.tar");
    checkpoint(
        &path,
        |name| Some((format!("module.{name}"), Vec::new())),
        &[],
    );
    Weights::open(&path).unwrap();
    checkpoint(
        &path,
        |name| {
            Some((
                if name == "conv_map.weight" {
                    name.to_owned()
                } else {
                    format!("module.{name}")
                },
                Vec::new(),
            ))
        },
        &[],
    );
    assert!(Weights::open(&path).is_err());
}

#[test]
fn an_encoder_loads_with_and_without_its_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("encoder.pth");
    let encoder = |name: &str| name.starts_with("backbone.").then(|| name.to_owned());
    for strip in [false, true] {
        let edit = |name: &str| {
            encoder(name).map(|name| {
                (
                    if strip {
                        name.replace("backbone.", "")
                    } else {
                        name
                    },
                    Vec::new(),
                )
            })
        };
        let classifier = if strip {
            "fc.weight"
        } else {
            "backbone.fc.weight"
        };
        checkpoint(&path, edit, &[(classifier, vec![2, 512])]);
        let weights = Weights::open(&path).unwrap();
        assert!(
            weights.settings().heads.is_empty()
                && weights.tensor("backbone.layer4.1.conv2.weight").is_some()
        );
    }
}

#[test]
fn a_pickle_that_would_run_code_is_refused_by_name_in_both_containers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.tar");
    let marker = folder.path().join("ran");
    let system = Pickle::new()
        .raw(b"}(")
        .text("desc")
        .global("posix", "system")
        .raw(b"(")
        .text(&format!("touch {}", marker.display()))
        .raw(b"tRu")
        .end();
    zip(&path, &system, &[], STORED);
    let in_zip = Weights::open(&path).unwrap_err();
    stream(&path, &system, &[]);
    let in_stream = Weights::open(&path).unwrap_err();
    for error in [in_zip, in_stream] {
        assert!(
            matches!(&error, ModelError::ForeignCode { name, .. } if name == "posix.system"),
            "{error}"
        );
        assert!(error.to_string().contains("`posix.system`"), "{error}");
    }
    assert!(!marker.exists());
}

#[test]
fn views_shared_storages_and_other_number_types_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.pt");
    let numbers = le(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    let pickle = Pickle::new()
        .raw(b"}(")
        .text("plain")
        .tensor("0", "FloatStorage", 6, 0, &[2, 3], &[3, 1])
        .text("transposed")
        .tensor("0", "FloatStorage", 6, 0, &[3, 2], &[1, 3])
        .text("tail")
        .tensor("0", "FloatStorage", 6, 4, &[2], &[1])
        .text("half")
        .tensor("1", "HalfStorage", 1, 0, &[1], &[1])
        .raw(b"u")
        .end();
    let read = |path: &Path| {
        let mut file = Checkpoint::open(path).unwrap();
        ["plain", "transposed", "tail", "half"]
            .map(|name| file.read(name).unwrap().floats().unwrap().to_vec())
    };
    let expected = [
        vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
        vec![0.0, 3.0, 1.0, 4.0, 2.0, 5.0],
        vec![4.0, 5.0],
        vec![-2.0],
    ];
    for method in [STORED, zip::CompressionMethod::Deflated] {
        zip(
            &path,
            &pickle,
            &[("0", numbers.clone()), ("1", vec![0x00, 0xc0])],
            method,
        );
        assert_eq!(read(&path), expected);
    }
    stream(
        &path,
        &pickle,
        &[("0", 6, numbers), ("1", 1, vec![0x00, 0xc0])],
    );
    assert_eq!(read(&path), expected);
}

#[test]
fn parameters_as_the_classic_torchvision_files_hold_them_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.pth");
    // An ordered dict from a list of pairs; a parameter made empty and given (tensor, …) as its state.
    let pickle = Pickle::new()
        .global("collections", "OrderedDict")
        .raw(b"](](")
        .text("weight")
        .global("torch.nn.parameter", "Parameter")
        .raw(b")\x81(")
        .tensor("7", "FloatStorage", 2, 0, &[2], &[1])
        .raw(b"N\x88N}tbee\x85R")
        .end();
    stream(&path, &pickle, &[("7", 2, le(&[1.5, -1.5]))]);
    let mut file = Checkpoint::open(&path).unwrap();
    assert_eq!(file.read("weight").unwrap().floats().unwrap(), [1.5, -1.5]);
}

#[test]
fn every_truncation_of_a_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, cut) = (folder.path().join("w.pt"), folder.path().join("cut.pt"));
    let pickle = Pickle::new()
        .raw(b"}(")
        .text("a")
        .tensor("0", "FloatStorage", 6, 0, &[6], &[1])
        .raw(b"u")
        .end();
    let numbers = le(&[1.0; 6]);
    let write: [&dyn Fn(); 3] = [
        &|| zip(&whole, &pickle, &[("0", numbers.clone())], STORED),
        &|| stream(&whole, &pickle, &[("0", 6, numbers.clone())]),
        &|| {
            let view =
                safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![6], &numbers)
                    .unwrap();
            safetensors::serialize_to_file([("a", view)], None, &whole).unwrap();
        },
    ];
    for write in write {
        write();
        let bytes = fs::read(&whole).unwrap();
        assert_eq!(
            Checkpoint::open(&whole)
                .unwrap()
                .read("a")
                .unwrap()
                .floats()
                .unwrap(),
            [1.0; 6]
        );
        for length in 0..bytes.len() {
            fs::write(&cut, &bytes[..length]).unwrap();
            let read = Checkpoint::open(&cut).and_then(|mut file| file.read("a"));
            assert!(read.is_err(), "{length} of {} bytes", bytes.len());
        }
    }
}

#[test]
fn garbage_and_flipped_bytes_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.pt");
    for garbage in [
        &b""[..],
        b"garbage",
        b"PK\x03\x04garbage",
        b"\x80\x02garbage",
        &[0xff; 4096],
        b"\xff\xff\xff\xff\xff\xff\xff\x7f{}",
        b"\x02\0\0\0\0\0\0\0{}",
    ] {
        fs::write(&path, garbage).unwrap();
        assert!(Weights::open(&path).is_err(), "{garbage:?}");
    }
    let pickle = Pickle::new()
        .raw(b"}(")
        .text("a")
        .tensor("0", "FloatStorage", 6, 0, &[2, 3], &[3, 1])
        .raw(b"u")
        .end();
    for write in [true, false] {
        if write {
            zip(&path, &pickle, &[("0", le(&[1.0; 6]))], STORED)
        } else {
            stream(&path, &pickle, &[("0", 6, le(&[1.0; 6]))])
        }
        let bytes = fs::read(&path).unwrap();
        for place in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut wrong = bytes.clone();
                wrong[place] ^= flip;
                fs::write(&path, wrong).unwrap();
                let _ = Checkpoint::open(&path).and_then(|mut file| file.read("a"));
            }
        }
    }
}

#[test]
fn numbers_that_are_not_finite_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    Weights::formula(Backbone::Resnet18, &heads())
        .save_safetensors(&path)
        .unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let error = Weights::open(&path).unwrap_err();
    assert!(
        matches!(misfits(&error), [Misfit::NotFinite { .. }]),
        "{error}"
    );
}

#[test]
fn a_safetensors_file_gives_back_what_was_saved_and_equal_weights_equal_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (
        folder.path().join("one.safetensors"),
        folder.path().join("two.safetensors"),
    );
    let weights = Weights::formula(Backbone::Resnet18, &heads());
    weights.save_safetensors(&one).unwrap();
    weights.save_safetensors(&two).unwrap();
    assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());
    assert_eq!(Weights::open(&one).unwrap(), weights);

    // A settings file beside it decides over its metadata.
    fs::write(folder.path().join("settings.yml"), "mpp: 0.25\n").unwrap();
    assert_eq!(Weights::describe(&one).unwrap().mpp, 0.25);
    fs::write(folder.path().join("settings.yml"), "mpp: [\n").unwrap();
    assert!(matches!(
        Weights::describe(&one),
        Err(ModelError::Settings { .. })
    ));
}

#[test]
fn a_safetensors_header_that_starts_like_a_pickle_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let mut bytes = 128u64.to_le_bytes().to_vec();
    bytes.extend_from_slice(format!("{header:128}").as_bytes());
    bytes.extend_from_slice(&le(&[2.5]));
    fs::write(&path, bytes).unwrap();
    let mut file = Checkpoint::open(&path).unwrap();
    assert_eq!(file.read("a").unwrap().floats().unwrap(), [2.5]);
}

#[test]
fn a_state_dict_with_attributes_and_parameters_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.pt");
    let ordered = |pickle: Pickle| pickle.global("collections", "OrderedDict").raw(b")R");
    // {"state_dict": OrderedDict(a=Parameter(tensor)) with `_metadata`, "epoch": 3}
    let pickle = ordered(Pickle::new().raw(b"}(").text("state_dict"))
        .text("a")
        .global("torch._utils", "_rebuild_parameter")
        .raw(b"(")
        .tensor("0", "DoubleStorage", 1, 0, &[], &[])
        .raw(b"\x88");
    let pickle = ordered(ordered(pickle).raw(b"tRs}").text("_metadata"));
    let pickle = pickle.raw(b"sb").text("epoch").int(3).raw(b"u").end();
    zip(
        &path,
        &pickle,
        &[("0", 0.5f64.to_le_bytes().to_vec())],
        STORED,
    );
    let mut file = Checkpoint::open(&path).unwrap();
    let array = file.read("a").unwrap();
    assert_eq!(
        (array.floats().unwrap(), array.shape.len()),
        (&[0.5][..], 0)
    );
}

#[test]
fn a_directory_of_safetensors_is_a_model_too() {
    let folder = tempfile::tempdir().unwrap();
    Weights::formula(Backbone::Resnet18, &heads())
        .save_safetensors(&folder.path().join("weights.safetensors"))
        .unwrap();
    fs::write(folder.path().join("LICENSE"), "\n# CC0 1.0\nmore\n").unwrap();
    let settings = Weights::describe(folder.path()).unwrap();
    assert_eq!(
        (settings.heads, settings.licence.as_deref()),
        (heads(), Some("CC0 1.0"))
    );
}
