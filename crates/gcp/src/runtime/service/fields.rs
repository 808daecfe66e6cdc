//! A service compared with the manifest: with what is newest, or with what serves although the
//! newest cannot, or gets no traffic.

use std::sync::PoisonError;

use deployer_core::fields::{FieldChange, FieldValue, Fields};
use deployer_core::node::Resource;
use deployer_core::redeploy;
use google_cloud_run_v2::model;

use super::RunService;
use super::ours::deployed_over;
use crate::runtime::rollout;
use crate::runtime::shape::{self, revision_name};

/// The revision that serves everything although a newer one was made, which cannot, or past which
/// the traffic is led.
#[derive(Clone, Debug)]
pub(crate) struct Serves {
    name: String,
    /// What it was made of.
    template: model::RevisionTemplate,
    /// The one that does not serve.
    newest: String,
}

impl RunService {
    /// What the manifest asks for of a service that is like `base` otherwise.
    pub(super) fn desired_over(&self, base: model::Service) -> Fields {
        let newest = revision_name(&base.latest_created_revision).map(str::to_owned);
        match self.reused(&base) {
            None => {
                let mut fields = self.desired_of_newest(base);
                redeploy::describe(&mut fields, self.redeploy.as_ref(), newest.as_deref());
                fields
            }
            Some((name, serving)) => {
                let mut fields = self.desired_of_newest(serving);
                fields.set(
                    "traffic",
                    rollout::show_asked(&shape::everything_to(&name, &[])),
                );
                fields
            }
        }
    }

    fn desired_of_newest(&self, base: model::Service) -> Fields {
        let service = self
            .shape
            .compose(base, self.image.known(), &self.variables);
        let service = self.noting(service);
        let mut fields = shape::describe(&self.shape.names, &service);
        fields.set("serving", shape::READY);
        fields.set_value("image", self.image.field(|image| image.0.clone()));
        self.variables.show_unknown(&mut fields);
        fields
    }

    /// The revision that serves already what the manifest asks for, with the service as it would be
    /// with its template: going back to what serves after a roll-out that failed, or a candidate
    /// that was not let in, needs no other one. An update would make one, as its template is not
    /// the newest revision's; `gcloud run deploy` makes one each time, by another name of it
    /// (`_NewRevisionForcingChange` in its `command_lib/run/serverless_operations.py`).
    /// A newest revision that can serve and is asked for is no reason to stay: it is to serve.
    pub(super) fn reused(&self, service: &model::Service) -> Option<(String, model::Service)> {
        let serves = self.serves.lock().unwrap_or_else(PoisonError::into_inner);
        let serves = serves.clone()?;
        let newest = revision_name(&service.latest_created_revision);
        if newest != Some(serves.newest.as_str()) {
            return None;
        }
        // What serves was started long ago.
        if self.redeploy.as_ref().is_some_and(|it| it.is_due(newest)) {
            return None;
        }
        if rollout::failure(service).is_none() && self.is_asked_for(service) {
            return None;
        }
        let serving = service.clone().set_template(serves.template);
        let same = self.is_asked_for(&serving);
        same.then_some((serves.name, serving))
    }

    /// The same with what the service's template says in place of what is of a revision.
    pub(super) fn over_template(&self, fields: Fields, service: &model::Service) -> Fields {
        let mut over = shape::describe(&self.shape.names, service);
        let around = fields.iter().filter(|(field, _)| shape::is_around(field));
        for (field, value) in around {
            over.set_value(field, value.clone());
        }
        over
    }

    /// Whether a revision of the service's template is what the manifest asks for.
    fn is_asked_for(&self, service: &model::Service) -> bool {
        let there = shape::describe(&self.shape.names, service);
        let changes = there.changes_to(&self.desired_of_newest(service.clone()));
        let mut changes = changes.iter();
        changes.all(|it| shape::is_around(&it.field) || it.field == "serving")
    }

    /// What serves everything although the newest revision cannot, or gets no traffic. `None` also
    /// when that is not known. It costs a call then, and none where the newest revision serves.
    pub(super) async fn what_serves(&self, service: &model::Service) -> Option<Serves> {
        if !rollout::passes_newest(service) {
            return None;
        }
        let newest = revision_name(&service.latest_created_revision)?;
        let shares = rollout::shares(service);
        let [(name, 100)] = shares.as_slice() else {
            return None;
        };
        if name == newest {
            return None;
        }
        let revision = self.calls.revision(name).await.ok()?;
        Some(Serves {
            name: name.clone(),
            template: shape::taken_over(&revision).ok()?,
            newest: newest.to_owned(),
        })
    }

    /// `Some(who and what)` when the newest revision is not the one that we made, or its
    /// configuration is not what we sent. An equal image says nothing: whoever changes a variable
    /// keeps it.
    pub(super) fn replaced(&self, now: &model::Service) -> Option<String> {
        self.image.known()?;
        let another = self.ours().and_then(|ours| ours.is_another(now));
        let sent = self.desired_over(now.clone());
        let changes = sent.changes_to(&self.observed(now));
        let changes = changes.iter();
        let changes = changes
            // A revision that is not named yet leaves a roll-out due that has begun.
            .filter(|change| !["serving", redeploy::FIELD].contains(&change.field.as_str()))
            .filter(|change| !shape::is_around(&change.field))
            .take(SHOWN)
            .map(show_change);
        let changes: Vec<String> = changes.collect();
        match (another, changes.is_empty()) {
            (None, true) => None,
            (Some(why), true) => Some(format!("{why}, which runs the same")),
            (another, false) => {
                let why = another.unwrap_or_else(|| deployed_over(now));
                Some(format!("{why}: {}", changes.join(", ")))
            }
        }
    }
}

/// How many of another hand's changes are told.
const SHOWN: usize = 5;

fn show_change(change: &FieldChange) -> String {
    let show = |value: &Option<FieldValue>| {
        value
            .as_ref()
            .map_or_else(|| "(none)".to_owned(), ToString::to_string)
    };
    format!(
        "{}: {} -> {}",
        change.field,
        show(&change.old),
        show(&change.new)
    )
}
