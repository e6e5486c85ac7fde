//! `tissue.from_file`: a mask that somebody drew, as a picture or as areas.

use cerb_engine::{Ctx, Facts, Misfit, Needs, OpError, Operator, ports};
use cerb_image::units::Mpp;
use cerb_image::{Grid, Mask, MaskGeometry};
use cerb_slide::{Outside, Slide};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::geojson;
use super::mask::{check_coarse, guard};
use crate::File;
use crate::reading::{geometry, parts, slide_error};

/// Most pixels of a drawn mask: 16 384² are 6 µm each on the largest slides.
const MOST_PIXELS: u64 = 1 << 28;
/// Side of the squares a picture is read in, in pixels.
const SIDE: u32 = 2048;
/// How far a picture's height may be from what its width and the slide's shape ask for: a hundredth, and
/// one pixel of rounding.
const SHAPE: f64 = 0.01;

/// Takes a mask drawn elsewhere: a picture of the whole slide, or areas in its pixels.
///
/// Of a PNG, TIFF or JPEG every pixel that is not black is tissue; the picture shows the whole slide, at any
/// resolution. Of GeoJSON the areas are tissue, in level-0 pixels as QuPath writes them; points and lines are none.
/// A folder of masks is listed with `file.scan`, and `for s in slides, m in masks` joins them to their slides by key.
///
/// ```cerb
/// let mask = tissue.from_file(s, file.open(data, "masks/slide.png"))
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FromFile {
    /// Resolution that areas are painted at; a picture keeps its own.
    at: Mpp,
}

impl Default for FromFile {
    fn default() -> Self {
        Self { at: Mpp(8.0) }
    }
}

ports! {
    pub struct In {
        /// The slide it was drawn on.
        slide: Slide,
        /// The picture, or the areas (`.geojson`, `.json`).
        file: File,
    }
    pub struct Out {
        /// Where the tissue is.
        mask: Mask,
    }
}

impl Operator for FromFile {
    const NAME: &'static str = "tissue.from_file";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn check(&self, inputs: &Facts) -> Result<Facts, Misfit> {
        check_coarse(self.at, inputs)?;
        Ok(Facts::default())
    }

    fn needs(&self, _: &Facts) -> Needs {
        Needs::one_core().memory(1 << 30)
    }

    fn run(&self, In { slide, file }: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let mask = if [".geojson", ".json"]
            .iter()
            .any(|end| file.name.ends_with(end))
        {
            self.painted(&slide, &file, ctx)?
        } else {
            picture(&slide, &file, ctx)?
        };
        guard(&mask, ctx);
        Ok(Out { mask })
    }
}

impl FromFile {
    fn painted(&self, slide: &Slide, file: &File, ctx: &mut Ctx) -> Result<Mask, OpError> {
        let text = ctx.store().read_blob(&file.blob.digest)?;
        let (areas, others) = geojson::areas(&text)
            .map_err(|why| OpError::Input(format!("the mask is no GeoJSON: {why}")))?;
        if others > 0 {
            ctx.note(format!("{others} points or lines of the mask are no areas"));
        }
        let (width, height) = slide.size_at(self.at.0).map_err(slide_error)?;
        let geometry = geometry(slide, self.at.0)?;
        let mut grid = Grid::filled(width as usize, height as usize, 0u8);
        geojson::paint(&areas, &mut grid, &geometry);
        Ok(Mask::from_grid(&grid, geometry))
    }
}

