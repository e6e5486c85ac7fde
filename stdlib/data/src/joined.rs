//! Two datasets of the same images: what is true, and what was found.

use std::collections::BTreeMap;

use crate::sample::types_of;
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
/// When the classes of a channel, or of the types of its objects, are not the same in both or one side names none, no
/// sample is annotated with it, one lacks its other, or its other lacks the channel, lacks types that the other images
/// have, or has another size or resolution.
pub fn joined(truth: &Header, found: &Header, channel: &str) -> Result<Vec<Pair>, DataError> {
    truth.fits(channel, &[])?;
    same_classes(truth, found, channel)?;
    let both = |types: &String| {
        let types = types.as_str();
        truth.channels().contains(types) && found.channels().contains(types)
    };
    let types = types_of(channel).filter(both);
    if let Some(types) = &types {
        same_classes(truth, found, types)?;
    }
    let mut others: BTreeMap<&str, usize> = (0..)
        .zip(&found.samples)
        .map(|(place, entry)| (entry.id.as_str(), place))
        .collect();
    let mut pairs = Vec::new();
    let mut alone = Vec::new();
    let mut untyped: [Vec<String>; 2] = Default::default();
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
        if let Some(types) = &types {
            let [own, its] = [entry, twin].map(|one| one.counts.contains_key(types));
            if own != its {
                untyped[usize::from(own)].push(entry.id.clone());
            }
        }
        pairs.push(Pair {
            truth: place,
            found: other,
        });
    }
    let others = others.into_keys().map(str::to_owned).collect();
    let [of_truth, of_found] = untyped;
    let types = types.unwrap_or_default();
    for (ids, channel, missing) in [
        (alone, channel, FOUND),
        (others, channel, TRUTH),
        (of_found, types.as_str(), FOUND),
        (of_truth, types.as_str(), TRUTH),
    ] {
        if let Some(id) = ids.first() {
            return Err(DataError::Alone {
                count: ids.len(),
                id: id.clone(),
                channel: channel.to_owned(),
                missing,
            });
        }
    }
    Ok(pairs)
}

/// What errors call the two sides.
const TRUTH: &str = "the truth";
const FOUND: &str = "what was found";

/// Refuses lists of classes that differ, and a list on one side alone: numbers would be taken for other names.
fn same_classes(truth: &Header, found: &Header, channel: &str) -> Result<(), DataError> {
    let of = |header: &Header| {
        let classes = header.about.classes.get(channel).cloned();
        classes.unwrap_or_default()
    };
    let (own, its) = (of(truth), of(found));
    found.fits(channel, &own)?;
    let lacks = match (own.is_empty(), its.is_empty()) {
        (true, false) => TRUTH,
        (false, true) => FOUND,
        _ => return Ok(()),
    };
    Err(DataError::Nameless {
        channel: channel.to_owned(),
        lacks,
    })
}
