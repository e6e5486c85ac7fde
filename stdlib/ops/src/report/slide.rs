//! `report.slide`: what was found on one slide, as a page and a picture.

use cerb_engine::{Ctx, Facts, Needs, OpError, Operator, ports};
use cerb_image::{Classes, Instances, Mask};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::export::measure::class;
use crate::export::outline::{Outliner, Tally};
use crate::reading::slide_error;
use crate::report::found::Found;
pub use crate::report::given::In;
use crate::report::page::{Page, grouped};
use crate::report::picture::{OUTLINE, TISSUE, base64, halved, jpeg, mask_edge, png};
use crate::report::view::{CLOSE_UP, CLOSE_UP_MPP, View};
use crate::{File, Report};

/// Longest side of the overlay, in pixels.
const OVERLAY: f64 = 3000.0;
/// Longest side of the small picture with the tissue's edge.
const THUMBNAIL: f64 = 700.0;

/// Shows what was found on a slide: counts, pictures with outlines, sizes, and the facts behind them.
///
/// Whatever is given is shown: nuclei, glands, lumina, tissue classes. The page is one file of HTML; the
/// overlay is a picture of the whole slide, at most 3000 px wide and high, with every outline on it.
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
    pub struct Out {
        /// The page, `report.html`.
        report: Report,
        /// The picture, `overlay.png`.
        overlay: File,
    }
}

impl Operator for Slide {
    const NAME: &'static str = "report.slide";
    const REVISION: u32 = 3;
    type In = In;
    type Out = Out;

    fn needs(&self, _: &Facts) -> Needs {
        Needs::one_core().memory(256 << 20)
    }

    fn run(&self, input: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        input.check()?;
        let slide = &input.slide;
        let scale = slide.scale_at(CLOSE_UP_MPP).map_err(slide_error)?;
        // Large things first, so that small ones are drawn over them.
        let given = [(&input.glands, 3), (&input.lumina, 2), (&input.nuclei, 1)];
        let mut layers = Vec::new();
        for (objects, width) in given {
            if let Some(objects) = objects {
                layers.push(Layer {
                    objects,
                    width,
                    found: Found::read(objects, scale, ctx)?,
                    tally: Tally::default(),
                });
            }
        }
        let mut whole = View::whole(slide, OVERLAY)?;
        let mut close_ups = Vec::new();
        // Where the smallest things are, for they show least on the whole slide.
        if let Some(layer) = layers
            .iter()
            .rev()
            .find(|layer| !layer.found.areas.is_empty())
        {
            let size = slide.size_at(CLOSE_UP_MPP).map_err(slide_error)?;
            for corner in layer.found.places(size) {
                close_ups.push(View::close_up(slide, corner)?);
            }
        }
        for layer in &mut layers {
            layer.draw(&mut whole, &mut close_ups)?;
            ctx.check()?;
        }
        let overlay = ctx.store().put_bytes(&png(&whole.image)?)?;
        let html = page(&input, &layers, &whole, &close_ups)?;
        let report = ctx.store().put_bytes(html.as_bytes())?;
        let mut report = Report::new("report.html", report);
        for layer in &layers {
            report = report.with(&layer.objects.header().tissue, layer.tally.written);
        }
        Ok(Out {
            report,
            overlay: File::new("overlay.png", overlay),
        })
    }
}

/// Objects of one kind.
struct Layer<'a> {
    objects: &'a Instances,
    /// Width of their lines on the whole slide.
    width: u32,
    found: Found,
    tally: Tally,
}

