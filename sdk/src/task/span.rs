//! A length of time as people write it: `90s`, `30m`, `1h 30m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time, written as `90s`, `30m`, `1h 30m`; a bare number is seconds. At most [`Span::MAX`]: more counts as that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(Duration);

impl Span {
    /// A hundred years: as good as for ever, and no clock overflows by it.
    pub const MAX: Self = Self(Duration::from_secs(100 * 365 * 24 * 60 * 60));

    /// A span of whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        if seconds > Self::MAX.0.as_secs() { Self::MAX } else { Self(Duration::from_secs(seconds)) }
    }

    /// As the standard library's type.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        self.0
    }

    /// `None` for zero, which means "no limit".
    #[must_use]
    pub fn limit(self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(duration.min(Self::MAX.0))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// The text is not a length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a length of time such as `90s` or `30m`")]
pub struct SpanError;

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let text = text.trim();
        if let Ok(seconds) = text.parse::<u64>() {
            return Ok(Self::from_secs(seconds));
        }
        humantime::parse_duration(text).map(Self::from).map_err(|_| SpanError)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "minimum": 0,
            "description": "A length of time: `90s`, `30m`, `1h 30m`; a bare number is seconds.",
            "examples": ["90s", "30m"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("1h 30m", 5400), ("1h30m", 5400), ("0", 0), (" 7 ", 7)] {
            assert_eq!(text.parse::<Span>().unwrap(), Span::from_secs(seconds), "{text}");
        }
        for text in ["9223372036854775807", "18446744073709551615", "1000000 years"] {
            assert_eq!(text.parse::<Span>().unwrap(), Span::MAX, "{text}");
        }
        for text in ["", "soon", "-1s", "1.5.2", "10 parsecs", "s"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_it_prints_it_reads() {
        let span = Span::from(Duration::from_millis(5_400_250));
        assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
    }
}
