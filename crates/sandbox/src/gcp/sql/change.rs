//! Changes of an instance: `patch` merges, `update` replaces the settings.

use std::time::Duration;

use serde_json::{Value, json};

use super::operations::Failure;
use super::{flags, instances, invalid, settings};
use crate::backing::Postgres;
use crate::gcp::Gcp;
use crate::gcp::error::{ApiError, Outcome};
use crate::gcp::schema::Object;
use crate::gcp::wire::Call;

/// A change that the server takes while it runs.
const QUICK: Duration = Duration::from_secs(30);
/// A change that restarts the server.
const RESTARTING: Duration = Duration::from_secs(5 * 60);
/// A new major version.
const UPGRADE: Duration = Duration::from_secs(15 * 60);

/// What an instance is to become.
struct Change {
    settings: Object,
    version: String,
    kind: &'static str,
    time: Duration,
    restarts: bool,
}

impl Gcp {
    pub(super) fn change_instance(&self, call: &Call) -> Outcome {
        let name = call.var(1).to_owned();
        let (operation, change, server) = {
            let mut state = self.inner.sql.lock();
            let instance = state.idle(&name)?;
            if instance.state() != "RUNNABLE" {
                return Err(invalid("Invalid request since instance is not running"));
            }
            let change = plan(&instance.message, &instance.settings(), call)?;
            if change.kind == "MAJOR_VERSION_UPGRADE" {
                instance.set("state", "MAINTENANCE");
            }
            let server = instance.server.clone();
            (state.begin(self, call, &name, change.kind), change, server)
        };
        let (gcp, begun) = (self.clone(), operation.clone());
        self.host().background.spawn(async move {
            let result = gcp.carry_out(&name, &begun, change, server).await;
            gcp.finish_sql(&begun, result);
        });
        self.sql_operation(call, &operation)
    }

    async fn carry_out(
        &self,
        name: &str,
        operation: &str,
        change: Change,
        server: Option<Postgres>,
    ) -> Result<(), Failure> {
        if let Some(server) = server.as_ref().filter(|_| change.restarts) {
            server.stop().await;
        }
        self.take_sql(operation, change.time).await;
        let applied = match &server {
            Some(server) => apply(server, &change).await,
            None => Ok(()),
        };
        let mut state = self.inner.sql.lock();
        let instance = state.instance(name).map_err(instances::gone)?;
        instance.set("state", "RUNNABLE");
        applied?;
        instance.set("databaseInstalledVersion", format!("{}_9", change.version));
        instance.set("databaseVersion", change.version);
        instance.set("ipAddresses", instance.addresses(&change.settings));
        instance.set("settings", change.settings);
        instance.set("etag", settings::etag());
        Ok(())
    }
}

/// Has the server do what was asked for.
async fn apply(server: &Postgres, change: &Change) -> Result<(), Failure> {
    let given = &change.settings;
    let configured = server.configure(&flags::server_settings(given)).await;
    configured.map_err(super::server::failed)?;
    let forced = server.set_force_tls(settings::forces_tls(given)).await;
    forced.map_err(super::server::failed)?;
    if settings::is_active(given) {
        return server.start().await.map_err(super::server::failed);
    }
    server.stop().await;
    Ok(())
}

