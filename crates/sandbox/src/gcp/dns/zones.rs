//! Managed zones: created with their SOA and NS records, deleted once nothing else is left.

use serde_json::{Value, json};

use super::records::{Record, Records, is_name};
use super::{Zone, changes, invalid, listed, required};
use crate::gcp::Gcp;
use crate::gcp::error::{ApiError, Outcome};
use crate::gcp::names::{check_labels, is_dns_label};
use crate::gcp::schema::Object;
use crate::gcp::wire::Call;

const SERVERS: [&str; 4] = [
    "ns-cloud-a1.googledomains.com.",
    "ns-cloud-a2.googledomains.com.",
    "ns-cloud-a3.googledomains.com.",
    "ns-cloud-a4.googledomains.com.",
];

const APEX_TTL: u32 = 21_600;

/// What a client may say of a new zone; the rest of the schema is not offered.
const SETTABLE: [&str; 9] = [
    "id",
    "creationTime",
    "description",
    "dnsName",
    "dnssecConfig",
    "labels",
    "name",
    "nameServers",
    "visibility",
];

impl Gcp {
    pub(super) fn create_zone(&self, call: &Call) -> Outcome {
        let body = &call.body;
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        for field in ["name", "dnsName", "description"] {
            if !body.contains_key(field) {
                return Err(required(&format!("entity.managedZone.{field}")));
            }
        }
        let name = text("name").to_owned();
        if !is_dns_label(&name, 63) {
            return Err(invalid("entity.managedZone.name", &name));
        }
        let dns_name = text("dnsName").to_ascii_lowercase();
        if !is_name(&dns_name) || dns_name.starts_with('*') {
            return Err(invalid("entity.managedZone.dnsName", text("dnsName")));
        }
        check_labels("entity.managedZone.labels", body.get("labels"))?;
        if let Some(other) = body.keys().find(|it| !SETTABLE.contains(&it.as_str())) {
            return Err(ApiError::unimplemented(format!("a zone's `{other}`")));
        }
        if text("visibility") == "private" {
            return Err(ApiError::unimplemented("private zones"));
        }
        let dnssec = body.get("dnssecConfig").and_then(|it| it.get("state"));
        if dnssec.is_some_and(|state| state != "off") {
            return Err(ApiError::unimplemented("DNSSEC"));
        }
        let message = self.zone_message(&name, &dns_name, body);
        let records = apex(&dns_name);
        let mut zones = self.inner.dns.zones.lock();
        let key = (self.dns_project(call), name.clone());
        if zones.contains_key(&key) {
            return Err(ApiError::legacy(
                409,
                "alreadyExists",
                format!("The resource 'entity.managedZone' named '{name}' already exists"),
            ));
        }
        let first = changes::message(0, "done", &self.now(), &records.view(), &[]);
        let zone = Zone {
            message: message.clone(),
            dns_name,
            served: records.clone(),
            records,
            changes: vec![first],
        };
        zones.insert(key, zone);
        Ok(Value::Object(message))
    }

    fn zone_message(&self, name: &str, dns_name: &str, body: &Object) -> Object {
        let id = u64::from_be_bytes(
            uuid::Uuid::new_v4().into_bytes()[..8]
                .try_into()
                .unwrap_or([1; 8]),
        );
        let mut message = json!({
            "kind": "dns#managedZone", "name": name, "dnsName": dns_name, "id": id.to_string(),
            "nameServers": SERVERS, "creationTime": self.now(), "visibility": "public",
            "cloudLoggingConfig": { "kind": "dns#managedZoneCloudLoggingConfig" },
        });
        for field in ["description", "labels", "dnssecConfig"] {
            if let Some(value) = body.get(field) {
                message[field] = value.clone();
            }
        }
        message.as_object().cloned().unwrap_or_default()
    }

    pub(super) fn list_zones(&self, call: &Call) -> Outcome {
        let wanted = call.query("dnsName").to_ascii_lowercase();
        let all = {
            let project = self.dns_project(call);
            let zones = self.inner.dns.zones.lock();
            zones
                .iter()
                .filter(|((own, _), _)| *own == project)
                .map(|(_, zone)| zone)
                .filter(|zone| wanted.is_empty() || zone.dns_name == wanted)
                .map(|zone| Value::Object(zone.message.clone()))
                .collect()
        };
        listed(call, "dns#managedZonesListResponse", "managedZones", all)
    }

    pub(super) fn delete_zone(&self, call: &Call) -> Outcome {
        let name = self.with_zone(call, |zone| {
            let name = zone.message["name"].as_str().unwrap_or_default().to_owned();
            if zone.records.len() > apex(&zone.dns_name).len() {
                return Err(ApiError::legacy(
                    400,
                    "containerNotEmpty",
                    format!("The resource named '{name}' cannot be deleted because it contains one or more 'resource records'."),
                ));
            }
            Ok(name)
        })?;
        let key = (self.dns_project(call), name);
        self.inner.dns.zones.lock().remove(&key);
        Ok(json!({}))
    }
}

/// What every zone has from the start.
fn apex(dns_name: &str) -> Records {
    let soa = format!(
        "{} cloud-dns-hostmaster.google.com. 1 21600 3600 259200 300",
        SERVERS[0]
    );
    let mut records = Records::default();
    records.put(Record::new(dns_name, "NS", APEX_TTL, &SERVERS));
    records.put(Record::new(dns_name, "SOA", APEX_TTL, &[&soa]));
    records
}
