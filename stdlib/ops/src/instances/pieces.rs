//! What `instances.glands` and `instances.lumina` share: pieces found tile by tile, joined, grown and
//! described at half the resolution of the maps.

use cerb_engine::{Ctx, Facts, Misfit, Needs, OpError, Origin, Value};
use cerb_image::glands::Options;
use cerb_image::pieces::{self, Ballot, Part, Shapes};
use cerb_image::runs::Run;
use cerb_image::units::{Pixels, SquarePixels};
use cerb_image::{Instance, InstancesHeader, InstancesWriter, Maps, Mask, Square, Window};
use cerb_store::{Digest, Pieces};

use crate::reading::{self, Under, each, same_slide};

/// What a part of the work holds: the runs of one tile.
const PART: &str = "runs";
/// Pieces that are grown or described as one unit of work.
const AT_ONCE: usize = 64;

/// What decides which pieces count, in pixels of the maps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) threshold: f64,
    pub(super) min_area: SquarePixels,
    pub(super) grow: Pixels,
    pub(super) tile: Pixels,
}

impl Numbers {
    /// Refuses what makes no sense, and states what is known of the output.
    pub(super) fn check(
        &self,
        inputs: &Facts,
        output: &str,
        heads: &[&str],
        halved: bool,
    ) -> Result<Facts, Misfit> {
        let refuse = |param: &str, label: String, help: &str| {
            Err(Misfit {
                code: "instances::out_of_range",
                title: format!("{output} cannot be separated like that"),
                labels: vec![(Origin::Param(param.into()), label)],
                help: Some(help.to_owned()),
            })
        };
        if !(64..=16_384).contains(&self.tile.0) {
            let label = format!("{} px is not between 64 and 16384 px", self.tile.0);
            return refuse("tile", label, "`tile: 4096 px`");
        }
        if self.grow.0 > 200 {
            let label = format!("{} px is more than 200 px", self.grow.0);
            return refuse("grow", label, "`grow: 10 px`");
        }
        let origin = |fact: &str| Origin::Input {
            port: "maps".into(),
            fact: fact.into(),
        };
        if let Some(Value::List(known)) = inputs.get("maps", "heads").map(|fact| &fact.value)
            && let Some(head) = heads
                .iter()
                .find(|head| !known.iter().any(|one| one.text() == Some(head)))
        {
            return Err(Misfit {
                code: "model::missing_head",
                title: format!("the maps have no head `{head}`"),
                labels: vec![(origin("heads"), "made without it".into())],
                help: Some(format!("ask for it: `heads: [\"{head}\"]`")),
            });
        }
        let mut facts = Facts::default();
        if let Some(Value::Quantity(mpp, unit)) = inputs.get("maps", "mpp").map(|fact| &fact.value)
        {
            let mpp = if halved { 2.0 * mpp } else { *mpp };
            facts.set(output, "mpp", Value::Quantity(mpp, *unit), origin("mpp"));
        }
        Ok(facts)
    }

    /// Refuses numbers that are not the published ones.
    pub(super) fn as_published(&self, published: &Numbers, output: &str) -> Result<(), Misfit> {
        let (area, grow) = (published.min_area.0, published.grow.0);
        let differs = [
            (
                self.threshold != published.threshold,
                "threshold",
                format!("`threshold: {}`", published.threshold),
            ),
            (
                self.min_area != published.min_area,
                "min_area",
                format!("`min_area: {area} px2`"),
            ),
            (
                self.grow != published.grow,
                "grow",
                format!("`grow: {grow} px`"),
            ),
        ];
        match differs.into_iter().find(|(differs, ..)| *differs) {
            Some((_, param, help)) => Err(Misfit {
                code: "instances::out_of_range",
                title: format!("{output} as published take the published numbers"),
                labels: vec![(
                    Origin::Param(param.into()),
                    "not the published one, and `reference` is true".into(),
                )],
                help: Some(format!("{help}, or leave out `reference`")),
            }),
            None => Ok(()),
        }
    }

    /// Says what the work takes, beside the outlines of what is found.
    pub(super) fn needs(&self) -> Needs {
        // Per tile in flight: two channels of four bytes, and runs.
        let side = u64::from(self.tile.0);
        Needs::all_cores()
            .per_core(12 * side * side)
            .memory(256 << 20)
    }

    /// Returns the numbers at half the resolution.
    fn options(&self) -> Options {
        Options {
            threshold: self.threshold,
            min_area: self.min_area.0 / 4,
            grow: self.grow.0 as usize / 2,
        }
    }
}

/// Returns what the objects share: they are in pixels of half the maps' resolution, as published
/// (`reference`) in pixels of the maps.
pub(super) fn header(maps: &Maps, tissue: &str, reference: bool) -> InstancesHeader {
    let maps = maps.header();
    let factor = if reference { 1.0 } else { 2.0 };
    InstancesHeader {
        tissue: tissue.into(),
        classes: Vec::new(),
        mpp: factor * maps.mpp,
        scale: maps.scale.map(|scale| factor * scale),
        slide: maps.slide.clone(),
    }
}

