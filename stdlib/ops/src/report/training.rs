//! `report.training`: what a training said, and what came of it, as a page.

use cerb_data::{Dataset, Sheet};
use cerb_engine::{Ctx, Facts, Needs, OpError, Operator, ports};
use cerb_metrics::Metrics;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Report;
use crate::cerberus::history::History;
use crate::dataset::data_error;
use crate::report::page::{Page, grouped};
use crate::report::picture::{base64, jpeg};

/// Side in pixels of the pictures of samples.
const SIDE: u32 = 448;
/// Numbers that the table shows of each kind of measurement, where they were measured.
const SHOWN: [(&str, &[&str]); 3] = [
    (
        "segmentation",
        &["pq", "dq", "sq", "dice", "object_dice", "aji", "mpq"],
    ),
    (
        "classification",
        &["accuracy", "balanced_accuracy", "macro_f1", "auc", "ece"],
    ),
    ("detection", &["f1", "precision", "recall"]),
];

/// Shows a training on one page: losses and scores of each head, learning rate, what it was trained with, and, where
/// given, what was measured afterwards, samples beside their truth, and the images that it does worst on.
///
/// `beside` is what another method reaches on the same images: it stands in a column of its own, which
/// `method:` names. What is found stands beside the truth when both datasets are given.
///
/// ```cerb
/// let trained = cerberus.train(images: truth, heads: ["Nuclei-INST"], encoder: "compact", steps: 500)
/// let said    = cerberus.label(trained.model, unseen)
/// let nuclei  = eval.segmentation(unseen, said.dataset, channel: "Nuclei-INST")
/// output "training.html" = report.training(trained.history, truth: unseen, found: said.dataset, nuclei: nuclei)
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Training {
    /// Samples that are shown, of all every n-th.
    #[schemars(range(min = 0, max = 64))]
    samples: usize,
    /// Images of the lowest score that are shown.
    #[schemars(range(min = 0, max = 64))]
    worst: usize,
    /// What `beside` was found by, such as `the stain alone`.
    method: Option<String>,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            samples: 6,
            worst: 4,
            method: None,
        }
    }
}

ports! {
    pub struct In {
        /// What the training said.
        history: History,
        /// Annotated images that were not learned from.
        truth: Option<Dataset>,
        /// What the network finds on them.
        found: Option<Dataset>,
        /// What was measured of nuclei.
        nuclei: Option<Metrics>,
        /// What was measured of glands.
        glands: Option<Metrics>,
        /// What was measured of lumina.
        lumina: Option<Metrics>,
        /// What was measured of classes of tissue.
        tissue: Option<Metrics>,
        /// The same of another method, on the same images.
        beside: Option<Metrics>,
    }
    pub struct Out {
        /// The page, `training.html`.
        report: Report,
    }
}

impl Operator for Training {
    const NAME: &'static str = "report.training";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn needs(&self, _: &Facts) -> Needs {
        Needs::one_core().memory(1 << 30)
    }

    fn run(&self, input: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let history = &input.history;
        let mut page = Page::new("Training");
        let rows = &history.said.rows;
        let (steps, images) = rows.last().map_or((0, 0), |row| (row.step, row.images));
        page.numbers(&[
            (grouped(steps), "steps".to_owned()),
            (grouped(images), "images seen".to_owned()),
            (grouped(history.parameters), "numbers learned".to_owned()),
            (history.heads.len().to_string(), "heads".to_owned()),
        ]);
        let measured = [&input.nuclei, &input.glands, &input.lumina, &input.tissue];
        let measured: Vec<&Metrics> = measured.into_iter().flatten().collect();
        if !measured.is_empty() {
            self.measured(&mut page, &measured, input.beside.as_ref());
        }
        match (&input.truth, &input.found) {
            (Some(truth), Some(found)) => {
                for note in &truth.header().about.notes {
                    page.text(&format!("{}: {note}.", truth.header().about.name));
                }
                let shown = self.samples.min(truth.len());
                let every = (0..shown).map(|at| at * truth.len() / shown);
                let every = every.map(|at| (at, String::new())).collect();
                pairs(&mut page, "Samples", every, truth, found, ctx)?;
                if let Some((worst, of)) = self.worst(&measured, truth) {
                    let heading = format!("Worst by {of}");
                    pairs(&mut page, &heading, worst, truth, found, ctx)?;
                }
            }
            (None, None) => {}
            _ => {
                return Err(OpError::Input(
                    "`truth:` and `found:` stand side by side: give both, or neither".to_owned(),
                ));
            }
        }
        curves(&mut page, history);
        page.heading("What it was trained with");
        let mut table: Vec<(String, String)> = history
            .arguments
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), said(value)))
            .collect();
        for line in &history.datasets {
            table.push(("dataset".to_owned(), line.clone()));
        }
        for (head, classes) in &history.heads {
            table.push((head.clone(), classes.join(", ")));
        }
        page.table(&table);
        let report = ctx.store().put_bytes(page.html().as_bytes())?;
        Ok(Out {
            report: Report::new("training.html", report),
        })
    }
}

