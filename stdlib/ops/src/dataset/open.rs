//! `dataset.open`: a published set, read from the folder its publisher ships.

use std::sync::{Mutex, PoisonError};

use cerb_data::Dataset;
use cerb_data::layout::{Known, Layout};
use cerb_engine::{Ctx, Facts, Misfit, Needs, OpError, Operator, Origin, Unit, Value, ports};
use cerb_image::units::Mpp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::data_error;
use crate::file::Folder;
use crate::reading::each;

/// Reads annotated images from a folder that is laid out as their publisher ships it.
///
/// Images and labels are read once and kept in the store, at their own resolution or at another. An image
/// without labels, labels without an image, sizes that differ and classes that are not on the list are errors that
/// name the sample. `docs/datasets.md` shows the tree of each layout.
///
/// ```cerb
/// root data
/// let glas = dataset.open(file.folder(data, "glas"), layout: "glas", at: 0.5 mpp)
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// How the folder is laid out: `plain` is one's own, the others are published sets.
    layout: Layout,
    /// Resolution of the images, where the publisher does not say it or says it wrongly.
    #[serde(default)]
    mpp: Option<Mpp>,
    /// Resolution that images and labels are taken to; each image's own without it.
    #[serde(default)]
    at: Option<Mpp>,
}

ports! {
    pub struct In {
        /// The folder.
        folder: Folder,
    }
    pub struct Out {
        /// Its annotated images.
        dataset: Dataset,
    }
}

