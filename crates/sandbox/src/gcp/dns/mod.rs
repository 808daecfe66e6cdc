//! Cloud DNS: public zones and their records, which a name server on loopback really answers.

mod changes;
mod records;
mod sets;
mod zones;

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::Gcp;
use super::error::{ApiError, Outcome};
use super::schema::Object;
use super::shelf::{Shelf, Thing};
use super::wire::Call;
use crate::name_server::{Authority, Responder, Served, Set};
use records::{Records, record_type};
use zones::ZONES;

/// Until Google's name servers know a change.
const PROPAGATION: Duration = Duration::from_secs(20);

/// Every zone, and the name server for them.
pub struct Dns {
    zones: Zones,
    /// Absent when no port could be had.
    responder: Option<Responder>,
}

/// The zones, by project and name: those of a company mostly live in one project that its others
/// share.
type Zones = Shelf<Held>;

type Zone = Thing<Held>;

/// What is kept of a zone beside its message.
#[derive(Serialize)]
pub struct Held {
    /// With its final dot, in lower case.
    dns_name: String,
    /// What the API answers.
    records: Records,
    /// What the name servers answer: behind `records` while a change is pending.
    served: Records,
    /// The messages `Change`, oldest first; their ids are their places.
    changes: Vec<Object>,
}

impl Authority for Zones {
    fn zone(&self, name: &str) -> Option<Served> {
        let zones = self.lock();
        let within =
            |zone: &&Held| name == zone.dns_name || name.ends_with(&format!(".{}", zone.dns_name));
        let found = zones.values().map(|it| &it.kept).filter(within);
        let zone = found.max_by_key(|it| it.dns_name.len())?;
        let sets = zone.served.all().filter_map(|record| {
            Some(Set {
                name: record.key.0.clone(),
                kind: record_type(&record.key.1)?,
                ttl: record.ttl,
                data: record.rdata().collect(),
            })
        });
        Some(Served {
            domain: zone.dns_name.clone(),
            sets: sets.collect(),
        })
    }
}

impl Dns {
    /// No zones. Must be called within the runtime that will answer queries.
    pub fn start() -> Self {
        let zones = Zones::default();
        let responder = Responder::start(zones.clone());
        let responder = responder
            .inspect_err(|error| tracing::warn!(%error, "no name server for Cloud DNS"))
            .ok();
        Self { zones, responder }
    }

    /// Everything that there is, as data.
    pub(super) fn dump(&self) -> Value {
        self.zones.dump()
    }

    /// Where queries are answered, over UDP and TCP.
    fn address(&self) -> Option<SocketAddr> {
        self.responder.as_ref().map(Responder::address)
    }
}

impl Gcp {
    /// Methods of Cloud DNS.
    pub(super) fn cloud_dns(&self, call: &Call) -> Outcome {
        let method = call.method.id.strip_prefix("dns.").unwrap_or_default();
        // Another project is there as soon as somebody makes a zone in it, and the caller may do
        // everything there.
        let is_there = method == "managedZones.create" || self.has_zones(call.var(0));
        if self.check_project(call.var(0)).is_err() && !is_there {
            let message = format!("The project '{}' cannot be accessed", call.var(0));
            return Err(ApiError::legacy(403, "forbidden", message));
        }
        if let Some(answer) = ZONES.call(self, call) {
            return answer;
        }
        match method {
            "resourceRecordSets.list" => self.list_records(call),
            "resourceRecordSets.get" => self.get_record(call),
            "resourceRecordSets.create" => self.create_record(call),
            "resourceRecordSets.patch" => self.patch_record(call),
            "resourceRecordSets.delete" => self.delete_record(call),
            "changes.create" => self.create_change(call),
            "changes.get" | "changes.list" => self.read_changes(call),
            other => Err(ApiError::unimplemented(other)),
        }
    }

    fn has_zones(&self, project: &str) -> bool {
        let zones = self.inner.dns.zones.lock();
        zones.keys().any(|(own, _)| own == project)
    }

    /// The project that a call's path names, by its id.
    fn dns_project(&self, call: &Call) -> String {
        match self.check_project(call.var(0)) {
            Ok(_) => self.host().project.clone(),
            Err(_) => call.var(0).to_owned(),
        }
    }

    /// What `sandbox status` says of the zones.
    pub(super) fn dns_status(&self) -> Value {
        let zones: Vec<Value> = {
            let zones = self.inner.dns.zones.lock();
            zones
                .iter()
                .map(|((_, name), zone)| json!({ "name": name, "dnsName": zone.kept.dns_name }))
                .collect()
        };
        json!({
            "nameServer": self.inner.dns.address().map(|it| it.to_string()),
            "zones": zones,
        })
    }

    /// The zone that a call's path names, by name or id.
    fn with_zone<T>(&self, call: &Call, act: impl FnOnce(&mut Zone) -> Outcome<T>) -> Outcome<T> {
        ZONES.with(self, call, act)
    }
}

/// Cloud DNS's refusal of a value.
fn invalid(field: &str, value: &str) -> ApiError {
    ApiError::legacy(
        400,
        "invalid",
        format!("Invalid value for '{field}': '{value}'"),
    )
}

/// Cloud DNS's refusal of a missing value.
fn required(field: &str) -> ApiError {
    ApiError::legacy(
        400,
        "required",
        format!("The '{field}' parameter is required but was missing."),
    )
}
