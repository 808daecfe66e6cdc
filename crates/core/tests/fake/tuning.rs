//! A kind of the fake that cannot be changed: another content is another generation, and services
//! move to it.

use std::sync::Arc;

use deployer_core::address::Target;
use deployer_core::clock::Clock;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::kind::{
    At, Changed, Data, Description, Field, Generations, Kind, Marking, Marks, Naming, Order,
    Ownership, Parts, Passing, Refused, Role, Seen, Site, TagChanges, Tagged, Tags, There, Tier,
    Wish,
};
use deployer_core::name_rule;
use deployer_core::names::OWNER_TAG;
use deployer_core::node::{Kept, Reading, Token};
use deployer_core::ours::Owner;
use deployer_core::spec::EnvironmentSpec;

use super::route::Route;
use super::runtime::Executions;
use super::storage::ImageCopy;
use super::world::{Api, World};

/// What the fake's kinds are reached through.
pub struct FakeSite {
    pub target: Target,
    pub api: Api,
    pub clock: Arc<dyn Clock>,
}

/// How the fake's calls fail.
pub struct Refusal(Error);

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl Refused for Refusal {
    fn is_one_of(&self, codes: &[&str]) -> bool {
        codes.iter().any(|it| self.0.to_string().contains(it))
    }

    fn denied(&self) -> Option<String> {
        (self.0.kind() == ErrorKind::Denied).then(|| self.0.to_string())
    }

    fn of(self, action: &str) -> Error {
        Error::new(self.0.kind(), format!("cannot {action}")).because(self.0)
    }
}

impl Site for FakeSite {
    type Refusal = Refusal;
    type Facts = ();
    const MARKING: Marking = Marking {
        word: "tag",
        notes: "deployer:",
        is_the_clouds: |_| false,
    };
    const REREADS: bool = true;

    fn target(&self) -> &Target {
        &self.target
    }

    fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    fn tags(env: &EnvironmentSpec) -> Tags {
        Tags::from([(OWNER_TAG.into(), format!("{}/{}", env.app, env.environment))])
    }

    fn mark(owner: &Owner) -> String {
        owner.to_string()
    }

    fn ownership_of(owner: &Owner) -> Ownership {
        Ownership::leftover(Self::MARKING, Self::mark(owner))
    }
}

name_rule!(
    /// The fake's names.
    TUNING, "a tuning", 24, Any,
    "^[a-z0-9-]+$",
    "lower case"
);

const THREADS: Field = Field::replaces("threads", Order::CreateFirst);
const NOTE: Field = Field::in_place("note");

/// How a service is tuned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    pub threads: u32,
    pub note: &'static str,
}

impl Kind for Tuning {
    type Site = FakeSite;
    type Is = Self;
    const KIND: &'static str = "fake.tuning";
    const WAS: &'static [&'static str] = &["fake.knobs"];
    const NOUN: &'static str = "tuning";
    const TIER: Tier = Tier::Ground;
    const DATA: Data = Data::None;
    const ROLE: Role = Role::Shared;
    const MARKS: Marks<Self> = Marks::tags();
    const GENERATIONS: Option<Generations> = Some(Generations {
        fields: &[THREADS],
        rule: || &TUNING,
        naming: Naming::Digits,
    });
    const FACTS: () = ();
    const ABSENT: &'static [&'static str] = &["NotFound"];
    const TAKEN: &'static [&'static str] = &["AlreadyExists"];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = Passing::NOTHING;

    fn describe(is: &Self, to: &mut Description) {
        to.set(THREADS, is.threads);
        to.set(NOTE, is.note);
    }

    async fn find(at: &At<FakeSite>) -> Result<Reading<There<Self>>, Refusal> {
        let look = |world: &World| world.tunings.get(at.name()).cloned();
        let found = at.api.read("DescribeTuning", at.name(), look).await?;
        let found = found.map(|(owner, is)| There {
            id: String::new(),
            is,
            tags: Tags::from([(OWNER_TAG.into(), owner)]),
        });
        Ok(found.into())
    }

    async fn remove(at: &At<FakeSite>, _: &There<Self>, _: &Token) -> Result<(), Refusal> {
        let effect = |world: &mut World| {
            let mut services = world.services.values();
            if services.any(|it| it.tunings().any(|used| used == at.name())) {
                let in_use = format!("tuning `{}` is in use", at.name());
                return Err(Error::new(ErrorKind::Rejected, in_use));
            }
            world.tunings.remove(at.name());
            Ok(())
        };
        Ok(at.api.write("DeleteTuning", at.name(), effect).await?)
    }
}

