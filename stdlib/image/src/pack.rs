//! Checked sections of bytes: how the artifacts of this crate lie in a blob.
//!
//! A section is `length, raw length, count` (u32 each, little-endian), the first
//! 16 bytes of the BLAKE3 digest over those and the payload, then the payload (zstd).
//! A flipped or missing byte is found before anything is believed, so no length
//! from a damaged file ever decides an allocation: the payload's is bounded by the
//! bytes left in the file, and the raw length is read after the digest has agreed.

use std::io::{self, Read, Write};

use cerb_store::Hasher;

/// Compression level: level 1 is within 5 % of level 3 on coordinates and four times as fast.
const LEVEL: i32 = 1;
/// Largest section ever written, so the largest that is read: 1 GiB.
pub(crate) const MAX_RAW: usize = 1 << 30;

/// One section as it was read.
pub(crate) struct Section {
    /// Number of things in the payload, as its writer counted them.
    pub count: u32,
    /// The payload, uncompressed.
    pub raw: Vec<u8>,
}

fn check(head: &[u8; 12], payload: &[u8]) -> [u8; 16] {
    let mut hasher = Hasher::new();
    hasher.update(head);
    hasher.update(payload);
    let mut check = [0; 16];
    check.copy_from_slice(&hasher.finish().as_bytes()[..16]);
    check
}

fn damaged(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}

/// Appends a section to `to`.
pub(crate) fn write_section(to: &mut impl Write, count: u32, raw: &[u8]) -> io::Result<()> {
    if raw.len() > MAX_RAW {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a section is larger than 1 GiB",
        ));
    }
    let payload = zstd::bulk::compress(raw, LEVEL)?;
    let mut head = [0; 12];
    head[..4].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    head[4..8].copy_from_slice(&(raw.len() as u32).to_le_bytes());
    head[8..].copy_from_slice(&count.to_le_bytes());
    to.write_all(&head)?;
    to.write_all(&check(&head, &payload))?;
    to.write_all(&payload)
}

/// Reads the next section; `left` is what the file has left, and is reduced.
pub(crate) fn read_section(from: &mut impl Read, left: &mut u64) -> io::Result<Section> {
    let mut head = [0; 12];
    let mut expected = [0; 16];
    from.read_exact(&mut head)?;
    from.read_exact(&mut expected)?;
    *left = left
        .checked_sub(28)
        .ok_or_else(|| damaged("it ends inside a section's head"))?;
    let word = |i: usize| u32::from_le_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]]);
    let (length, raw_length, count) = (u64::from(word(0)), word(4) as usize, word(8));
    *left = left
        .checked_sub(length)
        .ok_or_else(|| damaged("a section is longer than the file"))?;
    let mut payload = vec![0; length as usize];
    from.read_exact(&mut payload)?;
    if check(&head, &payload) != expected {
        return Err(damaged("a section does not match its checksum"));
    }
    if raw_length > MAX_RAW {
        return Err(damaged("a section claims more than 1 GiB"));
    }
    let raw = zstd::bulk::decompress(&payload, raw_length)?;
    if raw.len() != raw_length {
        return Err(damaged("a section is shorter than it claims"));
    }
    Ok(Section { count, raw })
}

/// Reads and compares the first bytes of a file.
pub(crate) fn read_magic(from: &mut impl Read, magic: &[u8], left: &mut u64) -> io::Result<()> {
    let mut found = vec![0; magic.len()];
    from.read_exact(&mut found)?;
    *left = left
        .checked_sub(magic.len() as u64)
        .ok_or_else(|| damaged("it is too short"))?;
    if found == magic {
        Ok(())
    } else {
        Err(damaged("it does not begin as this kind does"))
    }
}

/// Reads numbers from a section's bytes, never past their end.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let (head, rest) = self
            .bytes
            .split_first_chunk::<N>()
            .ok_or_else(|| damaged("a section ends early"))?;
        self.bytes = rest;
        Ok(*head)
    }

    /// Returns how many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn f64(&mut self) -> io::Result<f64> {
        Ok(f64::from_le_bytes(self.take()?))
    }

    pub(crate) fn f32(&mut self) -> io::Result<f32> {
        Ok(f32::from_le_bytes(self.take()?))
    }

    /// Reads an unsigned number of variable length (LEB128).
    pub(crate) fn unsigned(&mut self) -> io::Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.take::<1>()?;
            value |= u64::from(byte & 127).checked_shl(shift).unwrap_or(0);
            if byte < 128 {
                return Ok(value);
            }
        }
        Err(damaged("a number is too long"))
    }

    /// Reads a signed number of variable length (zigzag).
    pub(crate) fn signed(&mut self) -> io::Result<i64> {
        let value = self.unsigned()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// Reads a signed number that must fit in 32 bits.
    pub(crate) fn i32(&mut self) -> io::Result<i32> {
        i32::try_from(self.signed()?).map_err(|_| damaged("a coordinate is out of range"))
    }

    /// Reads an unsigned number that must fit in 32 bits.
    pub(crate) fn u32(&mut self) -> io::Result<u32> {
        u32::try_from(self.unsigned()?).map_err(|_| damaged("a number is out of range"))
    }
}

/// Appends an unsigned number of variable length (LEB128).
pub(crate) fn put_unsigned(to: &mut Vec<u8>, mut value: u64) {
    while value >= 128 {
        to.push(value as u8 | 128);
        value >>= 7;
    }
    to.push(value as u8);
}

/// Appends a signed number of variable length (zigzag).
pub(crate) fn put_signed(to: &mut Vec<u8>, value: i64) {
    put_unsigned(to, ((value << 1) ^ (value >> 63)) as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        let mut bytes = Vec::new();
        for v in [
            0i64,
            1,
            -1,
            63,
            64,
            -65,
            i64::from(i32::MAX),
            i64::MIN,
            i64::MAX,
        ] {
            bytes.clear();
            put_signed(&mut bytes, v);
            assert_eq!(Cursor::new(&bytes).signed().unwrap(), v);
        }
    }

    #[test]
    fn every_flipped_or_missing_byte_of_a_section_is_found() {
        let mut whole = Vec::new();
        write_section(&mut whole, 3, b"three small things, three small things").unwrap();
        let read = |bytes: &[u8]| read_section(&mut &bytes[..], &mut (bytes.len() as u64));
        assert_eq!(
            read(&whole).unwrap().raw,
            b"three small things, three small things"
        );
        for i in 0..whole.len() {
            let mut broken = whole.clone();
            broken[i] ^= 0x41;
            assert!(read(&broken).is_err(), "byte {i}");
            assert!(read(&whole[..i]).is_err(), "first {i} bytes");
        }
    }
}
