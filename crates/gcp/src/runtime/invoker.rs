//! Whether everyone may call a Cloud Run service: without its check of the caller, or by a binding
//! of everyone.
//!
//! Google recommends the first ("Allowing public (unauthenticated) access"), which works at once
//! and also where an organization restricts whom a policy may name; an organization may forbid it
//! instead. Either is taken for what it is, whoever set it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::Revision;
use deployer_core::error::{Error, ErrorKind};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::Value;
use deployer_core::kind::Ownership;
use deployer_core::node::{Ready, Resource, Undone, Watch};
use deployer_core::ours::Stranger;
use deployer_core::wait::Readiness;
use google_cloud_iam_v1::model::{Binding, GetPolicyOptions, Policy};

use crate::error::{self, CloudError, Found};
use crate::runtime::service;
use crate::site::prelude::*;

/// The kind in addresses.
pub(crate) const KIND: &str = Invoker::KIND;

const ROLE: &str = "roles/run.invoker";
const EVERYONE: &str = "allUsers";
/// Its field, and what that says of a service that answers everyone.
const PUBLIC: &str = "everyone may call it";
const YES: &str = "yes";
/// Whoever has a Google account, anybody's.
const SIGNED_IN: &str = "allAuthenticatedUsers";
/// The version that shows conditional bindings as they are, so that writing them back loses
/// nothing.
const POLICY_VERSION: i32 = 3;
/// "Typically 2 minutes, potentially 7 minutes or longer" (IAM, "Access change propagation").
const PROPAGATION: Duration = Duration::from_secs(8 * 60);

/// What the manifest says of who may call a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Everyone.
    Everyone,
    /// Whom the policy names.
    Invited,
    /// Nothing: it was somebody else's, and stays as it is.
    AsItIs,
}

impl Wish {
    /// What `public` says, of a service that may be somebody else's.
    pub(crate) fn of(public: Option<bool>, adopt: bool) -> Self {
        match (public, adopt) {
            (Some(true), _) | (None, false) => Self::Everyone,
            (Some(false), _) => Self::Invited,
            (None, true) => Self::AsItIs,
        }
    }
}

/// The calls that concern who may call one service.
pub(crate) struct Calls {
    service: service::Calls,
}

impl Calls {
    pub(crate) fn new(project: &Arc<Project>, service: &str) -> Self {
        Self {
            service: service::Calls::new(project, service),
        }
    }

    fn cannot(&self, what: &str) -> String {
        let name = &self.service.name;
        format!("cannot {what} the invoker policy of service `{name}`")
    }

    /// What is said against touching who may call the service. `None` when it is ours.
    async fn objection(&self, owner: &Ownership) -> Result<Found<Option<Stranger>>> {
        Ok(match self.service.find().await? {
            Found::Here(service) => Found::Here(owner.foreign(&tags(&service.labels))),
            Found::Absent => Found::Absent,
            Found::Denied(why) => Found::Denied(why),
        })
    }

    async fn policy(&self) -> Result<Policy, CloudError> {
        let services = self.service.project.clients.services.reading().await;
        services
            .get_iam_policy()
            .set_resource(self.service.path())
            .set_options(GetPolicyOptions::new().set_requested_policy_version(POLICY_VERSION))
            .send()
            .await
    }

    /// Whether everyone may call it now.
    pub(crate) async fn find(&self) -> Result<Found<bool>> {
        Ok(match self.look(None).await? {
            Found::Here(callers) => Found::Here(callers.everyone),
            Found::Absent => Found::Absent,
            Found::Denied(why) => Found::Denied(why),
        })
    }

    /// Who may call it now, as far as that is more than the policy's own people.
    async fn look(&self, owner: Option<&Ownership>) -> Result<Found<Callers>> {
        let ours = match self.service.find().await? {
            Found::Here(service) => {
                let ours = owner.is_some_and(|owner| owner.is_on(&tags(&service.labels)));
                if service.invoker_iam_disabled {
                    return Ok(Found::Here(Callers {
                        everyone: true,
                        signed_in: false,
                        ours,
                    }));
                }
                ours
            }
            Found::Absent => return Ok(Found::Absent),
            Found::Denied(why) => return Ok(Found::Denied(why)),
        };
        Ok(match self.bound().await? {
            Found::Here(policy) => Found::Here(Callers {
                everyone: is_public(&policy),
                signed_in: names(&policy, SIGNED_IN),
                ours,
            }),
            Found::Absent => Found::Absent,
            Found::Denied(why) => Found::Denied(why),
        })
    }

