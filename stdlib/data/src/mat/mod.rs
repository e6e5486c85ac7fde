//! MATLAB's files, `.mat` of version 5 and 7.3, as far as label maps and lists of classes need them.
//!
//! The reader of HDF5 is our own and small: the crates there are write too, map files into memory or
//! bring an array library, and change monthly; what MATLAB and h5py write by default is one corner of
//! the format.

use std::collections::BTreeMap;
use std::path::Path;

use cerb_image::Grid;

use crate::array::{Array, read_whole};
use crate::{DataError, Refused};

mod hdf5;
mod v5;

/// Longest file that is read.
const MAX_FILE: u64 = 1 << 31;

/// What a name in a file stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Numbers.
    Array(Array),
    /// A text.
    Text(String),
    /// Cells, or the elements of an array of structures, the first index fastest.
    Cells(Vec<Value>),
    /// A structure.
    Struct(BTreeMap<String, Value>),
    /// What is not read here, and why.
    Other(String),
}

/// The variables of a file by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Mat(pub BTreeMap<String, Value>);

impl Mat {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or is no such file.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let bytes = read_whole(path, MAX_FILE)?;
        Self::parse(&bytes).map_err(|why| why.of(path))
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// When they are damaged, or no such file.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        if let Some(start) = hdf5::start(bytes) {
            return hdf5::read(bytes, start).map(Self);
        }
        v5::read(bytes).map(Self)
    }

    /// Returns the numbers of a variable.
    ///
    /// # Errors
    /// When there is none of that name, or it holds something else.
    pub fn array(&self, name: &str) -> Result<&Array, Refused> {
        match self.0.get(name) {
            Some(Value::Array(array)) => Ok(array),
            Some(Value::Other(why)) => Err(Refused::new(format!("`{name}` {why}"))),
            Some(_) => Err(Refused::new(format!("`{name}` holds no numbers"))),
            None => {
                let have: Vec<&str> = self.0.keys().map(String::as_str).collect();
                Err(Refused::new(format!(
                    "it has no `{name}`, only {}",
                    have.join(", ")
                )))
            }
        }
    }

    /// Returns a variable as a label map.
    ///
    /// # Errors
    /// When there is none of that name, or it is no label map.
    pub fn labels(&self, name: &str) -> Result<Grid<i32>, Refused> {
        let named = |why| Refused::new(format!("`{name}`: {why}"));
        self.array(name)?.labels().map_err(named)
    }

    /// Returns a variable as a list of whole numbers, whatever its shape.
    ///
    /// # Errors
    /// When there is none of that name, or its numbers are not whole.
    pub fn list(&self, name: &str) -> Result<Vec<i32>, Refused> {
        let named = |why| Refused::new(format!("`{name}`: {why}"));
        self.array(name)?.integers().map_err(named)
    }
}
