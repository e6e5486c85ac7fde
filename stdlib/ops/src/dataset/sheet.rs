//! `dataset.sheet`: what a dataset looks like, on one picture.

use cerb_data::{Dataset, Sheet, raster};
use cerb_engine::{Ctx, Facts, Needs, OpError, Operator, ports};
use cerb_image::units::Pixels;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::data_error;
use crate::File;

/// Paints a contact sheet: images in rows, with the outlines of what is annotated.
///
/// Objects are outlined in the colour of their type, or of their channel where they have none; the class of a whole
/// image is a frame around it. Of more images than are shown every n-th is taken, in the order of their names.
///
/// ```cerb
/// output "sheet.png" = dataset.sheet(images, most: 48)
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ContactSheet {
    /// Images in a row.
    #[schemars(range(min = 1, max = 64))]
    columns: u32,
    /// Side of an image's square.
    side: Pixels,
    /// Most images.
    #[schemars(range(min = 1, max = 1024))]
    most: u32,
}

impl Default for ContactSheet {
    fn default() -> Self {
        let Sheet {
            columns,
            side,
            most,
        } = Sheet::default();
        Self {
            columns,
            side: Pixels(side),
            most,
        }
    }
}

ports! {
    pub struct In {
        /// Annotated images.
        dataset: Dataset,
    }
    pub struct Out {
        /// The picture, `sheet.png`.
        sheet: File,
    }
}

impl Operator for ContactSheet {
    const NAME: &'static str = "dataset.sheet";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn needs(&self, _: &Facts) -> Needs {
        // The sheet, and one image with its labels.
        let sheet = u64::from(self.most) * (u64::from(self.side.0.min(4096)) + 8).pow(2) * 3;
        Needs::one_core().memory(sheet + (1 << 30))
    }

    fn run(&self, In { dataset }: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let sheet = Sheet {
            columns: self.columns,
            side: self.side.0,
            most: self.most,
        };
        let painted = sheet.paint(&dataset).map_err(data_error)?;
        let mut bytes = Vec::new();
        raster::write_rgb(&mut bytes, &painted)
            .map_err(|why| OpError::Operator(why.to_string()))?;
        let sheet = File::new("sheet.png", ctx.store().put_bytes(&bytes)?);
        Ok(Out { sheet })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{annotated, store};

    #[test]
    fn a_sheet_holds_so_many_images_in_rows() {
        let (_dir, store) = store();
        let dataset = annotated(&store, 5, |_, _| {});
        let sheet = ContactSheet {
            columns: 2,
            side: Pixels(32),
            most: 4,
        };
        let out = sheet
            .run(In { dataset }, &mut Ctx::detached(&store))
            .unwrap();
        let bytes = store.read_blob(&out.sheet.blob.digest).unwrap();
        let picture = image::load_from_memory(&bytes).unwrap();
        assert_eq!((picture.width(), picture.height()), (82, 82));
    }

    #[test]
    fn a_sheet_of_nothing_or_of_no_size_is_refused() {
        let (_dir, store) = store();
        let run = |count, side| {
            let dataset = annotated(&store, count, |_, _| {});
            let sheet = ContactSheet {
                side: Pixels(side),
                ..ContactSheet::default()
            };
            sheet
                .run(In { dataset }, &mut Ctx::detached(&store))
                .is_err()
        };
        assert_eq!((run(0, 160), run(2, 4), run(2, 160)), (true, true, false));
    }
}
