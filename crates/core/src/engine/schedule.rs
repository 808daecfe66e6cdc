//! Decides what may start: a job once everything it comes after has finished. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::address::{Address, CloudName};
use crate::node::{Action, Node};
use crate::plan::{Change, Prepared};

/// One node that is to be carried out or waited for.
pub(super) struct Job {
    pub(super) node: Arc<dyn Node>,
    pub(super) action: Action,
    /// The resources it is made from, for the inventory.
    pub(super) recorded_needs: Vec<Address>,
    /// Whether that is all of them.
    pub(super) is_whole: bool,
    /// Of a delete: what was made from it.
    used_by: BTreeSet<Address>,
    /// How many jobs it still waits for.
    waits_for: usize,
}

/// What is left to start. Each step costs no more than the edges it touches.
pub(super) struct Schedule {
    jobs: BTreeMap<Address, Job>,
    /// What comes after each job.
    followers: BTreeMap<Address, Vec<Address>>,
    /// The jobs that wait for nothing any more.
    ready: BTreeSet<Address>,
}

impl Schedule {
    /// What a plan leaves to do: what it changes, and what still settles. A delete waits for
    /// everything else of its target, and for the deletes of what was made from it. Blocked targets
    /// have nothing to do.
    pub(super) fn of(prepared: &Prepared) -> Self {
        let changes: BTreeMap<&Address, &Change> = prepared
            .plan
            .changes
            .iter()
            .map(|change| (&change.address, change))
            .collect();
        let mut schedule = Self {
            jobs: BTreeMap::new(),
            followers: BTreeMap::new(),
            ready: BTreeSet::new(),
        };
        // Dependencies come first in a graph, so those that are to be waited for have their job
        // already.
        for (_, entry) in prepared.graph.iter() {
            let address = entry.node.address();
            let Some(change) = changes.get(address) else {
                continue;
            };
            let idle = change.action == Action::NoOp && change.settling.is_none();
            if idle || prepared.is_blocked(address.cloud) {
                continue;
            }
            let job = Job {
                node: Arc::clone(&entry.node),
                action: change.act(),
                recorded_needs: prepared.graph.resources_needed_by(address),
                is_whole: prepared.graph.is_whole(),
                used_by: BTreeSet::new(),
                waits_for: 0,
            };
            schedule.add(job, change.needs.iter());
        }
        schedule.add_deletes(prepared);
        schedule
    }

    fn add_deletes(&mut self, prepared: &Prepared) {
        let converged: Vec<Address> = self.jobs.keys().cloned().collect();
        let orphans = prepared.orphans.iter();
        let mut deletes: BTreeMap<&Address, _> = orphans
            .map(|orphan| (orphan.node.address(), orphan))
            .filter(|(address, _)| !prepared.is_blocked(address.cloud))
            .collect();
        // The deletes of what was made from a thing stand before its own.
        for change in &prepared.deletes {
            let Some(orphan) = deletes.remove(&change.address) else {
                continue;
            };
            let job = Job {
                node: Arc::clone(&orphan.node),
                action: change.action,
                recorded_needs: Vec::new(),
                is_whole: true,
                used_by: orphan.used_by.clone(),
                waits_for: 0,
            };
            let here = |other: &&Address| other.cloud == change.address.cloud;
            self.add(job, converged.iter().filter(here).chain(&change.needs));
        }
    }

    fn add<'a>(&mut self, mut job: Job, comes_after: impl Iterator<Item = &'a Address>) {
        let address = job.node.address().clone();
        let known = comes_after.filter(|other| self.jobs.contains_key(other));
        let known: BTreeSet<&Address> = known.collect();
        job.waits_for = known.len();
        for other in known {
            let followers = self.followers.entry(other.clone()).or_default();
            followers.push(address.clone());
        }
        if job.waits_for == 0 {
            self.ready.insert(address.clone());
        }
        self.jobs.insert(address, job);
    }

    /// Takes out the jobs that wait for nothing, of the clouds where something may start.
    pub(super) fn take_ready(&mut self, may_start: impl Fn(CloudName) -> bool) -> Vec<Job> {
        let (now, later) = std::mem::take(&mut self.ready)
            .into_iter()
            .partition(|address| may_start(address.cloud));
        self.ready = later;
        let now: BTreeSet<Address> = now;
        now.iter()
            .filter_map(|address| self.jobs.remove(address))
            .collect()
    }

    /// Notes that a job finished: what waited for it waits for one less.
    pub(super) fn finish(&mut self, address: &Address) {
        for follower in self.followers.remove(address).unwrap_or_default() {
            if let Some(job) = self.jobs.get_mut(&follower) {
                job.waits_for -= 1;
                if job.waits_for == 0 {
                    self.ready.insert(follower);
                }
            }
        }
    }

    /// Takes out the deletes of what a node, left before it was ready, may still use - it was made
    /// from them by an earlier run - and those that come after these.
    pub(super) fn put_off_deletes_of_what_is_used_by(&mut self, user: &Address) -> Vec<Address> {
        let used = |job: &Job| job.used_by.contains(user);
        let mut next: Vec<Address> = self
            .jobs
            .iter()
            .filter(|(_, job)| used(job))
            .map(|(address, _)| address.clone())
            .collect();
        let mut put_off = Vec::new();
        while let Some(address) = next.pop() {
            if self.jobs.remove(&address).is_none() {
                continue;
            }
            self.ready.remove(&address);
            next.extend(self.followers.remove(&address).unwrap_or_default());
            put_off.push(address);
        }
        put_off
    }

    /// What was never started.
    pub(super) fn into_unstarted(self) -> impl Iterator<Item = Address> {
        self.jobs.into_keys()
    }
}
