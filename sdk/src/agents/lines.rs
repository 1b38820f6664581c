//! What the agents' readers share about single lines: how a text is shortened, and how a line is mended that JSON may not hold.

use std::borrow::Cow;
use std::fmt;

use memchr::memchr;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// How deep a line is read that is nested deeper than the parser goes: what agents say of themselves is far above.
const DEPTH: usize = 64;

/// The beginning of a text, cut on a character border, with what was cut said.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = border(text, limit);
    format!("{} … ({} bytes more)", &text[..end], text.len() - end)
}

/// The last character border up to this place.
pub(super) fn border(text: &str, limit: usize) -> usize {
    (0..=limit.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0)
}

/// The line with what no JSON text may hold replaced: bytes that are no UTF-8, and halves of surrogate pairs, which JavaScript
/// prints when it cuts a text in the middle of an emoji. `None` if there was nothing to replace.
pub(super) fn mend(line: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(line);
    let mut mended = Vec::with_capacity(text.len());
    let mut changed = matches!(text, Cow::Owned(_));
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(found) = memchr(b'\\', &bytes[at..]) {
        let escape = at + found;
        mended.extend_from_slice(&bytes[at..escape]);
        let rest = &bytes[escape..];
        let taken = match (code_unit(rest), rest.get(6..).and_then(code_unit)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => {
                mended.extend_from_slice(br"\ufffd");
                changed = true;
                at = escape + 6;
                continue;
            }
            _ => rest.len().min(2),
        };
        mended.extend_from_slice(&rest[..taken]);
        at = escape + taken;
    }
    mended.extend_from_slice(&bytes[at..]);
    changed.then_some(mended)
}

/// A line as JSON, if need be without what JSON may not hold, or without what is nested very deep: a tool's arguments may be.
pub(super) fn parse(line: &[u8]) -> Option<Value> {
    serde_json::from_slice(line).ok().or_else(|| parse_shallow(line)).or_else(|| parse_shallow(&mend(line)?))
}

fn parse_shallow(line: &[u8]) -> Option<Value> {
    let mut parser = serde_json::Deserializer::from_slice(line);
    let value = Shallow(DEPTH).deserialize(&mut parser).ok()?;
    parser.end().ok()?;
    Some(value)
}

/// A value of so many levels. What is below them is checked and left out; that takes no stack.
#[derive(Clone, Copy)]
struct Shallow(usize);

impl<'de> DeserializeSeed<'de> for Shallow {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.0 == 0 {
            return IgnoredAny::deserialize(deserializer).map(|_| Value::Null);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Shallow {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Self(self.0 - 1))? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            fields.insert(name, map.next_value_seed(Self(self.0 - 1))?);
        }
        Ok(Value::Object(fields))
    }
}

/// The number of a `\uXXXX` escape.
fn code_unit(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.strip_prefix(br"\u")?.get(..4)?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nested_deeper_than_the_parser_goes_costs_only_itself() {
        for depth in [1, 63, 64, 65, 127, 128, 100_000] {
            let line = format!(
                r#"{{"deep":{}{},"usage":[1,-2,3.5,true,null,"x\ud83d"],"usage":{{"n":7}}}}"#,
                "[".repeat(depth),
                "]".repeat(depth)
            );
            assert_eq!(parse(line.as_bytes()).unwrap()["usage"]["n"], 7, "{depth}");
            assert!(parse(&line.as_bytes()[..line.len() - 1]).is_none(), "{depth}");
        }
    }
}
