//! `report.slide`: what was found on one slide, as a page and a picture.

use std::collections::BTreeMap;

use cerb_engine::{Ctx, Needs, OpError, Operator, ports};
use cerb_image::{Instance, Instances, Mask, Rgb8};
use cerb_slide::Slide as SlideFile;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::export::measure::class;
use crate::export::outline::{Outline, Outliner, Tally};
use crate::reading::{options, slide_error};
use crate::report::page::{Page, grouped};
use crate::report::picture::{OUTLINE, TISSUE, base64, halved, jpeg, mask_edge, png, ring};
use crate::{File, Report};

/// Longest side of the overlay, in pixels.
const OVERLAY: f64 = 3000.0;
/// Longest side of the small picture with the tissue's edge.
const THUMBNAIL: f64 = 700.0;
/// Size of a close-up in pixels, and its resolution: 160 µm wide, a nucleus 30 px.
const CLOSE_UP: [u32; 2] = [640, 480];
const CLOSE_UP_MPP: f64 = 0.25;
/// Bins of the histogram of areas.
const BINS: usize = 48;

/// Shows what was found on a slide: counts, pictures with outlines, sizes, and the facts behind them.
///
/// The page is one file of HTML; the overlay is a picture of the whole slide, at most
/// 3000 px wide and high, with every outline on it. Glands and lumina are drawn below the nuclei,
/// with their counts and areas by class; glands or lumina alone take the nuclei's place.
///
/// ```cerb
/// let page = report.slide(s, mask, nuclei)
/// output "{key}/report.html" = page.report
/// output "{key}/overlay.png" = page.overlay
/// ```
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Slide {}

ports! {
    pub struct In {
        /// The slide.
        slide: SlideFile,
        /// Where its tissue is.
        mask: Option<Mask>,
        /// What was found on it.
        nuclei: Instances,
        /// The glands found on it.
        glands: Option<Instances>,
        /// The lumina found on it.
        lumina: Option<Instances>,
    }
    pub struct Out {
        /// The page, `report.html`.
        report: Report,
        /// The picture, `overlay.png`.
        overlay: File,
    }
}

impl Operator for Slide {
    const NAME: &'static str = "report.slide";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn needs(&self) -> Needs {
        Needs::one_core().memory(256 << 20)
    }

    fn run(
        &self,
        In {
            slide,
            mask,
            nuclei,
            glands,
            lumina,
        }: In,
        ctx: &mut Ctx,
    ) -> Result<Out, OpError> {
        let mut found = Found::read(
            &nuclei,
            slide.scale_at(CLOSE_UP_MPP).map_err(slide_error)?,
            ctx,
        )?;
        let mut whole = View::whole(&slide, OVERLAY)?;
        let mut close_ups = Vec::new();
        for corner in found.places(slide.size_at(CLOSE_UP_MPP).map_err(slide_error)?) {
            close_ups.push(View::close_up(&slide, corner)?);
        }
        for table in glands.iter().chain(&lumina) {
            let below = Below::draw(table, &mut whole, &mut close_ups)?;
            found.below.push(below);
        }
        let mut outliner = Outliner::default();
        for nucleus in nuclei.iter()? {
            let nucleus = nucleus?;
            if let Some((outline, _)) = outliner.outline(&nucleus, nuclei.header()) {
                let colour = if nucleus.class.is_some() {
                    class(&nucleus, nuclei.header()).1
                } else {
                    OUTLINE
                };
                whole.draw(&outline, colour, 1);
                close_ups
                    .iter_mut()
                    .for_each(|view| view.draw(&outline, colour, 2));
            }
        }
        ctx.check()?;
        let overlay = ctx.store().put_bytes(&png(&whole.image)?)?;
        let html = page(
            &slide,
            mask.as_ref(),
            &nuclei,
            &found,
            &outliner.tally,
            &whole,
            &close_ups,
        )?;
        let report = ctx.store().put_bytes(html.as_bytes())?;
        let report = Report::new("report.html", report)
            .with(&nuclei.header().tissue, outliner.tally.written);
        Ok(Out {
            report,
            overlay: File::new("overlay.png", overlay),
        })
    }
}

/// A picture of a part of the slide, and where it lies.
struct View {
    image: Rgb8,
    corner: [f64; 2],
    scale: [f64; 2],
}

