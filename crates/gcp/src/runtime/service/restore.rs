//! A service put back as it was before a run: what serves first, then what is around its revisions.

use std::collections::BTreeMap;

use deployer_core::capability::{Activation, Revision};
use deployer_core::error::Result;
use deployer_core::node::{Resource, Token, Undone, Watch};
use google_cloud_run_v2::model;

use super::RunService;
use crate::error;
use crate::runtime::{operate, rollout, shape};

impl RunService {
    /// Puts the service back as it was `before`.
    pub(super) async fn put_back(
        &self,
        before: &model::Service,
        now: &model::Service,
        token: &Token,
        watch: &dyn Watch,
    ) -> Result<Undone> {
        let traffic = rollout::shares(before);
        let [(served, 100)] = traffic.as_slice() else {
            let shares = rollout::show_shares(&traffic);
            let moved = traffic.len() > 1 && rollout::shares(now) != traffic;
            return Ok(match moved {
                // Who serves how much is the business of whoever split it.
                true => Undone::Lost(format!("the traffic was split before: {shares}")),
                false => Undone::Stays(format!("its traffic is as before: {shares}")),
            });
        };
        let activation = Activation {
            service: self.calls.name.clone(),
            revision: Revision(served.clone()),
            recorded: None,
            follow: BTreeMap::new(),
            patience: self.shape.spec.patience,
        };
        operate::carry_out(&self.calls, &activation, now.generation, token, watch).await?;
        let changes = self.observed(now).changes_to(&self.observed(before));
        let (around, paths) = shape::around_as_before(before, &changes);
        if !paths.is_empty() {
            // Whatever settles meanwhile changes the etag, and none of these fields.
            let around = around.set_name(self.calls.path());
            let outcome = self.calls.send_once(around, &paths).await;
            let begun = match outcome {
                Err(error) if error::is_named_twice(&error) => {
                    let now = self.calls.get().await?;
                    let labels = before.labels.clone();
                    let now = now.set_labels(labels).set_ingress(before.ingress.clone());
                    self.calls.send(now, &[]).await?
                }
                outcome => {
                    outcome.map_err(|error| error::failed(error, &self.calls.cannot("put back")))?
                }
            };
            self.calls.after(&begun, |_| true).await?;
        }
        Ok(Undone::PutBack)
    }
}
