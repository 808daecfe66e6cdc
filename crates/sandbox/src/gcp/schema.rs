//! Google's own schemas (trimmed discovery documents): which methods there are, what may be sent,
//! how answers are spelled.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Map, Value};

/// A JSON object.
pub type Object = Map<String, Value>;

/// A text field of a message; empty when absent.
pub fn text<'a>(message: &'a Object, name: &str) -> &'a str {
    let found = message.get(name).and_then(Value::as_str);
    found.unwrap_or_default()
}

/// One API's methods and messages.
#[derive(Deserialize)]
pub struct Api {
    /// The discovery document's name: `run.v2`.
    pub api: String,
    types: HashMap<String, String>,
    methods: Vec<Method>,
    messages: HashMap<String, HashMap<String, Field>>,
}

/// One method of an API.
#[derive(Deserialize)]
pub struct Method {
    /// For example `run.projects.locations.services.create`.
    pub id: String,
    verb: String,
    path: String,
    /// The query parameters it takes, apart from those that every method takes.
    pub query: BTreeMap<String, Field>,
    /// The message of the body, if it takes one.
    pub request: Option<String>,
    /// The message it answers.
    pub response: String,
}

/// What is known about a field.
#[derive(Deserialize)]
pub struct Field {
    /// Repeated.
    #[serde(default)]
    pub list: bool,
    /// Output only: ignored on input.
    #[serde(rename = "readOnly", default)]
    pub read_only: bool,
    /// A default value that was sent is kept.
    #[serde(default)]
    pub presence: bool,
    /// At most one field of a `oneof` may be set.
    pub oneof: Option<String>,
    /// The full protobuf name of an enum.
    pub proto: Option<String>,
    /// The type of a value.
    #[serde(flatten)]
    pub kind: Kind,
}

/// The type of a value in JSON.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Kind {
    String,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Double,
    Bool,
    Bytes,
    Duration,
    Timestamp,
    Mask,
    Any,
    Enum { values: BTreeMap<String, i32> },
    Message { of: String },
    Map { of: Box<Field> },
}

/// How enums are spelled in answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnumStyle {
    /// By name, the default.
    Names,
    /// `$alt=json;enum-encoding=int`, as Google's own clients ask for.
    Numbers,
}

static APIS: LazyLock<Vec<Api>> = LazyLock::new(|| {
    [
        include_str!("../../schemas/gcp/run.v2.json"),
        include_str!("../../schemas/gcp/secretmanager.v1.json"),
        include_str!("../../schemas/gcp/artifactregistry.v1.json"),
        include_str!("../../schemas/gcp/logging.v2.json"),
        include_str!("../../schemas/gcp/run.v1.json"),
        include_str!("../../schemas/gcp/serviceusage.v1.json"),
        include_str!("../../schemas/gcp/cloudresourcemanager.v1.json"),
        include_str!("../../schemas/gcp/cloudresourcemanager.v3.json"),
        include_str!("../../schemas/gcp/sqladmin.v1.json"),
        include_str!("../../schemas/gcp/sqladmin.v1beta4.json"),
        include_str!("../../schemas/gcp/redis.v1.json"),
        include_str!("../../schemas/gcp/dns.v1.json"),
        include_str!("../../schemas/gcp/storage.v1.json"),
    ]
    .into_iter()
    .map(|text| {
        serde_json::from_str(text).expect("the committed schemas are what the script wrote")
    })
    .collect()
});

/// The ids of every method that the sandbox knows.
pub fn method_ids() -> impl Iterator<Item = &'static str> {
    let methods = APIS.iter().flat_map(|api| &api.methods);
    methods.map(|method| method.id.as_str())
}

/// Finds the method for a request, with the values of its path's placeholders in order.
/// `None` when no API has such a path and verb.
pub fn route(verb: &str, path: &str) -> Option<(&'static Api, &'static Method, Vec<String>)> {
    let mut found = None;
    for api in APIS.iter() {
        for method in api.methods.iter().filter(|m| m.verb == verb) {
            if let Some(values) = match_path(&method.path, path) {
                // A path with a custom verb also matches the plain pattern of an id that may hold a
                // `:`.
                let has_verb = method
                    .path
                    .rsplit('/')
                    .next()
                    .is_some_and(|s| s.contains("}:"));
                if has_verb {
                    return Some((api, method, values));
                }
                found.get_or_insert((api, method, values));
            }
        }
    }
    found
}

