//! What a plan is made of: resources, which are read and converged, and steps, which are done once.
//!
//! A kind implements [`Resource`] or [`Step`] with its own types; [`Node`] is what the planner and
//! the engine see of either.

mod resource;
mod step;

pub use resource::ResourceNode;
pub use step::StepNode;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::address::Address;
use crate::error::{Error, ErrorKind, Result};
use crate::fields::{FieldChange, Fields};
use crate::gate::Gate;
use crate::ours::{self, Noted, Stranger};
use crate::wait::{Pace, Readiness};

/// An idempotency token: the same for every try of one node in one run, different for others.
///
/// At most 36 characters of `[a-z0-9-]`, the shape of a UUID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token(pub String);

/// Says what a node is doing or waiting for while it is carried out.
pub trait Watch: Send + Sync {
    /// A short line for people: "2 of 3 tasks healthy". Never holds a secret.
    fn note(&self, line: &str);
}

/// What a look at the cloud found under a resource's name.
#[derive(Clone, Debug)]
pub enum Reading<A> {
    /// Nothing.
    Absent,
    /// It is there and it is ours.
    Present(A),
    /// It was deleted and its name still lingers; says how. `create` restores it or works round it.
    Tombstoned(String),
    /// The caller may not see it. Never taken for absent.
    Denied(String),
    /// Something of that name that is not ours; says how we know and, where it is marked, whose it
    /// is. Never touched.
    Foreign(Stranger),
}

impl<A> Reading<A> {
    /// The same, with what is present seen through `f`.
    pub fn map<B>(self, f: impl FnOnce(A) -> B) -> Reading<B> {
        match self {
            Self::Absent => Reading::Absent,
            Self::Present(actual) => Reading::Present(f(actual)),
            Self::Tombstoned(how) => Reading::Tombstoned(how),
            Self::Denied(words) => Reading::Denied(words),
            Self::Foreign(how) => Reading::Foreign(how),
        }
    }
}

/// What changing a field costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// An update in place.
    InPlace,
    /// An update in place during which whoever uses it is cut off: a restart, a fail-over.
    Interrupts,
    /// It must be deleted and made again, or another generation of it takes its place; nothing of
    /// value is lost.
    Replace,
    /// It must be deleted and made again, and its data goes with it.
    LosesData,
}