impl View {
    /// Shows the whole slide, its longer side no longer than `side` pixels.
    fn whole(slide: &SlideFile, side: f64) -> Result<Self, OpError> {
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
    fn close_up(slide: &SlideFile, corner: [i64; 2]) -> Result<Self, OpError> {
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

    fn draw(&mut self, outline: &Outline, colour: [u8; 3], width: u32) {
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
}

/// What the page says of glands or lumina.
struct Below {
    tissue: String,
    /// How many there are and their area in µm², by class.
    classes: BTreeMap<String, (u64, f64)>,
}

impl Below {
    /// Draws the outlines and counts.
    fn draw(table: &Instances, whole: &mut View, close_ups: &mut [View]) -> Result<Self, OpError> {
        let header = table.header();
        let mut below = Self {
            tissue: header.tissue.clone(),
            classes: BTreeMap::new(),
        };
        let mut outliner = Outliner::default();
        for object in table.iter()? {
            let object = object?;
            let (name, colour) = class(&object, header);
            let (count, area) = below.classes.entry(name).or_default();
            *count += 1;
            *area += object.area as f64 * header.mpp * header.mpp;
            if let Some((outline, _)) = outliner.outline(&object, header) {
                whole.draw(&outline, colour, 2);
                close_ups
                    .iter_mut()
                    .for_each(|view| view.draw(&outline, colour, 3));
            }
        }
        Ok(below)
    }

    fn count(&self) -> u64 {
        self.classes.values().map(|(count, _)| count).sum()
    }

    /// Returns a row for each class: how many, and their area.
    fn rows(&self) -> Vec<(String, String)> {
        let row = |(name, (count, area)): (&String, &(u64, f64))| {
            let said = format!("{}, {:.3} mm²", grouped(*count), area / 1e6);
            (name.clone(), said)
        };
        self.classes.iter().map(row).collect()
    }
}

/// Writes a word with a capital.
fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// What the page says of all nuclei.
struct Found {
    /// Glands and lumina, where there are tables of them.
    below: Vec<Below>,
    /// Areas in µm², ascending.
    areas: Vec<f32>,
    /// Nuclei per class name.
    classes: BTreeMap<String, u64>,
    /// Nuclei per square of close-up size, by row and column.
    density: BTreeMap<(i64, i64), u64>,
}

impl Found {
    fn read(nuclei: &Instances, scale: [f64; 2], ctx: &mut Ctx) -> Result<Self, OpError> {
        let header = nuclei.header();
        let mut found = Self {
            below: Vec::new(),
            areas: Vec::new(),
            classes: BTreeMap::new(),
            density: BTreeMap::new(),
        };
        for (i, nucleus) in nuclei.iter()?.enumerate() {
            let nucleus: Instance = nucleus?;
            found
                .areas
                .push((nucleus.area as f64 * header.mpp * header.mpp) as f32);
            *found.classes.entry(class(&nucleus, header).0).or_default() += 1;
            let [x, y] = header.to_level0(nucleus.centroid);
            let cell =
                |v: f64, axis: usize| (v / scale[axis] / f64::from(CLOSE_UP[axis])).floor() as i64;
            *found.density.entry((cell(y, 1), cell(x, 0))).or_default() += 1;
            if i % 16_384 == 0 {
                ctx.check()?;
                ctx.progress(i as u64, nuclei.count(), "nucleus");
            }
        }
        found.areas.sort_by(f32::total_cmp);
        Ok(found)
    }

    /// Returns the corners of up to three close-ups, of a slide of this size: a dense square
    /// (of all, a tenth are denser), one with a quarter above it, and one in the middle.
    fn places(&self, (width, height): (u32, u32)) -> Vec<[i64; 2]> {
        let mut cells: Vec<(u64, (i64, i64))> = self
            .density
            .iter()
            .map(|(&cell, &count)| (count, cell))
            .collect();
        cells.sort_by_key(|&(count, cell)| (std::cmp::Reverse(count), cell));
        let mut chosen: Vec<usize> = [cells.len() / 10, cells.len() / 4, cells.len() / 2].into();
        chosen.dedup();
        let within = |cell: i64, side: u32, length: u32| {
            (cell * i64::from(side))
                .min(i64::from(length) - i64::from(side))
                .max(0)
        };
        let corner = |&(_, (row, col)): &(u64, (i64, i64))| {
            [
                within(col, CLOSE_UP[0], width),
                within(row, CLOSE_UP[1], height),
            ]
        };
        chosen
            .into_iter()
            .filter_map(|i| cells.get(i))
            .map(corner)
            .collect()
    }

    fn quantile(&self, share: f64) -> f64 {
        let last = self.areas.len().saturating_sub(1);
        self.areas
            .get((share * last as f64).round() as usize)
            .copied()
            .map_or(0.0, f64::from)
    }

    /// Counts areas in equal bins up to a round number that 99 % stay below.
    fn histogram(&self) -> (Vec<u64>, f64) {
        let end = ((self.quantile(0.99) * 1.1 / 20.0).ceil() * 20.0).max(20.0);
        let mut counts = vec![0; BINS];
        for &area in &self.areas {
            let bin = (f64::from(area) / end * BINS as f64) as usize;
            if let Some(count) = counts.get_mut(bin) {
                *count += 1;
            }
        }
        (counts, end)
    }
}

fn page(
    slide: &SlideFile,
    mask: Option<&Mask>,
    nuclei: &Instances,
    found: &Found,
    tally: &Tally,
    whole: &View,
    close_ups: &[View],
) -> Result<String, OpError> {
    let header = nuclei.header();
    let mpp = slide.mpp().map_err(slide_error)?;
    let tissue_mm2 = mask.map(|mask| mask.count() as f64 * mask.geometry().mpp.powi(2) / 1e6);
    let tissue = header.tissue.as_str();
    let mut page = Page::new(&format!("{} on one slide", capital(tissue)));
    let density_of = format!("{tissue} per mm² of tissue");
    let mut numbers = vec![(grouped(nuclei.count()), tissue)];
    for below in &found.below {
        numbers.push((grouped(below.count()), &below.tissue));
    }
    if let Some(area) = tissue_mm2 {
        numbers.push((format!("{area:.2} mm²"), "tissue"));
        let density = if area > 0.0 {
            (nuclei.count() as f64 / area).round() as u64
        } else {
            0
        };
        numbers.push((grouped(density), &density_of));
    }
    if !found.areas.is_empty() {
        numbers.push((format!("{:.1} µm²", found.quantile(0.5)), "median area"));
    }
    page.numbers(&numbers);

    page.heading("The slide");
    let mut thumbnail = View::whole(slide, THUMBNAIL)?;
    if let Some(mask) = mask {
        mask_edge(&mut thumbnail.image, mask, thumbnail.scale, TISSUE);
    }
    let thumbnail = base64(&jpeg(&thumbnail.image, 82)?);
    // The picture in the page is small; the overlay file has every pixel.
    let mut small = halved(&whole.image);
    while small.width.max(small.height) > 1500 {
        small = halved(&small);
    }
    let small = base64(&jpeg(&small, 80)?);
    page.side_by_side(|page| {
        page.picture(
            &thumbnail,
            if mask.is_some() {
                "The slide, its tissue outlined"
            } else {
                "The slide"
            },
            "tall",
        );
        page.picture(
            &small,
            "Every outline, reduced; the overlay picture shows more",
            "tall",
        );
    });
    if !close_ups.is_empty() {
        page.heading("Close up");
        let pictures: Vec<(String, String)> = close_ups
            .iter()
            .map(|view| {
                let [x, y] = view.corner;
                Ok((
                    base64(&jpeg(&view.image, 82)?),
                    format!(
                        "{:.0} µm wide, from x {x:.0}, y {y:.0} px",
                        f64::from(CLOSE_UP[0]) * CLOSE_UP_MPP
                    ),
                ))
            })
            .collect::<Result<_, OpError>>()?;
        page.side_by_side(|page| {
            pictures
                .iter()
                .for_each(|(picture, caption)| page.picture(picture, caption, ""))
        });
    }
    if !found.areas.is_empty() {
        page.heading(&format!("Area of the {tissue}"));
        let (counts, end) = found.histogram();
        page.histogram(&counts, end, "µm²");
    }
    if found.classes.len() > 1 {
        page.heading("Classes");
        page.table(
            &found
                .classes
                .iter()
                .map(|(name, count)| (name.clone(), grouped(*count)))
                .collect::<Vec<_>>(),
        );
    }
    for below in found.below.iter().filter(|below| below.count() > 0) {
        page.heading(&capital(&below.tissue));
        page.table(&below.rows());
    }
    page.heading("Facts");
    page.table(&facts(slide, mask, nuclei, found, tally, mpp, header.mpp));
    Ok(page.html())
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn facts(
    slide: &SlideFile,
    mask: Option<&Mask>,
    nuclei: &Instances,
    found: &Found,
    tally: &Tally,
    mpp: f64,
    worked_at: f64,
) -> Vec<(String, String)> {
    let info = slide.info();
    let source = info.mpp.as_ref().map_or(String::new(), |resolution| {
        format!(", from {}", resolution.source)
    });
    let mut rows = vec![
        (
            "size".to_owned(),
            format!(
                "{} × {} px",
                grouped(info.width.into()),
                grouped(info.height.into())
            ),
        ),
        (
            "resolution".to_owned(),
            format!("{mpp} µm per pixel{source}"),
        ),
        (
            "format".to_owned(),
            format!("{}, {}", info.format, counted(info.levels.len(), "level")),
        ),
        (
            "slide digest".to_owned(),
            nuclei.header().slide.digest.to_string(),
        ),
        ("worked at".to_owned(), format!("{worked_at} µm per pixel")),
    ];
    if let Some(power) = info.magnification {
        rows.insert(2, ("objective".to_owned(), format!("{power}×")));
    }
    if let Some(mask) = mask {
        rows.push((
            "tissue".to_owned(),
            format!("{:.1} % of the slide", 100.0 * mask.fraction()),
        ));
    }
    if !found.areas.is_empty() {
        let range = format!(
            "{:.1} to {:.1} µm²",
            found.quantile(0.25),
            found.quantile(0.75)
        );
        rows.push(("middle half of the areas".to_owned(), range));
    }
    let left_out = tally.dropped + tally.repeated + nuclei.dropped();
    rows.push((
        "left out".to_owned(),
        format!("{} without a valid outline", grouped(left_out)),
    ));
    rows.push(("outlines repaired".to_owned(), grouped(tally.repaired)));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{instances, open, quickstart_slide, store};

    #[test]
    fn a_page_holds_everything_and_stays_small() {
        let (_dir, store) = store();
        let slide = open(&quickstart_slide(), None, &store);
        let input = In {
            slide,
            mask: None,
            nuclei: instances(&store, 300),
            glands: None,
            lumina: None,
        };
        let out = Slide {}.run(input, &mut Ctx::detached(&store)).unwrap();
        let html = String::from_utf8(store.read_blob(&out.report.blob.digest).unwrap()).unwrap();
        assert!(html.len() < 3 << 20, "{} bytes", html.len());
        assert!(html.contains("<dd>300</dd>") && html.contains("2\u{202f}220 × 2\u{202f}967 px"));
        assert!(html.contains("0.499 µm per pixel, from"));
        assert!(!html.contains("src=\"http") && !html.contains("<link"));
        assert!(
            store
                .read_blob(&out.overlay.blob.digest)
                .unwrap()
                .starts_with(b"\x89PNG")
        );
    }

    #[test]
    fn a_slide_without_nuclei_has_a_page_too() {
        let (_dir, store) = store();
        let slide = open(&quickstart_slide(), None, &store);
        let out = Slide {}
            .run(
                In {
                    slide,
                    mask: None,
                    nuclei: instances(&store, 0),
                    glands: None,
                    lumina: None,
                },
                &mut Ctx::detached(&store),
            )
            .unwrap();
        let html = String::from_utf8(store.read_blob(&out.report.blob.digest).unwrap()).unwrap();
        assert!(html.contains("<dd>0</dd>"));
    }

    #[test]
    fn glands_are_named_counted_and_drawn() {
        let (_dir, store) = store();
        let page = |glands: Option<Instances>, nuclei: Instances| {
            let input = In {
                slide: open(&quickstart_slide(), None, &store),
                mask: None,
                nuclei,
                glands,
                lumina: None,
            };
            let out = Slide {}.run(input, &mut Ctx::detached(&store)).unwrap();
            let html = store.read_blob(&out.report.blob.digest).unwrap();
            (String::from_utf8(html).unwrap(), out.overlay.blob.digest)
        };
        let mut header = crate::testing::header();
        header.tissue = "glands".into();
        let mut glands = Instances::writer(&store, header).unwrap();
        for i in 0..40 {
            glands.push(&crate::testing::instance(i)).unwrap();
        }
        let glands = glands.finish().unwrap();
        let (without, bare) = page(None, instances(&store, 5));
        let (with, drawn) = page(Some(glands.clone()), instances(&store, 5));
        assert!(!without.contains("Gland") && bare != drawn);
        // 20 of 25 px at 0.5 mpp have a class.
        assert!(with.contains("Glands") && with.contains("20, 0.000 mm²"));
        let (alone, _) = page(None, glands);
        assert!(alone.contains("Glands on one slide") && !alone.contains("uclei"));
    }
}
