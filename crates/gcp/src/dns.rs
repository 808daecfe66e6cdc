//! Address records in existing Cloud DNS zones: made and changed as one change each, ready when the zone's servers answer.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::Dns;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::Graph;
use deployer_core::node::{Reading, Ready, Resource, Token, Watch};
use deployer_core::spec::{EnvironmentSpec, LeadsTo, RecordSpec};
use deployer_core::wait::{Pace, Readiness};
use google_cloud_dns_v1::model::change::Status;
use google_cloud_dns_v1::model::managed_zone::Visibility;
use google_cloud_dns_v1::model::{Change, ManagedZone, ResourceRecordSet};
use google_cloud_gax::paginator::ItemPaginator;

use crate::error::{self, Found};
use crate::project::Project;
use crate::zone_servers;

/// The kind in addresses.
pub(crate) const KIND: &str = "dns.record";

/// How long others may remember the record, in seconds.
const TTL: i32 = 300;

/// Google's servers know a change within a minute or two; it names no bound.
const DEADLINE: Duration = Duration::from_secs(10 * 60);

/// Cloud DNS behind [`Dns`].
pub(crate) struct CloudDns {
    pub(crate) project: Arc<Project>,
}

impl std::fmt::Debug for CloudDns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CloudDns({})", self.project.names.project)
    }
}

impl Dns for CloudDns {
    fn record(
        &self,
        graph: &mut Graph,
        _env: &EnvironmentSpec,
        record: &RecordSpec,
        inventory: &BTreeSet<Address>,
    ) -> Address {
        let place = Place {
            zone: record.zone.clone(),
            name: record.name.clone(),
            sort: sort(&record.leads_to).to_owned(),
        };
        let address = Address::new(&self.project.target, KIND, place.to_string());
        graph.resource(|_| Record {
            calls: Calls {
                project: Arc::clone(&self.project),
                place,
            },
            ours: record.adopt || inventory.contains(&address),
            address: address.clone(),
            spec: record.clone(),
        });
        address
    }
}

fn sort(leads_to: &LeadsTo) -> &'static str {
    match leads_to {
        LeadsTo::Address(IpAddr::V6(_)) => "AAAA",
        // A load balancer of another cloud is refused when the record is carried out.
        LeadsTo::Address(IpAddr::V4(_)) | LeadsTo::LoadBalancer(_) => "A",
    }
}

/// A record's place: `ZONE/NAME/SORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    zone: String,
    /// Without the last dot.
    name: String,
    sort: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.zone, self.name, self.sort)
    }
}

impl Place {
    /// Errors: input, when the text is no place.
    fn parse(text: &str) -> Result<Self> {
        let mut parts = text.split('/').filter(|part| !part.is_empty());
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(zone), Some(name), Some(sort), None) => Ok(Self {
                zone: zone.to_owned(),
                name: name.to_owned(),
                sort: sort.to_owned(),
            }),
            _ => Err(Error::input(format!(
                "`{text}` names no record (zone/name/type)"
            ))),
        }
    }

    fn full_name(&self) -> String {
        format!("{}.", self.name.trim_end_matches('.'))
    }
}

/// An existing zone.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Zone {
    id: String,
    servers: Vec<String>,
}

/// The calls that concern one record.
struct Calls {
    project: Arc<Project>,
    place: Place,
}

impl Calls {
    fn cannot(&self, what: &str) -> String {
        format!("cannot {what} record `{}`", self.place.name)
    }

    fn cannot_find_zone(&self) -> String {
        format!("cannot find the zone `{}`", self.place.zone)
    }

