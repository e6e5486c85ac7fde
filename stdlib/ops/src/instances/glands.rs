//! `instances.glands`: glands as objects, from a network's maps.

use cerb_engine::{Ctx, Facts, Misfit, Needs, OpError, Operator, ports};
use cerb_image::units::{Pixels, SquarePixels};
use cerb_image::{ClassName, Instances, InstancesHeader, Maps, Mask};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pieces::{Numbers, Search, fitting, header, write};
use super::published;

pub(super) const SHAPES: &str = "Gland-INST";
pub(super) const TYPES: &str = "Gland-TYPE";

/// Names of the published classes of glands, in their order, and colours of ours.
const CLASSES: [(u32, &str, [u8; 3]); 2] = [
    (1, "gland", [30, 150, 80]),
    (2, "surface epithelium", [200, 80, 160]),
];

/// Separates glands: a threshold at half the resolution of the maps, small pieces dropped, each piece
/// grown back and its holes filled.
///
/// Tiles are joined before anything is decided, so a gland of any size comes out whole, whatever the
/// tile; memory grows with the outlines of what is found, and no raster of the slide is held. Where grown
/// pieces overlap, the later one stays. When the maps hold types, each gland gets the most
/// frequent one.
///
/// ```cerb
/// let glands = instances.glands(maps, mask)
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Glands {
    /// Probability of the inside, less one on the rim, above which a pixel is gland.
    #[schemars(range(min = 0.0, max = 1.0))]
    threshold: f64,
    /// Smallest piece kept, before it grows, in pixels of the maps.
    min_area: SquarePixels,
    /// Side of the ellipse that each piece grows by, in pixels of the maps; it is halved with them, and rounded down.
    grow: Pixels,
    /// Side of the square worked on at once, in pixels of the maps.
    tile: Pixels,
    /// Works as the published program, slips included: one region of the mask at a time, with the
    /// published numbers.
    reference: bool,
}

impl Default for Glands {
    fn default() -> Self {
        Self {
            threshold: 0.55,
            min_area: SquarePixels(1000),
            grow: Pixels(10),
            tile: Pixels(4096),
            reference: false,
        }
    }
}

ports! {
    pub struct In {
        /// Channels inner and contour of the glands (`Gland-INST`), and their types if known (`Gland-TYPE`).
        maps: Maps,
        /// Where to look; everywhere without it.
        mask: Option<Mask>,
    }
    pub struct Out {
        /// Outline, centroid and type of each gland, in pixels of half the maps' resolution.
        glands: Instances,
    }
}

