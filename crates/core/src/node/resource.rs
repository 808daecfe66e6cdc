//! A resource as planner and engine see it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{
    Action, Comparison, Effect, Kept, Leftover, Node, Reading, Resource, Sort, Token, Undone, Watch,
};
use crate::address::Address;
use crate::error::{Error, ErrorKind, Result};
use crate::fields::{FieldChange, Fields};
use crate::gate::Gate;
use crate::ours::{self, Began, Noted, Past};
use crate::redeploy;
use crate::wait::{Pace, Readiness};

/// A resource as a node.
pub struct ResourceNode<R: Resource> {
    resource: R,
    /// What earlier runs noted of it.
    past: Past,
    reading: Mutex<Option<Reading<R::Actual>>>,
    /// What was there before it was carried out.
    before: Mutex<Option<Reading<R::Actual>>>,
    /// What was sent since.
    sent: Mutex<Sent>,
}

/// What of a change went out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sent {
    /// A create landed, or may have.
    create: bool,
    /// The delete that comes before a create of the same name.
    replace: bool,
    /// The delete was what was asked for.
    delete: bool,
    /// The delete of an undo that saw it there.
    undo: bool,
}

impl<R: Resource> ResourceNode<R> {
    /// Not observed yet; nothing is known of earlier runs.
    pub fn new(resource: R) -> Self {
        Self::knowing(resource, Past::default())
    }

    /// Not observed yet.
    pub fn knowing(resource: R, past: Past) -> Self {
        Self {
            resource,
            past,
            reading: Mutex::new(None),
            before: Mutex::new(None),
            sent: Mutex::default(),
        }
    }

