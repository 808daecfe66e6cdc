//! `route53.validation`: the records by which a certificate authority sees whose a domain is.
//!
//! Which records these are is known only once a service was asked to serve the domain. They stay
//! as long as it is served: certificates are renewed by them. Of one domain they are one node, made
//! in one batch. The node is ready once the service has seen them and serves the domain.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_route53::types::{ChangeAction, ResourceRecord, ResourceRecordSet, RrType};
use deployer_core::address::Address;
use deployer_core::fields::{FieldChange, FieldValue, Fields};
use deployer_core::graph::{Output, Value};
use deployer_core::kind::still_there;
use deployer_core::node::{Ready, Resource, Watch};
use deployer_core::ours::{Past, Stranger};
use deployer_core::wait::{Pace, Readiness};

use super::Api;
use super::calls::{self, Zone};
use super::content::{Balancer, plain, words};
use crate::error::incomplete;
use crate::site::prelude::*;

/// How long resolvers may keep one that is made, in seconds.
const TTL: i64 = 300;

/// "This typically takes several minutes, but might take up to 24-48 hours" (AWS App Runner
/// Developer Guide, "Managing custom domain names"); the Terraform provider waits 75 minutes for a
/// certificate (`aws_acm_certificate_validation`).
const SEEN: Pace = Pace::until(Duration::from_secs(75 * 60));

/// The field that tells the records: `NAME -> VALUE`, by commas.
const RECORDS: &str = "records";
const ARROW: &str = " -> ";
/// The zone's id.
const ZONE: &str = "zone";

/// A canonical name that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Proof {
    /// Without the last dot.
    pub(crate) name: String,
    /// Where it leads, without the last dot.
    pub(crate) value: String,
}

/// Who wants to see records before it serves a domain.
#[async_trait]
pub(crate) trait Authority: Send + Sync {
    /// What it wants to see: absent while it was not asked to serve the domain, or does not tell
    /// yet.
    async fn asks(&self) -> Result<Reading<Vec<Proof>>>;

    /// Ready once it has seen the records and serves the domain.
    async fn has_seen(&self) -> Result<Readiness>;
}

/// The records of one domain that are to exist.
pub(super) struct Validation {
    pub(super) api: Arc<Api>,
    pub(super) address: Address,
    pub(super) domain: String,
    pub(super) zone: Option<String>,
    pub(super) adopt: bool,
    pub(super) authority: Arc<dyn Authority>,
    /// The same as the authority asks for, of the node that asked it.
    pub(super) asked: Value<Vec<Proof>>,
    /// Where the domain is served.
    pub(super) served: Value<Balancer>,
    /// The same, once it is served there.
    pub(super) output: Output<Balancer>,
    pub(super) past: Past,
    /// The id of the zone that the last look found.
    pub(super) seen: Mutex<Option<String>>,
}

/// What of it is there.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    /// With the zone of each.
    sets: Vec<(Zone, ResourceRecordSet)>,
    /// The change that is under way.
    change: Option<String>,
    /// What the authority waits for.
    waits: Option<String>,
}

impl Standing {
    fn proofs(&self) -> Vec<Proof> {
        self.sets.iter().map(|(_, set)| proof(set)).collect()
    }
}

fn proof(set: &ResourceRecordSet) -> Proof {
    let value = set.resource_records().first().map(ResourceRecord::value);
    Proof {
        name: plain(set.name()),
        value: plain(value.unwrap_or_default()),
    }
}

fn said(proofs: &[Proof]) -> String {
    let mut proofs: Vec<String> = proofs
        .iter()
        .map(|it| format!("{}{ARROW}{}", it.name, it.value))
        .collect();
    proofs.sort();
    proofs.join(", ")
}

/// A record that we wrote, or may have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Written {
    /// The zone's id.
    zone: String,
    proof: Proof,
}

/// What the inventory notes.
fn written(fields: &Fields) -> Vec<Written> {
    let text = |name: &str| match fields.get(name) {
        Some(FieldValue::Known(text)) => text.as_str(),
        Some(FieldValue::AfterApply { .. }) | None => "",
    };
    let pairs = text(RECORDS).split(", ");
    let pairs = pairs.filter_map(|pair| pair.split_once(ARROW));
    pairs
        .map(|(name, value)| Written {
            zone: text(ZONE).to_owned(),
            proof: Proof {
                name: name.to_owned(),
                value: value.to_owned(),
            },
        })
        .collect()
}