/// Placeholders whose values hold colons: an image's digest, an object's name.
const WITH_COLON: [&str; 5] = [
    "{object}",
    "{dockerImagesId}",
    "{versionsId}",
    "{packagesId}",
    "{tagsId}",
];

fn match_path(pattern: &str, path: &str) -> Option<Vec<String>> {
    let (pattern, path): (Vec<_>, Vec<_>) =
        (pattern.split('/').collect(), path.split('/').collect());
    if pattern.len() != path.len() {
        return None;
    }
    let mut values = Vec::new();
    for (want, got) in pattern.iter().zip(&path) {
        let Some(open) = want.find('{') else {
            if want != got {
                return None;
            }
            continue;
        };
        debug_assert_eq!(open, 0, "no pattern has a prefix before its placeholder");
        let (placeholder, verb) = match want.split_once("}:") {
            Some((_, verb)) => (*want, Some(verb)),
            None => (*want, None),
        };
        let raw = match verb {
            Some(verb) => got.strip_suffix(verb)?.strip_suffix(':')?,
            None => got,
        };
        let value = percent_decode_str(raw).decode_utf8_lossy().into_owned();
        if value.is_empty()
            || (value.contains(':') && verb.is_none() && !WITH_COLON.contains(&placeholder))
        {
            return None;
        }
        values.push(value);
    }
    Some(values)
}

/// A part of a request that the schema does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of the object, in the protobuf spelling.
    pub field: String,
    /// Google's sentence.
    pub description: String,
}

impl Api {
    /// Checks `value` against `message` and brings it into one spelling: names in camel case, enums
    /// by name, 64-bit integers as strings; without nulls, output-only fields and defaults.
    pub fn read(
        &self,
        message: &str,
        value: &Value,
        path: &str,
        faults: &mut Vec<Violation>,
    ) -> Object {
        let Some(object) = value.as_object() else {
            faults.push(Violation {
                field: path.into(),
                description: format!("Invalid value at '{path}' ({message}), {value}"),
            });
            return Object::new();
        };
        let mut out = Object::new();
        let mut oneofs: HashMap<&str, &str> = HashMap::new();
        for (name, value) in object {
            let Some((name, field)) = self.field(message, name) else {
                faults.push(unknown(name, path, "Cannot find field."));
                continue;
            };
            if value.is_null() {
                continue;
            }
            if let Some(oneof) = &field.oneof
                && oneofs.insert(oneof, name).is_some()
            {
                faults.push(Violation {
                    field: path.into(),
                    description: format!(
                        "Invalid value at '{path}' (oneof), oneof field '{oneof}' is already set. Cannot set '{name}'"
                    ),
                });
                continue;
            }
            let at = join(path, &snake(name));
            if let Some(value) = self.read_field(field, value, &at, faults)
                && !field.read_only
                && (field.presence || field.oneof.is_some() || !is_default(field, &value))
            {
                out.insert(name.to_owned(), value);
            }
        }
        out
    }

    /// The member of a listing's message that has what is listed: before `warnings`, by its name.
    pub fn repeated(&self, message: &str) -> &str {
        let fields = self.messages.get(message).into_iter().flatten();
        let own = fields.filter(|(_, it)| it.list && matches!(it.kind, Kind::Message { .. }));
        own.map(|(name, _)| name.as_str()).min().unwrap_or("items")
    }

    /// A field by its JSON name or, as protobuf allows, by its own name.
    pub fn field(&self, message: &str, name: &str) -> Option<(&str, &Field)> {
        let fields = self.messages.get(message)?;
        let entry = fields
            .get_key_value(name)
            .or_else(|| fields.get_key_value(&camel(name)))?;
        Some((entry.0, entry.1))
    }

    fn read_field(
        &self,
        field: &Field,
        value: &Value,
        at: &str,
        faults: &mut Vec<Violation>,
    ) -> Option<Value> {
        if !field.list {
            return self.read_value(field, value, at, faults);
        }
        let Some(items) = value.as_array() else {
            faults.push(invalid(at, "repeated field", value));
            return None;
        };
        let read = items.iter().enumerate().filter_map(|(index, item)| {
            self.read_value(field, item, &format!("{at}[{index}]"), faults)
        });
        Some(Value::Array(read.collect()))
    }