/// One addressable thing in one target: read, compared, converged.
///
/// Guarantees asked of implementations: `read` writes nothing; `desired`, `observed` and the
/// effects do no IO; `create`, `update` and `delete` repeated with the same token after a lost
/// reply change nothing more, and none of them waits for readiness (that is `readiness`, polled by
/// the engine).
#[async_trait]
pub trait Resource: Send + Sync + 'static {
    /// What the cloud says it is.
    type Actual: Clone + Send + Sync + 'static;

    /// Where it is.
    fn address(&self) -> &Address;

    /// Reads it from the cloud. Takes no input from other nodes: names are deterministic.
    async fn read(&self) -> Result<Reading<Self::Actual>>;

    /// What the manifest asks for, normalised. Inputs not known yet stand as known after apply.
    /// `there` is what was last read and is ours: what the manifest is silent about is as it is
    /// there.
    fn desired(&self, there: Option<&Self::Actual>) -> Fields;

    /// What a run leaves there once it is ready, as a later reading shows it: what is asked for,
    /// unless the cloud goes on describing something else than what it made serve.
    fn left(&self, there: Option<&Self::Actual>) -> Fields {
        self.desired(there)
    }

    /// What is there, in the same terms as [`Resource::desired`].
    fn observed(&self, actual: &Self::Actual) -> Fields;

    /// What this change of what is there costs.
    fn cost(&self, _change: &FieldChange, _there: &Self::Actual) -> Effect {
        Effect::InPlace
    }

    /// Whether what is there tells by a mark of its own that it is ours. What does not stands in
    /// the inventory only once a run has made it: merely seen there, it is somebody's.
    fn bears_mark(&self, _actual: &Self::Actual) -> bool {
        true
    }

    /// Takes note of what the last apply left, where that is known; called before anything is
    /// compared, for kinds whose comparison depends on it.
    fn recall(&self, _left: Option<&Fields>) {}

    /// Why what the manifest asks for cannot be had of what is there: a disk does not shrink,
    /// another hand's change would be carried out as well. It is refused while planning, and
    /// nothing of the target is touched. `left` is what the last apply left, where that is known:
    /// it tells what grew by itself from what the manifest asked for before.
    fn objection(&self, _actual: &Self::Actual, _left: Option<&Fields>) -> Option<Error> {
        None
    }

    /// What people should know of what is there beside the changes: a change of another hand that
    /// waits, a size that grew by itself.
    fn notes(&self, _actual: &Self::Actual) -> Vec<String> {
        Vec::new()
    }

    /// Makes the outputs known that `actual` settles.
    fn publish(&self, actual: &Self::Actual);

    /// Makes those outputs unknown that these changes will change. The default says: all stay
    /// known.
    fn withdraw(&self, _changes: &[FieldChange]) {}

    /// Makes it. When the name lingers (tombstoned), restores it or works round it.
    async fn create(&self, token: &Token, watch: &dyn Watch) -> Result<Self::Actual>;

    /// Changes it in place.
    async fn update(
        &self,
        actual: &Self::Actual,
        changes: &[FieldChange],
        token: &Token,
        watch: &dyn Watch,
    ) -> Result<Self::Actual>;

    /// What it means for whatever served before that these changes stay: asked when a failed run is
    /// undone, and nothing puts them back. Each kind says it; none is harmless by default.
    fn kept(&self, changes: &[FieldChange]) -> Kept;

    /// Puts back what was there before this run changed it, and waits until it is. The default
    /// leaves it, and says what that means.
    async fn restore(
        &self,
        before: &Self::Actual,
        now: &Self::Actual,
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<Undone> {
        let changes = self.observed(before).changes_to(&self.observed(now));
        Ok(self.kept(&changes).into())
    }

    /// Removes it. Succeeds when it is gone already.
    async fn delete(&self, actual: &Self::Actual, token: &Token) -> Result<()>;

    /// Whether it is usable. For most kinds: at once.
    async fn readiness(&self, actual: &Self::Actual) -> Result<Ready<Self::Actual>> {
        Ok(Ready {
            state: Readiness::Ready,
            actual: actual.clone(),
        })
    }

    /// What [`Resource::read`] alone tells of readiness: `Some(why)` when it still settles.
    fn unsettled(&self, _actual: &Self::Actual) -> Option<String> {
        None
    }

    /// How to wait for it.
    fn pace(&self) -> Pace {
        Pace::until(std::time::Duration::from_secs(600))
    }

    /// How long some callers may still be treated as before once it is changed and ready.
    fn spreads(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }

    /// Whether `apply --detach` may leave before it is ready.
    fn detachable(&self) -> bool {
        false
    }

    /// What it holds back from the traffic, once that is ready to be asked. `None` where it holds
    /// nothing back: then it serves.
    fn gate(&self, _actual: &Self::Actual) -> Option<Gate> {
        None
    }

    /// Gives what it holds back all traffic, and takes its own address away; does not wait until it
    /// serves. Repeated after a lost reply it changes nothing more.
    ///
    /// Errors: untrue, when another hand moved the traffic, or deployed over it, meanwhile.
    async fn promote(
        &self,
        actual: &Self::Actual,
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<Self::Actual> {
        Ok(actual.clone())
    }

    /// Takes away the address of what it holds back, which gets no traffic. Succeeds where it holds
    /// nothing back.
    async fn withhold(&self, actual: &Self::Actual, _token: &Token) -> Result<Self::Actual> {
        Ok(actual.clone())
    }

    /// Takes our mark off, and what we alone bound to it, and leaves it as it is. Of something that
    /// is no longer desired.
    ///
    /// Succeeds when the mark is off already.
    async fn release(&self, _actual: &Self::Actual, _token: &Token) -> Result<()> {
        let what = format!("{} is desired: it cannot be released", self.address());
        Err(Error::internal(what))
    }

    /// Whether what is there was there before us: it bears no mark of ours yet. The default looks
    /// for the mark among the tags.
    fn was_there(&self, actual: &Self::Actual) -> bool {
        ours::is_to_be_marked(&self.desired(Some(actual)), &self.observed(actual))
    }

    /// Whether it can carry no mark: then it is ours only while it says what the inventory says
    /// that we wrote.
    fn is_unmarked(&self) -> bool {
        false
    }

    /// What the inventory is to note of what is written there: see [`crate::ours::Past::wrote`]. Of
    /// what carries no mark, all of it; else what tells a part of it from the part of another hand.
    fn wrote(&self, there: Option<&Self::Actual>) -> Option<Fields> {
        self.is_unmarked().then(|| self.desired(there))
    }

    /// Whether it stays when a failed run is undone, as what it holds may be in use already.
    fn holds_data(&self) -> bool {
        false
    }

    /// Whether these changes, although they lose data, are made in place: a part of what it holds
    /// goes, not all of it.
    fn loses_in_place(&self, _changes: &[FieldChange]) -> bool {
        false
    }

    /// What its name begins with as those of the other generations of the same thing do: another
    /// content is another thing beside it, and this one goes when nothing uses it. `None` where it
    /// is the only one of its thing.
    fn stem(&self) -> Option<&str> {
        None
    }

    /// Whether deleting it loses what cannot be had back: then a delete, or a replacement, must be
    /// allowed by name.
    fn is_guarded(&self) -> bool {
        self.holds_data()
    }

    /// What the inventory is to note of [`Resource::is_guarded`], where the kind alone does not
    /// say.
    fn guard_to_note(&self) -> Option<bool> {
        None
    }
}

/// What a change that stays means for whatever served before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing; says why.
    Harmless(&'static str),
    /// It may be broken; says what is not as before.
    Harms(&'static str),
}

impl From<Kept> for Undone {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Harmless(why) => Self::Stays(why.to_owned()),
            Kept::Harms(what) => Self::Lost(what.to_owned()),
        }
    }
}

