//! The one list of a cloud's kinds: what is not in it cannot be declared.

use async_trait::async_trait;
use serde::Serialize;

use super::{Data, Kind, Managed, Role, Site, Wish};
use crate::address::Address;
use crate::error::{Error, ErrorKind, Result};
use crate::fields::Fields;
use crate::graph::Listed;
use crate::node::{Evidence, Step, Token, Undone, Watch};

/// When the things of a kind are deleted, where no inventory says what needs what: those of an
/// earlier tier first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// What leads to a service or changes its size: names, who may call it, its scaling.
    Edge,
    /// What runs until it is told to stop.
    Service,
    /// What runs once, and what a service is made of.
    Definition,
    /// What is within something that stores, and what lets somebody read it.
    Within,
    /// What stores.
    Store,
    /// What a store stands in.
    Ground,
}

impl<K: Wish + Listed> Listed for Managed<K> {}

/// What the table says of a kind, or of a step, which leaves nothing to remove.
#[derive(Clone, Copy, Debug)]
pub struct Listing<F> {
    /// Its name in addresses.
    pub kind: &'static str,
    /// Its name in sentences, without an article.
    pub noun: &'static str,
    /// When it is deleted. `None` for a step.
    pub tier: Option<Tier>,
    /// What deleting one loses.
    pub data: Data,
    /// Why it bears no mark of ours. `None` where it bears one.
    pub markless: Option<&'static str>,
    /// What its cloud says of it.
    pub facts: F,
}

impl<F> Listing<F> {
    /// What a kind says of itself.
    pub const fn of<K: Kind>() -> Listing<<K::Site as Site>::Facts> {
        Listing {
            kind: K::KIND,
            noun: K::NOUN,
            tier: Some(K::TIER),
            data: K::DATA,
            markless: K::MARKS.why_none(),
            facts: K::FACTS,
        }
    }
}

/// Makes a cloud's table: `ALL`, `TOLD`, `tier` and `leftover`, and lists what may be declared.
///
/// A thing of `kinds` is read and removed by itself; where a node of another type stands for it in
/// the graph, `as` names that one. What has an address of `gone` goes with something else, or is a
/// step: nothing is to be removed there.
#[macro_export]
macro_rules! kinds {
    (
        site: $site:ty, facts: $facts:ty;
        kinds: $($kind:ty $(as $node:ty)?,)+;
        gone: $($within:ty = $gone:expr => $role:expr,)*;
    ) => {
        $(
            impl $crate::graph::Listed for $kind {}
            $(impl $crate::graph::Listed for $node {})?
        )+
        $(impl $crate::graph::Listed for $within {})*

        /// Every kind that is removed by itself.
        pub(crate) const ALL: &[$crate::kind::Listing<$facts>] = &[
            $($crate::kind::Listing::<$facts>::of::<$kind>()),+
        ];

        /// The kinds with the names that they had.
        pub(crate) const MOVED: $crate::moved::Moved = $crate::moved::Moved::of(&[
            $((
                <$kind as $crate::kind::Kind>::KIND,
                <$kind as $crate::kind::Kind>::WAS,
            )),+
        ]);

        /// What goes with something else, and steps.
        #[allow(dead_code, reason = "a table may have none")]
        pub(crate) const GONE: &[(&str, $crate::kind::Role)] = &[$(($gone, $role)),*];

        /// What who reads a plan is told of each of them.
        pub(crate) const TOLD: &[$crate::kind::Telling] = &[
            $($crate::kind::Telling::of::<$kind>(),)+
            $($crate::kind::Telling::of_step($gone, $role),)*
        ];

        /// When the things of a kind are deleted. `None` for what this version does not remove.
        pub(crate) fn tier(kind: &str) -> Option<$crate::kind::Tier> {
            ALL.iter().find(|it| it.kind == kind).and_then(|it| it.tier)
        }

        /// The node of what an inventory names.
        ///
        /// Errors: input, when this version does not know the kind.
        pub(crate) fn leftover(
            site: &::std::sync::Arc<$site>,
            address: &$crate::address::Address,
            owner: &$crate::ours::Owner,
            past: &$crate::ours::Past,
        ) -> $crate::error::Result<::std::sync::Arc<dyn $crate::node::Node>> {
            use $crate::kind::{At, Done, Kind, Leftover};
            let kind = address.kind.as_str();
            $(
                if kind == <$kind as Kind>::KIND {
                    let at = At::leftover::<$kind>(site, address, owner, past);
                    return Ok($crate::node::ResourceNode::erase(Leftover::<$kind>::new(at)));
                }
            )+
            Done::node(GONE, address)
        }
    };
}

/// The address of a step, or of what goes with something else: nothing is to be removed there.
pub struct Done(Address);

impl Done {
    /// The node of an address of one of these kinds.
    ///
    /// Errors: input, when it is of none.
    pub fn node(
        kinds: &[(&str, Role)],
        address: &Address,
    ) -> Result<std::sync::Arc<dyn crate::node::Node>> {
        if kinds.iter().any(|(kind, _)| *kind == address.kind) {
            let done = Self(address.clone());
            return Ok(std::sync::Arc::new(crate::node::StepNode::new(done)));
        }
        let kind = &address.kind;
        let message = format!("`{address}` is of a kind that this version does not know: `{kind}`");
        Err(Error::input(message).hint("use the version of deployer that made it, or a newer one"))
    }
}

#[async_trait]
impl Step for Done {
    fn address(&self) -> &Address {
        &self.0
    }

    async fn evidence(&self) -> Result<Evidence> {
        // Nothing to see is nothing to delete.
        Ok(Evidence::NotDone("a step leaves nothing to delete".into()))
    }

    fn desired(&self) -> Fields {
        Fields::new()
    }

    fn publish(&self) {}

    async fn run(&self, _token: &Token, _watch: &dyn Watch) -> Result<()> {
        Ok(())
    }

    async fn left(&self, _failed: Option<ErrorKind>) -> Result<Undone> {
        Ok(Undone::PutBack)
    }
}
