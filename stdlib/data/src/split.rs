//! Folds: dealt so that what belongs together stays together, and checked for what leaks between them.

use std::collections::BTreeMap;

use cerb_image::random::Random;
use cerb_store::Digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{DataError, Header, Twice};

/// Names the stream of random numbers that deals folds.
const STREAM: u64 = 0x666f_6c64;

/// What stays in one fold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Keep {
    /// All of a patient; each sample has to name its own.
    Patient,
    /// All of a source image; a sample without one is its own.
    Source,
}

/// Deals the samples to folds 1, 2, … of these shares: `[1, 1, 1]` makes three alike, `[8, 1, 1]` ten parts.
///
/// Groups come in an order that the seed decides, each to the fold that is furthest from its share, so
/// the folds differ by a group's images at most. What has the same pixels, the same source or the same
/// patient is never parted. Returns the fold of each sample, for [`Dataset::with_folds`](crate::Dataset::with_folds).
///
/// # Errors
/// When a share is 0, a sample lacks its patient, or there are fewer groups than folds.
pub fn deal(header: &Header, keep: Keep, shares: &[u32], seed: u64) -> Result<Vec<u32>, DataError> {
    if shares.is_empty() || shares.contains(&0) {
        return Err(DataError::Folds(
            "a fold needs a share of 1 at least".to_owned(),
        ));
    }
    let mut groups = groups(header, keep)?;
    if groups.len() < shares.len() {
        return Err(DataError::FewGroups {
            what: match keep {
                Keep::Patient => "patients",
                Keep::Source => "source images",
            },
            groups: groups.len(),
            folds: shares.len(),
        });
    }
    Random::of(&[STREAM, seed]).shuffle(&mut groups);
    let mut filled = vec![0u64; shares.len()];
    let mut folds = vec![0; header.samples.len()];
    for group in groups {
        let emptiest = (0..shares.len()).min_by(|&a, &b| {
            let (left, right) = (
                filled[a] * u64::from(shares[b]),
                filled[b] * u64::from(shares[a]),
            );
            left.cmp(&right)
        });
        let fold = emptiest.unwrap_or(0);
        filled[fold] += group.len() as u64;
        for place in group {
            folds[place] = fold as u32 + 1;
        }
    }
    Ok(folds)
}

/// Returns the places of samples that stay together, by their first.
fn groups(header: &Header, keep: Keep) -> Result<Vec<Vec<usize>>, DataError> {
    let mut parent: Vec<usize> = (0..header.samples.len()).collect();
    let mut known: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut pixels: BTreeMap<Digest, usize> = BTreeMap::new();
    for (place, entry) in header.samples.iter().enumerate() {
        if keep == Keep::Patient && entry.patient.is_none() {
            return Err(DataError::NoPatient {
                id: entry.id.clone(),
            });
        }
        let marks = [("patient", &entry.patient), ("source", &entry.source)];
        let marks = marks
            .iter()
            .filter_map(|(what, name)| Some((*what, name.as_deref()?)));
        let firsts: Vec<usize> = marks
            .map(|mark| *known.entry(mark).or_insert(place))
            .chain([*pixels.entry(entry.pixels).or_insert(place)])
            .collect();
        for first in firsts {
            let (a, b) = (root(&parent, first), root(&parent, place));
            parent[a.max(b)] = a.min(b);
        }
    }
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for place in 0..parent.len() {
        groups.entry(root(&parent, place)).or_default().push(place);
    }
    Ok(groups.into_values().collect())
}

fn root(parent: &[usize], mut place: usize) -> usize {
    while parent[place] != place {
        place = parent[place];
    }
    place
}

/// Checks that no patient, no source and no picture is in two folds; fold 0 is none.
///
/// # Errors
/// When one is: the first, and how many more there are.
pub fn check_folds(header: &Header) -> Result<(), DataError> {
    let dealt = || header.samples.iter().filter(|entry| entry.fold > 0);
    let place = |id: &str, fold: u32| format!("`{id}` in fold {fold}");
    for what in ["patient", "source image"] {
        let name = |entry: &crate::Entry| match what {
            "patient" => entry.patient.clone(),
            _ => entry.source.clone(),
        };
        let named = dealt()
            .filter_map(|entry| Some((name(entry)?, entry.fold, place(&entry.id, entry.fold))));
        if let Some((name, twice)) = parted(named) {
            return Err(DataError::Leak { what, name, twice });
        }
    }
    let pictures = dealt().map(|entry| (entry.pixels, entry.fold, place(&entry.id, entry.fold)));
    match parted(pictures) {
        Some((_, twice)) => Err(DataError::SamePixels { twice }),
        None => Ok(()),
    }
}

/// Checks that no picture is in two of several datasets, as Lizard, GlaS, CRAG and DigestPath may share some.
///
/// Pictures are the same when all their pixels are; one that was cut or resized is not found.
///
/// # Errors
/// When one is: the first, and how many more there are.
pub fn check_between(datasets: &[&Header]) -> Result<(), DataError> {
    let all = (0..).zip(datasets).flat_map(|(number, header)| {
        let place = move |id: &str| format!("`{id}` of {}", header.about.name);
        header
            .samples
            .iter()
            .map(move |entry| (entry.pixels, number, place(&entry.id)))
    });
    match parted(all) {
        Some((_, twice)) => Err(DataError::SamePixels { twice }),
        None => Ok(()),
    }
}

/// Finds what stands in two parts: its name, where it was first seen, and where again.
fn parted<K: Ord + Clone>(all: impl Iterator<Item = (K, u32, String)>) -> Option<(K, Twice)> {
    let mut seen: BTreeMap<K, (u32, String)> = BTreeMap::new();
    let mut found: Option<(K, Twice)> = None;
    for (name, part, place) in all {
        match seen.get(&name) {
            None => {
                seen.insert(name, (part, place));
            }
            Some((other, first)) if *other != part => match &mut found {
                Some((_, twice)) => twice.more += 1,
                None => {
                    let twice = Twice {
                        first: first.clone(),
                        second: place,
                        more: 0,
                    };
                    found = Some((name, twice));
                }
            },
            Some(_) => {}
        }
    }
    found
}