fn all_written(past: &Past) -> BTreeSet<Written> {
    past.wrote.iter().flat_map(written).collect()
}

/// What of it still says what we wrote: present or denied.
async fn still_written(
    api: &Api,
    all: impl Iterator<Item = &Written>,
) -> Result<Reading<Vec<(Zone, ResourceRecordSet)>>> {
    let mut sets = Vec::new();
    for Written { zone, proof: wrote } in all {
        let zone = Zone {
            id: zone.clone(),
            domain: zone.clone(),
            is_public: true,
        };
        let found = match calls::records(api, &zone, &wrote.name).await? {
            Reading::Present(found) => found,
            Reading::Denied(words) => return Ok(Reading::Denied(words)),
            Reading::Absent | Reading::Tombstoned(_) | Reading::Foreign(_) => continue,
        };
        let is_ours =
            |set: &ResourceRecordSet| *set.r#type() == RrType::Cname && proof(set) == *wrote;
        let ours = found.into_iter().filter(is_ours);
        sets.extend(ours.map(|set| (zone.clone(), set)));
    }
    Ok(Reading::Present(sets))
}

impl Validation {
    fn called(&self) -> String {
        format!("validation records of `{}`", self.domain)
    }

    /// Finds the zone, and remembers it for the inventory.
    async fn zone_now(&self) -> Result<Reading<Zone>> {
        let found = calls::zone_of(&self.api, &self.domain, self.zone.as_deref()).await?;
        if let Reading::Present(zone) = &found {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            *seen = Some(zone.id.clone());
        }
        Ok(found)
    }

    /// What stands in the zone of what is asked for: present, denied, or somebody else's.
    async fn standing(
        &self,
        zone: &Zone,
        asked: &[Proof],
        wrote: &BTreeSet<Written>,
    ) -> Result<Reading<Vec<(Zone, ResourceRecordSet)>>> {
        let looks = asked
            .iter()
            .map(|wanted| calls::records(&self.api, zone, &wanted.name));
        let mut sets = Vec::new();
        for (wanted, found) in asked.iter().zip(futures::future::join_all(looks).await) {
            let found = match found? {
                Reading::Present(found) => found,
                Reading::Denied(words) => return Ok(Reading::Denied(words)),
                Reading::Absent | Reading::Tombstoned(_) | Reading::Foreign(_) => Vec::new(),
            };
            for set in found {
                let is = proof(&set);
                let may_change = self.adopt || wrote.iter().any(|it| it.proof == is);
                if *set.r#type() != RrType::Cname || (is != *wanted && !may_change) {
                    let how = format!("`{}` is a {}", wanted.name, words(&set));
                    return Ok(Reading::Foreign(how.into()));
                }
                sets.push((zone.clone(), set));
            }
        }
        Ok(Reading::Present(sets))
    }

    /// Writes what is not there or says something else, and takes away what we wrote and is not
    /// asked for any more: of an earlier association, or in another zone.
    async fn write(&self, there: Option<&Standing>) -> Result<Standing> {
        let zone = still_there(self.zone_now().await?, "the hosted zone")?;
        let wanted = self.asked.settled()?;
        let standing = there.map_or(&[][..], |there| &there.sets);
        let is_wanted = |at: &Zone, set: &ResourceRecordSet| {
            at.id == zone.id && wanted.iter().any(|it| it.name == proof(set).name)
        };
        let mut changes = Vec::new();
        for (at, set) in standing.iter().filter(|(at, set)| !is_wanted(at, set)) {
            match at.id == zone.id {
                true => changes.push((ChangeAction::Delete, set.clone())),
                false => remove(&self.api, &self.domain, at, set).await?,
            }
        }
        let mut sets = Vec::new();
        for wanted in &wanted {
            let set = record(wanted)?;
            let here = standing.iter().filter(|(at, _)| at.id == zone.id);
            let is_there = here.into_iter().any(|(_, set)| proof(set) == *wanted);
            if !is_there {
                changes.push((ChangeAction::Upsert, set.clone()));
            }
            sets.push((zone.clone(), set));
        }
        let action = format!("write the {}", self.called());
        let change = match changes.is_empty() {
            true => None,
            false => Some(calls::change(&self.api, &zone, &action, changes).await?),
        };
        Ok(Standing {
            sets,
            change,
            waits: None,
        })
    }
}

