//! The state of both clouds as data: everything that a service holds, without what only a process
//! has (servers, sockets, wakers).
//!
//! A service's dump is its own state, serialised: a kind, or a field of one, that is added there is
//! in the dump as well. Objects are sorted by their keys, lists are in the service's own order.

use std::collections::BTreeMap;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

/// What a service holds, as data.
pub(crate) fn of(state: &impl Serialize) -> Value {
    serde_json::to_value(state).expect("all keys are text")
}

/// The same of a map whose keys have several parts.
pub(crate) fn of_map<K: Parts, V: Serialize>(map: &BTreeMap<K, V>) -> Value {
    by_parts(map, serde_json::value::Serializer).expect("all keys are text")
}

/// A key of several parts.
pub(crate) trait Parts {
    /// The parts in their order, with `/` between them; an empty first one is left out.
    fn joined(&self) -> String;
}

impl<A: AsRef<str>, B: AsRef<str>> Parts for (A, B) {
    fn joined(&self) -> String {
        match (self.0.as_ref(), self.1.as_ref()) {
            ("", last) => last.to_owned(),
            (first, last) => format!("{first}/{last}"),
        }
    }
}

/// A map whose keys have several parts: JSON knows keys of one.
pub(crate) fn by_parts<K: Parts, V: Serialize, S: Serializer>(
    map: &BTreeMap<K, V>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut out = serializer.serialize_map(Some(map.len()))?;
    for (key, value) in map {
        out.serialize_entry(&key.joined(), value)?;
    }
    out.end()
}

/// Only what a map holds, where that says its key.
pub(crate) fn values<K, V: Serialize, S: Serializer>(
    map: &BTreeMap<K, V>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(map.values())
}

/// Bytes as text; what is none is replaced.
pub(crate) fn text<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_two_parts_is_one_text() {
        #[derive(serde::Serialize)]
        struct Held {
            #[serde(serialize_with = "by_parts")]
            all: BTreeMap<(String, String), u8>,
            #[serde(serialize_with = "text")]
            data: Vec<u8>,
        }
        let held = Held {
            all: BTreeMap::from([(("us-east1".to_owned(), "web".to_owned()), 1)]),
            data: b"word".to_vec(),
        };
        let told = serde_json::json!({ "all": { "us-east1/web": 1 }, "data": "word" });
        assert_eq!(of(&held), told);
    }
}
