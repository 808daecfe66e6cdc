//! `from`: where a secret's value comes from, as it is written.

use std::fmt;

use deployer_core::spec::Generate;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::described;
use crate::units::HELP;

/// `from`: where a secret's value comes from. Never the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum From {
    /// `"cloud"`: set by `deployer secrets set` or by hand; one that somebody else made is only
    /// read.
    #[default]
    Cloud,
    /// `{ env = "NAME" }`.
    Env(String),
    /// `{ file = "PATH" }`, relative to the manifest.
    File(String),
    /// `{ generate = "hex:32" }`.
    Generate(Generate),
}

const FROM: &str =
    "\"cloud\", { env = \"NAME\" }, { file = \"PATH\" } or { generate = \"hex:32\" }";

impl JsonSchema for From {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "From".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let only = |key: &str, about: &str, pattern: &str| {
            json_schema!({
                "type": "object",
                "description": about,
                "properties": { key: { "type": "string", "pattern": pattern } },
                "required": [key],
                "additionalProperties": false,
                described::WHOLE: true,
            })
        };
        json_schema!({
            "description": "\"cloud\" (set by `deployer secrets set` or by hand), { env = \"NAME\" }, { file = \"PATH\" } or { generate = \"hex:32\" }.",
            "anyOf": [
                { "const": "cloud" },
                only("env", "A variable of the machine that runs deployer.", "^[A-Za-z_][A-Za-z0-9_]*$"),
                only("file", "A file, relative to the manifest.", "[^ ]"),
                only(
                    "generate",
                    "Made once: random bytes (`hex:32`, `base64:32`) or an RSA key (`rsa:2048`).",
                    "^((hex|base64):[0-9]+|rsa:(2048|3072|4096))$",
                ),
            ],
        })
    }
}

impl Serialize for From {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (key, value) = match self {
            Self::Cloud => return serializer.serialize_str("cloud"),
            Self::Env(name) => ("env", name.clone()),
            Self::File(path) => ("file", path.clone()),
            Self::Generate(what) => ("generate", generate_text(*what)),
        };
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(key, &value)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for From {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            env: Option<String>,
            file: Option<String>,
            #[serde(default, deserialize_with = "some_generate")]
            generate: Option<Generate>,
        }
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = From;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(FROM)
            }
            fn visit_str<E: de::Error>(self, word: &str) -> Result<From, E> {
                // The text may be the secret itself, pasted here: it is not repeated.
                if word == "cloud" {
                    return Ok(From::Cloud);
                }
                Err(E::custom(format!(
                    "this string is not a place that a secret can come from{HELP}write {FROM}; \
                     the value itself never stands in the manifest"
                )))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<From, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                match (table.env, table.file, table.generate) {
                    (Some(name), None, None) => Ok(From::Env(name)),
                    (None, Some(path), None) => Ok(From::File(path)),
                    (None, None, Some(what)) => Ok(From::Generate(what)),
                    (None, None, None) => Err(de::Error::custom(format!(
                        "this table names no place that the secret comes from{HELP}write {FROM}"
                    ))),
                    _ => Err(de::Error::custom(format!(
                        "a secret comes from one place only{HELP}keep one of `env`, `file` and `generate`"
                    ))),
                }
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// How a manifest writes what to generate.
pub(crate) fn generate_text(what: Generate) -> String {
    match what {
        Generate::Hex(bytes) => format!("hex:{bytes}"),
        Generate::Base64(bytes) => format!("base64:{bytes}"),
        Generate::Rsa(bits) => format!("rsa:{bits}"),
    }
}

fn parse_generate(text: &str) -> Result<Generate, &'static str> {
    const FORMS: &str = "write \"hex:32\" or \"base64:32\" (random bytes), or \"rsa:2048\" (bits)";
    const BYTES: &str = "between 16 and 1024 random bytes, such as \"hex:32\"";
    const BITS: &str = "RSA keys have 2048, 3072 or 4096 bits";
    let (kind, size) = text.split_once(':').ok_or(FORMS)?;
    let size: u16 = size.parse().map_err(|_| FORMS)?;
    let enough = (16..=1024).contains(&size);
    match kind {
        "hex" if enough => Ok(Generate::Hex(size)),
        "base64" if enough => Ok(Generate::Base64(size)),
        "hex" | "base64" => Err(BYTES),
        "rsa" if matches!(size, 2048 | 3072 | 4096) => Ok(Generate::Rsa(size)),
        "rsa" => Err(BITS),
        _ => Err(FORMS),
    }
}

fn some_generate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Generate>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_generate(&text)
        .map(Some)
        .map_err(|help| de::Error::custom(format!("this cannot be generated{HELP}{help}")))
}