fn record(proof: &Proof) -> Result<ResourceRecordSet> {
    let value = ResourceRecord::builder().value(format!("{}.", proof.value));
    ResourceRecordSet::builder()
        .name(format!("{}.", proof.name))
        .r#type(RrType::Cname)
        .ttl(TTL)
        .resource_records(value.build().map_err(incomplete)?)
        .build()
        .map_err(incomplete)
}

#[async_trait]
impl Resource for Validation {
    type Actual = Standing;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Self::Actual>> {
        let (zone, asked) = tokio::join!(self.zone_now(), self.authority.asks());
        let zone = match zone? {
            Reading::Present(zone) => zone,
            Reading::Denied(words) => return Ok(Reading::Denied(words)),
            Reading::Absent | Reading::Tombstoned(_) | Reading::Foreign(_) => {
                return Ok(Reading::Absent);
            }
        };
        let asked = match asked? {
            Reading::Present(asked) => asked,
            Reading::Denied(words) => return Ok(Reading::Denied(words)),
            Reading::Absent | Reading::Tombstoned(_) | Reading::Foreign(_) => Vec::new(),
        };
        let wrote = all_written(&self.past);
        let mut sets = match self.standing(&zone, &asked, &wrote).await? {
            Reading::Present(sets) => sets,
            Reading::Foreign(stranger) => return Ok(Reading::Foreign(stranger)),
            Reading::Denied(words) => return Ok(Reading::Denied(words)),
            Reading::Absent | Reading::Tombstoned(_) => Vec::new(),
        };
        let is_old = |it: &&Written| {
            let is_asked = asked.iter().any(|asked| asked.name == it.proof.name);
            !is_asked || it.zone != zone.id
        };
        match still_written(&self.api, wrote.iter().filter(is_old)).await? {
            Reading::Present(old) => sets.extend(old),
            Reading::Denied(words) => return Ok(Reading::Denied(words)),
            Reading::Absent | Reading::Tombstoned(_) | Reading::Foreign(_) => {}
        }
        if sets.is_empty() {
            return Ok(Reading::Absent);
        }
        let waits = match asked.is_empty() {
            true => None,
            false => self.authority.has_seen().await?.why(),
        };
        Ok(Reading::Present(Standing {
            sets,
            change: None,
            waits,
        }))
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        let mut fields = Fields::new();
        fields.set_value(RECORDS, self.asked.field(|asked| said(asked)));
        // Another one may be asked for later.
        let zone = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        fields.set_some(ZONE, zone.as_ref());
        fields
    }

    fn observed(&self, actual: &Self::Actual) -> Fields {
        let mut fields = Fields::new();
        fields.set(RECORDS, said(&actual.proofs()));
        let zones: BTreeSet<&str> = actual
            .sets
            .iter()
            .map(|(zone, _)| zone.id.as_str())
            .collect();
        fields.set(ZONE, Vec::from_iter(zones).join(", "));
        fields
    }

    fn is_unmarked(&self) -> bool {
        true
    }

    fn was_there(&self, _actual: &Self::Actual) -> bool {
        !self.past.known
    }

    fn publish(&self, _actual: &Self::Actual) {
        if let Some(served) = self.served.known() {
            self.output.publish(served);
        }
    }

    fn withdraw(&self, _changes: &[FieldChange]) {
        self.output.withdraw();
    }

    async fn create(&self, _token: &Token, _watch: &dyn Watch) -> Result<Self::Actual> {
        self.write(None).await
    }

