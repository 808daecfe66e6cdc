//! What is compared of an instance, what cannot be had of it, and what people should know of it;
//! pure.
//!
//! Versions, disks and days of backups are *at least*: RDS upgrades minor versions and, at the end
//! of a major one's life, major versions by itself; disks grow by themselves; AWS Backup keeps
//! backups longer. Of an adopted instance only what the manifest says is compared.

use std::sync::PoisonError;

use crate::spec::Maintenance;
use deployer_core::error::{Error, ErrorKind};
use deployer_core::fields::{FieldChange, FieldValue, Fields};
use deployer_core::spec::DatabaseSpec;

use super::calls::called;
use super::instance::Instance;
use super::pending::storage_text;
use super::shape::{AT_LEAST, ENGINE, InstanceActual, Parameters, may_wait, number};
use crate::ground::SecurityGroups;
use crate::tags;

/// The database that every instance has.
const ALWAYS_THERE: &str = "postgres";

impl Instance {
    /// Whether a field is the manifest's affair. The keys that it is silent about are those of an
    /// adopted instance only.
    fn compares(&self, field: &str) -> bool {
        let unsaid = |key: &str| self.spec.unsaid.contains(key);
        match field {
            "security_groups" => SecurityGroups::are_said(&self.security_groups),
            // An adopted instance stays in its own network, with its own parameters, users and
            // databases.
            "subnet_group" | "parameter_group" | "encrypted" | "public" | "user" | "database" => {
                !self.spec.adopt
            }
            "multi_az" => !unsaid("high_availability"),
            key => !unsaid(key),
        }
    }

    /// The fields of the instance that the manifest asks for.
    pub(super) fn wished(&self) -> Fields {
        let spec = &self.spec;
        let mut all = Fields::new();
        all.set("engine", ENGINE);
        all.set("version", spec.version);
        all.set("class", &spec.class);
        all.set("storage", storage_text(self.storage()));
        all.set("encrypted", true);
        all.set("public", false);
        all.set("multi_az", spec.high_availability);
        all.set("backup_days", spec.backup_days);
        all.set("deletion_protection", spec.deletion_protection);
        let groups = self.security_groups.field(SecurityGroups::text);
        all.set_value("security_groups", groups);
        all.set_value("subnet_group", self.subnet_group.field(Clone::clone));
        all.set_value("parameter_group", self.parameter_group.field(Clone::clone));
        all.set("user", &spec.user);
        all.set("database", &spec.database);
        let password = self
            .password
            .field(|version| tags::version_text(&version.version));
        all.set_value("password", password);
        let mut fields = Fields::new();
        for (name, value) in all.iter().filter(|(name, _)| self.compares(name)) {
            fields.set_value(name, value.clone());
        }
        tags::describe(&mut fields, &self.ownership.tags);
        fields
    }

    /// The fields of what is there, as far as they are compared. What is more than was asked for,
    /// and what will be so once the maintenance window comes, stands as it was asked for.
    pub(super) fn told(&self, actual: &InstanceActual) -> Fields {
        let wished = self.wished();
        let waits = |field: &str, wanted: &FieldValue| {
            let coming = actual.pending.text(field);
            let coming = coming.map(|text| FieldValue::Known(text.to_owned()));
            self.maintenance == Maintenance::Window
                && coming.is_some_and(|coming| is_enough(field, &coming, wanted))
        };
        let upgrade_waits = wished
            .get("version")
            .is_some_and(|wanted| waits("version", wanted));
        let mut fields = Fields::new();
        for (name, have) in actual.fields().iter() {
            if !self.compares(name) {
                continue;
            }
            let shown = match wished.get(name) {
                Some(wanted) if is_enough(name, have, wanted) && !self.is_lowered(name, have) => {
                    wanted
                }
                Some(wanted) if waits(name, wanted) => wanted,
                Some(wanted) if name == "subnet_group" && actual.stays_in_vpc() => wanted,
                // A group of a major version belongs to instances of that version: a newer one has
                // another.
                Some(wanted)
                    if name == "parameter_group" && (upgrade_waits || self.is_newer(actual)) =>
                {
                    wanted
                }
                Some(_) | None => have,
            };
            fields.set_value(name, shown.clone());
        }
        fields
    }

