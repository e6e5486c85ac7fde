//! A slide as an artifact: read where it lies, or in the store when an operator made it.

use std::collections::BTreeMap;
use std::path::Path;

use cerb_store::{Artifact, Blob, FieldSpec, Form, Store, StoreError, Stored};
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

    /// Names a slide that [lies in the store](Slide::of_blob); refuses another, which is named by what lists it.
    fn store(self, store: &Store) -> Result<Stored, StoreError> {
        let content = self
            .content
            .filter(|content| self.path() == store.blob_path(content));
        let Some(digest) = content else {
            return Err(StoreError::artifact(
                Self::KIND,
                "slides of the user's are read where they lie and not stored",
            ));
        };
        let wrong = |error: SlideError| StoreError::artifact(Self::KIND, error);
        let mut fields = fields(&self, &digest.to_string()).map_err(wrong)?;
        fields.insert("mpp".to_owned(), json!(self.mpp().map_err(wrong)?));
        let size = size(self.path()).map_err(wrong)?;
        Ok(Stored::blob(Self::KIND, Blob { digest, size }, fields))
    }

    fn open(stored: &Stored, store: &Store) -> Result<Self, StoreError> {
        stored.expect_kind(Self::KIND)?;
        let wrong = |error: SlideError| StoreError::artifact(Self::KIND, error);
        let path = match &stored.form {
            Form::Source { path } => path.as_path(),
            Form::Blob => return Self::of_blob(store, stored.as_blob()).map_err(wrong),
            Form::Tree => return Err(StoreError::artifact(Self::KIND, "it names no file")),
        };
        let found = size(path).map_err(wrong)?;
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

impl Slide {
    /// Opens a slide that was put into the store as a file.
    ///
    /// # Errors
    /// When it is not there, has another size, or is no slide.
    pub fn of_blob(store: &Store, blob: Blob) -> Result<Self, SlideError> {
        let path = store.blob_path(&blob.digest);
        let found = size(&path)?;
        if found != blob.size {
            let expected = blob.size;
            return Err(SlideError::Changed {
                path,
                expected,
                found,
            });
        }
        Ok(Self {
            content: Some(blob.digest),
            ..Self::open(&path, None)?
        })
    }
}

fn size(path: &Path) -> Result<u64, SlideError> {
    let read = std::fs::metadata(path).map_err(|source| SlideError::Io {
        path: path.to_path_buf(),
        source,
    })?;
    Ok(read.len())
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
    let mut fields = fields(&Slide::open(path, given_mpp)?, content)?;
    if let Some(mpp) = given_mpp {
        fields.insert(GIVEN.to_owned(), json!(mpp));
    }
    Ok(fields)
}

fn fields(slide: &Slide, content: &str) -> Result<BTreeMap<String, Value>, SlideError> {
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
    Ok(fields)
}
