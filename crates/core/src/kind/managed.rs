//! A thing that the manifest wants: read, compared, made, changed, tagged and removed as its kind
//! says.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::{
    Answer, At, Changed, Data, Description, Kind, Marks, Passing, Refused, Seen, Site, Tags, There,
    Wish, describe_tags, is_tag, reading, until_seen,
};
use crate::address::Address;
use crate::error::{Error, Result};
use crate::fields::{FieldChange, Fields};
use crate::graph::Output;
use crate::node::{Effect, Kept, Reading, Resource, Token, Watch};
use crate::ours;
use crate::wait::{Look, Pace, poll};

/// A thing of a kind that the manifest wants.
pub struct Managed<K: Wish> {
    at: At<K::Site>,
    wish: K,
    output: Output<K::Output>,
    /// What the last apply left, where that is known.
    left: Mutex<Option<Fields>>,
    /// Whether this run wrote it: of what bears no mark nothing else tells it yet.
    written: Mutex<Written>,
}

/// Whether a run made or changed a thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Written {
    /// No call went out.
    #[default]
    No,
    /// A call went out. Whether it landed is not known.
    Perhaps,
    /// It landed.
    Yes,
}

/// What is there, and whether it is used as it stands, being somebody else's.
#[derive(Clone, Debug)]
pub struct Found<I> {
    there: There<I>,
    lent: bool,
}

impl<K: Wish> Managed<K> {
    /// A wish, where it is to be, and what others take from it.
    ///
    /// Panics when a field of it is replaced by creating first and does not stand in its name.
    pub fn new(at: At<K::Site>, wish: K, output: Output<K::Output>) -> Self {
        let managed = Self {
            at,
            wish,
            output,
            left: Mutex::default(),
            written: Mutex::default(),
        };
        let named = K::GENERATIONS.map_or(&[][..], |it| it.fields);
        let to_be = described::<K>(&managed.is_to_be(None));
        for field in to_be.created_first() {
            assert!(
                named.iter().any(|it| it.name() == field),
                "`{field}` of {} tells generations apart and does not stand in `GENERATIONS`",
                K::KIND
            );
        }
        managed
    }

    fn is_to_be(&self, there: Option<&There<K::Is>>) -> K::Is {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let left = left.as_ref();
        self.wish.over(&self.at, Seen { there, left })
    }

