//! A candidate: the newest revision with an address of its own and no traffic, until its gate has
//! been passed. The address is a traffic tag, which goes in the update that moves the traffic.
//!
//! <https://docs.cloud.google.com/run/docs/rollouts-rollbacks-traffic-migration#tags>: a tag makes
//! `https://TAG---SERVICE-HASH-REGION.a.run.app`, which `trafficStatuses[].uri` tells; a target of
//! a tag may have no traffic; a revision with a tag keeps its minimum of instances.

use std::sync::PoisonError;

use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::FieldChange;
use deployer_core::gate::{Candidate, Gate, HoldsBack};
use deployer_core::node::{Token, Watch};
use deployer_core::wait::Readiness;
use google_cloud_run_v2::model::{
    self, IngressTraffic, TrafficTarget, TrafficTargetAllocationType,
};

use super::ours::stamped;
use super::{PAUSE, RunService, TRIES};
use crate::runtime::{counts, rollout, shape};

/// "Combined traffic tag and service name cannot exceed 46 characters." (the API's own words, as in
/// firebase/firebase-tools #6137)
const LONGEST: usize = 46;

/// Whether a service of this name can have a candidate.
pub(crate) fn holds_back(name: &str) -> HoldsBack {
    match name.len() + shape::CANDIDATE.len() > LONGEST {
        true => HoldsBack::Nothing(
            "the service's name and a traffic tag have more than 46 characters together",
        ),
        false => HoldsBack::Candidates,
    }
}

/// Where the candidate alone answers. `None` until Cloud Run tells.
fn address(service: &model::Service) -> Option<&str> {
    let mut statuses = service.traffic_statuses.iter();
    let own = statuses.find(|status| status.tag == shape::CANDIDATE)?;
    (!own.uri.is_empty()).then_some(own.uri.as_str())
}

/// Who serves now goes on, whatever becomes ready, and the newest revision gets an address. A tag
/// may be "assigned to a revision by name or to the latest ready revision", "regardless of the
/// percent traffic specified" (help of `gcloud run services update-traffic --set-tags`). Until the
/// new revision is ready the tag leads to the old one: it is asked only once the service has
/// settled and its newest revision is sound.
fn beside(now: &model::Service) -> Vec<TrafficTarget> {
    let newest = TrafficTarget::new()
        .set_type(TrafficTargetAllocationType::Latest)
        .set_tag(shape::CANDIDATE);
    let others = now.traffic.iter();
    let others = others.filter(|it| it.tag != shape::CANDIDATE).cloned();
    let mut traffic: Vec<TrafficTarget> = match rollout::is_pinned(now) {
        true => others.collect(),
        false => {
            let serving = shape::revision_name(&now.latest_ready_revision).unwrap_or_default();
            shape::everything_to(serving, &now.traffic)
        }
    };
    traffic.push(newest);
    traffic
}

impl RunService {
    /// Whether these changes make a revision serve that is to be asked before. Where nothing serves
    /// yet there is nobody to be spared; where nobody gets in over the internet, or nothing runs,
    /// nobody can ask.
    pub(super) fn has_candidate(&self, now: &model::Service, changes: &[FieldChange]) -> bool {
        let is_new = shape::needs_revision(changes);
        let moves = is_new || changes.iter().any(|it| it.field == "traffic");
        let newest = shape::revision_name(&now.latest_created_revision);
        let serves_already = !is_new
            && matches!(rollout::shares(now).as_slice(), [(one, 100)] if Some(one.as_str()) == newest);
        let nothing_serves = now.latest_ready_revision.is_empty();
        self.gate.is_some()
            && moves
            && !serves_already
            && !nothing_serves
            && self.reused(now).is_none()
            && self.is_open(now)
    }

    /// Whether requests from outside get to an address of a revision, before and after the change.
    fn is_open(&self, now: &model::Service) -> bool {
        let Ok(wanted) = self.wanted(now.clone()) else {
            return false;
        };
        let lets_in = |service: &model::Service| {
            matches!(
                service.ingress,
                IngressTraffic::All | IngressTraffic::Unspecified
            ) && !service.default_uri_disabled
                && !service.iap_enabled
                && !counts::is_switched_off(service)
        };
        lets_in(now) && lets_in(&wanted)
    }

    /// Makes the candidate, or takes up the one that an earlier run made.
    pub(super) async fn stage(
        &self,
        now: model::Service,
        changes: &[FieldChange],
        token: &Token,
        watch: &dyn Watch,
    ) -> Result<model::Service> {
        let traffic = beside(&now);
        watch.note("making the candidate; the traffic stays where it is");
        if shape::needs_revision(changes) {
            let staged = stamped(self.wanted(now)?, token).set_traffic(traffic);
            let service = self.keep(self.calls.revise(staged, token).await?);
            return Ok(self.hold(service));
        }
        let mut paths = shape::around(changes);
        if rollout::show_asked(&now.traffic) == rollout::show_asked(&traffic)
            && shape::has_candidate(&now.traffic)
        {
            paths.retain(|path| *path != "traffic");
        }
        if paths.is_empty() {
            return Ok(self.hold(now));
        }
        let template = now.template.clone().unwrap_or_default();
        let staged = self.wanted(now)?.set_template(template);
        let service = self
            .calls
            .update(staged.set_traffic(traffic), &paths)
            .await?;
        Ok(self.hold(service))
    }

