//! Goldens of `Instances`: a line of JSON for what they share, then one for each object.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use cerb_engine::{Golden, OpError, Tolerance};
use cerb_image::{Instance, Instances, InstancesHeader};
use cerb_store::{Artifact, Store, Stored};
use geo::MultiPolygon;
use serde::{Deserialize, Serialize};

use super::golden::{Bounds, polygon};
use super::outlines::{pairs, summed};
use crate::export::outline::Outline;

/// Least share of matched objects whose class agrees; the tier "objects".
const CLASSES: f64 = 0.998;
/// Most that centres of matched objects may lie apart, in the middle, px; the tier "objects".
const CENTRE: f64 = 0.25;

/// Objects: by number, by F1 at an IoU of one half, by class and by centre.
pub(super) struct KeptInstances;

/// The first line.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    kind: String,
    version: u32,
    tissue: String,
    mpp: f64,
    scale: [f64; 2],
    objects: u64,
}

/// One object.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    /// Its outline, x and y in turn.
    outline: Vec<i32>,
    at: [f64; 2],
    class: Option<String>,
}

impl Golden for KeptInstances {
    fn differs(
        &self,
        made: &Stored,
        golden: &Path,
        within: Option<Tolerance>,
        store: &Store,
    ) -> Result<Option<String>, OpError> {
        let bounds = Bounds::of(within)?;
        let (head, kept) = read(golden)?;
        let (new_head, new) = objects(&Instances::open(made, store)?)?;
        let frame = |head: &Head| format!("{} at {} mpp", head.tissue, head.mpp);
        if frame(&head) != frame(&new_head) {
            let (new, kept) = (frame(&new_head), frame(&head));
            return Ok(Some(format!("these are {new}, and {kept} were kept")));
        }
        let shapes = |all: &[Object]| -> Vec<MultiPolygon> { all.iter().map(shape).collect() };
        let (before, after) = (shapes(&kept), shapes(&new));
        let pairs = pairs(&before, &after);
        if let Some(broken) = bounds.broken(&summed(&before, &after, &pairs)) {
            return Ok(Some(broken));
        }
        let same = pairs
            .iter()
            .filter(|pair| kept[pair.before].class == new[pair.after].class);
        let agree = same.count() as f64 / pairs.len().max(1) as f64;
        let least = if within.is_some() { bounds.f1 } else { CLASSES };
        if !pairs.is_empty() && agree < least {
            return Ok(Some(format!(
                "the class of {:.2} % of matched objects agrees, and {:.2} % must",
                100.0 * agree,
                100.0 * least
            )));
        }
        let mut apart: Vec<f64> = pairs
            .iter()
            .map(|pair| {
                let (one, other) = (kept[pair.before].at, new[pair.after].at);
                (one[0] - other[0]).hypot(one[1] - other[1])
            })
            .collect();
        apart.sort_by(f64::total_cmp);
        // A share says nothing of places.
        Ok(match apart.get(apart.len() / 2) {
            Some(median) if within.is_none() && *median > CENTRE => Some(format!(
                "centres of matched objects lie {median:.3} px apart in the middle, and {CENTRE} px are allowed"
            )),
            _ => None,
        })
    }

    fn keep(&self, made: &Stored, to: &Path, store: &Store) -> Result<(), OpError> {
        let (head, objects) = objects(&Instances::open(made, store)?)?;
        let line = |json: Result<String, serde_json::Error>| {
            json.map_err(|error| OpError::Infrastructure(error.to_string()))
        };
        let mut text = line(serde_json::to_string(&head))?;
        text.push('\n');
        for object in &objects {
            let _ = writeln!(text, "{}", line(serde_json::to_string(object))?);
        }
        Ok(fs::write(to, text)?)
    }
}

/// Reads what was kept.
fn read(golden: &Path) -> Result<(Head, Vec<Object>), OpError> {
    let text = fs::read_to_string(golden)?;
    let fault = |line: usize, why: String| {
        let name = golden.display();
        OpError::Input(format!(
            "`{name}` holds no objects that were kept: line {line}: {why}"
        ))
    };
    let mut lines = text.lines().enumerate();
    let (_, first) = lines
        .next()
        .ok_or_else(|| fault(1, "there is none".to_owned()))?;
    let head: Head = serde_json::from_str(first).map_err(|error| fault(1, error.to_string()))?;
    if (head.kind.as_str(), head.version) != (Instances::KIND, 1) {
        let what = format!("it is version {} of `{}`", head.version, head.kind);
        return Err(fault(1, what));
    }
    let mut objects = Vec::new();
    for (at, line) in lines {
        let object = serde_json::from_str(line);
        objects.push(object.map_err(|error| fault(at + 1, error.to_string()))?);
    }
    if head.objects != objects.len() as u64 {
        let why = format!("{} objects are announced", head.objects);
        return Err(fault(objects.len() + 1, why));
    }
    Ok((head, objects))
}

