//! `instances.lumina`: the lumina of glands as objects, from a network's maps.

use cerb_engine::{Ctx, Facts, Misfit, Needs, OpError, Operator, ports};
use cerb_image::units::{Pixels, SquarePixels};
use cerb_image::{Instances, InstancesHeader, Maps, Mask, pieces, runs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::glands;
use super::pieces::{Numbers, Search, fitting, header, write};
use super::published;

const SHAPES: &str = "Lumen-INST";

/// Separates the lumina of glands: as `instances.glands` does, and only what lies inside a gland.
///
/// A lumen that glands cut into several parts stays one object, outlined by its largest part.
///
/// ```cerb
/// let lumina = instances.lumina(maps, mask, inside: instances.glands(maps, mask))
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Lumina {
    /// Probability of the inside, less one on the rim, above which a pixel is lumen.
    #[schemars(range(min = 0.0, max = 1.0))]
    threshold: f64,
    /// Smallest piece kept, before it grows and is cut, in pixels of the maps.
    min_area: SquarePixels,
    /// Side of the ellipse that each piece grows by, in pixels of the maps; it is halved with them, and rounded down.
    grow: Pixels,
    /// Side of the square worked on at once, in pixels of the maps.
    tile: Pixels,
    /// Works as the published program, slips included: one region of the mask at a time, with the
    /// published numbers. It cuts by the very pixels of the glands, finds them again in the same maps,
    /// and refuses other glands than those.
    reference: bool,
}

impl Default for Lumina {
    fn default() -> Self {
        Self {
            threshold: 0.5,
            min_area: SquarePixels(150),
            grow: Pixels(2),
            tile: Pixels(4096),
            reference: false,
        }
    }
}

ports! {
    pub struct In {
        /// Channels inner and contour of the lumina (`Lumen-INST`).
        maps: Maps,
        /// Where to look; everywhere without it.
        mask: Option<Mask>,
        /// The glands that lumina lie in: of a lumen, what lies in an outline or on it is kept.
        inside: Instances,
    }
    pub struct Out {
        /// Outline and centroid of each lumen, in pixels of half the maps' resolution.
        lumina: Instances,
    }
}

impl Operator for Lumina {
    const NAME: &'static str = "instances.lumina";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn check(&self, inputs: &Facts) -> Result<Facts, Misfit> {
        let heads: &[&str] = match self.reference {
            true => &[SHAPES, glands::SHAPES],
            false => &[SHAPES],
        };
        let facts = self
            .numbers()
            .check(inputs, "lumina", heads, !self.reference)?;
        if self.reference {
            let published = Self::default().numbers();
            self.numbers().as_published(&published, "lumina")?;
        }
        Ok(facts)
    }

    fn needs(&self, _: &Facts) -> Needs {
        if self.reference {
            Needs::one_core()
        } else {
            self.numbers().needs()
        }
    }

    fn run(&self, In { maps, mask, inside }: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let mut heads = vec![(SHAPES, 2)];
        heads.extend(self.reference.then_some((glands::SHAPES, 2)));
        fitting(&maps, mask.as_ref(), &heads)?;
        if inside.header().slide.digest != maps.header().slide.digest {
            return Err(OpError::Input(
                "the glands are of another slide than the maps".into(),
            ));
        }
        let header = header(&maps, "lumina", self.reference);
        let mut found = Instances::writer(ctx.store(), header.clone())?;
        if self.reference {
            as_published(&maps, mask.as_ref(), &inside, ctx, |lumen| {
                found.push(lumen)
            })?;
        } else {
            let search = Search {
                maps: &maps,
                mask: mask.as_ref(),
                head: SHAPES,
                numbers: self.numbers(),
            };
            let shapes = search.shapes(ctx)?;
            write(
                &shapes.within(&covered(&inside, &header, &maps)?),
                None,
                &mut found,
                ctx,
            )?;
        }
        Ok(Out {
            lumina: found.finish()?,
        })
    }
}

impl Lumina {
    fn numbers(&self) -> Numbers {
        Numbers {
            threshold: self.threshold,
            min_area: self.min_area,
            grow: self.grow,
            tile: self.tile,
        }
    }
}

/// Returns the pixels that lie in the outlines of objects, or on them, in pixels of `header`.
fn covered(
    objects: &Instances,
    header: &InstancesHeader,
    maps: &Maps,
) -> Result<Vec<runs::Run>, OpError> {
    let own = objects.header();
    let width = pieces::half(maps.header().width);
    let height = pieces::half(maps.header().height);
    let mut covered = Vec::new();
    for object in objects.iter()? {
        let place = |point: &[i32; 2]| {
            if own.scale == header.scale {
                return point.map(f64::from);
            }
            let [x, y] = own.to_level0(point.map(f64::from));
            [x / header.scale[0] - 0.5, y / header.scale[1] - 0.5]
        };
        let outline: Vec<[f64; 2]> = object?.contour.iter().map(place).collect();
        covered.extend(runs::filled(&outline, width, height));
    }
    Ok(pieces::united(covered))
}

