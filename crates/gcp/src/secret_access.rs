//! The binding that lets the account of the services read one secret.
//!
//! It stands on the secret's own policy. A policy is shared ground: only our member is added, and only that is taken away.

use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::SecretVersion;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::Value;
use deployer_core::node::{Kept, Reading, Resource, Token, Watch};
use deployer_core::ours::Past;
use deployer_core::wait::{Look, Pace, poll};
use google_cloud_iam_v1::model::{Binding, GetPolicyOptions, Policy};

use crate::error::{self, CloudError, Found};
use crate::labels::Owner;
use crate::project::{Project, short};
use crate::secret_calls::Store;

/// The kind in addresses.
pub(crate) const KIND: &str = "secretmanager.access";

/// Holds `secretmanager.versions.access` and nothing else of use.
const ROLE: &str = "roles/secretmanager.secretAccessor";
/// The roles that hold that permission too, wherever they are granted
/// (<https://cloud.google.com/secret-manager/docs/access-control>).
const SUFFICE: [&str; 3] = [ROLE, "roles/secretmanager.admin", "roles/owner"];
/// What the caller needs to write a secret's policy.
const MAY_GRANT: &str = "secretmanager.secrets.setIamPolicy";
/// The version that shows conditional bindings as they are, so that writing them back loses nothing.
const POLICY_VERSION: i32 = 3;
/// How long others may keep changing the same policy.
const CONTENDED: Pace = Pace::until(std::time::Duration::from_secs(60));

/// The account that services without one of their own run as, in addresses.
const DEFAULT: &str = "default-compute";

/// The account that a service runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    /// The one that the manifest names.
    Named(String),
    /// The project's default compute account, which is named by the project's number.
    Compute,
}

impl Account {
    /// The account that a manifest names, or the default one.
    pub(crate) fn of(given: Option<&String>) -> Self {
        given.map_or(Self::Compute, |email| Self::Named(email.clone()))
    }

    fn word(&self) -> &str {
        match self {
            Self::Named(email) => email,
            Self::Compute => DEFAULT,
        }
    }

    fn from_word(word: &str) -> Self {
        match word {
            DEFAULT => Self::Compute,
            email => Self::Named(email.to_owned()),
        }
    }
}

/// How an account may read a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Granted {
    /// By a binding on the secret.
    Here,
    /// By one on the project, which is somebody else's affair.
    ByProject,
}

/// The calls that concern one account's access to one secret.
struct Calls {
    store: Store,
    account: Account,
}

impl Calls {
    fn new(project: &Arc<Project>, secret: &str, account: Account) -> Self {
        Self {
            store: Store::new(project, secret),
            account,
        }
    }

    fn project(&self) -> &Project {
        &self.store.project
    }

    fn cannot(&self, what: &str) -> String {
        format!("cannot {what} who may read secret `{}`", self.store.name())
    }

    async fn email(&self) -> Result<String> {
        match &self.account {
            Account::Named(email) => Ok(email.clone()),
            Account::Compute => {
                let number = self.number().await?;
                Ok(format!("{number}-compute@developer.gserviceaccount.com"))
            }
        }
    }