    fn read_value(
        &self,
        field: &Field,
        value: &Value,
        at: &str,
        faults: &mut Vec<Violation>,
    ) -> Option<Value> {
        if value.is_array() && !matches!(field.kind, Kind::Any) {
            let (parent, name) = at.rsplit_once('.').unwrap_or(("", at));
            faults.push(unknown(
                name,
                parent,
                "Proto field is not repeating, cannot start list.",
            ));
            return None;
        }
        match &field.kind {
            Kind::Message { of } => Some(Value::Object(self.read(of, value, at, faults))),
            Kind::Map { of } => {
                let Some(object) = value.as_object() else {
                    faults.push(invalid(at, "map", value));
                    return None;
                };
                let mut out = Object::new();
                for (key, value) in object {
                    if let Some(value) = self.read_value(of, value, &format!("{at}[{key}]"), faults)
                    {
                        out.insert(key.clone(), value);
                    }
                }
                Some(Value::Object(out))
            }
            Kind::Any => Some(value.clone()),
            scalar => match read_scalar(scalar, value) {
                Some(value) => Some(value),
                None => {
                    faults.push(invalid(at, &type_name(field), value));
                    None
                }
            },
        }
    }

    /// Spells an answer: unknown members and defaults dropped (an unknown one is our mistake),
    /// enums as asked for.
    pub fn write(&self, message: &str, value: &Value, style: EnumStyle) -> Value {
        let Some(object) = value.as_object() else {
            return value.clone();
        };
        let mut out = Object::new();
        for (name, value) in object {
            let Some((_, field)) = self.field(message, name) else {
                debug_assert!(false, "{}: {message} has no field `{name}`", self.api);
                continue;
            };
            let value = match value {
                Value::Array(items) if field.list => items
                    .iter()
                    .map(|item| self.write_value(field, item, style))
                    .collect(),
                value => self.write_value(field, value, style),
            };
            if !value.is_null() && (field.presence || !is_default(field, &value)) {
                out.insert(name.clone(), value);
            }
        }
        Value::Object(out)
    }

    fn write_value(&self, field: &Field, value: &Value, style: EnumStyle) -> Value {
        match &field.kind {
            Kind::Message { of } => self.write(of, value, style),
            Kind::Enum { values } => match (style, value.as_str()) {
                (EnumStyle::Numbers, Some(name)) => {
                    debug_assert!(values.contains_key(name), "no enum value `{name}`");
                    values
                        .get(name)
                        .map_or(Value::Null, |number| (*number).into())
                }
                _ => value.clone(),
            },
            Kind::Any => write_any(value, style),
            _ => value.clone(),
        }
    }
}

/// An `Any` names its own message; those that no schema here knows are left as they are.
fn write_any(value: &Value, style: EnumStyle) -> Value {
    let Some(of) = value.get("@type").and_then(Value::as_str) else {
        return value.clone();
    };
    let full = of.trim_start_matches("type.googleapis.com/");
    let known = APIS
        .iter()
        .find_map(|api| api.types.get(full).map(|message| (api, message)));
    let Some((api, message)) = known else {
        return value.clone();
    };
    let mut inner = value.clone();
    if let Some(object) = inner.as_object_mut() {
        object.remove("@type");
    }
    let mut out = api.write(message, &inner, style);
    out["@type"] = of.into();
    out
}

fn read_scalar(kind: &Kind, value: &Value) -> Option<Value> {
    match kind {
        Kind::String | Kind::Mask => value.is_string().then(|| value.clone()),
        Kind::Bool => match value {
            Value::Bool(_) => Some(value.clone()),
            Value::String(text) => text.parse::<bool>().ok().map(Value::Bool),
            _ => None,
        },
        Kind::Int32 => integer(value)
            .and_then(|n| i32::try_from(n).ok())
            .map(Value::from),
        Kind::Uint32 => integer(value)
            .and_then(|n| u32::try_from(n).ok())
            .map(Value::from),
        Kind::Int64 => integer(value)
            .and_then(|n| i64::try_from(n).ok())
            .map(|n| n.to_string().into()),
        Kind::Uint64 => integer(value)
            .and_then(|n| u64::try_from(n).ok())
            .map(|n| n.to_string().into()),
        Kind::Double => value.is_number().then(|| value.clone()),
        Kind::Bytes => value.as_str().and_then(decode_base64).map(|bytes| {
            use base64::Engine;
            base64::engine::general_purpose::STANDARD
                .encode(bytes)
                .into()
        }),
        Kind::Duration => value.as_str().and_then(read_duration).map(Value::from),
        Kind::Timestamp => value
            .as_str()
            .filter(|text| text.parse::<jiff::Timestamp>().is_ok())
            .map(Value::from),
        Kind::Enum { values } => match value {
            Value::String(name) => values.contains_key(name).then(|| value.clone()),
            Value::Number(number) => values
                .iter()
                .find(|(_, n)| number.as_i64() == Some(i64::from(**n)))
                .map(|(name, _)| name.clone().into()),
            _ => None,
        },
        Kind::Any | Kind::Message { .. } | Kind::Map { .. } => Some(value.clone()),
    }
}

