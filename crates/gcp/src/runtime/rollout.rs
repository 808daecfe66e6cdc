//! Judges a service by what Cloud Run says: is what serves what was asked for? Pure.

use deployer_core::wait::Readiness;
use google_cloud_run_v2::model::condition::State;
use google_cloud_run_v2::model::{Service, TrafficTarget, TrafficTargetAllocationType};

use crate::paths::short;
use crate::runtime::conditions;

/// Whether the newest revision serves everything.
pub(crate) fn of_latest(service: &Service) -> Readiness {
    if let Some(readiness) = unfinished_or_failed(service) {
        return readiness;
    }
    let created = short(&service.latest_created_revision);
    if let Some(why) = broken_newest(service) {
        return Readiness::Failed(why);
    }
    if show_asked(&service.traffic) != LATEST {
        return Readiness::Replaced(format!(
            "somebody else moved the traffic: {}",
            show_asked(&service.traffic)
        ));
    }
    serves(service, created)
}

/// Whether the traffic goes anywhere else than to the newest revision.
pub(crate) fn is_pinned(service: &Service) -> bool {
    show_asked(&service.traffic) != LATEST
}

/// Whether the newest revision could serve, wherever the traffic goes.
pub(crate) fn of_newest_revision(service: &Service) -> Readiness {
    if is_busy(service) {
        return Readiness::Pending(waiting_for(service));
    }
    match broken_newest(service) {
        Some(why) => Readiness::Failed(why),
        None => Readiness::Ready,
    }
}

/// Whether `revision` serves everything, whichever is the newest.
pub(crate) fn of_revision(service: &Service, revision: &str) -> Readiness {
    if is_busy(service) {
        return Readiness::Pending(waiting_for(service));
    }
    match serves(service, revision) {
        // A service whose newest revision is broken never calls itself ready, whoever serves.
        Readiness::Pending(why) => unfinished_or_failed(service).unwrap_or(Readiness::Pending(why)),
        settled => settled,
    }
}

fn unfinished_or_failed(service: &Service) -> Option<Readiness> {
    if is_busy(service) {
        return Some(Readiness::Pending(waiting_for(service)));
    }
    if let Some(why) = settled_failure(service) {
        return Some(Readiness::Failed(why));
    }
    let state = service
        .terminal_condition
        .as_ref()
        .map(|condition| &condition.state);
    let settled = state == Some(&State::ConditionSucceeded)
        && service.observed_generation == service.generation;
    (!settled).then(|| Readiness::Pending(waiting_for(service)))
}

fn serves(service: &Service, revision: &str) -> Readiness {
    let shares = shares(service);
    if matches!(shares.as_slice(), [(one, 100)] if one == revision) {
        Readiness::Ready
    } else {
        Readiness::Pending(format!("traffic goes to {}", show_shares(&shares)))
    }
}

/// Cloud Run says itself when it is at work. The generations alone do not tell: after a failed
/// roll-out the observed one stays that of the last revision that served.
fn is_busy(service: &Service) -> bool {
    service.reconciling
}

fn waiting_for(service: &Service) -> String {
    let waiting =
        |state: &State| matches!(state, State::ConditionPending | State::ConditionReconciling);
    service
        .terminal_condition
        .iter()
        .chain(&service.conditions)
        .find(|condition| waiting(&condition.state) && !condition.message.is_empty())
        .map_or_else(
            || "Cloud Run is still rolling it out".to_owned(),
            conditions::words,
        )
}

/// The words of a roll-out that failed and is over. `None` while it goes on, or when it went well.
pub(crate) fn settled_failure(service: &Service) -> Option<String> {
    let terminal = service.terminal_condition.as_ref()?;
    if is_busy(service) || terminal.state != State::ConditionFailed {
        return None;
    }
    let mut lines = vec![conditions::words(terminal)];
    for line in conditions::failures(&service.conditions) {
        if !conditions::is_told(&lines, &line) {
            lines.push(line);
        }
    }
    Some(lines.join("; "))
}

/// Says when Cloud Run is at rest and its newest revision never became ready: another one serves,
/// and the service itself may call that well when traffic is pinned to it.
fn broken_newest(service: &Service) -> Option<String> {
    let created = &service.latest_created_revision;
    (!is_busy(service) && service.latest_ready_revision != *created)
        .then(|| format!("revision `{}` never became ready", short(created)))
}

/// Why the newest revision cannot serve. `None` while a roll-out goes on, or when it can.
pub(crate) fn failure(service: &Service) -> Option<String> {
    settled_failure(service).or_else(|| broken_newest(service))
}

/// Whether the newest revision gets no traffic by itself: Cloud Run is at rest, and that one cannot
/// serve, or the traffic is led past it.
pub(crate) fn passes_newest(service: &Service) -> bool {
    failure(service).is_some() || (is_pinned(service) && !is_busy(service))
}

/// Share of the traffic by revision, as it is now, without empty ones.
pub(crate) fn shares(service: &Service) -> Vec<(String, i32)> {
    let mut shares: Vec<(String, i32)> = Vec::new();
    for status in service
        .traffic_statuses
        .iter()
        .filter(|status| status.percent > 0)
    {
        let revision = if status.revision.is_empty() {
            short(&service.latest_ready_revision)
        } else {
            short(&status.revision)
        };
        match shares.iter_mut().find(|(name, _)| name == revision) {
            Some((_, percent)) => *percent += status.percent,
            None => shares.push((revision.to_owned(), status.percent)),
        }
    }
    shares
}

