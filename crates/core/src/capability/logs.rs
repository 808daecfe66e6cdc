//! What containers print.

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Serialize;

use crate::error::Result;
use crate::spec::ServiceSpec;

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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

/// What containers print.
#[async_trait]
pub trait Logs: Send + Sync {
    /// Lines of `since` and later, oldest first, at most `limit` (the newest ones). A line may come
    /// late, with a time before that of lines that were there: `deployer logs --follow` asks again
    /// for the last minute, and knows lines by their ids.
    async fn lines(
        &self,
        service: &ServiceSpec,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<LogLine>>;
}
