//! An access that was given: it can be read and taken away, unless something of ours still needs
//! it.

use std::collections::HashMap;

use deployer_core::error::ErrorKind;
use deployer_core::fields::{FieldValue, Fields};
use google_cloud_gax::paginator::ItemPaginator;
use google_cloud_run_v2::model::env_var::Values;
use google_cloud_run_v2::model::volume::VolumeType;
use google_cloud_run_v2::model::{Container, Volume};

use super::account::Account;
use super::calls::Calls;
use super::policy::{ROLE, has};
use super::{Access, BETWEEN, described};
use crate::access::Access as Permissions;
use crate::error::{self, Found};
use crate::paths::short;
use crate::secret_store::SECRET;
use crate::site::prelude::{
    At, Data, Description, Facts, Feature, Kind, Marks, NOT_FOUND, On, Passing, Project, Reading,
    Refusal, Released, Result, Role, There, Tier, Token, Unnamed, tags,
};

impl Kind for Access {
    type Site = Project;
    type Is = Fields;
    const KIND: &'static str = "secretmanager.access";
    const NOUN: &'static str = "access to a secret";
    const ROLE: Role = Role::Secret;
    const TIER: Tier = Tier::Within;
    const FACTS: Facts = Facts {
        api: "secretmanager.googleapis.com",
        unnamed: Unnamed::With(SECRET),
        access: Permissions {
            feature: Feature::Secrets,
            read: &["secretmanager.secrets.getIamPolicy"],
            change: &["secretmanager.secrets.setIamPolicy"],
            roles: &["roles/secretmanager.admin"],
            on: On::Project,
        },
    };
    const DATA: Data = Data::None;
    const MARKS: Marks<Self> = Marks::own();
    const ABSENT: &'static [&'static str] = &[NOT_FOUND];
    const TAKEN: &'static [&'static str] = &[];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = Passing::NOTHING;

    fn describe(is: &Fields, to: &mut Description) {
        to.extend(is);
    }

    async fn find(at: &At<Project>) -> Result<Reading<There<Fields>>, Refusal> {
        Ok(Given::new(at).read().await?)
    }

    /// Whose the secret is was seen with it: a binding carries no mark of its own.
    fn foreign(
        _at: &At<Project>,
        _there: &There<Fields>,
    ) -> Result<Option<deployer_core::ours::Stranger>> {
        Ok(None)
    }

    async fn remove(
        at: &At<Project>,
        _there: &There<Fields>,
        _token: &Token,
    ) -> Result<(), Refusal> {
        Ok(Given::new(at).take_away().await?)
    }
}

impl Released for Access {
    /// What we alone bound to a secret that stays is taken away from it.
    async fn release(at: &At<Project>, _there: &There<Fields>) -> Result<(), Refusal> {
        Ok(Given::new(at).take_away().await?)
    }
}

/// An access at an address: of the accounts that the inventory notes, or of the one of the address.
struct Given<'a> {
    at: &'a At<Project>,
    calls: Vec<Calls>,
    /// As it was noted.
    fields: Fields,
}

impl<'a> Given<'a> {
    fn new(at: &'a At<Project>) -> Self {
        let word = short(at.name());
        let secret = at.name().strip_suffix(word).unwrap_or_default();
        let secret = secret.trim_end_matches('/');
        let mut accounts: Vec<Account> = at.past.wrote.iter().flat_map(noted).collect();
        if accounts.is_empty() {
            accounts.push(Account::from_word(word));
        }
        accounts.sort();
        accounts.dedup();
        let fields = described(&accounts);
        let calls = accounts.into_iter();
        Self {
            calls: calls
                .map(|account| Calls::new(at.site(), secret, account))
                .collect(),
            fields,
            at,
        }
    }

