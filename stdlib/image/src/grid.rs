//! Plain two-dimensional arrays: what every pixel operation reads and writes.

/// Holds a row-major array of `width × height` values of one kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grid<T> {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Values, row after row.
    pub data: Vec<T>,
}

impl<T: Copy> Grid<T> {
    /// Returns an array with `value` everywhere.
    pub fn filled(width: usize, height: usize, value: T) -> Self {
        Self {
            width,
            height,
            data: vec![value; width * height],
        }
    }

    /// Wraps `data`, or returns `None` when its length is not `width * height`.
    pub fn from_vec(width: usize, height: usize, data: Vec<T>) -> Option<Self> {
        (width.checked_mul(height)? == data.len()).then_some(Self {
            width,
            height,
            data,
        })
    }

    /// Returns the value at column `x`, row `y`.
    pub fn at(&self, x: usize, y: usize) -> T {
        self.data[y * self.width + x]
    }

    /// Writes the value at column `x`, row `y`.
    pub fn set(&mut self, x: usize, y: usize, value: T) {
        self.data[y * self.width + x] = value;
    }

    /// Returns row `y`.
    pub fn row(&self, y: usize) -> &[T] {
        &self.data[y * self.width..(y + 1) * self.width]
    }

    /// Returns row `y` for writing.
    pub fn row_mut(&mut self, y: usize) -> &mut [T] {
        let width = self.width;
        &mut self.data[y * width..(y + 1) * width]
    }

    /// Returns an array of the same shape with `f` applied to each value.
    pub fn map<U>(&self, f: impl FnMut(T) -> U) -> Grid<U> {
        Grid {
            width: self.width,
            height: self.height,
            data: self.data.iter().copied().map(f).collect(),
        }
    }

    /// Copies the part inside `rect`, which is clipped to the array.
    pub fn crop(&self, rect: Rect) -> Self {
        let x1 = rect.x1.min(self.width);
        let y1 = rect.y1.min(self.height);
        let x0 = rect.x0.min(x1);
        let y0 = rect.y0.min(y1);
        let mut data = Vec::with_capacity((x1 - x0) * (y1 - y0));
        for y in y0..y1 {
            data.extend_from_slice(&self.row(y)[x0..x1]);
        }
        Self {
            width: x1 - x0,
            height: y1 - y0,
            data,
        }
    }

    /// Says whether the array has no value at all.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }
}

/// A half-open rectangle of array indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rect {
    /// First column.
    pub x0: usize,
    /// First row.
    pub y0: usize,
    /// Column after the last.
    pub x1: usize,
    /// Row after the last.
    pub y1: usize,
}

impl Rect {
    /// Returns the number of columns.
    pub fn width(&self) -> usize {
        self.x1 - self.x0
    }

    /// Returns the number of rows.
    pub fn height(&self) -> usize {
        self.y1 - self.y0
    }

    /// Says whether column `x`, row `y` lies inside.
    pub fn contains(&self, x: usize, y: usize) -> bool {
        (self.x0..self.x1).contains(&x) && (self.y0..self.y1).contains(&y)
    }
}

/// Holds 8-bit RGB pixels, interleaved, row-major.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rgb8 {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `3 * width * height` bytes.
    pub data: Vec<u8>,
}

impl Rgb8 {
    /// Returns an image of one colour.
    pub fn filled(width: u32, height: u32, colour: [u8; 3]) -> Self {
        Self {
            width,
            height,
            data: colour.repeat(width as usize * height as usize),
        }
    }

    /// Wraps `data`, or returns `None` when its length is not `3 * width * height`.
    pub fn from_vec(width: u32, height: u32, data: Vec<u8>) -> Option<Self> {
        let expected = (width as usize)
            .checked_mul(height as usize)?
            .checked_mul(3)?;
        (expected == data.len()).then_some(Self {
            width,
            height,
            data,
        })
    }

    /// Returns the pixel at column `x`, row `y`.
    pub fn at(&self, x: u32, y: u32) -> [u8; 3] {
        let i = 3 * (y as usize * self.width as usize + x as usize);
        [self.data[i], self.data[i + 1], self.data[i + 2]]
    }

    /// Writes the pixel at column `x`, row `y`; outside the image it does nothing.
    pub fn set(&mut self, x: u32, y: u32, colour: [u8; 3]) {
        if x < self.width && y < self.height {
            let i = 3 * (y as usize * self.width as usize + x as usize);
            self.data[i..i + 3].copy_from_slice(&colour);
        }
    }

    /// Returns an iterator over the pixels in raster order.
    pub fn pixels(&self) -> impl Iterator<Item = [u8; 3]> + '_ {
        self.data.as_chunks::<3>().0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crop_is_clipped_to_the_array() {
        let grid = Grid::from_vec(3, 2, vec![1, 2, 3, 4, 5, 6]).unwrap();
        let crop = grid.crop(Rect {
            x0: 1,
            y0: 1,
            x1: 9,
            y1: 9,
        });
        assert_eq!((crop.width, crop.height, crop.data), (2, 1, vec![5, 6]));
    }

    #[test]
    fn a_vector_of_the_wrong_length_is_no_grid() {
        assert!(Grid::from_vec(3, 2, vec![0u8; 5]).is_none());
        assert!(Rgb8::from_vec(2, 2, vec![0; 11]).is_none());
    }
}