    /// The project's number. Known since the project was checked, but where the Resource Manager API is off: then a secret of
    /// the project tells it, whose name has the number.
    async fn number(&self) -> Result<String> {
        if let Some(number) = self.project().number.get() {
            return Ok(number.clone());
        }
        let secret = self
            .store
            .secret()
            .await?
            .seen(&self.store.cannot("read"))?;
        let name = secret.map(|secret| secret.name).unwrap_or_default();
        let number = name.split('/').nth(1).unwrap_or_default();
        if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(number.to_owned());
        }
        Err(Error::new(
            ErrorKind::NotFound,
            "cannot tell the default service account: the project's number is not known".to_owned(),
        )
        .hint(
            "enable cloudresourcemanager.googleapis.com, or set `service_account` in [targets.gcp]",
        ))
    }

    async fn member(&self) -> Result<String> {
        Ok(format!("serviceAccount:{}", self.email().await?))
    }

    async fn policy(&self) -> Result<Policy, CloudError> {
        let secrets = self.project().clients.secrets.reading().await;
        let call = secrets.get_iam_policy().set_resource(self.store.path());
        let options = GetPolicyOptions::new().set_requested_policy_version(POLICY_VERSION);
        call.set_options(options).send().await
    }

    /// How the account may read it; `None` when nothing says that it may.
    ///
    /// Errors: denied, when it may not and the caller cannot let it.
    async fn look(&self, anothers: bool) -> Result<Found<Option<Granted>>> {
        let policy = match error::found(self.policy().await, &self.cannot("see"))? {
            Found::Here(policy) => policy,
            Found::Denied(why) => return Ok(Found::Denied(why)),
            Found::Absent => {
                self.may_grant(None).await?;
                return Ok(Found::Absent);
            }
        };
        let member = self.member().await?;
        if has(&policy, &[ROLE], &member) {
            return Ok(Found::Here(Some(Granted::Here)));
        }
        // Who may read all secrets of a project needs no change of another owner's policy.
        if anothers && self.by_project(&member).await {
            return Ok(Found::Here(Some(Granted::ByProject)));
        }
        if !self.may_grant(Some(&member)).await? {
            return Ok(Found::Here(Some(Granted::ByProject)));
        }
        Ok(Found::Here(None))
    }

    /// Whether the caller may write the policy: asked while planning, so that a run does not stop half-way. `false` when
    /// it may not and need not. Whoever cannot be asked is taken to be allowed: the write itself tells.
    ///
    /// Errors: denied, with the command that mends it.
    async fn may_grant(&self, member: Option<&str>) -> Result<bool> {
        let held = match member {
            Some(_) => {
                let secrets = self.project().clients.secrets.reading().await;
                let call = secrets.test_iam_permissions();
                let call = call.set_resource(self.store.path());
                call.set_permissions([MAY_GRANT]).send().await
            }
            None => return self.may_grant_in_project().await,
        };
        let (Ok(held), Some(member)) = (held, member) else {
            return Ok(true);
        };
        if held.permissions.iter().any(|held| held == MAY_GRANT) {
            return Ok(true);
        }
        if self.by_project(member).await {
            return Ok(false);
        }
        Err(self.refusal(member))
    }

    /// The same for a secret that is yet to be made. Asked once for all of them.
    async fn may_grant_in_project(&self) -> Result<bool> {
        let project = self.project();
        let may = project
            .may_grant
            .get_or_init(|| async {
                let call = project.clients.projects.test_iam_permissions();
                let call = call.set_resource(project.names.project());
                match call.set_permissions([MAY_GRANT]).send().await {
                    Ok(held) => held.permissions.iter().any(|held| held == MAY_GRANT),
                    Err(_) => true,
                }
            })
            .await;
        if *may {
            return Ok(true);
        }
        let member = self.member().await?;
        match self.by_project(&member).await {
            true => Ok(false),
            false => Err(self.refusal(&member)),
        }
    }

    /// Whether the project's policy lets the account read its secrets. `false` as well where that policy is not shown.
    async fn by_project(&self, member: &str) -> bool {
        let call = self.project().clients.projects.get_iam_policy();
        let path = self.store.path();
        let of = path.split("/secrets/").next().unwrap_or_default();
        let options = GetPolicyOptions::new().set_requested_policy_version(POLICY_VERSION);
        let policy = call.set_resource(of).set_options(options).send().await;
        policy.is_ok_and(|policy| has(&policy, &SUFFICE, member))
    }

    fn refusal(&self, member: &str) -> Error {
        let (account, name) = (short_member(member), self.store.name());
        Error::new(
            ErrorKind::Denied,
            format!(
                "cannot let {account} read secret `{name}`: the caller has no permission `{MAY_GRANT}`, and {account} no \
                 role that it could be seen to have"
            ),
        )
        .hint(self.remedy(member))
    }

    fn remedy(&self, member: &str) -> String {
        let path = self.store.path();
        let mut parts = path.split('/').skip(1).step_by(2);
        let (project, secret) = (parts.next(), parts.next());
        format!(
            "let an owner of the secret run `gcloud secrets add-iam-policy-binding {} --project={} --member={member} \
             --role={ROLE}`, once it is there; or grant the caller roles/secretmanager.admin",
            secret.unwrap_or_default(),
            project.unwrap_or_default(),
        )
    }

    /// Reads the policy, changes it when it must be, and writes it back with its etag; again when somebody else wrote it in
    /// between.
    async fn make(&self, wanted: bool) -> Result<()> {
        let member = self.member().await?;
        let clock = self.project().context.clock.as_ref();
        let what = format!("the policy of secret `{}`", self.store.name());
        poll(clock, CONTENDED, &what, || async {
            let policy = match error::found(self.policy().await, &self.cannot("see"))? {
                Found::Here(policy) => policy,
                // It takes its policy with it.
                Found::Absent if !wanted => return Ok(Look::Found(())),
                Found::Absent => return Ok(Look::NotYet("the secret is not there yet".to_owned())),
                Found::Denied(why) => {
                    return Err(Error::new(ErrorKind::Denied, self.cannot("see"))
                        .because(why)
                        .hint(self.remedy(&member)));
                }
            };
            if has(&policy, &[ROLE], &member) == wanted {
                return Ok(Look::Found(()));
            }
            let secrets = self.project().clients.secrets.changing().await;
            let call = secrets.set_iam_policy().set_resource(self.store.path());
            let written = call
                .set_policy(changed(policy, &member, wanted))
                .send()
                .await;
            match written {
                Ok(_) => Ok(Look::Found(())),
                Err(error) if error::is_stale(&error) => {
                    Ok(Look::NotYet("somebody else changes it as well".to_owned()))
                }
                // Who may read everything in the project needs nothing more.
                Err(error) if error::is_denied(&error) && self.by_project(&member).await => {
                    Ok(Look::Found(()))
                }
                Err(error) if error::is_denied(&error) => {
                    let refused = error::failed(error, &self.cannot("change"));
                    Err(refused.hint(self.remedy(&member)))
                }
                Err(error) => Err(error::failed(error, &self.cannot("change"))),
            }
        })
        .await
    }
}

