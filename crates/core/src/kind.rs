//! Kinds: what one sort of thing in one cloud says of itself, and the one place that treats them
//! all.
//!
//! A [`Kind`] says its name, its noun, the fields that it has, and the calls that find, change and
//! remove it. It knows no policy: whose a thing is, what a lost reply means, what a refusal means,
//! what is still in use, when an answer is from before, is known here alone. [`Managed`] is a thing
//! that the manifest wants, [`Leftover`] one that only the inventory knows.

mod description;
#[cfg(doctest)]
mod forgotten;
mod generation;
mod leftover;
mod letting_go;
mod managed;
mod marks;
mod reading;
mod table;
mod telling;

pub use description::{Changed, Description, Field, numbers};
pub use generation::{Generations, Naming, Order, Parts, named};
pub use leftover::Leftover;
pub use letting_go::Marks;
pub use managed::Managed;
pub use marks::{Marking, Ownership, TagChanges, Tags, describe as describe_tags, is_tag};
pub use reading::{owned, read_or_sort, seen, still_there, until_seen, until_taken};
pub use table::{Done, Listing, Tier, all_differ, is_same};
pub use telling::{Meaning, Role, Telling};

use std::future::Future;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::address::{Address, Target};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::fields::{FieldChange, Fields};
use crate::graph::{Graph, Inputs, Listed, Output};
use crate::node::{Effect, Kept, Reading, Token};
use crate::ours::{Owner, Past, Stranger};
use crate::spec::EnvironmentSpec;

/// What a cloud's kinds are reached through: its clients, and how it marks things.
pub trait Site: Send + Sync + 'static {
    /// How its calls fail.
    type Refusal: Refused;
    /// What its kinds say beside what every kind says: how a list names them, which permissions
    /// they need.
    type Facts: Copy + Send + Sync + 'static;
    /// How it marks what is ours.
    const MARKING: Marking;
    /// Whether what was written is read again: an answer to a write tells less than a read, or
    /// comes before it is so.
    const REREADS: bool;

    /// Where it is.
    fn target(&self) -> &Target;

    /// Time.
    fn clock(&self) -> &dyn Clock;

    /// The tags of this environment's things, our mark among them.
    fn tags(env: &EnvironmentSpec) -> Tags;

    /// What our mark says of an owner.
    fn mark(owner: &Owner) -> String;

    /// Whose a thing must be that is an owner's or nobody's.
    fn ownership_of(owner: &Owner) -> Ownership {
        Ownership::leftover(Self::MARKING, Self::mark(owner))
    }
}

/// A call that failed, before it is said what was tried.
pub trait Refused: From<Error> + Send + Sized + 'static {
    /// Whether the cloud answered with one of these codes.
    fn is_one_of(&self, codes: &[&str]) -> bool;

    /// The cloud's words where the caller may not do it. `None` for every other failure.
    fn denied(&self) -> Option<String>;

    /// As the failure of `action`: "create log group `x`".
    fn of(self, action: &str) -> Error;
}

/// What a kind's calls answer.
pub type Answer<K, T> = std::result::Result<T, <<K as Kind>::Site as Site>::Refusal>;