    async fn update(
        &self,
        actual: &Self::Actual,
        _changes: &[FieldChange],
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<Self::Actual> {
        self.write(Some(actual)).await
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harmless("a record more proves nothing to anybody else")
    }

    async fn delete(&self, actual: &Self::Actual, _token: &Token) -> Result<()> {
        delete(&self.api, &self.domain, actual).await
    }

    async fn readiness(&self, actual: &Self::Actual) -> Result<Ready<Self::Actual>> {
        let known = match &actual.change {
            Some(change) => calls::is_in_sync(&self.api, change).await?,
            None => true,
        };
        let state = match known {
            true => self.authority.has_seen().await?,
            false => Readiness::Pending("Route 53 tells its servers".into()),
        };
        let mut actual = actual.clone();
        actual.waits = state.clone().why();
        Ok(Ready { state, actual })
    }

    fn unsettled(&self, actual: &Self::Actual) -> Option<String> {
        actual.waits.clone()
    }

    fn pace(&self) -> Pace {
        SEEN
    }
}

/// Deletes exactly what was read. Succeeds when it is gone.
async fn delete(api: &Api, domain: &str, there: &Standing) -> Result<()> {
    for (zone, set) in &there.sets {
        remove(api, domain, zone, set).await?;
    }
    Ok(())
}

async fn remove(api: &Api, domain: &str, zone: &Zone, set: &ResourceRecordSet) -> Result<()> {
    let action = format!("delete a validation record of `{domain}`");
    let changes = vec![(ChangeAction::Delete, set.clone())];
    let Err(error) = calls::change(api, zone, &action, changes).await else {
        return Ok(());
    };
    let is_gone = match calls::records(api, zone, &plain(set.name())).await? {
        Reading::Present(left) => !left.iter().any(|it| proof(it) == proof(set)),
        Reading::Absent => true,
        Reading::Denied(_) | Reading::Tombstoned(_) | Reading::Foreign(_) => false,
    };
    if is_gone { Ok(()) } else { Err(error) }
}

/// Records of the inventory: ours are those that say what we wrote.
pub(crate) struct Proven;

impl Kind for Proven {
    type Site = Api;
    type Is = Standing;
    const KIND: &'static str = "route53.validation";
    const NOUN: &'static str = "validation records";
    const ROLE: Role = Role::BesideService;
    const TIER: Tier = Tier::Edge;
    const DATA: Data = Data::None;
    const FACTS: Facts = Facts {
        // They carry no mark.
        arn: None,
        access: Access {
            feature: Feature::Domains,
            read: &[
                grant(
                    &["route53:ListHostedZones", "route53:ListHostedZonesByName"],
                    ANYTHING,
                ),
                grant(
                    &["route53:GetHostedZone", "route53:ListResourceRecordSets"],
                    ZONES,
                ),
            ],
            change: &[
                grant(&["route53:ChangeResourceRecordSets"], ZONES),
                grant(&["route53:GetChange"], ZONE_CHANGES),
            ],
        },
    };
    const MARKS: Marks<Self> = Marks::None("Route 53 tags zones, and no record in them");
    const ABSENT: &'static [&'static str] = &[];
    const TAKEN: &'static [&'static str] = &[];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = Passing::NOTHING;

    fn describe(is: &Standing, to: &mut Description) {
        to.set(Field::in_place(RECORDS), said(&is.proofs()));
    }

    async fn find(at: &At<Api>) -> Result<Reading<There<Standing>>, Refusal> {
        let wrote = all_written(&at.past);
        let sets = match still_written(at, wrote.iter()).await? {
            Reading::Present(sets) => sets,
            Reading::Denied(words) => return Ok(Reading::Denied(words)),
            Reading::Absent | Reading::Tombstoned(_) | Reading::Foreign(_) => Vec::new(),
        };
        Ok(match sets.is_empty() {
            true => Reading::Absent,
            false => Reading::Present(There::bare(Standing {
                sets,
                change: None,
                waits: None,
            })),
        })
    }

    fn foreign(_at: &At<Api>, _there: &There<Standing>) -> Result<Option<Stranger>> {
        Ok(None)
    }

    async fn remove(at: &At<Api>, there: &There<Standing>, _token: &Token) -> Result<(), Refusal> {
        Ok(delete(at, at.name(), &there.is).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof_of(name: &str) -> Proof {
        Proof {
            name: format!("_{name}.example.com"),
            value: format!("_{name}.acm-validations.aws"),
        }
    }

    #[test]
    fn what_was_noted_is_read_back_the_same_whatever_the_order() {
        let proofs = vec![proof_of("b"), proof_of("a")];
        let mut fields = Fields::new();
        fields.set(RECORDS, said(&proofs));
        fields.set(ZONE, "Z1");
        let back = written(&fields);
        assert!(back.iter().all(|it| it.zone == "Z1"));
        let back: Vec<Proof> = back.into_iter().map(|it| it.proof).collect();
        assert_eq!(back, [proof_of("a"), proof_of("b")]);
        assert_eq!(written(&Fields::new()), []);
    }

    #[test]
    fn a_record_is_compared_without_its_last_dots() {
        let set = record(&proof_of("a")).unwrap();
        assert!(set.name().ends_with('.'));
        assert_eq!(proof(&set), proof_of("a"));
    }
}
