//! A small laboratory for end-to-end tests: a folder with slides, a pipeline, a store and results.

use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The program under test.
pub const CERB: &str = env!("CARGO_BIN_EXE_cerb");

/// The workspace, for the pipelines that people run.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// What a command said and how it ended.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Insists on an exit code, and shows everything when it is another.
    #[track_caller]
    pub fn exits(self, code: i32) -> Said {
        assert_eq!(
            self.code, code,
            "\n--- stdout\n{}\n--- stderr\n{}",
            self.out, self.err
        );
        self
    }

    /// Insists on words in what was said, on either stream.
    #[track_caller]
    pub fn says(self, words: &str) -> Said {
        let all = format!("{}\n{}", self.out, self.err);
        assert!(all.contains(words), "`{words}` is not in\n{all}");
        self
    }

    /// Insists that nobody would take this for a crash.
    #[track_caller]
    pub fn calmly(self) -> Said {
        for noise in ["panicked", "RUST_BACKTRACE", "a bug in cerb"] {
            assert!(!self.err.contains(noise), "{}", self.err);
        }
        self
    }

    /// The summary object of `run --json`.
    #[track_caller]
    pub fn summary(&self) -> Value {
        let last = self.out.lines().last().unwrap_or_default();
        let value: Value =
            serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {last}"));
        assert_eq!(value["event"], "summary");
        value
    }

    /// The nodes that ran, as `run --json` tells.
    #[track_caller]
    pub fn ran(&self) -> Vec<String> {
        let summary = self.summary();
        let nodes = summary["outcome"]["nodes"].as_object().unwrap().clone();
        nodes
            .into_iter()
            .filter(|(_, counts)| counts["ran"].as_u64().unwrap() > 0)
            .map(|(name, _)| name)
            .collect()
    }
}

/// A folder of its own for one test.
pub struct Lab {
    pub dir: TempDir,
    pipeline: PathBuf,
}

impl Lab {
    /// A laboratory with this pipeline; its `root data` is the folder `slides`.
    pub fn new(pipeline: &str) -> Lab {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("slides")).unwrap();
        let path = dir.path().join("lab.cerb");
        fs::write(&path, pipeline).unwrap();
        Lab {
            dir,
            pipeline: path,
        }
    }

    /// A laboratory that runs a pipeline of the workspace.
    pub fn of(pipeline: &str) -> Lab {
        let dir = tempfile::tempdir().unwrap();
        Lab {
            pipeline: workspace().join("pipelines").join(pipeline),
            dir,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn slide(&self, name: &str) -> PathBuf {
        self.path("slides").join(name)
    }

    pub fn out(&self) -> PathBuf {
        self.path("out")
    }

    /// A command on the pipeline, with store and (for `run`) results inside the laboratory.
    pub fn command(&self, verb: &str, more: &[&str]) -> Command {
        let mut command = Command::new(CERB);
        command
            .arg(verb)
            .arg(&self.pipeline)
            .arg("--store")
            .arg(self.path("store"))
            .args(more);
        if verb == "run" && !more.contains(&"--out") {
            command.arg("--out").arg(self.out());
        }
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command
            .env_remove("CERB_STORE")
            .env("NO_COLOR", "1")
            .env("COLUMNS", "200");
        command
    }

    pub fn cerb(&self, verb: &str, more: &[&str]) -> Said {
        said(&mut self.command(verb, more))
    }

    /// Every file below the results with its bytes; manifest and page are left out: they tell of the run.
    pub fn results(&self) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        collect(&self.out(), &self.out(), &mut all);
        all.retain(|(name, _)| !name.contains("manifest") && name != "run.html");
        all.sort();
        all
    }
}

/// Runs a command to its end.
pub fn said(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs `cerb` without a pipeline.
pub fn cerb(args: &[&str]) -> Said {
    said(
        Command::new(CERB)
            .args(args)
            .env("NO_COLOR", "1")
            .env_remove("CERB_STORE")
            .stdin(Stdio::null()),
    )
}

fn collect(base: &Path, dir: &Path, all: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(base, &path, all);
        } else {
            all.push((
                path.strip_prefix(base).unwrap().display().to_string(),
                fs::read(&path).unwrap(),
            ));
        }
    }
}