/// Refuses a mask of another slide, and maps without the channels that are read.
pub(super) fn fitting(
    maps: &Maps,
    mask: Option<&Mask>,
    heads: &[(&str, u32)],
) -> Result<(), OpError> {
    let header = maps.header();
    same_slide(mask, [header.slide.width, header.slide.height])?;
    for (head, channels) in heads {
        let found = header.heads.get(*head).copied().unwrap_or(0);
        if found != *channels {
            return Err(OpError::Input(format!(
                "head `{head}` of the maps has {found} channels, not {channels}"
            )));
        }
    }
    Ok(())
}

/// The pieces of one tissue on one slide.
pub(super) struct Search<'a> {
    pub(super) maps: &'a Maps,
    pub(super) mask: Option<&'a Mask>,
    pub(super) head: &'static str,
    pub(super) numbers: Numbers,
}

impl Search<'_> {
    /// Lists the tiles, and what of the halved slide each answers for.
    fn tiles(&self) -> Vec<(Square, Part)> {
        let header = self.maps.header();
        let half = |square: Square| {
            let part = pieces::halved(square.core, header.width, header.height);
            (square, part)
        };
        // Tiles begin at even pixels, so that no block lies in two of them.
        let tile = self.numbers.tile.0 & !1;
        self.maps.squares(tile, 0).into_iter().map(half).collect()
    }

    /// Says whether nothing of a tile lies on the mask.
    fn off_mask(&self, square: &Square) -> bool {
        let [x, y, x1, y1] = square.core;
        let (width, height) = (x1 - x, y1 - y);
        let under = Under::new(self.mask, self.maps.header().scale);
        !under.any(reading::Part {
            x,
            y,
            width,
            height,
        })
    }

    /// Reads a tile of a head; what lies off the mask is zero.
    fn read(&self, head: &str, square: &Square) -> Result<Window, OpError> {
        let mut window = self.maps.read_square(head, square)?;
        if let Some(mask) = self.mask {
            mask.clear_outside(&mut window, self.maps.header().scale);
        }
        Ok(window)
    }

    /// Finds the shapes, grown and laid over one another.
    pub(super) fn shapes(&self, ctx: &mut Ctx) -> Result<Shapes, OpError> {
        let options = self.numbers.options();
        let (parts, store) = (ctx.parts().clone(), ctx.store().clone());
        let mask = match self.mask {
            Some(mask) => Some(Digest::of(&mask.to_png()?)),
            None => None,
        };
        let foreground = |(square, part): &(Square, Part)| {
            let [x0, y0, x1, y1] = square.core.map(i64::from);
            if self.off_mask(square) || self.maps.is_blank(self.head, x0, y0, x1, y1)? {
                return Ok(Vec::new());
            }
            let mut reads = vec![self.maps.fingerprint(self.head, x0, y0, x1, y1)?];
            reads.extend(mask);
            let name = format!("tile {:?}", square.core);
            if let Some(pieces) = parts.get(&name, &reads)?
                && let Some(blob) = pieces.get(PART)
            {
                return Ok(pieces::from_bytes(&store.read_blob(&blob.digest)?)?);
            }
            let window = self.read(self.head, square)?;
            let runs = pieces::foreground(&window, *part, &options);
            let blob = store.put_bytes(&pieces::to_bytes(&runs)?)?;
            parts.keep(&name, &reads, Pieces::from([(PART.to_owned(), blob)]))?;
            Ok(runs)
        };
        let mut found: Vec<Run> = Vec::new();
        each(ctx, &self.tiles(), "tile", foreground, |_, runs| {
            found.extend(runs);
            Ok(())
        })?;
        let pieces = pieces::join(found, options.min_area);
        let header = self.maps.header();
        let (width, height) = (pieces::half(header.width), pieces::half(header.height));
        let chunks: Vec<&[Vec<Run>]> = pieces.chunks(AT_ONCE).collect();
        let grow = |chunk: &&[Vec<Run>]| {
            let grow = |piece: &Vec<Run>| pieces::grow(piece, options.grow, width, height);
            Ok(chunk.iter().map(grow).collect::<Vec<_>>())
        };
        let mut grown = Vec::with_capacity(pieces.len());
        each(ctx, &chunks, "piece", grow, |_, chunk| {
            grown.extend(chunk);
            Ok(())
        })?;
        drop(pieces);
        Ok(Shapes::layered(grown))
    }

    /// Has the pixels of each shape vote for its type.
    pub(super) fn votes(
        &self,
        head: &str,
        shapes: &Shapes,
        ctx: &mut Ctx,
    ) -> Result<Ballot, OpError> {
        let mut tiles = self.tiles();
        tiles.retain(|(_, part)| shapes.any_in(*part));
        let mut ballot = Ballot::default();
        let vote =
            |(square, part): &(Square, Part)| Ok(shapes.votes(*part, &self.read(head, square)?));
        each(ctx, &tiles, "tile", vote, |_, votes| {
            ballot.add(&votes);
            Ok(())
        })?;
        Ok(ballot)
    }
}

