//! `patch.grid`: which windows of a slide a network is to look at.

use cerb_engine::{Ctx, Facts, Misfit, OpError, Operator, Origin, Unit, Value, ports};
use cerb_image::units::{Mpp, Pixels};
use cerb_image::{GridHeader, Mask, PatchGrid};
use cerb_slide::Slide;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reading::{fits, slide_error};

/// The network's encoder halves four times: inputs are multiples of this.
const STEP: u32 = 16;
/// Side that one answer of the patch classifier stands for: outputs are multiples of it.
const UNIT: u32 = 144;
/// How much a slide may be enlarged before it must be asked for.
const MOST_ENLARGED: f64 = 1.5;

/// Cuts a slide into windows for a network, row after row; with a mask, those with tissue.
///
/// The outputs lie side by side and cover the slide; each input surrounds its output
/// evenly and may reach beyond the slide. A window is kept when any pixel of the mask
/// lies under its output. Larger windows do less work for the same tissue: 1024 px for 720 px,
/// 2032 px for 1728 px.
///
/// ```cerb
/// let grid = patch.grid(s, mask, input: 448 px, output: 144 px, at: 0.5 mpp)
/// ```
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Grid {
    /// Side of what the network reads: a multiple of 16 px.
    input: Pixels,
    /// Side of what it answers for, in the middle of the input: a multiple of 144 px.
    output: Pixels,
    /// Resolution the slide is read at.
    at: Mpp,
    /// Whether a slide may be enlarged more than 1.5 times.
    upsample: bool,
}

impl Default for Grid {
    fn default() -> Self {
        Self {
            input: Pixels(448),
            output: Pixels(144),
            at: Mpp(0.5),
            upsample: false,
        }
    }
}

ports! {
    pub struct In {
        /// The slide to cut.
        slide: Slide,
        /// Where to look; everywhere without it.
        mask: Option<Mask>,
    }
    pub struct Out {
        /// Where the windows lie.
        grid: PatchGrid,
    }
}

impl Operator for Grid {
    const NAME: &'static str = "patch.grid";
    const REVISION: u32 = 1;
    type In = In;
    type Out = Out;

    fn check(&self, inputs: &Facts) -> Result<Facts, Misfit> {
        self.check_sizes()?;
        if let Some(own) = inputs.number("slide", "mpp") {
            enlargement(own, self.at.0, self.upsample)?;
        }
        let mut facts = Facts::default();
        let param = |name: &str| Origin::Param(name.to_owned());
        facts.set(
            "grid",
            "mpp",
            Value::Quantity(self.at.0, Unit::Mpp),
            param("at"),
        );
        facts.set(
            "grid",
            "input",
            Value::Quantity(f64::from(self.input.0), Unit::Px),
            param("input"),
        );
        facts.set(
            "grid",
            "output",
            Value::Quantity(f64::from(self.output.0), Unit::Px),
            param("output"),
        );
        Ok(facts)
    }

    fn run(&self, In { slide, mask }: In, ctx: &mut Ctx) -> Result<Out, OpError> {
        fits(mask.as_ref(), &slide)?;
        let (width, height) = slide.size_at(self.at.0).map_err(slide_error)?;
        let scale = slide.scale_at(self.at.0).map_err(slide_error)?;
        let output = self.output.0;
        let header = GridHeader {
            mpp: self.at.0,
            input: self.input.0,
            output,
            stride: output,
            width,
            height,
            scale,
        };
        let grid = PatchGrid::covering(header, mask.as_ref());
        if grid.cells.is_empty() {
            ctx.note("no window has tissue under it");
        }
        Ok(Out { grid })
    }
}

