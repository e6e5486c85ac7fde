//! Content digests: BLAKE3, 32 bytes, written as 64 lowercase hex digits.

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Identifies bytes by their BLAKE3 digest.
///
/// Ordered and hashed by its bytes; written and serialized as 64 lowercase hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Digests bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Digests bytes for one purpose: equal bytes under another `context` get an unrelated digest.
    ///
    /// `context` is a constant of the program, such as `"cerb action v1"` (BLAKE3's key derivation).
    #[must_use]
    pub fn derive(context: &str, bytes: &[u8]) -> Self {
        Self(blake3::derive_key(context, bytes))
    }

    /// Starts a digest for one purpose, as [`derive`](Digest::derive) gives it, of bytes in pieces.
    #[must_use]
    pub fn deriver(context: &str) -> Hasher {
        Hasher(blake3::Hasher::new_derive_key(context))
    }

    /// Wraps the 32 bytes of a digest made elsewhere.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Gives the 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Gives the 64 hex digits, without asking for memory.
    #[must_use]
    pub fn hex(&self) -> impl std::ops::Deref<Target = str> + use<> {
        blake3::Hash::from_bytes(self.0).to_hex()
    }

    /// Gives the first 12 hex digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string()[..12].to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Says why text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 lowercase hex digits, not `{0}`")]
pub struct NotADigest(String);

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let mut bytes = [0; 32];
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let whole = pairs.len() == bytes.len() && rest.is_empty();
        let read = whole
            && bytes.iter_mut().zip(pairs).all(|(byte, [high, low])| {
                let (high, low) = (nibble(*high), nibble(*low));
                *byte = (high << 4) | (low & 15);
                high | low <= 15
            });
        if read {
            Ok(Self(bytes))
        } else {
            Err(NotADigest(text.chars().take(80).collect()))
        }
    }
}

/// Gives the value of a lowercase hex digit, and more than 15 for anything else.
const fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => u8::MAX,
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Digests bytes as they arrive; `io::Write`, so anything can be copied into it.
#[derive(Clone, Default)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// Starts with no bytes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Gives the digest of all bytes so far.
    #[must_use]
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hasher").field(&self.finish()).finish()
    }
}

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Names stored bytes: their digest and their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Blob {
    /// Digest of the bytes (of the listing, for a tree).
    pub digest: Digest,
    /// Number of bytes (of all files together, for a tree).
    pub size: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BLAKE3's published digest of no bytes.
    const EMPTY: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

    #[test]
    fn digests_are_blake3() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(Hasher::new().finish().to_string(), EMPTY);
        assert_eq!(Digest::of(b"").short(), &EMPTY[..12]);
    }

    #[test]
    fn pieces_digest_as_the_whole() {
        let mut hasher = Hasher::new();
        hasher.update(b"nuc");
        hasher.update(b"lei");
        assert_eq!(hasher.finish(), Digest::of(b"nuclei"));
    }

    #[test]
    fn a_context_separates_equal_bytes() {
        assert_ne!(
            Digest::derive("cerb action v1", b"x"),
            Digest::derive("cerb source v1", b"x")
        );
        assert_ne!(Digest::derive("cerb action v1", b"x"), Digest::of(b"x"));
        let mut pieces = Digest::deriver("cerb action v1");
        pieces.update(b"nuc");
        pieces.update(b"lei");
        assert_eq!(pieces.finish(), Digest::derive("cerb action v1", b"nuclei"));
    }

    #[test]
    fn text_comes_back_and_other_text_is_refused() {
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("\"{digest}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        for text in [
            "",
            "af13",
            &EMPTY.to_uppercase(),
            &format!("{EMPTY}0"),
            &EMPTY.replace('a', "é"),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }
}