    /// The zone, by its domain or its id.
    ///
    /// Errors: not found; input, when several fit or the name is not within it.
    async fn zone(&self) -> Result<Found<Zone>> {
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

    async fn zones_of(&self, domain: &str) -> Result<Found<Vec<ManagedZone>>> {
        let mut pages = self
            .project
            .clients
            .zones
            .list()
            .set_project(&self.project.names.project)
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

    async fn zone_called(&self, id: &str) -> Result<Found<Vec<ManagedZone>>> {
        let outcome = self
            .project
            .clients
            .zones
            .get()
            .set_project(&self.project.names.project)
            .set_managed_zone(id)
            .send()
            .await;
        Ok(match error::found(outcome, &self.cannot_find_zone())? {
            Found::Here(zone) => Found::Here(vec![zone]),
            Found::Absent => Found::Absent,
            Found::Denied(why) => Found::Denied(why),
        })
    }

    fn no_zone(&self) -> Error {
        Error::new(
            ErrorKind::NotFound,
            format!(
                "there is no public zone `{}` in project `{}`",
                self.place.zone, self.project.names.project
            ),
        )
        .hint("`zone` is the domain or the id of an existing public zone: `gcloud dns managed-zones list`")
    }

    fn the_one(&self, zones: Vec<ManagedZone>) -> Result<Zone> {
        let mut zones: Vec<ManagedZone> = zones.into_iter().filter(is_public).collect();
        let zone = zones.pop().ok_or_else(|| self.no_zone())?;
        if let Some(other) = zones.first() {
            let name = |zone: &ManagedZone| zone.name.clone().unwrap_or_default();
            return Err(Error::input(format!(
                "project `{}` has several public zones `{}`",
                self.project.names.project, self.place.zone
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
    async fn sets(&self, zone: &Zone) -> Result<Found<Vec<ResourceRecordSet>>> {
        let mut pages = self
            .project
            .clients
            .record_sets
            .list()
            .set_project(&self.project.names.project)
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

    /// The record as it is, whoever made it.
    async fn find(&self) -> Result<Reading<Actual>> {
        let zone = match self.zone().await? {
            Found::Here(zone) => zone,
            Found::Denied(why) => return Ok(Reading::Denied(why)),
            Found::Absent => return Err(self.no_zone()),
        };
        let sets = match self.sets(&zone).await? {
            Found::Here(sets) => sets,
            Found::Denied(why) => return Ok(Reading::Denied(why)),
            Found::Absent => Vec::new(),
        };
        let is = |set: &ResourceRecordSet, sort: &str| set.r#type.as_deref() == Some(sort);
        if let Some(set) = sets.iter().find(|set| is(set, &self.place.sort)) {
            return Ok(Reading::Present(Actual {
                zone,
                set: set.clone(),
                change: None,
            }));
        }
        Ok(match sets.iter().find(|set| is(set, "CNAME")) {
            Some(set) => Reading::Foreign(format!(
                "it is an alias (CNAME) of {}",
                set.rrdatas.join(", ")
            )),
            None => Reading::Absent,
        })
    }

    async fn change(&self, zone: &Zone, change: Change, what: &str) -> Result<Change> {
        self.project
            .clients
            .record_changes
            .create()
            .set_project(&self.project.names.project)
            .set_managed_zone(&zone.id)
            .set_body(change)
            .send()
            .await
            .map_err(|error| error::failed(error, &self.cannot(what)))
    }

    /// Whether the change of that id is done.
    async fn is_done(&self, zone: &Zone, id: &str) -> Result<bool> {
        let change = self
            .project
            .clients
            .record_changes
            .get()
            .set_project(&self.project.names.project)
            .set_managed_zone(&zone.id)
            .set_change_id(id)
            .send()
            .await
            .map_err(|error| error::failed(error, &self.cannot("see the change of")))?;
        Ok(change.status == Some(Status::Done))
    }
}

fn is_public(zone: &ManagedZone) -> bool {
    !matches!(&zone.visibility, Some(Visibility::Private))
}

fn is_within(name: &str, domain: &str) -> bool {
    name == domain
        || name
            .strip_suffix(domain)
            .is_some_and(|rest| rest.ends_with('.'))
}

/// A record as it is.
#[derive(Clone, Debug)]
pub(crate) struct Actual {
    zone: Zone,
    set: ResourceRecordSet,
    /// The change that this run started.
    change: Option<String>,
}

/// A record set as a change takes it back: only what was given once.
fn given(set: &ResourceRecordSet) -> ResourceRecordSet {
    set.clone().set_signature_rrdatas(Vec::<String>::new())
}

fn describe(set: &ResourceRecordSet) -> Fields {
    let mut fields = Fields::new();
    let mut addresses: Vec<String> = set.rrdatas.iter().map(|text| plain(text)).collect();
    addresses.sort_unstable();
    fields.set("leads to", addresses.join(", "));
    fields.set("ttl", format!("{} s", set.ttl.unwrap_or_default()));
    if set.routing_policy.is_some() {
        fields.set("routing policy", "yes");
    }
    fields
}

/// An address in its shortest form, however it is written.
fn plain(text: &str) -> String {
    text.parse::<IpAddr>()
        .map_or_else(|_| text.to_owned(), |address| address.to_string())
}

/// The name of one service of the manifest.
struct Record {
    calls: Calls,
    address: Address,
    spec: RecordSpec,
    /// The inventory names it, or the manifest adopts whatever is there.
    ours: bool,
}

impl Record {
    fn target(&self) -> Result<IpAddr> {
        match &self.spec.leads_to {
            LeadsTo::Address(address) => Ok(*address),
            LeadsTo::LoadBalancer(name) => Err(Error::input(format!(
                "`{}` cannot lead to the AWS load balancer `{name}` from Cloud DNS",
                self.spec.name
            ))
            .hint("give the `address` of a load balancer in front of Cloud Run")),
        }
    }

    fn wanted(&self) -> ResourceRecordSet {
        let data = match &self.spec.leads_to {
            LeadsTo::Address(address) => address.to_string(),
            LeadsTo::LoadBalancer(name) => name.clone(),
        };
        ResourceRecordSet::new()
            .set_name(self.calls.place.full_name())
            .set_type(&self.calls.place.sort)
            .set_ttl(TTL)
            .set_rrdatas([data])
    }

    /// Whether nobody can be asked: Google is a stand-in on this machine, and the zone's servers are not named.
    fn asks_nobody(&self) -> bool {
        self.calls.project.target.sandbox && self.spec.servers.is_empty()
    }

    async fn put(
        &self,
        zone: Zone,
        before: Option<&ResourceRecordSet>,
        watch: &dyn Watch,
    ) -> Result<Actual> {
        self.target()?;
        let set = self.wanted();
        let change = Change::new()
            .set_additions([set.clone()])
            .set_deletions(before.map(given));
        let what = if before.is_some() { "change" } else { "create" };
        let change = self.calls.change(&zone, change, what).await?;
        if self.asks_nobody() {
            watch.note(
                "Google's endpoint is on this machine: the change being done is enough, no name server is asked \
                 (`servers` names some)",
            );
        }
        Ok(Actual {
            zone,
            set,
            change: change.id,
        })
    }
}

#[async_trait]
impl Resource for Record {
    type Actual = Actual;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Actual>> {
        Ok(match self.calls.find().await? {
            Reading::Present(actual) if !self.ours => {
                let there = describe(&actual.set);
                if there == self.desired() {
                    Reading::Present(actual)
                } else {
                    Reading::Foreign(format!("it leads to {}", actual.set.rrdatas.join(", ")))
                }
            }
            reading => reading,
        })
    }

    fn desired(&self) -> Fields {
        describe(&self.wanted())
    }

    fn observed(&self, actual: &Actual) -> Fields {
        describe(&actual.set)
    }

    fn publish(&self, _actual: &Actual) {}

    async fn create(&self, _token: &Token, watch: &dyn Watch) -> Result<Actual> {
        // Read again: the zone is to be found, and our own create, whose reply was lost, is to be seen.
        match self.read().await? {
            Reading::Present(actual) if describe(&actual.set) == self.desired() => Ok(actual),
            Reading::Present(actual) => {
                self.put(actual.zone.clone(), Some(&actual.set), watch)
                    .await
            }
            Reading::Absent | Reading::Tombstoned(_) => match self.calls.zone().await? {
                Found::Here(zone) => self.put(zone, None, watch).await,
                Found::Absent => Err(self.calls.no_zone()),
                Found::Denied(why) => Err(self.refused(ErrorKind::Denied, why)),
            },
            Reading::Denied(why) => Err(self.refused(ErrorKind::Denied, why)),
            Reading::Foreign(why) => Err(self.refused(ErrorKind::Conflict, why)),
        }
    }

    async fn update(
        &self,
        actual: &Actual,
        _changes: &[FieldChange],
        _token: &Token,
        watch: &dyn Watch,
    ) -> Result<Actual> {
        self.put(actual.zone.clone(), Some(&actual.set), watch)
            .await
    }

    async fn delete(&self, actual: &Actual, _token: &Token) -> Result<()> {
        remove(&self.calls, actual).await
    }

    async fn readiness(&self, actual: &Actual) -> Result<Ready<Actual>> {
        let done = match &actual.change {
            Some(id) => self.calls.is_done(&actual.zone, id).await?,
            None => true,
        };
        let state = if !done {
            Readiness::Pending("the change is not done".to_owned())
        } else if self.asks_nobody() {
            Readiness::Ready
        } else {
            let servers = if self.spec.servers.is_empty() {
                &actual.zone.servers
            } else {
                &self.spec.servers
            };
            let name = self.calls.place.full_name();
            match zone_servers::all_answer(servers, &name, self.target()?).await {
                Ok(()) => Readiness::Ready,
                Err(why) => Readiness::Pending(why),
            }
        };
        Ok(Ready {
            state,
            actual: actual.clone(),
        })
    }

    fn pace(&self) -> Pace {
        Pace::until(DEADLINE)
    }
}

impl Record {
    fn refused(&self, kind: ErrorKind, why: String) -> Error {
        Error::new(kind, self.calls.cannot("create")).because(why)
    }
}

async fn remove(calls: &Calls, actual: &Actual) -> Result<()> {
    let change = Change::new().set_deletions([given(&actual.set)]);
    match calls.change(&actual.zone, change, "delete").await {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome.map(|_| ()),
    }
}

/// A record that is no longer desired: it can be read and deleted.
pub(crate) struct Leftover {
    calls: Calls,
    address: Address,
}

impl Leftover {
    /// The record at `address`.
    ///
    /// Errors: input, when the address names no record.
    pub(crate) fn new(project: &Arc<Project>, address: &Address) -> Result<Self> {
        Ok(Self {
            calls: Calls {
                project: Arc::clone(project),
                place: Place::parse(&address.name)?,
            },
            address: address.clone(),
        })
    }
}

#[async_trait]
impl crate::existing::Existing for Leftover {
    type Actual = Actual;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Actual>> {
        match self.calls.find().await {
            // The record went with its zone.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Reading::Absent),
            // An alias in its place is another's: ours is gone.
            Ok(Reading::Foreign(_)) => Ok(Reading::Absent),
            outcome => outcome,
        }
    }

    fn observed(&self, actual: &Actual) -> Fields {
        describe(&actual.set)
    }

    async fn delete(&self, actual: &Actual) -> Result<()> {
        remove(&self.calls, actual).await
    }
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
        let place = Place {
            zone: "example.com".into(),
            name: "idp.example.com".into(),
            sort: "A".into(),
        };
        assert_eq!(Place::parse(&place.to_string()).unwrap(), place);
        assert_eq!(place.full_name(), "idp.example.com.");
        assert!(Place::parse("example.com/idp.example.com").is_err());
        assert!(Place::parse("a/b/c/d").is_err());
    }

    #[test]
    fn the_same_address_written_otherwise_is_no_difference() {
        let set = |text: &str| ResourceRecordSet::new().set_ttl(300).set_rrdatas([text]);
        assert_eq!(
            describe(&set("2001:DB8::0:7")),
            describe(&set("2001:db8::7"))
        );
        assert_ne!(describe(&set("203.0.113.7")), describe(&set("203.0.113.8")));
    }

    #[test]
    fn only_public_zones_are_looked_at() {
        let zone = ManagedZone::new().set_name("internal");
        assert!(is_public(&zone));
        assert!(!is_public(&zone.set_visibility(Visibility::Private)));
    }
}
