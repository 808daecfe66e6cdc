//! Resource record sets: what may be in a zone.

use std::collections::BTreeMap;

use hickory_proto::rr::{RData, RecordType};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Zone, invalid, required};
use crate::gcp::error::{ApiError, Outcome};
use crate::gcp::schema::Object;

/// The types that can be asked for; Google has a few more.
const TYPES: [(&str, RecordType); 10] = [
    ("A", RecordType::A),
    ("AAAA", RecordType::AAAA),
    ("CAA", RecordType::CAA),
    ("CNAME", RecordType::CNAME),
    ("MX", RecordType::MX),
    ("NS", RecordType::NS),
    ("PTR", RecordType::PTR),
    ("SOA", RecordType::SOA),
    ("SRV", RecordType::SRV),
    ("TXT", RecordType::TXT),
];

/// Name, in lower case and with its final dot, and type.
pub(super) type Key = (String, String);

/// One resource record set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Record {
    #[serde(skip)]
    pub(super) key: Key,
    pub(super) ttl: u32,
    /// As text, in the order given.
    pub(super) data: Vec<String>,
}

/// The record sets of a zone.
#[derive(Clone, Default, Serialize)]
pub(super) struct Records(#[serde(serialize_with = "crate::dump::by_parts")] BTreeMap<Key, Record>);

impl Record {
    pub(super) fn new(name: &str, kind: &str, ttl: u32, data: &[&str]) -> Self {
        Self {
            key: (name.to_owned(), kind.to_owned()),
            ttl,
            data: data.iter().map(|it| (*it).to_owned()).collect(),
        }
    }

    /// Reads a message `ResourceRecordSet`; `at` names it in refusals. Checks it by itself, and
    /// against the zone's name.
    pub(super) fn read(message: &Object, at: &str, zone: &str) -> Outcome<Self> {
        let text = |name: &str| message.get(name).and_then(Value::as_str);
        if message.contains_key("routingPolicy") {
            return Err(ApiError::unimplemented("routing policies"));
        }
        let given = text("name").ok_or_else(|| required(&format!("{at}.name")))?;
        let kind = text("type").ok_or_else(|| required(&format!("{at}.type")))?;
        let name = given.to_ascii_lowercase();
        let inside = name == zone || name.ends_with(&format!(".{zone}"));
        if !is_name(&name) || !inside {
            return Err(invalid(&format!("{at}.name"), given));
        }
        let record_type = record_type(kind).ok_or_else(|| invalid(&format!("{at}.type"), kind))?;
        let ttl = message
            .get("ttl")
            .and_then(Value::as_i64)
            .ok_or_else(|| required(&format!("{at}.ttl")))?;
        let ttl =
            u32::try_from(ttl).map_err(|_| invalid(&format!("{at}.ttl"), &ttl.to_string()))?;
        let data: Vec<String> = message
            .get("rrdatas")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|it| it.as_str().unwrap_or_default().to_owned())
            .collect();
        if data.is_empty() {
            return Err(required(&format!("{at}.rrdatas")));
        }
        for (index, item) in data.iter().enumerate() {
            if !is_data(record_type, item) || data[..index].contains(item) {
                return Err(invalid(&format!("{at}.rrdata[{index}]"), item));
            }
        }
        if matches!(kind, "CNAME" | "SOA") && data.len() > 1 {
            return Err(invalid(&format!("{at}.rrdata"), &data.join(" ")));
        }
        if (kind == "SOA" && name != zone) || (kind == "CNAME" && name == zone) {
            return Err(ApiError::legacy(
                400,
                "invalidZoneApex",
                format!(
                    "The resource record set '{at}' is invalid because a zone must contain exactly one resource record set of type 'SOA' at the apex and none of type 'CNAME'."
                ),
            ));
        }
        Ok(Self {
            key: (name, kind.to_owned()),
            ttl,
            data,
        })
    }

    /// The message `ResourceRecordSet`.
    pub(super) fn view(&self) -> Value {
        json!({
            "kind": "dns#resourceRecordSet", "name": self.key.0, "type": self.key.1,
            "ttl": self.ttl, "rrdatas": self.data,
        })
    }

    /// Its data for the wire.
    pub(super) fn rdata(&self) -> impl Iterator<Item = RData> {
        let kind = record_type(&self.key.1);
        let parsed = self.data.iter().filter_map(move |text| parse(kind?, text));
        parsed.collect::<Vec<_>>().into_iter()
    }
}