/// Writes a PNG of `size` pixels whose colour at (x, y) is as given.
pub fn png(path: &Path, (width, height): (u32, u32), color: impl Fn(u32, u32) -> [u8; 3]) {
    let mut encoder = png::Encoder::new(
        BufWriter::new(fs::File::create(path).unwrap()),
        width,
        height,
    );
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let data: Vec<u8> = (0..height)
        .flat_map(|y| (0..width).map(move |x| (x, y)))
        .flat_map(|(x, y)| color(x, y))
        .collect();
    encoder
        .write_header()
        .unwrap()
        .write_image_data(&data)
        .unwrap();
}

/// A white page, as a slide on which nothing lies.
pub fn blank(path: &Path) {
    png(path, (512, 384), |_, _| [255, 255, 255]);
}

/// A piece of tissue as a PNG, which states no resolution.
pub fn tissue(path: &Path, size: (u32, u32), shift: u32) {
    png(path, size, stained(size, shift));
}

/// Writes the same as an uncompressed TIFF of 0.5 mpp: 20,000 pixels per centimetre.
pub fn tiff(path: &Path, (width, height): (u32, u32), color: impl Fn(u32, u32) -> [u8; 3]) {
    let (short, long, rational) = (3u16, 4u16, 5u16);
    let pixels = width * height * 3;
    // Header, then what does not fit into an entry, then pixels, then the directory.
    let (bits, resolution, data) = (8u32, 16u32, 24u32);
    let directory = data + pixels.next_multiple_of(2);
    let entries: [(u16, u16, u32, u32); 13] = [
        (256, long, 1, width),
        (257, long, 1, height),
        (258, short, 3, bits),
        (259, short, 1, 1),
        (262, short, 1, 2),
        (273, long, 1, data),
        (277, short, 1, 3),
        (278, long, 1, height),
        (279, long, 1, pixels),
        (282, rational, 1, resolution),
        (283, rational, 1, resolution),
        (284, short, 1, 1),
        (296, short, 1, 3),
    ];
    let mut bytes = b"II\x2a\0".to_vec();
    bytes.extend(directory.to_le_bytes());
    for bits in [8u16, 8, 8, 0] {
        bytes.extend(bits.to_le_bytes());
    }
    bytes.extend([20_000u32, 1].map(u32::to_le_bytes).concat());
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        bytes.extend(color(x, y));
    }
    bytes.resize(directory as usize, 0);
    bytes.extend((entries.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in entries {
        bytes.extend([tag, kind].map(u16::to_le_bytes).concat());
        bytes.extend([count, value].map(u32::to_le_bytes).concat());
    }
    bytes.extend([0; 4]);
    fs::write(path, bytes).unwrap();
}

/// Pink tissue on white, with a dark round nucleus every 24 pixels; `shift` makes slides differ.
fn stained((width, height): (u32, u32), shift: u32) -> impl Fn(u32, u32) -> [u8; 3] {
    move |x, y| {
        let inside = x > width / 10 && x < width * 9 / 10 && y > height / 10 && y < height * 9 / 10;
        let center = |v: u32| f64::from((v + shift) % 24) - 12.0;
        match (inside, center(x).hypot(center(y)) < 5.5) {
            (false, _) => [244, 243, 245],
            (true, true) => [88, 56, 140],
            (true, false) => [228, 156, 196],
        }
    }
}

/// A piece of tissue as a TIFF that states its resolution.
pub fn tissue_tiff(path: &Path, size: (u32, u32), shift: u32) {
    tiff(path, size, stained(size, shift));
}

/// A slide with nothing on it.
pub fn blank_tiff(path: &Path, size: (u32, u32)) {
    tiff(path, size, |_, _| [244, 244, 244]);
}
