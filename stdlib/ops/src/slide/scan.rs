//! `slide.scan`: the slides below a folder that match a pattern.

use std::collections::BTreeMap;

use cerb_engine::{
    Entry, Inventory, ListEnv, Listing, Misfit, Origin, RootRef, Unit, Unreadable, Value,
};
use cerb_image::units::Mpp;
use cerb_slide::{Slide, SlideError};
use cerb_store::{Artifact, Blob, StoreError, Stored};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pattern::{Faults, Found, Pattern, shortened};

/// How faults of the pattern are told.
const FAULTS: Faults = Faults {
    one: "slide",
    many: "slides",
    bad_pattern: "slide::bad_pattern",
    no_match: "slide::no_match",
    same_key: "slide::same_key",
    unreadable: "slide::unreadable",
};

/// Lists the slides below a folder that match a pattern, and what is known of each.
///
/// In the pattern `*` stands for any part of a name, `**` for folders within folders, `?`
/// for a character and `{a,b}` for either. A slide's key is its path below the pattern's
/// fixed prefix, without its extension. A slide whose file states no resolution needs `mpp`.
///
/// ```cerb
/// root data
/// let slides = slide.scan(data, "tcga/*.svs")
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scan {
    /// Folder to look in.
    root: RootRef,
    /// What the paths below it look like: `"tcga/*.svs"`.
    pattern: String,
    /// Most slides taken, the first ones by key.
    #[serde(default)]
    #[schemars(range(min = 1))]
    limit: Option<u32>,
    /// Resolution of the slides whose file does not state it, or states it wrongly.
    #[serde(default)]
    mpp: Option<Mpp>,
}

impl Listing for Scan {
    const NAME: &'static str = "slide.scan";
    const KIND: &'static str = "Slide";
    const MANY: bool = true;

    fn list(&self, env: &ListEnv) -> Result<Inventory<Entry>, Misfit> {
        let pattern = Pattern {
            root: &self.root,
            pattern: &self.pattern,
            limit: self.limit,
        };
        let found = pattern.files(env, &FAULTS)?;
        let opened: Vec<(&Found, Result<Entry, Fault>)> = found
            .par_iter()
            .map(|file| (file, self.entry(file, env)))
            .collect();
        let all = opened.len();
        let mut list = Inventory::from(Vec::with_capacity(all));
        let (mut unreadable, mut no_mpp) = (Vec::new(), Vec::new());
        for (file, entry) in opened {
            let why = match entry {
                Ok(entry) => {
                    list.entries.push(entry);
                    continue;
                }
                Err(Fault::NoMpp) => {
                    no_mpp.push(format!("`{}`", file.shown));
                    format!("`{}` states no resolution, and none is given", file.shown)
                }
                Err(Fault::Unreadable(reason)) => {
                    unreadable.push(file.says(&reason));
                    file.says(&reason)
                }
            };
            list.unreadable.push(Unreadable {
                key: file.key.clone(),
                path: file.shown.clone(),
                why,
            });
        }
        if !unreadable.is_empty() {
            list.warnings.push(damaged(&unreadable, all));
        }
        if !no_mpp.is_empty() {
            list.warnings.push(self.no_mpp(&no_mpp, all));
        }
        Ok(list)
    }
}

/// What is said of files that are no slides.
fn damaged(names: &[String], all: usize) -> Misfit {
    Misfit {
        code: FAULTS.unreadable,
        title: match (names.len(), all) {
            (1, 1) => "the file cannot be read as a slide".to_owned(),
            (1, all) => format!("1 of {all} files cannot be read as a slide"),
            (bad, all) => format!("{bad} of {all} files cannot be read as slides"),
        },
        labels: vec![(Origin::Param("pattern".into()), "matched here".into())],
        help: Some(format!(
            "repair them, move them away, or narrow the pattern:\n{}",
            shortened(names, "\n")
        )),
    }
}