    async fn bound(&self) -> Result<Found<Policy>> {
        error::found(self.policy().await, &self.cannot("read"))
    }

    /// Lets everyone call it.
    async fn open(&self) -> Result<()> {
        let service = self.service.get().await?;
        if service.invoker_iam_disabled || self.is_bound().await? {
            return Ok(());
        }
        let unchecked = self.check(false).await?;
        let Err(forbidden) = unchecked else {
            return Ok(());
        };
        match self.bind(true).await? {
            Ok(()) => Ok(()),
            Err(refused) => {
                let name = &self.service.name;
                let said = error::said(&forbidden);
                let action = format!("cannot let everyone call service `{name}`: {said}");
                Err(error::failed(refused, &action).hint(
                    "the organization forbids both ways: ask its administrator to except the project from \
                     `run.managed.requireInvokerIam` (better) or `iam.allowedPolicyMemberDomains`, or set `public = false` \
                     in [targets.gcp.services.NAME]",
                ))
            }
        }
    }

    /// Lets only those call it whom its policy names. Succeeds when there is none: its policy went
    /// with it.
    async fn close_what_is_there(&self) -> Result<()> {
        match self.close().await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            closed => closed,
        }
    }

    /// Lets only those call it whom its policy names.
    async fn close(&self) -> Result<()> {
        if self.service.get().await?.invoker_iam_disabled {
            let outcome = self.check(true).await?;
            outcome.map_err(|error| error::failed(error, &self.service.cannot("close")))?;
        }
        let outcome = self.bind(false).await?;
        outcome.map_err(|error| error::failed(error, &self.cannot("write")))
    }

    async fn is_bound(&self) -> Result<bool> {
        let policy = self.policy().await;
        let policy = policy.map_err(|error| error::failed(error, &self.cannot("read")))?;
        Ok(is_public(&policy))
    }

    /// Switches the check of callers on or off; what the organization's policy forbids is left to
    /// the caller.
    async fn check(&self, on: bool) -> Result<Result<(), CloudError>> {
        let mut tries = service::TRIES;
        loop {
            let now = self.service.get().await?.set_invoker_iam_disabled(!on);
            match self
                .service
                .update_unless_forbidden(now, &["invoker_iam_disabled"])
                .await
            {
                Err(error) if error.kind() == ErrorKind::Conflict && tries > 0 => tries -= 1,
                outcome => return outcome,
            }
            self.service
                .project
                .context
                .clock
                .pause(service::PAUSE)
                .await;
        }
    }

    /// Reads the policy, changes it when it must be, and writes it back with its etag: again, when
    /// somebody else wrote it in between. What the organization's policy forbids is left to the
    /// caller.
    async fn bind(&self, public: bool) -> Result<Result<(), CloudError>> {
        let mut tries = service::TRIES;
        loop {
            let policy = self.policy().await;
            let policy = policy.map_err(|error| error::failed(error, &self.cannot("read")))?;
            if is_public(&policy) == public {
                return Ok(Ok(()));
            }
            let services = self.service.project.clients.services.changing().await;
            let call = services.set_iam_policy().set_resource(self.service.path());
            match call.set_policy(changed(policy, public)).send().await {
                Ok(_) => return Ok(Ok(())),
                Err(error) if error::is_org_policy(&error) => return Ok(Err(error)),
                Err(error) if error::is_stale(&error) && tries > 0 => tries -= 1,
                Err(error) => return Err(error::failed(error, &self.cannot("write"))),
            }
            self.service
                .project
                .context
                .clock
                .pause(service::PAUSE)
                .await;
        }
    }
}

/// Who may call a service beside those that its policy names one by one.
#[derive(Clone, Copy)]
struct Callers {
    everyone: bool,
    /// Whoever has a Google account.
    signed_in: bool,
    /// Whether the service bears the owner's mark.
    ours: bool,
}

fn is_public(policy: &Policy) -> bool {
    names(policy, EVERYONE)
}

/// Whether the policy makes `member` an invoker, whatever else holds.
fn names(policy: &Policy, member: &str) -> bool {
    policy.bindings.iter().any(|binding| {
        is_plain_invoker(binding) && binding.members.iter().any(|there| there == member)
    })
}

fn is_plain_invoker(binding: &Binding) -> bool {
    binding.role == ROLE && binding.condition.is_none()
}

