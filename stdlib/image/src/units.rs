//! Newtypes for the quantities that operators take: each says its unit in its type
//! and in the schema that the language checks arguments against (`x-cerb-type`).

use std::borrow::Cow;

use cerb_store::Plain;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

macro_rules! whole {
    ($(#[$doc:meta])* $name:ident($inner:ty), $type:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            /// Reads an integer, or a float that is one: quantities travel as `f64`.
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = f64::deserialize(deserializer)?;
                let whole = value as $inner;
                if whole as f64 == value {
                    Ok(Self(whole))
                } else {
                    Err(de::Error::custom(format!("{value} is not a whole number of {} that fits", $type)))
                }
            }
        }

        impl Plain for $name {
            const TYPE: &'static str = $type;
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "integer", "minimum": 0, "x-cerb-type": $type })
            }
        }
    };
}

macro_rules! real {
    ($(#[$doc:meta])* $name:ident, $type:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub f64);

        impl Plain for $name {
            const TYPE: &'static str = $type;
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "number", "x-cerb-type": $type })
            }
        }
    };
}

whole! {
    /// A length in pixels of the grid at hand.
    Pixels(u32), "Px"
}
whole! {
    /// An area in pixels of the grid at hand.
    SquarePixels(u64), "Px2"
}
real! {
    /// A resolution in micrometres per pixel.
    Mpp, "Mpp"
}
real! {
    /// A length in micrometres.
    Microns, "Um"
}
real! {
    /// An area in square micrometres.
    SquareMicrons, "Um2"
}
real! {
    /// A share of one: `5 %` is 0.05.
    Fraction, "Pct"
}

impl SquareMicrons {
    /// Returns the area in pixels at `mpp`, rounded to the nearest whole pixel.
    pub fn pixels(self, mpp: f64) -> u64 {
        (self.0 / (mpp * mpp)).round().max(0.0) as u64
    }
}

impl Microns {
    /// Returns the length in pixels at `mpp`, not rounded.
    pub fn pixels(self, mpp: f64) -> f64 {
        self.0 / mpp
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_quantities_read_floats_that_are_whole() {
        assert_eq!(
            serde_json::from_str::<Pixels>("448.0").unwrap(),
            Pixels(448)
        );
        assert_eq!(
            serde_json::from_str::<SquarePixels>("8").unwrap(),
            SquarePixels(8)
        );
        assert!(serde_json::from_str::<Pixels>("0.5").is_err());
        assert!(serde_json::from_str::<Pixels>("-1").is_err());
        assert!(serde_json::from_str::<Pixels>("5e9").is_err());
    }

    #[test]
    fn schemas_name_the_quantity_where_it_is_used() {
        #[derive(JsonSchema)]
        #[expect(dead_code, reason = "only its schema is read")]
        struct Parameters {
            at: Mpp,
            input: Pixels,
        }
        let schema = schemars::schema_for!(Parameters);
        let at = schema
            .pointer("/properties/at/x-cerb-type")
            .and_then(|v| v.as_str());
        let input = schema
            .pointer("/properties/input/x-cerb-type")
            .and_then(|v| v.as_str());
        assert_eq!((at, input), (Some("Mpp"), Some("Px")));
    }

    #[test]
    fn areas_in_micrometres_become_pixels_at_a_resolution() {
        assert_eq!(SquareMicrons(100.0).pixels(0.5), 400);
    }
}
