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

/// Whether each of these texts says something, and no two say the same: for names of kinds, which
/// a compiler checks.
pub const fn all_differ(tables: &[&[&str]]) -> bool {
    let mut table = 0;
    while table < tables.len() {
        let mut at = 0;
        while at < tables[table].len() {
            let text = tables[table][at];
            if text.is_empty() || count(text, tables) != 1 {
                return false;
            }
            at += 1;
        }
        table += 1;
    }
    true
}

const fn count(text: &str, tables: &[&[&str]]) -> usize {
    let (mut found, mut table) = (0, 0);
    while table < tables.len() {
        let mut at = 0;
        while at < tables[table].len() {
            if is_same(text, tables[table][at]) {
                found += 1;
            }
            at += 1;
        }
        table += 1;
    }
    found
}

/// Whether two texts are the same, where a compiler asks.
pub const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Makes a cloud's table: `ALL`, `TOLD`, `tier` and `leftover`, and lists what may be declared. Two
/// of one name, or one without a name, do not compile.
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
        pub(crate) const FORMER: &[$crate::moved::Former] = &[
            $((
                <$kind as $crate::kind::Kind>::KIND,
                <$kind as $crate::kind::Kind>::WAS,
            )),+
        ];

        /// The names in addresses of everything in this table.
        pub(crate) const NAMES: &[&str] = &[
            $(<$kind as $crate::kind::Kind>::KIND,)+
            $($gone,)*
        ];

        const _: () = assert!(
            $crate::kind::all_differ(&[NAMES]),
            "two of this table have one name, or one has none"
        );

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

#[cfg(test)]
mod tests {
    use super::all_differ;

    #[test]
    fn names_differ_when_none_is_empty_and_none_stands_twice_in_any_table() {
        assert!(all_differ(&[&["a", "b"], &["ab"], &[]]));
        assert!(!all_differ(&[&["a", "b", "a"]]));
        assert!(!all_differ(&[&["a"], &["b", "a"]]));
        assert!(!all_differ(&[&["a", ""]]));
    }
}
