//! Why a service failed: what its conditions say, and its newest revision's, with the last lines
//! that this one printed.

use std::sync::Arc;

use deployer_core::capability::Autopsy;
use deployer_core::spec::ServiceSpec;

use super::{conditions, service};
use crate::error::Found;
use crate::logs;
use crate::paths::short;
use crate::project::Project;

/// How many log lines explain a failure.
const LAST_LINES: usize = 20;

/// What is known of a service's failure; nothing where it cannot be read.
pub(super) async fn of(project: &Arc<Project>, service: &ServiceSpec) -> Autopsy {
    let calls = service::Calls::new(project, &service.name);
    let Ok(Found::Here(there)) = calls.find().await else {
        return Autopsy::default();
    };
    let conditions = there.terminal_condition.iter().chain(&there.conditions);
    let mut autopsy = Autopsy {
        words: conditions::failures(conditions),
        ..Autopsy::default()
    };
    let newest = short(&there.latest_created_revision);
    if newest.is_empty() {
        return autopsy;
    }
    for line in calls.revision_failures(newest).await {
        if !conditions::is_told(&autopsy.words, &line) {
            autopsy.words.push(format!("{newest}: {line}"));
        }
    }
    let filter = format!(
        "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"{}\" \
         AND resource.labels.location=\"{}\" AND resource.labels.revision_name=\"{newest}\"",
        service.name, project.target.region
    );
    let log = logs::last_words(project, &filter, LAST_LINES).await;
    autopsy.log = log.unwrap_or_default();
    autopsy
}
