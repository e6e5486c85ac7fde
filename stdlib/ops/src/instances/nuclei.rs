//! `instances.nuclei`: nuclei as objects, from a network's maps or a stain's.

use std::collections::BTreeMap;

use cerb_engine::{Ctx, Facts, Misfit, Needs, OpError, Operator, Origin, Value, ports};
use cerb_image::clumps::{Finder, Found, LARGEST};
use cerb_image::info::{self, Mode};
use cerb_image::tiling::{self, Tile};
use cerb_image::units::{Pixels, SquarePixels};
use cerb_image::{
    ClassName, Instance, Instances, InstancesHeader, InstancesWriter, Maps, Square, nuclei,
};
use cerb_store::{Artifact, Pieces, Stored};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reading::each;

const SHAPES: &str = "Nuclei-INST";
const TYPES: &str = "Nuclei-TYPE";
/// What a part of the work holds: the nuclei of one square.
const PART: &str = "nuclei";

/// Side of what a published patch answers for: the published tiles are whole ones.
const OUTPUT: u32 = 144;

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
/// Each clump of touching nuclei is split as if it lay alone, and a tile that does not see
/// all of a clump looks further, so none is lost or doubled, and `tile` and `margin` decide
/// memory and speed only. A clump longer than 2048 px is split where tiles end, which is
/// noted. When the maps hold types, each nucleus gets the most frequent one.
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
    /// What neighbouring tiles share.
    margin: Pixels,
    /// Whether to go through the slide and choose nuclei as the published code does: four sets of
    /// tiles, and some nuclei at their edges lost.
    reference: bool,
}

