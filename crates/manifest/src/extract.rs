//! Turns the merged values into a [`Manifest`], going on after a fault so that all are found at
//! once.

use std::collections::{BTreeMap, BTreeSet};

use figment::error::{Actual, Kind};
use figment::value::{Dict, Value};
use serde::Deserialize;

use crate::layers::nearest;
use crate::model::Manifest;
use crate::problem::Report;
use crate::source::{KeyPath, Origins};
use crate::units::HELP;

/// More faults than anyone reads; also what ends the loop whatever happens.
const MOST: usize = 200;

/// Reads the manifest out of `value`. What cannot be read is reported, dropped and distrusted.
///
/// `None` when so little is left that there is no manifest; the report then has an error.
pub(crate) fn extract(
    mut value: Value,
    origins: &Origins,
    report: &mut Report<'_>,
) -> Option<Manifest> {
    keep_strongest_source(&mut value, origins);
    let mut stand_ins: BTreeMap<KeyPath, usize> = BTreeMap::new();
    let mut reread = BTreeSet::new();
    for _ in 0..MOST {
        let error = match Manifest::deserialize(&value) {
            Ok(manifest) => return Some(manifest),
            Err(error) => error,
        };
        let path = KeyPath::new(error.path.iter().map(String::as_str));
        if let Some(tried) = stand_ins.get_mut(&path) {
            *tried += 1;
            put(&mut value, &path, stand_in(*tried)?);
            continue;
        }
        let given = origins.place(&path).and_then(|place| place.raw_text());
        if let (Some(text), Kind::InvalidType(..)) = (given, &error.kind)
            && reread.insert(path.clone())
        {
            // A variable has no type: `123456789012` may well be meant as a string.
            put(&mut value, &path, Value::from(text));
            continue;
        }
        match error.kind {
            Kind::MissingField(name) => {
                let missing = path.join(name.to_string());
                report_missing(report, &path, &missing);
                put(&mut value, &missing, stand_in(0)?);
                stand_ins.insert(missing, 0);
            }
            Kind::UnknownField(name, known) => {
                report_unknown(report, &path, &name, known);
                drop_value(&mut value, &path);
            }
            kind => {
                // What is wrong with a whole whose part was dropped is most likely that.
                if !report.distrusts_inside(&path) {
                    report_wrong(report, &path, &kind);
                }
                let dropped = drop_value(&mut value, &path)?;
                report.distrust(dropped);
            }
        }
    }
    None
}

/// Values that fill in for missing ones, so that the rest can be read.
fn stand_in(tried: usize) -> Option<Value> {
    match tried {
        0 => Some(Value::from("")),
        1 => Some(Value::from(1)),
        2 => Some(Value::from(Vec::<Value>::new())),
        3 => Some(Value::from(Dict::new())),
        _ => None,
    }
}

/// `from` is one of several keys: a stronger layer replaces it as a whole instead of adding to it.
fn keep_strongest_source(value: &mut Value, origins: &Origins) {
    let Value::Dict(_, top) = value else { return };
    let Some(Value::Dict(_, secrets)) = top.get_mut("secrets") else {
        return;
    };
    for (name, secret) in secrets {
        let Value::Dict(_, secret) = secret else {
            continue;
        };
        let Some(Value::Dict(_, from)) = secret.get_mut("from") else {
            continue;
        };
        let keys = origins.strongest_keys(&KeyPath::new(["secrets", name, "from"]));
        from.retain(|key, _| keys.is_empty() || keys.contains(key));
    }
}

