//! The binding that lets everyone call a Cloud Run service, or its absence.

use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::Revision;
use deployer_core::error::Result;
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::Value;
use deployer_core::node::{Kept, Reading, Resource, Token, Watch};
use google_cloud_iam_v1::model::{Binding, GetPolicyOptions, Policy};

use crate::error::{self, Found};
use crate::project::Project;

/// The kind in addresses.
pub(crate) const KIND: &str = "run.invoker";

const ROLE: &str = "roles/run.invoker";
const EVERYONE: &str = "allUsers";
/// The version that shows conditional bindings as they are, so that writing them back loses nothing.
const POLICY_VERSION: i32 = 3;

/// The calls that concern one service's policy.
struct Calls {
    project: Arc<Project>,
    service: String,
}

impl Calls {
    fn cannot(&self, what: &str) -> String {
        format!(
            "cannot {what} the invoker policy of service `{}`",
            self.service
        )
    }

    async fn find(&self) -> Result<Found<Policy>> {
        let outcome = self
            .project
            .clients
            .services
            .reading()
            .await
            .get_iam_policy()
            .set_resource(self.project.names.service(&self.service))
            .set_options(GetPolicyOptions::new().set_requested_policy_version(POLICY_VERSION))
            .send()
            .await;
        error::found(outcome, &self.cannot("read"))
    }

    /// Reads the policy, changes it when it must be, and writes it back with its etag.
    ///
    /// Errors: conflict, when somebody else wrote it in between; nothing is lost.
    async fn make(&self, public: bool) -> Result<Policy> {
        let policy = self
            .project
            .clients
            .services
            .reading()
            .await
            .get_iam_policy()
            .set_resource(self.project.names.service(&self.service))
            .set_options(GetPolicyOptions::new().set_requested_policy_version(POLICY_VERSION))
            .send()
            .await
            .map_err(|error| error::failed(error, &self.cannot("read")))?;
        if is_public(&policy) == public {
            return Ok(policy);
        }
        self.project
            .clients
            .services
            .changing()
            .await
            .set_iam_policy()
            .set_resource(self.project.names.service(&self.service))
            .set_policy(changed(policy, public))
            .send()
            .await
            .map_err(|error| error::failed(error, &self.cannot("write")))
    }
}

fn is_public(policy: &Policy) -> bool {
    policy.bindings.iter().any(|binding| {
        is_plain_invoker(binding) && binding.members.iter().any(|member| member == EVERYONE)
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
    public: bool,
    /// The service is made first; nothing else is taken from it.
    _service: Value<Revision>,
}

impl Invoker {
    /// The binding of the service of that name.
    pub(crate) fn new(
        project: &Arc<Project>,
        address: Address,
        public: bool,
        service: Value<Revision>,
    ) -> Self {
        Self {
            calls: Calls {
                project: Arc::clone(project),
                service: address.name.clone(),
            },
            address,
            public,
            _service: service,
        }
    }
}

fn describe(public: bool) -> Fields {
    let mut fields = Fields::new();
    fields.set("everyone may call it", if public { "yes" } else { "no" });
    fields
}

#[async_trait]
impl Resource for Invoker {
    type Actual = bool;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<bool>> {
        Ok(match self.calls.find().await? {
            Found::Here(policy) => Reading::Present(is_public(&policy)),
            Found::Absent => Reading::Absent,
            Found::Denied(why) => Reading::Denied(why),
        })
    }

    fn desired(&self) -> Fields {
        describe(self.public)
    }

    fn observed(&self, actual: &bool) -> Fields {
        describe(*actual)
    }

    fn publish(&self, _actual: &bool) {}

    async fn create(&self, _token: &Token, _watch: &dyn Watch) -> Result<bool> {
        self.calls
            .make(self.public)
            .await
            .map(|policy| is_public(&policy))
    }

    async fn update(
        &self,
        _actual: &bool,
        _changes: &[FieldChange],
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<bool> {
        self.calls
            .make(self.public)
            .await
            .map(|policy| is_public(&policy))
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harms("other people may call the service than before")
    }

    async fn delete(&self, _actual: &bool, _token: &Token) -> Result<()> {
        self.calls.make(false).await.map(|_| ())
    }
}

/// A binding that is no longer desired: it can be read and removed.
pub(crate) struct Leftover {
    calls: Calls,
    address: Address,
}

impl Leftover {
    /// The binding at `address`.
    pub(crate) fn new(project: &Arc<Project>, address: &Address) -> Self {
        Self {
            calls: Calls {
                project: Arc::clone(project),
                service: address.name.clone(),
            },
            address: address.clone(),
        }
    }
}

#[async_trait]
impl crate::existing::Existing for Leftover {
    type Actual = ();

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<()>> {
        Ok(match self.calls.find().await? {
            Found::Here(policy) if is_public(&policy) => Reading::Present(()),
            // Without the binding there is nothing to remove.
            Found::Here(_) | Found::Absent => Reading::Absent,
            Found::Denied(why) => Reading::Denied(why),
        })
    }

    fn observed(&self, (): &()) -> Fields {
        describe(true)
    }

    async fn delete(&self, (): &()) -> Result<()> {
        // The service may have gone first, and its policy with it.
        match self.calls.find().await? {
            Found::Absent => Ok(()),
            Found::Here(_) | Found::Denied(_) => self.calls.make(false).await.map(|_| ()),
        }
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