impl Records {
    pub(super) fn get(&self, key: &Key) -> Option<&Record> {
        self.0.get(key)
    }

    pub(super) fn put(&mut self, record: Record) {
        self.0.insert(record.key.clone(), record);
    }

    pub(super) fn remove(&mut self, key: &Key) {
        self.0.remove(key);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Record> {
        self.0.values()
    }

    /// Every set as a message, by name and type.
    pub(super) fn view(&self) -> Vec<Value> {
        self.all().map(Record::view).collect()
    }

    /// Refuses a set that is there already, and a CNAME beside anything else.
    pub(super) fn check_room(&self, record: &Record, at: &str) -> Outcome<()> {
        let (name, kind) = &record.key;
        if self.0.contains_key(&record.key) {
            return Err(ApiError::legacy(
                409,
                "alreadyExists",
                format!("The resource '{at}' named '{name} ({kind})' already exists"),
            ));
        }
        let beside = self
            .all()
            .any(|it| it.key.0 == *name && (it.key.1 == "CNAME" || kind == "CNAME"));
        if beside {
            return Err(ApiError::legacy(
                409,
                "cnameResourceRecordSetConflict",
                format!(
                    "The resource record set '{at}' is invalid because the DNS name '{name}' may have either one CNAME resource record set or resource record sets of other types, but not both."
                ),
            ));
        }
        Ok(())
    }
}

/// Refuses to leave a zone without the records that make it one.
pub(super) fn check_removable(zone: &Zone, key: &Key, at: &str) -> Outcome<()> {
    if key.0 == zone.kept.dns_name && matches!(key.1.as_str(), "SOA" | "NS") {
        return Err(ApiError::legacy(
            400,
            "invalidZoneApex",
            format!(
                "The resource record set '{at}' is invalid because a zone must contain exactly one resource record set of type '{}' at the apex.",
                key.1
            ),
        ));
    }
    Ok(())
}

/// The type of that name, when it is offered.
pub(super) fn record_type(name: &str) -> Option<RecordType> {
    let found = TYPES.iter().find(|(known, _)| *known == name);
    found.map(|(_, kind)| *kind)
}

/// A full domain name: labels of letters, digits, `-` and `_`, the first perhaps `*`, with a final
/// dot.
pub(super) fn is_name(name: &str) -> bool {
    let Some(inner) = name.strip_suffix('.') else {
        return false;
    };
    let label = |(index, label): (usize, &str)| {
        let plain = label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let edges = !label.starts_with('-') && !label.ends_with('-');
        let length = (1..=63).contains(&label.len());
        length && ((plain && edges) || (index == 0 && label == "*"))
    };
    name.len() <= 254 && inner.split('.').enumerate().all(label)
}

fn parse(kind: RecordType, text: &str) -> Option<RData> {
    RData::try_from_str(kind, text).ok()
}

/// Whether a text is data of that type; the names in it must be full.
fn is_data(kind: RecordType, text: &str) -> bool {
    if parse(kind, text).is_none() {
        return false;
    }
    let names: Vec<&str> = match kind {
        RecordType::CNAME | RecordType::NS | RecordType::PTR => vec![text],
        RecordType::MX => text.split_whitespace().skip(1).collect(),
        RecordType::SRV => text.split_whitespace().skip(3).collect(),
        RecordType::SOA => text.split_whitespace().take(2).collect(),
        _ => Vec::new(),
    };
    names.iter().all(|name| name.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_full_and_plain() {
        for good in ["a.example.com.", "*.example.com.", "_dmarc.example.com."] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["a.example.com", "a..b.", "a b.c.", "b.*.c.", "-a.c.", "."] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn data_must_be_of_its_type() {
        assert!(is_data(RecordType::A, "192.0.2.1"));
        assert!(!is_data(RecordType::A, "192.0.2.256"));
        assert!(!is_data(RecordType::AAAA, "192.0.2.1"));
        assert!(is_data(RecordType::CNAME, "a.example.com."));
        assert!(!is_data(RecordType::CNAME, "a.example.com"));
        assert!(is_data(RecordType::TXT, "\"v=spf1 -all\""));
        assert!(is_data(RecordType::MX, "10 mail.example.com."));
    }
}
