//! `route53.record`: one name that leads to a load balancer, or to a service that has its own.
//!
//! Records carry no tags: ours is what says what the inventory knows that we wrote. What the
//! manifest adopts is taken over, and what says already what it is to say is left as it is, and
//! when it is not wanted any more, too.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_route53::types::{ChangeAction, ResourceRecordSet, RrType};
use deployer_core::address::Address;
use deployer_core::error::Error;
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::kind::still_there;
use deployer_core::node::{Ready, Resource, Watch};
use deployer_core::ours::{Past, Stranger};
use deployer_core::wait::{Pace, Readiness};

use super::calls::{self, Zone};
use super::content::{Content, Type, described, led, without_unsaid, words};
use super::leads::Asked;
use super::{Api, ask};
use crate::site::prelude::*;

/// Route 53 says within a minute that its servers know.
const KNOWN: Pace = Pace::until(Duration::from_secs(10 * 60));

/// A record that is to exist.
pub(super) struct Record {
    api: Arc<Api>,
    address: Address,
    asked: Asked,
    kind: Type,
    /// What earlier runs wrote.
    past: Past,
    /// What the last look found that the record is to say.
    wanted: Mutex<Option<Content>>,
    /// What the last look found under its name.
    seen: Mutex<Option<ResourceRecordSet>>,
}

/// What stands under a name.
#[derive(Clone, Debug)]
pub(crate) struct RecordActual {
    zone: Zone,
    /// The record of our type, or the canonical name that stands in its way.
    set: ResourceRecordSet,
    /// The change that is under way.
    change: Option<String>,
}

fn called(name: &str, kind: Type) -> String {
    format!("{} record `{name}`", kind.as_str())
}

impl Record {
    pub(super) fn new(api: Arc<Api>, address: Address, asked: Asked, past: Past) -> Self {
        Self {
            kind: asked.leads.kind(),
            api,
            address,
            wanted: Mutex::new(asked.leads.known()),
            asked,
            past,
            seen: Mutex::default(),
        }
    }

    fn called(&self) -> String {
        called(&self.asked.name, self.kind)
    }

    fn wanted(&self) -> Option<Content> {
        let looked_up = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        self.asked.leads.known().or_else(|| looked_up.clone())
    }

    fn content(&self) -> Result<Content> {
        let unread = || Error::internal(format!("{} was made before it was read", self.called()));
        self.wanted().ok_or_else(unread)
    }

    /// The record as it is to be written: what the manifest has no word for is as it is there.
    fn to_write(&self) -> Result<ResourceRecordSet> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        self.content()?
            .set(&self.asked.name, self.kind, seen.as_ref())
    }

    /// Whether an earlier run wrote where a record leads; what else it says, another hand may have
    /// set.
    fn was_led_by_us(&self, set: &ResourceRecordSet) -> bool {
        let there = without_unsaid(&compared(set));
        let mut wrote = self.past.wrote.iter();
        wrote.any(|wrote| without_unsaid(wrote) == there)
    }

    /// Finds out what the record is to say. `Some(words)` when the caller may not see where it
    /// leads.
    async fn look_up(&self) -> Result<Option<String>> {
        let region = &self.address.region;
        match self.asked.leads.look_up(&self.api, region).await? {
            Reading::Present(content) => {
                let mut known = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
                *known = Some(content);
                Ok(None)
            }
            Reading::Denied(words) => Ok(Some(words)),
            Reading::Absent | Reading::Tombstoned(_) | Reading::Foreign(_) => Ok(None),
        }
    }

    async fn zone(&self) -> Result<Reading<Zone>> {
        calls::zone_of(&self.api, &self.asked.name, self.asked.zone.as_deref()).await
    }

    fn say_what_is_not_asked(&self, watch: &dyn Watch) {
        if self.api.is_emulator && self.asked.servers.is_empty() {
            watch.note("an emulator answers for Route 53: no name server is asked");
        }
    }

    /// Whether name servers answer with it. Those of the zone know nothing of an emulator, and of
    /// Route 53 itself `INSYNC` says that all of them know: "INSYNC indicates that the changes have
    /// propagated to all Route 53 DNS servers" (API reference, ChangeInfo). Many networks block or
    /// intercept port 53, so that only an answer to the contrary counts then.
    async fn is_answered(&self, zone: &Zone, is_known: bool) -> Result<Readiness> {
        let asked_for = !self.asked.servers.is_empty();
        let servers = match self.asked.servers.as_slice() {
            [] if self.api.is_emulator => return Ok(Readiness::Ready),
            [] => calls::servers(&self.api, zone).await?,
            given => given.to_vec(),
        };
        let answers = ask::ask(&servers, &self.asked.name, self.kind).await;
        let address = self.asked.leads.address();
        Ok(match asked_for {
            true => ask::judge(&answers, address),
            false => ask::contradicted(&answers, address, is_known),
        })
    }
}