impl Layer<'_> {
    fn draw(&mut self, whole: &mut View, close_ups: &mut [View]) -> Result<(), OpError> {
        let header = self.objects.header();
        let mut outliner = Outliner::default();
        for object in self.objects.iter()? {
            let object = object?;
            if let Some((outline, _)) = outliner.outline(&object, header) {
                let plain = object.class.is_none() && header.tissue == "nuclei";
                let colour = match plain {
                    true => OUTLINE,
                    false => class(&object, header).1,
                };
                whole.draw(&outline, colour, self.width);
                for view in &mut *close_ups {
                    view.draw(&outline, colour, self.width + 1);
                }
            }
        }
        self.tally = outliner.tally;
        Ok(())
    }

    fn tissue(&self) -> &str {
        &self.objects.header().tissue
    }
}

fn page(input: &In, layers: &[Layer], whole: &View, close_ups: &[View]) -> Result<String, OpError> {
    let names: Vec<&str> = layers.iter().rev().map(Layer::tissue).collect();
    let title = match names.as_slice() {
        [] => "One slide".to_owned(),
        [one] => format!("{} on one slide", capital(one)),
        [all @ .., last] => format!("{} and {last} on one slide", capital(&all.join(", "))),
    };
    let mut page = Page::new(&title);
    let tissue_mm2 = input.mask.as_ref().map(Mask::area_mm2);
    page.numbers(&numbers(layers, tissue_mm2));

    page.heading("The slide");
    let mut thumbnail = View::whole(&input.slide, THUMBNAIL)?;
    let mut tinted = match &input.classes {
        Some(classes) => {
            let mut tinted = View::whole(&input.slide, THUMBNAIL)?;
            tinted.tint(classes)?;
            Some(tinted)
        }
        None => None,
    };
    if let Some(mask) = &input.mask {
        mask_edge(&mut thumbnail.image, mask, thumbnail.scale, TISSUE);
        if let Some(tinted) = &mut tinted {
            mask_edge(&mut tinted.image, mask, tinted.scale, TISSUE);
        }
    }
    let thumbnail = base64(&jpeg(&thumbnail.image, 82)?);
    let tinted = tinted
        .map(|tinted| Ok::<_, OpError>(base64(&jpeg(&tinted.image, 82)?)))
        .transpose()?;
    // The picture in the page is small; the overlay file has every pixel.
    let mut small = halved(&whole.image);
    while small.width.max(small.height) > 1500 {
        small = halved(&small);
    }
    let small = base64(&jpeg(&small, 80)?);
    page.side_by_side(|page| {
        let caption = match input.mask {
            Some(_) => "The slide, its tissue outlined",
            None => "The slide",
        };
        page.picture(&thumbnail, caption, "tall");
        if let Some(tinted) = &tinted {
            page.picture(
                tinted,
                "Tissue classes; the colours are named below",
                "tall",
            );
        }
        if !layers.is_empty() {
            let caption = "Every outline, reduced; the overlay picture shows more";
            page.picture(&small, caption, "tall");
        }
    });
    if !close_ups.is_empty() {
        page.heading("Close up");
        let mut pictures = Vec::new();
        for view in close_ups {
            let [x, y] = view.corner;
            let wide = f64::from(CLOSE_UP[0]) * CLOSE_UP_MPP;
            let caption = format!("{wide:.0} µm wide, from x {x:.0}, y {y:.0} px");
            pictures.push((base64(&jpeg(&view.image, 82)?), caption));
        }
        page.side_by_side(|page| {
            for (picture, caption) in &pictures {
                page.picture(picture, caption, "");
            }
        });
    }
    for layer in layers
        .iter()
        .rev()
        .filter(|layer| !layer.found.areas.is_empty())
    {
        page.heading(&format!("Area of the {}", layer.tissue()));
        let (counts, end) = layer.found.histogram();
        page.histogram(&counts, end, "µm²");
    }
    for layer in layers
        .iter()
        .rev()
        .filter(|layer| layer.found.classes.len() > 1)
    {
        page.heading(&format!("Classes of {}", layer.tissue()));
        let all = layer.objects.count().max(1) as f64;
        let rows: Vec<_> = layer
            .found
            .classes
            .iter()
            .map(|(name, (count, colour))| {
                let share = 100.0 * *count as f64 / all;
                (
                    *colour,
                    name.clone(),
                    format!("{} · {share:.1} %", grouped(*count)),
                )
            })
            .collect();
        page.legend(&rows);
    }
    if let Some(classes) = &input.classes {
        page.heading("Tissue classes");
        page.legend(&areas(classes));
    }
    page.heading("Facts");
    page.table(&facts(input, layers)?);
    Ok(page.html())
}

