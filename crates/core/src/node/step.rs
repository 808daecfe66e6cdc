//! A step as planner and engine see it.

use std::sync::Mutex;

use async_trait::async_trait;

use super::{
    Action, Comparison, Effect, Evidence, Leftover, Node, Sort, Step, Token, Undone, Watch,
};
use crate::address::Address;
use crate::error::{Error, ErrorKind, Result};
use crate::fields::Fields;
use crate::wait::{Pace, Readiness};

/// A step as a node.
pub struct StepNode<S: Step> {
    step: S,
    evidence: Mutex<Option<Evidence>>,
    ran: Mutex<Ran>,
}

/// How far a run came with a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ran {
    /// Not to it.
    No,
    /// To it; how it failed, where it did.
    To(Option<ErrorKind>),
}

impl<S: Step> StepNode<S> {
    /// Not observed yet.
    pub fn new(step: S) -> Self {
        Self {
            step,
            evidence: Mutex::new(None),
            ran: Mutex::new(Ran::No),
        }
    }

    fn came(&self, ran: Ran) {
        *self
            .ran
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = ran;
    }

    fn evidence(&self) -> Option<Evidence> {
        self.evidence
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    fn remember(&self, evidence: Evidence) {
        *self
            .evidence
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(evidence);
    }
}

#[async_trait]
impl<S: Step> Node for StepNode<S> {
    fn address(&self) -> &Address {
        self.step.address()
    }

    fn sort(&self) -> Sort {
        Sort::Step
    }

    async fn observe(&self) -> Result<()> {
        let evidence = self.step.evidence().await?;
        self.remember(evidence);
        Ok(())
    }

    fn compare(&self) -> Result<Comparison> {
        let evidence = self.evidence().ok_or_else(|| {
            Error::internal(format!(
                "{} was compared before it was read",
                self.step.address()
            ))
        })?;
        match self.step.judge(&evidence) {
            Evidence::Done(proof) => {
                self.step.publish();
                Ok(Comparison::no_op(proof))
            }
            Evidence::NotDone(why) | Evidence::Unknown(why) => Ok(Comparison {
                action: Action::Create,
                reason: why,
                changes: Fields::new().changes_to(&self.step.desired()),
                effect: Effect::InPlace,
                settling: None,
            }),
        }
    }

    fn seen(&self) -> Fields {
        let mut fields = Fields::new();
        if let Some(Evidence::Done(proof)) = self.evidence() {
            fields.set("done", proof);
        }
        fields
    }

    fn leftover(&self) -> Result<Leftover> {
        // What a step did stays done; nothing of it can be deleted.
        Ok(Leftover::Gone)
    }

    async fn carry_out(&self, action: Action, token: &Token, watch: &dyn Watch) -> Result<()> {
        match action {
            Action::NoOp | Action::Delete | Action::Release => Ok(()),
            Action::Create | Action::Update | Action::Replace => {
                // With every input known, what was seen may prove that it was done.
                if let Some(Evidence::Done(_)) = self.evidence().map(|seen| self.step.judge(&seen))
                {
                    self.step.publish();
                    return Ok(());
                }
                // Until it is known, it may have done anything.
                self.came(Ran::To(Some(ErrorKind::Unavailable)));
                let run = self.step.run(token, watch).await;
                self.came(Ran::To(run.as_ref().err().map(Error::kind)));
                run?;
                self.remember(Evidence::Done("done in this run".into()));
                self.step.publish();
                Ok(())
            }
        }
    }

    async fn look(&self) -> Result<Readiness> {
        Ok(Readiness::Ready)
    }

    fn pace(&self) -> Pace {
        Pace::until(std::time::Duration::from_secs(1))
    }

    fn detachable(&self) -> bool {
        false
    }

    async fn undo(&self, _token: &Token, _watch: &dyn Watch) -> Result<Undone> {
        let ran = *self
            .ran
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match ran {
            Ran::No => Ok(Undone::Stays("it was not begun".into())),
            Ran::To(failed) => self.step.left(failed).await,
        }
    }

    fn wanted(&self) -> Fields {
        self.step.desired()
    }
}
