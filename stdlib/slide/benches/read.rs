//! How many megapixels per CPU second a slide is read at, in windows as the network takes them.
//!
//! `cargo bench -p cerb-slide --bench read [-- SLIDE [SIDE [STRIDE [MPP]]]]`: windows of 448 px every
//! 144 px at 0.5 mpp without arguments, of a fixture; `MPP` `0` reads level 0 as it is.

use cerb_slide::{Outside, ReadOptions, Slide, SlideError};

const FIXTURE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/slides/skin-small.svs"
);

fn main() -> Result<(), SlideError> {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let path = arguments.first().map_or(FIXTURE, String::as_str);
    let number = |i: usize, default: f64| {
        let stated = arguments.get(i).and_then(|text| text.parse().ok());
        stated.unwrap_or(default)
    };
    let (side, stride, mpp) = (number(1, 448.0), number(2, 144.0), number(3, 0.5));
    let (side, stride) = (side as u32, stride as usize);
    let mut best = f64::MAX;
    let mut pixels = 0;
    let mut decoded = 0;
    for _ in 0..3 {
        let slide = Slide::open(path.as_ref(), None)?;
        let (width, height) = match mpp {
            0.0 => (slide.info().width, slide.info().height),
            mpp => slide.size_at(mpp)?,
        };
        let start = cpu_seconds();
        pixels = 0;
        for y in (0..=height.saturating_sub(side)).step_by(stride) {
            for x in (0..=width.saturating_sub(side)).step_by(stride) {
                let (x, y) = (x.into(), y.into());
                match mpp {
                    0.0 => slide.read_level(0, x, y, side, side, Outside::White)?,
                    mpp => slide.read_at(mpp, x, y, side, side, &ReadOptions::default())?,
                };
                pixels += u64::from(side) * u64::from(side);
            }
        }
        best = best.min(cpu_seconds() - start);
        decoded = slide.decoded();
    }
    let rate = pixels as f64 / 1e6 / best;
    println!("{rate:.1} MP per CPU second, {decoded} tiles decoded");
    Ok(())
}

/// User and system time of this process in seconds (Linux; clock ticks of 10 ms).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.filter_map(|t| t.parse::<f64>().ok()).sum::<f64>() / 100.0
}
