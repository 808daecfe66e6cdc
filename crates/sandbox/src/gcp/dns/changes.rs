//! Changes: additions and deletions that take effect together, pending until the name servers know
//! them.

use serde_json::{Value, json};

use super::records::{Record, check_removable};
use super::{PROPAGATION, Zone, required};
use crate::gcp::Gcp;
use crate::gcp::error::{ApiError, Outcome};
use crate::gcp::schema::Object;
use crate::gcp::wire::Call;

/// The message `Change`.
pub(super) fn message(
    id: usize,
    status: &str,
    since: &str,
    additions: &[Value],
    deletions: &[Value],
) -> Object {
    let message = json!({
        "kind": "dns#change", "id": id.to_string(), "status": status, "startTime": since,
        "additions": additions, "deletions": deletions,
    });
    message.as_object().cloned().unwrap_or_default()
}

impl Gcp {
    pub(super) fn create_change(&self, call: &Call) -> Outcome {
        let now = self.now();
        let change = self.with_zone(call, |zone| {
            let additions = read(zone, &call.body, "additions")?;
            let deletions = read(zone, &call.body, "deletions")?;
            if additions.is_empty() && deletions.is_empty() {
                return Err(required("entity.change"));
            }
            zone.kept.records = {
                let mut after = zone.kept.records.clone();
                for (record, at) in &deletions {
                    check_deletion(zone, &additions, record, at)?;
                    after.remove(&record.key);
                }
                for (record, at) in &additions {
                    after.check_room(record, at)?;
                    after.put(record.clone());
                }
                after
            };
            let views = |all: &[(Record, String)]| all.iter().map(|(it, _)| it.view()).collect();
            let (additions, deletions): (Vec<Value>, Vec<Value>) =
                (views(&additions), views(&deletions));
            let id = zone.kept.changes.len();
            let change = message(id, "pending", &now, &additions, &deletions);
            zone.kept.changes.push(change.clone());
            Ok((zone.message["id"].clone(), id, change))
        })?;
        let (zone, id, change) = change;
        propagate(self, zone, Some(id));
        Ok(Value::Object(change))
    }

    pub(super) fn read_changes(&self, call: &Call) -> Outcome {
        if call.method.id == "dns.changes.get" {
            return self.with_zone(call, |zone| {
                let id = call.var(2);
                let index = id.parse::<usize>().ok();
                let found = index.and_then(|it| zone.kept.changes.get(it)).cloned();
                found.map(Value::Object).ok_or_else(|| {
                    ApiError::legacy(
                        404,
                        "notFound",
                        format!("The 'parameters.changeId' resource named '{id}' does not exist."),
                    )
                })
            });
        }
        let mut all = self.with_zone(call, |zone| Ok(zone.kept.changes.clone()))?;
        if call.query("sortOrder") != "ascending" {
            all.reverse();
        }
        call.listed(all, 100)
    }
}

/// The record sets of one side of a change, each with its name in refusals.
fn read(zone: &Zone, body: &Object, side: &str) -> Outcome<Vec<(Record, String)>> {
    let sets = body.get(side).and_then(Value::as_array);
    let mut all: Vec<(Record, String)> = Vec::new();
    for (index, set) in sets.into_iter().flatten().enumerate() {
        let at = format!("entity.change.{side}[{index}]");
        let record = Record::read(
            &set.as_object().cloned().unwrap_or_default(),
            &at,
            &zone.kept.dns_name,
        )?;
        let (name, kind) = &record.key;
        let at = format!("entity.change.{side}[{name}][{kind}]");
        if all.iter().any(|(it, _)| it.key == record.key) {
            return Err(ApiError::legacy(
                409,
                "alreadyExists",
                format!("The resource '{at}' named '{name} ({kind})' already exists"),
            ));
        }
        all.push((record, at));
    }
    Ok(all)
}

/// Refuses to delete what is not there just so.
fn check_deletion(
    zone: &Zone,
    additions: &[(Record, String)],
    record: &Record,
    at: &str,
) -> Outcome<()> {
    let (name, kind) = &record.key;
    let Some(own) = zone.kept.records.get(&record.key) else {
        return Err(ApiError::legacy(
            404,
            "notFound",
            format!("The '{at}' resource named '{name} ({kind})' does not exist."),
        ));
    };
    let sorted = |record: &Record| {
        let mut data = record.data.clone();
        data.sort();
        data
    };
    if own.ttl != record.ttl || sorted(own) != sorted(record) {
        return Err(ApiError::legacy(
            412,
            "conditionNotMet",
            format!("Precondition not met for '{at}'"),
        ));
    }
    let replaced = additions.iter().any(|(it, _)| it.key == record.key);
    if replaced {
        return Ok(());
    }
    check_removable(zone, &record.key, at)
}

/// Has the name servers answer later what the zone holds now, and ends the change then.
///
/// `zone` is the id of its message.
pub(super) fn propagate(gcp: &Gcp, zone: Value, change: Option<usize>) {
    let zones = gcp.inner.dns.zones.clone();
    let records = {
        let all = zones.lock();
        let found = all.values().find(|it| it.message["id"] == zone);
        let Some(found) = found else { return };
        found.kept.records.clone()
    };
    let clock = gcp.host().clock.clone();
    gcp.host().background.spawn(async move {
        clock.sleep(PROPAGATION).await;
        let mut all = zones.lock();
        // A zone of the same name made since is another one.
        let Some(zone) = all.values_mut().find(|it| it.message["id"] == zone) else {
            return;
        };
        zone.kept.served = records;
        if let Some(change) = change.and_then(|it| zone.kept.changes.get_mut(it)) {
            change.insert("status".into(), "done".into());
        }
    });
}
