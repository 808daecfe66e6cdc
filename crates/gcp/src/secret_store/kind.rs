//! What a secret is by its address alone: `secretmanager.secret`, read, removed, let go.

use deployer_core::names::OWNER_TAG;

use super::calls::Store;
use super::secret::{Actual, Secret, delete, label};
use crate::site::prelude::*;

impl Kind for Secret {
    type Site = Project;
    type Is = Actual;
    const KIND: &'static str = "secretmanager.secret";
    const NOUN: &'static str = "secret";
    const ROLE: Role = Role::Secret;
    const TIER: Tier = Tier::Store;
    const FACTS: Facts = Facts {
        api: "secretmanager.googleapis.com",
        unnamed: Unnamed::Listed {
            what: "secrets",
            list: |project, label| Box::pin(list(project, label)),
        },
        access: Access {
            feature: Feature::Secrets,
            read: &[
                "secretmanager.secrets.get",
                "secretmanager.secrets.list",
                "secretmanager.versions.access",
                "secretmanager.versions.get",
                "secretmanager.versions.list",
            ],
            change: &[
                "secretmanager.secrets.create",
                "secretmanager.secrets.delete",
                "secretmanager.secrets.update",
                "secretmanager.versions.add",
            ],
            roles: &["roles/secretmanager.admin"],
            on: On::Project,
        },
    };
    const DATA: Data = Data::AsNoted;
    const MARKS: Marks<Self> = Marks::tags();
    const ABSENT: &'static [&'static str] = &[NOT_FOUND];
    const TAKEN: &'static [&'static str] = &[];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = Passing::NOTHING;

    fn describe(_is: &Actual, _to: &mut Description) {}

    async fn find(at: &At<Project>) -> Result<Reading<There<Actual>>, Refusal> {
        let found = Reading::from(Store::new(at.site(), at.name()).secret().await?);
        Ok(found.map(|secret| There {
            id: String::new(),
            tags: tags(&secret.labels),
            is: Actual {
                labels: secret.labels,
                etag: secret.etag,
                current: None,
                anothers: false,
                replication: String::new(),
            },
        }))
    }

    async fn remove(
        at: &At<Project>,
        there: &There<Actual>,
        _token: &Token,
    ) -> Result<(), Refusal> {
        Ok(delete(&Store::new(at.site(), at.name()), &there.is).await?)
    }
}

async fn list(project: &Project, label: &str) -> Labelled {
    let secrets = project.clients.secrets.reading().await;
    let list = secrets.list_secrets().set_parent(project.names.project());
    read!(list.set_filter(format!("labels.{OWNER_TAG}={label}")))
}

impl Tagged for Secret {
    async fn mark(at: &At<Project>, there: &There<Actual>, by: TagChanges) -> Result<(), Refusal> {
        let labels = by.applied_to(&there.tags).into_iter().collect();
        label(&Store::new(at.site(), at.name()), &there.is, labels).await?;
        Ok(())
    }
}
