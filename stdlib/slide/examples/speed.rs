//! Measures megapixels per CPU second: `speed SLIDE [SIDE] [openslide] [MPP]`, level 0 in squares of SIDE.

use cerb_slide::{Outside, ReadOptions, Slide, SlideError};

fn main() -> Result<(), SlideError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let path = arguments.first().map(String::as_str).unwrap_or_default();
    let side: u32 = arguments
        .get(1)
        .and_then(|side| side.parse().ok())
        .unwrap_or(896);
    let by_openslide = arguments.iter().any(|argument| argument == "openslide");
    let mpp: Option<f64> = arguments.get(2).and_then(|mpp| mpp.parse().ok());
    let open = if by_openslide {
        Slide::open_with_openslide
    } else {
        Slide::open
    };
    let mut best = f64::MAX;
    let mut pixels = 0;
    for _ in 0..3 {
        let slide = open(path.as_ref(), None)?;
        let (width, height) = match mpp {
            Some(mpp) => slide.size_at(mpp)?,
            None => (slide.info().width, slide.info().height),
        };
        let start = cpu_seconds();
        pixels = 0;
        for y in (0..height).step_by(side as usize) {
            for x in (0..width).step_by(side as usize) {
                let (w, h) = (side.min(width - x), side.min(height - y));
                let (x, y) = (x.into(), y.into());
                match mpp {
                    Some(mpp) => slide.read_at(mpp, x, y, w, h, &ReadOptions::default())?,
                    None => slide.read_level(0, x, y, w, h, Outside::White)?,
                };
                pixels += u64::from(w) * u64::from(h);
            }
        }
        best = best.min(cpu_seconds() - start);
    }
    println!(
        "{path}: {:.0} MP per CPU second",
        pixels as f64 / 1e6 / best
    );
    Ok(())
}

/// User and system time of this process in seconds (Linux; clock ticks of 10 ms).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.filter_map(|t| t.parse::<f64>().ok()).sum::<f64>() / 100.0
}