#[async_trait]
impl Resource for Record {
    type Actual = RecordActual;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Self::Actual>> {
        let (denied, zone) = tokio::join!(self.look_up(), self.zone());
        if let Some(words) = denied? {
            return Ok(Reading::Denied(words));
        }
        let zone = match zone? {
            Reading::Present(zone) => zone,
            Reading::Denied(words) => return Ok(Reading::Denied(words)),
            Reading::Absent | Reading::Tombstoned(_) | Reading::Foreign(_) => {
                return Ok(Reading::Absent);
            }
        };
        let sets = calls::records(&self.api, &zone, &self.asked.name).await?;
        Ok(match sets {
            Reading::Present(sets) => {
                let wanted = self.wanted().map(|content| content.fields());
                let may_change =
                    |set: &ResourceRecordSet| self.asked.adopt || self.was_led_by_us(set);
                let found = judge(sets, self.kind, wanted.as_ref(), may_change);
                let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                *seen = match &found {
                    Reading::Present(set) => Some(set.clone()),
                    _ => None,
                };
                drop(seen);
                found.map(|set| RecordActual {
                    zone,
                    set,
                    change: None,
                })
            }
            Reading::Denied(words) => Reading::Denied(words),
            Reading::Absent | Reading::Tombstoned(_) | Reading::Foreign(_) => Reading::Absent,
        })
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        let mut fields = match self.wanted() {
            Some(content) => content.fields(),
            None => self.asked.leads.unknown(),
        };
        fields.set("type", self.kind.as_str());
        fields
    }

    fn observed(&self, actual: &Self::Actual) -> Fields {
        without_unsaid(&compared(&actual.set))
    }

    fn is_unmarked(&self) -> bool {
        true
    }

    /// All that the record says once it is written: a leftover is known by it.
    fn wrote(&self, _there: Option<&Self::Actual>) -> Option<Fields> {
        let written = self.to_write().map(|set| compared(&set));
        Some(written.unwrap_or_else(|_| self.desired(None)))
    }

    fn was_there(&self, _actual: &Self::Actual) -> bool {
        !self.past.known
    }

    fn publish(&self, _actual: &Self::Actual) {}

    async fn create(&self, _token: &Token, watch: &dyn Watch) -> Result<Self::Actual> {
        let zone = still_there(self.zone().await?, "the hosted zone")?;
        let set = self.to_write()?;
        let action = format!("create {}", self.called());
        let changes = vec![(ChangeAction::Create, set.clone())];
        self.say_what_is_not_asked(watch);
        match calls::change(&self.api, &zone, &action, changes).await {
            Ok(change) => Ok(RecordActual {
                zone,
                set,
                change: Some(change),
            }),
            // A lost reply: what is there says it already. Anything else is a refusal.
            Err(error) => match self.read().await? {
                Reading::Present(actual) if self.observed(&actual) == self.desired(None) => {
                    Ok(actual)
                }
                _ => Err(error),
            },
        }
    }

    async fn update(
        &self,
        actual: &Self::Actual,
        _changes: &[FieldChange],
        _token: &Token,
        watch: &dyn Watch,
    ) -> Result<Self::Actual> {
        let content = self.content()?;
        let set = content.set(&self.asked.name, self.kind, Some(&actual.set))?;
        let mut changes = Vec::new();
        if !self.kind.is_of(&actual.set) {
            changes.push((ChangeAction::Delete, actual.set.clone()));
        }
        changes.push((ChangeAction::Upsert, set.clone()));
        let action = format!("change {}", self.called());
        self.say_what_is_not_asked(watch);
        let change = calls::change(&self.api, &actual.zone, &action, changes).await?;
        Ok(RecordActual {
            zone: actual.zone.clone(),
            set,
            change: Some(change),
        })
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harms("the name leads elsewhere than before")
    }

