//! `report.cohort`: many slides on one page.

use cerb_engine::{Ctx, Keyed, OpError, Operator, ports};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Report;
use crate::features::Features;
use crate::report::page::{Page, grouped};

/// Numbers that are summed, with what they count.
const SUMS: [(&str, &str); 3] = [
    ("nuclei", "nuclei"),
    ("glands", "glands"),
    ("lumina", "lumina"),
];
/// Bins of the histogram over slides.
const BINS: usize = 32;

/// Shows many slides on one page: what there is in all, how it spreads, and each slide with its numbers.
///
/// ```cerb
/// let page = report.cohort(wsi.numbers)
/// output "cohort.html" = page
/// ```
#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cohort {}

ports! {
    pub struct In {
        /// What was counted on each slide.
        features: Keyed<Features>,
    }
    pub struct Out {
        /// The page, `cohort.html`.
        report: Report,
    }
}

impl Operator for Cohort {
    const NAME: &'static str = "report.cohort";
    const REVISION: u32 = 2;
    type In = In;
    type Out = Out;

    fn run(&self, In { features }: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let mut page = Page::new(
            match features.len() {
                1 => "One slide".to_owned(),
                count => format!("{} slides", grouped(count as u64)),
            }
            .as_str(),
        );
        let values = |name: &str| -> Vec<f64> {
            features.values().filter_map(|row| row.get(name)).collect()
        };
        let mut numbers = vec![(grouped(features.len() as u64), "slides".to_owned())];
        for (name, what) in SUMS {
            let found = values(name);
            if !found.is_empty() {
                numbers.push((grouped(found.iter().sum::<f64>() as u64), what.to_owned()));
            }
        }
        let tissue = values("tissue_mm2");
        if !tissue.is_empty() {
            let sum: f64 = tissue.iter().sum();
            numbers.push((format!("{sum:.1} mm²"), "tissue".to_owned()));
        }
        page.numbers(&numbers);
        let density = values("nuclei_per_mm2");
        if density.len() > 2 {
            page.heading("Nuclei per mm² of tissue, slide by slide");
            let most = density.iter().copied().fold(1.0, f64::max);
            let end = (most / 100.0).ceil() * 100.0;
            let mut bins = vec![0u64; BINS];
            for value in density {
                let bin = (value / end * BINS as f64) as usize;
                bins[bin.min(BINS - 1)] += 1;
            }
            page.histogram(&bins, end, "nuclei per mm²");
        }
        page.heading("The slides");
        let cards: Vec<_> = features
            .iter()
            .map(|(key, row)| (row.thumbnail.as_str(), key.as_str(), lines(row)))
            .collect();
        page.cards(&cards);
        let blob = ctx.store().put_bytes(page.html().as_bytes())?;
        let report = Report::new("cohort.html", blob).with("slides", features.len());
        Ok(Out { report })
    }
}

/// Says what a slide has in a few words.
fn lines(row: &Features) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(area) = row.get("tissue_mm2") {
        lines.push(format!("{area:.2} mm² of tissue"));
    }
    for (name, what) in SUMS {
        if let Some(count) = row.get(name) {
            lines.push(format!("{} {what}", grouped(count as u64)));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::store;

    #[test]
    fn a_page_adds_up_and_shows_each_slide() {
        let (_dir, store) = store();
        let row = |nuclei: f64| Features {
            numbers: vec![
                ("tissue_mm2".to_owned(), 2.0),
                ("nuclei".to_owned(), nuclei),
                ("nuclei_per_mm2".to_owned(), nuclei / 2.0),
            ],
            thumbnail: "/9j/".to_owned(),
        };
        let features: Keyed<Features> = (1..=4)
            .map(|i| (format!("slide <{i}>"), row(f64::from(i) * 1000.0)))
            .collect();
        let out = Cohort {}
            .run(In { features }, &mut Ctx::detached(&store))
            .unwrap();
        let html = store.read_blob(&out.report.blob.digest).unwrap();
        let html = String::from_utf8(html).unwrap();
        assert!(html.contains("<h1>4 slides</h1>") && html.contains("<dd>10\u{202f}000</dd>"));
        assert!(html.contains("<dd>8.0 mm²</dd>") && html.contains("slide &lt;3&gt;"));
        assert_eq!(html.matches("data:image/jpeg;base64,/9j/").count(), 4);
    }

    #[test]
    fn an_empty_cohort_has_a_page_too() {
        let (_dir, store) = store();
        let input = In {
            features: Keyed::new(),
        };
        let out = Cohort {}.run(input, &mut Ctx::detached(&store)).unwrap();
        let html = store.read_blob(&out.report.blob.digest).unwrap();
        assert!(
            String::from_utf8(html)
                .unwrap()
                .contains("<h1>0 slides</h1>")
        );
    }
}