fn report_missing(report: &mut Report<'_>, table: &KeyPath, missing: &KeyPath) {
    let name = missing.parts().last().cloned().unwrap_or_default();
    let of = match table.parts() {
        [] => "the manifest".to_owned(),
        _ => format!("`[{table}]`"),
    };
    let example = match name.as_str() {
        "app" => "app = \"identity\"",
        "image" => "image = \"oci:images/app\"",
        "port" => "port = 8080",
        "account" => "account = \"123456789012\"",
        "region" if table.parts().last().is_some_and(|part| part == "gcp") => {
            "region = \"us-central1\""
        }
        "region" => "region = \"us-east-1\"",
        "cluster" => "cluster = \"main\"",
        "subnets" => "subnets = [\"subnet-0123456789abcdef0\"]",
        "execution_role" => "execution_role = \"ecsTaskExecutionRole\"",
        "project" => "project = \"my-project\"",
        "private" => "private = \"jwt-private-key\"",
        "public" => "public = \"jwt-public-key\"",
        "secret" => "{ secret = \"database-url\" }",
        "min" => "{ min = 2, max = 4 }",
        "name" => "name = \"idp.example.com\"",
        "zone" => "zone = \"example.com\"",
        "load_balancer" => "load_balancer = \"main\"",
        "address" => "address = \"203.0.113.10\"",
        "path" => "path = \"/api/v1/token\"",
        "client_id" => "client_id = \"client-id\"",
        "client_secret" => "client_secret = \"client-secret\"",
        _ => "",
    };
    let help = if example.is_empty() {
        String::new()
    } else {
        format!("add `{example}`")
    };
    report.key_error(missing, format!("{of} lacks `{name}`"), help);
    report.distrust(missing.clone());
}

fn report_unknown(report: &mut Report<'_>, path: &KeyPath, name: &str, known: &[&str]) {
    let meant = nearest(name, known.iter().copied());
    let help = match meant {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("the keys here are {}", list(known)),
    };
    report.key_error(path, format!("unknown key `{name}`"), help);
    report.distrust(path.clone());
    // The key that was meant is not missing: it is misspelt.
    if let (Some(word), Some(table)) = (meant, path.parent()) {
        report.distrust(table.join(word));
    }
}

fn report_wrong(report: &mut Report<'_>, path: &KeyPath, kind: &Kind) {
    let may_be_secret = path.parts().iter().any(|part| part == "from");
    let (message, help) = match kind {
        Kind::Message(text) => match text.split_once(HELP) {
            Some((message, help)) => (message.to_owned(), help.to_owned()),
            None => (text.clone(), String::new()),
        },
        Kind::InvalidType(found, wanted) | Kind::InvalidValue(found, wanted) => {
            let found = if may_be_secret {
                name_of(found).to_owned()
            } else {
                describe(found)
            };
            let key = path.parts().last().map_or("", String::as_str);
            (
                format!("expected {}, found {found}", plain_words(wanted)),
                how_to_write(key, kind, wanted),
            )
        }
        Kind::UnknownVariant(found, known) => {
            let help = match nearest(found, known.iter().copied()) {
                Some(word) => format!("did you mean \"{word}\"?"),
                None => format!("it is one of {}", list(known)),
            };
            (format!("`{found}` is not known here"), help)
        }
        Kind::InvalidLength(found, wanted) => (
            format!("expected {wanted}, found {found} of them"),
            String::new(),
        ),
        Kind::DuplicateField(name) => (format!("`{name}` is there twice"), String::new()),
        Kind::MissingField(_)
        | Kind::UnknownField(..)
        | Kind::ISizeOutOfRange(_)
        | Kind::USizeOutOfRange(_)
        | Kind::Unsupported(_)
        | Kind::UnsupportedKey(..) => (kind.to_string(), String::new()),
    };
    if may_be_secret {
        report.hidden_error(path, message, help);
    } else {
        report.error(path, message, help);
    }
}

