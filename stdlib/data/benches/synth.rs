//! How long synthetic tissue takes to paint, with its labels.
//!
//! `cargo bench -p cerb-data --bench synth` prints wall time; everything runs on one thread,
//! so that is CPU time too.

use std::time::Instant;

use cerb_data::synth::{SynthError, Tissue, Window, paint, patch};

/// Side in px of the windows a network is trained on.
const SIDE: u32 = 448;

fn main() -> Result<(), SynthError> {
    for mpp in [0.25, 0.5, 1.0] {
        report(
            &format!("training windows at {mpp} mpp"),
            40,
            SIDE,
            |seed| {
                let tissue = Tissue::field(seed, 2000.0, 2000.0)?;
                paint(
                    &tissue,
                    Window {
                        x: 300,
                        y: 700,
                        width: SIDE,
                        height: SIDE,
                    },
                    mpp,
                )
                .map(drop)
            },
        )?;
    }
    report("a tile of a slide at 0.5 mpp", 2, 2048, |seed| {
        let tissue = Tissue::section(seed, 50_000.0, 50_000.0)?;
        paint(
            &tissue,
            Window {
                x: 50_000,
                y: 50_000,
                width: 2048,
                height: 2048,
            },
            0.5,
        )
        .map(drop)
    })?;
    for class in 0..9 {
        report(
            &format!("patches of class {class} at 0.5 mpp"),
            20,
            SIDE,
            |seed| patch(seed, class, SIDE, 0.5).map(drop),
        )?;
    }
    Ok(())
}

fn report(
    what: &str,
    count: u64,
    side: u32,
    mut paint: impl FnMut(u64) -> Result<(), SynthError>,
) -> Result<(), SynthError> {
    paint(0)?;
    let start = Instant::now();
    for seed in 0..count {
        paint(seed)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let pixels = count as f64 * f64::from(side).powi(2);
    println!(
        "{what}: {:.2} Mpx/s, {:.1} ms each",
        pixels / seconds / 1e6,
        1e3 * seconds / count as f64
    );
    Ok(())
}
