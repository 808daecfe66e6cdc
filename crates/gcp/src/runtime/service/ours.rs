//! What a run's own write made of a service, told from what others made and from what was there
//! before; pure.

use std::time::Duration;

use deployer_core::error::{ErrorKind, Result};
use deployer_core::node::Token;
use deployer_core::wait::Readiness;
use google_cloud_run_v2::model;
use google_cloud_wkt::Timestamp;

use crate::operation;
use crate::runtime::container::RUN_ANNOTATION;
use crate::runtime::shape::revision_name;

/// Whether an answer is from before what is known of the service; one that was only just made may
/// seem absent.
pub(super) fn lags(seen: &Result<model::Service>, known: &model::Service) -> bool {
    match seen {
        Ok(seen) => seen.uid == known.uid && seen.generation < known.generation,
        Err(error) => error.kind() == ErrorKind::NotFound && known.generation == 1,
    }
}

/// A service with a new revision.
pub(crate) struct Revised {
    pub(crate) service: model::Service,
    pub(crate) ours: Ours,
}

/// What a write of this run made.
#[derive(Clone, Debug)]
pub(crate) struct Ours {
    pub(super) token: Token,
    /// The revision, where it was named before anybody else changed the service.
    pub(super) revision: Option<String>,
    /// When Cloud Run accepted it, by its own clock.
    pub(super) accepted: Option<Timestamp>,
    /// When it was accepted, by this machine's.
    pub(super) written: jiff::Timestamp,
}

impl Ours {
    /// Whether a bad word of the service is from before our write: that it is at work again may be
    /// told a moment later.
    fn is_old_news(&self, service: &model::Service, now: jiff::Timestamp) -> bool {
        let moment = |time: &Timestamp| (time.seconds(), time.nanos());
        let terminal = service.terminal_condition.as_ref();
        let told = terminal.and_then(|condition| condition.last_transition_time.as_ref());
        let waited = now.duration_since(self.written);
        let waited = Duration::try_from(waited).unwrap_or_default();
        let is_older = match (told, &self.accepted) {
            (Some(told), Some(accepted)) => moment(told) < moment(accepted),
            _ => false,
        };
        is_older && waited < operation::LAG
    }

    /// `Some(who)` when the newest revision is another one.
    pub(crate) fn is_another(&self, now: &model::Service) -> Option<String> {
        let newest = revision_name(&now.latest_created_revision);
        let mine = self.revision.as_deref();
        let is_other = mine.is_some() && mine != newest || !is_stamped(now, &self.token);
        is_other.then(|| deployed_over(now))
    }

    /// The same verdict, or patience where it is one on what was there before.
    pub(crate) fn fresh(
        &self,
        state: Readiness,
        service: &model::Service,
        now: jiff::Timestamp,
    ) -> Readiness {
        match state {
            Readiness::Failed(_) if self.is_old_news(service, now) => {
                Readiness::Pending(operation::LAGGING.to_owned())
            }
            state => state,
        }
    }
}

/// Who took our place, as far as Cloud Run says.
pub(super) fn deployed_over(now: &model::Service) -> String {
    let newest = revision_name(&now.latest_created_revision).unwrap_or("none");
    let who = match now.last_modifier.as_str() {
        "" => String::new(),
        who => format!(" ({who})"),
    };
    format!("somebody else{who} deployed over it: the newest revision is `{newest}`")
}

/// Marks the template, so that Cloud Run makes a new revision even of an equal one.
pub(super) fn stamped(service: model::Service, token: &Token) -> model::Service {
    let mut template = service.template.clone().unwrap_or_default();
    template
        .annotations
        .insert(RUN_ANNOTATION.to_owned(), token.0.clone());
    service.set_template(template)
}

/// The mark of another try of what is there already.
pub(super) fn next_try(service: &model::Service) -> Token {
    let template = service.template.as_ref();
    let mark = template.and_then(|template| template.annotations.get(RUN_ANNOTATION));
    let mark = mark.cloned().unwrap_or_default();
    let (run, tries) = mark.split_once('/').unwrap_or((&mark, "1"));
    let tries = tries.parse::<u32>().unwrap_or(1) + 1;
    Token(format!("{run}/{tries}"))
}

/// Whether this run's change has landed before: its reply was lost.
pub(super) fn is_stamped(service: &model::Service, token: &Token) -> bool {
    service
        .template
        .as_ref()
        .and_then(|template| template.annotations.get(RUN_ANNOTATION))
        .is_some_and(|run| *run == token.0)
}

#[cfg(test)]
mod tests {
    use deployer_core::error::Error;

    use super::*;

    fn known(generation: i64) -> model::Service {
        model::Service::new()
            .set_uid("u1")
            .set_generation(generation)
    }

    #[test]
    fn an_older_generation_is_old_news_unless_it_is_of_another_service() {
        assert!(lags(&Ok(known(1)), &known(2)));
        assert!(!lags(&Ok(known(2)), &known(2)));
        assert!(!lags(&Ok(known(1).set_uid("u2")), &known(2)));
    }

    #[test]
    fn what_was_only_just_made_may_seem_absent_and_what_is_older_is_gone() {
        let absent = || Err(Error::new(ErrorKind::NotFound, "cannot read service `x`"));
        assert!(lags(&absent(), &known(1)));
        assert!(!lags(&absent(), &known(2)));
        let denied = Err(Error::new(ErrorKind::Denied, "cannot read service `x`"));
        assert!(!lags(&denied, &known(1)));
    }

    #[test]
    fn a_failure_from_before_our_write_is_not_taken_for_one_of_ours() {
        let at = |second: i64| Timestamp::clamp(second, 0);
        let written = jiff::Timestamp::UNIX_EPOCH;
        let ours = Ours {
            token: Token("t".into()),
            revision: None,
            accepted: Some(at(100)),
            written,
        };
        let failed = |told| {
            let condition = model::Condition::new().set_last_transition_time(at(told));
            known(3).set_terminal_condition(condition)
        };
        let judge = |told, waited: i64| {
            let now = jiff::Timestamp::from_second(waited).unwrap();
            ours.fresh(Readiness::Failed("no start".into()), &failed(told), now)
        };
        assert!(matches!(judge(99, 5), Readiness::Pending(_)));
        assert!(matches!(judge(101, 5), Readiness::Failed(_)));
        // What is told for that long is so.
        assert!(matches!(judge(99, 70), Readiness::Failed(_)));
    }
}
