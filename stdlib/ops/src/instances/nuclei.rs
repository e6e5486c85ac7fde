//! `instances.nuclei`: nuclei as objects, from a network's maps or a stain's.

use std::collections::BTreeMap;

use cerb_engine::{Ctx, Facts, Misfit, Needs, OpError, Operator, Origin, Value, ports};
use cerb_image::units::{Pixels, SquarePixels};
use cerb_image::{ClassName, Instance, Instances, InstancesHeader, Maps, Square, info, nuclei};
use cerb_store::{Artifact, Pieces, Stored};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reading::each;

const SHAPES: &str = "Nuclei-INST";
const TYPES: &str = "Nuclei-TYPE";
/// What a part of the work holds: the nuclei of one square.
const PART: &str = "nuclei";

/// Names of the published nuclear classes, which are those of CoNIC
/// (Graham et al., Medical Image Analysis 92, 2024), in its order, and colours of ours.
const CLASSES: [(u32, &str, [u8; 3]); 6] = [
    (1, "neutrophil", [255, 165, 0]),
    (2, "epithelial", [0, 200, 0]),
    (3, "lymphocyte", [220, 30, 30]),
    (4, "plasma", [30, 160, 220]),
    (5, "eosinophil", [170, 60, 200]),
    (6, "connective", [30, 60, 220]),
];

/// Splits touching nuclei with a marker-controlled watershed, tile by tile.
///
/// Each tile sees a margin of its neighbours, and a nucleus belongs to the tile that
/// holds its centroid, so none is lost or doubled as long as the margin is wider than a
/// nucleus. When the maps hold types, each nucleus gets the most frequent one.
///
/// ```cerb
/// let nuclei = instances.nuclei(maps, min_area: 8 px2)
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Nuclei {
    /// Probability above which a pixel is nucleus, or the inside of one.
    #[schemars(range(min = 0.0, max = 1.0))]
    threshold: f64,
    /// Smallest nucleus kept, in pixels of the maps.
    min_area: SquarePixels,
    /// Side of the square worked on at once.
    tile: Pixels,
    /// What neighbouring tiles share; wider than any nucleus.
    margin: Pixels,
}

impl Default for Nuclei {
    fn default() -> Self {
        Self {
            threshold: 0.5,
            min_area: SquarePixels(8),
            tile: Pixels(4096),
            margin: Pixels(64),
        }
    }
}

ports! {
    pub struct In {
        /// Channels inner and contour of the nuclei (`Nuclei-INST`), and their types if known (`Nuclei-TYPE`).
        maps: Maps,
    }
    pub struct Out {
        /// Outline, centroid and type of each nucleus, in pixels of the maps.
        nuclei: Instances,
    }
}