impl Grid {
    fn check_sizes(&self) -> Result<(), Misfit> {
        let (input, output) = (self.input.0, self.output.0);
        let wrong = |param: &str, label: String, help: String| {
            Err(Misfit {
                code: "patch::size",
                title: "the network cannot be given such patches".into(),
                labels: vec![(Origin::Param(param.into()), label)],
                help: Some(help),
            })
        };
        if output == 0 || !output.is_multiple_of(UNIT) {
            let near = output.div_ceil(UNIT).max(1) * UNIT;
            return wrong(
                "output",
                format!("{output} px is no multiple of {UNIT} px"),
                format!("`output: {near} px`"),
            );
        }
        if !input.is_multiple_of(STEP) {
            let near = input.div_ceil(STEP) * STEP;
            return wrong(
                "input",
                format!("{input} px is no multiple of {STEP} px"),
                format!("`input: {near} px`"),
            );
        }
        if input < output {
            let wide = output + 304;
            return wrong(
                "input",
                format!("{input} px cannot hold the output of {output} px"),
                format!("`input: {wide} px`, the output and 152 px on each side"),
            );
        }
        Ok(())
    }
}

/// Refuses to enlarge a slide much, unless that was asked for.
pub(crate) fn enlargement(own: f64, at: f64, allowed: bool) -> Result<(), Misfit> {
    if at > 0.0 && (own / at <= MOST_ENLARGED || allowed) {
        return Ok(());
    }
    let (label, help) = if at > 0.0 {
        (
            format!(
                "the slide has {own} mpp: enlarged {:.1} times to {at} mpp",
                own / at
            ),
            format!(
                "read it as it is, `at: {own} mpp`; `patch.grid` enlarges when asked, `upsample: true`"
            ),
        )
    } else {
        (
            format!("{at} mpp is no resolution"),
            "`at: 0.5 mpp`".to_owned(),
        )
    };
    Err(Misfit {
        code: "slide::upsampling",
        title: "pixels finer than the scanner made were asked for".into(),
        labels: vec![(Origin::Param("at".into()), label)],
        help: Some(help),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{open, quickstart_slide, store};
    use cerb_image::Cell;

    #[test]
    fn without_a_mask_the_outputs_cover_the_slide_row_by_row() {
        let (_dir, store) = store();
        let slide = open(&quickstart_slide(), None, &store);
        let grid = Grid::default()
            .run(In { slide, mask: None }, &mut Ctx::detached(&store))
            .unwrap()
            .grid;
        assert_eq!((grid.header.width, grid.header.height), (2216, 2961));
        assert_eq!(grid.cells.len(), 16 * 21);
        assert_eq!(grid.cells[17], Cell { row: 1, col: 1 });
        assert_eq!(grid.input_origin(grid.cells[0]), (-152, -152));
    }

    #[test]
    fn a_mask_of_another_slide_is_refused() {
        let (_dir, store) = store();
        let slide = open(&quickstart_slide(), None, &store);
        let geometry = cerb_image::MaskGeometry {
            mpp: 8.0,
            scale: [16.0, 16.0],
            slide: [2967, 2220],
        };
        let mask = Some(Mask::new(4, 4, geometry));
        let refused = Grid::default().run(In { slide, mask }, &mut Ctx::detached(&store));
        let said = refused.err().unwrap().to_string();
        assert!(
            said.contains("2967 × 2220 px, and this one has 2220 × 2967 px"),
            "{said}"
        );
    }

    #[test]
    fn sizes_that_the_network_cannot_take_are_refused_with_one_that_it_can() {
        let check = |input, output| {
            let grid = Grid {
                input: Pixels(input),
                output: Pixels(output),
                ..Grid::default()
            };
            grid.check(&Facts::default())
                .map_err(|misfit| misfit.help.unwrap())
        };
        assert!(check(448, 144).is_ok() && check(1024, 720).is_ok() && check(2032, 1728).is_ok());
        assert_eq!(check(450, 144).unwrap_err(), "`input: 464 px`");
        assert_eq!(check(448, 150).unwrap_err(), "`output: 288 px`");
        assert!(check(128, 144).unwrap_err().starts_with("`input: 448 px`"));
    }

    #[test]
    fn enlarging_must_be_asked_for() {
        let mut facts = Facts::default();
        facts.set(
            "slide",
            "mpp",
            Value::Quantity(1.0, Unit::Mpp),
            Origin::Source,
        );
        assert_eq!(
            Grid::default().check(&facts).unwrap_err().code,
            "slide::upsampling"
        );
        let asked = Grid {
            upsample: true,
            ..Grid::default()
        };
        assert_eq!(
            asked.check(&facts).unwrap().number("grid", "mpp"),
            Some(0.5)
        );
    }
}
