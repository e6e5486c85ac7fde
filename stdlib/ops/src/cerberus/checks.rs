//! What must fit together before the network looks at a slide: resolutions, sizes, heads.

use cerb_engine::{Facts, Misfit, Origin, Value};

/// How far two resolutions may differ and be the same: rounding of what files state.
const SAME_MPP: f64 = 0.01;

/// Compares the resolution of the patches with that of the weights' training.
pub(super) fn resolution(inputs: &Facts) -> Result<(), Misfit> {
    let (Some(cut), Some(trained)) = (inputs.number("grid", "mpp"), inputs.number("model", "mpp"))
    else {
        return Ok(());
    };
    if (cut / trained - 1.0).abs() <= SAME_MPP {
        return Ok(());
    }
    Err(Misfit {
        code: "lang::mpp_mismatch",
        title: "patches and weights disagree on resolution".into(),
        labels: vec![
            (
                Origin::Input {
                    port: "grid".into(),
                    fact: "mpp".into(),
                },
                format!("patches are cut at {cut} mpp"),
            ),
            (
                Origin::Input {
                    port: "model".into(),
                    fact: "mpp".into(),
                },
                format!("these weights were trained at {trained} mpp"),
            ),
        ],
        help: Some(format!(
            "cut at the training resolution, `at: {trained} mpp`"
        )),
    })
}

/// Compares the sides of the patches with what the network was trained on: patches may be larger, if they
/// answer for whole multiples and see as much around that.
pub(super) fn sizes(inputs: &Facts) -> Result<(), Misfit> {
    let of = |port: &str, side: &str| inputs.number(port, side);
    let (Some(input), Some(output)) = (of("grid", "input"), of("grid", "output")) else {
        return Ok(());
    };
    let (Some(reads), Some(answers)) = (of("model", "input"), of("model", "output")) else {
        return Ok(());
    };
    let around = reads - answers;
    let (side, own, asks) = if output % answers != 0.0 {
        let asks = (output / answers).ceil() * answers;
        let own = format!("this network answers for multiples of {answers} px");
        ("output", own, asks)
    } else if input - output != around {
        let own = format!("this network sees {} px around its answer", around / 2.0);
        ("input", own, output + around)
    } else {
        return Ok(());
    };
    let cut = if side == "input" { input } else { output };
    let from = |port: &str| Origin::Input {
        port: port.into(),
        fact: side.into(),
    };
    Err(Misfit {
        code: "patch::mismatch",
        title: "patches and weights disagree on size".into(),
        labels: vec![
            (from("grid"), format!("patches have an {side} of {cut} px")),
            (from("model"), own),
        ],
        help: Some(format!("cut them to fit, `{side}: {asks} px`")),
    })
}

/// Returns the heads that will be run, when the model's are known.
pub(super) fn heads(wanted: &[String], inputs: &Facts) -> Result<Option<Vec<Value>>, Misfit> {
    let Some(Value::List(known)) = inputs.get("model", "heads").map(|fact| fact.value.clone())
    else {
        return Ok(None);
    };
    let has = |name: &String| known.iter().any(|head| head.text() == Some(name));
    if let Some(unknown) = wanted.iter().find(|name| !has(name)) {
        let names: Vec<_> = known
            .iter()
            .filter_map(Value::text)
            .map(|name| format!("`{name}`"))
            .collect();
        return Err(Misfit {
            code: "model::missing_head",
            title: format!("the model has no head `{unknown}`"),
            labels: vec![(Origin::Param("heads".into()), "not one of its heads".into())],
            help: Some(format!("it has {}", names.join(", "))),
        });
    }
    if wanted.is_empty() {
        return Ok(Some(known));
    }
    Ok(Some(wanted.iter().cloned().map(Value::Str).collect()))
}