/// The policy with everyone as invoker, or without; every other member and binding stays.
fn changed(mut policy: Policy, public: bool) -> Policy {
    for binding in policy
        .bindings
        .iter_mut()
        .filter(|binding| is_plain_invoker(binding))
    {
        binding.members.retain(|member| member != EVERYONE);
    }
    if public {
        match policy
            .bindings
            .iter_mut()
            .find(|binding| is_plain_invoker(binding))
        {
            Some(binding) => binding.members.push(EVERYONE.to_owned()),
            None => policy
                .bindings
                .push(Binding::new().set_role(ROLE).set_members([EVERYONE])),
        }
    }
    policy
        .bindings
        .retain(|binding| !binding.members.is_empty());
    policy
}

/// Whether everyone may call one service of the manifest.
pub(crate) struct Invoker {
    calls: Calls,
    address: Address,
    wish: Wish,
    /// Whose the service must be: neither way carries a mark of its own.
    owner: Ownership,
    /// Whether the manifest takes the service over.
    adopts: bool,
    /// Whether the inventory has it.
    known: bool,
    /// What was last read: what the manifest is silent about is as it is there.
    there: Mutex<Option<Callers>>,
    /// The service is made first; nothing else is taken from it.
    _service: Value<Revision>,
}

impl Invoker {
    /// Of the service of that name.
    pub(crate) fn new(
        project: &Arc<Project>,
        address: Address,
        (wish, adopts): (Wish, bool),
        owner: Ownership,
        known: bool,
        service: Value<Revision>,
    ) -> Self {
        Self {
            calls: Calls::new(project, &address.name),
            address,
            wish,
            owner,
            adopts,
            known,
            there: Mutex::default(),
            _service: service,
        }
    }

    /// One that is not there yet is ours: it is open unless the manifest says otherwise.
    fn public(&self) -> bool {
        let there = *self.there.lock().unwrap_or_else(PoisonError::into_inner);
        match self.wish {
            Wish::Everyone => true,
            Wish::Invited => false,
            Wish::AsItIs => there.is_none_or(|callers| callers.everyone),
        }
    }

    fn is_of_ours(&self) -> bool {
        let there = *self.there.lock().unwrap_or_else(PoisonError::into_inner);
        there.is_some_and(|callers| callers.ours)
    }

    async fn make(&self, public: bool) -> Result<bool> {
        match self.calls.objection(&self.owner).await? {
            Found::Here(Some(stranger)) => {
                let what = format!("service `{}`", self.address.name);
                return Err(stranger.refusal(what));
            }
            Found::Here(None) | Found::Absent => {}
            Found::Denied(why) => {
                return Err(Error::new(ErrorKind::Denied, self.calls.cannot("write")).because(why));
            }
        }
        match public {
            true => self.calls.open().await?,
            false => self.calls.close().await?,
        }
        Ok(public)
    }
}

fn describe(public: bool) -> Fields {
    let mut fields = Fields::new();
    fields.set(PUBLIC, if public { YES } else { "no" });
    fields
}

/// Who lets everyone in: the binding, or the check that was switched off. Where nobody is let in
/// there is nothing to take back.
impl Kind for Invoker {
    type Site = Project;
    type Is = ();
    const KIND: &'static str = "run.invoker";
    const NOUN: &'static str = "callers of service";
    const ROLE: Role = Role::BesideService;
    const TIER: Tier = Tier::Edge;
    const DATA: Data = Data::None;
    const MEANS: Meaning = Meaning {
        opens: Some((PUBLIC, YES)),
        ..Meaning::PLAIN
    };
    const FACTS: Facts = Facts {
        api: "run.googleapis.com",
        unnamed: Unnamed::With(service::KIND),
        access: Access {
            feature: Feature::Always,
            read: &["run.services.getIamPolicy"],
            change: &["run.services.setIamPolicy"],
            roles: &["roles/run.admin"],
            on: On::Project,
        },
    };
    const MARKS: Marks<Self> =
        Marks::None("everyone could call it before us: nothing of it is ours");
    const ABSENT: &'static [&'static str] = &[NOT_FOUND];
    const TAKEN: &'static [&'static str] = &[];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = Passing::NOTHING;

    fn describe((): &(), to: &mut Description) {
        to.extend(&describe(true));
    }

    async fn find(at: &At<Project>) -> Result<Reading<There<()>>, Refusal> {
        let calls = Calls::new(at.site(), at.name());
        let service = match calls.service.find().await? {
            Found::Here(service) => service,
            Found::Absent => return Ok(Reading::Absent),
            Found::Denied(why) => return Ok(Reading::Denied(why)),
        };
        if let Some(stranger) = at.owner.foreign(&tags(&service.labels)) {
            return Ok(Reading::Foreign(stranger));
        }
        Ok(match calls.find().await? {
            Found::Here(true) => Reading::Present(There::bare(())),
            Found::Here(false) | Found::Absent => Reading::Absent,
            Found::Denied(why) => Reading::Denied(why),
        })
    }

    /// Whose the service is was seen with it: neither way carries a mark of its own.
    fn foreign(_at: &At<Project>, _there: &There<()>) -> Result<Option<Stranger>> {
        Ok(None)
    }

    /// The service may have gone first.
    async fn remove(at: &At<Project>, _there: &There<()>, _token: &Token) -> Result<(), Refusal> {
        let calls = Calls::new(at.site(), at.name());
        Ok(calls.close_what_is_there().await?)
    }
}