/// A value of the type that is wanted, as it is written; none that may be a secret is repeated.
fn how_to_write(key: &str, found: &Kind, wanted: &str) -> String {
    let text = match found {
        Kind::InvalidType(Actual::Str(text), _) => text.as_str(),
        _ => "",
    };
    let is_whole = matches!(wanted, "u16" | "u32" | "u64" | "usize" | "i64");
    let bare = match wanted {
        "a boolean" | "bool" => text.parse::<bool>().is_ok(),
        _ => is_whole && text.parse::<i64>().is_ok(),
    };
    let example = match key {
        _ if bare => return format!("write it without quotes: `{key} = {text}`"),
        "migrate" => "migrate = { command = [\"npm\", \"run\", \"migrate\"] }",
        "health" => "health = { path = \"/health\" }",
        "replicas" => "replicas = { min = 2, max = 4 }",
        "verify" => "verify = { checks = [{ path = \"/health\" }] }",
        "port" => "port = 8080",
        "command" | "entrypoint" => {
            return format!("write it as `{key} = [\"node\", \"server.js\"]`");
        }
        _ if is_whole => return format!("write it as `{key} = 1`"),
        _ => match wanted {
            "a boolean" | "bool" => return format!("write it as `{key} = true`"),
            "a string" | "string" => return format!("write it as `{key} = \"...\"`"),
            "a sequence" => return format!("write it as `{key} = [\"...\"]`"),
            _ => return String::new(),
        },
    };
    format!("write it as `{example}`")
}

fn list(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

/// What Rust calls a type, in words of TOML.
fn plain_words(wanted: &str) -> String {
    match wanted {
        "u16" => "an integer from 0 to 65535".to_owned(),
        "u32" => "an integer from 0 to 4294967295".to_owned(),
        "a sequence" => "an array".to_owned(),
        "a map" => "a table".to_owned(),
        _ if wanted.starts_with("struct ") => "a table".to_owned(),
        _ => wanted.to_owned(),
    }
}

fn name_of(found: &Actual) -> &'static str {
    match found {
        Actual::Bool(_) => "a boolean",
        Actual::Unsigned(_) | Actual::Signed(_) => "an integer",
        Actual::Float(_) => "a float",
        Actual::Char(_) | Actual::Str(_) => "a string",
        Actual::Seq => "an array",
        Actual::Map => "a table",
        Actual::Bytes(_)
        | Actual::Unit
        | Actual::Option
        | Actual::NewtypeStruct
        | Actual::Enum
        | Actual::UnitVariant
        | Actual::NewtypeVariant
        | Actual::TupleVariant
        | Actual::StructVariant
        | Actual::Other(_) => "something else",
    }
}

fn describe(found: &Actual) -> String {
    let name = name_of(found);
    match found {
        Actual::Bool(value) => format!("the boolean {value}"),
        Actual::Unsigned(value) => format!("the integer {value}"),
        Actual::Signed(value) => format!("the integer {value}"),
        Actual::Float(value) => format!("the float {value}"),
        Actual::Str(value) => format!("the string \"{value}\""),
        _ => name.to_owned(),
    }
}

/// Replaces or adds the value at `path`; nothing when a table on the way is none.
fn put(value: &mut Value, path: &KeyPath, new: Value) {
    let Some((last, tables)) = path.parts().split_last() else {
        return;
    };
    let mut at = value;
    for key in tables {
        let Value::Dict(_, dict) = at else { return };
        let Some(below) = dict.get_mut(key) else {
            return;
        };
        at = below;
    }
    if let Value::Dict(_, dict) = at {
        dict.insert(last.clone(), new);
    }
}

/// Removes the value at `path`, or the array that it is an element of, and says what was removed.
/// `None` when there is nothing left to remove.
fn drop_value(value: &mut Value, path: &KeyPath) -> Option<KeyPath> {
    fn remove(dict: &mut Dict, path: &[String]) -> Option<usize> {
        let (first, rest) = path.split_first()?;
        if let (Some(Value::Dict(_, below)), false) = (dict.get_mut(first), rest.is_empty()) {
            return remove(below, rest).map(|depth| depth + 1);
        }
        dict.remove(first).map(|_| 1)
    }
    let Value::Dict(_, top) = value else {
        return None;
    };
    let depth = remove(top, path.parts())?;
    Some(KeyPath::new(path.parts().iter().take(depth).cloned()))
}
