//! The calls that concern one record: its zone, what stands there, and changes of it.

use std::net::IpAddr;
use std::sync::Arc;

use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::node::Reading;
use deployer_core::spec::{LeadsTo, RecordSpec};
use google_cloud_dns_v1::model::change::Status;
use google_cloud_dns_v1::model::managed_zone::Visibility;
use google_cloud_dns_v1::model::{Change, ManagedZone, ResourceRecordSet};
use google_cloud_gax::paginator::ItemPaginator;

use crate::error::{self, Found};
use crate::project::Project;

/// What stands in the way of every other record of its name.
const ALIAS: &str = "CNAME";

/// A record's path: `ZONE/NAME/SORT`, or `PROJECT/ZONE/NAME/SORT` in a zone of another project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RecordPath {
    /// The zone's project, where it is not the target's.
    pub(super) project: Option<String>,
    pub(super) zone: String,
    /// Without the last dot.
    pub(super) name: String,
    pub(super) sort: String,
}

impl std::fmt::Display for RecordPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(project) = &self.project {
            write!(f, "{project}/")?;
        }
        write!(f, "{}/{}/{}", self.zone, self.name, self.sort)
    }
}

impl RecordPath {
    pub(super) fn of(record: &RecordSpec) -> Self {
        let (project, zone) = match record.zone.split_once('/') {
            Some((project, zone)) => (Some(project.to_owned()), zone),
            None => (None, record.zone.as_str()),
        };
        Self {
            project,
            zone: zone.to_owned(),
            name: record.name.clone(),
            sort: sort(&record.leads_to).to_owned(),
        }
    }
}

fn sort(leads_to: &LeadsTo) -> &'static str {
    match leads_to {
        LeadsTo::Address(IpAddr::V6(_)) => "AAAA",
        // A load balancer of another cloud is refused when the record is carried out.
        LeadsTo::Address(IpAddr::V4(_)) | LeadsTo::LoadBalancer(_) => "A",
    }
}

impl RecordPath {
    /// Errors: input, when the text is no place.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty()).collect();
        let (project, place) = match parts.as_slice() {
            [project, place @ ..] if place.len() == 3 => (Some(*project), place),
            place => (None, place),
        };
        match place {
            [zone, name, sort] => Ok(Self {
                project: project.map(str::to_owned),
                zone: (*zone).to_owned(),
                name: (*name).to_owned(),
                sort: (*sort).to_owned(),
            }),
            _ => Err(Error::input(format!(
                "`{text}` names no record (zone/name/type)"
            ))),
        }
    }

    pub(super) fn full_name(&self) -> String {
        format!("{}.", self.name.trim_end_matches('.'))
    }
}

/// An existing zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Zone {
    pub(super) id: String,
    pub(super) servers: Vec<String>,
}

/// The calls that concern one record.
pub(super) struct Calls {
    pub(super) project: Arc<Project>,
    pub(super) place: RecordPath,
}

impl Calls {
    pub(super) fn cannot(&self, what: &str) -> String {
        format!("cannot {what} record `{}`", self.place.name)
    }

    /// The project that the zone is in.
    pub(super) fn zone_project(&self) -> &str {
        let own = &self.project.names.project;
        self.place.project.as_ref().unwrap_or(own)
    }

    pub(super) fn cannot_find_zone(&self) -> String {
        format!("cannot find the zone `{}`", self.place.zone)
    }

    /// The zone, by its domain or its id.
    ///
    /// Errors: not found; input, when several fit or the name is not within it.
    pub(super) async fn zone(&self) -> Result<Found<Zone>> {
        let given = self.place.zone.trim_end_matches('.');
        // Ids have no dots, and every domain that a zone is for has one.
        let found = if given.contains('.') {
            self.zones_of(given).await?
        } else {
            self.zone_called(given).await?
        };
        Ok(match found {
            Found::Here(zones) => Found::Here(self.the_one(zones)?),
            Found::Absent => return Err(self.no_zone()),
            Found::Denied(why) => Found::Denied(why),
        })
    }

