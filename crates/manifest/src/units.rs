//! Reads and writes the quantities of the manifest: CPU, memory, durations, replicas.

use std::fmt;
use std::time::Duration;

use deployer_core::spec::{MebiBytes, MilliCpu, Replicas};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Parts a message from what would be right, in errors that serde carries as one text.
pub(crate) const HELP: &str = "\nhelp: ";

fn bad<E: de::Error>(message: impl fmt::Display, help: &str) -> E {
    E::custom(format!("{message}{HELP}{help}"))
}

/// CPU: `0.5`, `2`, `"500m"`, `"0.5"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu(pub MilliCpu);

const CPU_HELP: &str = "write virtual CPUs, such as 0.5 or 2, or thousandths, such as \"500m\"";

impl Cpu {
    fn from_number<E: de::Error>(number: f64) -> Result<Self, E> {
        let milli = number * 1000.0;
        let whole = milli.round();
        if (milli - whole).abs() > 1e-6 || !(1.0..=1_000_000.0).contains(&whole) {
            return Err(bad(
                format_args!("`{number}` is not a number of virtual CPUs"),
                CPU_HELP,
            ));
        }
        // In range and whole, as the line above says.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Ok(Self(MilliCpu(whole as u32)))
    }
}

impl Serialize for Cpu {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0.0) / 1000.0)
    }
}

impl<'de> Deserialize<'de> for Cpu {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Cpu;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of virtual CPUs, such as 0.5 or \"500m\"")
            }
            #[allow(clippy::cast_precision_loss)]
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Cpu, E> {
                Cpu::from_number(number as f64)
            }
            #[allow(clippy::cast_precision_loss)]
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Cpu, E> {
                Cpu::from_number(number as f64)
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Cpu, E> {
                Cpu::from_number(number)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Cpu, E> {
                let (digits, scale) = match text.strip_suffix('m') {
                    Some(milli) => (milli, 1000.0),
                    None => (text, 1.0),
                };
                let number: f64 = digits.trim().parse().map_err(|_| {
                    bad(
                        format_args!("`{text}` is not a number of virtual CPUs"),
                        CPU_HELP,
                    )
                })?;
                Cpu::from_number(number / scale)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl JsonSchema for Cpu {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Cpu".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Virtual CPUs, such as 0.5 or 2, or thousandths, such as \"500m\".",
            "anyOf": [
                { "type": "number", "exclusiveMinimum": 0 },
                { "type": "string", "pattern": r"^[0-9]*\.?[0-9]+m?$" },
            ],
        })
    }
}

/// Memory: `512` (MiB), `"512MiB"`, `"1.5GiB"`, `"1Gi"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory(pub MebiBytes);

const MEMORY_HELP: &str = "write MiB or GiB, such as \"512MiB\" or \"2GiB\"; a bare integer is MiB";

impl Memory {
    fn parse(text: &str) -> Option<Self> {
        let at = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (digits, unit) = text.split_at(at);
        let scale = match unit.trim() {
            "MiB" | "Mi" => 1.0,
            "GiB" | "Gi" => 1024.0,
            _ => return None,
        };
        let mebi = digits.parse::<f64>().ok()? * scale;
        // In range and whole: the cast is exact.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let whole = (mebi.fract() == 0.0 && (1.0..1e9).contains(&mebi)).then_some(mebi as u32)?;
        Some(Self(MebiBytes(whole)))
    }
}

impl Serialize for Memory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_string().replace(' ', ""))
    }
}

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Memory;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size, such as \"512MiB\"")
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Memory, E> {
                let mebi = u32::try_from(number).ok().filter(|mebi| *mebi > 0);
                mebi.map(|mebi| Memory(MebiBytes(mebi)))
                    .ok_or_else(|| bad(format_args!("`{number}` is not a size"), MEMORY_HELP))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Memory, E> {
                self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Memory, E> {
                Memory::parse(text)
                    .ok_or_else(|| bad(format_args!("`{text}` is not a size"), MEMORY_HELP))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl JsonSchema for Memory {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Memory".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "MiB or GiB, such as \"512MiB\" or \"2GiB\"; a bare integer is MiB.",
            "anyOf": [
                { "type": "integer", "minimum": 1 },
                { "type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?[MG]iB?$" },
            ],
        })
    }
}

/// How many instances: `2`, or `{ min = 2, max = 4 }`; `max` is `min` when absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale(pub Replicas);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bounds {
    min: u32,
    #[serde(default)]
    max: Option<u32>,
}

