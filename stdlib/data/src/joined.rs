//! Two datasets of the same images: what is true, and what was found.

use std::collections::BTreeMap;

use crate::{DataError, Header};

/// The places of one image in two datasets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Place in the truth.
    pub truth: usize,
    /// Place in what was found.
    pub found: usize,
}

/// Joins the samples that are annotated with a channel in the truth with those of their name in what was found.
///
/// # Errors
/// When the classes of a channel, or of the types of its objects, are not the same in both, no sample is annotated
/// with it, one lacks its other, or its other lacks the channel or has another size or resolution.
pub fn joined(truth: &Header, found: &Header, channel: &str) -> Result<Vec<Pair>, DataError> {
    let mut channels = vec![channel.to_owned()];
    channels.extend(
        channel
            .strip_suffix("-INST")
            .map(|tissue| format!("{tissue}-TYPE")),
    );
    for channel in &channels {
        let wanted = truth
            .about
            .classes
            .get(channel)
            .map_or(&[][..], Vec::as_slice);
        if *channel == channels[0] || found.channels().contains(channel.as_str()) {
            found.fits(channel, wanted)?;
        }
    }
    truth.fits(channel, &[])?;
    let mut others: BTreeMap<&str, usize> = (0..)
        .zip(&found.samples)
        .map(|(place, entry)| (entry.id.as_str(), place))
        .collect();
    let mut pairs = Vec::new();
    let mut alone = Vec::new();
    for (place, entry) in truth.samples.iter().enumerate() {
        let other = others.remove(entry.id.as_str());
        if !entry.counts.contains_key(channel) {
            continue;
        }
        let Some(other) = other.filter(|&other| found.samples[other].counts.contains_key(channel))
        else {
            alone.push(entry.id.clone());
            continue;
        };
        let twin = &found.samples[other];
        let (own, its) = ([entry.width, entry.height], [twin.width, twin.height]);
        if own != its || (entry.mpp - twin.mpp).abs() > 1e-6 * entry.mpp {
            return Err(DataError::Unlike {
                id: entry.id.clone(),
                truth: (own, entry.mpp),
                found: (its, twin.mpp),
            });
        }
        pairs.push(Pair {
            truth: place,
            found: other,
        });
    }
    let lone = |ids: Vec<String>, missing| DataError::Alone {
        count: ids.len(),
        id: ids.into_iter().next().unwrap_or_default(),
        channel: channel.to_owned(),
        missing,
    };
    if !alone.is_empty() {
        return Err(lone(alone, "what was found"));
    }
    match others.is_empty() {
        true => Ok(pairs),
        false => Err(lone(
            others.into_keys().map(str::to_owned).collect(),
            "the truth",
        )),
    }
}