/// One sort of thing in one cloud, as its address alone tells: it can be read, removed and let go.
///
/// Guarantees asked of implementations: `find` writes nothing; `remove` repeated after a lost reply
/// changes nothing more.
pub trait Kind: Send + Sync + Sized + 'static {
    /// What it is reached through.
    type Site: Site;
    /// What the cloud says it is.
    type Is: Clone + Send + Sync + 'static;

    /// Its name in addresses: `rds.subnet_group`.
    const KIND: &'static str;
    /// The names that it had in addresses: what an earlier version wrote is read as of today's.
    const WAS: &'static [&'static str] = &[];
    /// Its name in sentences, without an article: "database subnet group". Every message is made
    /// from it.
    const NOUN: &'static str;
    /// What it is to who reads a plan.
    const ROLE: Role;
    /// How long its vendor usually takes to make one, where that is minutes.
    const TAKES: Option<Duration> = None;
    /// When it is deleted, beside other kinds.
    const TIER: Tier;
    /// What its cloud wants to know of it.
    const FACTS: <Self::Site as Site>::Facts;
    /// What deleting it loses. Nothing is taken for harmless that does not say so.
    const DATA: Data;
    /// What tells its generations apart. `None` where nothing of it is replaced by creating first.
    const GENERATIONS: Option<Generations> = None;
    /// How our mark is written to it and taken off, or why it bears none.
    const MARKS: Marks<Self>;
    /// What is left of one that was deleted, and until when, as a phrase; `NAME` stands for its
    /// name. `None` where nothing is.
    const LEAVES: Option<&'static str> = None;
    /// What changes of its fields mean to who reads a plan.
    const MEANS: Meaning = Meaning::PLAIN;
    /// Whose it is, by its name in the cloud: the service's, where its name is made of that one's.
    const WHOSE: fn(name: &str) -> &str = |name| name;
    /// Whether releases name its revisions: a deployment of code alone makes some, and may set no
    /// mark on them.
    const RECORDED: bool = false;
    /// The codes of a call on one that is not there.
    const ABSENT: &'static [&'static str];
    /// The codes of making one whose name is taken. None for what has no name that could be.
    const TAKEN: &'static [&'static str];
    /// What passes by itself when it is written.
    const BUSY: Passing;
    /// What passes by itself when it is removed: who has it in use lets go of it a while later.
    const IN_USE: Passing;

    /// Field by field.
    fn describe(is: &Self::Is, to: &mut Description);

    /// Looks for it.
    fn find(
        at: &At<Self::Site>,
    ) -> impl Future<Output = Answer<Self, Reading<There<Self::Is>>>> + Send;

    /// Removes it.
    fn remove(
        at: &At<Self::Site>,
        there: &There<Self::Is>,
        token: &Token,
    ) -> impl Future<Output = Answer<Self, ()>> + Send;

    /// How we know that it is not ours: by its tags; where it bears no mark, by what the ledger
    /// knows: it is ours while it is as a run of ours wrote it. A run notes what it makes before
    /// it makes it, so that to be known proves nothing by itself. A kind that can tell more says
    /// so itself.
    ///
    /// Errors: unavailable, where the cloud does not tell now.
    fn foreign(at: &At<Self::Site>, there: &There<Self::Is>) -> Result<Option<Stranger>> {
        Ok(match Self::MARKS.why_none() {
            None => at.owner.foreign(&there.tags),
            Some(_) if at.owner.adopts() => None,
            Some(_)
                if at
                    .past
                    .is_still(&managed::described::<Self>(&there.is).into_fields()) =>
            {
                None
            }
            Some(why) if at.past.known => {
                Some(format!("it is not as a run of ours wrote it, and {why}").into())
            }
            Some(why) => Some(format!("no run of ours made it, and {why}").into()),
        })
    }

    /// What people should know before it is removed.
    fn farewell(_at: &At<Self::Site>, _there: &There<Self::Is>) -> Vec<String> {
        Vec::new()
    }
}

/// A kind whose tags or labels are written by a call that writes nothing else.
///
/// Guarantees asked of implementations: `mark` repeated after a lost reply changes nothing more.
pub trait Tagged: Kind {
    /// Changes its tags or labels.
    fn mark(
        at: &At<Self::Site>,
        there: &There<Self::Is>,
        changes: TagChanges,
    ) -> impl Future<Output = Answer<Self, ()>> + Send;
}

/// A kind that lets go of what is ours on it in a way of its own.
///
/// Guarantees asked of implementations: `release` repeated after a lost reply changes nothing more.
pub trait Released: Kind {
    /// Takes off what is ours, and leaves everything else.
    fn release(
        at: &At<Self::Site>,
        there: &There<Self::Is>,
    ) -> impl Future<Output = Answer<Self, ()>> + Send;
}

