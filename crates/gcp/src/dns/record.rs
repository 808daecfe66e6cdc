//! `dns.record`: an address record in an existing Cloud DNS zone: made and changed as one change
//! each, ready when the change is done and no server of the zone says otherwise.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::error::{Error, ErrorKind};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::node::{Ready, Resource, Watch};
use deployer_core::ours::{Past, Stranger};
use deployer_core::spec::{LeadsTo, RecordSpec};
use deployer_core::wait::{Pace, Readiness};
use google_cloud_dns_v1::model::{Change, ResourceRecordSet};

use super::ask::{self, Answers};
use super::calls::{Actual, Calls, RecordPath, Zone};
use crate::error::Found;
use crate::site::prelude::*;

/// How long others may remember a new record, in seconds. The manifest has no word for it: that of
/// one that is there stays.
const TTL: i32 = 300;

/// The kind in addresses.
pub(crate) const RECORD: &str = Record::KIND;

/// Google's servers know a change within a minute or two; it names no bound.
const DEADLINE: Duration = Duration::from_secs(10 * 60);

/// A record set as a change takes it back: only what was given once.
fn given(set: &ResourceRecordSet) -> ResourceRecordSet {
    set.clone().set_signature_rrdatas(Vec::<String>::new())
}

fn describe(set: &ResourceRecordSet) -> Fields {
    let mut fields = Fields::new();
    fields.set("leads to", addresses(set).join(", "));
    fields.set("ttl", format!("{} s", set.ttl.unwrap_or_default()));
    if set.routing_policy.is_some() {
        fields.set("routing policy", "yes");
    }
    fields
}

pub(super) fn addresses(set: &ResourceRecordSet) -> Vec<String> {
    let mut addresses: Vec<String> = set.rrdatas.iter().map(|text| plain(text)).collect();
    addresses.sort_unstable();
    addresses
}

/// An address in its shortest form, however it is written.
fn plain(text: &str) -> String {
    text.parse::<IpAddr>()
        .map_or_else(|_| text.to_owned(), |address| address.to_string())
}

/// The name of one service of the manifest.
pub(crate) struct Record {
    pub(super) calls: Calls,
    pub(super) address: Address,
    pub(super) spec: RecordSpec,
    /// What earlier runs wrote.
    pub(super) past: Past,
    /// How long others remember what was last read. `None` where nothing was.
    pub(super) ttl: Mutex<Option<i32>>,
}

impl Record {
    fn note(&self, there: Option<&ResourceRecordSet>) {
        let mut ttl = self.ttl.lock().unwrap_or_else(PoisonError::into_inner);
        *ttl = there.and_then(|set| set.ttl);
    }

    fn ttl(&self) -> i32 {
        let ttl = self.ttl.lock().unwrap_or_else(PoisonError::into_inner);
        ttl.unwrap_or(TTL)
    }

    /// Whether an earlier run wrote what the record says, however long others may remember it by
    /// now.
    fn is_as_written(&self, set: &ResourceRecordSet) -> bool {
        let wrote = |ttl| {
            self.past
                .says(&describe(&set.clone().set_or_clear_ttl(ttl)))
        };
        wrote(set.ttl) || wrote(Some(TTL))
    }

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
            .set_ttl(self.ttl())
            .set_rrdatas([data])
    }

    /// Whether nobody can be asked: Google is a stand-in on this machine, and the zone's servers
    /// are not named.
    fn asks_nobody(&self) -> bool {
        self.calls.project.target.sandbox && self.spec.servers.is_empty()
    }

    fn servers<'a>(&'a self, zone: &'a Zone) -> &'a [String] {
        match self.spec.servers.is_empty() {
            true => &zone.servers,
            false => &self.spec.servers,
        }
    }

    async fn ask(&self, zone: &Zone) -> Result<Answers> {
        let name = self.calls.place.full_name();
        Ok(ask::ask_all(self.servers(zone), &name, self.target()?).await)
    }

    /// Says which servers cannot be asked from here: many networks let no DNS out but to their own
    /// servers.
    async fn note_unreached(&self, zone: &Zone, watch: &dyn Watch) -> Result<()> {
        for why in self.ask(zone).await?.unreached {
            watch.note(&format!(
                "{why}; Google's word that the change is done is enough"
            ));
        }
        Ok(())
    }

    async fn put(
        &self,
        zone: Zone,
        before: Option<&ResourceRecordSet>,
        watch: &dyn Watch,
    ) -> Result<Actual> {
        self.target()?;
        self.note(before);
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
        } else {
            self.note_unreached(&zone, watch).await?;
        }
        Ok(Actual {
            zone,
            set,
            change: change.id,
        })
    }
}