impl Tagged for Tuning {
    async fn mark(_: &At<FakeSite>, _: &There<Self>, _: TagChanges) -> Result<(), Refusal> {
        Err(Error::internal("the fake's tunings are marked when they are made").into())
    }
}

impl Wish for Tuning {
    /// Its name.
    type Output = String;
    const KEPT: Kept = Kept::Harmless("the fake's kinds harm nobody");

    fn over(&self, _: &At<FakeSite>, _: Seen<'_, Self>) -> Self {
        self.clone()
    }

    fn parts(&self, to: &mut Parts) {
        to.set(THREADS, self.threads);
    }

    fn output(at: &At<FakeSite>, _: &There<Self>) -> String {
        at.name().to_owned()
    }

    async fn make(&self, at: &At<FakeSite>, is: &Self, _: &Token) -> Result<(), Refusal> {
        let effect = |world: &mut World| {
            if world.tunings.contains_key(at.name()) {
                return Err(Error::new(ErrorKind::Conflict, "AlreadyExists"));
            }
            let made = (at.owner.owner().to_owned(), is.clone());
            world.tunings.insert(at.name().to_owned(), made);
            Ok(())
        };
        Ok(at.api.write("CreateTuning", at.name(), effect).await?)
    }

    async fn change(
        &self,
        at: &At<FakeSite>,
        there: &There<Self>,
        is: &Self,
        _: Changed<'_>,
    ) -> Result<(), Refusal> {
        let effect = |world: &mut World| {
            if is.threads != there.is.threads {
                return world.violation("nobody changes the threads of a tuning".into());
            }
            if let Some((_, held)) = world.tunings.get_mut(at.name()) {
                held.note = is.note;
            }
            Ok(())
        };
        Ok(at.api.write("UpdateTuning", at.name(), effect).await?)
    }
}

/// A kind that is replaced by creating first, and whose name does not say of which generation it
/// is.
pub struct Unnamed;

impl Kind for Unnamed {
    type Site = FakeSite;
    type Is = ();
    const KIND: &'static str = "fake.unnamed";
    const NOUN: &'static str = "unnamed thing";
    const TIER: Tier = Tier::Ground;
    const DATA: Data = Data::None;
    const ROLE: Role = Role::Shared;
    const MARKS: Marks<Self> = Marks::tags();
    const FACTS: () = ();
    const ABSENT: &'static [&'static str] = &[];
    const TAKEN: &'static [&'static str] = &[];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = Passing::NOTHING;

    fn describe((): &(), to: &mut Description) {
        to.set(THREADS, 1);
    }

    async fn find(_: &At<FakeSite>) -> Result<Reading<There<()>>, Refusal> {
        Ok(Reading::Absent)
    }

    async fn remove(_: &At<FakeSite>, _: &There<()>, _: &Token) -> Result<(), Refusal> {
        Ok(())
    }
}

impl Tagged for Unnamed {
    async fn mark(_: &At<FakeSite>, _: &There<()>, _: TagChanges) -> Result<(), Refusal> {
        Ok(())
    }
}

impl Wish for Unnamed {
    type Output = ();
    const KEPT: Kept = Kept::Harmless("it is never made");

    fn over(&self, _: &At<FakeSite>, _: Seen<'_, ()>) {}

    fn output(_: &At<FakeSite>, _: &There<()>) {}

    async fn make(&self, _: &At<FakeSite>, (): &(), _: &Token) -> Result<(), Refusal> {
        Ok(())
    }

    async fn change(
        &self,
        _: &At<FakeSite>,
        _: &There<()>,
        (): &(),
        _: Changed<'_>,
    ) -> Result<(), Refusal> {
        Ok(())
    }
}

deployer_core::kinds! {
    site: FakeSite, facts: ();
    kinds:
        Tuning,
        Unnamed,
        Route,
    ;
    gone: ImageCopy = "fake.image" => Role::Image, Executions = "fake.migration" => Role::Migration,;
}
