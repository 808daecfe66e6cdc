//! Resource record sets: what may be in a zone, in what order, and how they are listed.

use std::collections::BTreeMap;

use hickory_proto::rr::{RData, RecordType};
use serde::Serialize;
use serde_json::{Value, json};

use super::alias::Target;
use super::{Route53, Zone};
use crate::aws::error::AwsError;
use crate::aws::json::{list, need, text};

/// "If the response includes more than 300 resource record sets" (API Reference,
/// "ListResourceRecordSets", MaxItems).
const PAGE: usize = 300;

/// The types whose data are checked; the others are taken as they come.
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

/// Labels from the last to the first, type, and what tells record sets of a routing policy apart:
/// in this order they are listed.
type Key = (Vec<String>, String, String);

/// One resource record set.
#[derive(Clone, Debug, Serialize)]
pub(super) struct RecordSet {
    /// In lower case and with its final dot, without escapes.
    pub(super) name: String,
    pub(super) kind: String,
    /// The message as it was given.
    message: Value,
}

/// The record sets of a zone.
#[derive(Clone, Default, Serialize)]
pub(super) struct Records(
    #[serde(serialize_with = "crate::dump::values")] BTreeMap<Key, RecordSet>,
);

impl RecordSet {
    /// A simple one.
    pub(super) fn of(name: &str, kind: &str, ttl: u32, values: &[String]) -> Self {
        let values = values.iter().map(|value| json!({ "Value": value }));
        let values: Vec<Value> = values.collect();
        Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            message: json!({
                "Name": name, "Type": kind, "TTL": ttl, "ResourceRecords": values,
            }),
        }
    }

    /// Reads a message `ResourceRecordSet` of a change with this action.
    ///
    /// Errors: InvalidInput, when it says not exactly one of where it leads.
    pub(super) fn read(message: &Value, action: &str) -> Result<Self, AwsError> {
        let (name, kind) = (canonical(need(message, "Name")), need(message, "Type"));
        let has = |member: &str| message.get(member).is_some();
        let found = match (has("AliasTarget"), has("TTL"), has("ResourceRecords")) {
            (true, false, false) | (false, true, true) => None,
            (true, ..) => Some("more than one"),
            (false, ..) => Some("none"),
        };
        if let Some(found) = found {
            let identifier = text(message, "SetIdentifier").unwrap_or("null");
            return Err(AwsError::new(
                "InvalidInput",
                format!(
                    "Invalid request: Expected exactly one of [AliasTarget, all of [TTL, and \
                     ResourceRecords], or TrafficPolicyInstanceId], but found {found} in Change with \
                     [Action={action}, Name={name}, Type={kind}, SetIdentifier={identifier}]"
                ),
            ));
        }
        Ok(Self {
            kind: kind.to_owned(),
            message: message.clone(),
            name,
        })
    }

    /// The message `ResourceRecordSet`, its name as Route 53 tells it.
    fn view(&self) -> Value {
        let mut message = self.message.clone();
        message["Name"] = json!(escaped(&self.name));
        if let Some(alias) = self.alias() {
            message["AliasTarget"]["DNSName"] = json!(alias.name);
        }
        message
    }

    fn key(&self) -> Key {
        (
            reversed(&self.name),
            self.kind.clone(),
            self.identifier().unwrap_or_default().to_owned(),
        )
    }

    /// What tells it from others of its name and type.
    pub(super) fn identifier(&self) -> Option<&str> {
        text(&self.message, "SetIdentifier")
    }

    pub(super) fn ttl(&self) -> Option<u32> {
        self.message
            .get("TTL")
            .and_then(Value::as_u64)
            .and_then(|seconds| u32::try_from(seconds).ok())
    }

    pub(super) fn values(&self) -> Vec<&str> {
        list(&self.message, "ResourceRecords")
            .iter()
            .map(|record| need(record, "Value"))
            .collect()
    }

    /// Where it leads, when it is an alias.
    pub(super) fn alias(&self) -> Option<Target> {
        let alias = self.message.get("AliasTarget")?;
        Some(Target {
            zone: need(alias, "HostedZoneId").to_owned(),
            name: canonical(need(alias, "DNSName")),
        })
    }

    /// Its data for the wire.
    pub(super) fn rdata(&self) -> Vec<RData> {
        let Some(kind) = record_type(&self.kind) else {
            return Vec::new();
        };
        let values = self.values().into_iter();
        values.filter_map(|text| parse(kind, text)).collect()
    }

    /// Whether another one says the same, as a deletion must: "you must specify all the same
    /// values that you specified when you created it" (API Reference, "ChangeResourceRecordSets").
    pub(super) fn says(&self, other: &Self) -> bool {
        let said = |set: &Self| {
            let mut message = set.message.clone();
            message["Name"] = json!(set.name);
            if let Some(alias) = set.alias() {
                message["AliasTarget"]["DNSName"] = json!(alias.name);
            }
            if message.get("ResourceRecords").is_some() {
                let values = set.values().into_iter();
                let mut values: Vec<String> = values.map(|it| set.normal(it)).collect();
                values.sort();
                message["ResourceRecords"] = json!(values);
            }
            message
        };
        said(self) == said(other)
    }

    /// A value in the form in which it is compared.
    fn normal(&self, value: &str) -> String {
        match self.kind.as_str() {
            "CNAME" | "NS" | "PTR" => canonical(value),
            "AAAA" => value
                .parse::<std::net::Ipv6Addr>()
                .map_or_else(|_| value.to_owned(), |it| it.to_string()),
            _ => value.to_owned(),
        }
    }

    /// What is wrong with its values, in Route 53's words as its users report them.
    pub(super) fn wrong_values(&self) -> Vec<String> {
        let Some(kind) = record_type(&self.kind) else {
            return Vec::new();
        };
        let mut wrong = Vec::new();
        let values = self.values();
        for (index, value) in values.iter().enumerate() {
            if values[..index].contains(value) {
                wrong.push(format!("Duplicate Resource Record: '{value}'"));
            }
            if parse(kind, value).is_none() {
                let problem = match self.kind.as_str() {
                    "A" => "ARRDATAIllegalIPv4Address (Value is not a valid IPv4 address)",
                    "AAAA" => "AAAARRDATAIllegalIPv6Address (Value is not a valid IPv6 address)",
                    "TXT" => "InvalidCharacterString (Value should be enclosed in quotation marks)",
                    _ => "UnsupportedCharacter (Value contains unsupported characters)",
                };
                wrong.push(format!(
                    "Invalid Resource Record: 'FATAL problem: {problem} encountered with '{value}''"
                ));
            }
        }
        wrong
    }
}

