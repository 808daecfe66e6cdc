//! What containers print, from Cloud Logging.

use std::time::Duration;

use async_trait::async_trait;
use deployer_core::capability::{LinesOf, LogLine, Logs};
use deployer_core::error::Result;
use deployer_core::spec::ServiceSpec;
use google_cloud_logging_v2::model::LogEntry;
use google_cloud_logging_v2::model::log_entry::Payload;
use jiff::Timestamp;

use crate::Gcp;
use crate::error;
use crate::paths::short;
use crate::project::Project;
use crate::secret_store::moment;

/// Cloud Logging answers at most so many entries at once.
const LARGEST_PAGE: usize = 1000;

#[async_trait]
impl Logs for Gcp {
    async fn lines(
        &self,
        service: &ServiceSpec,
        of: LinesOf<'_>,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<LogLine>> {
        let (name, region) = (&service.name, &self.project.target.region);
        let printed = match of {
            LinesOf::Service => of_service(name, region),
            LinesOf::Release(release) => of_revision(name, region, &release.revision.0),
            LinesOf::Execution(id) => of_execution(id),
        };
        let filter = format!("{printed} AND timestamp>=\"{since}\"");
        newest(&self.project, &filter, limit).await
    }
}

/// The labels of the resource `cloud_run_revision` ("Monitored resource types", Cloud Logging).
fn of_service(service: &str, region: &str) -> String {
    format!(
        "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"{service}\" \
         AND resource.labels.location=\"{region}\""
    )
}

fn of_revision(service: &str, region: &str, revision: &str) -> String {
    let (service, revision) = (of_service(service, region), short(revision));
    format!("{service} AND resource.labels.revision_name=\"{revision}\"")
}

/// What one execution of a job printed, by its name in full. The resource `cloud_run_job` has no
/// label for it; each entry has one of its own.
pub(crate) fn of_execution(id: &str) -> String {
    let job = id.split('/').rev().nth(2).unwrap_or_default();
    format!(
        "resource.type=\"cloud_run_job\" AND resource.labels.job_name=\"{job}\" \
         AND labels.\"run.googleapis.com/execution_name\"=\"{}\"",
        short(id)
    )
}

/// What containers print and what Cloud Run says of them: a busy service has many more entries of
/// requests, and as many calls a minute as there are pages of them are not allowed.
const PRINTED: &[&str] = &["stdout", "stderr", "varlog%2Fsystem"];

/// What containers print, and nothing else.
const OF_PROGRAM: &[&str] = &["stdout", "stderr"];

fn in_logs(names: &[&str], project: &str) -> String {
    let log = |name: &&str| format!("\"projects/{project}/logs/run.googleapis.com%2F{name}\"");
    let logs: Vec<String> = names.iter().map(log).collect();
    format!("logName=({})", logs.join(" OR "))
}

/// The newest `limit` lines that `filter` lets through, oldest first.
pub(crate) async fn newest(project: &Project, filter: &str, limit: usize) -> Result<Vec<LogLine>> {
    read(project, PRINTED, filter, limit).await
}

/// The same without what Cloud Run says itself.
pub(crate) async fn of_program(
    project: &Project,
    filter: &str,
    limit: usize,
) -> Result<Vec<LogLine>> {
    read(project, OF_PROGRAM, filter, limit).await
}

async fn read(
    project: &Project,
    names: &[&str],
    filter: &str,
    limit: usize,
) -> Result<Vec<LogLine>> {
    let filter = format!("{} AND {filter}", in_logs(names, &project.names.project));
    let mut lines = Vec::new();
    let mut page = String::new();
    while lines.len() < limit {
        // What follows a first page that did not do is fetched at once.
        let size = match page.is_empty() {
            true => limit.min(LARGEST_PAGE),
            false => LARGEST_PAGE,
        };
        let answer = project
            .clients
            .logging
            .reading()
            .await
            .list_log_entries()
            .set_resource_names([project.names.project()])
            .set_filter(filter.as_str())
            // Newest first, so that the limit cuts off the oldest.
            .set_order_by("timestamp desc")
            .set_page_size(i32::try_from(size).unwrap_or(i32::MAX))
            .set_page_token(page)
            .send()
            .await
            .map_err(|error| error::failed(error, "cannot read the logs"))?;
        lines.extend(answer.entries.iter().filter_map(line));
        page = answer.next_page_token;
        if page.is_empty() {
            break;
        }
    }
    lines.truncate(limit);
    lines.reverse();
    Ok(lines)
}

