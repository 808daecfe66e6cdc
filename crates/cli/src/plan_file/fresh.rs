//! Whether what was planned is what would be planned now, and what is not.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::address::{Address, CloudName};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::FieldValue;
use deployer_core::node::Action;
use deployer_core::plan::Plan;

use super::alike::{alike, is_same};
use super::{PlanFile, Sources};
use crate::view::foreign;
use crate::view::plan::{is_a_consequence, list};

/// What is said of a node to which nothing is to be done any more.
const NOTHING_LEFT: &str = " (nothing to do now)";

impl PlanFile {
    /// Refuses when what was planned is not what would be planned now; says what moved.
    ///
    /// Errors: conflict.
    pub fn check_fresh(&self, now: &Plan, sources: &Sources) -> Result<()> {
        self.check_targets(now)?;
        let seen = self.plan.fingerprint == now.fingerprint;
        let same = seen && alike(&self.plan, now);
        let mut moved = match same || seen {
            true => Vec::new(),
            false => self.moved(now),
        };
        moved.extend(self.moved_images(&sources.images));
        moved.extend(self.values.moved(&sources.values, &self.renames));
        if seen && !same && moved.is_empty() {
            // Nothing moved: something else is asked for.
            let asked = self.asked(now).join(", ");
            let words = format!("the plan was made of another manifest: {asked}");
            let hint = "apply it with the files, variables and `--set` that it was made with, or plan again";
            return Err(Error::new(ErrorKind::Conflict, words).hint(hint));
        }
        if moved.is_empty() {
            return Ok(());
        }
        let carried_out = now.is_empty() && !self.plan.is_empty() && !same;
        if carried_out && moved.iter().all(|it| it.ends_with(NOTHING_LEFT)) {
            let words = "nothing of the plan is left to do: it was carried out already, or another hand did the same";
            return Err(Error::new(ErrorKind::Conflict, words)
                .hint("`deployer releases` says when and by whom"));
        }
        let words = format!(
            "the plan is stale; since it was made, this moved: {}",
            moved.join(", ")
        );
        Err(Error::new(ErrorKind::Conflict, words).hint("plan again, look, and apply the new plan"))
    }

    /// Refuses a plan for other targets than those of this command.
    fn check_targets(&self, now: &Plan) -> Result<()> {
        let clouds = |plan: &Plan| -> BTreeSet<CloudName> {
            plan.targets.iter().map(|target| target.cloud).collect()
        };
        let (planned, asked) = (clouds(&self.plan), clouds(now));
        if planned == asked {
            return Ok(());
        }
        let words = |clouds: &BTreeSet<CloudName>| {
            let clouds: Vec<&str> = clouds.iter().map(|cloud| cloud.as_str()).collect();
            list(&clouds)
        };
        let message = format!(
            "the plan is for {}, and this command for {}",
            words(&planned),
            words(&asked)
        );
        let hint = match planned.iter().next() {
            Some(only) if planned.len() == 1 => format!("apply it with `--cloud {only}`"),
            _ => "apply it without `--cloud`".to_owned(),
        };
        Err(Error::new(ErrorKind::Conflict, message).hint(hint))
    }

    /// The fields of which something else is asked for now, each once.
    fn asked(&self, now: &Plan) -> Vec<String> {
        const MOST: usize = 5;
        let of = |plan: &Plan| -> BTreeMap<(Address, String), Option<FieldValue>> {
            let changes = plan.changes.iter().flat_map(|change| {
                let fields = change.changes.iter();
                fields.map(|it| ((change.address.clone(), it.field.clone()), it.new.clone()))
            });
            changes.collect()
        };
        let (planned, asked) = (of(&self.plan), of(now));
        let all = planned.keys().chain(asked.keys());
        let differ = all.filter(|it| planned.get(*it) != asked.get(*it));
        let causes = differ.filter(|(address, field)| !is_a_consequence(address, field));
        let fields: BTreeSet<&str> = causes.map(|(_, field)| field.as_str()).collect();
        if fields.is_empty() {
            return vec!["another action is planned now".to_owned()];
        }
        let more = fields.len().saturating_sub(MOST);
        let fields = fields.into_iter().take(MOST).map(foreign::one_line);
        let more = (more > 0).then(|| format!("and {more} more"));
        fields.chain(more).collect()
    }

    fn moved_images(&self, now: &BTreeMap<String, String>) -> Vec<String> {
        let services: BTreeSet<&String> = self.images.keys().chain(now.keys()).collect();
        let moved = services
            .into_iter()
            .filter(|service| self.images.get(*service) != now.get(*service));
        moved
            .map(|service| format!("the image of `{service}`"))
            .collect()
    }

    fn moved(&self, now: &Plan) -> Vec<String> {
        let mut moved: Vec<String> = now
            .changes
            .iter()
            .filter(|change| !self.plan.changes.iter().any(|it| is_same(it, change)))
            .map(|change| match change.action {
                Action::NoOp => format!("{}{NOTHING_LEFT}", change.address),
                action => format!("{} ({action:?} now)", change.address),
            })
            .collect();
        let gone = self.plan.changes.iter().filter(|change| {
            !now.changes
                .iter()
                .any(|other| other.address == change.address)
        });
        moved.extend(gone.map(|change| format!("{} (no longer planned)", change.address)));
        if moved.is_empty() {
            moved.push("something that the plan leaves alone".into());
        }
        moved
    }
}