fn short_member(member: &str) -> &str {
    member
        .split_once(':')
        .map_or(member, |(_, account)| account)
}

/// Whether the policy gives `member` one of these roles, whatever else holds.
fn has(policy: &Policy, roles: &[&str], member: &str) -> bool {
    policy.bindings.iter().any(|binding| {
        binding.condition.is_none()
            && roles.contains(&binding.role.as_str())
            && binding.members.iter().any(|there| there == member)
    })
}

/// The policy with `member` as accessor, or without; every other member, binding and condition stays.
fn changed(mut policy: Policy, member: &str, wanted: bool) -> Policy {
    let is_ours = |binding: &Binding| binding.role == ROLE && binding.condition.is_none();
    for binding in policy.bindings.iter_mut().filter(|it| is_ours(it)) {
        binding.members.retain(|there| there != member);
    }
    if wanted {
        match policy.bindings.iter_mut().find(|it| is_ours(it)) {
            Some(binding) => binding.members.push(member.to_owned()),
            None => {
                let binding = Binding::new().set_role(ROLE).set_members([member]);
                policy.bindings.push(binding);
            }
        }
    }
    policy.bindings.retain(|it| !it.members.is_empty());
    policy
}

/// One account's access to one secret of the manifest.
pub(crate) struct Access {
    calls: Calls,
    address: Address,
    /// Whether the secret may be somebody else's.
    anothers: bool,
    /// The secret is made first; nothing else is taken from it.
    _secret: Value<SecretVersion>,
}

impl Access {
    /// The access of `account` to the secret of that name.
    pub(crate) fn new(
        project: &Arc<Project>,
        secret: &str,
        account: Account,
        anothers: bool,
        made: Value<SecretVersion>,
    ) -> Self {
        Self {
            address: address(project, secret, &account),
            calls: Calls::new(project, secret, account),
            anothers,
            _secret: made,
        }
    }
}

/// Where an access stands: the secret's name and the account.
pub(crate) fn address(project: &Project, secret: &str, account: &Account) -> Address {
    Address::new(
        &project.target,
        KIND,
        format!("{secret}/{}", account.word()),
    )
}

fn described(account: &Account) -> Fields {
    let mut fields = Fields::new();
    fields.set("account", account.word());
    fields.set("role", ROLE);
    fields
}

#[async_trait]
impl Resource for Access {
    type Actual = Granted;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Granted>> {
        Ok(match self.calls.look(self.anothers).await? {
            Found::Here(Some(granted)) => Reading::Present(granted),
            Found::Here(None) | Found::Absent => Reading::Absent,
            Found::Denied(why) => Reading::Denied(why),
        })
    }

    fn desired(&self) -> Fields {
        described(&self.calls.account)
    }