/// A kind as the manifest wants it: its tags are compared and put back by [`Managed`], as its
/// [`Kind::MARKS`] say, and not at all where it bears no mark.
///
/// Guarantees asked of implementations: `over` does no IO; `make` and `change` repeated after a
/// lost reply change nothing more, and neither waits for readiness.
pub trait Wish: Kind {
    /// What other nodes take from it.
    type Output: Clone + Send + Sync + 'static;
    /// What a change that stays means for whatever served before.
    const KEPT: Kept;

    /// What it is to be, over what is there: what the manifest is silent about, and what is there
    /// already in a way that is as good, is as it is there.
    fn over(&self, at: &At<Self::Site>, seen: Seen<'_, Self::Is>) -> Self::Is;

    /// What tells this generation from others, each field of [`Kind::GENERATIONS`] once and in that
    /// order. Nothing where it has none.
    fn parts(&self, _to: &mut Parts) {}

    /// What other nodes take from it, once it is there.
    fn output(at: &At<Self::Site>, there: &There<Self::Is>) -> Self::Output;

    /// Makes it, as `is` says and with our tags, where it bears any. `token` is the same for every
    /// try of one run: where its API takes one, it goes with the call, so that a name that the
    /// cloud makes is made once.
    fn make(
        &self,
        at: &At<Self::Site>,
        is: &Self::Is,
        token: &Token,
    ) -> impl Future<Output = Answer<Self, ()>> + Send;

    /// Changes what is there to what `is` says. Of its tags nothing, unless they are written with
    /// all else ([`Marks::own`]): then this is asked for changes of tags as well.
    fn change(
        &self,
        at: &At<Self::Site>,
        there: &There<Self::Is>,
        is: &Self::Is,
        changed: Changed<'_>,
    ) -> impl Future<Output = Answer<Self, ()>> + Send;

    /// Whether one that is somebody else's is used as it stands.
    fn lends(&self, _there: &There<Self::Is>) -> bool {
        false
    }

    /// What this change costs, where its direction matters; `usual` is what the field says.
    fn cost(&self, _change: &FieldChange, usual: Effect) -> Effect {
        usual
    }

    /// Whether these changes, although they lose data, are made in place.
    fn loses_in_place(&self, _changes: &[FieldChange]) -> bool {
        false
    }
}

/// What deleting a thing loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// Nothing that cannot be had back.
    None,
    /// What cannot be had back: it must be allowed by name.
    Guarded,
    /// The same, and it stays when a failed run is undone: what it holds may be in use already.
    Held,
    /// What the inventory noted when it was made; guarded where it noted nothing.
    AsNoted,
}

impl Data {
    /// Whether deleting one of which this is noted must be allowed by name.
    pub fn is_guarded(self, past: &Past) -> bool {
        self.is_guarded_as_noted(past.data)
    }

    /// The same by what the inventory says of its data.
    pub fn is_guarded_as_noted(self, noted: Option<bool>) -> bool {
        match self {
            Self::None => false,
            Self::Guarded | Self::Held => true,
            Self::AsNoted => noted.unwrap_or(true),
        }
    }
}

/// Refusals that pass by themselves, and how long they may take.
#[derive(Clone, Copy, Debug)]
pub struct Passing {
    /// Their codes.
    pub codes: &'static [&'static str],
    /// What is waited for, for people.
    pub why: &'static str,
    /// How long it is tried.
    pub patience: Duration,
}

impl Passing {
    /// No refusal passes.
    pub const NOTHING: Self = Self {
        codes: &[],
        why: "",
        patience: Duration::ZERO,
    };
}

