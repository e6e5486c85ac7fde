//! The fields of a struct in the order they are declared in: the order of positional arguments.
//!
//! A JSON object does not keep it, so the names are taken where serde's derive hands them over.

use serde::de::{self, DeserializeOwned, Deserializer, Visitor};

/// Returns the names of a struct's fields in declaration order; empty when it is not one.
pub(crate) fn names<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // Always fails: it stops where the names are known, before any field is read.
    let _ = T::deserialize(Collector(&mut names));
    names
}

struct Collector<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Collector<'_> {
    type Error = de::value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = fields;
        Err(de::Error::custom("only the names are read"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("only the names are read"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[derive(Default)]
    struct Scan {
        root: String,
        pattern: String,
        limit: Option<u32>,
    }

    #[test]
    fn names_come_in_declaration_order() {
        assert_eq!(super::names::<Scan>(), ["root", "pattern", "limit"]);
        assert!(super::names::<u32>().is_empty());
    }
}