    pub(super) async fn zones_of(&self, domain: &str) -> Result<Found<Vec<ManagedZone>>> {
        let mut pages = self
            .project
            .clients
            .zones
            .reading()
            .await
            .list()
            .set_project(self.zone_project())
            .set_dns_name(format!("{domain}."))
            .by_item();
        let mut zones = Vec::new();
        while let Some(zone) = pages.next().await {
            match error::found(zone, &self.cannot_find_zone())? {
                Found::Here(zone) => zones.push(zone),
                Found::Absent => return Ok(Found::Absent),
                Found::Denied(why) => return Ok(Found::Denied(why)),
            }
        }
        Ok(Found::Here(zones))
    }

    pub(super) async fn zone_called(&self, id: &str) -> Result<Found<Vec<ManagedZone>>> {
        let outcome = self
            .project
            .clients
            .zones
            .reading()
            .await
            .get()
            .set_project(self.zone_project())
            .set_managed_zone(id)
            .send()
            .await;
        Ok(match error::found(outcome, &self.cannot_find_zone())? {
            Found::Here(zone) => Found::Here(vec![zone]),
            Found::Absent => Found::Absent,
            Found::Denied(why) => Found::Denied(why),
        })
    }

    pub(super) fn no_zone(&self) -> Error {
        Error::new(
            ErrorKind::NotFound,
            format!(
                "there is no public zone `{}` in project `{}`",
                self.place.zone,
                self.zone_project()
            ),
        )
        .hint(format!(
            "`zone` is the domain or the id of an existing public zone (`gcloud dns managed-zones list --project {}`); \
             one of another project needs that `project` beside it",
            self.zone_project()
        ))
    }

    pub(super) fn the_one(&self, zones: Vec<ManagedZone>) -> Result<Zone> {
        let mut zones: Vec<ManagedZone> = zones.into_iter().filter(is_public).collect();
        let zone = zones.pop().ok_or_else(|| self.no_zone())?;
        if let Some(other) = zones.first() {
            let name = |zone: &ManagedZone| zone.name.clone().unwrap_or_default();
            return Err(Error::input(format!(
                "project `{}` has several public zones `{}`",
                self.zone_project(),
                self.place.zone
            ))
            .hint(format!(
                "name one by its id: `zone = \"{}\"` or `zone = \"{}\"`",
                name(other),
                name(&zone)
            )));
        }
        let domain = zone.dns_name.clone().unwrap_or_default();
        if !is_within(&self.place.full_name(), &domain) {
            return Err(Error::input(format!(
                "`{}` is not within the zone `{}` ({domain})",
                self.place.name, self.place.zone
            )));
        }
        Ok(Zone {
            id: zone.name.unwrap_or_default(),
            servers: zone.name_servers,
        })
    }

    /// Every record set of the name, of whatever type.
    pub(super) async fn sets(&self, zone: &Zone) -> Result<Found<Vec<ResourceRecordSet>>> {
        let mut pages = self
            .project
            .clients
            .record_sets
            .reading()
            .await
            .list()
            .set_project(self.zone_project())
            .set_managed_zone(&zone.id)
            .set_name(self.place.full_name())
            .by_item();
        let mut sets = Vec::new();
        while let Some(set) = pages.next().await {
            match error::found(set, &self.cannot("read"))? {
                Found::Here(set) => sets.push(set),
                Found::Absent => return Ok(Found::Absent),
                Found::Denied(why) => return Ok(Found::Denied(why)),
            }
        }
        Ok(Found::Here(sets))
    }

