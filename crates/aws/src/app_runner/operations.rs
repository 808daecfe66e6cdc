//! Judges from a service's operations how ours ended; performs no IO.
//!
//! The status of a service says too little: after a deployment that failed it is `RUNNING`, with
//! what served before (aws/apprunner-roadmap#209). Each operation says how it ended itself.

use aws_sdk_apprunner::primitives::DateTime;
use aws_sdk_apprunner::types::{
    OperationStatus, OperationSummary, OperationType, Service as SdkService, ServiceStatus,
};
use deployer_core::capability::PutBack;
use deployer_core::wait::Readiness;
use jiff::Timestamp;

/// What is waited for while answers lag.
pub(super) const LAGGING: &str = "App Runner still answers what was there before";

/// Which operation is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ours {
    /// The one of this id.
    Named(String),
    /// The first one after this one, which was the newest when ours was asked for; `None`: there
    /// was none. UpdateService may answer with no id (aws/apprunner-roadmap#139).
    After(Option<String>),
    /// The newest one: what an earlier run began is known by no id.
    Newest,
}

/// What a call began.
#[derive(Clone, Debug)]
pub(super) struct Begun {
    pub(super) service: SdkService,
    pub(super) operation: Ours,
}

impl Ours {
    /// By what a call answered; `before` was the newest operation when it was made.
    pub(super) fn answered(id: Option<&str>, before: Option<String>) -> Self {
        match id {
            Some(id) if !id.is_empty() => Self::Named(id.to_owned()),
            Some(_) | None => Self::After(before),
        }
    }

    /// Its place among operations, which are the latest ones, newest first.
    fn place(&self, operations: &[OperationSummary]) -> Option<usize> {
        let of = |id: &str| operations.iter().position(|it| it.id() == Some(id));
        match self {
            Self::Named(id) => of(id),
            // One that is not listed any more is older than all of them.
            Self::After(before) => {
                let older = before.as_deref().and_then(of).unwrap_or(operations.len());
                older.checked_sub(1)
            }
            Self::Newest => (!operations.is_empty()).then_some(0),
        }
    }

    /// The operation among these, which are the latest ones, newest first.
    pub(super) fn among<'a>(
        &self,
        operations: &'a [OperationSummary],
    ) -> Option<&'a OperationSummary> {
        operations.get(self.place(operations)?)
    }
}

/// Whether ours has ended well, and what it made still stands: `is_as_wanted` says whether the
/// configuration that is described is the one that was asked for. `operations` are the latest ones,
/// newest first.
pub(super) fn judge(
    service: &SdkService,
    operations: &[OperationSummary],
    ours: &Ours,
    is_as_wanted: bool,
) -> Readiness {
    let Some(at) = ours.place(operations) else {
        return match (ours, operations) {
            // Operations may be forgotten one day: then the service alone tells.
            (Ours::Newest, []) => settled(service, None, is_as_wanted),
            _ => Readiness::Pending(LAGGING.into()),
        };
    };
    let (newer, operation) = (operations[..at].first(), &operations[at]);
    let what = || format!("operation {} ({})", name(operation), short(operation));
    match operation.status() {
        Some(OperationStatus::Pending | OperationStatus::InProgress) => {
            Readiness::Pending(format!("{} is under way", what()))
        }
        Some(OperationStatus::RollbackInProgress) => Readiness::Pending(format!(
            "{} failed, and App Runner puts back what served before",
            what()
        )),
        Some(OperationStatus::RollbackSucceeded) => Readiness::RolledBack(format!(
            "{} failed, and App Runner put back what served before (ROLLBACK_SUCCEEDED)",
            what()
        )),
        Some(OperationStatus::RollbackFailed) => Readiness::Failed(format!(
            "{} failed, and so did putting back what served before (ROLLBACK_FAILED)",
            what()
        )),
        Some(OperationStatus::Failed) => failed_over(service, operation, &what()),
        _ => settled(service, newer, is_as_wanted),
    }
}

/// Once ours has ended in FAILED. After a deployment over one that serves "App Runner automatically
/// rollback to the previous successful revision" (aws/apprunner-roadmap#209), whatever the
/// operation calls it: what served before serves when the service runs.
fn failed_over(service: &SdkService, operation: &OperationSummary, what: &str) -> Readiness {
    let over = matches!(
        operation.r#type(),
        Some(OperationType::UpdateService | OperationType::StartDeployment)
    );
    match service.status() {
        ServiceStatus::OperationInProgress if over => Readiness::Pending(LAGGING.into()),
        ServiceStatus::Running if over => Readiness::RolledBack(format!(
            "{what} failed (FAILED), and what served before it serves"
        )),
        _ => Readiness::Failed(format!("{what} failed (FAILED)")),
    }
}