fn integer(value: &Value) -> Option<i128> {
    match value {
        Value::Number(number) => number.as_i128().or_else(|| {
            number
                .as_f64()
                .filter(|f| f.fract() == 0.0)
                .map(|f| f as i128)
        }),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// Base64 of either alphabet, padded or not, as protobuf's JSON allows.
pub fn decode_base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine;
    use base64::alphabet::STANDARD;
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let text = text.replace('-', "+").replace('_', "/");
    GeneralPurpose::new(&STANDARD, config).decode(text).ok()
}

/// `3.50s` becomes `3.500s`, `300.0s` becomes `300s`, as protobuf writes them.
fn read_duration(text: &str) -> Option<String> {
    let body = text.strip_suffix('s')?;
    let (sign, body) = body
        .strip_prefix('-')
        .map_or(("", body), |body| ("-", body));
    let (whole, fraction) = body.split_once('.').unwrap_or((body, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let mut fraction = fraction.trim_end_matches('0').to_owned();
    while !fraction.len().is_multiple_of(3) {
        fraction.push('0');
    }
    let dot = if fraction.is_empty() { "" } else { "." };
    Some(format!("{sign}{whole}{dot}{fraction}s"))
}

fn is_default(field: &Field, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Object(object) => object.is_empty() && matches!(field.kind, Kind::Map { .. }),
        Value::String(text) => match &field.kind {
            Kind::Enum { values } => values.get(text) == Some(&0),
            Kind::Int64 | Kind::Uint64 => text == "0",
            Kind::Duration => false,
            _ => text.is_empty(),
        },
    }
}

fn type_name(field: &Field) -> String {
    let name = match &field.kind {
        Kind::String => "TYPE_STRING",
        Kind::Int32 => "TYPE_INT32",
        Kind::Int64 => "TYPE_INT64",
        Kind::Uint32 => "TYPE_UINT32",
        Kind::Uint64 => "TYPE_UINT64",
        Kind::Double => "TYPE_DOUBLE",
        Kind::Bool => "TYPE_BOOL",
        Kind::Bytes => "TYPE_BYTES",
        Kind::Duration => "type.googleapis.com/google.protobuf.Duration",
        Kind::Timestamp => "type.googleapis.com/google.protobuf.Timestamp",
        Kind::Mask => "type.googleapis.com/google.protobuf.FieldMask",
        Kind::Enum { .. } => {
            let proto = field.proto.as_deref().unwrap_or("enum");
            return format!("type.googleapis.com/{proto}");
        }
        Kind::Any | Kind::Message { .. } | Kind::Map { .. } => "message",
    };
    name.to_owned()
}

fn invalid(at: &str, kind: &str, value: &Value) -> Violation {
    // Google repeats a bad base64 text; it may be a secret, so this does not.
    let shown = if kind == "TYPE_BYTES" {
        "Base64 decoding failed".to_owned()
    } else {
        value.to_string()
    };
    Violation {
        field: at.into(),
        description: format!("Invalid value at '{at}' ({kind}), {shown}"),
    }
}

fn unknown(name: &str, path: &str, why: &str) -> Violation {
    let at = if path.is_empty() {
        String::new()
    } else {
        format!(" at '{path}'")
    };
    Violation {
        field: path.into(),
        description: format!("Invalid JSON payload received. Unknown name \"{name}\"{at}: {why}"),
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// `launchStage` becomes `launch_stage`.
pub fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// `launch_stage` becomes `launchStage`.
pub fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else if upper {
            out.push(c.to_ascii_uppercase());
            upper = false;
        } else {
            out.push(c);
        }
    }
    out
}

/// Whether a field mask's path leads to a field of a message. Paths end at lists and go into maps.
pub fn has_path(api: &str, message: &str, path: &[&str]) -> bool {
    let Some(api) = APIS.iter().find(|a| a.api == api) else {
        return false;
    };
    let mut message = message;
    for (index, part) in path.iter().enumerate() {
        let Some((_, field)) = api.field(message, part) else {
            return false;
        };
        match &field.kind {
            _ if index + 1 == path.len() => return true,
            Kind::Message { of } if !field.list => message = of,
            Kind::Map { .. } => return true,
            _ => return false,
        }
    }
    false
}
