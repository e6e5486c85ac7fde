//! Bad input at the command line: each case is told in words, with an exit code, and never as a crash.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::lab::{CERB, Lab, Said, blank, said, tissue, workspace};

/// Everything the quickstart does, on the PNGs and TIFFs of the laboratory.
fn pipeline(mpp: &str) -> String {
    format!(
        "cerb 1\nroot data = \"slides\"\n\
         let slides = slide.scan(data, \"*\"{mpp})\n\
         let wsi = for s in slides {{\n  \
           let mask = tissue.mask(s)\n  \
           let maps = stain.nuclei(s, mask)\n  \
           let nuclei = instances.nuclei(maps)\n  \
           {{ geojson: export.geojson(nuclei), parquet: export.parquet(nuclei) }}\n}}\n\
         output \"{{key}}/nuclei.geojson\" = wsi.geojson\n\
         output \"{{key}}/nuclei.parquet\" = wsi.parquet\n"
    )
}

fn lab() -> Lab {
    Lab::new(&pipeline(", mpp: 0.5 mpp"))
}

#[test]
fn a_file_that_is_not_a_slide() {
    let lab = lab();
    fs::write(lab.slide("notes.svs"), "this is a shopping list\n").unwrap();
    lab.cerb("run", &[]).exits(2).says("notes.svs").calmly();
}

#[test]
fn a_file_of_no_bytes() {
    let lab = lab();
    fs::write(lab.slide("empty.svs"), "").unwrap();
    lab.cerb("run", &[]).exits(2).says("empty.svs").calmly();
}

#[test]
fn a_truncated_slide() {
    let whole = fs::read(workspace().join("pipelines/data/CMU-1-Small-Region.svs")).unwrap();
    for part in [100, whole.len() / 2, whole.len() - 1000] {
        let lab = lab();
        fs::write(lab.slide("cut.svs"), &whole[..part]).unwrap();
        let said = lab.cerb("run", &[]).says("cut.svs").calmly();
        assert!([1, 2].contains(&said.code), "{}: {}", said.code, said.err);
    }
}

#[test]
fn a_slide_without_a_resolution() {
    let lab = Lab::new(&pipeline(""));
    tissue(&lab.slide("a.png"), (256, 256), 0);
    lab.cerb("run", &[])
        .exits(2)
        .says("slide::no_mpp")
        .says("mpp: 0.25 mpp")
        .calmly();
}