impl Records {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &RecordSet> {
        self.0.values()
    }

    /// What has the same name, type and identifier.
    pub(super) fn same(&self, set: &RecordSet) -> Option<&RecordSet> {
        self.0.get(&set.key())
    }

    /// The set of a name and type that has no routing policy.
    pub(super) fn simple(&self, name: &str, kind: &str) -> Option<&RecordSet> {
        let key = (reversed(name), kind.to_owned(), String::new());
        self.0.get(&key)
    }

    /// Everything of a name.
    pub(super) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a RecordSet> {
        self.all().filter(move |set| set.name == name)
    }

    pub(super) fn put(&mut self, set: RecordSet) {
        self.0.insert(set.key(), set);
    }

    pub(super) fn remove(&mut self, set: &RecordSet) {
        self.0.remove(&set.key());
    }
}

impl Route53 {
    /// "sorts results first by DNS name with the labels reversed ... then by the record type",
    /// from the given name on (API Reference, "ListResourceRecordSets").
    pub(super) fn list_records(&self, input: &Value) -> Result<Value, AwsError> {
        let size = size(input, PAGE)?;
        let (name, kind) = (
            text(input, "StartRecordName"),
            text(input, "StartRecordType"),
        );
        let identifier = text(input, "StartRecordIdentifier").unwrap_or_default();
        if name.is_none() && kind.is_some() {
            return Err(AwsError::new(
                "InvalidInput",
                "The request must contain a name if it contains a type.",
            ));
        }
        let start: Key = (
            name.map(|name| reversed(&canonical(name)))
                .unwrap_or_default(),
            kind.unwrap_or_default().to_owned(),
            identifier.to_owned(),
        );
        self.with_zone(input, "HostedZoneId", |zone: &mut Zone| {
            let mut from = zone.records.0.range(start..).map(|(_, set)| set);
            let page: Vec<Value> = from.by_ref().take(size).map(RecordSet::view).collect();
            let next = from.next();
            let mut answer = json!({
                "ResourceRecordSets": page, "IsTruncated": next.is_some(),
                "MaxItems": size.to_string(),
            });
            if let Some(next) = next {
                answer["NextRecordName"] = json!(escaped(&next.name));
                answer["NextRecordType"] = json!(next.kind);
                if let Some(identifier) = next.identifier() {
                    answer["NextRecordIdentifier"] = json!(identifier);
                }
            }
            Ok(answer)
        })
    }
}

