//! Hosted zones: made with their SOA and NS records, deleted once nothing else is left.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::records::{RecordSet, Records, canonical, is_name, reversed, size};
use super::{Route53, Zone};
use crate::aws::error::AwsError;
use crate::aws::json::{need, random_hex, text};

/// Of the records that every zone begins with, as the Developer Guide has them in "NS and SOA
/// records that Amazon Route 53 creates for a public hosted zone".
const SOA_TTL: u32 = 900;
const NS_TTL: u32 = 172_800;

/// The largest page: "If you have more than maxitems hosted zones, ... MaxItems: 100" (API
/// Reference, "ListHostedZones").
const PAGE: usize = 100;

impl Route53 {
    pub(super) fn create_zone(&self, input: &Value) -> Result<Value, AwsError> {
        let name = canonical(need(input, "Name"));
        if !is_name(&name) || name.starts_with('*') {
            return Err(AwsError::new(
                "InvalidDomainName",
                format!("The domain name '{}' is not valid.", need(input, "Name")),
            ));
        }
        let reference = need(input, "CallerReference").to_owned();
        let vpcs: Vec<Value> = input.get("VPC").cloned().into_iter().collect();
        let zone = Zone {
            id: format!("Z{}", random_hex(20).to_ascii_uppercase()),
            servers: servers(),
            records: Records::default(),
            served: Records::default(),
            is_private: !vpcs.is_empty(),
            comment: input
                .get("HostedZoneConfig")
                .and_then(|it| text(it, "Comment"))
                .map(str::to_owned),
            vpcs,
            name,
            reference,
        };
        let mut zones = self.inner.zones.lock();
        // "A unique string that identifies the request and that allows failed CreateHostedZone
        // requests to be retried without the risk of executing the operation twice" (API Reference,
        // "CreateHostedZone").
        if zones.iter().any(|it| it.reference == zone.reference) {
            return Err(AwsError::new(
                "HostedZoneAlreadyExists",
                "A hosted zone has already been created with the specified caller reference.",
            )
            .with_status(StatusCode::CONFLICT));
        }
        let mut zone = zone;
        zone.records = apex(&zone);
        let mut answer = zone.described();
        let id = zone.id.clone();
        answer["Location"] = json!(format!(
            "https://route53.amazonaws.com/2013-04-01/hostedzone/{id}"
        ));
        zones.push(zone);
        drop(zones);
        answer["ChangeInfo"] = self.begin_change(&id, None);
        Ok(answer)
    }

    pub(super) fn get_zone(&self, input: &Value) -> Result<Value, AwsError> {
        self.with_zone(input, "Id", |zone| {
            let mut answer = zone.described();
            if let Some(vpc) = answer.as_object_mut().and_then(|it| it.remove("VPC")) {
                answer["VPCs"] = json!([vpc]);
            }
            Ok(answer)
        })
    }

    pub(super) fn delete_zone(&self, input: &Value) -> Result<Value, AwsError> {
        let id = self.with_zone(input, "Id", |zone| {
            if zone.records.all().count() > apex(zone).all().count() {
                return Err(AwsError::new(
                    "HostedZoneNotEmpty",
                    "The specified hosted zone contains non-required resource record sets and so \
                     cannot be deleted.",
                ));
            }
            Ok(zone.id.clone())
        })?;
        let change = self.begin_change(&id, None);
        self.inner.zones.lock().retain(|zone| zone.id != id);
        Ok(json!({ "ChangeInfo": change }))
    }

