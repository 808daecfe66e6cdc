//! Finds zones, what stands in them, and load balancers.

use aws_sdk_route53::types::{
    Change, ChangeAction, ChangeBatch, HostedZone, ResourceRecordSet, RrType,
};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::node::Reading;

use super::Api;
use super::content::{Balancer, plain};
use crate::error::{Told, failure, incomplete, unseen};

/// An existing zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Zone {
    pub(super) id: String,
    /// Lower case, without the last dot.
    pub(super) domain: String,
    pub(super) is_public: bool,
}

impl Zone {
    fn of(zone: &HostedZone) -> Self {
        Self {
            id: zone.id().trim_start_matches("/hostedzone/").to_owned(),
            domain: plain(zone.name()),
            is_public: is_public(zone),
        }
    }

    /// Whether a name is the zone's own or below it.
    pub(super) fn has(&self, name: &str) -> bool {
        let below = name.strip_suffix(&self.domain);
        below.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

fn is_public(zone: &HostedZone) -> bool {
    !zone.config().is_some_and(|config| config.private_zone())
}

/// The zone that a manifest names, by its domain or its id: present or denied.
///
/// Errors: not found, when there is no public zone of that domain; input, when there are several.
pub(super) async fn find(api: &Api, wanted: &str) -> Result<Reading<Zone>> {
    // Ids have no dot, and no public zone is a top-level domain.
    if wanted.contains('.') {
        by_domain(api, &plain(wanted)).await
    } else {
        by_id(api, wanted.trim_start_matches("/hostedzone/")).await
    }
}

fn no_zone(wanted: &str) -> Error {
    let what = format!("there is no public hosted zone `{wanted}`");
    Error::new(ErrorKind::NotFound, what)
        .hint("name the existing zone by its domain or its id: `aws route53 list-hosted-zones`")
}

async fn by_id(api: &Api, id: &str) -> Result<Reading<Zone>> {
    let answer = api.route53.get_hosted_zone().id(id).send().await;
    let reading = match answer {
        Ok(answer) => match answer.hosted_zone() {
            Some(zone) => Reading::Present(Zone::of(zone)),
            None => Reading::Absent,
        },
        Err(error) => unseen(&error, "NoSuchHostedZone", &format!("hosted zone `{id}`"))?,
    };
    match reading {
        Reading::Absent => Err(no_zone(id)),
        found => Ok(found),
    }
}

async fn by_domain(api: &Api, domain: &str) -> Result<Reading<Zone>> {
    let answer = api
        .route53
        .list_hosted_zones_by_name()
        .dns_name(domain)
        .send()
        .await;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return unseen(&error, "", &format!("the hosted zones of `{domain}`")),
    };
    one_of(answer.hosted_zones(), domain).map(Reading::Present)
}

fn one_of(zones: &[HostedZone], domain: &str) -> Result<Zone> {
    let mut found = zones
        .iter()
        .filter(|zone| plain(zone.name()) == domain && is_public(zone))
        .map(Zone::of);
    let zone = found.next().ok_or_else(|| no_zone(domain))?;
    let others: Vec<String> = found.map(|zone| zone.id).collect();
    match others.is_empty() {
        true => Ok(zone),
        false => Err(several(domain, &zone.id, &others)),
    }
}

fn several(domain: &str, first: &str, others: &[String]) -> Error {
    let ids = format!("{first}, {}", others.join(", "));
    Error::input(format!(
        "there are several public hosted zones `{domain}`: {ids}"
    ))
    .hint("name the one that the domain is delegated to by its id: `zone = \"ID\"`")
}

/// The zone that a name is to stand in: present or denied. It is named by its domain or id, or else
/// the nearest public one that is there.
///
/// Errors: input, when the name is not in the zone, or the domain has several; not found, when
/// there is none.
pub(super) async fn zone_of(api: &Api, name: &str, wanted: Option<&str>) -> Result<Reading<Zone>> {
    let Some(wanted) = wanted else {
        return match around(api, name).await? {
            Reading::Present(zones) => nearest(zones, name).map(Reading::Present),
            Reading::Denied(words) => Ok(Reading::Denied(words)),
            Reading::Absent | Reading::Tombstoned(_) | Reading::Foreign(_) => Ok(Reading::Absent),
        };
    };
    let reading = find(api, wanted).await?;
    if let Reading::Present(zone) = &reading
        && !zone.has(name)
    {
        let domain = &zone.domain;
        return Err(
            Error::input(format!("`{name}` is not in the zone `{domain}`"))
                .hint("name the zone that the domain is delegated to, or correct the name"),
        );
    }
    Ok(reading)
}

/// The public one of the longest domain; `zones` are sorted by that.
fn nearest(zones: Vec<Zone>, name: &str) -> Result<Zone> {
    let mut public = zones.into_iter().filter(|zone| zone.is_public);
    let Some(zone) = public.next() else {
        let what = format!("there is no public hosted zone that `{name}` is in");
        return Err(Error::new(ErrorKind::NotFound, what).hint(
            "make one and have the domain delegated to its name servers (`aws route53 create-hosted-zone`), \
             or use the account that has it",
        ));
    };
    let others: Vec<String> = public
        .filter(|other| other.domain == zone.domain)
        .map(|other| other.id)
        .collect();
    match others.is_empty() {
        true => Ok(zone),
        false => Err(several(&zone.domain, &zone.id, &others)),
    }
}

/// The zones that a name can stand in, the nearest first: present or denied. Private ones too: a
/// manifest may name one by its id.
pub(super) async fn around(api: &Api, name: &str) -> Result<Reading<Vec<Zone>>> {
    let mut pages = api
        .route53
        .list_hosted_zones()
        .into_paginator()
        .items()
        .send();
    let mut zones = Vec::new();
    while let Some(zone) = pages.next().await {
        match zone {
            Ok(zone) => zones.push(Zone::of(&zone)),
            Err(error) => return unseen(&error, "", "the hosted zones"),
        }
    }
    zones.retain(|zone| zone.has(name));
    zones.sort_by_key(|zone| std::cmp::Reverse(zone.domain.len()));
    Ok(Reading::Present(zones))
}

/// The address records and the canonical name that stand under a name, of which there is one at
/// most: present, denied, or absent with the zone.
pub(super) async fn records(
    api: &Api,
    zone: &Zone,
    name: &str,
) -> Result<Reading<Vec<ResourceRecordSet>>> {
    let answer = api
        .route53
        .list_resource_record_sets()
        .hosted_zone_id(&zone.id)
        .start_record_name(name)
        .send()
        .await;
    let what = format!("the records of hosted zone `{}`", zone.domain);
    match answer {
        Ok(answer) => Ok(Reading::Present(
            answer
                .resource_record_sets
                .into_iter()
                .filter(|set| plain(set.name()) == name && leads_somewhere(set))
                .collect(),
        )),
        Err(error) => unseen(&error, "NoSuchHostedZone", &what),
    }
}

fn leads_somewhere(set: &ResourceRecordSet) -> bool {
    matches!(set.r#type(), RrType::A | RrType::Aaaa | RrType::Cname)
}

/// Makes all of these changes at once, or none. Returns the change's id.
pub(super) async fn change(
    api: &Api,
    zone: &Zone,
    action: &str,
    changes: Vec<(ChangeAction, ResourceRecordSet)>,
) -> Result<String> {
    let mut batch = ChangeBatch::builder();
    for (action, set) in changes {
        let change = Change::builder().action(action).resource_record_set(set);
        batch = batch.changes(change.build().map_err(incomplete)?);
    }
    let answer = api
        .route53
        .change_resource_record_sets()
        .hosted_zone_id(&zone.id)
        .change_batch(batch.build().map_err(incomplete)?)
        .send()
        .await
        .told(|| action.to_owned())?;
    let id = answer.change_info().map(|info| info.id());
    Ok(id
        .unwrap_or_default()
        .trim_start_matches("/change/")
        .to_owned())
}

/// The name servers that the zone is delegated to.
pub(super) async fn servers(api: &Api, zone: &Zone) -> Result<Vec<String>> {
    let answer = api
        .route53
        .get_hosted_zone()
        .id(&zone.id)
        .send()
        .await
        .told(|| format!("read the servers of hosted zone `{}`", zone.domain))?;
    let set = answer.delegation_set();
    Ok(set
        .map(|set| set.name_servers().to_vec())
        .unwrap_or_default())
}

/// The load balancer of this name, ARN or DNS name: present, absent or denied.
pub(super) async fn balancer(api: &Api, wanted: &str) -> Result<Reading<Balancer>> {
    let by_dns_name = wanted.contains('.') && !wanted.starts_with("arn:");
    let mut call = api.balancers.describe_load_balancers();
    if wanted.starts_with("arn:") {
        call = call.load_balancer_arns(wanted);
    } else if !by_dns_name {
        call = call.names(wanted);
    }
    let mut pages = call.into_paginator().items().send();
    while let Some(found) = pages.next().await {
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                return unseen(
                    &error,
                    "LoadBalancerNotFound",
                    &format!("load balancer `{wanted}`"),
                );
            }
        };
        let (Some(dns_name), Some(zone)) = (found.dns_name(), found.canonical_hosted_zone_id())
        else {
            continue;
        };
        if !by_dns_name || plain(dns_name) == plain(wanted) {
            return Ok(Reading::Present(Balancer {
                dns_name: plain(dns_name),
                zone: zone.to_owned(),
            }));
        }
    }
    Ok(Reading::Absent)
}

