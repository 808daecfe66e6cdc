//! What is compared of a replication group, what cannot be had of it, and what people should know
//! of it; pure.
//!
//! The version is *at least*: ElastiCache upgrades minor versions by itself, 7.0 to 7.1, and an
//! upgrade to Valkey, which AWS recommends, is one to a later version of the same thing. Nothing
//! goes back. Of an adopted group only what the manifest says is compared.

use std::sync::PoisonError;

use deployer_core::error::{Error, ErrorKind};
use deployer_core::fields::{FieldValue, Fields};

use crate::spec::CacheTls;

use super::calls::called;
use super::replication_group::ReplicationGroup;
use super::shape::{GroupActual, may_wait, numbers};
use crate::ground::SecurityGroups;
use crate::tags;

/// From this version on TLS can be switched on while a group runs (user guide, "Enabling in-transit
/// encryption"; `internal/service/elasticache/replication_group.go` of
/// hashicorp/terraform-provider-aws).
const TLS_FROM: [u32; 3] = [7, 0, 5];

impl ReplicationGroup {
    /// Whether a field is the manifest's affair. The keys that it is silent about are those of an
    /// adopted group only.
    fn compares(&self, field: &str) -> bool {
        let unsaid = |key: &str| self.spec.unsaid.contains(key);
        match field {
            "security_groups" => SecurityGroups::are_said(&self.security_groups),
            // An adopted group stays in its own network, on its own disks.
            "subnet_group" | "at_rest_encryption" => !self.spec.adopt,
            "nodes" | "automatic_failover" | "multi_az" => !unsaid("high_availability"),
            key => !unsaid(key),
        }
    }

    /// The fields of the group that the manifest asks for.
    pub(super) fn wished(&self) -> Fields {
        let spec = &self.spec;
        let mut all = Fields::new();
        all.set("class", &spec.class);
        all.set("version", &spec.version);
        all.set("nodes", self.nodes());
        all.set("automatic_failover", spec.high_availability);
        all.set("multi_az", spec.high_availability);
        let (transit, auth) = match self.tls {
            CacheTls::Required => ("required", "true"),
            CacheTls::Preferred => ("preferred", "begun"),
        };
        all.set("transit_encryption", transit);
        all.set("at_rest_encryption", true);
        all.set("auth", auth);
        let groups = self.security_groups.field(SecurityGroups::text);
        all.set_value("security_groups", groups);
        all.set_value("subnet_group", self.subnet_group.field(Clone::clone));
        let token = self
            .token
            .field(|version| tags::version_text(&version.version));
        all.set_value("token", token);
        let mut fields = Fields::new();
        for (name, value) in all.iter().filter(|(name, _)| self.compares(name)) {
            fields.set_value(name, value.clone());
        }
        tags::describe(&mut fields, &self.ownership.tags);
        fields
    }

    /// The fields of what is there, as far as they are compared. What is more than was asked for
    /// stands as it was asked for, and so does what nobody tells.
    pub(super) fn told(&self, actual: &GroupActual) -> Fields {
        let wished = self.wished();
        let mut fields = Fields::new();
        for (name, have) in actual.fields().iter() {
            if !self.compares(name) {
                continue;
            }
            let shown = match wished.get(name) {
                Some(wanted) if name == "version" && is_enough(have, wanted) => wanted,
                // A replica that somebody added stays.
                Some(wanted)
                    if name == "nodes"
                        && self.spec.high_availability
                        && is_enough(have, wanted) =>
                {
                    wanted
                }
                Some(wanted) if self.asks_more(name, have) => wanted,
                Some(_) | None => have,
            };
            fields.set_value(name, shown.clone());
        }
        for (name, value) in wished.iter() {
            if actual.is_untold(name) {
                fields.set_value(name, value.clone());
            }
        }
        fields
    }

    /// Whether a group asks more of its clients than it is to.
    fn asks_more(&self, field: &str, have: &FieldValue) -> bool {
        let is = |word: &str| *have == FieldValue::Known(word.into());
        match (self.tls, field) {
            (CacheTls::Preferred, "transit_encryption") => is("required"),
            (CacheTls::Preferred, "auth") => is("true"),
            _ => false,
        }
    }