    fn sent(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn create(&self, token: &Token, watch: &dyn Watch) -> Result<R::Actual> {
        let made = self.resource.create(token, watch).await;
        // Whoever is refused has made nothing. A conflict is no such word: what was made and is not
        // seen yet looks like one.
        let refused = matches!(&made, Err(error) if is_refusal(error));
        self.sent().create |= !refused;
        made
    }

    /// As an erased node.
    pub fn erase(resource: R) -> Arc<dyn Node> {
        Arc::new(Self::new(resource))
    }

    fn reading(&self) -> Option<Reading<R::Actual>> {
        self.reading
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn remember(&self, reading: Reading<R::Actual>) {
        *self.reading.lock().unwrap_or_else(PoisonError::into_inner) = Some(reading);
    }

    fn present(&self) -> Result<R::Actual> {
        match self.reading() {
            Some(Reading::Present(actual)) => Ok(actual),
            _ => Err(Error::internal(format!(
                "{} was to be changed but is not there",
                self.resource.address()
            ))),
        }
    }

    fn denied(&self, why: &str) -> Error {
        let address = self.resource.address();
        Error::new(ErrorKind::Denied, format!("cannot see {address}: {why}"))
            .hint("allow the caller to read it: what cannot be seen is never taken for absent")
    }

    fn unread(&self) -> Error {
        let address = self.resource.address();
        Error::internal(format!("{address} was compared before it was read"))
    }

    /// What the manifest asks for, over what was last read.
    fn desired(&self) -> Fields {
        match self.reading() {
            Some(Reading::Present(actual)) => self.resource.desired(Some(&actual)),
            _ => self.resource.desired(None),
        }
    }

    fn effect_of(&self, changes: &[FieldChange], actual: &R::Actual) -> Effect {
        let costs = changes.iter().map(|it| self.resource.cost(it, actual));
        match costs.max().unwrap_or(Effect::InPlace) {
            Effect::Replace if self.resource.is_guarded() => Effect::LosesData,
            effect => effect,
        }
    }

    /// What is there, as far as it is ours to compare: other hands' tags are not.
    fn observed(&self, actual: &R::Actual) -> Fields {
        let there = self.resource.observed(actual);
        let desired = self.resource.desired(Some(actual));
        ours::without_others_tags(&there, &desired, &self.past)
    }

    fn changes(&self, actual: &R::Actual) -> Vec<FieldChange> {
        let desired = self.resource.desired(Some(actual));
        self.observed(actual).changes_to(&desired)
    }

    /// Looks once more whose it is, right before it is written: much may have happened since the
    /// plan.
    ///
    /// Errors: conflict, when it is not ours; denied, when that cannot be seen.
    async fn still_ours(&self) -> Result<()> {
        match self.resource.read().await? {
            Reading::Foreign(stranger) => Err(stranger.refusal(self.resource.address())),
            Reading::Denied(why) => Err(self.denied(&why)),
            // What went away meanwhile is the write's own affair.
            Reading::Present(_) | Reading::Absent | Reading::Tombstoned(_) => Ok(()),
        }
    }

    async fn remove(&self, action: Action, token: &Token) -> Result<()> {
        if let Some(Reading::Present(actual)) = self.reading() {
            self.still_ours().await?;
            match action {
                Action::Release => self.resource.release(&actual, token).await?,
                _ => self.resource.delete(&actual, token).await?,
            }
        }
        self.remember(Reading::Absent);
        Ok(())
    }

    /// Updates or replaces, by what still differs now that every input is known: what was unknown
    /// while planning may turn out to be what is there already. The differences were all in the
    /// plan, so the effect is never graver.
    async fn converge(&self, token: &Token, watch: &dyn Watch) -> Result<()> {
        let actual = self.present()?;
        let changes = self.changes(&actual);
        if changes.is_empty() {
            return Ok(());
        }
        self.still_ours().await?;
        let actual = match self.effect_of(&changes, &actual) {
            Effect::InPlace | Effect::Interrupts => {
                self.resource
                    .update(&actual, &changes, token, watch)
                    .await?
            }
            Effect::LosesData if self.resource.loses_in_place(&changes) => {
                self.resource
                    .update(&actual, &changes, token, watch)
                    .await?
            }
            Effect::Replace | Effect::LosesData => {
                self.sent().replace = true;
                let deleted = self.resource.delete(&actual, token).await;
                deleted.map_err(|error| match self.resource.stem() {
                    Some(_) => error.hint(
                        "another hand rebuilt it: take off it what uses it, or delete it; the next \
                         `deployer apply` makes it as it was",
                    ),
                    None => error,
                })?;
                self.create(token, watch).await?
            }
        };
        self.remember(Reading::Present(actual));
        Ok(())
    }

    /// Puts back what changed in place.
    async fn put_back(
        &self,
        before: &R::Actual,
        now: &R::Actual,
        token: &Token,
        watch: &dyn Watch,
    ) -> Result<Undone> {
        let (was, is) = (self.resource.observed(before), self.resource.observed(now));
        let settles = self.resource.unsettled(now).is_some();
        if was == is && !(settles && self.resource.detachable()) {
            return Ok(Undone::PutBack);
        }
        if self.resource.holds_data() {
            return Ok(match self.resource.kept(&was.changes_to(&is)) {
                Kept::Harmless(_) => Undone::Stays("it holds data".to_owned()),
                harms @ Kept::Harms(_) => harms.into(),
            });
        }
        // What rolls out may be on its way back by itself: that is waited for too.
        self.resource.restore(before, now, token, watch).await
    }

    fn compare_present(&self, actual: &R::Actual) -> Comparison {
        let changes = self.changes(actual);
        self.resource.publish(actual);
        if changes.is_empty() {
            let mut comparison = Comparison::no_op("as desired");
            comparison.settling = self.resource.unsettled(actual);
            return comparison;
        }
        let effect = self.effect_of(&changes, actual);
        self.resource.withdraw(&changes);
        let (action, reason) = match effect {
            Effect::InPlace if redeploy::is_all_of(&changes) => (Action::Update, redeploy::REASON),
            Effect::InPlace => (Action::Update, "it differs from the manifest"),
            Effect::Interrupts => (
                Action::Update,
                "it differs from the manifest, and the change interrupts whoever uses it",
            ),
            Effect::Replace if self.resource.stem().is_some() => (Action::Replace, REBUILT),
            Effect::Replace => (Action::Replace, "a field cannot be changed in place"),
            Effect::LosesData if self.resource.loses_in_place(&changes) => (
                Action::Update,
                "it differs from the manifest, and the change loses a part of its data",
            ),
            Effect::LosesData => (
                Action::Replace,
                "a field cannot be changed without losing data",
            ),
        };
        Comparison {
            action,
            reason: reason.into(),
            changes,
            effect,
            settling: None,
        }
    }
}

fn is_refusal(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Denied | ErrorKind::Rejected | ErrorKind::Input
    )
}

#[async_trait]
impl<R: Resource> Node for ResourceNode<R> {
    fn address(&self) -> &Address {
        self.resource.address()
    }