impl Operator for Open {
    const NAME: &'static str = "dataset.open";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn check(&self, _: &Facts) -> Result<Facts, Misfit> {
        let mut facts = Facts::default();
        for (param, given) in [("mpp", self.mpp), ("at", self.at)] {
            let Some(Mpp(mpp)) = given else { continue };
            if !(mpp > 0.0 && mpp <= 100.0) {
                return Err(Misfit {
                    code: "dataset::bad_sample",
                    title: "an image has no such resolution".into(),
                    labels: vec![(
                        Origin::Param(param.into()),
                        format!("{mpp} mpp is not between 0 and 100 mpp"),
                    )],
                    help: Some(format!("`{param}: 0.5 mpp`")),
                });
            }
            let mpp = Value::Quantity(mpp, Unit::Mpp);
            facts.set("dataset", "mpp", mpp, Origin::Param(param.into()));
        }
        Ok(facts)
    }

    fn needs(&self, _: &Facts) -> Needs {
        // Two copies of an image of 5000 px a side, with labels of four channels.
        Needs::all_cores().memory(256 << 20).per_core(1 << 30)
    }

    fn run(&self, In { folder }: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let known = Known {
            mpp: self.mpp.map(|mpp| mpp.0),
        };
        let listing = self.layout.list(&folder.path, &known).map_err(data_error)?;
        let writer = Dataset::writer(ctx.store(), listing.about.clone());
        let items: Vec<usize> = (0..listing.count).collect();
        let listing = Mutex::new(listing);
        // Files are read one after the other; resampling and packing, which take longer, side by side.
        let work = |_: &usize| {
            let next = listing
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .next();
            let Some(sample) = next else { return Ok(()) };
            let mut sample = sample.map_err(data_error)?;
            if let Some(Mpp(at)) = self.at {
                sample = sample.at(at).map_err(data_error)?;
            }
            writer.push(&sample).map_err(data_error)
        };
        each(ctx, &items, "image", work, |_, ()| Ok(()))?;
        let dataset = writer.finish().map_err(data_error)?;
        for note in &dataset.header().about.notes {
            ctx.note(note.clone());
        }
        Ok(Out { dataset })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::testing::{painted, store};

    /// Writes a plain set: images of noise, each with two nuclei of the classes 1 and 2.
    fn plain(root: &Path, names: &[&str]) {
        for folder in ["images", "labels/Nuclei-INST", "labels/Nuclei-TYPE"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        let about =
            r#"{"mpp": 0.5, "licence": "CC0 1.0", "classes": {"Nuclei-TYPE": ["none", "a", "b"]}}"#;
        std::fs::write(root.join("about.json"), about).unwrap();
        for (i, name) in names.iter().enumerate() {
            let image = painted(8, 6, |x, y| [(x * 31) as u8, (y * 31) as u8, i as u8]);
            let ids = painted(8, 6, |x, _| [u8::from(x < 2) + 2 * u8::from(x > 5); 3]);
            std::fs::write(root.join(format!("images/{name}.png")), image).unwrap();
            for channel in ["INST", "TYPE"] {
                let path = format!("labels/Nuclei-{channel}/{name}.png");
                std::fs::write(root.join(path), &ids).unwrap();
            }
        }
    }

    fn open(root: &Path, change: impl FnOnce(&mut Open)) -> Result<Dataset, OpError> {
        let (_dir, store) = store();
        let mut open = Open {
            layout: Layout::Plain,
            mpp: None,
            at: None,
        };
        change(&mut open);
        let folder = Folder::new(root.to_path_buf());
        let mut ctx = Ctx::detached(&store).with_threads(3);
        let made = open.run(In { folder }, &mut ctx)?.dataset;
        assert_eq!(made.iter().filter(Result::is_err).count(), 0);
        Ok(made)
    }

    #[test]
    fn a_folder_becomes_a_dataset_whatever_the_threads() {
        let root = tempfile::tempdir().unwrap();
        plain(root.path(), &["a", "b", "c", "d", "e"]);
        let dataset = open(root.path(), |_| {}).unwrap();
        let entry = &dataset.header().samples[4];
        assert_eq!((dataset.len(), entry.id.as_str(), entry.mpp), (5, "e", 0.5));
        assert_eq!(entry.counts["Nuclei-TYPE"], [0, 1, 1]);
        let again = open(root.path(), |_| {}).unwrap();
        assert_eq!(again.digest(), dataset.digest());
    }

    #[test]
    fn images_and_labels_are_taken_to_one_resolution() {
        let root = tempfile::tempdir().unwrap();
        plain(root.path(), &["a"]);
        let dataset = open(root.path(), |open| open.at = Some(Mpp(1.0))).unwrap();
        let entry = &dataset.header().samples[0];
        assert_eq!((entry.width, entry.height, entry.mpp), (4, 3, 1.0));
        assert_eq!(entry.counts["Nuclei-INST"], [2]);
    }

    #[test]
    fn what_stands_alone_is_named_with_its_code() {
        let root = tempfile::tempdir().unwrap();
        plain(root.path(), &["a", "b"]);
        std::fs::remove_file(root.path().join("images/b.png")).unwrap();
        let error = open(root.path(), |_| {}).err().unwrap().to_string();
        assert!(
            error.contains("has no image") && error.contains("b.png"),
            "{error}"
        );
        assert!(error.ends_with("(dataset::unmatched)"), "{error}");
        plain(root.path(), &["a", "b", "c"]);
        for channel in ["INST", "TYPE"] {
            std::fs::remove_file(root.path().join(format!("labels/Nuclei-{channel}/c.png")))
                .unwrap();
        }
        let error = open(root.path(), |_| {}).err().unwrap().to_string();
        assert!(
            error.contains("no labels") && error.contains("c.png"),
            "{error}"
        );
    }

    #[test]
    fn labels_of_another_size_or_class_are_named() {
        let root = tempfile::tempdir().unwrap();
        plain(root.path(), &["a", "b"]);
        let small = painted(7, 6, |_, _| [1; 3]);
        std::fs::write(root.path().join("labels/Nuclei-INST/b.png"), small).unwrap();
        let error = open(root.path(), |_| {}).err().unwrap().to_string();
        assert!(
            error.contains("sample `b` is 7 × 6 px and its image 8 × 6 px"),
            "{error}"
        );
        plain(root.path(), &["a", "b"]);
        let beyond = painted(8, 6, |_, _| [3; 3]);
        std::fs::write(root.path().join("labels/Nuclei-TYPE/b.png"), beyond).unwrap();
        let error = open(root.path(), |_| {}).err().unwrap().to_string();
        assert!(
            error.contains("`Nuclei-TYPE` of sample `b` holds 3"),
            "{error}"
        );
        assert!(error.ends_with("(dataset::unknown_class)"), "{error}");
    }

    #[test]
    fn another_layout_says_what_it_misses() {
        let root = tempfile::tempdir().unwrap();
        plain(root.path(), &["a"]);
        let error = open(root.path(), |open| open.layout = Layout::Crag)
            .err()
            .unwrap();
        assert!(
            error.to_string().contains("not laid out as crag"),
            "{error}"
        );
    }

    #[test]
    fn a_resolution_that_cannot_be_is_refused_before_anything_runs() {
        let wrong = Open {
            layout: Layout::Glas,
            mpp: None,
            at: Some(Mpp(0.0)),
        };
        assert_eq!(
            wrong.check(&Facts::default()).unwrap_err().code,
            "dataset::bad_sample"
        );
    }
}
