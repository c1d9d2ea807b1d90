//! `google.protobuf.Timestamp` with the canonical JSON form, which the usual crate writes with `+00:00`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A moment, in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ::prost::Message)]
pub struct Timestamp {
    /// Since 1970-01-01T00:00:00Z.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// 0 to 999,999,999.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};

        let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
        ObjectBuilder::new().schema_type(Type::String).format(Some(format)).into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Timestamp {}

impl Timestamp {
    /// The moment `millis` milliseconds after 1970 began.
    pub fn from_millis(millis: i64) -> Self {
        let nanos =
            i32::try_from(millis.rem_euclid(1000) * 1_000_000).expect("under a second of nanoseconds");
        Self { seconds: millis.div_euclid(1000), nanos }
    }

    /// How many milliseconds after 1970 began, rounded down.
    pub fn as_millis(&self) -> i64 {
        self.seconds.saturating_mul(1000).saturating_add(i64::from(self.nanos / 1_000_000))
    }

    fn to_jiff(self) -> Result<jiff::Timestamp, jiff::Error> {
        jiff::Timestamp::new(self.seconds, self.nanos)
    }
}

/// Writes RFC 3339 with `Z` and 0, 3, 6 or 9 digits of a second, as ProtoJSON asks.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = self.to_jiff().map_err(|_| fmt::Error)?;
        let digits = match self.nanos {
            0 => 0,
            nanos if nanos % 1_000_000 == 0 => 3,
            nanos if nanos % 1_000 == 0 => 6,
            _ => 9,
        };
        write!(f, "{moment:.digits$}")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A moment beyond year 9999 has no JSON form; `collect_str` would panic on it.
        self.to_jiff().map_err(serde::ser::Error::custom)?;
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rfc3339;

        impl de::Visitor<'_> for Rfc3339 {
            type Value = Timestamp;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a moment like 2026-11-24T09:30:00Z")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Timestamp, E> {
                let moment: jiff::Timestamp =
                    text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))?;
                let (seconds, nanos) = (moment.as_second(), moment.subsec_nanosecond());
                // jiff counts a moment before 1970 with both parts negative, protobuf with nanos upwards.
                if nanos < 0 {
                    return Ok(Timestamp { seconds: seconds - 1, nanos: nanos + 1_000_000_000 });
                }
                Ok(Timestamp { seconds, nanos })
            }
        }

        deserializer.deserialize_str(Rfc3339)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_with_z_and_read_back() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_795_512_600_123, "2026-11-24T09:30:00.123Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            let moment = Timestamp::from_millis(millis);
            assert_eq!(serde_json::to_string(&moment).unwrap(), format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<Timestamp>(&format!("\"{text}\"")).unwrap(), moment);
            assert_eq!(moment.as_millis(), millis);
        }
    }

    #[test]
    fn an_offset_is_understood_and_nonsense_is_refused() {
        let noon: Timestamp = serde_json::from_str("\"2026-11-24T12:00:00+02:00\"").unwrap();
        assert_eq!(noon.to_string(), "2026-11-24T10:00:00Z");
        assert!(serde_json::from_str::<Timestamp>("\"yesterday\"").is_err());
    }

    #[test]
    fn a_moment_beyond_the_calendar_is_an_error_and_no_panic() {
        assert!(serde_json::to_string(&Timestamp { seconds: i64::MAX, nanos: 0 }).is_err());
    }
}