impl Training {
    /// Adds what was measured, with what another method reaches.
    fn measured(&self, page: &mut Page, measured: &[&Metrics], beside: Option<&Metrics>) {
        page.heading("Measured on images that were not learned from");
        let method = self.method.as_deref().unwrap_or("beside");
        let mut titles = vec!["head", "number", "value (in 95 % of draws of images)"];
        titles.extend(beside.map(|_| method));
        let mut rows = Vec::new();
        for metrics in measured {
            let shown = SHOWN.iter().find(|(what, _)| *what == metrics.what);
            let other = beside
                .filter(|other| other.what == metrics.what && other.channel == metrics.channel);
            for &name in shown.map_or(&[][..], |(_, names)| names) {
                let Some(value) = metrics.values.get(name) else {
                    continue;
                };
                let mut text = format!("{value:.3}");
                if let Some(interval) = metrics.intervals.get(name) {
                    text = format!("{text} ({:.3} to {:.3})", interval.low, interval.high);
                }
                let mut row = vec![metrics.channel.clone(), name.replace('_', " "), text];
                if beside.is_some() {
                    let value = other.and_then(|other| other.values.get(name));
                    row.push(value.map_or(String::new(), |value| format!("{value:.3}")));
                }
                rows.push(row);
            }
        }
        page.columns(&titles, &rows);
    }

    /// Returns the places of the images with the lowest score, each with that score, and what it is.
    fn worst(
        &self,
        measured: &[&Metrics],
        truth: &Dataset,
    ) -> Option<(Vec<(usize, String)>, String)> {
        let key = |metrics: &Metrics| match metrics.what.as_str() {
            "segmentation" => Some("pq"),
            "detection" => Some("f1"),
            _ => None,
        };
        let (metrics, key) = measured
            .iter()
            .find_map(|metrics| Some((metrics, key(metrics)?)))?;
        let samples = &truth.header().samples;
        let place = |name: &str| samples.iter().position(|sample| sample.id == name);
        let mut scores: Vec<(f64, usize)> = metrics
            .images
            .iter()
            .filter_map(|row| Some((*row.values.get(key)?, place(&row.name)?)))
            .collect();
        scores.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        scores.truncate(self.worst);
        let name = format!("{key} of {}", metrics.channel);
        let worst: Vec<_> = scores
            .into_iter()
            .map(|(score, at)| (at, format!("{key} {score:.3}")))
            .collect();
        (!worst.is_empty()).then_some((worst, name))
    }
}

