//! Remembers where every value of the manifest was written: which file and line, variable or flag.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use miette::NamedSource;
use serde::Serialize;

/// The way from the manifest's top to a value: `services.idp.port`. Elements of arrays are numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPath(Vec<String>);

impl KeyPath {
    /// The path of `parts`.
    pub fn new<S: Into<String>>(parts: impl IntoIterator<Item = S>) -> Self {
        Self(parts.into_iter().map(Into::into).collect())
    }

    /// Reads a dotted path as `--set` takes it; a part in double quotes may hold dots.
    ///
    /// Returns `None` when a part is empty or a quote is not closed.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = vec![];
        let mut rest = text;
        loop {
            let (part, after) = match rest.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
            };
            if part.is_empty() {
                return None;
            }
            parts.push(part.to_owned());
            match after.strip_prefix('.') {
                Some(next) => rest = next,
                None if after.is_empty() => return Some(Self(parts)),
                None => return None,
            }
        }
    }

    /// The path of `key` below this one.
    #[must_use]
    pub fn join(&self, key: impl Into<String>) -> Self {
        let mut parts = self.0.clone();
        parts.push(key.into());
        Self(parts)
    }

    /// The path one step up. `None` at the top.
    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.0.split_last()?;
        Some(Self(above.to_vec()))
    }

    /// This path, the one above it and so on to the top.
    pub fn upwards(&self) -> impl Iterator<Item = Self> + '_ {
        (0..=self.0.len())
            .rev()
            .map(|length| Self(self.0.get(..length).unwrap_or_default().to_vec()))
    }

    /// The steps of the way.
    pub fn parts(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            if part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
            {
                f.write_str(part)?;
            } else {
                write!(f, "\"{part}\"")?;
            }
        }
        Ok(())
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// A manifest file; line and column count from 1, columns in characters.
    File {
        /// The file, as it was named.
        file: PathBuf,
        /// The line.
        line: usize,
        /// The column of the value's first character.
        column: usize,
    },
    /// An environment variable, by name.
    Variable(String),
    /// A `--set` flag, by the key that it sets.
    Flag(String),
    /// Nobody wrote it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line, .. } => write!(f, "{}:{line}", file.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Flag(key) => write!(f, "flag --set {key}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One manifest file that was read.
#[derive(Debug)]
pub(crate) struct SourceFile {
    pub(crate) path: PathBuf,
    pub(crate) source: Arc<NamedSource<String>>,
}

impl SourceFile {
    pub(crate) fn new(path: PathBuf, text: String) -> Self {
        let source = Arc::new(NamedSource::new(path.display().to_string(), text));
        Self { path, source }
    }

    pub(crate) fn text(&self) -> &str {
        self.source.inner()
    }

    /// Line and column of a byte offset, from 1.
    pub(crate) fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text().get(..offset).unwrap_or(self.text());
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        let column = before.get(start..).unwrap_or_default().chars().count() + 1;
        (before.matches('\n').count() + 1, column)
    }
}

/// Where one value stands.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    File {
        file: Arc<SourceFile>,
        key: Range<usize>,
        value: Range<usize>,
    },
    /// `text` is what was given for this very key, before anyone guessed its type.
    Variable {
        name: String,
        text: Option<String>,
    },
    Flag {
        key: String,
        text: Option<String>,
    },
}

impl Place {
    pub(crate) fn origin(&self) -> Origin {
        match self {
            Self::File { file, value, .. } => {
                let (line, column) = file.position(value.start);
                Origin::File {
                    file: file.path.clone(),
                    line,
                    column,
                }
            }
            Self::Variable { name, .. } => Origin::Variable(name.clone()),
            Self::Flag { key, .. } => Origin::Flag(key.clone()),
        }
    }

    /// The place of what is inside a value that was given as a whole.
    pub(crate) fn inside(&self) -> Self {
        let mut place = self.clone();
        match &mut place {
            Self::File { .. } => {}
            Self::Variable { text, .. } | Self::Flag { text, .. } => *text = None,
        }
        place
    }

    /// The text of a variable or a flag. `None` for files, whose values have types.
    pub(crate) fn raw_text(&self) -> Option<&str> {
        match self {
            Self::File { .. } => None,
            Self::Variable { text, .. } | Self::Flag { text, .. } => text.as_deref(),
        }
    }
}

/// The places of one layer's values.
pub(crate) type Places = BTreeMap<KeyPath, Place>;

/// The places of all layers, the strongest last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    layers: Vec<Places>,
}

impl Origins {
    pub(crate) fn push(&mut self, places: Places) {
        self.layers.push(places);
    }

    /// The place that decides `path`. Only true of paths that the merged manifest has.
    pub(crate) fn place(&self, path: &KeyPath) -> Option<&Place> {
        self.layers.iter().rev().find_map(|places| places.get(path))
    }

    /// Where `path`, or the nearest thing above it, was first written: where a missing key belongs.
    pub(crate) fn home(&self, path: &KeyPath) -> Option<&Place> {
        path.upwards()
            .find_map(|path| self.layers.iter().find_map(|places| places.get(&path)))
    }

    /// The keys that the strongest layer with `path` has directly below it.
    pub(crate) fn strongest_keys(&self, path: &KeyPath) -> Vec<String> {
        let depth = path.parts().len();
        let below = |places: &Places| -> Vec<String> {
            let keys = places.keys().map(KeyPath::parts);
            keys.filter(|parts| parts.len() > depth && parts.starts_with(path.parts()))
                .filter_map(|parts| parts.get(depth).cloned())
                .collect()
        };
        let layers = self.layers.iter().rev().map(below);
        layers
            .into_iter()
            .find(|keys| !keys.is_empty())
            .unwrap_or_default()
    }

    /// Whether anything below `path` was written.
    pub(crate) fn has_below(&self, path: &KeyPath) -> bool {
        !self.strongest_keys(path).is_empty()
    }

    /// Forgets the places of what a stronger layer replaced by something else.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&KeyPath) -> bool) {
        for places in &mut self.layers {
            places.retain(|path, _| is_there(path));
        }
    }

    /// The file that comes first, for problems that belong to no line.
    pub(crate) fn first_file(&self) -> Option<&Arc<SourceFile>> {
        self.layers
            .iter()
            .flat_map(BTreeMap::values)
            .find_map(|place| match place {
                Place::File { file, .. } => Some(file),
                Place::Variable { .. } | Place::Flag { .. } => None,
            })
    }
}
