//! Evaluation: what was found against what is true, sample by sample.

pub mod classification;
pub mod detection;
pub mod segmentation;
pub mod table;

use cerb_data::Dataset;
use cerb_data::joined::{Pair, joined};
use cerb_engine::{Ctx, OpError, Registry};
use cerb_image::Grid;
use cerb_metrics::MetricError;

use crate::dataset::data_error;
use crate::reading::each;

/// Lists the operators of this family.
pub(crate) fn family() -> Registry {
    Registry::new()
        .with::<classification::Classification>()
        .with::<detection::Detection>()
        .with::<segmentation::Segmentation>()
        .with::<table::Table>()
}

/// What is compared of one sample.
struct Compared {
    /// Its name.
    id: String,
    /// Micrometres per pixel.
    mpp: f64,
    /// The channel, of the truth and of what was found.
    labels: [Grid<i32>; 2],
    /// The types of its objects, where both sides have them.
    types: Option<[Grid<i32>; 2]>,
}

/// Reads and measures the samples that the truth and what was found share, side by side.
fn measured<T: Send>(
    truth: &Dataset,
    found: &Dataset,
    channel: &str,
    ctx: &mut Ctx,
    measure: impl Fn(Compared) -> Result<T, MetricError> + Sync,
) -> Result<Vec<T>, OpError> {
    let pairs = joined(truth.header(), found.header(), channel).map_err(data_error)?;
    let typed = channel
        .strip_suffix("-INST")
        .map(|tissue| format!("{tissue}-TYPE"));
    let work = |pair: &Pair| {
        let mut truth_of = truth.labels(pair.truth).map_err(data_error)?;
        let mut found_of = found.labels(pair.found).map_err(data_error)?;
        let entry = &truth.header().samples[pair.truth];
        let mut both = |channel: &str| Some([truth_of.remove(channel)?, found_of.remove(channel)?]);
        let labels = both(channel).ok_or_else(|| {
            OpError::Operator(format!(
                "`{channel}` of sample `{}` is not where the header says",
                entry.id
            ))
        })?;
        let compared = Compared {
            id: entry.id.clone(),
            mpp: entry.mpp,
            labels,
            types: typed.as_deref().and_then(both),
        };
        measure(compared).map_err(|error| metric_error(&format!("sample `{}`", entry.id), &error))
    };
    let mut all = Vec::with_capacity(pairs.len());
    each(ctx, &pairs, "image", work, |_, one| {
        all.push(one);
        Ok(())
    })?;
    Ok(all)
}

/// Returns the names of the classes of a channel.
fn classes(truth: &Dataset, channel: &str) -> Vec<String> {
    let classes = truth.header().about.classes.get(channel);
    classes.cloned().unwrap_or_default()
}

fn metric_error(of: &str, error: &MetricError) -> OpError {
    OpError::Input(format!("{of}: {error}"))
}
