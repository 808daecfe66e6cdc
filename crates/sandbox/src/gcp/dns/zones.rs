//! Managed zones: created with their SOA and NS records, deleted once nothing else is left.

use serde_json::json;

use super::records::{Record, Records, is_name};
use super::{Held, changes, invalid, required};
use crate::gcp::Gcp;
use crate::gcp::error::{ApiError, Outcome};
use crate::gcp::names::{check_labels, is_dns_label};
use crate::gcp::schema::{Object, text};
use crate::gcp::shelf::{Ends, Kind, Makes, nothing, told};

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

/// In a project, by name.
pub(super) const ZONES: Kind<Held> = Kind {
    methods: "dns.managedZones.",
    id: 1,
    on: |gcp| &gcp.inner.dns.zones,
    home: |gcp, call| Ok(gcp.dns_project(call)),
    makes: Some(Makes {
        named: |call| {
            for field in ["name", "dnsName", "description"] {
                if !call.body.contains_key(field) {
                    return Err(required(&format!("entity.managedZone.{field}")));
                }
            }
            match text(&call.body, "name") {
                name if is_dns_label(name, 63) => Ok(name.to_owned()),
                name => Err(invalid("entity.managedZone.name", name)),
            }
        },
        made: |gcp, call, (_, name)| gcp.new_zone(&call.body, name),
        taken: |_, (_, name)| {
            let message =
                format!("The resource 'entity.managedZone' named '{name}' already exists");
            ApiError::legacy(409, "alreadyExists", message)
        },
        answer: told,
    }),
    changes: None,
    ends: Some(Ends {
        free: |_, zone| match zone.kept.records.len() > apex(&zone.kept.dns_name).len() {
            false => Ok(()),
            true => Err(ApiError::legacy(
                400,
                "containerNotEmpty",
                format!(
                    "The resource named '{}' cannot be deleted because it contains one or more 'resource records'.",
                    text(&zone.message, "name")
                ),
            )),
        },
        answer: nothing,
    }),
    absent: |_, (_, name)| {
        let what = format!("The 'parameters.managedZone' resource named '{name}' does not exist.");
        ApiError::legacy(404, "notFound", what)
    },
    fits: |call, _, zone| {
        let wanted = call.query("dnsName").to_ascii_lowercase();
        Ok(wanted.is_empty() || zone.kept.dns_name == wanted)
    },
    page: 100,
};

impl Gcp {
    fn new_zone(&self, body: &Object, name: &str) -> Outcome<(Object, Held)> {
        let dns_name = text(body, "dnsName").to_ascii_lowercase();
        if !is_name(&dns_name) || dns_name.starts_with('*') {
            return Err(invalid("entity.managedZone.dnsName", text(body, "dnsName")));
        }
        check_labels("entity.managedZone.labels", body.get("labels"))?;
        if let Some(other) = body.keys().find(|it| !SETTABLE.contains(&it.as_str())) {
            return Err(ApiError::unimplemented(format!("a zone's `{other}`")));
        }
        if text(body, "visibility") == "private" {
            return Err(ApiError::unimplemented("private zones"));
        }
        let dnssec = body.get("dnssecConfig").and_then(|it| it.get("state"));
        if dnssec.is_some_and(|state| state != "off") {
            return Err(ApiError::unimplemented("DNSSEC"));
        }
        let records = apex(&dns_name);
        let first = changes::message(0, "done", &self.now(), &records.view(), &[]);
        let message = self.zone_message(name, &dns_name, body);
        let zone = Held {
            dns_name,
            served: records.clone(),
            records,
            changes: vec![first],
        };
        Ok((message, zone))
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
