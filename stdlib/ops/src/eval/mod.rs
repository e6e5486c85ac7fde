//! Evaluation: what was found against what is true, sample by sample.

pub mod classification;
pub mod detection;
pub mod segmentation;
pub mod table;

use cerb_data::Dataset;
use cerb_data::joined::{Pair, joined};
use cerb_data::sample::types_of;
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
    /// The channel, of the truth and of what was found; 0 outside of either's mask.
    labels: [Grid<i32>; 2],
    /// Whether each pixel is judged, where a side has a mask.
    judged: Option<Vec<bool>>,
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
    let typed = types_of(channel);
    let work = |pair: &Pair| {
        let mut truth_of = truth.labels(pair.truth).map_err(data_error)?;
        let mut found_of = found.labels(pair.found).map_err(data_error)?;
        let entry = &truth.header().samples[pair.truth];
        let judged = judged([truth_of.mask.take(), found_of.mask.take()]);
        let clear = |map: &mut Grid<i32>| {
            let judged = judged.as_ref().filter(|of| of.len() == map.data.len());
            for (label, _) in map
                .data
                .iter_mut()
                .zip(judged.into_iter().flatten())
                .filter(|(_, judged)| !**judged)
            {
                *label = 0;
            }
        };
        let mut both = |channel: &str| {
            let sides = [&mut truth_of, &mut found_of].map(|side| side.labels.remove(channel));
            let [Some(mut truth), Some(mut found)] = sides else {
                return None;
            };
            clear(&mut truth);
            clear(&mut found);
            Some([truth, found])
        };
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
            judged: judged.clone(),
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

/// Returns where both masks are set; nothing without a mask.
fn judged(masks: [Option<Grid<u8>>; 2]) -> Option<Vec<bool>> {
    let inside = masks
        .into_iter()
        .flatten()
        .map(|mask| mask.data.into_iter().map(|v| v != 0).collect::<Vec<_>>());
    inside.reduce(|one, other| one.into_iter().zip(other).map(|(a, b)| a && b).collect())
}

/// Returns the names of the classes of a channel.
fn classes(truth: &Dataset, channel: &str) -> Vec<String> {
    let classes = truth.header().about.classes.get(channel);
    classes.cloned().unwrap_or_default()
}

fn metric_error(of: &str, error: &MetricError) -> OpError {
    OpError::Input(format!("{of}: {error}"))
}

/// Refuses classes that have no names.
fn nameless(channel: &str) -> OpError {
    OpError::Input(format!(
        "the classes of `{channel}` have no names; list them in `about.json` (dataset::classes)"
    ))
}
