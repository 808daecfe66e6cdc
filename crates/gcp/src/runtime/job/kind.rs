//! What a job is by its address alone: `run.job`, read, removed, let go.

use google_cloud_run_v2::model::Job;

use super::{Calls, RunJob};
use crate::labels;
use crate::names::MIGRATES;
use crate::site::prelude::*;

impl Kind for RunJob {
    type Site = Project;
    type Is = Job;
    const KIND: &'static str = "run.job";
    const NOUN: &'static str = "job";
    const ROLE: Role = Role::Revision;
    const TIER: Tier = Tier::Definition;
    const DATA: Data = Data::None;
    const MEANS: Meaning = Meaning {
        follows: |field| ["database", "migration"].contains(&field),
        ..Meaning::PLAIN
    };
    const FACTS: Facts = Facts {
        api: "run.googleapis.com",
        unnamed: Unnamed::Listed {
            what: "Cloud Run jobs",
            list: |project, _| Box::pin(list(project)),
        },
        access: Access {
            feature: Feature::Migrations,
            read: &["run.jobs.get", "run.jobs.list", "run.operations.get"],
            change: &["run.jobs.create", "run.jobs.delete", "run.jobs.update"],
            roles: &["roles/run.developer"],
            on: On::Project,
        },
    };
    const MARKS: Marks<Self> = Marks::own();
    const WHOSE: fn(name: &str) -> &str = |name| name.strip_suffix(MIGRATES).unwrap_or(name);
    const ABSENT: &'static [&'static str] = &[NOT_FOUND];
    const TAKEN: &'static [&'static str] = &[];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = Passing::NOTHING;

    fn describe(_is: &Job, _to: &mut Description) {}

    async fn find(at: &At<Project>) -> Result<Reading<There<Job>>, Refusal> {
        let found = Reading::from(Calls::new(at.site(), at.name()).find().await?);
        Ok(found.map(|job| There {
            id: String::new(),
            tags: tags(&job.labels),
            is: job,
        }))
    }

    async fn remove(at: &At<Project>, _there: &There<Job>, _token: &Token) -> Result<(), Refusal> {
        Ok(Calls::new(at.site(), at.name()).delete().await?)
    }
}

async fn list(project: &Project) -> Labelled {
    let jobs = project.clients.jobs.reading().await;
    read!(jobs.list_jobs().set_parent(project.names.location()))
}

impl Released for RunJob {
    /// Its executions' labels go with it.
    async fn release(at: &At<Project>, there: &There<Job>) -> Result<(), Refusal> {
        let calls = Calls::new(at.site(), at.name());
        let mut job = there.is.clone();
        job.labels = labels::unmarked(&job.labels);
        if let Some(execution) = &mut job.template {
            execution.labels = labels::unmarked(&execution.labels);
        }
        let jobs = at.clients.jobs.changing().await;
        // As with any change of a job, the etag is left out: it changes with each execution.
        let begun = jobs.update_job().set_job(job.set_etag("")).send().await?;
        calls.after(&begun).await?;
        Ok(())
    }
}
