//! The JSON Schema of pipelines in YAML, held against a validator that others wrote.
//!
//! Needs Python with `tests/oracles/requirements.txt`: `CERB_PYTHON`, or `.venv` in the workspace.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

use std::path::{Path, PathBuf};
use std::process::Command;

use cerb_tests::{files, root};

/// `check-jsonschema` beside the interpreter that has the oracles; none where it is not installed.
fn validator() -> Option<PathBuf> {
    let named = std::env::var_os("CERB_PYTHON").map(PathBuf::from);
    let python = named.unwrap_or_else(|| root().join(".venv/bin/python"));
    let validator = python.with_file_name("check-jsonschema");
    if validator.is_file() {
        return Some(validator);
    }
    assert!(
        std::env::var("CERB_REQUIRE_ORACLES").as_deref() != Ok("1"),
        "no check-jsonschema beside {}",
        python.display()
    );
    println!("skipped: no check-jsonschema (CERB_PYTHON)");
    None
}

/// The schema in a folder of its own, and the files that it is held against.
struct Held {
    validator: PathBuf,
    folder: tempfile::TempDir,
}

impl Held {
    fn new() -> Option<Held> {
        let held = Held {
            validator: validator()?,
            folder: tempfile::tempdir().unwrap(),
        };
        let registry = cerb_ops::registry().unwrap();
        let schema = cerb_lang::schema(registry.signatures());
        std::fs::write(held.schema(), schema.to_string()).unwrap();
        Some(held)
    }

    fn schema(&self) -> PathBuf {
        self.folder.path().join("schema.json")
    }

    fn put(&self, name: &str, yaml: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, yaml).unwrap();
        path
    }

    /// Says what is wrong with some files; nothing when all are valid.
    fn against(&self, files: &[PathBuf]) -> Result<(), String> {
        let out = Command::new(&self.validator)
            .arg("--schemafile")
            .arg(self.schema())
            .args(files)
            .output()
            .unwrap();
        if out.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&out.stdout).into_owned()
            + &String::from_utf8_lossy(&out.stderr))
    }
}

/// Every pipeline of the project: files, and the blocks of its documents that hold.
fn texts() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for path in files(&root().join("pipelines"), &[".cerb"]) {
        found.push((
            path.display().to_string(),
            std::fs::read_to_string(path).unwrap(),
        ));
    }
    for page in files(&root().join("docs"), &[".md"]) {
        if page.starts_with(root().join("docs/errors")) {
            continue;
        }
        let text = std::fs::read_to_string(&page).unwrap();
        for block in text.split("```cerb\n").skip(1) {
            let block = block.split("```").next().unwrap_or("");
            found.push((page.display().to_string(), block.to_owned()));
        }
    }
    found
}

/// The blocks of the documents that are written in YAML.
fn yaml_blocks(page: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(page).unwrap();
    let blocks = text.split("```yaml\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split("```").next());
    blocks
        .filter(|block| block.starts_with("cerb: 1"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_schema_holds_for_every_pipeline() {
    let Some(held) = Held::new() else { return };
    let mut all = files(&root().join("pipelines"), &[".cerb.yaml"]);
    assert!(!all.is_empty(), "no pipeline is written in YAML");
    for page in files(&root().join("docs"), &[".md"]) {
        for block in yaml_blocks(&page) {
            all.push(held.put(&format!("block{}.cerb.yaml", all.len()), &block));
        }
    }
    for (name, text) in texts() {
        let yaml = cerb_lang::to_yaml(&text, &name).unwrap_or_else(|e| panic!("{name}: {e}"));
        all.push(held.put(&format!("text{}.cerb.yaml", all.len()), &yaml));
    }
    assert!(all.len() > 5);
    held.against(&all).unwrap_or_else(|wrong| panic!("{wrong}"));
}

/// What the schema has to let through, and what it must not: each line is one change.
const PIPELINE: &str = r#"cerb: 1
root: {data: data}
use: {steps: lib/steps.cerb}
param:
  at: {type: Mpp, default: 0.5 mpp, in: 0.1 mpp..=2 mpp}
def:
  find: {takes: {s: Slide, at: {type: Mpp, default: 1 mpp}}, gives: Mask, result: {tissue.mask: [$s], at: $at}}
op:
  lab.norm: {takes: {slide: Slide}, gives: File, run: ["norm", "{slide}"], revision: 1}
let:
  slides: {slide.scan: [$data, "*.svs"]}
  wsi:
    for: {s: $slides}
    let:
      mask: {tissue.mask: [$s], at: 8 mpp, "@": {retry: 1, temp: true}}
      other: {find(): [$s], at: 2 mpp}
      maps: {stain.nuclei: [$s, $mask], at: $(at * 2)}
      third: {if: $(at > 1 mpp), then: $mask, else: {let: {m: $other}, result: $m}}
    result: {nuclei: {instances.nuclei: $maps, min_area: 20 px2, threshold: 0.5}, x: {steps.more(): [$s]}}
    "@": {tolerate: 1 %}
expect:
  - $(count(slides) == 3)
  - {that: $(sum(wsi.nuclei.count) ~ 100), within: 5 %, else: too few}
output:
  "{key}/nuclei.geojson": {export.geojson: [$wsi.nuclei]}
test:
  one: {let: {slides: {slide.scan: [$data, "a.svs"]}}}
"#;

#[test]
fn the_schema_refuses_what_is_misspelt() {
    let Some(held) = Held::new() else { return };
    let whole = held.put("whole.cerb.yaml", PIPELINE);
    held.against(&[whole])
        .unwrap_or_else(|wrong| panic!("{wrong}"));
    for (from, to) in [
        ("tissue.mask: [$s], at: 8", "tissue.maks: [$s], at: 8"),
        ("at: 8 mpp", "ta: 8 mpp"),
        ("8 mpp", "8 px"),
        ("8 mpp", "8"),
        ("retry: 1", "rety: 1"),
        ("retry: 1", "tolerate: 1 %"),
        ("tolerate: 1 %", "tolerate: 1 px"),
        ("$maps", "$maps + 1"),
        ("threshold: 0.5", "threshold: high"),
        ("for: {s: $slides}", "for: $slides"),
        ("    result: {nuclei", "    results: {nuclei"),
        ("cerb: 1", "cerb: 2"),
        ("param:", "params:"),
        ("gives: Mask", "give: Mask"),
        (
            "slides: {slide.scan: [$data, \"*.svs\"]}",
            "in: {slide.scan: [$data, \"*.svs\"]}",
        ),
        ("within: 5 %", "with: 5 %"),
        (
            "[$s, $mask], at",
            "[$s, $mask, $at, $at, $at, $at, $at, $at, $at], at",
        ),
    ] {
        let changed = PIPELINE.replacen(from, to, 1);
        assert_ne!(changed, PIPELINE, "{from}");
        let file = held.put("changed.cerb.yaml", &changed);
        assert!(held.against(&[file]).is_err(), "`{to}` goes through");
    }
}
