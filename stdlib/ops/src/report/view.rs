//! Parts of a slide as pictures, with what was found drawn on them.

use cerb_engine::OpError;
use cerb_image::{Classes, Rgb8};
use cerb_slide::Slide;

use crate::export::outline::Outline;
use crate::reading::{options, slide_error};
use crate::report::picture::ring;

/// Size of a close-up in pixels, and its resolution: 160 µm wide, a nucleus 30 px.
pub(crate) const CLOSE_UP: [u32; 2] = [640, 480];
pub(crate) const CLOSE_UP_MPP: f64 = 0.25;

/// A picture of a part of the slide, and where it lies.
pub(crate) struct View {
    pub(crate) image: Rgb8,
    /// Upper left corner, in level-0 pixels.
    pub(crate) corner: [f64; 2],
    /// Level-0 pixels per pixel, x and y.
    pub(crate) scale: [f64; 2],
}

impl View {
    /// Shows the whole slide, its longer side no longer than `side` pixels.
    pub(crate) fn whole(slide: &Slide, side: f64) -> Result<Self, OpError> {
        let info = slide.info();
        let longest = f64::from(info.width.max(info.height));
        let mpp = slide.mpp().map_err(slide_error)? * (longest / side).max(1.0);
        let (width, height) = slide.size_at(mpp).map_err(slide_error)?;
        let image = slide
            .read_at(mpp, 0, 0, width, height, &options(false))
            .map_err(slide_error)?;
        let scale = slide.scale_at(mpp).map_err(slide_error)?;
        Ok(Self {
            image,
            corner: [0.0, 0.0],
            scale,
        })
    }

    /// Shows a part of the slide from close by; `corner` is in pixels of the close-up.
    pub(crate) fn close_up(slide: &Slide, corner: [i64; 2]) -> Result<Self, OpError> {
        let [x, y] = corner;
        let image = slide
            .read_at(CLOSE_UP_MPP, x, y, CLOSE_UP[0], CLOSE_UP[1], &options(true))
            .map_err(slide_error)?;
        let scale = slide.scale_at(CLOSE_UP_MPP).map_err(slide_error)?;
        Ok(Self {
            image,
            corner: [x as f64 * scale[0], y as f64 * scale[1]],
            scale,
        })
    }

    /// Draws an outline in lines of some width.
    pub(crate) fn draw(&mut self, outline: &Outline, colour: [u8; 3], width: u32) {
        let place = |v: f64, axis: usize| (v - self.corner[axis]) / self.scale[axis];
        let [x0, y0, x1, y1] = outline.bounds();
        let seen = place(x1, 0) >= 0.0
            && place(y1, 1) >= 0.0
            && place(x0, 0) < f64::from(self.image.width)
            && place(y0, 1) < f64::from(self.image.height);
        if seen {
            let points: Vec<[f64; 2]> = outline
                .ring()
                .map(|[x, y]| [place(x, 0), place(y, 1)])
                .collect();
            ring(&mut self.image, points.into_iter(), colour, width);
        }
    }

    /// Colours what each part of the slide is; class 0 is left as it is.
    pub(crate) fn tint(&mut self, classes: &Classes) -> Result<(), OpError> {
        let header = classes.header();
        let colours: Vec<[u8; 3]> = header.classes.iter().map(|class| class.colour).collect();
        let mut rows = classes.rows()?;
        // Rows come from above, each once.
        let mut row: Option<(u32, Vec<u8>)> = None;
        for y in 0..self.image.height {
            let of = |v: u32, axis: usize| {
                let level0 = self.corner[axis] + (f64::from(v) + 0.5) * self.scale[axis];
                (level0 / header.scale[axis]).max(0.0) as u32
            };
            let wanted = of(y, 1);
            while row.as_ref().is_none_or(|(at, _)| *at < wanted) {
                let next = row.as_ref().map_or(0, |(at, _)| at + 1);
                match rows.read()? {
                    Some(values) => row = Some((next, values.to_vec())),
                    None => return Ok(()),
                }
            }
            let Some((_, values)) = &row else {
                return Ok(());
            };
            for x in 0..self.image.width {
                let class = values.get(of(x, 0) as usize).copied().unwrap_or(0);
                if let Some(colour) = colours.get(usize::from(class)).filter(|_| class > 0) {
                    let own = self.image.at(x, y);
                    let mixed =
                        [0, 1, 2].map(|c| ((u16::from(own[c]) + u16::from(colour[c])) / 2) as u8);
                    self.image.set(x, y, mixed);
                }
            }
        }
        Ok(())
    }
}