    fn observed(&self, _actual: &Granted) -> Fields {
        described(&self.calls.account)
    }

    fn publish(&self, _actual: &Granted) {}

    /// Who else granted it is not told: it is ours when a run of ours made it.
    fn bears_mark(&self, _actual: &Granted) -> bool {
        false
    }

    fn is_unmarked(&self) -> bool {
        true
    }

    async fn create(&self, _token: &Token, _watch: &dyn Watch) -> Result<Granted> {
        self.calls.make(true).await.map(|()| Granted::Here)
    }

    async fn update(
        &self,
        actual: &Granted,
        _changes: &[FieldChange],
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<Granted> {
        Ok(*actual)
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harmless("who may read it was added to, and nobody taken away")
    }

    async fn delete(&self, _actual: &Granted, _token: &Token) -> Result<()> {
        self.calls.make(false).await
    }
}

/// An access that is no longer desired: it can be read and taken away.
pub(crate) struct Leftover {
    calls: Calls,
    address: Address,
    /// Whose the secret must be, unless the inventory notes that we bound the account to it.
    whose: Owner,
    bound_by_us: bool,
}

impl Leftover {
    /// The access at `address`.
    pub(crate) fn new(
        project: &Arc<Project>,
        address: &Address,
        whose: Owner,
        past: &Past,
    ) -> Self {
        let word = short(&address.name);
        let secret = address.name.strip_suffix(word).unwrap_or_default();
        let secret = secret.trim_end_matches('/');
        let calls = Calls::new(project, secret, Account::from_word(word));
        Self {
            bound_by_us: past.says(&described(&calls.account)),
            calls,
            address: address.clone(),
            whose,
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
        if !self.bound_by_us {
            match self.calls.store.secret().await? {
                Found::Here(secret) => {
                    if let Some(stranger) = self.whose.objection(&secret.labels) {
                        return Ok(Reading::Foreign(stranger));
                    }
                }
                Found::Absent => return Ok(Reading::Absent),
                Found::Denied(why) => return Ok(Reading::Denied(why)),
            }
        }
        let cannot = self.calls.cannot("see");
        let policy = match error::found(self.calls.policy().await, &cannot)? {
            Found::Here(policy) => policy,
            Found::Absent => return Ok(Reading::Absent),
            Found::Denied(why) => return Ok(Reading::Denied(why)),
        };
        let member = self.calls.member().await?;
        Ok(match has(&policy, &[ROLE], &member) {
            true => Reading::Present(()),
            false => Reading::Absent,
        })
    }

    fn observed(&self, (): &()) -> Fields {
        described(&self.calls.account)
    }

    /// What we alone bound to a secret that stays is taken away from it.
    async fn release(&self, (): &()) -> Result<()> {
        self.calls.make(false).await
    }

    async fn delete(&self, (): &()) -> Result<()> {
        self.calls.make(false).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: &str = "serviceAccount:app@p.iam.gserviceaccount.com";

    fn policy() -> Policy {
        let mut conditional = Binding::new().set_role(ROLE).set_members([US]);
        conditional.condition = Some(Default::default());
        Policy::new().set_etag("BwX").set_version(3).set_bindings([
            conditional,
            Binding::new()
                .set_role(ROLE)
                .set_members(["user:ada@example.com"]),
            Binding::new()
                .set_role("roles/secretmanager.viewer")
                .set_members([US]),
        ])
    }

    #[test]
    fn granting_and_taking_away_leaves_every_other_member_binding_and_condition_alone() {
        assert!(!has(&policy(), &[ROLE], US));
        let granted = changed(policy(), US, true);
        assert!(has(&granted, &[ROLE], US));
        assert_eq!(granted.bindings[1].members, ["user:ada@example.com", US]);
        assert_eq!((&granted.etag, granted.version), (&policy().etag, 3));
        assert_eq!(changed(granted, US, false), policy());
    }

    #[test]
    fn taking_away_the_only_member_leaves_no_empty_binding() {
        let granted = changed(Policy::new(), US, true);
        assert_eq!(granted.bindings.len(), 1);
        assert!(changed(granted, US, false).bindings.is_empty());
    }

    #[test]
    fn an_account_is_known_again_by_its_address() {
        for account in [
            Account::Compute,
            Account::Named("a@p.iam.gserviceaccount.com".into()),
        ] {
            assert_eq!(Account::from_word(account.word()), account);
        }
    }
}