    /// With the tags that it is to carry, where it bears a mark.
    fn whole(&self, mut fields: Fields) -> Fields {
        if K::MARKS.is_borne() {
            describe_tags(&mut fields, &self.at.owner.tags);
        }
        fields
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this run wrote it, although it bears no mark that says so. After a lost reply it is
    /// taken for what was asked for where it is just that.
    fn is_just_written(&self, there: &There<K::Is>) -> bool {
        let written = *self.written();
        match (K::MARKS.is_borne(), written) {
            (true, _) | (false, Written::No) => false,
            (false, Written::Yes) => true,
            (false, Written::Perhaps) => {
                let wanted = described::<K>(&self.is_to_be(Some(there))).into_fields();
                described::<K>(&there.is).into_fields() == wanted
            }
        }
    }

    /// What is there after a write: read again, where the cloud tells more of it than was written.
    async fn after(&self, written: impl FnOnce() -> There<K::Is>) -> Result<Found<K::Is>> {
        match <K::Site as Site>::REREADS {
            true => self.again().await,
            false => Ok(Found {
                there: written(),
                lent: false,
            }),
        }
    }

    /// What was just written, as soon as it is seen.
    async fn again(&self) -> Result<Found<K::Is>> {
        until_seen(self.at.clock(), &self.at.what(), || self.read()).await
    }

    async fn change(&self, found: &Found<K::Is>, changes: &[FieldChange]) -> Result<()> {
        let (at, there) = (&self.at, &found.there);
        let with_tags = matches!(K::MARKS, Marks::Own(_));
        if with_tags || !changes.iter().all(is_tag) {
            let is = self.is_to_be(Some(there));
            let changed = Changed::new(changes);
            let call = || self.wish.change(at, there, &is, changed);
            *self.written() = Written::Perhaps;
            sent::<K, _, _>(at, "change", K::BUSY, call).await?.done()?;
            *self.written() = Written::Yes;
        }
        let tags = at.owner.changes(&there.tags);
        if let Marks::Tags(write) = K::MARKS
            && !tags.is_empty()
        {
            let call = || write(at, there, tags.clone());
            sent::<K, _, _>(at, "tag", K::BUSY, call).await?.done()?;
        }
        Ok(())
    }
}

/// Adds the tags that are no notes of ours, where the kind bears a mark.
pub(super) fn shown<K: Kind>(fields: &mut Fields, tags: &Tags) {
    if !K::MARKS.is_borne() {
        return;
    }
    let mut tags = tags.clone();
    let marking = <K::Site as Site>::MARKING;
    tags.retain(|key, _| !key.starts_with(marking.notes) && !(marking.is_the_clouds)(key));
    describe_tags(fields, &tags);
}

pub(super) fn described<K: Kind>(is: &K::Is) -> Description {
    let mut to = Description::default();
    K::describe(is, &mut to);
    to
}

/// How a write ended.
pub(super) enum Sent {
    Done,
    /// There is no such thing.
    Absent(Error),
    /// Something of its name is there.
    Taken,
}

impl Sent {
    /// Errors: not found, where it is not there.
    fn done(self) -> Result<()> {
        match self {
            Self::Done | Self::Taken => Ok(()),
            Self::Absent(error) => Err(error),
        }
    }
}

/// Makes a call as often as it is refused for what passes by itself.
///
/// Errors: what the call is refused with, in the end also for what passes by itself.
pub(super) async fn sent<K, F, Fut>(
    at: &At<K::Site>,
    verb: &str,
    passing: Passing,
    call: F,
) -> Result<Sent>
where
    K: Kind,
    F: Fn() -> Fut,
    Fut: Future<Output = Answer<K, ()>>,
{
    let action = format!("{verb} {}", at.what());
    let last = Mutex::new(None);
    let look = || async {
        Ok(match call().await {
            Ok(()) => Look::Found(Ok(Sent::Done)),
            Err(refusal) if refusal.is_one_of(K::TAKEN) => Look::Found(Ok(Sent::Taken)),
            Err(refusal) if refusal.is_one_of(K::ABSENT) => {
                Look::Found(Ok(Sent::Absent(refusal.of(&action))))
            }
            Err(refusal) if refusal.is_one_of(passing.codes) => {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                *last = Some(refusal.of(&action));
                Look::NotYet(passing.why.to_owned())
            }
            // The client has tried it again already: a refusal is no look that failed.
            Err(refusal) => Look::Found(Err(refusal.of(&action))),
        })
    };
    let pace = Pace::until(passing.patience);
    match poll(at.clock(), pace, &at.what(), look).await {
        Ok(sent) => sent,
        // The cloud's own last words tell more than that we gave up.
        Err(gave_up) => {
            let last = last.into_inner().unwrap_or_else(PoisonError::into_inner);
            Err(last.unwrap_or(gave_up))
        }
    }
}

/// Removes a thing. Succeeds when it is gone already.
pub(super) async fn removed<K: Kind>(
    at: &At<K::Site>,
    there: &There<K::Is>,
    token: &Token,
) -> Result<()> {
    let call = || K::remove(at, there, token);
    match sent::<K, _, _>(at, "delete", K::IN_USE, call).await? {
        Sent::Done | Sent::Absent(_) | Sent::Taken => Ok(()),
    }
}

#[async_trait]
impl<K: Wish> Resource for Managed<K> {
    type Actual = Found<K::Is>;

    fn address(&self) -> &Address {
        &self.at.address
    }

    async fn read(&self) -> Result<Reading<Self::Actual>> {
        Ok(match reading::read::<K>(&self.at).await? {
            Reading::Present(there) => match K::foreign(&self.at, &there)? {
                None => Reading::Present(Found { there, lent: false }),
                Some(stranger) if stranger.owner().is_none() && self.is_just_written(&there) => {
                    Reading::Present(Found { there, lent: false })
                }
                Some(_) if self.wish.lends(&there) => Reading::Present(Found { there, lent: true }),
                Some(stranger) => Reading::Foreign(stranger),
            },
            Reading::Absent => Reading::Absent,
            Reading::Tombstoned(how) => Reading::Tombstoned(how),
            Reading::Denied(words) => Reading::Denied(words),
            Reading::Foreign(stranger) => Reading::Foreign(stranger),
        })
    }

