//! What takes time: coming up, changing, restarting, going away. Nothing is held while waiting.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Database, Instance, Rds, parameters};
use crate::aws::json::{need, number, seconds, text};
use crate::backing::{BackingError, Postgres, PostgresSpec};

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// Until the vendor begins with what it has accepted; the instance says `available` meanwhile.
const BEGIN: Duration = Duration::from_secs(10);
const CREATE: Duration = minutes(10);
const CREATE_STANDBY: Duration = minutes(5);
const FIRST_BACKUP: Duration = minutes(2);
const CHANGE_PASSWORD: Duration = minutes(1);
const CHANGE: Duration = minutes(4);
const UPGRADE: Duration = minutes(10);
const OPTIMISE_STORAGE: Duration = minutes(5);
const REBOOT: Duration = minutes(1);
const STOP: Duration = minutes(3);
const START: Duration = minutes(4);
const DELETE: Duration = minutes(3);

impl Rds {
    /// Takes a new instance to `available`.
    pub(super) fn bring_up(&self, id: String, resource: String) {
        let rds = self.clone();
        self.inner.host.background.spawn(async move {
            let Some(multi_az) = rds.update(&id, &resource, |it| it.flag("MultiAZ")) else {
                return;
            };
            let standby = if multi_az {
                CREATE_STANDBY
            } else {
                Duration::ZERO
            };
            let waiting = rds.inner.host.clock.sleep(CREATE + standby);
            let (database, ()) = tokio::join!(rds.start_server(&id, &resource), waiting);
            let backing = match database {
                Ok(postgres) => Database::Running(postgres),
                Err(BackingError::NotInstalled(why)) => Database::Absent(why),
                Err(BackingError::Machine(why)) => {
                    tracing::warn!(%id, %why, "a database did not start");
                    rds.update(&id, &resource, |it| {
                        it.database = Database::Absent(why);
                        it.set_status("failed");
                    });
                    return;
                }
            };
            if !rds.put_server(&id, &resource, backing).await {
                return;
            }
            rds.inner.host.clock.sleep(FIRST_BACKUP).await;
            rds.update(&id, &resource, |it| it.set_status("available"));
        });
    }

    /// A server with the master user and the database of an instance.
    async fn start_server(&self, id: &str, resource: &str) -> Result<Postgres, BackingError> {
        let gone = || BackingError::Machine("the instance is gone".into());
        let (value, password) = self
            .update(id, resource, |it| (it.value.clone(), it.password.clone()))
            .ok_or_else(gone)?;
        let (force_tls, settings) = self.effective_settings(id);
        let major = need(&value, "EngineVersion").split('.').next();
        let spec = PostgresSpec {
            name: format!("rds/{id}"),
            administrator: "rdsadmin".into(),
            master_role: "rds_superuser".into(),
            major: major.and_then(|major| major.parse().ok()),
            port: number(&value, "DbInstancePort")
                .and_then(|port| u16::try_from(port).ok())
                .unwrap_or(5432),
            force_tls,
            settings,
        };
        let postgres = self.inner.host.backing.start_postgres(spec).await?;
        let master = need(&value, "MasterUsername");
        let prepared = async {
            postgres.create_user(master, &password, true).await?;
            match text(&value, "DBName") {
                // This one is there from the beginning.
                None | Some("postgres") => Ok(()),
                Some(name) => postgres.create_database(name, master).await,
            }
        };
        if let Err(error) = prepared.await {
            postgres.remove().await;
            return Err(error);
        }
        Ok(postgres)
    }