    /// Notes that the newest revision of `service` is held back, and where the traffic goes.
    pub(super) fn hold(&self, service: model::Service) -> model::Service {
        let asked = rollout::show_asked(&service.traffic);
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked);
        service
    }

    fn let_go(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Where the traffic goes while a candidate is held back. `None` when none is.
    fn held(&self) -> Option<String> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.clone()
    }

    /// Whether the candidate can be asked. `None` when none is held back.
    pub(super) fn candidate_state(&self, service: &model::Service) -> Option<Readiness> {
        let asked = self.held()?;
        let now = rollout::show_asked(&service.traffic);
        if now != asked || !shape::has_candidate(&service.traffic) {
            return Some(Readiness::Replaced(moved(&now)));
        }
        Some(match rollout::of_newest_revision(service) {
            Readiness::Ready if address(service).is_none() => {
                Readiness::Pending("the candidate has no address yet".to_owned())
            }
            state => state,
        })
    }

    /// What is held back, once it can be asked.
    pub(super) fn gate_of(&self, service: &model::Service) -> Option<Gate> {
        self.held()?;
        Some(Gate {
            candidate: Candidate {
                revision: shape::revision_name(&service.latest_created_revision)?.to_owned(),
                url: address(service)?.to_owned(),
            },
            checks: self.gate.clone()?,
        })
    }

    /// Gives the candidate all traffic and takes its tag away, in one update.
    ///
    /// Errors: untrue, when another hand deployed or moved the traffic meanwhile.
    pub(super) async fn give_traffic(&self, known: &model::Service) -> Result<model::Service> {
        let mut tries = TRIES;
        let mut since = known.generation;
        loop {
            let now = self.ensure_ours(self.calls.since(since).await?)?;
            since = now.generation;
            if let Some(why) = self.replaced(&now) {
                return Err(untrue(why));
            }
            if !rollout::is_pinned(&now) && !shape::has_candidate(&now.traffic) {
                // It landed, and the reply was lost.
                self.let_go();
                return Ok(now);
            }
            let asked = rollout::show_asked(&now.traffic);
            if self.held().is_some_and(|held| held != asked) {
                return Err(untrue(moved(&asked)));
            }
            match self.calls.update(self.wanted(now)?, &["traffic"]).await {
                Err(error) if error.kind() == ErrorKind::Conflict && tries > 0 => tries -= 1,
                Err(error) => return Err(error),
                Ok(service) => {
                    self.let_go();
                    return Ok(service);
                }
            }
            self.calls.project.context.clock.pause(PAUSE).await;
        }
    }

    /// Takes the candidate's tag away; the traffic stays where it is.
    pub(super) async fn take_address_away(&self, known: &model::Service) -> Result<model::Service> {
        if self.held().is_none() {
            return Ok(known.clone());
        }
        let mut tries = TRIES;
        let mut since = known.generation;
        loop {
            let now = self.calls.since(since).await?;
            since = now.generation;
            if !shape::has_candidate(&now.traffic) {
                self.let_go();
                return Ok(now);
            }
            let mut traffic = now.traffic.clone();
            traffic.retain(|target| target.tag != shape::CANDIDATE);
            let sent = self.calls.update(now.set_traffic(traffic), &["traffic"]);
            match sent.await {
                Err(error) if error.kind() == ErrorKind::Conflict && tries > 0 => tries -= 1,
                Err(error) => return Err(error),
                Ok(service) => {
                    self.let_go();
                    return Ok(service);
                }
            }
            self.calls.project.context.clock.pause(PAUSE).await;
        }
    }
}

fn moved(asked: &str) -> String {
    format!("somebody else moved the traffic: {asked}")
}

fn untrue(why: String) -> Error {
    Error::new(ErrorKind::Untrue, why).hint("the traffic was not moved")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pinned(revision: &str, percent: i32) -> TrafficTarget {
        TrafficTarget::new()
            .set_type(TrafficTargetAllocationType::Revision)
            .set_revision(revision)
            .set_percent(percent)
    }

    fn told(traffic: &[TrafficTarget]) -> Vec<(&str, i32, &str)> {
        let told = traffic.iter();
        told.map(|it| (it.revision.as_str(), it.percent, it.tag.as_str()))
            .collect()
    }

    #[test]
    fn what_serves_goes_on_beside_the_candidate_and_other_hands_tags_stay() {
        let latest = TrafficTarget::new()
            .set_type(TrafficTargetAllocationType::Latest)
            .set_percent(100);
        let preview = pinned("idp-00001-xyz", 0).set_tag("preview");
        let now = model::Service::new()
            .set_latest_ready_revision("a/revisions/idp-00002-abc")
            .set_traffic([latest, preview.clone()]);
        let traffic = beside(&now);
        assert_eq!(
            told(&traffic),
            [
                ("idp-00002-abc", 100, ""),
                ("idp-00001-xyz", 0, "preview"),
                ("", 0, shape::CANDIDATE)
            ]
        );
        let split = [pinned("idp-00001-xyz", 40), pinned("idp-00002-abc", 60)];
        let again = beside(&now.set_traffic(split));
        assert_eq!(
            told(&again),
            [
                ("idp-00001-xyz", 40, ""),
                ("idp-00002-abc", 60, ""),
                ("", 0, shape::CANDIDATE)
            ]
        );
    }

    #[test]
    fn a_candidate_that_is_there_already_is_not_there_twice() {
        let now = model::Service::new().set_traffic([
            pinned("idp-00001-xyz", 100),
            TrafficTarget::new()
                .set_type(TrafficTargetAllocationType::Latest)
                .set_tag(shape::CANDIDATE),
        ]);
        assert_eq!(beside(&now), now.traffic);
    }

    #[test]
    fn a_name_that_leaves_no_room_for_a_tag_has_no_candidate() {
        assert_eq!(holds_back(&"a".repeat(38)), HoldsBack::Candidates);
        assert!(matches!(holds_back(&"a".repeat(39)), HoldsBack::Nothing(_)));
    }
}