impl Serialize for Scale {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Replicas { min, max } = self.0;
        Bounds {
            min,
            max: Some(max),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Scale {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Scale;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of replicas, such as 2 or { min = 2, max = 4 }")
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Scale, E> {
                let count = u32::try_from(number).map_err(|_| {
                    bad(
                        format_args!("`{number}` is not a number of replicas"),
                        "write a whole number from 0, or { min = 2, max = 4 }",
                    )
                })?;
                Ok(Scale(Replicas {
                    min: count,
                    max: count,
                }))
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Scale, E> {
                self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Scale, A::Error> {
                let Bounds { min, max } = Bounds::deserialize(MapAccessDeserializer::new(map))?;
                let max = max.unwrap_or(min);
                Ok(Scale(Replicas { min, max }))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl JsonSchema for Scale {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scale".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of instances, such as 2, or { min = 2, max = 4 }; `max` is `min` when absent.",
            "anyOf": [
                { "type": "integer", "minimum": 0, "maximum": u32::MAX },
                {
                    "type": "object",
                    "properties": {
                        "min": { "type": "integer", "minimum": 0, "maximum": u32::MAX },
                        "max": { "type": "integer", "minimum": 0, "maximum": u32::MAX },
                    },
                    "additionalProperties": false,
                },
            ],
        })
    }
}

/// Durations, in whole seconds: `"10m"`, `"1h 30m"`, `90`.
pub(crate) mod duration {
    use super::{
        Deserializer, Duration, HELP, Schema, SchemaGenerator, Serializer, Visitor, de, fmt,
        json_schema,
    };

    pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Whole seconds, minutes or hours, such as \"30s\" or \"10m\"; a bare integer is seconds.",
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": r"^([0-9]+ ?[a-zA-Z]+ ?)+$" },
            ],
        })
    }

    pub(crate) fn serialize<S: Serializer>(
        span: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*span))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration, such as \"30s\" or \"10m\"")
            }
            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Duration, E> {
                let seconds =
                    u64::try_from(seconds).map_err(|_| unreadable(&seconds.to_string()))?;
                Ok(Duration::from_secs(seconds))
            }
            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Duration, E> {
                Ok(Duration::from_secs(seconds))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                humantime::parse_duration(text)
                    .ok()
                    .filter(|span| span.subsec_nanos() == 0)
                    .ok_or_else(|| unreadable(text))
            }
        }
        deserializer.deserialize_any(Reader)
    }

    fn unreadable<E: de::Error>(text: &str) -> E {
        E::custom(format!(
            "`{text}` is not a duration{HELP}write whole seconds, minutes or hours, such as \"30s\", \"10m\" or \"1h 30m\""
        ))
    }
}

/// Short durations that may be absent: `"500ms"`, `"2s"`; never a bare number, whose unit nobody
/// would guess.
pub(crate) mod brief {
    use super::{
        Deserializer, Duration, HELP, Schema, SchemaGenerator, Serializer, Visitor, de, fmt,
        json_schema,
    };

    pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A duration with its unit, such as \"500ms\" or \"2s\".",
            "type": "string",
            "pattern": r"^([0-9]+ ?[a-zA-Z]+ ?)+$",
        })
    }

    // serde hands over a reference to the field as it is.
    #[allow(clippy::ref_option)]
    pub(crate) fn serialize<S: Serializer>(
        span: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => serializer.collect_str(&humantime::format_duration(*span)),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Option<Duration>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration, such as \"500ms\" or \"2s\"")
            }
            fn visit_unit<E: de::Error>(self) -> Result<Option<Duration>, E> {
                Ok(None)
            }
            fn visit_none<E: de::Error>(self) -> Result<Option<Duration>, E> {
                Ok(None)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Option<Duration>, E> {
                match humantime::parse_duration(text) {
                    Ok(span) if !span.is_zero() => Ok(Some(span)),
                    Ok(_) | Err(_) => Err(E::custom(format!(
                        "`{text}` is not a duration{HELP}write milliseconds or seconds, such as \"500ms\" or \"2s\""
                    ))),
                }
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// Values of plain variables: strings, and integers and booleans as their text.
pub(crate) mod plain_text {
    use std::collections::BTreeMap;

    use super::{
        Deserialize, Deserializer, Schema, SchemaGenerator, Visitor, de, fmt, json_schema,
    };

    pub(crate) fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": { "type": ["string", "integer", "boolean"] },
        })
    }

    #[derive(Deserialize)]
    struct Plain(#[serde(deserialize_with = "one")] String);

    pub(crate) fn one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = String;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, an integer or a boolean")
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<String, E> {
                Ok(value.to_string())
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<String, E> {
                Ok(value.to_string())
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<String, E> {
                Ok(value.to_string())
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<String, E> {
                Ok(value.to_owned())
            }
        }
        deserializer.deserialize_any(Reader)
    }

    pub(crate) fn map<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<String, String>, D::Error> {
        let map = BTreeMap::<String, Plain>::deserialize(deserializer)?;
        Ok(map
            .into_iter()
            .map(|(key, Plain(value))| (key, value))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn cpu_is_written_in_cpus_or_thousandths() {
        let cpu = |value| from_value::<Cpu>(value).map(|cpu| cpu.0.0).ok();
        assert_eq!(cpu(json!(0.5)), Some(500));
        assert_eq!(cpu(json!("0.08")), Some(80));
        assert_eq!(cpu(json!("500m")), Some(500));
        assert_eq!(cpu(json!(2)), Some(2000));
        assert_eq!(cpu(json!(0)), None);
        assert_eq!(cpu(json!("half")), None);
        assert_eq!(cpu(json!(0.0001)), None);
    }

    #[test]
    fn memory_is_binary_and_a_bare_integer_is_mebibytes() {
        let memory = |value| from_value::<Memory>(value).map(|memory| memory.0.0).ok();
        assert_eq!(memory(json!(512)), Some(512));
        assert_eq!(memory(json!("512Mi")), Some(512));
        assert_eq!(memory(json!("1.5GiB")), Some(1536));
        assert_eq!(memory(json!("512MB")), None);
        assert_eq!(memory(json!("1.0001GiB")), None);
        assert_eq!(memory(json!(0)), None);
    }

    #[test]
    fn quantities_survive_being_written_and_read() {
        let cpu: Cpu = from_value(json!("1500m")).unwrap();
        assert_eq!(from_value::<Cpu>(json!(cpu)).unwrap(), cpu);
        let memory: Memory = from_value(json!("1.5GiB")).unwrap();
        assert_eq!(from_value::<Memory>(json!(memory)).unwrap(), memory);
        let scale: Scale = from_value(json!({ "min": 2 })).unwrap();
        assert_eq!(from_value::<Scale>(json!(scale)).unwrap(), scale);
        assert_eq!(scale.0.max, 2);
    }
}