    /// Gives an instance its server and its endpoint. False when it was deleted meanwhile.
    async fn put_server(&self, id: &str, resource: &str, database: Database) -> bool {
        let host = &self.inner.host;
        let server = match &database {
            Database::Running(postgres) => Some(postgres.clone()),
            Database::Starting | Database::Absent(_) => None,
        };
        let (address, port) = match &server {
            Some(postgres) => (
                postgres.endpoint().ip().to_string(),
                Some(postgres.endpoint().port()),
            ),
            None => (
                format!("{id}.sandbox.{}.rds.amazonaws.com", host.region),
                None,
            ),
        };
        let put = self.update(id, resource, |it| {
            let port = port.map_or_else(|| it.number("DbInstancePort"), i64::from);
            it.value["Endpoint"] =
                json!({"Address": address, "Port": port, "HostedZoneId": "Z2R2ITUGPM61AM"});
            // The vendor answers 0 once the endpoint has it.
            it.value["DbInstancePort"] = json!(0);
            it.value["CertificateDetails"] = json!({
                "CAIdentifier": need(&it.value, "CACertificateIdentifier"),
                "ValidTill": seconds(host.clock.now() + jiff::SignedDuration::from_hours(24 * 365)),
            });
            it.database = database;
            let backups = it.number("BackupRetentionPeriod") > 0;
            it.set_status(if backups { "backing-up" } else { "available" });
        });
        if put.is_none()
            && let Some(postgres) = server
        {
            postgres.remove().await;
        }
        put.is_some()
    }

    /// Carries out what was accepted, some time later.
    pub(super) fn carry_out(&self, id: String, resource: String) {
        let rds = self.clone();
        self.inner.host.background.spawn(async move {
            let clock = rds.inner.host.clock.clone();
            clock.sleep(BEGIN).await;
            let begun = rds
                .update(&id, &resource, Instance::begin_changes)
                .flatten();
            let Some((restarts, duration)) = begun else {
                return;
            };
            clock.sleep(duration).await;
            let todo = rds.update(&id, &resource, |it| (it.server(), it.new_password.clone()));
            let Some((server, password)) = todo else {
                return;
            };
            if let Some(postgres) = &server {
                let user = rds.update(&id, &resource, |it| {
                    need(&it.value, "MasterUsername").to_owned()
                });
                if let (Some(user), Some(password)) = (user, &password) {
                    report(&id, postgres.set_password(&user, password).await);
                }
                if restarts {
                    rds.restart(&id, postgres).await;
                }
            }
            let optimises = rds.update(&id, &resource, Instance::end_changes);
            if optimises == Some(true) {
                clock.sleep(OPTIMISE_STORAGE).await;
                rds.update(&id, &resource, |it| it.set_status("available"));
            }
        });
    }

    /// Has a changed parameter group reach the server, dynamic parameters at once.
    pub(super) fn apply_parameters(&self, id: String, resource: String) {
        let rds = self.clone();
        self.inner.host.background.spawn(async move {
            rds.inner.host.clock.sleep(BEGIN).await;
            if let Some(postgres) = rds.update(&id, &resource, |it| it.server()).flatten() {
                rds.send_settings(&id, &postgres).await;
            }
            rds.update(&id, &resource, |it| {
                if it.parameter_status == "applying" {
                    it.parameter_status = "in-sync";
                }
            });
        });
    }

    /// `rebooting`, then `available` with the parameters of now.
    pub(super) fn reboot(&self, id: String, resource: String) {
        let rds = self.clone();
        self.inner.host.background.spawn(async move {
            let server = rds.update(&id, &resource, |it| it.server()).flatten();
            if let Some(postgres) = &server {
                postgres.stop().await;
            }
            rds.inner.host.clock.sleep(REBOOT).await;
            if let Some(postgres) = &server {
                rds.restart(&id, postgres).await;
            }
            rds.update(&id, &resource, |it| {
                it.parameter_status = "in-sync";
                it.set_status("available");
            });
        });
    }

    /// `stopping`, then `stopped`.
    pub(super) fn stop(&self, id: String, resource: String) {
        let rds = self.clone();
        self.inner.host.background.spawn(async move {
            if let Some(postgres) = rds.update(&id, &resource, |it| it.server()).flatten() {
                postgres.stop().await;
            }
            rds.inner.host.clock.sleep(STOP).await;
            rds.update(&id, &resource, |it| it.set_status("stopped"));
        });
    }

    /// `starting`, then `available`.
    pub(super) fn start(&self, id: String, resource: String) {
        let rds = self.clone();
        self.inner.host.background.spawn(async move {
            rds.inner.host.clock.sleep(START).await;
            if let Some(postgres) = rds.update(&id, &resource, |it| it.server()).flatten() {
                rds.restart(&id, &postgres).await;
            }
            rds.update(&id, &resource, |it| {
                it.parameter_status = "in-sync";
                it.set_status("available");
            });
        });
    }

