//! What a service is by its address alone: `run.service`, read, removed, let go.

use deployer_core::error::ErrorKind;
use google_cloud_run_v2::model;

use super::{Calls, PAUSE, RunService, TRIES};
use crate::labels;
use crate::runtime::shape::revision_name;
use crate::site::prelude::*;

const REVISION: Field = Field::in_place("revision");

impl Kind for RunService {
    type Site = Project;
    type Is = model::Service;
    const KIND: &'static str = "run.service";
    const NOUN: &'static str = "service";
    const ROLE: Role = Role::Service;
    const TIER: Tier = Tier::Service;
    const DATA: Data = Data::None;
    const MEANS: Meaning = Meaning {
        rolls_out: |field| {
            const BESIDE: [&str; 3] = ["ingress", "launch stage", "description"];
            !field.starts_with("tags.") && !BESIDE.contains(&field)
        },
        follows: |field| field == "serving",
        counts: &["instances.min", "instances.max"],
        ..Meaning::PLAIN
    };
    const FACTS: Facts = Facts {
        api: "run.googleapis.com",
        unnamed: Unnamed::Listed {
            what: "Cloud Run services",
            list: |project, _| Box::pin(list(project)),
        },
        access: Access {
            feature: Feature::Always,
            read: &[
                "run.operations.get",
                "run.revisions.get",
                "run.revisions.list",
                "run.services.get",
                "run.services.list",
            ],
            change: &[
                "run.services.create",
                "run.services.delete",
                "run.services.update",
            ],
            roles: &["roles/run.developer"],
            on: On::Project,
        },
    };
    const MARKS: Marks<Self> = Marks::own();
    const ABSENT: &'static [&'static str] = &[NOT_FOUND];
    const TAKEN: &'static [&'static str] = &[];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = Passing::NOTHING;

    fn describe(is: &model::Service, to: &mut Description) {
        to.set_some(REVISION, revision_name(&is.latest_ready_revision));
    }

    async fn find(at: &At<Project>) -> Result<Reading<There<model::Service>>, Refusal> {
        let found = Reading::from(Calls::new(at.site(), at.name()).find().await?);
        Ok(found.map(|service| There {
            id: String::new(),
            tags: tags(&service.labels),
            is: service,
        }))
    }

    async fn remove(
        at: &At<Project>,
        _there: &There<model::Service>,
        _token: &Token,
    ) -> Result<(), Refusal> {
        Ok(Calls::new(at.site(), at.name()).delete().await?)
    }
}

async fn list(project: &Project) -> Labelled {
    let services = project.clients.services.reading().await;
    read!(
        services
            .list_services()
            .set_parent(project.names.location())
    )
}

impl Released for RunService {
    /// The mark of its revisions stays: another template would be another revision.
    async fn release(at: &At<Project>, _there: &There<model::Service>) -> Result<(), Refusal> {
        let calls = Calls::new(at.site(), at.name());
        let mut tries = TRIES;
        loop {
            // Read again for its etag, and for the name that its template may bear.
            let Some(now) = calls.find().await?.seen(&calls.cannot("release"))? else {
                return Ok(());
            };
            let labels = labels::unmarked(&now.labels);
            if labels == now.labels {
                return Ok(());
            }
            match calls.update(now.set_labels(labels), &["labels"]).await {
                Err(error) if error.kind() == ErrorKind::Conflict && tries > 0 => tries -= 1,
                Err(error) => return Err(error.into()),
                Ok(_) => return Ok(()),
            }
            at.clock().pause(PAUSE).await;
        }
    }
}
