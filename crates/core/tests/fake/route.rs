//! A kind of the fake that bears no mark: what the ledger knows tells whose it is.

use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::kind::{
    At, Changed, Data, Description, Field, Kind, Marks, Passing, Role, Seen, There, Tier, Wish,
};
use deployer_core::node::{Kept, Reading, Token};

use super::tuning::{FakeSite, Refusal};
use super::world::World;

const HOP: Field = Field::in_place("next hop");

/// Where packets go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub hop: &'static str,
}

impl Kind for Route {
    type Site = FakeSite;
    type Is = Self;
    const KIND: &'static str = "fake.route";
    const NOUN: &'static str = "route";
    const TIER: Tier = Tier::Ground;
    const DATA: Data = Data::None;
    const ROLE: Role = Role::Shared;
    const MARKS: Marks<Self> = Marks::None("a route takes no tag");
    const FACTS: () = ();
    const ABSENT: &'static [&'static str] = &["NotFound"];
    const TAKEN: &'static [&'static str] = &["AlreadyExists"];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = Passing::NOTHING;

    fn describe(is: &Self, to: &mut Description) {
        to.set(HOP, is.hop);
    }

    async fn find(at: &At<FakeSite>) -> Result<Reading<There<Self>>, Refusal> {
        let look = |world: &World| world.routes.get(at.name()).cloned();
        let found = at.api.read("DescribeRoute", at.name(), look).await?;
        Ok(found.map(There::bare).into())
    }

    async fn remove(at: &At<FakeSite>, _: &There<Self>, _: &Token) -> Result<(), Refusal> {
        let effect = |world: &mut World| {
            world.routes.remove(at.name());
            Ok(())
        };
        Ok(at.api.write("DeleteRoute", at.name(), effect).await?)
    }
}

impl Wish for Route {
    type Output = ();
    const KEPT: Kept = Kept::Harms("packets go elsewhere than before");

    fn over(&self, _: &At<FakeSite>, _: Seen<'_, Self>) -> Self {
        self.clone()
    }

    fn output(_: &At<FakeSite>, _: &There<Self>) {}

    async fn make(&self, at: &At<FakeSite>, is: &Self, _: &Token) -> Result<(), Refusal> {
        let effect = |world: &mut World| match world.routes.contains_key(at.name()) {
            true => Err(Error::new(ErrorKind::Conflict, "AlreadyExists")),
            false => {
                world.routes.insert(at.name().to_owned(), is.clone());
                Ok(())
            }
        };
        Ok(at.api.write("CreateRoute", at.name(), effect).await?)
    }

    async fn change(
        &self,
        at: &At<FakeSite>,
        _: &There<Self>,
        is: &Self,
        _: Changed<'_>,
    ) -> Result<(), Refusal> {
        let effect = |world: &mut World| {
            world.routes.insert(at.name().to_owned(), is.clone());
            Ok(())
        };
        Ok(at.api.write("ReplaceRoute", at.name(), effect).await?)
    }
}