    /// Why what is asked for cannot be had.
    pub(super) fn refusal(&self, actual: &GroupActual) -> Option<Error> {
        let what = called(self.name());
        let fields = actual.fields();
        let key = &self.spec.key;
        if actual.has_users {
            let message = format!("{what} lets clients in by user groups (RBAC), not by a token");
            let hint =
                format!("give `caches.{key}` another name, or pass its URL as a secret of its own");
            return Some(Error::input(message).hint(hint));
        }
        if actual.has_shards {
            let message = format!("{what} is a cluster of shards, which clients address otherwise");
            let hint =
                format!("give `caches.{key}` another name, or pass its URL as a secret of its own");
            return Some(Error::input(message).hint(hint));
        }
        if let Some(global) = &actual.part_of {
            let message = format!(
                "{what} is a member of the Global Datastore `{global}`, which is changed with that one only"
            );
            let hint =
                format!("give `caches.{key}` another name, or pass its URL as a secret of its own");
            return Some(Error::input(message).hint(hint));
        }
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let before = left.as_ref().and_then(|left| left.get("version"));
        let (have, wanted) = (fields.get("version"), &self.spec.version);
        let wanted_value = FieldValue::Known(wanted.clone());
        let asked_before = before.is_some_and(|before| !is_enough(&wanted_value, before));
        if let Some(have) = have.filter(|have| asked_before && !is_enough(&wanted_value, have)) {
            let message = format!("{what} has version {have}, and none goes back to {wanted}");
            let hint = match before {
                Some(before) => format!("write `version = \"{before}\"` or later"),
                None => String::new(),
            };
            return Some(Error::input(message).hint(hint));
        }
        let full = actual.full_version.as_deref();
        if let Some(full) = full.filter(|full| actual.has_no_tls() && before_tls(full)) {
            let message = format!(
                "{what} has no TLS and version {full}, and TLS is switched on from 7.0.5 on only"
            );
            let hint = "upgrade its engine first, or make another cache";
            return Some(Error::new(ErrorKind::Rejected, message).hint(hint));
        }
        self.stranger(actual)
    }

    /// What is not as asked for, made at once, would carry out what another hand has put off: "this
    /// parameter causes the modifications in this request and any pending modifications to be
    /// applied" (API reference, `ApplyImmediately`).
    fn stranger(&self, actual: &GroupActual) -> Option<Error> {
        let changes = self.told(actual).changes_to(&self.wished());
        let asked = |field: &str| changes.iter().any(|change| change.field == field);
        let ours: Vec<&str> = changes
            .iter()
            .filter(|change| may_wait(change))
            .map(|change| change.field.as_str())
            .collect();
        let others = actual.waits.iter().filter(|(field, _)| !asked(field));
        let others: Vec<String> = others
            .map(|(field, value)| format!("{field} -> {value}"))
            .collect();
        if ours.is_empty() || others.is_empty() || actual.status != "available" {
            return None;
        }
        let message = format!(
            "changing {} of {} now would also make what somebody has put off until its maintenance window ({}): {}",
            ours.join(", "),
            called(self.name()),
            actual.window,
            others.join(", ")
        );
        let hint = "wait for the window, or make or take back that change";
        Some(Error::new(ErrorKind::Conflict, message).hint(hint))
    }

    /// What people should know.
    pub(super) fn remarks(&self, actual: &GroupActual) -> Vec<String> {
        let mut remarks = Vec::new();
        let has = |field: &str, word: &str| {
            actual.fields().get(field) == Some(&FieldValue::Known(word.into()))
        };
        let is_open = !has("transit_encryption", "required") || !has("auth", "true");
        if self.tls == CacheTls::Preferred && is_open {
            remarks.push(format!(
                "goes on taking clients without TLS and token, under its name without TLS: once everybody has the new name and the \
                 token, `tls = \"required\"` in `[targets.aws.caches.{}]` ends that",
                self.spec.key
            ));
        }
        let changes = self.told(actual).changes_to(&self.wished());
        if has("auth", "true") && changes.iter().any(|change| change.field == "token") {
            remarks.push(
                "gets another token, and the one before stays valid beside it until the next: one that leaked is changed twice"
                    .to_owned(),
            );
        }
        let waiting: Vec<String> = actual
            .waits
            .iter()
            .map(|(field, value)| format!("{field} -> {value}"))
            .collect();
        if !waiting.is_empty() && actual.status == "available" {
            let window = &actual.window;
            let waiting = waiting.join(", ");
            remarks.push(format!(
                "waits for its maintenance window ({window}): {waiting}"
            ));
        }
        remarks
    }
}

fn before_tls(version: &str) -> bool {
    let parts = version.split('.').filter_map(|part| part.parse().ok());
    parts.collect::<Vec<u32>>() < TLS_FROM.to_vec()
}

fn text_numbers(value: &FieldValue) -> Vec<u32> {
    match value {
        FieldValue::Known(text) => numbers(text),
        FieldValue::AfterApply { .. } => Vec::new(),
    }
}

/// Whether a version is this one or a later one.
fn is_enough(have: &FieldValue, wanted: &FieldValue) -> bool {
    text_numbers(have) >= text_numbers(wanted)
}

#[cfg(test)]
#[path = "judgement_tests.rs"]
mod tests;