fn picture(slide: &Slide, file: &File, ctx: &Ctx) -> Result<Mask, OpError> {
    let unread = |error| OpError::Input(format!("the mask cannot be read: {error}"));
    let drawn = Slide::open(&ctx.store().blob_path(&file.blob.digest), None).map_err(unread)?;
    let (width, height) = (drawn.info().width, drawn.info().height);
    let (across, down) = (slide.info().width, slide.info().height);
    let scale = [
        f64::from(across) / f64::from(width),
        f64::from(down) / f64::from(height),
    ];
    let expected = f64::from(down) / scale[0];
    if (f64::from(height) - expected).abs() > (SHAPE * expected).max(1.0) {
        return Err(OpError::Input(format!(
            "the mask has {width} × {height} px, another shape than the slide's {across} × {down} px; \
             draw it on a picture of the whole slide, {width} × {expected:.0} px"
        )));
    }
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(OpError::Input(format!(
            "the mask has {width} × {height} px, more than 2^28 in all; draw it at a coarser resolution"
        )));
    }
    let mut grid = Grid::filled(width as usize, height as usize, 0u8);
    for part in parts(width, height, SIDE) {
        let (x, y) = (part.x.into(), part.y.into());
        let image = drawn.read_level(0, x, y, part.width, part.height, Outside::Black);
        let image = image.map_err(unread)?;
        for (i, pixel) in image.pixels().enumerate() {
            let (x, y) = (i as u32 % part.width, i as u32 / part.width);
            let value = u8::from(pixel != [0; 3]);
            grid.set((part.x + x) as usize, (part.y + y) as usize, value);
        }
    }
    let geometry = MaskGeometry {
        mpp: slide.mpp().map_err(slide_error)? * f64::midpoint(scale[0], scale[1]),
        scale,
        slide: [across.into(), down.into()],
    };
    Ok(Mask::from_grid(&grid, geometry))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{painted, painted_slide, store};
    use cerb_store::Store;

    /// The mask of a slide of 800 × 400 px at 1 mpp, or the message, and the notes.
    fn run(name: &str, bytes: &[u8]) -> Result<(Mask, Vec<String>), OpError> {
        let (dir, store) = store();
        let slide = painted_slide(dir.path(), &store, 1.0, (800, 400), |_, _| [240; 3]);
        let file = file(name, bytes, &store);
        let mut ctx = Ctx::detached(&store);
        let out = FromFile::default().run(In { slide, file }, &mut ctx)?;
        Ok((out.mask, ctx.notes().to_vec()))
    }

    fn file(name: &str, bytes: &[u8], store: &Store) -> File {
        File::new(name, store.put_bytes(bytes).unwrap())
    }

    #[test]
    fn a_picture_lies_over_the_whole_slide() {
        let png = painted(80, 40, |x, y| [u8::from(x >= 40 && y < 20); 3]);
        let (mask, notes) = run("file.png", &png).unwrap();
        assert_eq!((mask.width(), mask.height(), mask.count()), (80, 40, 800));
        assert!(mask.get(40, 19) && !mask.get(39, 19) && !mask.get(40, 20));
        assert_eq!(
            (mask.geometry().mpp, mask.geometry().scale),
            (10.0, [10.0; 2])
        );
        assert!(notes.is_empty(), "{notes:?}");
    }

    #[test]
    fn areas_are_painted_in_level_0_pixels() {
        let text = r#"{"type":"Feature","geometry":{"type":"Polygon",
            "coordinates":[[[80,80],[240,80],[240,160],[80,160],[80,80]]]}}"#;
        let (mask, _) = run("file.geojson", text.as_bytes()).unwrap();
        assert_eq!((mask.width(), mask.height(), mask.count()), (100, 50, 200));
        assert!(mask.get(10, 10) && mask.get(29, 19) && !mask.get(30, 19));
    }

    #[test]
    fn a_mask_of_another_shape_is_refused_with_both_sizes() {
        let error = run("file.png", &painted(80, 60, |_, _| [255; 3])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("80 × 60 px, another shape"), "{text}");
        assert!(
            text.contains("800 × 400") && text.contains("80 × 40 px"),
            "{text}"
        );
        // Rounding of a reduced picture is no other shape.
        assert!(run("file.png", &painted(83, 41, |_, _| [255; 3])).is_ok());
    }

    #[test]
    fn all_tissue_and_none_are_noted() {
        let all = run("file.png", &painted(80, 40, |_, _| [255; 3]))
            .unwrap()
            .1;
        assert!(all[0].contains("100 % of the slide"), "{all:?}");
        let none = run(
            "file.json",
            br#"{"type":"FeatureCollection","features":[]}"#,
        );
        let (mask, notes) = none.unwrap();
        assert!(
            mask.count() == 0 && notes[0].contains("0.00 %"),
            "{notes:?}"
        );
    }

    #[test]
    fn what_is_no_mask_is_refused() {
        for (name, bytes) in [("file.png", &b"no picture"[..]), ("file.geojson", b"[{}]")] {
            assert!(matches!(run(name, bytes), Err(OpError::Input(_))), "{name}");
        }
    }
}
