//! A thing that the inventory has and the manifest no longer wants: read, shown, released or
//! deleted, nothing else.

use async_trait::async_trait;

use super::managed::{described, removed, sent, shown};
use super::{At, Data, Kind, Passing, There, reading};
use crate::address::Address;
use crate::error::{Error, Result};
use crate::fields::{FieldChange, Fields};
use crate::node::{Kept, Reading, Resource, Token, Watch};

/// A thing of a kind that is known by its address alone.
pub struct Leftover<K: Kind>(At<K::Site>);

impl<K: Kind> Leftover<K> {
    /// What is there.
    pub fn new(at: At<K::Site>) -> Self {
        Self(at)
    }

    fn never<T>(&self) -> Result<T> {
        let what = format!("{} is only there to be deleted", self.0.address);
        Err(Error::internal(what))
    }
}

#[async_trait]
impl<K: Kind> Resource for Leftover<K> {
    type Actual = There<K::Is>;

    fn address(&self) -> &Address {
        &self.0.address
    }

    async fn read(&self) -> Result<Reading<Self::Actual>> {
        Ok(match reading::read::<K>(&self.0).await? {
            Reading::Present(there) => match K::foreign(&self.0, &there)? {
                None => Reading::Present(there),
                Some(stranger) => Reading::Foreign(stranger),
            },
            // Deleted already.
            Reading::Absent | Reading::Tombstoned(_) => Reading::Absent,
            Reading::Denied(words) => Reading::Denied(words),
            Reading::Foreign(stranger) => Reading::Foreign(stranger),
        })
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        Fields::new()
    }

    fn observed(&self, there: &Self::Actual) -> Fields {
        let mut fields = described::<K>(&there.is).into_fields();
        shown::<K>(&mut fields, &there.tags);
        fields
    }

    fn notes(&self, there: &Self::Actual) -> Vec<String> {
        match self.0.past.adopted {
            // What was adopted is let go as it is.
            true => Vec::new(),
            false => K::farewell(&self.0, there),
        }
    }

    fn publish(&self, _there: &Self::Actual) {}

    async fn create(&self, _token: &Token, _watch: &dyn Watch) -> Result<Self::Actual> {
        self.never()
    }

    async fn update(
        &self,
        _there: &Self::Actual,
        _changes: &[FieldChange],
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<Self::Actual> {
        self.never()
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harms("it is not as before")
    }

    async fn delete(&self, there: &Self::Actual, token: &Token) -> Result<()> {
        removed::<K>(&self.0, there, token).await
    }

    async fn release(&self, there: &Self::Actual, _token: &Token) -> Result<()> {
        let call = || async { K::MARKS.release(&self.0, there).await };
        sent::<K, _, _>(&self.0, "release", Passing::NOTHING, call)
            .await
            .map(drop)
    }

    fn holds_data(&self) -> bool {
        K::DATA == Data::Held
    }

    fn stem(&self) -> Option<&str> {
        K::GENERATIONS.and_then(|it| it.stem(self.0.name()))
    }

    fn is_guarded(&self) -> bool {
        K::DATA.is_guarded(&self.0.past)
    }
}
