//! Reads each layer of the manifest - files, variables, flags - into values and their places.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::Problem;
use crate::source::{KeyPath, Origin, Place, Places, SourceFile};

/// One layer: what figment merges, and where each value stands.
pub(crate) struct Layer {
    pub(crate) name: String,
    pub(crate) values: Dict,
    pub(crate) places: Places,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// No manifest is larger; a file that is, is not one.
const LARGEST: u64 = 8 << 20;

/// Reads a manifest file. Every syntax error of it is a problem of its own.
pub(crate) fn from_file(path: &Path, shown: PathBuf) -> Result<Layer, Vec<Problem>> {
    let size = std::fs::metadata(path).map_or(0, |file| file.len());
    if size > LARGEST {
        let why = format!("this is no manifest: it has {size} bytes");
        return Err(vec![
            Problem::in_file(shown, why).with_help("name the manifest with -f"),
        ]);
    }
    let bytes = std::fs::read(path).map_err(|e| {
        let problem = Problem::in_file(shown.clone(), format!("cannot read the manifest: {e}"));
        vec![match e.kind() {
            std::io::ErrorKind::NotFound => problem.with_help(
                "name the manifest with -f, or go to its directory; `deployer init` makes a \
                     first one",
            ),
            _ => problem,
        }]
    })?;
    let text = String::from_utf8(bytes).map_err(|_| {
        vec![Problem::in_file(
            shown.clone(),
            "the manifest is not UTF-8 text",
        )]
    })?;
    from_text(shown, text)
}

pub(crate) fn from_text(shown: PathBuf, text: String) -> Result<Layer, Vec<Problem>> {
    let file = Arc::new(SourceFile::new(shown, text));
    let (table, errors) = DeTable::parse_recoverable(file.text());
    if !errors.is_empty() {
        return Err(errors.iter().map(|e| syntax_problem(&file, e)).collect());
    }
    let mut reading = Reading {
        file: &file,
        places: Places::new(),
        problems: vec![],
    };
    let values = reading.table(&KeyPath::default(), table.get_ref());
    let Reading {
        places, problems, ..
    } = reading;
    if problems.is_empty() {
        Ok(Layer {
            name: file.path.display().to_string(),
            values,
            places,
        })
    } else {
        Err(problems)
    }
}

fn syntax_problem(file: &SourceFile, error: &toml::de::Error) -> Problem {
    let message = format!("not TOML: {}", error.message());
    let problem = Problem::in_file(file.path.clone(), message);
    match error.span() {
        Some(span) => problem.at(file, span),
        None => problem,
    }
}

struct Reading<'a> {
    file: &'a Arc<SourceFile>,
    places: Places,
    problems: Vec<Problem>,
}

impl Reading<'_> {
    fn table(&mut self, path: &KeyPath, table: &DeTable<'_>) -> Dict {
        let mut dict = Dict::new();
        for (key, value) in table {
            let name = key.get_ref().to_string();
            let path = path.join(name.clone());
            let place = Place::File {
                file: Arc::clone(self.file),
                key: key.span(),
                value: value.span(),
            };
            self.places.insert(path.clone(), place);
            dict.insert(name, self.value(&path, value));
        }
        dict
    }

    fn value(&mut self, path: &KeyPath, value: &Spanned<DeValue<'_>>) -> Value {
        match value.get_ref() {
            DeValue::String(text) => Value::from(text.as_ref()),
            DeValue::Integer(integer) => {
                match i64::from_str_radix(integer.as_str(), integer.radix()) {
                    Ok(integer) => Value::from(integer),
                    Err(_) => {
                        let problem = Problem::in_file(
                            self.file.path.clone(),
                            "this integer is larger than 64 bits hold",
                        );
                        self.problems.push(problem.at(self.file, value.span()));
                        Value::from(0)
                    }
                }
            }
            // TOML's floats are a subset of Rust's.
            DeValue::Float(float) => Value::from(float.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(boolean) => Value::from(*boolean),
            DeValue::Datetime(datetime) => Value::from(datetime.to_string()),
            DeValue::Array(array) => {
                let mut values = vec![];
                for (index, element) in array.iter().enumerate() {
                    let path = path.join(index.to_string());
                    let place = Place::File {
                        file: Arc::clone(self.file),
                        key: element.span(),
                        value: element.span(),
                    };
                    self.places.insert(path.clone(), place);
                    values.push(self.value(&path, element));
                }
                Value::from(values)
            }
            DeValue::Table(table) => Value::from(self.table(path, table)),
        }
    }
}

/// The manifest's top-level keys that `DEPLOYER_KEY` and `DEPLOYER_KEY__...` set; every other
/// variable with our prefix is a setting of the program.
const TABLES: [&str; 7] = [
    "services",
    "databases",
    "caches",
    "secrets",
    "keys",
    "tags",
    "targets",
];
const SCALARS: [&str; 2] = ["app", "environment"];
const PREFIX: &str = "DEPLOYER_";