/// Once ours has succeeded; `newer` is the latest operation after it.
fn settled(
    service: &SdkService,
    newer: Option<&OperationSummary>,
    is_as_wanted: bool,
) -> Readiness {
    if let Some(newer) = newer.filter(|it| is_under_way(it)) {
        let what = format!("operation {} ({})", name(newer), short(newer));
        return Readiness::Pending(format!("somebody else's {what} is under way"));
    }
    match service.status() {
        ServiceStatus::OperationInProgress => Readiness::Pending(LAGGING.into()),
        ServiceStatus::Paused => Readiness::Replaced("somebody paused the service".into()),
        ServiceStatus::CreateFailed => {
            Readiness::Failed("the service could not be created (CREATE_FAILED)".into())
        }
        ServiceStatus::Deleted | ServiceStatus::DeleteFailed => {
            Readiness::Replaced("somebody deleted the service".into())
        }
        _ if is_as_wanted => Readiness::Ready,
        // Only another operation changes what ours made.
        _ => match newer {
            Some(newer) => Readiness::Replaced(format!(
                "somebody else's operation {} ({}) changed it",
                name(newer),
                short(newer)
            )),
            None => Readiness::Pending(LAGGING.into()),
        },
    }
}

/// Whether it has not ended.
pub(super) fn is_under_way(operation: &OperationSummary) -> bool {
    matches!(
        operation.status(),
        Some(
            OperationStatus::Pending
                | OperationStatus::InProgress
                | OperationStatus::RollbackInProgress
        )
    )
}

