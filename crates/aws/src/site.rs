//! One AWS account and region as its kinds are reached.

use deployer_core::address::Target;
use deployer_core::clock::Clock;
use deployer_core::kind::{Marking, Site, Tags};
use deployer_core::ours::Owner;
use deployer_core::spec::EnvironmentSpec;

use crate::access::Access;
use crate::client::Clients;
use crate::error::Refusal;
use crate::tags;

/// What every kind of this cloud says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// How its ARN is told from others'. `None` for what has none.
    pub(crate) arn: Option<Arn>,
    /// What the caller must be allowed.
    pub(crate) access: Access,
}

/// How the ARN of a kind is told from others': `arn:PARTITION:SERVICE:REGION:ACCOUNT:SORT/NAME`, or
/// with a colon before the name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arn {
    pub(crate) service: &'static str,
    pub(crate) sort: &'static str,
    /// The name that its API takes, of the one in the ARN.
    pub(crate) name: fn(&str) -> Option<&str>,
}

impl Arn {
    /// Of a kind whose ARN ends with its name.
    pub(crate) const fn new(service: &'static str, sort: &'static str) -> Self {
        Self::named(service, sort, whole)
    }

    /// Of a kind whose ARN has more or less than its name.
    pub(crate) const fn named(
        service: &'static str,
        sort: &'static str,
        name: fn(&str) -> Option<&str>,
    ) -> Self {
        Self {
            service,
            sort,
            name,
        }
    }
}

const fn whole(name: &str) -> Option<&str> {
    Some(name)
}

impl Site for Clients {
    type Refusal = Refusal;
    type Facts = Facts;
    const MARKING: Marking = tags::MARKING;
    const REREADS: bool = true;

    fn target(&self) -> &Target {
        &self.target
    }

    fn clock(&self) -> &dyn Clock {
        Self::clock(self)
    }

    fn tags(env: &EnvironmentSpec) -> Tags {
        tags::of(env)
    }

    fn mark(owner: &Owner) -> String {
        owner.to_string()
    }
}

/// What the kinds of this cloud are written with.
pub(crate) mod prelude {
    pub(crate) use deployer_core::error::Result;
    pub(crate) use deployer_core::kind::{
        At, Changed, Data, Description, Field, Generations, Kind, Marks, Meaning, Naming, Order,
        Parts, Passing, Released, Role, Seen, Tagged, There, Tier, Wish,
    };
    pub(crate) use deployer_core::node::{Kept, Reading, Token};
    pub(crate) use deployer_core::permissions::Feature;

    pub(crate) use super::{Arn, Facts};
    pub(crate) use crate::access::places::*;
    pub(crate) use crate::access::{Access, given, grant};
    pub(crate) use crate::client::Clients;
    pub(crate) use crate::error::Refusal;
    pub(crate) use crate::tagging::{TagApi, sdk_tags};
    pub(crate) use crate::tags::{TagChanges, description};
}