impl Operator for Nuclei {
    const NAME: &'static str = "instances.nuclei";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn check(&self, inputs: &Facts) -> Result<Facts, Misfit> {
        let refuse = |param: &str, label: String, help: &str| {
            Err(Misfit {
                code: "instances::out_of_range",
                title: "nuclei cannot be split like that".into(),
                labels: vec![(Origin::Param(param.into()), label)],
                help: Some(help.to_owned()),
            })
        };
        if !(64..=16_384).contains(&self.tile.0) {
            return refuse(
                "tile",
                format!("{} px is not between 64 and 16384 px", self.tile.0),
                "`tile: 4096 px`",
            );
        }
        if !(16..=1024).contains(&self.margin.0) {
            return refuse(
                "margin",
                format!("{} px is not between 16 and 1024 px", self.margin.0),
                "`margin: 64 px`",
            );
        }
        if let Some(Value::List(heads)) = inputs.get("maps", "heads").map(|fact| &fact.value)
            && !heads.iter().any(|head| head.text() == Some(SHAPES))
        {
            return Err(Misfit {
                code: "model::missing_head",
                title: format!("the maps have no head `{SHAPES}`"),
                labels: vec![(
                    Origin::Input {
                        port: "maps".into(),
                        fact: "heads".into(),
                    },
                    "made without it".into(),
                )],
                help: Some(format!("ask for it: `heads: [\"{SHAPES}\"]`")),
            });
        }
        let mut facts = Facts::default();
        if let Some(mpp) = inputs.get("maps", "mpp") {
            let origin = Origin::Input {
                port: "maps".into(),
                fact: "mpp".into(),
            };
            facts.set("nuclei", "mpp", mpp.value.clone(), origin);
        }
        Ok(facts)
    }

    fn needs(&self) -> Needs {
        // Per tile in flight: both channels, the window, labels and queue, about 60 bytes a pixel.
        let side = u64::from(self.tile.0 + 2 * self.margin.0);
        Needs::all_cores().per_core(60 * side * side)
    }

    fn run(&self, In { maps }: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let header = maps.header();
        let typed = header.heads.contains_key(TYPES);
        let header = InstancesHeader {
            tissue: "nuclei".into(),
            classes: if typed { classes() } else { Vec::new() },
            mpp: header.mpp,
            scale: header.scale,
            slide: header.slide.clone(),
        };
        let mut found = Instances::writer(ctx.store(), header.clone())?;
        let squares = maps.squares(self.tile.0, self.margin.0);
        let (parts, store) = (ctx.parts().clone(), ctx.store().clone());
        let work = |square: &Square| {
            let [x0, y0, x1, y1] = square.core.map(i64::from);
            if maps.is_blank(SHAPES, x0, y0, x1, y1)? {
                return Ok(Vec::new());
            }
            let [x0, y0, x1, y1] = square.outer.map(i64::from);
            let mut reads = vec![maps.fingerprint(SHAPES, x0, y0, x1, y1)?];
            if typed {
                reads.push(maps.fingerprint(TYPES, x0, y0, x1, y1)?);
            }
            let name = format!("square {:?} of {:?}", square.core, square.outer);
            if let Some(pieces) = parts.get(&name, &reads)?
                && let Some(blob) = pieces.get(PART)
            {
                let table = Stored::blob(Instances::KIND, *blob, BTreeMap::new());
                let nuclei = Instances::open(&table, &store)?;
                return Ok(nuclei.iter()?.collect::<Result<Vec<_>, _>>()?);
            }
            let nuclei = self.split(&maps, square, typed)?;
            let mut table = Instances::writer(&store, header.clone())?;
            for nucleus in &nuclei {
                table.push(nucleus)?;
            }
            let blob = table.finish()?.store(&store)?.as_blob();
            parts.keep(&name, &reads, Pieces::from([(PART.to_owned(), blob)]))?;
            Ok(nuclei)
        };
        each(ctx, &squares, "tile", work, |_, nuclei| {
            nuclei
                .iter()
                .try_for_each(|nucleus| found.push(nucleus))
                .map_err(OpError::from)
        })?;
        Ok(Out {
            nuclei: found.finish()?,
        })
    }
}

impl Nuclei {
    /// Returns the nuclei whose centroid lies in the square's core.
    fn split(&self, maps: &Maps, square: &Square, typed: bool) -> Result<Vec<Instance>, OpError> {
        let window = maps.read_square(SHAPES, square)?;
        let options = nuclei::Options {
            threshold: self.threshold,
            ..nuclei::Options::default()
        };
        let labels = nuclei::split(&window.channel(0), &window.channel(1), &options);
        let types = if typed {
            Some(maps.read_square(TYPES, square)?.channel(0))
        } else {
            None
        };
        let [x0, y0, x1, y1] = square.core.map(f64::from);
        let owned =
            |[x, y]: [f64; 2]| (x0..x1).contains(&(x + 0.5)) && (y0..y1).contains(&(y + 0.5));
        let shift =
            |v: i64| i32::try_from(v).map_err(|_| OpError::Input("the slide is too large".into()));
        let (x, y) = (shift(window.x)?, shift(window.y)?);
        Ok(
            info::instances(&labels, types.as_ref(), &info::Options::default())
                .into_iter()
                .filter(|nucleus| nucleus.area >= self.min_area.0)
                .map(|nucleus| {
                    let nucleus = Instance::from(nucleus).shifted(x, y);
                    Instance {
                        centroid: nucleus.centroid.map(settled),
                        ..nucleus
                    }
                })
                .filter(|nucleus| owned(nucleus.centroid))
                .collect(),
        )
    }
}

/// Rounds to 1/65536 px: two tiles that see the same nucleus from different origins differ in
/// the last bits of its centroid, and must agree on whose it is.
fn settled(value: f64) -> f64 {
    (value * 65_536.0).round() / 65_536.0
}