    async fn delete(&self, actual: &Self::Actual, _token: &Token) -> Result<()> {
        delete(&self.api, &self.asked.name, actual).await
    }

    async fn readiness(&self, actual: &Self::Actual) -> Result<Ready<Self::Actual>> {
        let known = match &actual.change {
            Some(change) => Some(calls::is_in_sync(&self.api, change).await?),
            // The reply with the change's name was lost.
            None => None,
        };
        let state = match known {
            Some(false) => Readiness::Pending("Route 53 tells its servers".into()),
            Some(true) | None => self.is_answered(&actual.zone, known.is_some()).await?,
        };
        Ok(Ready {
            state,
            actual: actual.clone(),
        })
    }

    fn pace(&self) -> Pace {
        KNOWN
    }
}

/// The record of this type, or the canonical name that stands in its way.
pub(super) fn standing(sets: Vec<ResourceRecordSet>, kind: Type) -> Option<ResourceRecordSet> {
    let mut sets = sets.into_iter();
    sets.find(|set| kind.is_of(set) || *set.r#type() == RrType::Cname)
}

/// A record as it is compared with what is desired, and with what we wrote.
fn compared(set: &ResourceRecordSet) -> Fields {
    let mut fields = described(set);
    fields.set("type", set.r#type().as_str());
    fields
}

/// What stands under a name and is ours to change: the record of this type, or the canonical name
/// in its way.
fn judge(
    sets: Vec<ResourceRecordSet>,
    kind: Type,
    wanted: Option<&Fields>,
    may_change: impl Fn(&ResourceRecordSet) -> bool,
) -> Reading<ResourceRecordSet> {
    let Some(set) = standing(sets, kind) else {
        return Reading::Absent;
    };
    if set.set_identifier().is_some() {
        return Reading::Foreign(format!("it is a {} with a routing policy", words(&set)).into());
    }
    let says_it = kind.is_of(&set) && wanted == Some(&led(&set));
    if says_it || may_change(&set) {
        Reading::Present(set)
    } else {
        Reading::Foreign(format!("it is a {}", words(&set)).into())
    }
}

/// Deletes exactly what was read. Succeeds when it is gone.
///
/// Errors: rejected, when it says something else by now; it stays.
async fn delete(api: &Api, name: &str, actual: &RecordActual) -> Result<()> {
    let kind = actual.set.r#type().as_str();
    let action = format!("delete {kind} record `{name}`");
    let changes = vec![(ChangeAction::Delete, actual.set.clone())];
    let Err(error) = calls::change(api, &actual.zone, &action, changes).await else {
        return Ok(());
    };
    let sets = calls::records(api, &actual.zone, name).await?;
    let there = match &sets {
        Reading::Present(sets) => sets.iter().any(|set| set.r#type() == actual.set.r#type()),
        Reading::Absent => false,
        Reading::Denied(_) | Reading::Tombstoned(_) | Reading::Foreign(_) => true,
    };
    if there { Err(error) } else { Ok(()) }
}

/// A record of the inventory: ours while it says what we wrote.
pub(crate) struct Written;

impl Kind for Written {
    type Site = Api;
    type Is = RecordActual;
    const KIND: &'static str = "route53.record";
    const NOUN: &'static str = "record";
    const ROLE: Role = Role::BesideService;
    const TIER: Tier = Tier::Edge;
    const DATA: Data = Data::None;
    const FACTS: Facts = Facts {
        // It carries no mark.
        arn: None,
        access: Access {
            feature: Feature::Dns,
            read: &[
                grant(
                    &[
                        "elasticloadbalancing:DescribeLoadBalancers",
                        "route53:ListHostedZones",
                        "route53:ListHostedZonesByName",
                    ],
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

    fn describe(is: &RecordActual, to: &mut Description) {
        to.extend(&described(&is.set));
    }

    async fn find(at: &At<Api>) -> Result<Reading<There<RecordActual>>, Refusal> {
        let (name, kind) = parts(at.name())?;
        let zones = match calls::around(at, name).await? {
            Reading::Present(zones) => zones,
            Reading::Denied(words) => return Ok(Reading::Denied(words)),
            Reading::Absent | Reading::Tombstoned(_) | Reading::Foreign(_) => Vec::new(),
        };
        // Several zones may have the name: ours is the one that says what we wrote.
        let mut other = None;
        for zone in zones {
            let sets = match calls::records(at, &zone, name).await? {
                Reading::Present(sets) => sets,
                Reading::Denied(words) if zone.is_public => return Ok(Reading::Denied(words)),
                Reading::Denied(_)
                | Reading::Absent
                | Reading::Tombstoned(_)
                | Reading::Foreign(_) => continue,
            };
            for set in sets.into_iter().filter(|set| kind.is_of(set)) {
                if set.set_identifier().is_none() && at.past.says(&compared(&set)) {
                    return Ok(Reading::Present(There::bare(RecordActual {
                        zone,
                        set,
                        change: None,
                    })));
                }
                // What a private zone says of the name is another affair than ours.
                if zone.is_public {
                    other.get_or_insert(words(&set));
                }
            }
        }
        Ok(match other {
            None => Reading::Absent,
            Some(other) => {
                let how = format!("it is a {other} now, and that is not what we wrote");
                Reading::Foreign(how.into())
            }
        })
    }

    fn foreign(_at: &At<Api>, _there: &There<RecordActual>) -> Result<Option<Stranger>> {
        Ok(None)
    }

    async fn remove(
        at: &At<Api>,
        there: &There<RecordActual>,
        _token: &Token,
    ) -> Result<(), Refusal> {
        let (name, _) = parts(at.name())?;
        Ok(delete(at, name, &there.is).await?)
    }
}

/// Name and type of `NAME/TYPE`.
///
/// Errors: input, when it is not that.
pub(super) fn parts(address: &str) -> Result<(&str, Type)> {
    let parts = address.rsplit_once('/');
    let known = parts.and_then(|(name, kind)| Some((name, Type::named(kind)?)));
    known.ok_or_else(|| {
        Error::input(format!("`{address}` is not a record in Route 53"))
            .hint("use the version of deployer that made it, or a newer one")
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_route53::types::ResourceRecord;

    use super::*;

    fn set(kind: RrType, value: &str) -> ResourceRecordSet {
        let record = ResourceRecord::builder().value(value).build().unwrap();
        ResourceRecordSet::builder()
            .name("idp.example.com.")
            .r#type(kind)
            .ttl(300)
            .resource_records(record)
            .build()
            .unwrap()
    }

    fn seen(sets: Vec<ResourceRecordSet>, may_change: bool) -> Reading<ResourceRecordSet> {
        let wanted = Content::Address("192.0.2.7".parse().unwrap()).fields();
        judge(sets, Type::A, Some(&wanted), |_| may_change)
    }

    fn is_foreign(reading: &Reading<ResourceRecordSet>) -> bool {
        matches!(reading, Reading::Foreign(_))
    }

    #[test]
    fn a_record_that_leads_elsewhere_is_foreign_unless_it_may_be_changed() {
        let other = || vec![set(RrType::A, "192.0.2.1")];
        assert!(is_foreign(&seen(other(), false)));
        assert!(matches!(seen(other(), true), Reading::Present(_)));
    }

    #[test]
    fn a_record_that_says_what_it_is_to_say_is_taken_as_ours() {
        let same = vec![set(RrType::A, "192.0.2.7")];
        assert!(matches!(seen(same, false), Reading::Present(_)));
    }

    #[test]
    fn a_record_of_another_ttl_says_what_it_is_to_say() {
        let mut same = set(RrType::A, "192.0.2.7");
        same.ttl = Some(60);
        assert!(matches!(seen(vec![same], false), Reading::Present(_)));
    }

    #[test]
    fn a_canonical_name_is_in_the_way_and_other_types_are_not() {
        let cname = || vec![set(RrType::Cname, "elsewhere.example.net")];
        assert!(is_foreign(&seen(cname(), false)));
        assert!(matches!(seen(cname(), true), Reading::Present(_)));
        let other_type = vec![set(RrType::Aaaa, "2001:db8::1")];
        assert!(matches!(seen(other_type, false), Reading::Absent));
    }

    #[test]
    fn records_with_a_routing_policy_are_never_touched() {
        let mut weighted = set(RrType::A, "192.0.2.7");
        weighted.set_identifier = Some("blue".into());
        assert!(is_foreign(&seen(vec![weighted], true)));
    }
}
