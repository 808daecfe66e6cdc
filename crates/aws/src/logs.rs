//! What a service's containers print.

use std::time::Duration;

use async_trait::async_trait;
use deployer_core::capability::{LinesOf, LogLine, Logs};
use deployer_core::error::Result;
use deployer_core::spec::ServiceSpec;
use jiff::Timestamp;

use crate::Aws;
use crate::app_runner;
use crate::log_streams::{Streams, read};
use crate::runtime::{self, Names};

#[async_trait]
impl Logs for Aws {
    async fn lines(
        &self,
        service: &ServiceSpec,
        of: LinesOf<'_>,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<LogLine>> {
        let (clients, names) = (&self.clients, Names::of(&self.clients, service));
        let asked = clients.settings(service).runtime;
        let asked = asked.app_runner();
        let (group, streams) = match (of, asked) {
            // Beside App Runner too it is a task on Fargate.
            (LinesOf::Execution(id), _) => {
                let stream = runtime::stream_of(&names, id);
                (names.log_group, Streams::Named(vec![stream]))
            }
            (LinesOf::Service, None) => (names.log_group, Streams::All),
            (LinesOf::Service, Some(asked)) => {
                match app_runner::log_group(clients, &asked.name).await? {
                    Some(group) => (group, Streams::All),
                    // Nothing was deployed yet.
                    None => return Ok(Vec::new()),
                }
            }
            (LinesOf::Release(release), Some(asked))
                if app_runner::operate::is_revision(&release.revision) =>
            {
                let (group, streams) =
                    app_runner::streams_of(clients, &asked.name, release).await?;
                (group, Streams::Among(streams))
            }
            (LinesOf::Release(release), _) => {
                let streams = runtime::streams_of(clients, &names, &release.revision).await?;
                (names.log_group, Streams::Among(streams))
            }
        };
        read(clients, &group, streams, since, limit).await
    }

    /// Stopped tasks are described "for at least one hour" (DescribeTasks, Amazon ECS API
    /// Reference), and a stream says which task it is of and no more. How long App Runner keeps its
    /// operations is not documented: what it forgot is an error.
    fn tells_revisions_for(&self, service: &ServiceSpec) -> Option<Duration> {
        let settings = self.clients.settings(service);
        let on_ecs = settings.runtime.app_runner().is_none();
        on_ecs.then_some(runtime::TASKS_TOLD)
    }
}