#[test]
fn a_blank_slide_is_a_valid_empty_result() {
    let lab = lab();
    blank(&lab.slide("blank.png"));
    lab.cerb("run", &[]).exits(0).calmly();
    let geojson = fs::read_to_string(lab.out().join("blank/nuclei.geojson")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&geojson).unwrap();
    assert_eq!(value["features"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_directory_without_weights() {
    let lab = Lab::new(
        "cerb 1\nroot data = \"slides\"\nlet model = model.load(data, \"weights\")\n\
         let slides = slide.scan(data, \"*.png\", mpp: 0.5 mpp)\n\
         let wsi = for s in slides {\n  let mask = tissue.mask(s)\n  \
         let grid = patch.grid(s, mask, input: 448 px, output: 144 px, at: 0.5 mpp)\n  \
         let maps = cerberus.infer(model, s, grid)\n  { geojson: export.geojson(instances.nuclei(maps)) }\n}\n\
         output \"{key}.geojson\" = wsi.geojson\n",
    );
    tissue(&lab.slide("a.png"), (200, 200), 0);
    lab.cerb("run", &[]).exits(2).says("weights").calmly();
    fs::create_dir(lab.slide("weights")).unwrap();
    lab.cerb("run", &[]).exits(2).says("weights.tar").calmly();
}

#[test]
fn an_unknown_operator_parameter_and_unit() {
    let wrong = |from: &str, to: &str| {
        let lab = Lab::new(&pipeline(", mpp: 0.5 mpp").replace(from, to));
        tissue(&lab.slide("a.png"), (256, 256), 0);
        lab.cerb("run", &[]).exits(2).calmly()
    };
    wrong("instances.nuclei(", "instances.nuclie(")
        .says("instances.nuclie")
        .says("instances.nuclei");
    wrong(
        "instances.nuclei(maps",
        "instances.nuclei(maps, min_aera: 8 px2",
    )
    .says("min_aera")
    .says("min_area");
    wrong("0.5 mpp", "0.5 mpq").says("mpq");
    wrong("0.5 mpp", "0.5 px").says("px");
}

#[test]
fn two_slides_with_the_same_key() {
    let lab = lab();
    tissue(&lab.slide("a.png"), (256, 256), 0);
    fs::rename(lab.slide("a.png"), lab.slide("twin.png")).unwrap();
    fs::copy(lab.slide("twin.png"), lab.slide("twin.PNG")).unwrap();
    lab.cerb("run", &[]).exits(2).says("twin").calmly();
}

/// A laboratory with one good slide and one that is cut off.
fn one_of_two(text: &str) -> Lab {
    let lab = Lab::new(text);
    tissue(&lab.slide("good.png"), (256, 256), 0);
    let whole = fs::read(workspace().join("pipelines/data/CMU-1-Small-Region.svs")).unwrap();
    fs::write(lab.slide("zcut.svs"), &whole[..whole.len() / 2]).unwrap();
    lab
}

#[test]
fn one_bad_slide_does_not_hold_up_the_others() {
    let lab = one_of_two(&pipeline(", mpp: 0.5 mpp"));
    lab.cerb("check", &[])
        .exits(0)
        .says("1 of 2 files cannot be read as a slide")
        .says("`zcut.svs` is damaged");
    lab.cerb("plan", &[])
        .exits(0)
        .says("1 of 2 items cannot be read: `zcut.svs` is damaged");
    let fast = lab.cerb("run", &["--fail-fast"]).exits(1).calmly();
    assert!(fast.says("zcut").out.contains("nothing complete"));
    let said = lab.cerb("run", &[]).exits(1).calmly();
    let said = said
        .says("slides@zcut: `zcut.svs` is damaged")
        .says("1 of 2 items failed (50 %, none is tolerated): list in ");
    assert!(lab.out().join("good/nuclei.geojson").is_file());
    let manifest = fs::read_to_string(lab.out().join("manifest.json")).unwrap();
    assert!(manifest.contains("partial") && manifest.contains("zcut/nuclei.geojson"));
    let list = said.out.split("list in ").nth(1).unwrap().lines().next();
    let list = lab.path(list.unwrap());
    let list: serde_json::Value = serde_json::from_slice(&fs::read(list).unwrap()).unwrap();
    assert_eq!(list["items"][0]["item"], "zcut");
    assert_eq!(list["items"][0]["paths"][0], "zcut.svs");
    let mut show = Command::new(CERB);
    let show = show
        .args(["show", "last", "--store"])
        .arg(lab.path("store"));
    crate::lab::said(show)
        .exits(0)
        .says("1 of 2 items of `slides` failed")
        .says("quarantine.json")
        .says("slides@zcut: `zcut.svs` is damaged");
    // Mended, only what it needs is done.
    let whole = workspace().join("pipelines/data/CMU-1-Small-Region.svs");
    fs::copy(whole, lab.slide("zcut.svs")).unwrap();
    let said = lab.cerb("run", &["--json"]).exits(0);
    assert_eq!(said.summary()["outcome"]["nodes"]["wsi.mask"]["hit"], 1);
}

#[test]
fn a_bad_slide_within_the_budget_is_tolerated_and_told() {
    let text = pipeline(", mpp: 0.5 mpp").replace("}\n}\n", "}\n} @tolerate(50 %)\n");
    let lab = one_of_two(&format!("{text}expect count(slides) == 2\n"));
    lab.cerb("run", &[])
        .exits(3)
        .says("1 of 2 items failed (50 %, 50 % is tolerated)")
        .says("count(slides) == 2");
    let preview = lab.cerb("plan", &["--exit-code"]).exits(0);
    preview
        .says("nothing to do")
        .says("1 of 2 items cannot be read");
}

#[test]
fn a_slide_that_appears_while_a_run_goes_on_is_in_the_next() {
    let lab = Lab::new(
        "cerb 1\nroot data = \"slides\"\nlet texts = file.scan(data, \"*.txt\")\n\
         op copy(x: File) -> File { run \"cp {x} {file}; sleep 1\" }\n\
         let all = for t in texts { copy(t) }\noutput \"{key}.txt\" = all\n",
    );
    fs::write(lab.slide("a.txt"), "a").unwrap();
    let mut command = lab.command("run", &[]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    let begun = || fs::read_dir(lab.path("store/runs")).is_ok_and(|mut runs| runs.next().is_some());
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !begun() && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    fs::write(lab.slide("b.txt"), "b").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(lab.out().join("a.txt").is_file() && !lab.out().join("b.txt").exists());
    lab.cerb("plan", &["--exit-code"])
        .exits(4)
        .says("1 action runs");
    lab.cerb("run", &[]).exits(0).says("1 ran, 1 up to date");
}

/// Whether tests may mount things: needs root, or user namespaces.
pub fn mounting(script: &str, args: &[PathBuf]) -> Option<Said> {
    let probe = |flags: &[&str]| {
        let script = ["sh", "-c", "mount -t tmpfs none /mnt"];
        status_quietly(Command::new("unshare").args(flags).args(script))
    };
    let flags: &[&str] = if probe(&["--mount"]).is_some() {
        &["--mount"]
    } else if probe(&["--mount", "--map-root-user"]).is_some() {
        &["--mount", "--map-root-user"]
    } else {
        eprintln!("skipped: mounting is not permitted here");
        return None;
    };
    let mut command = Command::new("unshare");
    command
        .args(flags)
        .args(["sh", "-c", script, "sh", CERB])
        .args(args);
    command
        .env("NO_COLOR", "1")
        .env_remove("CERB_STORE")
        .stdin(Stdio::null());
    Some(said(&mut command))
}

fn status_quietly(command: &mut Command) -> Option<()> {
    let status = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .stdin(Stdio::null())
        .status()
        .ok()?;
    status.success().then_some(())
}

#[test]
fn a_full_disk() {
    let lab = lab();
    tissue(&lab.slide("a.png"), (1024, 1024), 0);
    fs::create_dir(lab.path("small")).unwrap();
    for size in ["64k", "160k", "400k"] {
        let script = format!(
            "mount -t tmpfs -o size={size} none \"$2\" && exec \"$1\" run \"$3\" --store \"$2/store\" --out \"$4\""
        );
        let args = [lab.path("small"), lab.path("lab.cerb"), lab.out()];
        let Some(said) = mounting(&script, &args) else {
            return;
        };
        said.exits(1).says("no space left").calmly();
    }
    // With room, the same command simply goes on.
    lab.cerb("run", &[]).exits(0);
}

#[test]
fn results_that_cannot_be_written() {
    let lab = lab();
    tissue(&lab.slide("a.png"), (256, 256), 0);
    fs::write(lab.path("file"), "in the way").unwrap();
    let below = lab.path("file").join("results");
    let said = lab
        .cerb("run", &["--out", &below.display().to_string()])
        .says("--out")
        .calmly();
    assert!([1, 2].contains(&said.code), "{}", said.code);

    fs::create_dir(lab.out()).unwrap();
    let script = "mount --bind \"$2\" \"$2\" && mount -o remount,ro,bind \"$2\" && \
                  exec \"$1\" run \"$3\" --store \"$4\" --out \"$2\"";
    let Some(said) = mounting(
        script,
        &[lab.out(), lab.path("lab.cerb"), lab.path("store")],
    ) else {
        return;
    };
    assert!([1, 2].contains(&said.code), "{}", said.code);
    let _ = said.says("--out").calmly();
}