fn classes() -> Vec<ClassName> {
    CLASSES
        .iter()
        .map(|&(id, name, colour)| ClassName {
            id,
            name: name.into(),
            colour,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::store;
    use cerb_image::{MapsHeader, SlideFrame};
    use cerb_store::{Digest, Store};

    const WIDTH: u32 = 700;
    const HEIGHT: u32 = 500;

    /// Returns maps of many discs, some of which touch, with a type each.
    fn maps(store: &Store, discs: &[(i32, i32, i32)], typed: bool) -> Maps {
        let mut heads = BTreeMap::from([(SHAPES.to_owned(), 2)]);
        if typed {
            heads.insert(TYPES.to_owned(), 1);
        }
        let slide = SlideFrame {
            width: 1400,
            height: 1000,
            digest: Digest::of(b"slide"),
            mpp: 0.25,
        };
        let side = 128;
        let header = MapsHeader {
            mpp: 0.5,
            scale: [2.0, 2.0],
            width: WIDTH,
            height: HEIGHT,
            tile: side,
            heads,
            slide,
        };
        let writer = Maps::writer(store, header).unwrap();
        for row in 0..HEIGHT.div_ceil(side) {
            for col in 0..WIDTH.div_ceil(side) {
                let (mut shapes, mut types) = (Vec::new(), Vec::new());
                for y in 0..side {
                    for x in 0..side {
                        let (gx, gy) = ((col * side + x) as i32, (row * side + y) as i32);
                        let depth = |&(cx, cy, r): &(i32, i32, i32)| {
                            1.0 - (f64::from((gx - cx).pow(2) + (gy - cy).pow(2))).sqrt()
                                / f64::from(r)
                        };
                        let (at, deepest) = discs
                            .iter()
                            .enumerate()
                            .map(|(i, d)| (i, depth(d)))
                            .max_by(|a, b| a.1.total_cmp(&b.1))
                            .unwrap();
                        let inner = if deepest > 0.0 {
                            (0.3 + deepest) as f32
                        } else {
                            0.0
                        };
                        shapes.push(inner.min(1.0));
                        shapes.push(if deepest > 0.0 {
                            (1.0 - inner).max(0.0)
                        } else {
                            0.0
                        });
                        types.push(if deepest > 0.0 {
                            (1 + at % 3) as f32
                        } else {
                            0.0
                        });
                    }
                }
                let mut heads = BTreeMap::from([(SHAPES.to_owned(), shapes)]);
                if typed {
                    heads.insert(TYPES.to_owned(), types);
                }
                writer.put_tile(row, col, &heads).unwrap();
            }
        }
        writer.finish().unwrap()
    }

    fn discs() -> Vec<(i32, i32, i32)> {
        (0..160)
            .map(|i| (10 + (i * 97) % 680, 10 + (i * 61) % 480, 6 + i % 5))
            .collect()
    }

    fn found(operator: &Nuclei, maps: Maps, store: &Store) -> Vec<Instance> {
        let out = operator
            .run(In { maps }, &mut Ctx::detached(store))
            .unwrap();
        let mut all: Vec<Instance> = out.nuclei.iter().unwrap().map(Result::unwrap).collect();
        all.sort_by_key(|nucleus| (nucleus.bbox[1], nucleus.bbox[0], nucleus.area));
        all
    }

    #[test]
    fn no_nucleus_is_lost_or_doubled_whatever_the_tile_size() {
        let (_dir, store) = store();
        let maps = maps(&store, &discs(), false);
        let whole = found(&Nuclei::default(), maps.clone(), &store);
        assert!(whole.len() > 50, "{}", whole.len());
        for tile in [64, 100, 128, 333] {
            let operator = Nuclei {
                tile: Pixels(tile),
                ..Nuclei::default()
            };
            assert!(
                found(&operator, maps.clone(), &store) == whole,
                "tile {tile}"
            );
        }
    }

    #[test]
    fn types_are_the_most_frequent_ones() {
        let (_dir, store) = store();
        let maps = maps(&store, &[(50, 50, 9), (200, 100, 9), (300, 300, 9)], true);
        let nuclei = found(&Nuclei::default(), maps, &store);
        let classes: Vec<_> = nuclei.iter().map(|nucleus| nucleus.class).collect();
        assert_eq!(classes, [Some(1), Some(2), Some(3)]);
        assert!(nuclei.iter().all(|nucleus| nucleus.prob.unwrap() > 0.99));
    }

    #[test]
    fn small_ones_are_left_out() {
        let (_dir, store) = store();
        let maps = maps(&store, &[(50, 50, 9), (200, 100, 5)], false);
        let large = Nuclei {
            min_area: SquarePixels(100),
            ..Nuclei::default()
        };
        assert_eq!(found(&Nuclei::default(), maps.clone(), &store).len(), 2);
        assert_eq!(found(&large, maps, &store).len(), 1);
    }

    #[test]
    fn maps_without_nuclei_are_refused_when_planning() {
        let mut facts = Facts::default();
        facts.set(
            "maps",
            "heads",
            Value::List(vec![Value::Str("Gland-INST".into())]),
            Origin::Call,
        );
        assert_eq!(
            Nuclei::default().check(&facts).unwrap_err().code,
            "model::missing_head"
        );
    }
}