/// Whether a change has reached every server of Route 53.
pub(super) async fn is_in_sync(api: &Api, change: &str) -> Result<bool> {
    let answer = api.route53.get_change().id(change).send().await;
    let answer = answer.map_err(|error| failure(&error, &format!("look at change `{change}`")))?;
    let status = answer.change_info().map(|info| info.status().clone());
    Ok(status == Some(aws_sdk_route53::types::ChangeStatus::Insync))
}

#[cfg(test)]
mod tests {
    use aws_sdk_route53::types::HostedZoneConfig;

    use super::*;

    fn zone(id: &str, name: &str, private: bool) -> HostedZone {
        let config = HostedZoneConfig::builder().private_zone(private).build();
        HostedZone::builder()
            .id(format!("/hostedzone/{id}"))
            .name(name)
            .caller_reference("x")
            .config(config)
            .build()
            .unwrap()
    }

    #[test]
    fn the_public_zone_of_exactly_that_domain_is_taken() {
        let zones = [
            zone("ZPRIVATE", "example.com.", true),
            zone("Z1", "example.com.", false),
            zone("Z2", "example.com.br.", false),
        ];
        assert_eq!(one_of(&zones, "example.com").unwrap().id, "Z1");
        let absent = one_of(&zones, "example.org").unwrap_err();
        assert_eq!(absent.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn several_zones_of_one_domain_are_told_apart_by_id_only() {
        let zones = [
            zone("Z1", "example.com.", false),
            zone("Z2", "example.com.", false),
        ];
        let error = one_of(&zones, "example.com").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.to_string().contains("Z1, Z2"), "{error}");
    }

    #[test]
    fn the_nearest_public_zone_of_a_name_is_found_by_itself() {
        let zones = |private: bool| {
            let mut zones = vec![
                Zone::of(&zone("ZSUB", "api.example.com.", private)),
                Zone::of(&zone("Z1", "example.com.", false)),
            ];
            zones.retain(|zone| zone.has("a.api.example.com"));
            zones
        };
        let found = |private| nearest(zones(private), "a.api.example.com").unwrap().id;
        assert_eq!(found(false), "ZSUB");
        assert_eq!(found(true), "Z1");
        let none = nearest(Vec::new(), "example.org").unwrap_err();
        assert_eq!(none.kind(), ErrorKind::NotFound);
        let twice = vec![
            Zone::of(&zone("Z1", "example.com.", false)),
            Zone::of(&zone("Z2", "example.com.", false)),
        ];
        let error = nearest(twice, "example.com").unwrap_err();
        assert!(error.to_string().contains("Z1, Z2"), "{error}");
    }

    #[test]
    fn a_name_is_in_a_zone_when_it_ends_with_its_domain_at_a_dot() {
        let zone = Zone::of(&zone("Z1", "Example.com.", false));
        assert!(zone.has("example.com"));
        assert!(zone.has("idp.example.com"));
        assert!(!zone.has("idpexample.com"));
    }
}
