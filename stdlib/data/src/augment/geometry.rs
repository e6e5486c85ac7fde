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
    /// Leaves everything where it is.
    pub const NONE: Self = Self {
        scale: [1.0; 2],
        shear: 0.0,
        rotation: 0.0,
        shift: [0.0; 2],
    };

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
    /// Returns which column and row of a square of `side` come to lie at column `x`, row `y`: both
    /// as `[a, b, c]` of `a x + b y + c`.
    fn source(self, side: usize) -> [[f64; 3]; 2] {
        let last = side as f64 - 1.0;
        let flip = |mirrored: bool, axis: [f64; 2]| match mirrored {
            true => [-axis[0], -axis[1], last],
            false => [axis[0], axis[1], 0.0],
        };
        let x = flip(self.mirrored, [1.0, 0.0]);
        let y = flip(self.upside_down, [0.0, 1.0]);
        let back = |[a, b, c]: [f64; 3]| [-a, -b, last - c];
        match self.quarter_turns % 4 {
            0 => [x, y],
            1 => [back(y), x],
            2 => [back(x), back(y)],
            _ => [y, back(x)],
        }
    }
}

/// Returns, for each pixel of the middle, the flat index of its nearest source; beyond its border
/// the patch is mirrored, the border pixels themselves not repeated.
pub(super) fn sources(
    width: usize,
    height: usize,
    side: usize,
    affine: &Affine,
    placement: Placement,
) -> Vec<u32> {
    let size = [width as f64, height as f64];
    let middle = size.map(|v| (v - 1.0) / 2.0);
    let [across, down] = placement.source(side);
    // From the middle of the patch, for the whole numbers of the crop's corner are exact.
    let corner = [(width - side) / 2, (height - side) / 2].map(|v| v as f64);
    let offset = [
        across[2] + corner[0] - middle[0],
        down[2] + corner[1] - middle[1],
    ];
    let matrix = affine.inverse(size);
    let [column, row] = [0, 1].map(|axis| {
        let [a, b, c] = matrix[axis];
        [
            a * across[0] + b * down[0],
            a * across[1] + b * down[1],
            a * offset[0] + b * offset[1] + c + middle[axis],
        ]
    });
    let mut sources = Vec::with_capacity(side * side);
    for y in 0..side {
        let start = [column, row].map(|[_, b, c]| b * y as f64 + c);
        for x in 0..side {
            let x = x as f64;
            let (column, row) = (column[0] * x + start[0], row[0] * x + start[1]);
            let place = mirror(nearest(row), height) * width + mirror(nearest(column), width);
            sources.push(place as u32);
        }
    }
    sources
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

    #[test]
    fn no_change_is_the_middle() {
        let still = sources(9, 7, 5, &Affine::NONE, Placement::default());
        assert_eq!(still[..6], [11, 12, 13, 14, 15, 20]);
        let even = sources(8, 7, 5, &Affine::NONE, Placement::default());
        assert_eq!(even[..6], [9, 10, 11, 12, 13, 17]);
    }

    #[test]
    fn mirrors_come_after_turns() {
        let placed = |quarter_turns, mirrored, upside_down| {
            let placement = Placement {
                quarter_turns,
                mirrored,
                upside_down,
            };
            sources(2, 2, 2, &Affine::NONE, placement)
        };
        assert_eq!(placed(0, true, false), [1, 0, 3, 2]);
        assert_eq!(placed(0, false, true), [2, 3, 0, 1]);
        assert_eq!(placed(1, false, false), [1, 3, 0, 2]);
        assert_eq!(placed(1, true, false), [3, 1, 2, 0]);
        assert_eq!(placed(3, false, false), [2, 0, 3, 1]);
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
                ..Affine::NONE
            };
            let placement = Placement {
                quarter_turns: turns,
                ..Placement::default()
            };
            let turned = sources(5, 5, 5, &affine, Placement::default());
            assert_eq!(
                turned,
                sources(5, 5, 5, &Affine::NONE, placement),
                "{turns}"
            );
        }
    }

    #[test]
    fn a_shift_and_a_stretch_go_the_way_they_say() {
        let right = Affine {
            shift: [0.2, 0.0],
            ..Affine::NONE
        };
        // The pixel left of it moves here; the first column shows the mirror.
        let moved = sources(5, 5, 5, &right, Placement::default());
        assert_eq!(moved[..5], [1, 0, 1, 2, 3]);
        let wider = Affine {
            scale: [2.0, 1.0],
            ..Affine::NONE
        };
        let row = &sources(9, 1, 1, &wider, Placement::default());
        assert_eq!(row[..], [4]);
        let row = &sources(9, 9, 9, &wider, Placement::default())[..9];
        assert_eq!(row, [2, 3, 3, 4, 4, 5, 5, 6, 6]);
    }
}