impl Default for Nuclei {
    fn default() -> Self {
        Self {
            threshold: 0.5,
            min_area: SquarePixels(8),
            tile: Pixels(4096),
            margin: Pixels(64),
            reference: false,
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
    const REVISION: u32 = 2;
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
        if self.reference && self.tile.0 < OUTPUT {
            return refuse(
                "tile",
                format!("{} px is less than one patch, {OUTPUT} px", self.tile.0),
                "`tile: 4096 px`, as published",
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

    fn needs(&self, _: &Facts) -> Needs {
        // Per tile in flight: both channels, types, and what of them is being split. At once, as
        // published, labels and the queue come to that. A clump may need a window of its own.
        let (side, bytes) = if self.reference {
            (u64::from(self.tile.0), 60)
        } else {
            let side = u64::from(self.tile.0 + 2 * self.margin.0);
            (side.max(2 * u64::from(LARGEST)), 40)
        };
        Needs::all_cores().per_core(bytes * side * side)
    }

    fn run(&self, In { maps }: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let header = maps.header();
        let typed = header.heads.contains_key(TYPES);
        let header = InstancesHeader {
            tissue: "nuclei".into(),
            classes: if typed {
                header.classes_of(TYPES, ClassName::list(&CLASSES))
            } else {
                Vec::new()
            },
            mpp: header.mpp,
            scale: header.scale,
            slide: header.slide.clone(),
        };
        let types = typed.then_some(TYPES);
        if self.reference {
            self.published(&maps, types, header, ctx)
        } else {
            self.seamless(&maps, types, header, ctx)
        }
    }
}

impl Nuclei {
    fn options(&self) -> nuclei::Options {
        nuclei::Options {
            threshold: self.threshold,
            ..nuclei::Options::default()
        }
    }

    /// Splits clump by clump.
    fn seamless(
        &self,
        maps: &Maps,
        types: Option<&str>,
        header: InstancesHeader,
        ctx: &mut Ctx,
    ) -> Result<Out, OpError> {
        let mut all = Instances::writer(ctx.store(), header.clone())?;
        let squares = maps.squares(self.tile.0, self.margin.0);
        let (parts, store) = (ctx.parts().clone(), ctx.store().clone());
        let finder = Finder {
            maps,
            shapes: SHAPES,
            types,
            options: self.options(),
        };
        let work = |square: &Square| {
            let [x0, y0, x1, y1] = square.core.map(i64::from);
            if maps.is_blank(SHAPES, x0, y0, x1, y1)? {
                return Ok(Found::default());
            }
            let [x0, y0, x1, y1] = square.outer.map(i64::from);
            let heads = [Some(SHAPES), types].into_iter().flatten();
            let reads = heads
                .map(|head| maps.fingerprint(head, x0, y0, x1, y1))
                .collect::<Result<Vec<_>, _>>()?;
            let name = format!("square {:?} of {:?}", square.core, square.outer);
            if let Some(pieces) = parts.get(&name, &reads)?
                && let Some(blob) = pieces.get(PART)
            {
                let table = Stored::blob(Instances::KIND, *blob, BTreeMap::new());
                let nuclei = Instances::open(&table, &store)?.iter()?;
                return Ok(Found {
                    nuclei: nuclei.collect::<Result<_, _>>()?,
                    ..Found::default()
                });
            }
            let mut found = finder.find(square)?;
            found
                .nuclei
                .retain(|nucleus| nucleus.area >= self.min_area.0);
            // A part stands for what its window holds; who looked further is done again.
            if !found.looked_further {
                let mut table = Instances::writer(&store, header.clone())?;
                for nucleus in &found.nuclei {
                    table.push(nucleus)?;
                }
                let blob = table.finish()?.store(&store)?.as_blob();
                parts.keep(&name, &reads, Pieces::from([(PART.to_owned(), blob)]))?;
            }
            Ok(found)
        };
        let mut cut = 0;
        each(ctx, &squares, "tile", work, |_, found| {
            cut += found.cut;
            push(&mut all, &found.nuclei)
        })?;
        if cut > 0 {
            ctx.note(format!(
                "foreground longer than {LARGEST} px was split where tiles end, in {cut} places: are these maps of nuclei?"
            ));
        }
        Ok(Out {
            nuclei: all.finish()?,
        })
    }

    /// Splits tile by tile and chooses among the tiles as the published code does.
    ///
    /// The squares across the corners come first, since those in which anything is found take
    /// what lies across their middles from all others; so nothing but their nuclei is held.
    fn published(
        &self,
        maps: &Maps,
        types: Option<&str>,
        header: InstancesHeader,
        ctx: &mut Ctx,
    ) -> Result<Out, OpError> {
        let mut all = Instances::writer(ctx.store(), header)?;
        let size = [maps.header().width, maps.header().height];
        let mut sets = tiling::tile_sets(size, self.tile.0, self.margin.0, OUTPUT);
        let crosses = sets.split_off(sets.len().min(3)).concat();
        let find = |tile: &Tile| {
            let (x, y, width, height) = tile.on_slide(size);
            let (x1, y1) = (x + i64::from(width), y + i64::from(height));
            if maps.is_blank(SHAPES, x, y, x1, y1)? {
                return Ok(Vec::new());
            }
            let shapes = maps.window(SHAPES, x, y, width, height)?;
            let labels = nuclei::split(&shapes.channel(0), &shapes.channel(1), &self.options());
            drop(shapes);
            let types = types.map(|head| maps.window(head, x, y, width, height));
            let types = types.transpose()?.map(|types| types.channel(0));
            let published = info::Options {
                mode: Mode::Reference,
                ..info::Options::default()
            };
            Ok::<_, OpError>(info::instances(&labels, types.as_ref(), &published))
        };
        let mut squares: Vec<Tile> = Vec::new();
        let mut theirs: Vec<Instance> = Vec::new();
        let across = |tile: &Tile| Ok((*tile, find(tile)?));
        each(ctx, &crosses, "corner", across, |_, (tile, found)| {
            if !found.is_empty() {
                squares.push(tile);
                theirs.extend(tile.kept(found, &[]));
            }
            Ok(())
        })?;
        for tiles in sets {
            let kept = |tile: &Tile| Ok(tile.kept(find(tile)?, &squares));
            each(ctx, &tiles, "tile", kept, |_, found| push(&mut all, &found))?;
        }
        push(&mut all, &theirs)?;
        Ok(Out {
            nuclei: all.finish()?,
        })
    }
}

fn push(table: &mut InstancesWriter, nuclei: &[Instance]) -> Result<(), OpError> {
    nuclei.iter().try_for_each(|nucleus| table.push(nucleus))?;
    Ok(())
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
            classes: Default::default(),
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
    fn the_published_tiles_are_followed_when_asked_for() {
        let (_dir, store) = store();
        let maps = maps(&store, &discs(), true);
        let seamless = found(&Nuclei::default(), maps.clone(), &store);
        let published = |tile| Nuclei {
            tile: Pixels(tile),
            margin: Pixels(32),
            reference: true,
            ..Nuclei::default()
        };
        let outlines = |nuclei: &[Instance]| -> Vec<_> {
            nuclei.iter().map(|one| one.contour.clone()).collect()
        };
        // One tile holds the slide, and nothing is chosen.
        let single = found(&published(4096), maps.clone(), &store);
        assert_eq!(outlines(&single), outlines(&seamless));
        let tiled = found(&published(144), maps, &store);
        assert!(tiled.len() < seamless.len(), "the published loss is there");
        assert!(10 * tiled.len() > 9 * seamless.len(), "{}", tiled.len());
        assert!(tiled.iter().all(|one| one.class.is_some()));
    }

    #[test]
    fn a_tile_smaller_than_a_patch_cannot_be_the_published_one() {
        let small = Nuclei {
            tile: Pixels(100),
            reference: true,
            ..Nuclei::default()
        };
        let misfit = small.check(&Facts::default()).unwrap_err();
        assert_eq!(misfit.code, "instances::out_of_range");
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

    /// Run with `cargo test --release -p cerb-ops --lib -- --ignored twenty_million`.
    #[test]
    #[ignore = "twenty million nuclei take minutes and gigabytes of disk"]
    fn twenty_million_nuclei_take_bounded_memory() {
        const SIDE: u32 = 36_000;
        let (_dir, store) = store();
        let header = MapsHeader {
            classes: Default::default(),
            width: SIDE,
            height: SIDE,
            tile: 1200,
            ..maps(&store, &[(50, 50, 9)], false).header().clone()
        };
        // A nucleus of 6 × 6 px every 8 px: 4500 × 4500 of them.
        let pixel = |i: u32| {
            let (x, y) = (i % 1200 % 8, i / 1200 % 8);
            let within = |low: u32| (low..8 - low).contains(&x) && (low..8 - low).contains(&y);
            [
                f32::from(u8::from(within(2))),
                f32::from(u8::from(within(1))),
            ]
        };
        let tile: Vec<f32> = (0..1200 * 1200).flat_map(pixel).collect();
        let tile = BTreeMap::from([(SHAPES.to_owned(), tile)]);
        let writer = Maps::writer(&store, header).unwrap();
        for i in 0..900 {
            writer.put_tile(i / 30, i % 30, &tile).unwrap();
        }
        let input = In {
            maps: writer.finish().unwrap(),
        };
        let found = Nuclei::default().run(input, &mut Ctx::detached(&store));
        assert_eq!(found.unwrap().nuclei.count(), 20_250_000);
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak
            .and_then(|peak| peak.trim().strip_suffix(" kB"))
            .unwrap();
        let peak = peak.trim().parse::<u64>().unwrap() << 10;
        println!("peak: {} MiB", peak >> 20);
        // What a tile takes, and what two of them found.
        assert!(peak < 3 << 29, "{peak}");
    }
}
