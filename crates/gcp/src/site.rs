//! One Google Cloud project and region as its kinds are reached.

use deployer_core::address::Target;
use deployer_core::clock::Clock;
use deployer_core::kind::{Marking, Site, Tags};
use deployer_core::names::owner_label;
use deployer_core::ours::Owner;
use deployer_core::spec::EnvironmentSpec;
use futures::future::BoxFuture;

use crate::access::Access;
use crate::error::Refusal;
use crate::labels::{self, Labelled};
use crate::project::Project;

/// What every kind of this cloud says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    /// The API that its calls are made to: it must be on in the project.
    pub(crate) api: &'static str,
    /// How one is found that no inventory names.
    pub(crate) unnamed: Unnamed,
    /// What the caller must be allowed.
    pub(crate) access: Access,
}

/// How a thing is found that no inventory names.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unnamed {
    /// By the labels of a list of its API: there is no list of everything that is as new as these.
    Listed {
        /// What is listed, in the plural.
        what: &'static str,
        /// Lists what may carry this owner's label.
        list: List,
    },
    /// It carries no label and goes with this, which does.
    With(&'static str),
}

/// A list, of what carries this owner's label where the API can be asked for that.
pub(crate) type List = for<'a> fn(&'a Project, &'a str) -> BoxFuture<'a, Labelled>;

impl Site for Project {
    type Refusal = Refusal;
    type Facts = Facts;
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
        At, Changed, Data, Description, Field, Kind, Marks, Meaning, Passing, Released, Role, Seen,
        Site, TagChanges, Tagged, There, Tier, Wish,
    };
    pub(crate) use deployer_core::node::{Kept, Reading, Token};
    pub(crate) use deployer_core::permissions::Feature;

    pub(crate) use super::{Facts, Unnamed};
    pub(crate) use crate::access::{Access, On};
    pub(crate) use crate::error::{ALREADY_EXISTS, NOT_FOUND, Refusal};
    pub(crate) use crate::labels::{Labelled, read, tags};
    pub(crate) use crate::project::Project;
}
