//! An access that is no longer desired: it can be read and taken away, unless something of ours still needs it.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::error::{ErrorKind, Result};
use deployer_core::fields::{FieldValue, Fields};
use deployer_core::node::Reading;
use deployer_core::ours::Past;
use google_cloud_gax::paginator::ItemPaginator;
use google_cloud_run_v2::model::env_var::Values;
use google_cloud_run_v2::model::volume::VolumeType;
use google_cloud_run_v2::model::{Container, Volume};

use super::account::Account;
use super::calls::Calls;
use super::policy::{ROLE, has};
use super::{BETWEEN, described};
use crate::error::{self, Found};
use crate::labels::Owner;
use crate::project::{Project, short};

/// An access that is no longer desired.
pub(crate) struct Leftover {
    project: Arc<Project>,
    calls: Vec<Calls>,
    /// As it was noted.
    fields: Fields,
    address: Address,
    /// Whose the secret must be, unless the inventory notes that we bound the account to it.
    whose: Owner,
    bound_by_us: bool,
}

impl Leftover {
    /// The access at `address`: of the accounts that the inventory notes, or of the one of the address.
    pub(crate) fn new(
        project: &Arc<Project>,
        address: &Address,
        whose: Owner,
        past: &Past,
    ) -> Self {
        let word = short(&address.name);
        let secret = address.name.strip_suffix(word).unwrap_or_default();
        let secret = secret.trim_end_matches('/');
        let mut accounts: Vec<Account> = past.wrote.iter().flat_map(noted).collect();
        if accounts.is_empty() {
            accounts.push(Account::from_word(word));
        }
        accounts.sort();
        accounts.dedup();
        let fields = described(&accounts);
        let calls = accounts.into_iter();
        Self {
            project: Arc::clone(project),
            bound_by_us: !past.wrote.is_empty(),
            calls: calls
                .map(|account| Calls::new(project, secret, account))
                .collect(),
            fields,
            address: address.clone(),
            whose,
        }
    }

    /// Takes the access away from every account that nothing of ours runs as with this secret: what goes on as it is goes on reading
    /// it. Where that cannot be seen, the access stays: it goes with its secret.
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

    /// The accounts of all services and jobs of ours that take the secret. Empty names stand for the default one.
    async fn readers(&self, secret: &str) -> Result<Vec<String>> {
        let project = &self.project;
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
        self.whose.objection(labels).is_none()
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
        names.any(|name| self.project.names.secret_in_full(name) == secret)
    }
}

/// The accounts that an apply noted.
fn noted(wrote: &Fields) -> Vec<Account> {
    match wrote.get("account") {
        Some(FieldValue::Known(words)) => words.split(BETWEEN).map(Account::from_word).collect(),
        Some(FieldValue::AfterApply { .. }) | None => Vec::new(),
    }
}

#[async_trait]
impl crate::existing::Existing for Leftover {
    type Actual = ();

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<()>> {
        for calls in &self.calls {
            match calls.store.secret().await? {
                Found::Here(secret) => {
                    // Another environment may need the same binding on its own secret; of one that nobody marked the inventory tells.
                    if let Some(stranger) = self.whose.objection(&secret.labels)
                        && (stranger.owner().is_some() || !self.bound_by_us)
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
                return Ok(Reading::Present(()));
            }
        }
        Ok(Reading::Absent)
    }

    fn observed(&self, (): &()) -> Fields {
        self.fields.clone()
    }

    /// What we alone bound to a secret that stays is taken away from it.
    async fn release(&self, (): &()) -> Result<()> {
        self.take_away().await
    }

    async fn delete(&self, (): &()) -> Result<()> {
        self.take_away().await
    }
}
