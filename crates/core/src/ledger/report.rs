//! What was found out about the failure of a run, kept beside its journal.

use futures::{StreamExt, TryStreamExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::run::{RunHeader, RunJournal};
use super::{AT_ONCE, Ledger};
use crate::error::{Error, ErrorKind, Result};
use crate::renames::Keyed;

#[derive(Serialize, Deserialize)]
struct Report<T> {
    found: T,
}

fn name(number: u64) -> String {
    format!("reports/{number:06}.json")
}

impl RunJournal {
    /// Keeps what was found out about the failure of this run; once. It holds no secret's value.
    ///
    /// Errors: ledger; those of the permit.
    pub async fn keep_report<T>(&self, found: &T) -> Result<()>
    where
        T: Serialize + Clone + Keyed + Send + Sync,
    {
        let number = self.number();
        let found = self.ledger.renames.exchanged(found.clone());
        match self.ledger.create(&name(number), &Report { found }).await? {
            true => Ok(()),
            false => Err(Error::new(
                ErrorKind::Ledger,
                format!("the report of run {number} is written by somebody else"),
            )),
        }
    }
}

impl Ledger {
    /// The headers of the runs whose failures were reported, newest first, at most so many.
    ///
    /// Errors: ledger.
    pub async fn reported_runs(&self, most: usize) -> Result<Vec<RunHeader>> {
        let numbers = self.reported(most).await?.into_iter();
        let reads = numbers.map(|number| async move { self.header(number).await });
        let headers: Vec<Option<RunHeader>> = futures::stream::iter(reads)
            .buffered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(headers.into_iter().flatten().collect())
    }

    /// The numbers of the runs whose failures were reported, newest first, at most so many.
    ///
    /// Errors: ledger.
    pub async fn reported(&self, most: usize) -> Result<Vec<u64>> {
        let names = self.list("reports").await?;
        let numbers = names.iter().rev();
        let numbers = numbers.filter_map(|name| name.trim_end_matches(".json").parse().ok());
        Ok(numbers.take(most).collect())
    }

    /// What was found out about the failure of a run. `None` where nothing was.
    ///
    /// Errors: ledger.
    pub async fn report<T: DeserializeOwned + Keyed>(&self, number: u64) -> Result<Option<T>> {
        let report: Option<Report<T>> = self.read(&name(number)).await?;
        Ok(report.map(|it| self.renames.exchanged(it.found)))
    }
}
