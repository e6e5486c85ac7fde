//! Where each pixel of an augmented patch comes from.

use cerb_image::math;
use cerb_image::random::Random;

use super::Purpose;

/// A stretch, shear, rotation and shift about the middle of a patch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// How much larger along x and y.
    pub scale: [f64; 2],
    /// Angle by which the y axis leans, in degrees.
    pub shear: f64,
    /// Angle by which the patch turns, in degrees.
    pub rotation: f64,
    /// Shift along x and y, as a share of the side.
    pub shift: [f64; 2],
}

impl Affine {
    /// Draws one of the published ranges.
    pub fn draw(purpose: Purpose, random: &mut Random) -> Self {
        let scale = [random.between(0.9, 1.1), random.between(0.9, 1.1)];
        let shear = random.between(-5.0, 5.0);
        let (rotation, shift) = match purpose {
            Purpose::Segmentation => (
                random.between(-179.0, 179.0),
                [random.between(-0.01, 0.01), random.between(-0.01, 0.01)],
            ),
            Purpose::Classification => (0.0, [0.0; 2]),
        };
        Self {
            scale,
            shear,
            rotation,
            shift,
        }
    }

    /// Returns the matrix that leads back from the changed patch, in pixels about its middle.
    fn inverse(&self, [width, height]: [f64; 2]) -> [[f64; 3]; 2] {
        let radians = |degrees: f64| degrees.to_radians();
        let (turn, lean) = (radians(self.rotation), radians(self.rotation + self.shear));
        let a = self.scale[0] * math::cos(turn);
        let b = -self.scale[1] * math::sin(lean);
        let c = self.scale[0] * math::sin(turn);
        let d = self.scale[1] * math::cos(lean);
        let determinant = a * d - b * c;
        let [[a, b], [c, d]] = [[d, -b], [-c, a]].map(|row| row.map(|v| v / determinant));
        let [x, y] = [self.shift[0] * width, self.shift[1] * height];
        [[a, b, -(a * x + b * y)], [c, d, -(c * x + d * y)]]
    }
}

/// How a patch lies after its affine change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Quarter turns to the left.
    pub quarter_turns: usize,
    /// Left and right change places.
    pub mirrored: bool,
    /// Top and bottom change places.
    pub upside_down: bool,
}

impl Placement {
    /// Returns the column and row of a square of `side` that comes to lie at `x`, `y`.
    fn source(self, mut x: usize, mut y: usize, side: usize) -> (usize, usize) {
        if self.upside_down {
            y = side - 1 - y;
        }
        if self.mirrored {
            x = side - 1 - x;
        }
        match self.quarter_turns % 4 {
            0 => (x, y),
            1 => (side - 1 - y, x),
            2 => (side - 1 - x, side - 1 - y),
            _ => (y, side - 1 - x),
        }
    }
}

/// Returns, for each pixel of the middle, the flat index of its nearest source; beyond its border
/// the patch is mirrored, the border pixels themselves not repeated.
pub(super) fn sources(
    width: usize,
    height: usize,
    side: usize,
    affine: Option<&Affine>,
    placement: Placement,
) -> Vec<u32> {
    let (left, top) = ((width - side) / 2, (height - side) / 2);
    let at = |x: usize, y: usize| {
        let (x, y) = placement.source(x, y, side);
        (x + left, y + top)
    };
    let all = (0..side).flat_map(|y| (0..side).map(move |x| (x, y)));
    let Some(affine) = affine else {
        let index = |(x, y)| {
            let (x, y) = at(x, y);
            (y * width + x) as u32
        };
        return all.map(index).collect();
    };
    let size = [width as f64, height as f64];
    let [across, down] = affine.inverse(size);
    let middle = size.map(|v| (v - 1.0) / 2.0);
    let index = |(x, y)| {
        let (x, y) = at(x, y);
        let (x, y) = (x as f64 - middle[0], y as f64 - middle[1]);
        let column = across[0] * x + across[1] * y + across[2] + middle[0];
        let row = down[0] * x + down[1] * y + down[2] + middle[1];
        (mirror(nearest(row), height) * width + mirror(nearest(column), width)) as u32
    };
    all.map(index).collect()
}

/// Returns the nearest whole number, halves upwards.
fn nearest(value: f64) -> i64 {
    let value = value + 0.5;
    let whole = value as i64;
    whole - i64::from((whole as f64) > value)
}

/// Returns the place that a mirror at both ends of a line of `length` shows at `at`.
pub(crate) fn mirror(at: i64, length: usize) -> usize {
    if (0..length as i64).contains(&at) {
        return at as usize;
    }
    let period = 2 * (length as i64 - 1).max(1);
    let folded = at.rem_euclid(period);
    folded.min(period - folded).min(length as i64 - 1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAME: Affine = Affine {
        scale: [1.0; 2],
        shear: 0.0,
        rotation: 0.0,
        shift: [0.0; 2],
    };

    #[test]
    fn no_change_is_the_middle() {
        let still = sources(9, 7, 5, Some(&SAME), Placement::default());
        assert_eq!(still, sources(9, 7, 5, None, Placement::default()));
        assert_eq!(still[..6], [11, 12, 13, 14, 15, 20]);
    }

    #[test]
    fn a_mirror_does_not_repeat_the_border() {
        let seen: Vec<usize> = (-5..8).map(|at| mirror(at, 3)).collect();
        assert_eq!(seen, [1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]);
        assert_eq!(mirror(-3, 1), 0);
    }

    #[test]
    fn a_quarter_turn_is_the_rotation_by_ninety_degrees() {
        // On the screen, where y points down, positive angles turn to the right.
        for turns in 0..4 {
            let affine = Affine {
                rotation: -90.0 * turns as f64,
                ..SAME
            };
            let placement = Placement {
                quarter_turns: turns,
                ..Placement::default()
            };
            let turned = sources(5, 5, 5, Some(&affine), Placement::default());
            assert_eq!(turned, sources(5, 5, 5, None, placement), "{turns}");
        }
    }

    #[test]
    fn a_shift_and_a_stretch_go_the_way_they_say() {
        let right = Affine {
            shift: [0.2, 0.0],
            ..SAME
        };
        // The pixel left of it moves here; the first column shows the mirror.
        let moved = sources(5, 5, 5, Some(&right), Placement::default());
        assert_eq!(moved[..5], [1, 0, 1, 2, 3]);
        let wider = Affine {
            scale: [2.0, 1.0],
            ..SAME
        };
        let row = &sources(9, 1, 1, Some(&wider), Placement::default());
        assert_eq!(row[..], [4]);
        let row = &sources(9, 9, 9, Some(&wider), Placement::default())[..9];
        assert_eq!(row, [2, 3, 3, 4, 4, 5, 5, 6, 6]);
    }
}