    pub(super) fn list_zones(&self, input: &Value) -> Result<Value, AwsError> {
        let size = size(input, PAGE)?;
        let only_private = text(input, "HostedZoneType").is_some();
        let zones = self.inner.zones.lock();
        let mut all: Vec<&Zone> = zones
            .iter()
            .filter(|zone| zone.is_private || !only_private)
            .collect();
        let marker = need(input, "Marker");
        if !marker.is_empty() {
            let start = all.iter().position(|zone| zone.id == marker);
            let start = start.ok_or_else(|| {
                AwsError::new(
                    "InvalidInput",
                    format!("The marker '{marker}' is not valid."),
                )
            })?;
            all.drain(..start);
        }
        let next = all.get(size).map(|zone| zone.id.clone());
        let page: Vec<Value> = all.iter().take(size).map(|zone| zone.view()).collect();
        let mut answer = json!({
            "HostedZones": page, "Marker": marker, "IsTruncated": next.is_some(),
            "MaxItems": size.to_string(),
        });
        if let Some(next) = next {
            answer["NextMarker"] = json!(next);
        }
        Ok(answer)
    }

    /// "in ASCII order by domain name ... with the labels reversed", from `DNSName` on: also zones
    /// that only come after it (API Reference, "ListHostedZonesByName").
    pub(super) fn list_zones_by_name(&self, input: &Value) -> Result<Value, AwsError> {
        let size = size(input, PAGE)?;
        let from = text(input, "DNSName").map(canonical);
        let from_id = text(input, "HostedZoneId").map(|id| id.trim_start_matches("/hostedzone/"));
        let zones = self.inner.zones.lock();
        let mut all: Vec<&Zone> = zones.iter().collect();
        all.sort_by_key(|zone| (reversed(&zone.name), zone.id.clone()));
        if let Some(from) = &from {
            let start = (reversed(from), from_id.unwrap_or_default().to_owned());
            all.retain(|zone| (reversed(&zone.name), zone.id.clone()) >= start);
        }
        let next = all.get(size).copied();
        let page: Vec<Value> = all.iter().take(size).map(|zone| zone.view()).collect();
        let mut answer = json!({
            "HostedZones": page, "IsTruncated": next.is_some(), "MaxItems": size.to_string(),
        });
        if let Some(from) = text(input, "DNSName") {
            answer["DNSName"] = json!(from);
        }
        if let Some(next) = next {
            answer["NextDNSName"] = json!(next.name);
            answer["NextHostedZoneId"] = json!(next.id);
        }
        Ok(answer)
    }
}

impl Zone {
    /// The message `HostedZone`.
    fn view(&self) -> Value {
        let mut config = json!({ "PrivateZone": self.is_private });
        if let Some(comment) = &self.comment {
            config["Comment"] = json!(comment);
        }
        json!({
            "Id": format!("/hostedzone/{}", self.id), "Name": self.name,
            "CallerReference": self.reference, "Config": config,
            "ResourceRecordSetCount": self.records.all().count(),
        })
    }

    /// The zone with its servers, or its VPC.
    fn described(&self) -> Value {
        let mut answer = json!({ "HostedZone": self.view() });
        // A private zone has no servers that the world asks; CreateHostedZone tells some all the
        // same, as its answer requires.
        answer["DelegationSet"] = json!({ "NameServers": self.servers });
        if let Some(vpc) = self.vpcs.first() {
            answer["VPC"] = vpc.clone();
        }
        answer
    }
}

/// One server in each of the four domains that Route 53's are in.
fn servers() -> Vec<String> {
    let number = fastrand::u32(0..512);
    ["com", "net", "org", "co.uk"]
        .iter()
        .zip(0..)
        .map(|(domain, nth)| {
            let number = number + nth * 512;
            format!("ns-{number}.awsdns-{:02}.{domain}", number % 64)
        })
        .collect()
}

/// What every zone has from the start.
fn apex(zone: &Zone) -> Records {
    let servers: Vec<String> = zone.servers.iter().map(|it| format!("{it}.")).collect();
    let soa = format!(
        "{} awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400",
        servers.first().map_or("", String::as_str)
    );
    let mut records = Records::default();
    records.put(RecordSet::of(&zone.name, "NS", NS_TTL, &servers));
    records.put(RecordSet::of(&zone.name, "SOA", SOA_TTL, &[soa]));
    records
}