/// What an instance becomes by a call, or why it may not.
fn plan(message: &Object, old: &Object, call: &Call) -> Outcome<Change> {
    check_fixed(message, &call.body)?;
    let given = call.body.get("settings").and_then(Value::as_object);
    let replaces = call.method.id == "sql.instances.update";
    let expected = given.and_then(|it| it.get("settingsVersion"));
    if replaces && expected.is_none() {
        return Err(invalid("Missing required field: settings.settingsVersion"));
    }
    check_version(old, expected)?;
    let old_version = settings::word(message, &["databaseVersion"]);
    let version = match settings::word(&call.body, &["databaseVersion"]) {
        "" => old_version,
        version => version,
    };
    let (before, after) = (settings::major(old_version)?, settings::major(version)?);
    if after < before {
        return Err(invalid(format!(
            "Database version cannot be downgraded from {old_version} to {version}"
        )));
    }
    let mut new = if replaces { Object::new() } else { old.clone() };
    merge(&mut new, given.cloned().unwrap_or_default());
    // Neither an upgrade nor silence changes these.
    for kept in ["edition", "dataDiskSizeGb", "dataDiskType"] {
        if let Some(value) = old.get(kept) {
            new.entry(kept).or_insert(value.clone());
        }
    }
    settings::complete(&mut new, after);
    let region = settings::word(message, &["region"]);
    settings::check(&new, region)?;
    settings::check_change(old, &new)?;
    let mut new = taken_together(old, new, after > before)?;
    let number = version_number(old) + 1;
    new.insert("settingsVersion".into(), number.to_string().into());
    let upgrades = after > before;
    let restarts = upgrades || settings::restarts(old, &new);
    Ok(Change {
        kind: if upgrades {
            "MAJOR_VERSION_UPGRADE"
        } else {
            "UPDATE"
        },
        time: match (upgrades, restarts) {
            (true, _) => UPGRADE,
            (false, true) => RESTARTING,
            (false, false) => QUICK,
        },
        version: version.to_owned(),
        settings: new,
        restarts,
    })
}

/// What is changed with no others. An instance that stands still is started first, and anything
/// else is refused until then; another edition comes with its tier alone, and beside others nothing
/// is changed although it seems so: "200 OK", and the edition of before
/// (GoogleCloudPlatform/magic-modules#8715). Hence `resource_sql_database_instance.go` of
/// terraform-provider-google patches each before the rest: "patching edition is an atomic operation
/// and can not be performed with other fields", and an activation policy of ALWAYS "should be done
/// first". What is taken of `new`: all of it, or nothing.
fn taken_together(old: &Object, new: Object, upgrades: bool) -> Outcome<Object> {
    let keys = old.keys().chain(new.keys());
    let changed: Vec<&String> = keys
        .filter(|key| *key != "settingsVersion" && old.get(*key) != new.get(*key))
        .collect();
    let others =
        |alone: &[&str]| upgrades || changed.iter().any(|key| !alone.contains(&key.as_str()));
    let is_changed = |name: &str| changed.iter().any(|key| *key == name);
    if is_changed("activationPolicy") && !settings::is_active(old) && others(&["activationPolicy"])
    {
        return Err(invalid("Invalid request since instance is not running"));
    }
    let is_mixed = is_changed("edition") && others(&["edition", "tier", "dataCacheConfig"]);
    Ok(if is_mixed { old.clone() } else { new })
}

/// Refuses another name, region or kind of instance, and what nobody may set.
fn check_fixed(message: &Object, body: &Object) -> Outcome<()> {
    for (field, value) in body {
        let same = message.get(field) == Some(value);
        match field.as_str() {
            "settings" | "databaseVersion" => {}
            "name" | "region" | "instanceType" | "gceZone" if same => {}
            "name" | "region" | "instanceType" => {
                return Err(invalid(format!("{field} cannot be changed after creation")));
            }
            "createTime" | "databaseInstalledVersion" => {}
            other if instances::IGNORED.contains(&other) => {}
            other => return Err(super::unimplemented(other)),
        }
    }
    Ok(())
}

/// Refuses a change that was made of older settings.
pub(super) fn check_version(settings: &Object, expected: Option<&Value>) -> Outcome<()> {
    let Some(expected) = expected else {
        return Ok(());
    };
    if *expected == json!(version_number(settings).to_string()) {
        return Ok(());
    }
    Err(ApiError::legacy(
        412,
        "staleData",
        "Condition does not match.",
    ))
}

fn version_number(settings: &Object) -> i64 {
    let text = settings::word(settings, &["settingsVersion"]);
    text.parse().unwrap_or(0)
}

/// Messages and maps are merged, all else is replaced.
fn merge(into: &mut Object, from: Object) {
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (Some(Value::Object(old)), Value::Object(new)) => merge(old, new),
            (_, value) => {
                into.insert(name, value);
            }
        }
    }
}
