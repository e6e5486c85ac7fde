//! What a whole picture has in common: its staining, its section and the scanner that read it.

use cerb_image::math;

use super::random::Stream;

/// How a laboratory and a scanner make one picture look.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Look {
    /// Optical density in red, green and blue of one unit of haematoxylin, of eosin, and of
    /// what is neither (blood, granules, pigment).
    pub(super) stains: [[f32; 3]; 3],
    /// Light that reaches the sensor where there is no tissue, 0 to 255.
    pub(super) white: [f32; 3],
    /// Exponent of the sensor's answer.
    pub(super) gamma: f32,
    /// Radius of the blur in µm (standard deviation).
    pub(super) blur: f32,
    /// Sensor noise in grey levels (standard deviation).
    pub(super) grain: f32,
    /// Quality of the JPEG compression, or `None` without one.
    pub(super) quality: Option<u8>,
    /// Nuclear size relative to the usual.
    pub(super) size: f32,
    /// How sharply nuclei end and how much of their chromatin is seen: 0 blurred to 1 crisp.
    pub(super) detail: f32,
    /// Share of nuclei out of the focal plane.
    pub(super) unfocused: f32,
    /// How far nuclei may lie over one another, as a share of their diameter.
    pub(super) overlap: f32,
    /// Share of cells that shrank away from what surrounds them.
    pub(super) retraction: f32,
    /// How much of the ground is torn open.
    pub(super) gaps: f32,
    /// Share of places with blood, with pigment and with dust.
    pub(super) artefacts: [f32; 3],
    /// Half the width of folds, as a level of a noise field; 0 without folds.
    pub(super) folds: f32,
}

impl Look {
    /// Draws the look of the picture of `seed`.
    pub(super) fn draw(seed: u64) -> Self {
        let mut stream = Stream::open(seed, 2, 0, 0);
        let s = &mut stream;
        let thickness = s.between(0.9, 1.35);
        let strength = [
            thickness * lognormal(s, 0.22),
            thickness * lognormal(s, 0.28),
            thickness,
        ];
        let pure = [
            [0.35, 0.42, 0.17 + 0.05 * s.normal().abs()],
            [0.08, 0.34, 0.16],
            [0.10, 0.50, 0.42],
        ];
        // Blueish to purple haematoxylin, orange to magenta eosin.
        let hue = [s.normal(), s.normal(), s.normal(), s.normal()];
        let mut stains = [[0.0; 3]; 3];
        for (stain, (pure, strength)) in pure.iter().zip(strength).enumerate() {
            let (red, blue) = match stain {
                0 => (1.0 + 0.12 * hue[0], 1.0 + 0.14 * hue[1]),
                1 => ((1.0 + 0.4 * hue[2]).clamp(0.3, 1.9), 1.0 + 0.2 * hue[3]),
                _ => (1.0, 1.0),
            };
            stains[stain] = [
                pure[0] * red * strength,
                pure[1] * strength,
                pure[2] * blue * strength,
            ];
        }
        // However strong eosin is, haematoxylin is the bluer stain.
        stains[1][0] = stains[1][0].min(0.6 * stains[0][0]);
        let level = s.between(226.0, 250.0);
        let tint = [s.normal() * 2.5, s.normal() * 2.0, s.normal() * 2.5];
        Self {
            stains,
            white: tint.map(|tint| (level + tint).min(254.0)),
            gamma: s.between(0.85, 1.18),
            blur: 0.14 + 0.42 * s.unit() * s.unit(),
            grain: s.between(0.3, 2.4),
            quality: s.chance(0.75).then(|| s.between(55.0, 95.0) as u8),
            size: s.between(0.78, 1.22),
            detail: s.between(0.35, 1.0),
            unfocused: s.between(0.02, 0.2),
            overlap: s.between(0.0, 0.4),
            retraction: s.between(0.0, 0.6),
            gaps: s.between(0.0, 1.0),
            artefacts: [
                s.between(0.02, 0.3),
                seldom(s, 0.3, (0.02, 0.15)),
                s.between(0.05, 0.5),
            ],
            folds: seldom(s, 0.15, (0.01, 0.035)),
        }
    }
}

/// Returns a number between two in `share` of all cases, else 0.
fn seldom(stream: &mut Stream, share: f32, (low, high): (f32, f32)) -> f32 {
    match stream.chance(share) {
        true => stream.between(low, high),
        false => 0.0,
    }
}

fn lognormal(stream: &mut Stream, spread: f32) -> f32 {
    math::exp(f64::from(stream.normal() * spread)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_differ_and_stay_within_reason() {
        let looks: Vec<Look> = (0..300).map(Look::draw).collect();
        assert_ne!(looks[0], looks[1]);
        for look in &looks {
            assert!(
                look.stains
                    .iter()
                    .flatten()
                    .all(|density| (0.0..1.6).contains(density))
            );
            assert!(
                look.stains[0][0] > look.stains[1][0],
                "haematoxylin is the bluer stain"
            );
            assert!(
                look.white
                    .iter()
                    .all(|white| (215.0..255.0).contains(white))
            );
        }
        assert!(
            looks
                .iter()
                .any(|look| look.quality.is_none() && look.folds == 0.0)
        );
    }
}
