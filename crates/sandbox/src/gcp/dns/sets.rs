//! The calls that read and change one record set of a zone.

use serde_json::{Value, json};

use super::records::{Key, Record, check_removable};
use super::{Zone, changes, required};
use crate::gcp::Gcp;
use crate::gcp::error::{ApiError, Outcome};
use crate::gcp::wire::Call;

impl Gcp {
    pub(super) fn list_records(&self, call: &Call) -> Outcome {
        let name = call.query("name").to_ascii_lowercase();
        let kind = call.query("type");
        if !call.query("filter").is_empty() {
            return Err(ApiError::unimplemented("filters of record sets"));
        }
        if name.is_empty() && !kind.is_empty() {
            return Err(required("parameters.name"));
        }
        let all: Vec<Value> = self.with_zone(call, |zone| {
            let wanted = |it: &&Record| {
                (name.is_empty() || it.key.0 == name) && (kind.is_empty() || it.key.1 == kind)
            };
            Ok(zone
                .kept
                .records
                .all()
                .filter(wanted)
                .map(Record::view)
                .collect())
        })?;
        call.listed(all, 100)
    }

    pub(super) fn get_record(&self, call: &Call) -> Outcome {
        self.with_zone(call, |zone| find(zone, &path_key(call)).map(Record::view))
    }

    pub(super) fn create_record(&self, call: &Call) -> Outcome {
        let created = self.with_zone(call, |zone| {
            let record = Record::read(&call.body, "entity.rrset", &zone.kept.dns_name)?;
            zone.kept.records.check_room(&record, "entity.rrset")?;
            zone.kept.records.put(record.clone());
            Ok(record)
        })?;
        self.serve_later(call);
        Ok(created.view())
    }

    pub(super) fn patch_record(&self, call: &Call) -> Outcome {
        let key = path_key(call);
        let patched = self.with_zone(call, |zone| {
            let mut message = find(zone, &key)?.view();
            for (field, value) in &call.body {
                message[field] = value.clone();
            }
            let message = message.as_object().cloned().unwrap_or_default();
            let record = Record::read(&message, "entity.rrset", &zone.kept.dns_name)?;
            if record.key != key {
                zone.kept.records.check_room(&record, "entity.rrset")?;
                check_removable(zone, &key, "entity.rrset")?;
                zone.kept.records.remove(&key);
            }
            zone.kept.records.put(record.clone());
            Ok(record)
        })?;
        self.serve_later(call);
        Ok(patched.view())
    }

    pub(super) fn delete_record(&self, call: &Call) -> Outcome {
        let key = path_key(call);
        self.with_zone(call, |zone| {
            find(zone, &key)?;
            check_removable(zone, &key, "parameters.name")?;
            zone.kept.records.remove(&key);
            Ok(())
        })?;
        self.serve_later(call);
        Ok(json!({}))
    }

    /// Lets the name servers learn later what the zone now holds.
    pub(super) fn serve_later(&self, call: &Call) {
        if let Ok(zone) = self.with_zone(call, |zone| Ok(zone.message["id"].clone())) {
            changes::propagate(self, zone, None);
        }
    }
}

fn path_key(call: &Call) -> Key {
    (call.var(2).to_ascii_lowercase(), call.var(3).to_owned())
}

fn find<'a>(zone: &'a Zone, key: &Key) -> Outcome<&'a Record> {
    zone.kept.records.get(key).ok_or_else(|| {
        ApiError::legacy(
            404,
            "notFound",
            format!(
                "The 'parameters.name' resource named '{} ({})' does not exist.",
                key.0, key.1
            ),
        )
    })
}
