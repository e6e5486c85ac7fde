//! Every operator that takes a mask refuses one of another slide.

use std::collections::BTreeSet;

use cerb_engine::{Ctx, OpError, Operator, Type};
use cerb_image::{Instances, Maps, Mask, MaskGeometry};
use cerb_slide::Slide;

use crate::instances::{glands, lumina, pieces::painted};
use crate::qc::{artefacts, focus, pen};
use crate::stain::{macenko, nuclei, reinhard};
use crate::testing::{instances, painted_slide, store};
use crate::tissue::classes;
use crate::{features, patch, report};

/// What is of one slide, and a mask of another.
struct Given {
    slide: Slide,
    maps: Maps,
    inside: Instances,
    mask: Mask,
}

/// Runs an operator on it, and returns how it failed.
type Try = fn(Given, &mut Ctx) -> Option<OpError>;

fn with<O: Operator + Default>(input: O::In, ctx: &mut Ctx) -> Option<OpError> {
    O::default().run(input, ctx).err()
}

/// The operators that take a mask.
#[rustfmt::skip]
const ALL: [(&str, Try); 12] = [
    ("features.slide", |Given { slide, mask, .. }, ctx| {
        let input = features::slide::In { slide, mask: Some(mask), nuclei: None, glands: None, lumina: None, classes: None };
        with::<features::slide::Slide>(input, ctx)
    }),
    ("instances.glands", |Given { maps, mask, .. }, ctx| {
        with::<glands::Glands>(glands::In { maps, mask: Some(mask) }, ctx)
    }),
    ("instances.lumina", |Given { maps, inside, mask, .. }, ctx| {
        with::<lumina::Lumina>(lumina::In { maps, inside, mask: Some(mask) }, ctx)
    }),
    ("patch.grid", |Given { slide, mask, .. }, ctx| {
        with::<patch::grid::Grid>(patch::grid::In { slide, mask: Some(mask) }, ctx)
    }),
    ("qc.artefacts", |Given { slide, mask, .. }, ctx| {
        with::<artefacts::Artefacts>(artefacts::In { slide, mask }, ctx)
    }),
    ("qc.focus", |Given { slide, mask, .. }, ctx| {
        with::<focus::Focus>(focus::In { slide, mask: Some(mask) }, ctx)
    }),
    ("qc.pen", |Given { slide, mask, .. }, ctx| with::<pen::Pen>(pen::In { slide, mask }, ctx)),
    ("report.slide", |Given { slide, mask, .. }, ctx| {
        let input = report::slide::In { slide, mask: Some(mask), nuclei: None, glands: None, lumina: None, classes: None };
        with::<report::slide::Slide>(input, ctx)
    }),
    ("stain.macenko", |Given { slide, mask, .. }, ctx| {
        with::<macenko::Macenko>(macenko::In { slide, mask: Some(mask) }, ctx)
    }),
    ("stain.nuclei", |Given { slide, mask, .. }, ctx| {
        with::<nuclei::Nuclei>(nuclei::In { slide, mask: Some(mask) }, ctx)
    }),
    ("stain.reinhard", |Given { slide, mask, .. }, ctx| {
        with::<reinhard::Reinhard>(reinhard::In { slide, mask: Some(mask) }, ctx)
    }),
    ("tissue.classes", |Given { maps, mask, .. }, ctx| {
        with::<classes::TissueClasses>(classes::In { maps, mask: Some(mask) }, ctx)
    }),
];

#[test]
fn a_mask_of_another_slide_is_refused_by_every_operator_that_takes_one() {
    let (dir, store) = store();
    let geometry = MaskGeometry {
        mpp: 8.0,
        scale: [16.0, 16.0],
        slide: [77, 66],
    };
    for (name, run) in ALL {
        let given = Given {
            slide: painted_slide(dir.path(), &store, 0.5, (64, 64), |_, _| [200, 100, 150]),
            maps: painted::maps(&store, &[], &[]),
            inside: instances(&store, 0),
            mask: Mask::new(4, 4, geometry),
        };
        let said = run(given, &mut Ctx::detached(&store)).map(|error| error.to_string());
        let said = said.unwrap_or_default();
        assert!(
            said.contains("the mask is of a slide of 77 × 66 px"),
            "{name}: {said}"
        );
    }
}

#[test]
fn no_operator_that_takes_a_mask_is_left_out() {
    let registry = crate::registry().unwrap();
    let reads_mask = |ty: &Type| {
        let mut ty = ty;
        while let Type::Optional(of) | Type::Map(of) = ty {
            ty = of;
        }
        *ty == Type::Kind("Mask".to_owned())
    };
    let takes: BTreeSet<&str> = registry
        .signatures()
        .filter(|signature| signature.inputs.iter().any(|port| reads_mask(&port.ty)))
        .map(|signature| signature.name.as_str())
        .collect();
    let tried = ALL.iter().map(|(name, _)| *name);
    assert_eq!(takes, tried.collect::<BTreeSet<_>>());
}