/// Returns counts, and how dense nuclei are.
fn numbers(layers: &[Layer], tissue_mm2: Option<f64>) -> Vec<(String, String)> {
    let mut numbers: Vec<(String, String)> = layers
        .iter()
        .rev()
        .map(|layer| (grouped(layer.objects.count()), layer.tissue().to_owned()))
        .collect();
    let nuclei = layers.iter().find(|layer| layer.tissue() == "nuclei");
    if let Some(area) = tissue_mm2 {
        numbers.push((format!("{area:.2} mm²"), "tissue".to_owned()));
        if let Some(nuclei) = nuclei {
            let density = match area > 0.0 {
                true => (nuclei.objects.count() as f64 / area).round() as u64,
                false => 0,
            };
            numbers.push((grouped(density), "nuclei per mm² of tissue".to_owned()));
        }
    }
    if let Some(nuclei) = nuclei.filter(|nuclei| !nuclei.found.areas.is_empty()) {
        let median = format!("{:.1} µm²", nuclei.found.quantile(0.5));
        numbers.push((median, "median area of a nucleus".to_owned()));
    }
    numbers
}

/// Returns the area of each class that there is, and its share of all but background.
fn areas(classes: &Classes) -> Vec<([u8; 3], String, String)> {
    let areas = classes.areas();
    let all: f64 = areas.iter().map(|(_, um2)| um2).sum();
    let there = areas.into_iter().filter(|(_, um2)| *um2 > 0.0);
    let rows = there.map(|(class, um2)| {
        let share = 100.0 * um2 / all;
        let value = format!("{:.2} mm² · {share:.1} %", um2 / 1e6);
        (class.colour, class.name.clone(), value)
    });
    rows.collect()
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn facts(input: &In, layers: &[Layer]) -> Result<Vec<(String, String)>, OpError> {
    let slide = &input.slide;
    let mpp = slide.mpp().map_err(slide_error)?;
    let info = slide.info();
    let source = info.mpp.as_ref().map_or(String::new(), |resolution| {
        format!(", from {}", resolution.source)
    });
    let size = [info.width, info.height].map(|side| grouped(side.into()));
    let mut rows = vec![
        ("size".to_owned(), format!("{} × {} px", size[0], size[1])),
        (
            "resolution".to_owned(),
            format!("{mpp} µm per pixel{source}"),
        ),
    ];
    if let Some(power) = info.magnification {
        rows.push(("objective".to_owned(), format!("{power}×")));
    }
    let levels = counted(info.levels.len(), "level");
    rows.push(("format".to_owned(), format!("{}, {levels}", info.format)));
    if let Some(digest) = slide.content() {
        rows.push(("slide digest".to_owned(), digest.to_string()));
    }
    if let Some(mask) = &input.mask {
        let share = format!("{:.1} % of the slide", 100.0 * mask.fraction());
        rows.push(("tissue".to_owned(), share));
    }
    for layer in layers.iter().rev() {
        let Layer {
            objects,
            found,
            tally,
            ..
        } = layer;
        let name = |what: &str| format!("{}: {what}", layer.tissue());
        let worked_at = format!("{} µm per pixel", objects.header().mpp);
        rows.push((name("worked at"), worked_at));
        if !found.areas.is_empty() {
            let [low, high] = [0.25, 0.75].map(|share| found.quantile(share));
            let range = format!("{low:.1} to {high:.1} µm²");
            rows.push((name("middle half of the areas"), range));
        }
        let left_out = grouped(tally.dropped + tally.repeated + objects.dropped());
        rows.push((
            name("left out"),
            format!("{left_out} without a valid outline"),
        ));
        rows.push((name("outlines repaired"), grouped(tally.repaired)));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{instances, open, quickstart_slide, store};
    use cerb_image::classes::{ClassesHeader, tissues};
    use cerb_image::{InstancesHeader, SlideFrame};
    use cerb_store::{Digest, Store};

    fn input(store: &Store) -> In {
        In {
            slide: open(&quickstart_slide(), None, store),
            mask: None,
            nuclei: None,
            glands: None,
            lumina: None,
            classes: None,
        }
    }

    fn html(input: In, store: &Store) -> (String, Out) {
        let out = Slide {}.run(input, &mut Ctx::detached(store)).unwrap();
        let bytes = store.read_blob(&out.report.blob.digest).unwrap();
        (String::from_utf8(bytes).unwrap(), out)
    }

    #[test]
    fn a_page_holds_everything_and_stays_small() {
        let (_dir, store) = store();
        let nuclei = Some(instances(&store, 300));
        let input = In {
            nuclei,
            ..input(&store)
        };
        let (html, out) = html(input, &store);
        assert!(html.len() < 3 << 20, "{} bytes", html.len());
        assert!(html.contains("<h1>Nuclei on one slide</h1>") && html.contains("<dd>300</dd>"));
        assert!(html.contains("2\u{202f}220 × 2\u{202f}967 px"));
        assert!(html.contains("0.499 µm per pixel, from"));
        assert!(!html.contains("src=\"http") && !html.contains("<link"));
        let overlay = store.read_blob(&out.overlay.blob.digest).unwrap();
        assert!(overlay.starts_with(b"\x89PNG"));
    }

    #[test]
    fn a_slide_without_nuclei_has_a_page_too() {
        let (_dir, store) = store();
        let nuclei = Some(instances(&store, 0));
        let (text, _) = html(
            In {
                nuclei,
                ..input(&store)
            },
            &store,
        );
        assert!(text.contains("<dd>0</dd>"));
        assert!(html(input(&store), &store).0.contains("<h1>One slide</h1>"));
    }

    #[test]
    fn every_head_is_shown() {
        let (_dir, store) = store();
        let glands = {
            let header = InstancesHeader {
                tissue: "glands".into(),
                ..crate::testing::header()
            };
            let mut glands = Instances::writer(&store, header).unwrap();
            glands.push(&crate::testing::instance(1)).unwrap();
            glands.finish().unwrap()
        };
        let header = ClassesHeader {
            width: 277,
            height: 370,
            mpp: 2.0,
            scale: [2220.0 / 277.0, 2967.0 / 370.0],
            slide: SlideFrame {
                width: 2220,
                height: 2967,
                digest: Digest::of(b"slide"),
                mpp: 0.499,
            },
            classes: tissues(),
        };
        let classes = Classes::write(&store, header, |out| {
            (0..370).try_for_each(|y| out.push(&vec![if y < 185 { 5 } else { 0 }; 277]))
        });
        let input = In {
            nuclei: Some(instances(&store, 40)),
            glands: Some(glands),
            classes: Some(classes.unwrap()),
            ..input(&store)
        };
        let mut tinted = View::whole(&input.slide, THUMBNAIL).unwrap();
        let plain = tinted.image.clone();
        tinted.tint(input.classes.as_ref().unwrap()).unwrap();
        let [top, bottom] = [100, 600].map(|y| (tinted.image.at(250, y), plain.at(250, y)));
        assert!(top.0 != top.1 && bottom.0 == bottom.1, "{top:?} {bottom:?}");
        let (html, _) = html(input, &store);
        assert!(html.contains("<h1>Nuclei and glands on one slide</h1>"));
        assert!(html.contains("stroma") && html.contains("0.20 mm² · 100.0 %"));
        assert!(html.contains("glands: left out"));
    }
}
