//! Route 53: hosted zones and their records, which a name server on loopback really answers.
//!
//! Zones live here whether there is a moto or not: custom domains of App Runner are validated by
//! what stands in them, and the records of a zone that moto has could not be seen.

mod alias;
mod changes;
mod records;
mod zones;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use hickory_proto::rr::{RData, RecordType};
use serde::Serialize;
use serde_json::{Value, json};

use super::error::AwsError;
use super::json::need;
use crate::Host;
use crate::name_server::{Authority, Responder, Served, Set};
use records::{RecordSet, Records, record_type};

/// Aliases of aliases that are followed within a zone.
const LONGEST_CHAIN: usize = 8;

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct Route53 {
    inner: Arc<Inner>,
}

struct Inner {
    host: Host,
    zones: Zones,
    /// The messages `ChangeInfo`, by id.
    changes: Mutex<BTreeMap<String, Value>>,
    /// Absent when no port could be had.
    name_server: Option<Responder>,
}

/// The zones, in the order in which they were made. Cheap to clone.
#[derive(Clone, Default)]
struct Zones(Arc<Mutex<Vec<Zone>>>);

#[derive(Serialize)]
struct Zone {
    /// Without `/hostedzone/`.
    id: String,
    /// In lower case and with its final dot.
    name: String,
    /// What its maker called the request.
    reference: String,
    comment: Option<String>,
    /// The messages `VPC` of a private zone; of a public one there are none.
    vpcs: Vec<Value>,
    is_private: bool,
    servers: Vec<String>,
    /// What the API answers.
    records: Records,
    /// What the name servers answer: behind `records` while a change is pending.
    served: Records,
}

impl Zones {
    fn lock(&self) -> MutexGuard<'_, Vec<Zone>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Route53 {
    /// No zones. Must be called within the runtime that will answer queries.
    pub fn new(host: &Host) -> Self {
        let zones = Zones::default();
        let name_server = Responder::start(zones.clone())
            .inspect_err(|error| tracing::warn!(%error, "no name server for Route 53"));
        Self {
            inner: Arc::new(Inner {
                host: host.clone(),
                zones,
                changes: Mutex::default(),
                name_server: name_server.ok(),
            }),
        }
    }

    /// The zones, and where queries for their names are answered.
    pub fn status(&self) -> Value {
        let address = self.inner.name_server.as_ref().map(Responder::address);
        let zones = self.inner.zones.lock();
        let zones = zones
            .iter()
            .map(|zone| json!({ "id": zone.id, "name": zone.name, "private": zone.is_private }));
        json!({
            "name_server": address.map(|it| it.to_string()),
            "zones": zones.collect::<Vec<_>>(),
        })
    }

    /// Everything that there is, as data.
    pub(crate) fn dump(&self) -> Value {
        crate::dump::of(&*self.inner.zones.lock())
    }

    /// Answers an operation whose input fits the model.
    pub fn call(&self, operation: &str, input: &Value) -> Result<Value, AwsError> {
        match operation {
            "CreateHostedZone" => self.create_zone(input),
            "DeleteHostedZone" => self.delete_zone(input),
            "GetHostedZone" => self.get_zone(input),
            "ListHostedZones" => self.list_zones(input),
            "ListHostedZonesByName" => self.list_zones_by_name(input),
            "ListResourceRecordSets" => self.list_records(input),
            "ChangeResourceRecordSets" => self.change_records(input),
            "GetChange" => self.get_change(input),
            other => Err(AwsError::new(
                "UnknownOperationException",
                format!("the sandbox does not have the operation `route53:{other}`"),
            )),
        }
    }

    /// Where name servers say that a name leads by a CNAME, in lower case and with its final dot.
    pub fn canonical(&self, name: &str) -> Option<String> {
        let name = records::canonical(name);
        let zone = self.inner.zones.zone(&name)?;
        let is_alias = |set: &&Set| set.name == name && set.kind == RecordType::CNAME;
        match zone.sets.iter().find(is_alias)?.data.first()? {
            RData::CNAME(target) => Some(records::canonical(&target.0.to_ascii())),
            _ => None,
        }
    }

    /// Whether an authority of one of these names may issue certificates for a name: by the CAA
    /// records at it or the nearest name above that has some, and where there are none (RFC 8659).
    pub fn may_certify(&self, name: &str, authorities: &[&str]) -> bool {
        let name = records::canonical(name);
        let mut at = name.as_str();
        loop {
            let sets = self.inner.zones.zone(at).map(|zone| zone.sets);
            let is_here = |set: &&Set| set.name == at && set.kind == RecordType::CAA;
            if let Some(set) = sets.iter().flatten().find(is_here) {
                let said: Vec<String> = set.data.iter().map(ToString::to_string).collect();
                return authorities.iter().any(|authority| {
                    let issue = format!("issue \"{authority}\"");
                    said.iter().any(|it| it.contains(&issue))
                });
            }
            match at.split_once('.') {
                Some((_, above)) if !above.is_empty() => at = above,
                _ => return true,
            }
        }
    }

    /// The zone that a call names, by its id.
    fn with_zone<T>(
        &self,
        input: &Value,
        member: &str,
        act: impl FnOnce(&mut Zone) -> Result<T, AwsError>,
    ) -> Result<T, AwsError> {
        let id = need(input, member).trim_start_matches("/hostedzone/");
        let mut zones = self.inner.zones.lock();
        match zones.iter_mut().find(|zone| zone.id == id) {
            Some(zone) => act(zone),
            None => Err(AwsError::new(
                "NoSuchHostedZone",
                format!("No hosted zone found with ID: {id}"),
            )
            .with_status(StatusCode::NOT_FOUND)),
        }
    }
}

impl Authority for Zones {
    /// Public zones. Of several of one name, the world asks the one that the registrar knows: ours,
    /// that is the one that was made first.
    fn zone(&self, name: &str) -> Option<Served> {
        let zones = self.lock();
        let public = zones
            .iter()
            .filter(|zone| !zone.is_private && !zone.served.is_empty());
        let mut found: Vec<&Zone> = public.filter(|zone| zone.has(name)).collect();
        // A stable sort: the first of one name stays the first.
        found.sort_by_key(|zone| std::cmp::Reverse(zone.name.len()));
        let zone = found.first()?;
        let sets = zone.served.all().filter_map(|set| {
            Some(Set {
                name: set.name.clone(),
                kind: record_type(&set.kind)?,
                ttl: set.ttl().unwrap_or(60),
                data: zone.answered(set),
            })
        });
        Some(Served {
            domain: zone.name.clone(),
            sets: sets.filter(|set| !set.data.is_empty()).collect(),
        })
    }
}

impl Zone {
    /// Whether a name is its own or below it.
    fn has(&self, name: &str) -> bool {
        let above = name.strip_suffix(&self.name);
        above.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// The data of a record set; those of an alias are where it leads. Every service that an alias
    /// leads to is on loopback here.
    fn answered(&self, set: &RecordSet) -> Vec<RData> {
        let mut at = set;
        for _ in 0..LONGEST_CHAIN {
            let Some(target) = at.alias() else {
                return at.rdata();
            };
            if target.zone != self.id {
                return match set.kind.as_str() {
                    "A" => {
                        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
                        vec![RData::from(here)]
                    }
                    _ => Vec::new(),
                };
            }
            let Some(next) = self.served.simple(&target.name, &set.kind) else {
                return Vec::new();
            };
            at = next;
        }
        Vec::new()
    }
}