/// Whether the latest operation deletes the service.
pub(super) fn is_going(operations: &[OperationSummary]) -> bool {
    let latest = operations.first();
    latest.is_some_and(|it| it.r#type() == Some(&OperationType::DeleteService) && is_under_way(it))
}

/// The id of the newest operation of any kind. `operations` are the latest ones, newest first.
pub(super) fn newest_of_all(operations: &[OperationSummary]) -> Option<String> {
    operations.first()?.id().map(str::to_owned)
}

/// The last deployment among these operations, which are the latest ones, newest first.
pub(super) fn last_deployment(operations: &[OperationSummary]) -> Option<&OperationSummary> {
    operations.iter().find(|it| deploys(it))
}

/// Whether an operation starts instances with what the service says then.
pub(super) fn deploys(operation: &OperationSummary) -> bool {
    matches!(
        operation.r#type(),
        Some(
            OperationType::CreateService
                | OperationType::UpdateService
                | OperationType::StartDeployment
        )
    )
}

/// The id of the last deployment, however it stands. `operations` are the latest ones, newest
/// first.
pub(super) fn newest(operations: &[OperationSummary]) -> Option<String> {
    let last = last_deployment(operations)?;
    last.id().map(str::to_owned)
}

/// How the last deployment of these failed. `None` where it did not, or is under way. `operations`
/// are the latest ones, newest first.
pub(super) fn failed(operations: &[OperationSummary]) -> Option<String> {
    let last = last_deployment(operations)?;
    let status = last.status().filter(|status| is_failure(status))?;
    let (name, short) = (name(last), short(last));
    let status = status.as_str();
    Some(format!("operation {name} ({short}) ended in {status}"))
}

/// The last deployment of these, where it failed and what served before it is put back or was.
pub(super) fn put_back(operations: &[OperationSummary]) -> Option<PutBack> {
    let mut deployments = operations.iter().filter(|it| deploys(it));
    let last = deployments.next()?;
    let failed = puts_back(last) || last.status().is_some_and(is_failure);
    // What is deployed again is what was served.
    let changes = |it: &&OperationSummary| it.r#type() != Some(&OperationType::StartDeployment);
    let succeeded =
        |it: &&OperationSummary| matches!(it.status(), Some(OperationStatus::Succeeded));
    let served = deployments.filter(changes).find(succeeded);
    failed.then(|| PutBack {
        began: last.started_at().and_then(moment),
        served_since: served.and_then(|it| it.started_at()).and_then(moment),
    })
}

/// Whether an operation failed, and what served before it is on its way back.
pub(super) fn puts_back(operation: &OperationSummary) -> bool {
    operation.status() == Some(&OperationStatus::RollbackInProgress)
}

fn is_failure(status: &OperationStatus) -> bool {
    matches!(
        status,
        OperationStatus::Failed
            | OperationStatus::RollbackFailed
            | OperationStatus::RollbackSucceeded
    )
}

fn moment(at: &DateTime) -> Option<Timestamp> {
    Timestamp::from_second(at.secs()).ok()
}

/// What it does, in App Runner's word.
pub(super) fn name(operation: &OperationSummary) -> &str {
    operation.r#type().map_or("", OperationType::as_str)
}

fn short(operation: &OperationSummary) -> &str {
    let id = operation.id().unwrap_or_default();
    id.get(..8).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use deployer_core::error::ErrorKind;

    use super::*;

    fn service(status: ServiceStatus) -> SdkService {
        SdkService::builder()
            .service_name("idp")
            .service_id("1")
            .service_arn("arn")
            .created_at(DateTime::from_secs(0))
            .updated_at(DateTime::from_secs(0))
            .status(status)
            .build()
            .unwrap()
    }

    fn operation(id: &str, kind: OperationType, status: OperationStatus) -> OperationSummary {
        OperationSummary::builder()
            .id(id)
            .r#type(kind)
            .status(status)
            .build()
    }

    fn update(id: &str, status: OperationStatus) -> OperationSummary {
        operation(id, OperationType::UpdateService, status)
    }

    fn judged(status: ServiceStatus, operations: &[OperationSummary], wanted: bool) -> Readiness {
        let ours = Ours::Named("ours".to_owned());
        judge(&service(status), operations, &ours, wanted)
    }

    #[test]
    fn a_service_that_runs_what_served_before_is_no_success() {
        let ended = [update("ours", OperationStatus::RollbackSucceeded)];
        let judged = judged(ServiceStatus::Running, &ended, false);
        let (kind, why) = judged.failure().unwrap();
        assert_eq!(kind, ErrorKind::RolledBack);
        assert!(why.contains("ROLLBACK_SUCCEEDED"), "{why}");
    }

    #[test]
    fn ours_is_ready_when_it_succeeded_and_still_stands() {
        let ours = update("ours", OperationStatus::Succeeded);
        let before = update("before", OperationStatus::RollbackSucceeded);
        let all = [ours.clone(), before];
        assert_eq!(judged(ServiceStatus::Running, &all, true), Readiness::Ready);
        // Nothing came after it: what is described differs because the answer is older.
        let lags = judged(ServiceStatus::Running, &all, false);
        assert_eq!(lags, Readiness::Pending(LAGGING.into()));
        let other = [update("other", OperationStatus::Succeeded), ours.clone()];
        let replaced = judged(ServiceStatus::Running, &other, false);
        assert!(matches!(replaced, Readiness::Replaced(_)), "{replaced:?}");
        let again = [
            operation(
                "other",
                OperationType::StartDeployment,
                OperationStatus::InProgress,
            ),
            ours.clone(),
        ];
        let pending = judged(ServiceStatus::OperationInProgress, &again, true);
        assert!(matches!(pending, Readiness::Pending(_)), "{pending:?}");
        let paused = [
            operation(
                "other",
                OperationType::PauseService,
                OperationStatus::Succeeded,
            ),
            ours,
        ];
        let replaced = judged(ServiceStatus::Paused, &paused, true);
        assert!(matches!(replaced, Readiness::Replaced(_)), "{replaced:?}");
    }

    #[test]
    fn an_operation_that_is_not_listed_yet_is_waited_for() {
        let before = [update("before", OperationStatus::Succeeded)];
        let lags = judged(ServiceStatus::Running, &before, true);
        assert_eq!(lags, Readiness::Pending(LAGGING.into()));
    }

    #[test]
    fn the_last_deployment_is_what_failed_whatever_came_after_it() {
        let failed_by = |status| failed(&[update("0a1b2c3d4e", status)]);
        let told = failed_by(OperationStatus::RollbackSucceeded).unwrap();
        assert_eq!(
            told,
            "operation UPDATE_SERVICE (0a1b2c3d) ended in ROLLBACK_SUCCEEDED"
        );
        assert!(failed_by(OperationStatus::Failed).is_some());
        assert!(failed_by(OperationStatus::RollbackFailed).is_some());
        assert_eq!(failed_by(OperationStatus::Succeeded), None);
        assert_eq!(failed_by(OperationStatus::RollbackInProgress), None);
        let resumed = operation(
            "resume",
            OperationType::ResumeService,
            OperationStatus::Succeeded,
        );
        let before = update("before", OperationStatus::Failed);
        assert!(failed(&[resumed, before.clone()]).is_some());
        let again = update("again", OperationStatus::Succeeded);
        assert_eq!(failed(&[again, before]), None);
    }

    #[test]
    fn what_is_put_back_was_served_since_the_last_change_that_succeeded() {
        let at = |seconds: i64, kind: OperationType, status: OperationStatus| {
            let summary = OperationSummary::builder().r#type(kind).status(status);
            summary.started_at(DateTime::from_secs(seconds)).build()
        };
        let second = |seconds: i64| Timestamp::from_second(seconds).ok();
        let (update, deploy) = (OperationType::UpdateService, OperationType::StartDeployment);
        let before = [
            at(30, deploy, OperationStatus::Succeeded),
            at(20, update.clone(), OperationStatus::Succeeded),
            at(10, OperationType::CreateService, OperationStatus::Succeeded),
        ];
        let then = |status| {
            let mut all = vec![at(40, update.clone(), status)];
            all.extend(before.clone());
            put_back(&all)
        };
        let failed = PutBack {
            began: second(40),
            served_since: second(20),
        };
        for status in [
            OperationStatus::RollbackSucceeded,
            OperationStatus::RollbackInProgress,
            OperationStatus::Failed,
        ] {
            assert_eq!(then(status), Some(failed));
        }
        assert_eq!(then(OperationStatus::Succeeded), None);
        assert_eq!(then(OperationStatus::InProgress), None);
    }

    #[test]
    fn what_nobody_named_is_the_first_after_what_was_the_newest_before_it() {
        let ours = Ours::answered(Some(""), Some("before".to_owned()));
        assert_eq!(ours, Ours::After(Some("before".to_owned())));
        let service = service(ServiceStatus::Running);
        let judged =
            |operations: &[OperationSummary], wanted| judge(&service, operations, &ours, wanted);
        // That one failed, and is none of ours.
        let before = update("before", OperationStatus::RollbackSucceeded);
        let lags = judged(std::slice::from_ref(&before), true);
        assert_eq!(lags, Readiness::Pending(LAGGING.into()));
        let failed = update("ours", OperationStatus::RollbackSucceeded);
        let other = update("other", OperationStatus::Succeeded);
        let all = [other.clone(), failed, before.clone()];
        let (kind, _) = judged(&all, true)
            .failure()
            .map(|(kind, why)| (kind, why.to_owned()))
            .unwrap();
        assert_eq!(kind, ErrorKind::RolledBack);
        let ours_ended = update("ours", OperationStatus::Succeeded);
        assert_eq!(judged(&[ours_ended, before], true), Readiness::Ready);
        assert_eq!(Ours::After(None).among(&[]), None);
        let one = [other];
        assert_eq!(Ours::After(None).among(&one), Some(&one[0]));
    }

    #[test]
    fn a_deployment_that_failed_over_what_runs_is_put_back_and_one_of_nothing_is_not() {
        let failed = |kind| [operation("ours", kind, OperationStatus::Failed)];
        let update = failed(OperationType::UpdateService);
        let kind = |status, operations: &[OperationSummary]| {
            judged(status, operations, false).failure().map(|it| it.0)
        };
        assert_eq!(
            kind(ServiceStatus::Running, &update),
            Some(ErrorKind::RolledBack)
        );
        assert_eq!(kind(ServiceStatus::OperationInProgress, &update), None);
        assert_eq!(
            kind(ServiceStatus::Paused, &update),
            Some(ErrorKind::Failed)
        );
        let create = failed(OperationType::CreateService);
        assert_eq!(
            kind(ServiceStatus::CreateFailed, &create),
            Some(ErrorKind::Failed)
        );
    }

    #[test]
    fn what_an_earlier_run_began_is_the_newest() {
        let failed = [operation(
            "create",
            OperationType::CreateService,
            OperationStatus::Failed,
        )];
        let service = service(ServiceStatus::CreateFailed);
        let judged = judge(&service, &failed, &Ours::Newest, true);
        assert_eq!(judged.failure().unwrap().0, ErrorKind::Failed);
    }
}