/// Writes an argument as it was given, without the quotes of text.
fn said(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(all) => all.iter().map(said).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Adds images twice, side by side: with their truth, and with what was found.
fn pairs(
    page: &mut Page,
    heading: &str,
    places: Vec<(usize, String)>,
    truth: &Dataset,
    found: &Dataset,
    ctx: &Ctx,
) -> Result<(), OpError> {
    if places.is_empty() {
        return Ok(());
    }
    let sheet = Sheet {
        side: SIDE,
        ..Sheet::default()
    };
    page.heading(heading);
    for (at, score) in places {
        ctx.check()?;
        let sample = truth.sample(at).map_err(data_error)?;
        let other = found
            .header()
            .samples
            .iter()
            .position(|of| of.id == sample.id);
        let other = other.ok_or_else(|| {
            OpError::Input(format!(
                "nothing was found on image `{}`: give what was found on the same images",
                sample.id
            ))
        })?;
        let other = found.sample(other).map_err(data_error)?;
        let mut pictures = Vec::new();
        for (sample, what) in [(&sample, "truth"), (&other, "found")] {
            let picture = sheet.picture(sample).map_err(data_error)?;
            let mut caption = format!("{}, {what}", sample.id);
            if what == "found" && !score.is_empty() {
                caption = format!("{caption}, {score}");
            }
            pictures.push((base64(&jpeg(&picture, 85)?), caption));
        }
        page.side_by_side(|page| {
            for (picture, caption) in &pictures {
                page.picture(picture, caption, "");
            }
        });
    }
    Ok(())
}

/// Adds what steps said: losses and scores of each head, the learning rate, the norm of the gradients.
fn curves(page: &mut Page, history: &History) {
    let rows = &history.said.rows;
    // So many that the noise of single batches is gone, and so few that what happens shows.
    let smooth = (rows.len() / 40).max(1);
    page.heading("Losses, times their weights");
    page.side_by_side(|page| {
        for head in history.heads.keys() {
            let of = rows
                .iter()
                .filter_map(|row| Some((row.step as f64, f64::from(*row.losses.get(head)?))));
            page.curve(head, &of.collect::<Vec<_>>(), smooth, None);
        }
    });
    if !history.said.scores.is_empty() {
        page.heading("Scores of single windows of images held back");
        page.side_by_side(|page| {
            for head in history.heads.keys() {
                let of = history.said.scores.iter().filter_map(|score| {
                    Some((score.step as f64, f64::from(*score.heads.get(head)?)))
                });
                page.curve(head, &of.collect::<Vec<_>>(), 1, Some(1.0));
            }
        });
    }
    page.heading("Steps");
    page.side_by_side(|page| {
        let rates: Vec<_> = rows
            .iter()
            .map(|row| (row.step as f64, f64::from(row.rate)))
            .collect();
        page.curve("learning rate", &rates, 1, None);
        let norms: Vec<_> = rows
            .iter()
            .map(|row| (row.step as f64, f64::from(row.norm)))
            .collect();
        page.curve("norm of the gradients", &norms, smooth, None);
    });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cerb_metrics::evaluation::Row;
    use cerb_store::Store;
    use cerb_train::{Row as Step, Score};

    use super::*;
    use crate::testing::{annotated, store};

    fn history() -> History {
        let mut history = History::new(cerb_train::History::default());
        history.heads = [("Nuclei-INST".to_owned(), Vec::new())].into();
        history.arguments = [
            ("steps".to_owned(), 20.into()),
            ("licence".to_owned(), serde_json::Value::Null),
        ]
        .into();
        history.datasets = vec!["squares: 3 images learned from, CC0-1.0".to_owned()];
        for step in 1..=20 {
            history.said.rows.push(Step {
                step,
                images: step * 2,
                rate: 0.001,
                norm: 3.0,
                losses: [("Nuclei-INST".to_owned(), 1.0 / step as f32)].into(),
            });
        }
        history.said.scores.push(Score {
            step: 20,
            heads: [("Nuclei-INST".to_owned(), 0.75)].into(),
        });
        history
    }

    fn measured(pq: f64) -> Metrics {
        let values = |pq: f64| BTreeMap::from([("pq".to_owned(), pq)]);
        let row = |at: usize, pq: f64| Row {
            name: format!("s{at}"),
            values: values(pq),
        };
        Metrics {
            what: "segmentation".to_owned(),
            channel: "Nuclei-INST".to_owned(),
            values: values(pq),
            images: vec![row(0, 0.9), row(1, 0.2), row(2, 0.7)],
            ..Metrics::default()
        }
    }

    fn input() -> In {
        In {
            history: history(),
            truth: None,
            found: None,
            nuclei: None,
            glands: None,
            lumina: None,
            tissue: None,
            beside: None,
        }
    }

    fn page(training: &Training, input: In, store: &Store) -> Result<String, OpError> {
        let out = training.run(input, &mut Ctx::detached(store))?;
        let bytes = store.read_blob(&out.report.blob.digest).unwrap();
        Ok(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_page_shows_curves_numbers_samples_and_the_worst() {
        let (_dir, store) = store();
        let training = Training {
            samples: 2,
            worst: 1,
            method: Some("the stain alone".to_owned()),
        };
        let input = In {
            truth: Some(annotated(&store, 3, |_, _| {})),
            found: Some(annotated(&store, 3, |_, _| {})),
            nuclei: Some(measured(0.646)),
            beside: Some(measured(0.534)),
            ..input()
        };
        let html = page(&training, input, &store).unwrap();
        for said in [
            "<td>Nuclei-INST</td><td>pq</td><td>0.646</td><td>0.534</td>",
            "<th>the stain alone</th>",
            "s0, truth",
            "s1, found, pq 0.200",
            "Worst by pq of Nuclei-INST",
            "learning rate",
            "<th>steps</th><td>20</td>",
            "squares: 3 images learned from, CC0-1.0",
        ] {
            assert!(html.contains(said), "{said}");
        }
        assert_eq!(html.matches("data:image/jpeg").count(), 6);
        assert_eq!(html.matches("<svg class=\"curve\"").count(), 4);
        assert!(!html.contains("licence</th>"));
    }

    #[test]
    fn a_history_alone_is_a_page() {
        let (_dir, store) = store();
        let html = page(&Training::default(), input(), &store).unwrap();
        assert!(html.contains("Losses") && !html.contains("Samples"));
        let empty = In {
            history: History::new(cerb_train::History::default()),
            ..input()
        };
        assert!(page(&Training::default(), empty, &store).is_ok());
    }

    #[test]
    fn what_was_found_on_other_images_is_refused() {
        let (_dir, store) = store();
        let said = |input| {
            page(&Training::default(), input, &store)
                .err()
                .unwrap()
                .to_string()
        };
        let alone = In {
            truth: Some(annotated(&store, 1, |_, _| {})),
            ..input()
        };
        assert!(said(alone).contains("give both, or neither"));
        let fewer = In {
            truth: Some(annotated(&store, 3, |_, _| {})),
            found: Some(annotated(&store, 2, |_, _| {})),
            ..input()
        };
        assert!(said(fewer).contains("nothing was found on image `s2`"));
    }
}
