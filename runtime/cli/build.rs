//! Embeds the pages of `docs/errors`, so that `cerb explain` needs no files.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
    println!("cargo::rerun-if-changed={}", pages.display());
    let mut table = String::from("&[\n");
    for family in sorted(&pages)? {
        println!("cargo::rerun-if-changed={}", pages.join(&family).display());
        for page in sorted(&pages.join(&family)).unwrap_or_default() {
            let path = pages.join(&family).join(&page).canonicalize()?;
            if let Some(name) = page.strip_suffix(".md").filter(|name| *name != "README") {
                let code = format!("{family}::{name}");
                // Writing into a string cannot fail.
                let _ = writeln!(table, "({code:?}, include_str!({path:?})),");
            }
        }
    }
    table.push_str("]\n");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    fs::write(Path::new(&out).join("pages.rs"), table)
}

/// Names in a folder, in order; none when there is no folder.
fn sorted(folder: &Path) -> io::Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(Vec::new());
    };
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}