/// Lays objects out as they are kept: from top to bottom, from left to right.
fn objects(instances: &Instances) -> Result<(Head, Vec<Object>), OpError> {
    let header = instances.header();
    let mut all = instances.iter()?.collect::<Result<Vec<Instance>, _>>()?;
    all.sort_by(|one, other| {
        let place = |one: &Instance| (one.bbox[1], one.bbox[0]);
        (place(one), &one.contour).cmp(&(place(other), &other.contour))
    });
    let head = Head {
        kind: Instances::KIND.to_owned(),
        version: 1,
        tissue: header.tissue.clone(),
        mpp: header.mpp,
        scale: header.scale,
        objects: all.len() as u64,
    };
    let objects = all.into_iter().map(|one| kept(one, header));
    Ok((head, objects.collect()))
}

fn kept(instance: Instance, header: &InstancesHeader) -> Object {
    let class = instance.class.map(|id| match header.class(id) {
        Some(class) => class.name.clone(),
        None => id.to_string(),
    });
    Object {
        outline: instance.contour.into_iter().flatten().collect(),
        at: instance.centroid,
        class,
    }
}

/// The outline of an object, valid; as it stands when nothing with an area is left of it.
fn shape(object: &Object) -> MultiPolygon {
    let points = object.outline.chunks_exact(2).map(|xy| [xy[0], xy[1]]);
    match Outline::in_pixels(points.clone()) {
        Some(outline) => polygon(outline.ring()),
        None => polygon(points.map(|point| point.map(f64::from))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{header, instance, store};

    fn stored(store: &Store, all: &[Instance]) -> Stored {
        let mut writer = Instances::writer(store, header()).unwrap();
        for one in all {
            writer.push(one).unwrap();
        }
        writer.finish().unwrap().store(store).unwrap()
    }

    /// What a golden of 400 objects says of others.
    fn said(
        change: impl Fn(usize, Instance) -> Option<Instance>,
        within: Option<Tolerance>,
    ) -> Option<String> {
        let (dir, store) = store();
        let all: Vec<Instance> = (0..400).map(instance).collect();
        let golden = dir.path().join("nuclei.jsonl");
        KeptInstances
            .keep(&stored(&store, &all), &golden, &store)
            .unwrap();
        let changed = all.into_iter().enumerate();
        let changed: Vec<Instance> = changed
            .filter_map(|(i, one)| change(i, one))
            .rev()
            .collect();
        let made = stored(&store, &changed);
        KeptInstances
            .differs(&made, &golden, within, &store)
            .unwrap()
    }

    #[test]
    fn the_same_objects_in_another_order_agree() {
        assert_eq!(said(|_, one| Some(one), None), None);
    }

    #[test]
    fn a_number_of_objects_has_a_bound() {
        assert_eq!(said(|i, one| (i > 1).then_some(one), None), None);
        let words = said(|i, one| (i > 2).then_some(one), None).unwrap();
        assert!(
            words.starts_with("397 objects, 3 fewer than the 400 that were kept, and 2 may differ"),
            "{words}"
        );
        assert_eq!(
            said(
                |i, one| (i > 2).then_some(one),
                Some(Tolerance::Share(0.01))
            ),
            None
        );
    }

    #[test]
    fn objects_elsewhere_are_others() {
        let words = said(
            |i, one| Some(if i < 4 { one.shifted(3, 0) } else { one }),
            None,
        )
        .unwrap();
        assert!(
            words.starts_with("F1 at IoU 0.5 is 0.9900, 0.0050 below 0.9950"),
            "{words}"
        );
    }

    #[test]
    fn classes_and_centres_have_bounds_of_their_own() {
        let other = |i: usize, mut one: Instance| {
            if i == 0 {
                one.class = None;
            }
            Some(one)
        };
        let words = said(other, None).unwrap();
        assert!(
            words.contains("the class of 99.75 % of matched objects agrees"),
            "{words}"
        );
        let moved = |_: usize, mut one: Instance| {
            one.centroid[0] += 0.5;
            Some(one)
        };
        let words = said(moved, None).unwrap();
        assert!(words.contains("lie 0.500 px apart"), "{words}");
        assert_eq!(said(moved, Some(Tolerance::Share(0.01))), None);
    }

    #[test]
    fn a_file_that_is_no_golden_is_refused() {
        let (dir, store) = store();
        let made = stored(&store, &[instance(0)]);
        let golden = dir.path().join("nuclei.jsonl");
        for text in [
            "",
            "{}",
            "{\"kind\":\"Instances\",\"version\":2,\"tissue\":\"n\",\"mpp\":1,\"scale\":[1,1],\"objects\":0}",
        ] {
            fs::write(&golden, text).unwrap();
            assert!(
                KeptInstances.differs(&made, &golden, None, &store).is_err(),
                "{text}"
            );
        }
    }
}