enum Fault {
    NoMpp,
    Unreadable(String),
}

impl From<SlideError> for Fault {
    fn from(error: SlideError) -> Self {
        match error {
            SlideError::NoMpp { .. } => Self::NoMpp,
            other => Self::Unreadable(other.to_string()),
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl Scan {
    /// What is said of slides without a resolution.
    fn no_mpp(&self, names: &[String], all: usize) -> Misfit {
        let have = if names.len() == 1 { "has" } else { "have" };
        let slides = if all == 1 { "slide" } else { "slides" };
        Misfit {
            code: "slide::no_mpp",
            title: match names.len() {
                bad if bad == all => format!("{all} {slides} {have} no resolution"),
                bad => format!("{bad} of {all} slides {have} no resolution"),
            },
            labels: vec![(
                Origin::Call,
                format!(
                    "neither in the file nor given here: {}",
                    shortened(names, ", ")
                ),
            )],
            help: Some(format!(
                "state it, `slide.scan({}, {:?}, mpp: 0.25 mpp)`, or go on without them",
                self.root.0, self.pattern
            )),
        }
    }

    fn entry(&self, file: &Found, env: &ListEnv) -> Result<Entry, Fault> {
        let given = self.mpp.map(|mpp| mpp.0);
        let Blob { digest, size } = env.store.content_of(&file.path, env.rehash)?;
        let fields = cerb_slide::describe(&file.path, given, &digest.to_string())?;
        let slide = Slide::open(&file.path, given)?;
        let info = slide.info();
        let mut facts = BTreeMap::from([
            ("mpp".to_owned(), Value::Quantity(slide.mpp()?, Unit::Mpp)),
            (
                "width".to_owned(),
                Value::Quantity(f64::from(info.width), Unit::Px),
            ),
            (
                "height".to_owned(),
                Value::Quantity(f64::from(info.height), Unit::Px),
            ),
            ("content".to_owned(), Value::Str(digest.to_string())),
            ("format".to_owned(), Value::Str(info.format.clone())),
        ]);
        if let Some(magnification) = info.magnification {
            let value = Value::Quantity(magnification, Unit::Mag);
            facts.insert("magnification".to_owned(), value);
        }
        Ok(Entry {
            key: file.key.clone(),
            stored: Stored::source(<Slide as Artifact>::KIND, file.path.clone(), size, fields),
            facts,
            shown: file.shown.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{quickstart_slide, store};
    use std::path::Path;

    fn scan(root: &Path, pattern: &str, mpp: Option<f64>) -> Result<Vec<Entry>, Misfit> {
        list(root, pattern, mpp).map(|found| found.entries)
    }

    fn list(root: &Path, pattern: &str, mpp: Option<f64>) -> Result<Inventory<Entry>, Misfit> {
        let (_dir, store) = store();
        let roots = BTreeMap::from([("data".to_owned(), root.to_path_buf())]);
        let env = ListEnv {
            roots: &roots,
            store: &store,
            rehash: false,
        };
        let scan = Scan {
            root: RootRef("data".into()),
            pattern: pattern.into(),
            limit: None,
            mpp: mpp.map(Mpp),
        };
        scan.list(&env)
    }

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::copy(quickstart_slide(), path).unwrap();
        }
        dir
    }

    #[test]
    fn keys_are_paths_below_the_fixed_prefix_without_extension() {
        let dir = folder(&["a/x.svs", "a/b/y.svs", "z.svs"]);
        let keys = |pattern: &str| {
            scan(dir.path(), pattern, None)
                .unwrap()
                .into_iter()
                .map(|entry| entry.key)
                .collect::<Vec<_>>()
        };
        assert_eq!(keys("a/*.svs"), ["x"]);
        assert_eq!(keys("**/*.svs"), ["a/b/y", "a/x", "z"]);
        assert_eq!(keys("a/**/{x,y}.sv?"), ["b/y", "x"]);
        assert_eq!(keys("a/x.svs"), ["x"]);
    }

    #[test]
    fn what_is_known_of_a_slide_is_its_facts() {
        let dir = folder(&["x.svs"]);
        let entry = scan(dir.path(), "*.svs", None).unwrap().remove(0);
        assert_eq!(entry.facts["width"], Value::Quantity(2220.0, Unit::Px));
        assert_eq!(entry.facts["mpp"], Value::Quantity(0.499, Unit::Mpp));
        assert_eq!(entry.shown, "x.svs");
        let given = scan(dir.path(), "*.svs", Some(0.25)).unwrap().remove(0);
        assert_eq!(given.facts["mpp"], Value::Quantity(0.25, Unit::Mpp));
        assert_ne!(given.stored.digest, entry.stored.digest);
    }

    #[test]
    fn two_slides_with_one_key_are_both_named() {
        let dir = folder(&["x.svs", "x.tif"]);
        let misfit = scan(dir.path(), "x.*", None).unwrap_err();
        assert_eq!(
            (misfit.code, misfit.title.as_str()),
            ("slide::same_key", "two slides have the same key `x`")
        );
        assert_eq!(misfit.labels[0].1, "matches `x.svs` and `x.tif`");
    }

    #[test]
    fn no_match_says_what_is_there() {
        let dir = folder(&["x.svs"]);
        let misfit = scan(dir.path(), "*.tif", None).unwrap_err();
        assert_eq!(misfit.code, "slide::no_match");
        assert_eq!(misfit.labels[0].1, "it holds `x.svs`");
    }

    #[test]
    fn everything_that_is_no_slide_is_named_at_once() {
        let dir = folder(&["good.svs"]);
        let whole = std::fs::read(quickstart_slide()).unwrap();
        std::fs::write(dir.path().join("empty.svs"), b"").unwrap();
        std::fs::write(dir.path().join("text.svs"), b"no slide at all").unwrap();
        std::fs::write(dir.path().join("cut.svs"), &whole[..whole.len() / 2]).unwrap();
        std::os::unix::fs::symlink("moved.svs", dir.path().join("link.svs")).unwrap();
        let mut found = list(dir.path(), "*.svs", None).unwrap();
        let keys: Vec<&str> = found
            .unreadable
            .iter()
            .map(|one| one.key.as_str())
            .collect();
        assert_eq!(keys, ["cut", "empty", "link", "text"]);
        assert_eq!(found.entries.len(), 1);
        let misfit = found.warnings.remove(0);
        assert_eq!(misfit.title, "4 of 5 files cannot be read as slides");
        let help = misfit.help.unwrap();
        for name in [
            "`empty.svs` is not a slide",
            "`text.svs` is not a slide",
            "`cut.svs` is damaged",
            "link.svs",
        ] {
            assert!(help.contains(name), "{help}");
        }
    }

    #[test]
    fn a_slide_without_resolution_is_never_guessed() {
        let dir = folder(&["good.svs"]);
        let picture = crate::testing::png(64, 64);
        std::fs::write(dir.path().join("flat.png"), picture).unwrap();
        let mut found = list(dir.path(), "*", None).unwrap();
        assert_eq!(found.unreadable[0].key, "flat");
        let misfit = found.warnings.remove(0);
        assert_eq!(
            (misfit.code, misfit.title.as_str()),
            ("slide::no_mpp", "1 of 2 slides has no resolution")
        );
        assert!(
            misfit
                .help
                .unwrap()
                .starts_with("state it, `slide.scan(data, \"*\", mpp: 0.25 mpp)`")
        );
        assert_eq!(scan(dir.path(), "flat.png", Some(0.5)).unwrap().len(), 1);
    }

    #[test]
    fn a_pattern_cannot_leave_its_root() {
        let dir = folder(&["x.svs"]);
        assert!(scan(dir.path(), "../*.svs", None).is_err());
        assert!(scan(dir.path(), "/etc/*", None).is_err());
    }
}