/// A name in lower case and with its final dot, `\052` as `*`.
pub(super) fn canonical(name: &str) -> String {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    format!("{}.", name.replace("\\052", "*"))
}

/// As Route 53 tells names: "\052" for a `*` (Developer Guide, "DNS domain name format").
fn escaped(name: &str) -> String {
    name.replace('*', "\\052")
}

/// Its labels from the last to the first.
pub(super) fn reversed(name: &str) -> Vec<String> {
    let labels = name.trim_end_matches('.').rsplit('.');
    labels.map(str::to_owned).collect()
}

/// The type of that name, when its data are checked.
pub(super) fn record_type(name: &str) -> Option<RecordType> {
    let found = TYPES.iter().find(|(known, _)| *known == name);
    found.map(|(_, kind)| *kind)
}

fn parse(kind: RecordType, text: &str) -> Option<RData> {
    // "If you omit the trailing dot, Route 53 assumes that the domain name is fully qualified"
    // (Developer Guide, "DNS domain name format").
    let full = match kind {
        RecordType::CNAME | RecordType::NS | RecordType::PTR => {
            format!("{}.", text.trim_end_matches('.'))
        }
        RecordType::TXT if !text.starts_with('"') || !text.ends_with('"') => return None,
        _ => text.to_owned(),
    };
    RData::try_from_str(kind, &full).ok()
}

/// A full domain name of labels of up to 63 characters; the first may be `*`.
pub(super) fn is_name(name: &str) -> bool {
    let inner = name.trim_end_matches('.');
    let label = |(index, label): (usize, &str)| {
        let plain = label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        (1..=63).contains(&label.len()) && (plain || (index == 0 && label == "*"))
    };
    inner.len() <= 253 && inner.split('.').enumerate().all(label)
}

/// `MaxItems`, which the model has as a string.
pub(super) fn size(input: &Value, largest: usize) -> Result<usize, AwsError> {
    let Some(given) = text(input, "MaxItems") else {
        return Ok(largest);
    };
    match given.parse::<usize>() {
        Ok(size) if size > 0 => Ok(size.min(largest)),
        _ => Err(AwsError::new(
            "InvalidInput",
            format!("The maximum number of items '{given}' is not valid."),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_listed_by_their_labels_from_the_last() {
        let mut names = [
            "www.example.com.",
            "a.b.example.com.",
            "example.com.",
            "z.com.",
        ];
        names.sort_by_key(|name| reversed(name));
        assert_eq!(
            names,
            [
                "example.com.",
                "a.b.example.com.",
                "www.example.com.",
                "z.com."
            ]
        );
        assert_eq!(canonical("\\052.Example.com"), "*.example.com.");
        assert!(is_name("_x1.www.example.com.") && !is_name("a..com.") && !is_name("a b.com."));
    }

    #[test]
    fn the_same_values_in_another_order_and_spelling_are_the_same() {
        let of = |kind: &str, values: &[&str]| {
            let values: Vec<String> = values.iter().map(|it| (*it).to_owned()).collect();
            RecordSet::of("a.example.com.", kind, 60, &values)
        };
        assert!(of("A", &["192.0.2.1", "192.0.2.2"]).says(&of("A", &["192.0.2.2", "192.0.2.1"])));
        assert!(of("CNAME", &["B.example.com"]).says(&of("CNAME", &["b.example.com."])));
        assert!(!of("A", &["192.0.2.1"]).says(&of("A", &["192.0.2.2"])));
        assert_eq!(of("A", &["192.0.2.256"]).wrong_values().len(), 1);
        assert_eq!(of("TXT", &["plain"]).wrong_values().len(), 1);
        assert_eq!(of("CNAME", &["b.example.com"]).wrong_values(), [""; 0]);
    }
}
