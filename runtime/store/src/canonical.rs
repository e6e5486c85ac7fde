//! Canonical bytes of a JSON value: equal values give equal bytes, different values different ones.

use std::collections::BTreeMap;

use serde_json::{Number, Value};

/// Writes a value in its one canonical form, for digesting.
///
/// Keys are sorted by their bytes whatever order the map keeps, there is no white space, integers are
/// written as integers, and a float by its bits as the bare word `f64:3fe0000000000000`, so that
/// neither printing nor parsing can change a key. The word is not quoted: the string
/// `"f64:3fe0000000000000"` is another value and stays one. Integers and floats differ (`1` is not
/// `1.0`), and so do `0.0` and `-0.0`.
#[must_use]
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_canonical_text(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Value::Object(map) => {
            // Sorted here, since a feature of serde_json may keep the order of insertion.
            let sorted: BTreeMap<&str, &Value> =
                map.iter().map(|(key, item)| (key.as_str(), item)).collect();
            out.push(b'{');
            for (index, (key, item)) in sorted.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_canonical_text(key, out);
                out.push(b':');
                write(item, out);
            }
            out.push(b'}');
        }
    }
}

fn write_number(number: &Number, out: &mut Vec<u8>) {
    let text = match (number.as_u64(), number.as_i64(), number.as_f64()) {
        (Some(int), _, _) => int.to_string(),
        (None, Some(int), _) => int.to_string(),
        (None, None, Some(float)) => format!("f64:{:016x}", float.to_bits()),
        // Only a number of arbitrary precision gets here; its text is its value.
        (None, None, None) => format!("num:{number}"),
    };
    out.extend_from_slice(text.as_bytes());
}

/// Writes a JSON string with the fewest escapes, as [`canonical`] does: quote, backslash and
/// control characters.
pub fn write_canonical_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(value: &Value) -> String {
        String::from_utf8(canonical(value)).unwrap()
    }

    #[test]
    fn vectors() {
        for (value, expected) in [
            (json!(null), "null"),
            (json!([true, false]), "[true,false]"),
            (
                json!({"b": 1, "a": [], "aa": {}, "B": -2}),
                r#"{"B":-2,"a":[],"aa":{},"b":1}"#,
            ),
            (json!(0.5), "f64:3fe0000000000000"),
            (json!(1.0), "f64:3ff0000000000000"),
            (json!(1), "1"),
            (json!(-0.0), "f64:8000000000000000"),
            (json!(u64::MAX), "18446744073709551615"),
            (json!(i64::MIN), "-9223372036854775808"),
            (json!("a\"\\\n\u{7f}é"), "\"a\\\"\\\\\\u000a\u{7f}é\""),
        ] {
            assert_eq!(text(&value), expected);
        }
    }

    #[test]
    fn the_order_of_keys_does_not_matter() {
        let one: Value = serde_json::from_str(r#"{"x":1,"y":{"b":2,"a":3}}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{ "y":{"a":3,"b":2}, "x":1 }"#).unwrap();
        assert_eq!(canonical(&one), canonical(&two));
    }

    #[test]
    fn a_string_that_looks_like_a_float_is_another_value() {
        assert_ne!(
            canonical(&json!(0.5)),
            canonical(&json!("f64:3fe0000000000000"))
        );
    }

    #[test]
    fn floats_survive_text() {
        for float in [
            0.1 + 0.2,
            1.0 / 3.0,
            0.2527,
            5e-324,
            1.797e308,
            0.499_000_000_000_000_1,
        ] {
            let back: Value = serde_json::from_str(&json!(float).to_string()).unwrap();
            assert_eq!(canonical(&back), canonical(&json!(float)), "{float}");
        }
    }
}
