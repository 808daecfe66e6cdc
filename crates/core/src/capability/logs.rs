//! What containers print.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::ledger::Release;
use crate::spec::ServiceSpec;

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When.
    pub at: Timestamp,
    /// Which instance or stream.
    pub source: String,
    /// The text, without a newline.
    pub text: String,
    /// What the cloud knows it by; empty where it is not told.
    #[serde(skip)]
    pub id: String,
}

/// Which of a service's lines are asked for.
#[derive(Clone, Copy, Debug)]
pub enum LinesOf<'a> {
    /// All that its instances print.
    Service,
    /// What the instances of this release's revision print, as far as the cloud tells which those
    /// are.
    Release(&'a Release),
    /// What one execution of its migration printed, by the cloud's own id.
    Execution(&'a str),
}

/// What containers print.
#[async_trait]
pub trait Logs: Send + Sync {
    /// For how long after its end the cloud tells of which revision an instance of this service
    /// was: what older ones printed is not among a release's lines. `None` where every line says
    /// it.
    fn tells_revisions_for(&self, _service: &ServiceSpec) -> Option<Duration> {
        None
    }

    /// Lines of `since` and later, oldest first, at most `limit` (the newest ones). A line may come
    /// late, with a time before that of lines that were there: `deployer logs --follow` asks again
    /// for the last minute, and knows lines by their ids.
    ///
    /// Errors: not found, when the cloud does not tell of a release's instances any more.
    async fn lines(
        &self,
        service: &ServiceSpec,
        of: LinesOf<'_>,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<LogLine>>;
}