    fn sort(&self) -> Sort {
        Sort::Resource
    }

    async fn observe(&self) -> Result<()> {
        let reading = self.resource.read().await?;
        self.remember(reading);
        Ok(())
    }

    fn compare(&self) -> Result<Comparison> {
        let create = |reason: String| Comparison {
            action: Action::Create,
            reason,
            changes: Fields::new().changes_to(&self.desired()),
            effect: Effect::InPlace,
            settling: None,
        };
        match self.reading() {
            None => Err(self.unread()),
            Some(Reading::Absent) => Ok(create("it does not exist".into())),
            Some(Reading::Tombstoned(how)) => Ok(create(format!("it was deleted before: {how}"))),
            Some(Reading::Present(actual)) => Ok(self.compare_present(&actual)),
            Some(Reading::Denied(why)) => Err(self.denied(&why)),
            Some(Reading::Foreign(stranger)) => Err(stranger.refusal(self.resource.address())),
        }
    }

    fn bears_mark(&self) -> bool {
        match self.reading() {
            Some(Reading::Present(actual)) => self.resource.bears_mark(&actual),
            _ => true,
        }
    }

    fn recall(&self, left: Option<&Fields>) {
        self.resource.recall(left);
    }

    fn objection(&self, left: Option<&Fields>) -> Result<()> {
        let Some(Reading::Present(actual)) = self.reading() else {
            return Ok(());
        };
        match self.resource.objection(&actual, left) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn notes(&self) -> Vec<String> {
        match self.reading() {
            Some(Reading::Present(actual)) => self.resource.notes(&actual),
            _ => Vec::new(),
        }
    }

    fn seen(&self) -> Fields {
        match self.reading() {
            Some(Reading::Present(actual)) => self.observed(&actual),
            Some(Reading::Tombstoned(how)) => {
                let mut fields = Fields::new();
                fields.set("tombstoned", how);
                fields
            }
            _ => Fields::new(),
        }
    }

    fn leftover(&self) -> Result<Leftover> {
        match self.reading() {
            None => Err(self.unread()),
            Some(Reading::Present(_)) => Ok(Leftover::There),
            Some(Reading::Absent | Reading::Tombstoned(_)) => Ok(Leftover::Gone),
            Some(Reading::Denied(why)) => Err(self.denied(&why)),
            Some(Reading::Foreign(stranger)) => Ok(Leftover::Foreign(stranger.to_string())),
        }
    }

    async fn carry_out(&self, action: Action, token: &Token, watch: &dyn Watch) -> Result<()> {
        *self.before.lock().unwrap_or_else(PoisonError::into_inner) = self.reading();
        match action {
            Action::NoOp => Ok(()),
            Action::Create => {
                let actual = self.create(token, watch).await?;
                self.remember(Reading::Present(actual));
                Ok(())
            }
            Action::Update | Action::Replace => self.converge(token, watch).await,
            Action::Delete | Action::Release => self.remove(action, token).await,
        }
    }

    async fn look(&self) -> Result<Readiness> {
        let Some(Reading::Present(actual)) = self.reading() else {
            return Ok(Readiness::Ready);
        };
        let seen = self.resource.readiness(&actual).await?;
        self.resource.publish(&seen.actual);
        self.remember(Reading::Present(seen.actual));
        Ok(seen.state)
    }

    fn pace(&self) -> Pace {
        self.resource.pace()
    }

    fn spreads(&self) -> std::time::Duration {
        self.resource.spreads()
    }

    fn detachable(&self) -> bool {
        self.resource.detachable()
    }

    fn gate(&self) -> Option<Gate> {
        self.resource.gate(&self.present().ok()?)
    }

    async fn promote(&self, token: &Token, watch: &dyn Watch) -> Result<()> {
        let actual = self.present()?;
        let actual = self.resource.promote(&actual, token, watch).await?;
        self.remember(Reading::Present(actual));
        Ok(())
    }

    async fn withhold(&self, token: &Token) -> Result<()> {
        let Some(Reading::Present(actual)) = self.reading() else {
            return Ok(());
        };
        let actual = self.resource.withhold(&actual, token).await?;
        self.remember(Reading::Present(actual));
        Ok(())
    }

    fn holds_data(&self) -> bool {
        self.resource.holds_data()
    }

    fn is_guarded(&self) -> bool {
        self.resource.is_guarded()
    }

    fn stem(&self) -> Option<&str> {
        self.resource.stem()
    }

    fn noted(&self) -> Noted {
        let desired = self.desired();
        let reading = self.reading();
        let was_there = |actual: &R::Actual| self.resource.was_there(actual);
        Noted {
            began: match &reading {
                Some(Reading::Present(actual)) if was_there(actual) => Began::Found,
                _ => Began::Before,
            },
            data: self.resource.guard_to_note(),
            tags: ours::tag_keys(&desired),
            wrote: match &reading {
                Some(Reading::Present(actual)) => self.resource.wrote(Some(actual)),
                _ => self.resource.wrote(None),
            },
            ..Noted::default()
        }
    }

    async fn undo(&self, token: &Token, watch: &dyn Watch) -> Result<Undone> {
        let before = self
            .before
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        self.observe().await?;
        let sent = *self.sent();
        let stays = |why: &str| Ok(Undone::Stays(why.to_owned()));
        let lost = |what: &str| Ok(Undone::Lost(what.to_owned()));
        match (before, self.reading()) {
            (Some(Reading::Absent | Reading::Tombstoned(_)), Some(Reading::Present(now))) => {
                if self.resource.holds_data() {
                    return stays("it holds data");
                }
                self.sent().undo = true;
                match self.resource.delete(&now, token).await {
                    Ok(()) => {
                        self.remember(Reading::Absent);
                        Ok(Undone::PutBack)
                    }
                    // It may have landed: the next look tells.
                    Err(error) if is_unanswered(&error) => {
                        let why = error.chain().join(": ");
                        Ok(Undone::Unseen(format!(
                            "its delete was not answered: {why}"
                        )))
                    }
                    Err(error) => Err(error),
                }
            }
            (Some(Reading::Absent | Reading::Tombstoned(_)), now) => Ok(match now {
                Some(Reading::Absent) if sent.undo => Undone::PutBack,
                Some(Reading::Absent) if sent.create => Undone::Unseen("it is not there".into()),
                Some(Reading::Foreign(how)) if sent.create => Undone::Unseen(how.to_string()),
                Some(Reading::Denied(why)) => return Err(self.denied(&why)),
                _ => Undone::PutBack,
            }),
            (Some(Reading::Present(_)), Some(Reading::Present(_))) if sent.replace => {
                lost(MADE_ANEW)
            }
            (Some(Reading::Present(before)), Some(Reading::Present(now))) => {
                self.put_back(&before, &now, token, watch).await
            }
            (Some(Reading::Present(_)), _) if sent.delete => {
                stays("it was deleted, as the manifest says")
            }
            (Some(Reading::Present(_)), Some(Reading::Denied(why))) => Err(self.denied(&why)),
            (Some(Reading::Present(_)), _) if sent.replace => {
                lost("it was deleted to be made anew, and is not there")
            }
            (Some(Reading::Present(_)), _) => lost("it is not there any more"),
            _ => stays("it was not touched"),
        }
    }

    fn harm(&self) -> Option<String> {
        if self.sent().replace {
            return Some(MADE_ANEW.to_owned());
        }
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(Reading::Present(before)), Some(Reading::Present(now))) =
            (before.as_ref(), self.reading())
        else {
            return None;
        };
        let (was, is) = (self.resource.observed(before), self.resource.observed(&now));
        match self.resource.kept(&was.changes_to(&is)) {
            Kept::Harms(what) if was != is => Some(what.to_owned()),
            Kept::Harms(_) | Kept::Harmless(_) => None,
        }
    }

    fn wanted(&self) -> Fields {
        match self.reading() {
            Some(Reading::Present(actual)) => self.resource.left(Some(&actual)),
            _ => self.resource.left(None),
        }
    }
}

/// What tells its generation stands in its name: nobody of us changes it under that.
const REBUILT: &str =
    "another hand rebuilt it under the name of this generation, so it is deleted and made again";
const MADE_ANEW: &str = "it was made anew, and what served before knows the one that is gone";

/// Whether a call may have landed although its answer did not come.
fn is_unanswered(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::TimedOut)
}