/// How the undo of one node ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undone {
    /// It is as it was before the run.
    PutBack,
    /// It stays as it is now, and nothing that served before is the worse for it; says why.
    Stays(String),
    /// It is not as before, nothing puts it back, and what served before may depend on it; says
    /// what.
    Lost(String),
    /// It has ended, and may have changed what nothing puts back; says what. Nothing runs any more
    /// that needs anything.
    Spoilt(String),
    /// This run made it, or may have, and the cloud does not show it as ours; says what it shows.
    /// One look proves nothing.
    Unseen(String),
}

/// A look at readiness, with what was seen.
#[derive(Clone, Debug)]
pub struct Ready<A> {
    /// Whether it is usable.
    pub state: Readiness,
    /// What the cloud says now.
    pub actual: A,
}

/// Whether a step was done before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Proof that it was done for exactly these inputs; says what the proof is.
    Done(String),
    /// Not done, or done for other inputs; says why it is to be done.
    NotDone(String),
    /// Cannot be told before its inputs are known or others have run.
    Unknown(String),
}

/// Something done once, with evidence.
#[async_trait]
pub trait Step: Send + Sync + 'static {
    /// Where it is.
    fn address(&self) -> &Address;

    /// Looks for proof that it was done. Writes nothing. Takes no input from other nodes.
    async fn evidence(&self) -> Result<Evidence>;

    /// What it will do, for the plan: "copy sha256:... (3 blobs)". Inputs not known yet stand as
    /// known after apply.
    fn desired(&self) -> Fields;

    /// Judges the evidence once inputs are known or found unknown; pure. The default trusts it.
    fn judge(&self, evidence: &Evidence) -> Evidence {
        evidence.clone()
    }

    /// Makes the outputs known, as the step is done.
    fn publish(&self);

    /// Does it, to its end. Repeated with the same token it does not do it twice.
    async fn run(&self, token: &Token, watch: &dyn Watch) -> Result<()>;

    /// What is left of it once the run that did it, or tried to, is undone; `failed` is how it
    /// failed in that run. Not asked where the run did not come to it. Each step says it; none is
    /// harmless by default.
    async fn left(&self, failed: Option<ErrorKind>) -> Result<Undone>;
}

/// The two sorts of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// Read, compared, converged.
    Resource,
    /// Done once.
    Step,
}

/// What is to be done with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing.
    NoOp,
    /// Make it, or run the step.
    Create,
    /// Change it in place.
    Update,
    /// Delete it and make it again; or make it, and delete the older generations of the same thing
    /// when nothing uses them any more.
    Replace,
    /// Delete it.
    Delete,
    /// Take our mark off and leave it: it was there before us, or a person says so.
    Release,
}