/// Finds lumina as published, and the glands once more; `take` is given each lumen.
fn as_published(
    maps: &Maps,
    mask: Option<&Mask>,
    inside: &Instances,
    ctx: &mut Ctx,
    mut take: impl FnMut(&cerb_image::Instance) -> Result<(), cerb_store::StoreError>,
) -> Result<(), OpError> {
    let others = || {
        OpError::Input(
            "the glands are not those that the published program finds in these maps; \
             make them with `instances.glands(maps, mask, reference: true)`"
                .into(),
        )
    };
    let mut given = inside.iter()?;
    published::each_region(maps, mask, ctx, |region| {
        let (glands, labels) = published::glands(region, maps, glands::SHAPES, None)?;
        for gland in &glands {
            let given = given.next().transpose()?.ok_or_else(others)?;
            if (&given.contour, given.bbox) != (&gland.contour, gland.bbox) {
                return Err(others());
            }
        }
        let lumina = published::lumina(region, maps, SHAPES, &labels)?;
        lumina.iter().try_for_each(&mut take)?;
        Ok(())
    })?;
    match given.next() {
        None => Ok(()),
        Some(_) => Err(others()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::pieces::painted::{Disc, discs, maps, mask, read};
    use super::*;
    use crate::instances::glands::{Glands, In as GlandsIn};
    use crate::testing::{resumed, store};

    fn operator(reference: bool) -> Lumina {
        Lumina {
            reference,
            ..Lumina::default()
        }
    }

    fn glands(
        reference: bool,
        maps: &Maps,
        mask: Option<Mask>,
        store: &cerb_store::Store,
    ) -> Instances {
        let glands: Glands =
            serde_json::from_value(serde_json::json!({ "reference": reference })).unwrap();
        let maps = maps.clone();
        let out = glands.run(GlandsIn { maps, mask }, &mut Ctx::detached(store));
        out.unwrap().glands
    }

    #[test]
    fn a_lumen_is_cut_by_its_gland_and_one_without_is_left_out() {
        let (_dir, store) = store();
        let lumina = [
            (200, 200, 20, 0.0),
            (262, 200, 20, 0.0),
            (500, 400, 20, 0.0),
        ];
        let maps = maps(&store, &[(200, 200, 60, 1.0)], &lumina);
        for reference in [false, true] {
            let inside = glands(reference, &maps, None, &store);
            let input = In {
                maps: maps.clone(),
                mask: None,
                inside,
            };
            let out = operator(reference).run(input, &mut Ctx::detached(&store));
            let table = out.unwrap().lumina;
            let found = read(&table);
            assert_eq!(found.len(), 2);
            assert!(2 * found[1].area < found[0].area, "half of it lies outside");
            let um2 = found[0].area as f64 * table.header().mpp.powi(2);
            assert!((200.0..320.0).contains(&um2), "{um2} µm²");
            assert_eq!(table.dropped(), u64::from(!reference));
        }
    }

    /// Returns maps of glands and of lumina that lie across their edges.
    fn maps_of_both(store: &cerb_store::Store) -> Maps {
        let across = |&(x, y, r, _): &Disc| (x + 9, y, r - 9, 0.0);
        let lumina: Vec<Disc> = discs().iter().map(across).collect();
        maps(store, &discs(), &lumina)
    }

    #[test]
    fn one_that_was_interrupted_goes_on_and_gives_the_same_bytes() {
        let (_dir, store) = store();
        let maps = maps_of_both(&store);
        let inside = glands(false, &maps, Some(mask()), &store);
        let operator = Lumina {
            tile: Pixels(128),
            ..Lumina::default()
        };
        let input = || In {
            maps: maps.clone(),
            mask: Some(mask()),
            inside: inside.clone(),
        };
        let whole = operator.run(input(), &mut Ctx::detached(&store)).unwrap();
        let (out, cuts) = resumed(&operator, input, &store);
        assert!(cuts > 3 && whole.lumina.count() > 5, "{cuts}");
        assert_eq!(out.lumina.digest(), whole.lumina.digest());
    }

    #[test]
    fn every_tile_size_gives_the_same_bytes() {
        let (_dir, store) = store();
        let maps = maps_of_both(&store);
        let digest = |tile: u32| {
            let operator = Lumina {
                tile: Pixels(tile),
                ..Lumina::default()
            };
            let input = In {
                maps: maps.clone(),
                mask: Some(mask()),
                inside: glands(false, &maps, Some(mask()), &store),
            };
            let found = operator.run(input, &mut Ctx::detached(&store)).unwrap();
            assert!(found.lumina.count() > 5);
            found.lumina.digest()
        };
        let whole = digest(4096);
        assert!([64, 130, 257].into_iter().all(|tile| digest(tile) == whole));
    }

    #[test]
    fn other_glands_than_the_published_ones_are_refused_as_published() {
        let (_dir, store) = store();
        let maps = maps(&store, &discs(), &discs());
        let few = maps_without_one(&store);
        for (inside, fits) in [
            (glands(true, &maps, None, &store), true),
            (glands(true, &maps, Some(mask()), &store), false),
            (glands(false, &maps, None, &store), false),
            (glands(true, &few, None, &store), false),
        ] {
            let input = In {
                maps: maps.clone(),
                mask: None,
                inside,
            };
            let out = operator(true).run(input, &mut Ctx::detached(&store));
            assert_eq!(out.is_ok(), fits);
        }
    }

    fn maps_without_one(store: &cerb_store::Store) -> Maps {
        let discs = discs();
        maps(store, &discs[..discs.len() - 1], &[])
    }

    #[test]
    fn glands_of_another_slide_are_refused() {
        let (_dir, store) = store();
        let maps = maps(&store, &[], &[]);
        let mut other = header(&maps, "glands", false);
        other.slide.digest = cerb_store::Digest::of(b"another");
        let input = In {
            maps,
            mask: None,
            inside: Instances::writer(&store, other).unwrap().finish().unwrap(),
        };
        let out = operator(false).run(input, &mut Ctx::detached(&store));
        let said = out.err().unwrap().to_string();
        assert!(said.contains("another slide"), "{said}");
    }
}
