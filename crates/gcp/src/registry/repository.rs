//! `artifactregistry.repository`: where the environment's images are.

use std::time::Duration;

use google_cloud_artifactregistry_v1::model;
use google_cloud_artifactregistry_v1::model::repository::Format;
use google_cloud_gax::options::RequestOptionsBuilder;
use google_cloud_longrunning::model::Operation;
use google_cloud_wkt::FieldMask;

use crate::operation;
use crate::site::prelude::*;

/// Making or deleting a repository takes seconds; Google names no bound.
const DEADLINE: Duration = Duration::from_secs(180);

/// The environment's repository.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    /// Whether the manifest names it, or an image in it: an existing one is then used as it stands.
    pub(crate) given: bool,
}

const FORMAT: Field = Field::loses_data("format");

impl Kind for Repository {
    type Site = Project;
    type Is = Format;
    const KIND: &'static str = "artifactregistry.repository";
    const NOUN: &'static str = "repository";
    const ROLE: Role = Role::Registry;
    const TIER: Tier = Tier::Store;
    const FACTS: Facts = Facts {
        api: "artifactregistry.googleapis.com",
        unnamed: Unnamed::Listed {
            what: "Artifact Registry repositories",
            list: |project, _| Box::pin(list(project)),
        },
        access: Access {
            feature: Feature::Always,
            read: &[
                "artifactregistry.repositories.get",
                "artifactregistry.repositories.list",
            ],
            change: &[
                "artifactregistry.repositories.create",
                "artifactregistry.repositories.delete",
                "artifactregistry.repositories.update",
            ],
            roles: &["roles/artifactregistry.admin"],
            on: On::Project,
        },
    };
    const DATA: Data = Data::Guarded;
    const MARKS: Marks<Self> = Marks::tags();
    const ABSENT: &'static [&'static str] = &[NOT_FOUND];
    const TAKEN: &'static [&'static str] = &[ALREADY_EXISTS];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = Passing::NOTHING;

    fn describe(is: &Format, to: &mut Description) {
        let format = is.name().unwrap_or("unknown to this version");
        to.set(FORMAT, format.to_lowercase());
    }

    async fn find(at: &At<Project>) -> Result<Reading<There<Format>>, Refusal> {
        let repositories = at.clients.repositories.reading().await;
        let ask = repositories.get_repository();
        let found = ask.set_name(path(at)).send().await?;
        Ok(Reading::Present(There {
            id: String::new(),
            is: found.format,
            tags: tags(&found.labels),
        }))
    }

    /// With its images.
    async fn remove(
        at: &At<Project>,
        _there: &There<Format>,
        _token: &Token,
    ) -> Result<(), Refusal> {
        let repositories = at.clients.repositories.changing().await;
        let call = repositories.delete_repository();
        settle(at, call.set_name(path(at)).send().await?, "delete").await
    }
}

async fn list(project: &Project) -> Labelled {
    let repositories = project.clients.repositories.reading().await;
    let list = repositories.list_repositories();
    read!(list.set_parent(project.names.location()))
}

impl Tagged for Repository {
    async fn mark(at: &At<Project>, there: &There<Format>, by: TagChanges) -> Result<(), Refusal> {
        let repository = model::Repository::new()
            .set_name(path(at))
            .set_labels(by.applied_to(&there.tags));
        let repositories = at.clients.repositories.changing().await;
        let call = repositories.update_repository();
        call.set_repository(repository)
            .set_update_mask(FieldMask::default().set_paths(["labels"]))
            .send()
            .await?;
        Ok(())
    }
}

impl Wish for Repository {
    /// That it is there.
    type Output = ();
    const KEPT: Kept = Kept::Harmless("the images that served before are in it");

    fn over(&self, _at: &At<Project>, _seen: Seen<'_, Format>) -> Format {
        Format::Docker
    }

    fn output(_at: &At<Project>, _there: &There<Format>) {}

    async fn make(&self, at: &At<Project>, is: &Format, _: &Token) -> Result<(), Refusal> {
        let repository = model::Repository::new()
            .set_format(is.clone())
            .set_labels(at.owner.tags.clone());
        let repositories = at.clients.repositories.changing().await;
        let call = repositories.create_repository();
        let begun = call
            .set_parent(at.names.location())
            .set_repository_id(at.name())
            .set_repository(repository)
            // A second one is refused as what exists, which is looked at then.
            .with_idempotency(true)
            .send()
            .await?;
        settle(at, begun, "create").await
    }

    /// Nothing of it is changed in place.
    async fn change(
        &self,
        _at: &At<Project>,
        _there: &There<Format>,
        _is: &Format,
        _changed: Changed<'_>,
    ) -> Result<(), Refusal> {
        Ok(())
    }

    fn lends(&self, there: &There<Format>) -> bool {
        self.given && there.is == Format::Docker
    }
}

fn path(at: &At<Project>) -> String {
    at.names.repository(at.name())
}

async fn settle(at: &At<Project>, begun: Operation, verb: &str) -> Result<(), Refusal> {
    let action = format!("cannot {verb} {}", at.what());
    let repositories = &at.clients.repositories;
    let look = |name| async {
        let ask = repositories.reading().await.get_operation();
        ask.set_name(name).send().await
    };
    Ok(operation::settle(at, begun, DEADLINE, &action, look).await?)
}
