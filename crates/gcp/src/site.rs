//! One Google Cloud project and region as its kinds are reached.

use deployer_core::address::Target;
use deployer_core::clock::Clock;
use deployer_core::kind::{Marking, Site, Tags};
use deployer_core::names::owner_label;
use deployer_core::ours::Owner;
use deployer_core::spec::EnvironmentSpec;

use crate::error::Refusal;
use crate::labels;
use crate::permissions::Access;
use crate::project::Project;

impl Site for Project {
    type Refusal = Refusal;
    type Facts = Access;
    const MARKING: Marking = labels::MARKING;
    /// An operation that has ended is so.
    const REREADS: bool = false;

    fn target(&self) -> &Target {
        &self.target
    }

    fn clock(&self) -> &dyn Clock {
        &*self.context.clock
    }

    fn tags(env: &EnvironmentSpec) -> Tags {
        labels::of(env)
    }

    fn mark(owner: &Owner) -> String {
        owner_label(&owner.app, &owner.environment)
    }
}

/// What the kinds of this cloud are written with.
pub(crate) mod prelude {
    pub(crate) use deployer_core::error::Result;
    pub(crate) use deployer_core::kind::{
        At, Changed, Data, Description, Field, Kind, Marks, Released, Seen, Site, TagChanges,
        Tagged, There, Tier, Wish,
    };
    pub(crate) use deployer_core::node::{Kept, Reading, Token};
    pub(crate) use deployer_core::permissions::Feature;

    pub(crate) use crate::error::{ALREADY_EXISTS, NOT_FOUND, Refusal};
    pub(crate) use crate::labels::tags;
    pub(crate) use crate::permissions::{Access, On};
    pub(crate) use crate::project::Project;
}
