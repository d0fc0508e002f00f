//! Bytes to values: JSON and YAML read by one visitor that notes duplicate keys and bounds the depth.

use std::cell::RefCell;
use std::fmt;

use api_machinery::Value;
use api_machinery::quote::quoted;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number};

use crate::depth::MAX_DEPTH;
use crate::path::Place;

/// Duplicate keys beyond these are not reported one by one, as upstream.
const MAX_DUPLICATES: usize = 100;

/// Reads JSON. The error is upstream's text as far as serde_json knows what is wrong.
pub(crate) fn json(bytes: &[u8], duplicates: &RefCell<Vec<String>>) -> Result<Value, String> {
    json_at(bytes, 0, duplicates)
}

/// Reads JSON that is `depth` objects and lists inside of something else.
pub(crate) fn json_at(bytes: &[u8], depth: usize, duplicates: &RefCell<Vec<String>>) -> Result<Value, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let seed = Seed { place: Place::Root, depth, duplicates };
    let value = seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|error| go_json_error(bytes, &error))
}

/// Bytes of stack for one YAML document: its reader takes many frames for each level of nesting, and the depth is only
/// known when they are taken.
const YAML_STACK: usize = 16 * 1024 * 1024;

/// Reads one YAML document, on a stack that is deep enough for [`MAX_DEPTH`].
pub(crate) fn yaml(bytes: &[u8], duplicates: &RefCell<Vec<String>>) -> Result<Value, String> {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("yaml".to_owned()).stack_size(YAML_STACK);
        let reader = builder.spawn_scoped(scope, || {
            let found = RefCell::new(Vec::new());
            yaml_here(bytes, &found).map(|value| (value, found.into_inner()))
        });
        let reader = reader.map_err(|error| error.to_string())?;
        let read = reader.join().map_err(|_| "the reader failed".to_owned())?;
        let (value, found) = read?;
        duplicates.borrow_mut().extend(found);
        Ok(value)
    })
}

fn yaml_here(bytes: &[u8], duplicates: &RefCell<Vec<String>>) -> Result<Value, String> {
    let mut options = serde_saphyr::Options::default();
    options.duplicate_keys = serde_saphyr::DuplicateKeyPolicy::PassThrough;
    options.with_snippet = false;
    // File modes are written so: `0644`.
    options.legacy_octal_numbers = true;
    let seed = Seed { place: Place::Root, depth: 0, duplicates };
    let read = serde_saphyr::with_deserializer_from_slice_with_options(bytes, options, |deserializer| {
        seed.deserialize(deserializer)
    });
    let mut value = read.map_err(|error| format!("yaml: {error}"))?;
    spell_out(&mut value);
    Ok(value)
}

/// Upstream reads YAML by way of JSON, in which Go writes `1.0` and `1e3` as the integers they are.
fn spell_out(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(spell_out),
        Value::Array(list) => list.iter_mut().for_each(spell_out),
        Value::Number(number) => {
            let float = number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0);
            // What is exact in both.
            let within = float.filter(|float| float.abs() < 9_007_199_254_740_992.0);
            if let Some(float) = within {
                *value = (float as i64).into();
            }
        }
        _ => {}
    }
}

/// Go's words for what serde_json found.
pub fn go_json_error(bytes: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let text = error.to_string();
    if text.starts_with("recursion limit") || text.starts_with(TOO_DEEP) {
        return TOO_DEEP.to_owned();
    }
    // The position is that of the byte that does not fit, counted from 1.
    let line = bytes.split(|&byte| byte == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let at = error.column().saturating_sub(1);
    let Some(&byte) = line.get(at) else { return text };
    let shown = quoted_byte(byte);
    if text.starts_with("expected ident") {
        return format!("invalid character {shown} {}", in_literal(line, at));
    }
    let place = match text.as_str() {
        text if text.starts_with("expected `,` or `}`") => "after object key:value pair",
        text if text.starts_with("expected `,` or `]`") => "after array element",
        text if text.starts_with("expected `:`") => "after object key",
        text if text.starts_with("key must be a string") => "looking for beginning of object key string",
        text if text.starts_with("trailing characters") => "after top-level value",
        text if text.starts_with("control character") => "in string literal",
        text if text.starts_with("invalid escape") => "in string escape code",
        text if text.starts_with("invalid number") => "in numeric literal",
        _ => "looking for beginning of value",
    };
    format!("invalid character {shown} {place}")
}

/// In Go's single quotes, as the character of its number.
fn quoted_byte(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => r#"'"'"#.to_owned(),
        byte => format!("'{}'", quoted(char::from(byte).encode_utf8(&mut [0; 4])).trim_matches('"')),
    }
}

/// Where a word stops being one of the three that JSON has.
fn in_literal(line: &[u8], at: usize) -> String {
    let start = line[..at].iter().rposition(|byte| !byte.is_ascii_lowercase()).map_or(0, |before| before + 1);
    let words = ["null", "true", "false"];
    let word = words.into_iter().find(|word| line[start..].first() == word.as_bytes().first()).unwrap_or_default();
    let expected = word.as_bytes().get(at - start).map_or(' ', |byte| char::from(*byte));
    format!("in literal {word} (expecting '{expected}')")
}

pub(crate) const TOO_DEEP: &str = "exceeded max depth";

struct Seed<'a> {
    place: Place<'a>,
    depth: usize,
    duplicates: &'a RefCell<Vec<String>>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("unsupported value: not a finite number"))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let depth = self.depth + 1;
        if depth > MAX_DEPTH {
            return Err(A::Error::custom(TOO_DEEP));
        }
        let mut list = Vec::new();
        loop {
            let place = Place::Index(&self.place, list.len());
            match access.next_element_seed(Seed { place, depth, duplicates: self.duplicates })? {
                Some(value) => list.push(value),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let depth = self.depth + 1;
        if depth > MAX_DEPTH {
            return Err(A::Error::custom(TOO_DEEP));
        }
        let mut map = Map::new();
        while let Some(key) = access.next_key_seed(Key)? {
            let place = Place::Field(&self.place, &key);
            let seen = map.contains_key(&key);
            if seen && self.duplicates.borrow().len() < MAX_DUPLICATES {
                self.duplicates.borrow_mut().push(format!("duplicate field \"{place}\""));
            }
            let value = access.next_value_seed(Seed { place, depth, duplicates: self.duplicates })?;
            // The last one wins, as in Go.
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// A key: YAML keys that are numbers or booleans become their text, as upstream's conversion does.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Key {
    type Value = String;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E>(self, key: &str) -> Result<String, E> {
        Ok(key.to_owned())
    }
    fn visit_string<E>(self, key: String) -> Result<String, E> {
        Ok(key)
    }
    fn visit_bool<E>(self, key: bool) -> Result<String, E> {
        Ok(key.to_string())
    }
    fn visit_i64<E>(self, key: i64) -> Result<String, E> {
        Ok(key.to_string())
    }
    fn visit_u64<E>(self, key: u64) -> Result<String, E> {
        Ok(key.to_string())
    }
    fn visit_f64<E>(self, key: f64) -> Result<String, E> {
        Ok(key.to_string())
    }
}