/// A record of the inventory: ours while it says what we wrote.
impl Kind for Record {
    type Site = Project;
    type Is = Actual;
    const KIND: &'static str = "dns.record";
    const NOUN: &'static str = "record";
    const ROLE: Role = Role::BesideService;
    const TIER: Tier = Tier::Edge;
    const DATA: Data = Data::None;
    const FACTS: Facts = Facts {
        api: "dns.googleapis.com",
        unnamed: Unnamed::With("nothing: it is told, and stays"),
        access: Access {
            feature: Feature::Dns,
            read: &[
                "dns.managedZones.get",
                "dns.managedZones.list",
                "dns.resourceRecordSets.list",
            ],
            change: &[
                "dns.changes.create",
                "dns.changes.get",
                "dns.resourceRecordSets.create",
                "dns.resourceRecordSets.delete",
                "dns.resourceRecordSets.update",
            ],
            roles: &["roles/dns.admin"],
            on: On::Project,
        },
    };
    const MARKS: Marks<Self> = Marks::None("Cloud DNS labels zones, and no record in them");
    const ABSENT: &'static [&'static str] = &[NOT_FOUND];
    const TAKEN: &'static [&'static str] = &[];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = Passing::NOTHING;

    fn describe(is: &Actual, to: &mut Description) {
        to.extend(&describe(&is.set));
    }

    async fn find(at: &At<Project>) -> Result<Reading<There<Actual>>, Refusal> {
        match calls(at)?.find().await {
            // The record went with its zone.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Reading::Absent),
            // An alias in its place is another's: ours is gone.
            Ok(Reading::Foreign(_)) => Ok(Reading::Absent),
            Ok(Reading::Present(actual)) if !at.past.says(&describe(&actual.set)) => {
                let leads_to = actual.set.rrdatas.join(", ");
                let how = format!("it leads to {leads_to} now, and that is not what we wrote");
                Ok(Reading::Foreign(how.into()))
            }
            outcome => Ok(outcome?.map(There::bare)),
        }
    }

    fn foreign(_at: &At<Project>, _there: &There<Actual>) -> Result<Option<Stranger>> {
        Ok(None)
    }

    async fn remove(
        at: &At<Project>,
        there: &There<Actual>,
        _token: &Token,
    ) -> Result<(), Refusal> {
        Ok(remove(&calls(at)?, &there.is).await?)
    }
}

/// Errors: input, when the address names no record.
fn calls(at: &At<Project>) -> Result<Calls> {
    Ok(Calls {
        project: Arc::clone(at.site()),
        place: RecordPath::parse(at.name())?,
    })
}

#[async_trait]
impl Resource for Record {
    type Actual = Actual;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Actual>> {
        let reading = self.calls.find().await?;
        self.note(match &reading {
            Reading::Present(actual) => Some(&actual.set),
            Reading::Absent | Reading::Tombstoned(_) | Reading::Denied(_) | Reading::Foreign(_) => {
                None
            }
        });
        Ok(match reading {
            Reading::Present(actual) if !self.spec.adopt => {
                let there = describe(&actual.set);
                if there == self.desired(None) || self.is_as_written(&actual.set) {
                    Reading::Present(actual)
                } else {
                    let leads_to = actual.set.rrdatas.join(", ");
                    Reading::Foreign(format!("it leads to {leads_to}").into())
                }
            }
            reading => reading,
        })
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        describe(&self.wanted())
    }

    fn observed(&self, actual: &Actual) -> Fields {
        describe(&actual.set)
    }

    fn publish(&self, _actual: &Actual) {}

    fn is_unmarked(&self) -> bool {
        true
    }

    fn was_there(&self, _actual: &Actual) -> bool {
        !self.past.known
    }

    async fn create(&self, _token: &Token, watch: &dyn Watch) -> Result<Actual> {
        // Read again: the zone is to be found, and our own create, whose reply was lost, is to be
        // seen.
        match self.read().await? {
            Reading::Present(actual) if describe(&actual.set) == self.desired(None) => Ok(actual),
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
            Reading::Foreign(stranger) => {
                Err(stranger.refusal(format!("record `{}`", self.calls.place)))
            }
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

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harms("the name leads elsewhere than before")
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
            // "done" means that Google's servers have it; only one that says otherwise is waited
            // for.
            let contrary = self.ask(&actual.zone).await?.contrary;
            contrary.map_or(Readiness::Ready, Readiness::Pending)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_address_written_otherwise_is_no_difference() {
        let set = |text: &str| ResourceRecordSet::new().set_ttl(300).set_rrdatas([text]);
        assert_eq!(
            describe(&set("2001:DB8::0:7")),
            describe(&set("2001:db8::7"))
        );
        assert_ne!(describe(&set("203.0.113.7")), describe(&set("203.0.113.8")));
    }
}