    /// Removes an instance that says `deleting`, after `before`, with its server.
    pub(super) fn take_down(&self, id: String, resource: String, before: Duration) {
        let rds = self.clone();
        self.inner.host.background.spawn(async move {
            rds.inner.host.clock.sleep(before + DELETE).await;
            let same = |it: &&Instance| need(&it.value, "DbiResourceId") == resource;
            // The server first: who sees that the instance is gone must find nobody at its address.
            let server = rds
                .lock()
                .instances
                .get(&id)
                .filter(same)
                .and_then(Instance::server);
            if let Some(postgres) = server {
                postgres.remove().await;
            }
            let mut state = rds.lock();
            if state.instances.get(&id).as_ref().is_some_and(same) {
                state.instances.remove(&id);
            }
        });
    }

    async fn restart(&self, id: &str, postgres: &Postgres) {
        postgres.stop().await;
        self.send_settings(id, postgres).await;
        report(id, postgres.start().await);
    }

    async fn send_settings(&self, id: &str, postgres: &Postgres) {
        let (force_tls, settings) = self.effective_settings(id);
        report(id, postgres.configure(&settings).await);
        report(id, postgres.set_force_tls(force_tls).await);
    }

    fn effective_settings(&self, id: &str) -> (bool, std::collections::BTreeMap<String, String>) {
        let state = self.lock();
        let group = state
            .instances
            .get(id)
            .map(|it| it.parameter_group.as_str());
        let group = group.and_then(|name| state.parameter_groups.get(name));
        group.map(parameters::effective).unwrap_or_default()
    }

    /// Runs `act` on an instance unless it is gone, replaced by another of its name, or on its way
    /// out.
    pub(super) fn update<T>(
        &self,
        id: &str,
        resource: &str,
        act: impl FnOnce(&mut Instance) -> T,
    ) -> Option<T> {
        let mut state = self.lock();
        let instance = state.instances.get_mut(id)?;
        let alive =
            need(&instance.value, "DbiResourceId") == resource && instance.status() != "deleting";
        alive.then(|| act(instance))
    }
}

impl Instance {
    fn server(&self) -> Option<Postgres> {
        match &self.database {
            Database::Running(postgres) => Some(postgres.clone()),
            Database::Starting | Database::Absent(_) => None,
        }
    }

    /// The state and the time that the accepted changes ask for, and whether the server restarts.
    fn begin_changes(&mut self) -> Option<(bool, Duration)> {
        if self.status() != "available" || (self.applying.is_empty() && self.new_password.is_none())
        {
            return None;
        }
        let has = |name: &str| self.applying.contains_key(name);
        let restarts = has("EngineVersion") || has("DBInstanceClass");
        let (status, duration) = match self.applying.is_empty() {
            true => ("resetting-master-credentials", CHANGE_PASSWORD),
            false if has("EngineVersion") => ("upgrading", UPGRADE),
            false => ("modifying", CHANGE),
        };
        self.set_status(status);
        Some((restarts, duration))
    }

    /// Puts the changes into effect. Returns whether the storage is being optimised still.
    fn end_changes(&mut self) -> bool {
        let changes = std::mem::take(&mut self.applying);
        let grew = changes.contains_key("AllocatedStorage") || changes.contains_key("StorageType");
        for (name, value) in changes {
            if name == "MultiAZ" {
                let zone = need(&self.value, "AvailabilityZone");
                let region = zone.trim_end_matches(|it: char| it.is_ascii_lowercase());
                let other = if zone.ends_with('b') { 'c' } else { 'b' };
                let second = (value == Value::Bool(true)).then(|| format!("{region}{other}"));
                self.value["SecondaryAvailabilityZone"] = json!(second);
            }
            if name == "EngineVersion"
                && let Some(group) = self.group_of_upgrade.take()
            {
                self.parameter_group = group;
                self.parameter_status = "pending-reboot";
            }
            self.value[name] = value;
        }
        if let Some(password) = self.new_password.take() {
            self.password = password;
        }
        self.set_status(if grew {
            "storage-optimization"
        } else {
            "available"
        });
        grew
    }
}

fn report(id: &str, done: Result<(), BackingError>) {
    if let Err(error) = done {
        tracing::warn!(%id, %error, "a database did not follow its instance");
    }
}
