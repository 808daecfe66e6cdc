//! The calls that concern one account's access to one secret.

use std::sync::Arc;
use std::time::Duration;

use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::wait::{Look, Pace, poll};
use google_cloud_iam_v1::model::{GetPolicyOptions, Policy};

use super::account::Account;
use super::policy::{ROLE, SUFFICE, changed, has, may_hide};
use crate::error::{self, CloudError, Found};
use crate::project::Project;
use crate::secret_store::Store;

/// What the caller needs to write a secret's policy.
const MAY_GRANT: &str = "secretmanager.secrets.setIamPolicy";
/// The version that shows conditional bindings as they are, so that writing them back loses
/// nothing.
const POLICY_VERSION: i32 = 3;
/// How long others may keep changing the same policy.
const CONTENDED: Duration = Duration::from_secs(60);

/// How an account may read a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Granted {
    /// By a binding on the secret.
    Here,
    /// By one on the project, which is somebody else's affair.
    ByProject,
    /// Nobody here sees whether, nor could change it.
    Unseen,
}

/// What the project's policy says of an account.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ByProject {
    Yes,
    /// For certain: nothing is inherited, and no group and no role of somebody's own is named.
    No,
    NotShown,
}

/// The calls that concern one account's access to one secret.
pub(super) struct Calls {
    pub(super) store: Store,
    pub(super) account: Account,
}

impl Calls {
    pub(super) fn new(project: &Arc<Project>, secret: &str, account: Account) -> Self {
        Self {
            store: Store::new(project, secret),
            account,
        }
    }

    fn project(&self) -> &Project {
        &self.store.project
    }

    pub(super) fn cannot(&self, what: &str) -> String {
        format!("cannot {what} who may read secret `{}`", self.store.name())
    }

    pub(super) async fn email(&self) -> Result<String> {
        match &self.account {
            Account::Named(email) => Ok(email.clone()),
            Account::Compute => {
                let number = self.number().await?;
                Ok(Account::compute(&number))
            }
        }
    }