    async fn read(&self) -> Result<Reading<There<Fields>>> {
        for calls in &self.calls {
            match calls.store.secret().await? {
                Found::Here(secret) => {
                    // Another environment may need the same binding on its own secret; of one that
                    // nobody marked the inventory tells.
                    if let Some(stranger) = self.at.owner.foreign(&tags(&secret.labels))
                        && (stranger.owner().is_some() || self.at.past.wrote.is_empty())
                    {
                        return Ok(Reading::Foreign(stranger));
                    }
                }
                Found::Absent => return Ok(Reading::Absent),
                Found::Denied(why) => return Ok(Reading::Denied(why)),
            }
            let policy = match error::found(calls.policy().await, &calls.cannot("see"))? {
                Found::Here(policy) => policy,
                Found::Absent => return Ok(Reading::Absent),
                Found::Denied(why) => return Ok(Reading::Denied(why)),
            };
            if has(&policy, &[ROLE], &calls.member().await?) {
                return Ok(Reading::Present(There::bare(self.fields.clone())));
            }
        }
        Ok(Reading::Absent)
    }

    /// Takes the access away from every account that nothing of ours runs as with this secret: what
    /// goes on as it is goes on reading it. Where that cannot be seen, the access stays: it goes
    /// with its secret.
    async fn take_away(&self) -> Result<()> {
        let Some(first) = self.calls.first() else {
            return Ok(());
        };
        let readers = match self.readers(&first.store.path()).await {
            Err(error) if error.kind() == ErrorKind::Denied => return Ok(()),
            readers => readers?,
        };
        for calls in &self.calls {
            let email = calls.email().await?;
            let is_default = |reader: &str| reader.is_empty() && calls.account == Account::Compute;
            let mut readers = readers.iter();
            if !readers.any(|reader| *reader == email || is_default(reader)) {
                calls.make(false).await?;
            }
        }
        Ok(())
    }

    /// The accounts of all services and jobs of ours that take the secret. Empty names stand for
    /// the default one.
    async fn readers(&self, secret: &str) -> Result<Vec<String>> {
        let project = self.at;
        let mut readers = Vec::new();
        let services = project.clients.services.reading().await;
        let services = services.list_services();
        let mut services = services.set_parent(project.names.location()).by_item();
        while let Some(service) = services.next().await {
            let service = service.map_err(|error| error::failed(error, "cannot list services"))?;
            let template = service.template.unwrap_or_default();
            if self.is_ours(&service.labels)
                && self.takes(secret, &template.containers, &template.volumes)
            {
                readers.push(template.service_account);
            }
        }
        let jobs = project.clients.jobs.reading().await.list_jobs();
        let mut jobs = jobs.set_parent(project.names.location()).by_item();
        while let Some(job) = jobs.next().await {
            let job = job.map_err(|error| error::failed(error, "cannot list jobs"))?;
            let task = job.template.and_then(|execution| execution.template);
            let task = task.unwrap_or_default();
            if self.is_ours(&job.labels) && self.takes(secret, &task.containers, &task.volumes) {
                readers.push(task.service_account);
            }
        }
        Ok(readers)
    }

    fn is_ours(&self, labels: &HashMap<String, String>) -> bool {
        self.at.owner.foreign(&tags(labels)).is_none()
    }

    /// Whether containers take the secret, as a variable or as a file.
    fn takes(&self, secret: &str, containers: &[Container], volumes: &[Volume]) -> bool {
        let variables = containers.iter().flat_map(|container| &container.env);
        let by_variable = variables.filter_map(|variable| match &variable.values {
            Some(Values::ValueSource(source)) => source.secret_key_ref.as_ref(),
            _ => None,
        });
        let by_volume = volumes
            .iter()
            .filter_map(|volume| match &volume.volume_type {
                Some(VolumeType::Secret(source)) => Some(&source.secret),
                _ => None,
            });
        let mut names = by_variable
            .map(|reference| &reference.secret)
            .chain(by_volume);
        names.any(|name| self.at.names.secret_in_full(name) == secret)
    }
}

/// The accounts that an apply noted.
fn noted(wrote: &Fields) -> Vec<Account> {
    match wrote.get("account") {
        Some(FieldValue::Known(words)) => words.split(BETWEEN).map(Account::from_word).collect(),
        Some(FieldValue::AfterApply { .. }) | None => Vec::new(),
    }
}