#[async_trait]
impl Resource for Invoker {
    type Actual = bool;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<bool>> {
        let found = self.calls.look(Some(&self.owner)).await?;
        let mut there = self.there.lock().unwrap_or_else(PoisonError::into_inner);
        *there = None;
        Ok(match found {
            Found::Here(callers) => {
                *there = Some(callers);
                Reading::Present(callers.everyone)
            }
            Found::Absent => Reading::Absent,
            Found::Denied(why) => Reading::Denied(why),
        })
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        describe(self.public())
    }

    fn observed(&self, actual: &bool) -> Fields {
        describe(*actual)
    }

    /// A binding that is not ours stays, also where the manifest wants the service closed.
    fn notes(&self, actual: &bool) -> Vec<String> {
        let there = *self.there.lock().unwrap_or_else(PoisonError::into_inner);
        let signed_in = there.is_some_and(|callers| callers.signed_in);
        let note = (signed_in && !actual && self.wish == Wish::Invited).then_some(
            "its policy lets everybody call it who has a Google account (`allAuthenticatedUsers`): nobody here bound that, and it stays",
        );
        note.map(str::to_owned).into_iter().collect()
    }

    fn publish(&self, _actual: &bool) {}

    /// Who may call a service is ours as far as the service is.
    fn bears_mark(&self, _actual: &bool) -> bool {
        self.adopts || self.is_of_ours()
    }

    /// Everyone could call it before us. Of a service that bears our mark nothing was there before
    /// us, however far the run came that made it: that opens the service as well.
    fn was_there(&self, actual: &bool) -> bool {
        *actual && self.public() && !self.known && !self.is_of_ours()
    }

    async fn create(&self, _token: &Token, _watch: &dyn Watch) -> Result<bool> {
        self.make(self.public()).await
    }

    async fn update(
        &self,
        _actual: &bool,
        _changes: &[FieldChange],
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<bool> {
        self.make(self.public()).await
    }

    async fn restore(
        &self,
        before: &bool,
        _now: &bool,
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<Undone> {
        self.make(*before).await?;
        Ok(Undone::PutBack)
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harms("other people may call the service than before")
    }

    async fn delete(&self, _actual: &bool, _token: &Token) -> Result<()> {
        self.calls.close_what_is_there().await
    }

    /// The check is part of the service, which is at work until it is changed everywhere.
    async fn readiness(&self, known: &bool) -> Result<Ready<bool>> {
        let state = match self.calls.service.find().await? {
            Found::Here(service) if service.reconciling => {
                Readiness::Pending("Cloud Run is still changing the service".to_owned())
            }
            Found::Here(_) | Found::Absent | Found::Denied(_) => Readiness::Ready,
        };
        Ok(Ready {
            state,
            actual: *known,
        })
    }

    fn spreads(&self) -> Duration {
        PROPAGATION
    }
}

#[cfg(test)]
mod tests {
    use google_cloud_iam_v1::model::Binding;

    use super::*;

    fn policy() -> Policy {
        Policy::new().set_etag("BwX").set_bindings([
            Binding::new()
                .set_role(ROLE)
                .set_members(["user:ada@example.com"]),
            Binding::new()
                .set_role("roles/run.admin")
                .set_members(["user:grace@example.com"]),
        ])
    }

    #[test]
    fn opening_and_closing_a_service_leaves_every_other_member_alone() {
        let open = changed(policy(), true);
        assert!(is_public(&open));
        assert_eq!(
            open.bindings[0].members,
            ["user:ada@example.com", "allUsers"]
        );
        assert_eq!(open.etag, policy().etag);
        assert_eq!(changed(open, false), policy());
    }

    #[test]
    fn closing_a_service_that_only_everyone_could_call_leaves_no_empty_binding() {
        let open = changed(Policy::new(), true);
        assert_eq!(open.bindings.len(), 1);
        assert!(changed(open, false).bindings.is_empty());
    }
}
