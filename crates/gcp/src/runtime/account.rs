//! The accounts that services and jobs run as, as Cloud Run tells them.

use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::error::Result;
use deployer_core::spec::ServiceSpec;

use super::{job, service};
use crate::composition::Composition;
use crate::error::Found;
use crate::project::Project;
use crate::secret_access::RunsAs;

#[async_trait]
impl RunsAs for service::Calls {
    fn project(&self) -> &Project {
        &self.project
    }

    fn path(&self) -> String {
        self.path()
    }

    async fn account(&self) -> Result<String> {
        Ok(match self.find().await? {
            Found::Here(service) => service.template.unwrap_or_default().service_account,
            Found::Absent | Found::Denied(_) => String::new(),
        })
    }
}

#[async_trait]
impl RunsAs for job::Calls {
    fn project(&self) -> &Project {
        &self.project
    }

    fn path(&self) -> String {
        self.path()
    }

    async fn account(&self) -> Result<String> {
        Ok(match self.find().await? {
            Found::Here(job) => {
                let task = job.template.and_then(|execution| execution.template);
                task.unwrap_or_default().service_account
            }
            Found::Absent | Found::Denied(_) => String::new(),
        })
    }
}

impl Composition<'_> {
    /// The services that take a secret and for which the manifest names no account, and their
    /// jobs.
    pub(super) fn users_of(&self, secret: &str) -> Vec<Arc<dyn RunsAs>> {
        let takes = |service: &&ServiceSpec| service.secrets.values().any(|it| it.secret == secret);
        let unnamed = |it: &&ServiceSpec| self.ground.account_of(&it.key).is_none();
        let mut users = Vec::<Arc<dyn RunsAs>>::new();
        for service in self.env.services.values().filter(takes).filter(unnamed) {
            users.push(Arc::new(service::Calls::new(&self.project, &service.name)));
            if let Some(migrate) = &service.migrate {
                users.push(Arc::new(job::Calls::new(&self.project, &migrate.job)));
            }
        }
        users
    }
}