/// Entries can be read some seconds after they were written.
const INGESTION: Duration = Duration::from_secs(4);

/// The newest lines of what has just ended, its last ones among them.
pub(crate) async fn last_words(
    project: &Project,
    filter: &str,
    limit: usize,
) -> Result<Vec<LogLine>> {
    project.context.clock.pause(INGESTION).await;
    newest(project, filter, limit).await
}

/// A line of text; `None` for entries without one (audit entries, requests).
fn line(entry: &LogEntry) -> Option<LogLine> {
    let text = match entry.payload.as_ref()? {
        Payload::TextPayload(text) => text.clone(),
        // Whole, as the app wrote it: why something failed stands beside the message.
        Payload::JsonPayload(json) => match json.get("message").and_then(|text| text.as_str()) {
            Some(message) if json.len() == 1 => message.to_owned(),
            Some(_) | None => serde_json::to_string(json).ok()?,
        },
        // Audit entries, and whatever Google adds later, are no lines of the app.
        _ => return None,
    };
    let labels = entry.resource.as_ref().map(|resource| &resource.labels);
    let label = |name: &str| labels.and_then(|labels| labels.get(name)).cloned();
    Some(LogLine {
        at: moment(entry.timestamp.as_ref())?,
        source: label("revision_name")
            .or_else(|| label("job_name"))
            .unwrap_or_default(),
        text: text.trim_end_matches('\n').to_owned(),
        // Unique among the entries of one log and moment.
        id: format!("{} {}", entry.log_name, entry.insert_id),
    })
}

#[cfg(test)]
mod tests {
    use google_cloud_wkt::Timestamp as Moment;

    use super::*;

    #[test]
    fn lines_are_those_of_a_service_of_one_revision_or_of_one_execution() {
        assert_eq!(
            of_revision(
                "idp",
                "r",
                "projects/p/locations/r/services/idp/revisions/idp-00002-x"
            ),
            "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"idp\" \
             AND resource.labels.location=\"r\" AND resource.labels.revision_name=\"idp-00002-x\""
        );
        assert_eq!(
            of_execution("projects/p/locations/r/jobs/idp-migrate/executions/idp-migrate-7"),
            "resource.type=\"cloud_run_job\" AND resource.labels.job_name=\"idp-migrate\" \
             AND labels.\"run.googleapis.com/execution_name\"=\"idp-migrate-7\""
        );
    }

    #[test]
    fn only_what_containers_print_and_cloud_run_says_of_them_is_asked_for() {
        assert_eq!(
            in_logs(PRINTED, "p"),
            "logName=(\"projects/p/logs/run.googleapis.com%2Fstdout\" OR \
             \"projects/p/logs/run.googleapis.com%2Fstderr\" OR \
             \"projects/p/logs/run.googleapis.com%2Fvarlog%2Fsystem\")"
        );
    }

    #[test]
    fn text_and_structured_entries_are_lines_and_audit_entries_are_not() {
        let entry = LogEntry::new().set_timestamp(Moment::clamp(60, 0));
        let text = line(&entry.clone().set_text_payload("started\n")).unwrap();
        assert_eq!(text.text, "started");
        assert_eq!(text.at, Timestamp::from_second(60).unwrap());
        let mut structured = google_cloud_wkt::Struct::new();
        structured.insert("message".into(), "ready".into());
        let text = |payload: &google_cloud_wkt::Struct| {
            let entry = entry.clone().set_json_payload(payload.clone());
            line(&entry).unwrap().text
        };
        assert_eq!(text(&structured), "ready");
        structured.insert("error".into(), "no route".into());
        assert_eq!(
            text(&structured),
            r#"{"error":"no route","message":"ready"}"#
        );
        assert!(line(&entry.set_proto_payload(google_cloud_wkt::Any::default())).is_none());
    }
}
