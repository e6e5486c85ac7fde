//! A slide as an artifact: never copied into the store, read where it lies.

use std::collections::BTreeMap;
use std::path::Path;

use cerb_store::{Artifact, FieldSpec, Store, StoreError, Stored};
use serde_json::{Value, json};

use crate::{Slide, SlideError};

impl Artifact for Slide {
    const KIND: &'static str = "Slide";
    /// Facts of its listing as well, so that they are known while planning.
    const FIELDS: &'static [FieldSpec] = &[
        FieldSpec::new("width", "Px", "Width of the slide at its full resolution."),
        FieldSpec::new(
            "height",
            "Px",
            "Height of the slide at its full resolution.",
        ),
        FieldSpec::new("mpp", "Mpp", "Resolution of the slide."),
        FieldSpec::new(
            "magnification",
            "Mag",
            "Objective, when the file states it.",
        ),
        FieldSpec::new(
            "format",
            "Str",
            "Format of the file: `aperio`, `ome-tiff`, `png`.",
        ),
        FieldSpec::new("content", "Str", "Digest of the file."),
    ];

    /// Refuses: slides are named by what lists them, and no operator makes one.
    fn store(self, _store: &Store) -> Result<Stored, StoreError> {
        Err(StoreError::artifact(
            Self::KIND,
            "slides are read where they lie and not stored",
        ))
    }

    fn open(stored: &Stored, _store: &Store) -> Result<Self, StoreError> {
        stored.expect_kind(Self::KIND)?;
        let wrong = |error: SlideError| StoreError::artifact(Self::KIND, error);
        let Some(path) = stored.source_path() else {
            return Err(StoreError::artifact(Self::KIND, "it names no file"));
        };
        let found = std::fs::metadata(path)
            .map_err(|source| {
                wrong(SlideError::Io {
                    path: path.to_path_buf(),
                    source,
                })
            })?
            .len();
        if found != stored.size {
            let path = path.to_path_buf();
            return Err(wrong(SlideError::Changed {
                path,
                expected: stored.size,
                found,
            }));
        }
        let given = stored.fields.get(GIVEN).and_then(Value::as_f64);
        let slide = Slide::open(path, given).map_err(wrong)?;
        Ok(Slide {
            content: stored.content(),
            ..slide
        })
    }
}

/// Field that holds a resolution stated by the pipeline.
const GIVEN: &str = "mpp_given";

/// Opens a slide and returns the fields of its listing, `content` being the digest of its bytes.
///
/// `width`, `height` (px), `levels`, `format`, `reader`; `mpp_x`, `mpp_y`, `mpp_source` when there is
/// a resolution; `mpp_given` when the caller states one. A slide without any is listed, so that
/// all of them can be reported at once; one with an impossible resolution is an error.
pub fn describe(
    path: &Path,
    given_mpp: Option<f64>,
    content: &str,
) -> Result<BTreeMap<String, Value>, SlideError> {
    let slide = Slide::open(path, given_mpp)?;
    let info = slide.info();
    let mut fields = BTreeMap::from([
        ("content".to_owned(), json!(content)),
        ("width".to_owned(), json!(info.width)),
        ("height".to_owned(), json!(info.height)),
        ("levels".to_owned(), json!(info.levels.len())),
        ("format".to_owned(), json!(info.format)),
        ("reader".to_owned(), json!(info.reader)),
    ]);
    if let Some(resolution) = &info.mpp {
        slide.mpp()?;
        fields.insert("mpp_x".to_owned(), json!(resolution.x));
        fields.insert("mpp_y".to_owned(), json!(resolution.y));
        fields.insert("mpp_source".to_owned(), json!(resolution.source));
    }
    if let Some(mpp) = given_mpp {
        fields.insert(GIVEN.to_owned(), json!(mpp));
    }
    Ok(fields)
}