    fn recall(&self, left: Option<&Fields>) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = left.cloned();
    }

    fn desired(&self, found: Option<&Self::Actual>) -> Fields {
        let is = self.is_to_be(found.map(|it| &it.there));
        self.whole(described::<K>(&is).into_fields())
    }

    fn observed(&self, found: &Self::Actual) -> Fields {
        if found.lent {
            return self.desired(Some(found));
        }
        let mut fields = described::<K>(&found.there.is).into_fields();
        shown::<K>(&mut fields, &found.there.tags);
        fields
    }

    fn cost(&self, change: &FieldChange, found: &Self::Actual) -> Effect {
        let is = self.is_to_be(Some(&found.there));
        let wished = described::<K>(&is).cost_of(&change.field);
        let told = || described::<K>(&found.there.is).cost_of(&change.field);
        let usual = wished.or_else(told).unwrap_or(Effect::InPlace);
        self.wish.cost(change, usual)
    }

    fn loses_in_place(&self, changes: &[FieldChange]) -> bool {
        self.wish.loses_in_place(changes)
    }

    /// One that bears no mark is known for ours where it is not somebody else's.
    fn bears_mark(&self, found: &Self::Actual) -> bool {
        K::MARKS.is_borne() || !found.lent
    }

    fn is_unmarked(&self) -> bool {
        !K::MARKS.is_borne()
    }

    fn was_there(&self, found: &Self::Actual) -> bool {
        match K::MARKS.is_borne() {
            true => ours::is_to_be_marked(&self.desired(Some(found)), &self.observed(found)),
            false => !self.at.past.known && !self.is_just_written(&found.there),
        }
    }

    fn publish(&self, found: &Self::Actual) {
        self.output.publish(K::output(&self.at, &found.there));
    }

    async fn create(&self, token: &Token, _watch: &dyn Watch) -> Result<Self::Actual> {
        let is = self.is_to_be(None);
        let call = || self.wish.make(&self.at, &is, token);
        *self.written() = Written::Perhaps;
        match sent::<K, _, _>(&self.at, "create", K::BUSY, call).await? {
            Sent::Done => {
                *self.written() = Written::Yes;
                let tags = match K::MARKS.is_borne() {
                    true => self.at.owner.tags.clone(),
                    false => Tags::new(),
                };
                let id = String::new();
                self.after(|| There { id, is, tags }).await
            }
            Sent::Absent(error) => Err(error),
            // A lost reply: what is there is ours, or this read says otherwise. It may be half
            // made, where a mark says that it is ours.
            Sent::Taken => {
                let found = self.again().await?;
                let changes = self
                    .observed(&found)
                    .changes_to(&self.desired(Some(&found)));
                let ours = |it: &FieldChange| !is_tag(it) || it.new.is_some();
                let changes: Vec<FieldChange> = changes.into_iter().filter(ours).collect();
                if changes.is_empty() {
                    return Ok(found);
                }
                self.change(&found, &changes).await?;
                self.again().await
            }
        }
    }

    async fn update(
        &self,
        found: &Self::Actual,
        changes: &[FieldChange],
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<Self::Actual> {
        self.change(found, changes).await?;
        let there = &found.there;
        let written = || There {
            id: there.id.clone(),
            is: self.is_to_be(Some(there)),
            tags: match K::MARKS.is_borne() {
                true => self.at.owner.changes(&there.tags).applied_to(&there.tags),
                false => there.tags.clone(),
            },
        };
        self.after(written).await
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        K::KEPT
    }

    async fn delete(&self, found: &Self::Actual, token: &Token) -> Result<()> {
        removed::<K>(&self.at, &found.there, token).await
    }

    fn holds_data(&self) -> bool {
        K::DATA == Data::Held
    }

    fn stem(&self) -> Option<&str> {
        K::GENERATIONS.and_then(|it| it.stem(self.at.name()))
    }

    fn is_guarded(&self) -> bool {
        K::DATA.is_guarded(&self.at.past)
    }
}