    /// The project's number. Known since the project was checked, but where the Resource Manager
    /// API is off: then a secret of the project tells it, whose name has the number.
    async fn number(&self) -> Result<String> {
        if let Some(number) = self.project().number.get() {
            return Ok(number.clone());
        }
        // Another project's would tell that one's.
        let is_ours = !self.store.name().contains('/');
        let secret = match is_ours {
            true => self
                .store
                .secret()
                .await?
                .seen(&self.store.cannot("read"))?,
            false => None,
        };
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

    pub(super) async fn member(&self) -> Result<String> {
        Ok(format!("serviceAccount:{}", self.email().await?))
    }

    pub(super) async fn policy(&self) -> Result<Policy, CloudError> {
        let secrets = self.project().clients.secrets.reading().await;
        let call = secrets.get_iam_policy().set_resource(self.store.path());
        let options = GetPolicyOptions::new().set_requested_policy_version(POLICY_VERSION);
        call.set_options(options).send().await
    }

    /// How the account may read it; `None` when nothing says that it may and the caller can let it.
    /// Access also comes from groups, folders, the organization, roles of one's own: of another's
    /// secret (`anothers`), and of a project whose policy is not shown, Cloud Run's own check is
    /// the judge.
    ///
    /// Errors: denied, when it may not and the caller cannot let it.
    pub(super) async fn look(&self, anothers: bool) -> Result<Found<Option<Granted>>> {
        let policy = match error::found(self.policy().await, &self.cannot("see"))? {
            Found::Here(policy) => policy,
            Found::Denied(_) if anothers => return Ok(Found::Here(Some(Granted::Unseen))),
            Found::Denied(why) => return Ok(Found::Denied(why)),
            Found::Absent => {
                self.may_grant_in_project().await?;
                return Ok(Found::Absent);
            }
        };
        let member = self.member().await?;
        if has(&policy, &[ROLE], &member) {
            return Ok(Found::Here(Some(Granted::Here)));
        }
        let hides = may_hide(&policy, &member);
        // Who may read all secrets of a project needs no change of another owner's policy.
        if anothers && self.by_project(&member).await == ByProject::Yes {
            return Ok(Found::Here(Some(Granted::ByProject)));
        }
        if self.may_write().await {
            return Ok(Found::Here(None));
        }
        match self.by_project(&member).await {
            ByProject::Yes => Ok(Found::Here(Some(Granted::ByProject))),
            ByProject::NotShown => Ok(Found::Here(Some(Granted::Unseen))),
            ByProject::No if anothers || hides => Ok(Found::Here(Some(Granted::Unseen))),
            ByProject::No => Err(self.refusal(&member)),
        }
    }

    /// Whether the caller may write the policy: asked while planning, so that a run does not stop
    /// half-way. Whoever cannot be asked is taken to be allowed: the write itself tells.
    async fn may_write(&self) -> bool {
        let secrets = self.project().clients.secrets.reading().await;
        let call = secrets
            .test_iam_permissions()
            .set_resource(self.store.path());
        match call.set_permissions([MAY_GRANT]).send().await {
            Ok(held) => held.permissions.iter().any(|held| held == MAY_GRANT),
            Err(_) => true,
        }
    }

    /// The same for a secret that is yet to be made. Asked once for all of them.
    ///
    /// Errors: denied, when the caller may not and the project's policy does not let the account,
    /// with the command that mends it.
    async fn may_grant_in_project(&self) -> Result<()> {
        let project = self.project();
        let may = project
            .may_grant
            .get_or_init(|| async {
                let projects = project.clients.projects.reading().await;
                let call = projects.test_iam_permissions();
                let call = call.set_resource(project.names.project());
                match call.set_permissions([MAY_GRANT]).send().await {
                    Ok(held) => held.permissions.iter().any(|held| held == MAY_GRANT),
                    Err(_) => true,
                }
            })
            .await;
        if *may {
            return Ok(());
        }
        let member = self.member().await?;
        match self.by_project(&member).await {
            ByProject::Yes | ByProject::NotShown => Ok(()),
            ByProject::No => Err(self.refusal(&member)),
        }
    }

    /// Whether the project's policy lets the account read its secrets. A folder, the organization,
    /// a group and a role of somebody's own may let it as well ("Resource hierarchy for access
    /// control", IAM), and none of these is seen here.
    async fn by_project(&self, member: &str) -> ByProject {
        let projects = self.project().clients.projects.reading().await;
        let call = projects.get_iam_policy();
        let path = self.store.path();
        let of = path.split("/secrets/").next().unwrap_or_default();
        let options = GetPolicyOptions::new().set_requested_policy_version(POLICY_VERSION);
        match call.set_resource(of).set_options(options).send().await {
            Ok(policy) if has(&policy, &SUFFICE, member) => ByProject::Yes,
            Ok(policy) if may_hide(&policy, member) || self.may_inherit(of) => ByProject::NotShown,
            Ok(_) => ByProject::No,
            Err(_) => ByProject::NotShown,
        }
    }

    /// Whether something above a project may let its accounts do more. Of what nobody told it may.
    fn may_inherit(&self, project: &str) -> bool {
        let ours = self.project();
        project != ours.names.project() || ours.is_alone.get() != Some(&true)
    }

    /// Notes whether nobody here sees how the secret is read.
    pub(super) fn note_unseen(&self, is_unseen: bool) {
        let path = self.store.path();
        let unseen = &self.project().unseen;
        unseen.note(path.rsplit('/').next().unwrap_or_default(), is_unseen);
    }

    /// What people should know of an access that cannot be seen.
    pub(super) async fn unseen(&self) -> Result<String> {
        let member = self.member().await?;
        Ok(format!(
            "it cannot be seen whether {} may read it, and the caller may not let it: Cloud Run's own check tells; where that \
             refuses, {}",
            short_member(&member),
            self.remedy(&member)
        ))
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

    /// Reads the policy, changes it when it must be, and writes it back with its etag; again when
    /// somebody else wrote it in between.
    pub(super) async fn make(&self, wanted: bool) -> Result<()> {
        let member = self.member().await?;
        let clock = self.project().context.clock.as_ref();
        let what = format!("the policy of secret `{}`", self.store.name());
        // An account that comes with an API may be unknown for a while.
        let unknown = || self.project().apis.gets_about(clock.elapsed());
        let pace = Pace::until(CONTENDED.max(unknown()));
        poll(clock, pace, &what, || async {
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
                Err(error) if error::is_new_account(&error) && !unknown().is_zero() => Ok(
                    Look::NotYet("Google has yet to make the account known".to_owned()),
                ),
                Err(error) if error::is_denied(&error) && wanted => {
                    match self.by_project(&member).await {
                        ByProject::Yes => Ok(Look::Found(())),
                        // Cloud Run's own check is the judge of what is not shown here.
                        ByProject::NotShown => {
                            self.note_unseen(true);
                            Ok(Look::Found(()))
                        }
                        ByProject::No => {
                            let refused = error::failed(error, &self.cannot("change"));
                            Err(refused.hint(self.remedy(&member)))
                        }
                    }
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