/// Where a kind is: what it is reached through, its address, and whose it must be.
pub struct At<S> {
    site: Arc<S>,
    noun: &'static str,
    /// Its address.
    pub address: Address,
    /// Whose it must be, and its tags.
    pub owner: Ownership,
    /// What earlier runs noted.
    pub past: Past,
}

impl<S: Site> At<S> {
    /// Of this kind and name, wanted by an environment.
    pub fn wanted<K: Kind<Site = S>>(
        site: &Arc<S>,
        name: &str,
        (env, adopt): (&EnvironmentSpec, bool),
        graph: &Graph,
    ) -> Self {
        let address = Address::new(site.target(), K::KIND, name);
        let past = graph.past(&address);
        Self {
            site: Arc::clone(site),
            noun: K::NOUN,
            owner: Ownership::new(S::MARKING, S::tags(env), adopt, &past),
            address,
            past,
        }
    }

    /// Of what an inventory names.
    pub fn leftover<K: Kind<Site = S>>(
        site: &Arc<S>,
        address: &Address,
        owner: &Owner,
        past: &Past,
    ) -> Self {
        Self {
            site: Arc::clone(site),
            noun: K::NOUN,
            address: address.clone(),
            owner: S::ownership_of(owner),
            past: past.clone(),
        }
    }

    /// What the cloud calls it.
    pub fn name(&self) -> &str {
        &self.address.name
    }

    /// The thing, for people: "log group `x`".
    pub fn what(&self) -> String {
        format!("{} `{}`", self.noun, self.name())
    }

    /// What it is reached through.
    pub fn site(&self) -> &Arc<S> {
        &self.site
    }
}

impl<S> Deref for At<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.site
    }
}

/// What is there.
#[derive(Clone, Debug)]
pub struct There<I> {
    /// What calls take beside its name: an ARN, an etag. Empty where they take none.
    pub id: String,
    /// What it is.
    pub is: I,
    /// Its tags or labels.
    pub tags: Tags,
}

impl<I> There<I> {
    /// What bears no tags of its own, or tells them elsewhere.
    pub fn bare(is: I) -> Self {
        Self {
            id: String::new(),
            is,
            tags: Tags::new(),
        }
    }
}

impl<I> From<Option<There<I>>> for Reading<There<I>> {
    fn from(found: Option<There<I>>) -> Self {
        found.map_or(Self::Absent, Self::Present)
    }
}

/// What is known when a wish is settled.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a, I> {
    /// What is there. `None` where nothing of ours is.
    pub there: Option<&'a There<I>>,
    /// What the last apply left, where that is known.
    pub left: Option<&'a Fields>,
}

/// What is to be declared: the kind's name there, of which environment, and whether one that nobody
/// marked is taken over.
#[derive(Clone, Copy)]
pub struct Declared<'a, S> {
    /// What it is reached through.
    pub site: &'a Arc<S>,
    /// What the cloud calls it; of a kind with generations, what the name of each is made of.
    pub name: &'a str,
    /// Whose it is.
    pub env: &'a EnvironmentSpec,
    /// Whether one that nobody marked is taken over.
    pub adopt: bool,
}

impl Graph {
    /// Declares a thing and hands out what others take from it; `wish` takes its inputs. One of a
    /// kind with generations gets the name of the one that is wished for.
    ///
    /// Panics when a field of it is replaced by creating first and does not stand in its name.
    pub fn declare<K: Wish + Listed>(
        &mut self,
        declared: Declared<'_, K::Site>,
        wish: impl FnOnce(&mut Inputs) -> K,
    ) -> Output<K::Output> {
        let Declared {
            site,
            name,
            env,
            adopt,
        } = declared;
        let mut inputs = Inputs::default();
        let wish = wish(&mut inputs);
        let name = named(name, &wish);
        let at = At::wanted::<K>(site, &name, (env, adopt), self);
        let output = Output::of(&at.address);
        self.with_inputs(&inputs, Managed::new(at, wish, output.clone()));
        output
    }
}