impl Operator for Glands {
    const NAME: &'static str = "instances.glands";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn check(&self, inputs: &Facts) -> Result<Facts, Misfit> {
        let facts = self
            .numbers()
            .check(inputs, "glands", &[SHAPES], !self.reference)?;
        if self.reference {
            let published = Self::default().numbers();
            self.numbers().as_published(&published, "glands")?;
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

    fn run(&self, In { maps, mask }: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        let typed = maps.header().heads.contains_key(TYPES);
        let mut heads = vec![(SHAPES, 2)];
        heads.extend(typed.then_some((TYPES, 1)));
        fitting(&maps, mask.as_ref(), &heads)?;
        let header = InstancesHeader {
            classes: if typed {
                maps.header().classes_of(TYPES, ClassName::list(&CLASSES))
            } else {
                Vec::new()
            },
            ..header(&maps, "glands", self.reference)
        };
        let mut found = Instances::writer(ctx.store(), header)?;
        if self.reference {
            let types = typed.then_some(TYPES);
            published::each_region(&maps, mask.as_ref(), ctx, |region| {
                let (glands, _) = published::glands(region, &maps, SHAPES, types)?;
                glands.iter().try_for_each(|gland| found.push(gland))?;
                Ok(())
            })?;
        } else {
            let search = Search {
                maps: &maps,
                mask: mask.as_ref(),
                head: SHAPES,
                numbers: self.numbers(),
            };
            let shapes = search.shapes(ctx)?;
            let ballot = match typed {
                true => Some(search.votes(TYPES, &shapes, ctx)?),
                false => None,
            };
            write(&shapes, ballot.as_ref(), &mut found, ctx)?;
        }
        Ok(Out {
            glands: found.finish()?,
        })
    }
}

impl Glands {
    fn numbers(&self) -> Numbers {
        Numbers {
            threshold: self.threshold,
            min_area: self.min_area,
            grow: self.grow,
            tile: self.tile,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pieces::painted::{HEIGHT, WIDTH, discs, maps, mask, read};
    use super::*;
    use crate::testing::{resumed, store};
    use cerb_engine::{Origin, Value};
    use cerb_image::regions;

    fn found(
        operator: &Glands,
        maps: &Maps,
        mask: Option<Mask>,
        store: &cerb_store::Store,
    ) -> Instances {
        let maps = maps.clone();
        let out = operator.run(In { maps, mask }, &mut Ctx::detached(store));
        out.unwrap().glands
    }

    #[test]
    fn every_tile_size_gives_the_same_bytes() {
        let (_dir, store) = store();
        let maps = maps(&store, &discs(), &[]);
        for mask in [None, Some(mask())] {
            let whole = found(&Glands::default(), &maps, mask.clone(), &store);
            assert!(whole.count() >= 5, "{}", whole.count());
            for tile in [64, 65, 128, 334] {
                let operator = Glands {
                    tile: Pixels(tile),
                    ..Glands::default()
                };
                let again = found(&operator, &maps, mask.clone(), &store);
                assert_eq!(again.digest(), whole.digest(), "tile {tile}");
            }
        }
    }

    #[test]
    fn a_gland_lies_where_it_was_painted_and_has_its_type() {
        let (_dir, store) = store();
        let maps = maps(&store, &[(200, 100, 50, 2.0), (500, 300, 60, 1.0)], &[]);
        let table = found(&Glands::default(), &maps, None, &store);
        let glands = read(&table);
        let classes: Vec<_> = glands.iter().map(|gland| gland.class).collect();
        assert_eq!(classes, [Some(2), Some(1)]);
        // The slide has 0.25 µm a pixel, the maps 0.5.
        for (gland, centre) in glands.iter().zip([[401.0, 201.0], [1001.0, 601.0]]) {
            let at = table.header().to_level0(gland.centroid);
            assert!((0..2).all(|i| (at[i] - centre[i]).abs() < 1.0), "{at:?}");
        }
        // The rim's inner 3 px were taken off, and 2 px of half the resolution put back.
        let area = glands[0].area as f64 * table.header().mpp.powi(2);
        let painted = std::f64::consts::PI * (51.0f64 * 0.5).powi(2);
        assert!(
            (area / painted - 1.0).abs() < 0.02,
            "{area} µm², not {painted}"
        );
        assert!(glands[0].prob.unwrap() > 0.9);
    }

    #[test]
    fn outside_the_mask_nothing_is_found() {
        let (_dir, store) = store();
        let maps = maps(&store, &[(100, 100, 40, 1.0), (690, 490, 40, 1.0)], &[]);
        assert_eq!(found(&Glands::default(), &maps, None, &store).count(), 2);
        let one = read(&found(&Glands::default(), &maps, Some(mask()), &store));
        assert_eq!(one.len(), 1);
        assert!(one[0].centroid[0] < 60.0);
    }

    #[test]
    fn the_published_way_is_that_of_its_regions() {
        let (_dir, store) = store();
        let maps = maps(&store, &discs(), &[]);
        let published = Glands {
            reference: true,
            ..Glands::default()
        };
        let (shapes, types) = (
            maps.window(SHAPES, 0, 0, WIDTH, HEIGHT).unwrap(),
            maps.window(TYPES, 0, 0, WIDTH, HEIGHT).unwrap(),
        );
        for mask in [None, Some(mask())] {
            let grid = mask.as_ref().map(Mask::to_grid);
            let mut expected = Vec::new();
            for region in regions::regions(grid.as_ref(), WIDTH as usize, HEIGHT as usize) {
                let all = [shapes.channel(0), shapes.channel(1), types.channel(0)];
                let read = |rect| Ok::<_, ()>(all.iter().map(|map| map.crop(rect)).collect());
                let half = region.half(3, read).unwrap();
                let labels = regions::glands(&half[0], &half[1]);
                expected.extend(region.objects(&labels, Some(&half[2])));
            }
            assert!(expected.len() > 10);
            let table = found(&published, &maps, mask, &store);
            assert_eq!(read(&table), expected);
            assert_eq!(table.header().mpp, 0.5);
        }
    }

    #[test]
    fn one_that_was_interrupted_goes_on_and_gives_the_same_bytes() {
        let (_dir, store) = store();
        let maps = maps(&store, &discs(), &[]);
        let operator = Glands {
            tile: Pixels(128),
            ..Glands::default()
        };
        let whole = found(&operator, &maps, Some(mask()), &store);
        let input = || In {
            maps: maps.clone(),
            mask: Some(mask()),
        };
        let (out, cuts) = resumed(&operator, input, &store);
        assert!(cuts > 3 && whole.count() > 5, "{cuts} of {}", whole.count());
        assert_eq!(out.glands.digest(), whole.digest());
    }

    #[test]
    fn what_makes_no_sense_is_refused_when_planning() {
        let wrong = |operator: Glands| operator.check(&Facts::default()).unwrap_err().labels;
        let tile = wrong(Glands {
            tile: Pixels(3),
            ..Glands::default()
        });
        assert_eq!(tile[0].0, Origin::Param("tile".into()));
        let area = wrong(Glands {
            min_area: SquarePixels(7),
            reference: true,
            ..Glands::default()
        });
        assert_eq!(area[0].0, Origin::Param("min_area".into()));
        let mut facts = Facts::default();
        let heads = Value::List(vec![Value::Str("Nuclei-INST".into())]);
        facts.set("maps", "heads", heads, Origin::Call);
        let refused = Glands::default().check(&facts).unwrap_err();
        assert_eq!(refused.code, "model::missing_head");
    }
}