/// Reads the `DEPLOYER_*` variables that belong to the manifest; `below` is what the files say.
pub(crate) fn from_variables(vars: &[(String, String)], below: &Dict) -> (Layer, Vec<Problem>) {
    let mut layer = Layer::empty("environment variables");
    let mut problems = vec![];
    let mut vars: Vec<_> = vars.iter().collect();
    vars.sort();
    for (name, text) in vars {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let parts: Vec<_> = rest.split("__").collect();
        let first = parts
            .first()
            .map(|part| part.to_lowercase())
            .unwrap_or_default();
        let is_ours = match parts.len() {
            1 => SCALARS.contains(&first.as_str()),
            _ => true,
        };
        if !is_ours {
            continue;
        }
        let origin = Origin::Variable(name.clone());
        if parts.len() > 1 && !TABLES.contains(&first.as_str()) {
            let problem = Problem::given(
                origin.to_string(),
                "this variable sets no key of the manifest",
            );
            let nearest = nearest(&first, TABLES).unwrap_or("services");
            problems.push(problem.with_help(format!(
                "did you mean {PREFIX}{}__...?",
                nearest.to_uppercase()
            )));
            continue;
        }
        let path = match_keys(&parts, below);
        let place = Place::Variable {
            name: name.clone(),
            text: Some(text.clone()),
        };
        if path.parts().iter().any(String::is_empty) || !layer.insert(&path, place) {
            let problem = Problem::given(
                origin.to_string(),
                format!("no value can stand at `{path}`"),
            );
            problems.push(
                problem.with_help("two underscores part the keys: DEPLOYER_SERVICES__API__PORT"),
            );
        }
    }
    (layer, problems)
}

/// Reads `KEY.PATH=VALUE` flags, later ones over earlier ones.
pub(crate) fn from_flags(flags: &[String]) -> (Layer, Vec<Problem>) {
    let mut layer = Layer::empty("flags");
    let mut problems = vec![];
    for flag in flags {
        let form = "write --set services.api.port=4000";
        let Some((key, text)) = flag.split_once('=') else {
            // The flag may hold a value without its key: it is not repeated.
            let problem = Problem::given("a --set flag".to_owned(), "there is no `=` in it");
            problems.push(problem.with_help(form));
            continue;
        };
        let origin = Origin::Flag(key.to_owned()).to_string();
        let place = Place::Flag {
            key: key.to_owned(),
            text: Some(text.to_owned()),
        };
        match KeyPath::parse(key.trim()) {
            Some(path) if layer.insert(&path, place) => {}
            _ => problems.push(
                Problem::given(origin, format!("no value can stand at `{key}`")).with_help(form),
            ),
        }
    }
    (layer, problems)
}

impl Layer {
    fn empty(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            values: Dict::new(),
            places: Places::new(),
        }
    }

    /// Puts the text of `place` at `path`; tells whether a value can stand there.
    fn insert(&mut self, path: &KeyPath, place: Place) -> bool {
        let Some((last, tables)) = path.parts().split_last() else {
            return false;
        };
        let mut dict = &mut self.values;
        for key in tables {
            let below = dict
                .entry(key.clone())
                .or_insert_with(|| Value::from(Dict::new()));
            let Value::Dict(_, below) = below else {
                return false;
            };
            dict = below;
        }
        let text = place.raw_text().unwrap_or_default();
        let value = typed(path, text);
        place_inside(&value, path, &place.inside(), &mut self.places);
        dict.insert(last.clone(), value);
        self.places.insert(path.clone(), place);
        true
    }
}

/// Says of everything inside `value` that it stands at `place`.
fn place_inside(value: &Value, path: &KeyPath, place: &Place, places: &mut Places) {
    let below: Vec<(String, &Value)> = match value {
        Value::Dict(_, dict) => dict
            .iter()
            .map(|(key, value)| (key.clone(), value))
            .collect(),
        Value::Array(_, values) => values
            .iter()
            .enumerate()
            .map(|(index, value)| (index.to_string(), value))
            .collect(),
        _ => return,
    };
    for (key, value) in below {
        let path = path.join(key);
        place_inside(value, &path, place, places);
        places.insert(path, place.clone());
    }
}

/// The value that `text` is in TOML, or the text itself.
///
/// Where every value ends as a string, only inline tables are looked for: `1.10` stays `1.10`.
fn typed(path: &KeyPath, text: &str) -> Value {
    let of_strings = path
        .parts()
        .iter()
        .any(|part| part == "env" || part == "tags");
    if of_strings && !text.trim_start().starts_with('{') {
        return Value::from(text);
    }
    let Ok(value) = DeValue::parse(text) else {
        return Value::from(text);
    };
    let file = Arc::new(SourceFile::new(PathBuf::new(), String::new()));
    let mut reading = Reading {
        file: &file,
        places: Places::new(),
        problems: vec![],
    };
    let value = reading.value(path, &value);
    if reading.problems.is_empty() {
        value
    } else {
        Value::from(text)
    }
}

/// The path that a variable's parts mean: an existing key where one differs only in case and `-`.
fn match_keys(parts: &[&str], below: &Dict) -> KeyPath {
    let mut path = vec![];
    let mut dict = Some(below);
    for part in parts {
        let folded = |text: &str| text.to_lowercase().replace('-', "_");
        let existing = dict.and_then(|dict| {
            let same = |key: &&String| folded(key) == folded(part);
            dict.keys()
                .find(|key| key == part)
                .or_else(|| dict.keys().find(same))
        });
        let in_env = path.last().is_some_and(|above| above == "env");
        let key = match existing {
            Some(key) if !in_env => key.clone(),
            // Variables of the app keep their case.
            _ if in_env => (*part).to_owned(),
            _ => part.to_lowercase(),
        };
        dict = dict
            .and_then(|dict| dict.get(&key))
            .and_then(Value::as_dict);
        path.push(key);
    }
    KeyPath::new(path)
}

/// The word of `known` that `text` was most likely meant to be.
pub fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(text, word), word))
        .filter(|(distance, word)| *distance <= 1 + word.len().min(text.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}