/// Describes the shapes and writes them in the order of their labels; those of which nothing is left, or
/// that have no outline, are counted as left out.
pub(super) fn write(
    shapes: &Shapes,
    ballot: Option<&Ballot>,
    found: &mut InstancesWriter,
    ctx: &mut Ctx,
) -> Result<(), OpError> {
    let shapes: Vec<(u32, Vec<Run>)> = (1..).zip(shapes.by_label()).collect();
    let chunks: Vec<&[(u32, Vec<Run>)]> = shapes.chunks(AT_ONCE).collect();
    let describe = |chunk: &&[(u32, Vec<Run>)]| {
        let describe = |(id, shape): &(u32, Vec<Run>)| {
            let info = pieces::describe(*id, shape)?;
            let (class, prob) = ballot.and_then(|ballot| ballot.outcome(*id)).unzip();
            Some(Instance::from(cerb_image::info::Info {
                class,
                prob,
                ..info
            }))
        };
        Ok(chunk.iter().map(describe).collect::<Vec<_>>())
    };
    each(ctx, &chunks, "piece", describe, |_, chunk| {
        for object in chunk {
            match object {
                Some(object) => found.push(&object)?,
                None => found.note_dropped(1),
            }
        }
        Ok(())
    })
}

#[cfg(test)]
pub(crate) mod painted {
    use super::*;
    use cerb_image::{MapsHeader, MaskGeometry, SlideFrame};
    use cerb_store::Store;
    use std::collections::BTreeMap;

    pub(in crate::instances) const WIDTH: u32 = 701;
    pub(in crate::instances) const HEIGHT: u32 = 503;

    fn frame() -> SlideFrame {
        SlideFrame {
            width: u64::from(2 * WIDTH),
            height: u64::from(2 * HEIGHT),
            digest: Digest::of(b"slide"),
            mpp: 0.25,
        }
    }

    /// A disc: centre, radius, type.
    pub(crate) type Disc = (i32, i32, i32, f32);

    /// Returns maps of glands with types and of lumina, as discs.
    pub(crate) fn maps(store: &Store, glands: &[Disc], lumina: &[Disc]) -> Maps {
        let tile = 128;
        let header = MapsHeader {
            classes: Default::default(),
            mpp: 0.5,
            scale: [2.0, 2.0],
            width: WIDTH,
            height: HEIGHT,
            tile,
            heads: BTreeMap::from([
                ("Gland-INST".to_owned(), 2),
                ("Gland-TYPE".to_owned(), 1),
                ("Lumen-INST".to_owned(), 2),
            ]),
            slide: frame(),
        };
        let writer = Maps::writer(store, header).unwrap();
        let paint = |discs: &[Disc], x: u32, y: u32| {
            let far = |&(cx, cy, r, class): &Disc| {
                let (dx, dy) = (x as i32 - cx, y as i32 - cy);
                (r as f32 - ((dx * dx + dy * dy) as f32).sqrt(), class)
            };
            let deepest = discs.iter().map(far).max_by(|a, b| a.0.total_cmp(&b.0));
            let (depth, class) = deepest.unwrap_or((-1.0, 0.0));
            let rim = if (0.0..3.0).contains(&depth) {
                0.8
            } else {
                0.1
            };
            if depth > 0.0 {
                ([0.9, rim], class)
            } else {
                ([0.0, 0.0], 0.0)
            }
        };
        for row in 0..HEIGHT.div_ceil(tile) {
            for col in 0..WIDTH.div_ceil(tile) {
                let mut heads: BTreeMap<String, Vec<f32>> = BTreeMap::new();
                for y in row * tile..(row + 1) * tile {
                    for x in col * tile..(col + 1) * tile {
                        let mut put = |head: &str, values: &[f32]| {
                            heads.entry(head.to_owned()).or_default().extend(values);
                        };
                        let (shape, class) = paint(glands, x, y);
                        put("Gland-INST", &shape);
                        put("Gland-TYPE", &[class]);
                        put("Lumen-INST", &paint(lumina, x, y).0);
                    }
                }
                writer.put_tile(row, col, &heads).unwrap();
            }
        }
        writer.finish().unwrap()
    }

    /// Returns a mask of two parts, a box each.
    pub(in crate::instances) fn mask() -> Mask {
        let geometry = MaskGeometry {
            mpp: 4.0,
            scale: [16.0, 16.0],
            slide: [frame().width, frame().height],
        };
        let mut mask = Mask::new(88, 63, geometry);
        for (x0, y0, x1, y1) in [(2, 3, 40, 60), (45, 1, 85, 50)] {
            for y in y0..y1 {
                (x0..x1).for_each(|x| mask.set(x, y, true));
            }
        }
        mask
    }

    /// Returns discs all over the maps, some of which touch.
    pub(in crate::instances) fn discs() -> Vec<Disc> {
        let disc = |i: i32| {
            let (x, y) = (20 + (i * 97) % 660, 20 + (i * 61) % 470);
            (x, y, 22 + i % 19, (1 + i % 2) as f32)
        };
        (0..40).map(disc).collect()
    }

    pub(in crate::instances) fn read(found: &cerb_image::Instances) -> Vec<Instance> {
        found.iter().unwrap().map(Result::unwrap).collect()
    }
}