    /// Whether the manifest asked for what is there before, and now asks for less.
    fn is_lowered(&self, field: &str, have: &FieldValue) -> bool {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let before = left.as_ref().and_then(|left| left.get(field));
        let wished = self.wished();
        let less = number(wished.get(field)) < number(before);
        AT_LEAST.contains(&field) && before == Some(have) && less
    }

    /// The subnet group that it is to stand in, where that is known and another one.
    pub(super) fn other_subnet_group(&self, actual: &InstanceActual) -> Option<String> {
        let wanted = self.subnet_group.known()?;
        let has = actual.fields().get("subnet_group").map(ToString::to_string);
        (self.compares("subnet_group") && has.as_ref() != Some(&wanted)).then_some(wanted)
    }

    fn is_newer(&self, actual: &InstanceActual) -> bool {
        major(&actual.full_version) > Some(self.spec.version.into())
    }

    /// Whether it is to become a later major version.
    pub(super) fn is_older(&self, actual: &InstanceActual) -> bool {
        let asked = self.compares("version") && actual.engine == ENGINE;
        asked && major(&actual.full_version) < Some(self.spec.version.into())
    }

    /// The newest version that it can become of the major version that is asked for.
    pub(super) fn target<'a>(&self, actual: &'a InstanceActual) -> Option<&'a str> {
        let wanted = Some(u32::from(self.spec.version));
        let of_major = actual.upgrades.iter().map(String::as_str);
        of_major
            .filter(|version| major(version) == wanted)
            .max_by_key(|version| numbers(version))
    }

    /// Whose password is set and which database is meant: an adopted instance's own where the
    /// manifest names none.
    pub(super) fn place_in(&self, actual: &InstanceActual) -> DatabaseSpec {
        let mut spec = self.spec.clone();
        if spec.unsaid.contains("user") && !actual.user.is_empty() {
            spec.user.clone_from(&actual.user);
        }
        if spec.unsaid.contains("database") {
            let there = actual.database.clone();
            spec.database = there.unwrap_or_else(|| ALWAYS_THERE.to_owned());
        }
        spec
    }

    /// Why what is asked for cannot be had.
    pub(super) fn refusal(&self, actual: &InstanceActual) -> Option<Error> {
        let what = called(self.name());
        let input = |message: String, hint: String| Some(Error::input(message).hint(hint));
        let (spec, key) = (&self.spec, &self.spec.key);
        let fields = actual.fields();
        let lowered = |field: &str| {
            let have = fields.get(field)?;
            (self.compares(field) && self.is_lowered(field, have)).then(|| have.to_string())
        };
        if actual.engine != ENGINE {
            let message = format!("{what} is `{}`, not PostgreSQL on RDS", actual.engine);
            return input(message, format!("give `databases.{key}` another name"));
        }
        if let Some(part_of) = &actual.part_of {
            let message = format!("{what} {part_of}, which is changed with that one only");
            let hint = format!(
                "give `databases.{key}` another name, or pass its URL as a secret of its own"
            );
            return input(message, hint);
        }
        if lowered("version").is_some() {
            let (is, wanted) = (&actual.full_version, spec.version);
            let message = format!("{what} is PostgreSQL {is} and cannot become {wanted}");
            let hint = format!("write `version = {}`", major(is).unwrap_or_default());
            return input(message, hint);
        }
        if let Some(have) = lowered("storage") {
            let message = format!("the disk of {what} has {have}, and no disk shrinks");
            let hint = format!("write `storage = \"{}\"` or more", have.replace(' ', ""));
            return input(message, hint);
        }
        if spec.adopt && !spec.unsaid.contains("user") && actual.user != spec.user {
            let message = format!(
                "the master user of {what} is `{}`, and RDS sets no other one's password",
                actual.user
            );
            return input(message, format!("write `user = \"{}\"`", actual.user));
        }
        if actual.keeps_password {
            let message = format!("RDS keeps the password of {what} in a secret of its own");
            let hint = "end that with `aws rds modify-db-instance --no-manage-master-user-password`, or do not adopt it";
            return input(message, hint.to_owned());
        }
        self.no_way_up(actual).or_else(|| self.stranger(actual))
    }

    fn no_way_up(&self, actual: &InstanceActual) -> Option<Error> {
        if !self.is_older(actual) || self.target(actual).is_some() {
            return None;
        }
        let (is, wanted) = (&actual.full_version, self.spec.version);
        let what = called(self.name());
        let message = format!("RDS offers no way from PostgreSQL {is} to {wanted} for {what}");
        let mut majors: Vec<u32> = actual.upgrades.iter().filter_map(|it| major(it)).collect();
        majors.dedup();
        majors.retain(|it| Some(*it) != major(is));
        let majors: Vec<String> = majors.iter().map(u32::to_string).collect();
        let hint = match majors.is_empty() {
            true => "wait until RDS offers it, or keep the version".to_owned(),
            false => format!("it offers {}", majors.join(", ")),
        };
        Some(Error::new(ErrorKind::Rejected, message).hint(hint))
    }

    /// What is not as asked for, made at once, would carry out what another hand has put off.
    fn stranger(&self, actual: &InstanceActual) -> Option<Error> {
        let changes = self.told(actual).changes_to(&self.wished());
        if !self.is_to_be_at_once(&changes) {
            return None;
        }
        let asked = |field: &str| changes.iter().any(|change| change.field == field);
        let others: Vec<String> = actual
            .pending
            .iter()
            .filter(|(field, _)| match *field {
                "iops" | "storage_throughput" => !asked("storage"),
                field => !asked(field),
            })
            .map(|(field, value)| format!("{field} -> {value}"))
            .collect();
        if others.is_empty() {
            return None;
        }
        let ours: Vec<&str> = changes
            .iter()
            .filter(|change| may_wait(change))
            .map(|change| change.field.as_str())
            .collect();
        let message = format!(
            "changing {} of {} now would also make what somebody has put off until its maintenance window ({}): {}",
            ours.join(", "),
            called(self.name()),
            actual.window,
            others.join(", ")
        );
        let hint = format!(
            "wait for the window, make or take back that change, or set `maintenance = \"window\"` in `[targets.aws.databases.{}]`",
            self.spec.key
        );
        Some(Error::new(ErrorKind::Conflict, message).hint(hint))
    }

    /// Whether RDS is to be told to make these changes, and all that wait, at once.
    pub(super) fn is_to_be_at_once(&self, changes: &[FieldChange]) -> bool {
        self.maintenance == Maintenance::Now && changes.iter().any(may_wait)
    }

    /// What people should know.
    pub(super) fn remarks(&self, actual: &InstanceActual) -> Vec<String> {
        let mut remarks = Vec::new();
        if let Some(wanted) = self.other_subnet_group(actual)
            && actual.stays_in_vpc()
        {
            remarks.push(format!(
                "stays in its subnet group and is not moved to `{wanted}`: RDS moves an instance to another VPC only"
            ));
        }
        let changes = self.told(actual).changes_to(&self.wished());
        if changes.iter().any(|change| change.field == "password") {
            remarks.push(
                "gets another password: what runs with the one before opens no new connection until it is rolled over".to_owned(),
            );
        }
        let waiting: Vec<String> = actual
            .pending
            .iter()
            .map(|(field, value)| format!("{field} -> {value}"))
            .collect();
        if !waiting.is_empty() && actual.readiness().pending().is_none() {
            let window = &actual.window;
            let waiting = waiting.join(", ");
            remarks.push(format!(
                "waits for its maintenance window ({window}): {waiting}"
            ));
        }
        if self.maintenance == Maintenance::Window {
            let later: Vec<&str> = changes
                .iter()
                .filter(|change| may_wait(change))
                .map(|change| change.field.as_str())
                .collect();
            if !later.is_empty() {
                let (later, window) = (later.join(", "), &actual.window);
                remarks.push(format!(
                    "takes effect in its maintenance window ({window}): {later}"
                ));
            }
        }
        if actual.parameters() == Parameters::PendingReboot && !actual.owes_reboot() {
            let name = self.name();
            remarks.push(format!(
                "its parameter group waits for a reboot: `aws rds reboot-db-instance --db-instance-identifier {name}`"
            ));
        }
        remarks
    }
}

/// Whether what is there, or will be, is what was asked for or more.
fn is_enough(field: &str, have: &FieldValue, wanted: &FieldValue) -> bool {
    let counts = AT_LEAST.contains(&field);
    match (number(Some(have)), number(Some(wanted))) {
        (Some(have), Some(wanted)) if counts => have >= wanted,
        _ => have == wanted,
    }
}

/// 16 of `16.4`.
fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

fn numbers(version: &str) -> Vec<u32> {
    version
        .split('.')
        .filter_map(|it| it.parse().ok())
        .collect()
}

#[cfg(test)]
#[path = "judgement_tests.rs"]
mod tests;