    /// What stands under the name, whoever made it: the record of the place's type, or the alias in
    /// its way.
    pub(super) async fn look(&self) -> Result<Found<Actual>> {
        let zone = match self.zone().await? {
            Found::Here(zone) => zone,
            Found::Denied(why) => return Ok(Found::Denied(why)),
            Found::Absent => return Err(self.no_zone()),
        };
        let sets = match self.sets(&zone).await? {
            Found::Here(sets) => sets,
            Found::Denied(why) => return Ok(Found::Denied(why)),
            Found::Absent => Vec::new(),
        };
        let of = |sort: &str| sets.iter().find(|set| set.r#type.as_deref() == Some(sort));
        Ok(match of(&self.place.sort).or_else(|| of(ALIAS)) {
            Some(set) => Found::Here(Actual {
                zone,
                set: set.clone(),
                change: None,
            }),
            None => Found::Absent,
        })
    }

    /// The record as it is, whoever made it.
    pub(super) async fn find(&self) -> Result<Reading<Actual>> {
        Ok(match self.look().await? {
            Found::Here(actual) if actual.set.r#type.as_deref() == Some(ALIAS) => {
                let leads_to = actual.set.rrdatas.join(", ");
                Reading::Foreign(format!("it is an alias (CNAME) of {leads_to}").into())
            }
            Found::Here(actual) => Reading::Present(actual),
            Found::Absent => Reading::Absent,
            Found::Denied(why) => Reading::Denied(why),
        })
    }

    pub(super) async fn change(&self, zone: &Zone, change: Change, what: &str) -> Result<Change> {
        self.project
            .clients
            .record_changes
            .changing()
            .await
            .create()
            .set_project(self.zone_project())
            .set_managed_zone(&zone.id)
            .set_body(change)
            .send()
            .await
            .map_err(|error| error::failed(error, &self.cannot(what)))
    }

    /// Whether the change of that id is done.
    pub(super) async fn is_done(&self, zone: &Zone, id: &str) -> Result<bool> {
        let change = self
            .project
            .clients
            .record_changes
            .reading()
            .await
            .get()
            .set_project(self.zone_project())
            .set_managed_zone(&zone.id)
            .set_change_id(id)
            .send()
            .await
            .map_err(|error| error::failed(error, &self.cannot("see the change of")))?;
        Ok(change.status == Some(Status::Done))
    }
}

pub(super) fn is_public(zone: &ManagedZone) -> bool {
    !matches!(&zone.visibility, Some(Visibility::Private))
}

pub(super) fn is_within(name: &str, domain: &str) -> bool {
    name == domain
        || name
            .strip_suffix(domain)
            .is_some_and(|rest| rest.ends_with('.'))
}

/// A record as it is.
#[derive(Clone, Debug)]
pub(crate) struct Actual {
    pub(super) zone: Zone,
    pub(super) set: ResourceRecordSet,
    /// The change that this run started.
    pub(super) change: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_within_a_zone_at_its_top_or_below_a_dot() {
        assert!(is_within("example.com.", "example.com."));
        assert!(is_within("idp.eu.example.com.", "example.com."));
        assert!(!is_within("badexample.com.", "example.com."));
        assert!(!is_within("example.org.", "example.com."));
    }

    #[test]
    fn a_records_place_survives_being_an_address_and_anything_else_is_refused() {
        let place = RecordPath {
            project: None,
            zone: "example.com".into(),
            name: "idp.example.com".into(),
            sort: "A".into(),
        };
        assert_eq!(RecordPath::parse(&place.to_string()).unwrap(), place);
        assert_eq!(place.full_name(), "idp.example.com.");
        let shared = RecordPath {
            project: Some("example.com:dns".into()),
            ..place
        };
        assert_eq!(
            shared.to_string(),
            "example.com:dns/example.com/idp.example.com/A"
        );
        assert_eq!(RecordPath::parse(&shared.to_string()).unwrap(), shared);
        assert!(RecordPath::parse("example.com/idp.example.com").is_err());
        assert!(RecordPath::parse("a/b/c/d/e").is_err());
    }

    #[test]
    fn only_public_zones_are_looked_at() {
        let zone = ManagedZone::new().set_name("internal");
        assert!(is_public(&zone));
        assert!(!is_public(&zone.set_visibility(Visibility::Private)));
    }
}