/// What the comparison of one node said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// What is to be done.
    pub action: Action,
    /// Why, for people.
    pub reason: String,
    /// The fields that differ.
    pub changes: Vec<FieldChange>,
    /// The gravest effect among the changes.
    pub effect: Effect,
    /// `Some(why)` when nothing differs but it still settles.
    pub settling: Option<String>,
}

impl Comparison {
    fn no_op(reason: impl Into<String>) -> Self {
        Self {
            action: Action::NoOp,
            reason: reason.into(),
            changes: Vec::new(),
            effect: Effect::InPlace,
            settling: None,
        }
    }
}

/// What is left of a node that is no longer desired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// It is there and it is ours.
    There,
    /// Nothing, or only its name.
    Gone,
    /// Something of its name that is not ours; says how we know.
    Foreign(String),
}

/// Whether a node, once carried out, is to be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Until it is ready.
    Ready,
    /// Not at all, where the kind allows it.
    Detached,
}

/// What planner and engine see of a resource or step. It remembers what it last read.
#[async_trait]
pub trait Node: Send + Sync {
    /// Where it is.
    fn address(&self) -> &Address;

    /// Which sort it is.
    fn sort(&self) -> Sort;

    /// Looks at the cloud and remembers what it saw. Writes nothing.
    async fn observe(&self) -> Result<()>;

    /// Compares what was seen with what is desired and publishes the outputs that stay as they are.
    /// Pure.
    ///
    /// Errors: denied, foreign, or never observed.
    fn compare(&self) -> Result<Comparison>;

    /// Whether what was seen is known for ours: see [`Resource::bears_mark`].
    fn bears_mark(&self) -> bool {
        true
    }

    /// Takes note of what the last apply left, where that is known; called before
    /// [`Node::compare`].
    fn recall(&self, _left: Option<&Fields>) {}

    /// Errors: what the manifest asks for cannot be had of what was seen. `left` is what the last
    /// apply left. Pure.
    fn objection(&self, _left: Option<&Fields>) -> Result<()> {
        Ok(())
    }

    /// What people should know of what was seen beside the changes. Pure.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// What was seen, for the fingerprint of a plan. Never a secret.
    fn seen(&self) -> Fields;

    /// What was seen of a node that is no longer desired. Pure.
    ///
    /// Errors: denied, or never observed; what cannot be seen is never taken for gone.
    fn leftover(&self) -> Result<Leftover>;

    /// Creates, updates or deletes, or runs the step; does not wait for readiness.
    async fn carry_out(&self, action: Action, token: &Token, watch: &dyn Watch) -> Result<()>;

    /// Looks once whether it is usable; publishes the outputs when it is.
    async fn look(&self) -> Result<Readiness>;

    /// How to wait for it.
    fn pace(&self) -> Pace;

    /// How long some callers may still be treated as before once it is changed and ready.
    fn spreads(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }

    /// Whether `apply --detach` may leave before it is ready.
    fn detachable(&self) -> bool;

    /// What it holds back: see [`Resource::gate`].
    fn gate(&self) -> Option<Gate> {
        None
    }

    /// See [`Resource::promote`].
    async fn promote(&self, _token: &Token, _watch: &dyn Watch) -> Result<()> {
        Ok(())
    }

    /// See [`Resource::withhold`].
    async fn withhold(&self, _token: &Token) -> Result<()> {
        Ok(())
    }

    /// Whether it stays when a failed run is undone, as what it holds may be in use already.
    fn holds_data(&self) -> bool {
        false
    }

    /// Whether deleting it loses what cannot be had back: then a delete, or a replacement, must be
    /// allowed by name.
    fn is_guarded(&self) -> bool {
        self.holds_data()
    }

    /// See [`Resource::stem`].
    fn stem(&self) -> Option<&str> {
        None
    }

    /// What the inventory is to note of it, by what was seen and what is desired; what it needs
    /// aside. Pure.
    fn noted(&self) -> Noted {
        Noted::default()
    }

    /// Puts back what was there before [`Node::carry_out`], after another look at it. What holds
    /// data stays.
    async fn undo(&self, token: &Token, watch: &dyn Watch) -> Result<Undone>;

    /// What of this run's change of it means that what served before may be broken; says what is
    /// not as before. Pure.
    fn harm(&self) -> Option<String> {
        None
    }

    /// What is desired, as far as it is known: once the node is ready, this is what the run left.
    fn wanted(&self) -> Fields;
}