pub(crate) fn show_shares(shares: &[(String, i32)]) -> String {
    if shares.is_empty() {
        return "no revision".to_owned();
    }
    let parts: Vec<String> = shares
        .iter()
        .map(|(revision, percent)| format!("{revision} {percent}%"))
        .collect();
    parts.join(", ")
}

const LATEST: &str = "latest 100%";

/// The traffic that is asked for: `latest 100%`, `idp-00002-abc 100%`. Cloud Run takes no word for
/// the first.
pub(crate) fn show_asked(traffic: &[TrafficTarget]) -> String {
    let parts: Vec<String> = traffic
        .iter()
        .filter(|target| target.percent > 0)
        .map(|target| match target.r#type {
            TrafficTargetAllocationType::Revision => {
                format!("{} {}%", short(&target.revision), target.percent)
            }
            _ if !target.revision.is_empty() => {
                format!("{} {}%", short(&target.revision), target.percent)
            }
            _ => format!("latest {}%", target.percent),
        })
        .collect();
    if parts.is_empty() {
        LATEST.to_owned()
    } else {
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use google_cloud_run_v2::model::{Condition, TrafficTargetStatus};

    use super::*;

    fn ready(state: State) -> Condition {
        Condition::new().set_type("Ready").set_state(state)
    }

    fn settled() -> Service {
        let latest = "projects/p/locations/r/services/idp/revisions/idp-00002-abc";
        Service::new()
            .set_generation(2)
            .set_observed_generation(2)
            .set_terminal_condition(ready(State::ConditionSucceeded))
            .set_latest_created_revision(latest)
            .set_latest_ready_revision(latest)
            .set_traffic([TrafficTarget::new()
                .set_type(TrafficTargetAllocationType::Latest)
                .set_percent(100)])
            .set_traffic_statuses([TrafficTargetStatus::new()
                .set_type(TrafficTargetAllocationType::Latest)
                .set_percent(100)])
    }

    #[test]
    fn a_service_is_ready_only_when_its_newest_revision_serves_everything() {
        assert_eq!(of_latest(&settled()), Readiness::Ready);
        let behind = settled().set_latest_ready_revision("idp-00001-xyz");
        assert!(
            matches!(of_latest(&behind), Readiness::Failed(why) if why.contains("idp-00002-abc"))
        );
        assert!(failure(&behind).is_some() && failure(&settled()).is_none());
        let unseen = settled().set_generation(3);
        assert!(matches!(of_latest(&unseen), Readiness::Pending(_)));
        let split = settled().set_traffic_statuses([
            TrafficTargetStatus::new()
                .set_revision("idp-00001-xyz")
                .set_percent(40),
            TrafficTargetStatus::new()
                .set_revision("idp-00002-abc")
                .set_percent(60),
        ]);
        assert!(matches!(of_latest(&split), Readiness::Pending(why) if why.contains("40%")));
    }

    #[test]
    fn traffic_that_somebody_pinned_meanwhile_is_a_failure_not_a_wait() {
        let pinned = settled().set_traffic([TrafficTarget::new()
            .set_type(TrafficTargetAllocationType::Revision)
            .set_revision("idp-00001-xyz")
            .set_percent(100)]);
        assert!(matches!(
            of_latest(&pinned),
            Readiness::Replaced(why) if why.contains("idp-00001-xyz 100%")
        ));
    }

    #[test]
    fn a_failed_roll_out_is_told_in_the_clouds_words_but_only_once_it_is_over() {
        let failed = ready(State::ConditionFailed).set_message("container failed to start");
        let over = settled()
            .set_terminal_condition(failed)
            // The observed generation stays behind when a roll-out fails.
            .set_generation(3);
        assert!(matches!(
            of_latest(&over),
            Readiness::Failed(why) if why.contains("container failed to start")
        ));
        assert_eq!(settled_failure(&over.set_reconciling(true)), None);
    }

    #[test]
    fn an_older_revision_serves_although_the_newest_one_is_broken() {
        let broken = settled()
            .set_terminal_condition(ready(State::ConditionFailed).set_message("no start"))
            .set_traffic_statuses([TrafficTargetStatus::new()
                .set_revision("idp-00001-xyz")
                .set_percent(100)]);
        assert_eq!(of_revision(&broken, "idp-00001-xyz"), Readiness::Ready);
        assert!(matches!(
            of_revision(&broken, "idp-00002-abc"),
            Readiness::Failed(_)
        ));
    }

    #[test]
    fn the_newest_revision_is_passed_where_it_is_broken_or_the_traffic_is_pinned_and_all_is_quiet()
    {
        let pinned = settled().set_traffic([TrafficTarget::new()
            .set_type(TrafficTargetAllocationType::Revision)
            .set_revision("idp-00001-xyz")
            .set_percent(100)]);
        assert!(!passes_newest(&settled()) && passes_newest(&pinned));
        assert!(!passes_newest(&pinned.set_reconciling(true)));
        let broken = settled().set_latest_ready_revision("idp-00001-xyz");
        assert!(passes_newest(&broken));
        assert!(!passes_newest(&broken.set_reconciling(true)));
    }

    #[test]
    fn traffic_is_shown_as_asked_and_a_tag_alone_is_no_traffic() {
        let tag = TrafficTarget::new()
            .set_revision("idp-00001-xyz")
            .set_tag("preview");
        assert_eq!(show_asked(&[]), "latest 100%");
        assert_eq!(show_asked(&[tag]), "latest 100%");
    }
}
