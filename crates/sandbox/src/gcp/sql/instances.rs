//! Instances: created, read, restarted, deleted; their changes are next door.

use std::time::Duration;

use serde_json::{Value, json};

use super::operations::Failure;
use super::server::DEFAULT_USER;
use super::{Instance, State, databases, invalid, listed, settings, users};
use crate::gcp::Gcp;
use crate::gcp::error::{ApiError, Outcome};
use crate::gcp::names::{check_location, is_dns_label};
use crate::gcp::schema::Object;
use crate::gcp::wire::Call;

const CREATION: Duration = Duration::from_secs(8 * 60);
const DELETION: Duration = Duration::from_secs(60);

/// How long a new instance takes no change although its operation is done.
const UNFIT: Duration = Duration::from_secs(5);

/// The network here that has no Private Services Access; every other one has it.
const NOT_PEERED: &str = "not-peered";

/// What a client may say of a new instance; the rest is refused.
const SETTABLE: [&str; 7] = [
    "name",
    "databaseVersion",
    "region",
    "settings",
    "rootPassword",
    "gceZone",
    "instanceType",
];

/// What clients send back of an answer, and Cloud SQL ignores.
pub(super) const IGNORED: [&str; 15] = [
    "kind",
    "project",
    "etag",
    "selfLink",
    "state",
    "backendType",
    "connectionName",
    "ipAddresses",
    "serverCaCert",
    "serviceAccountEmailAddress",
    "currentDiskSize",
    "maxDiskSize",
    "maintenanceVersion",
    "sqlNetworkArchitecture",
    "satisfiesPzs",
];

impl Gcp {
    pub(super) fn insert_instance(&self, call: &Call) -> Outcome {
        let message = self.new_instance(&call.body)?;
        let name = settings::word(&message, &["name"]).to_owned();
        let password = settings::word(&call.body, &["rootPassword"]).to_owned();
        let operation = {
            let mut state = self.inner.sql.lock();
            check_free(&state, &name)?;
            let instance = Instance {
                message,
                databases: Default::default(),
                users: Default::default(),
                backups: Vec::new(),
                operation: None,
                is_new: true,
                server: None,
            };
            state.instances.insert(name.clone(), instance);
            state.begin(self, call, &name, "CREATE")
        };
        let (gcp, begun) = (self.clone(), operation.clone());
        let password = Some(password).filter(|it| !it.is_empty());
        self.host().background.spawn(async move {
            let result = gcp.create_instance(&name, &begun, password).await;
            gcp.finish_sql(&begun, result);
            gcp.host().clock.sleep(UNFIT).await;
            if let Ok(instance) = gcp.inner.sql.lock().instance(&name) {
                instance.is_new = false;
            }
        });
        self.sql_operation(call, &operation)
    }

    /// The message of a new instance, complete and checked.
    fn new_instance(&self, body: &Object) -> Outcome<Object> {
        let name = settings::word(body, &["name"]);
        let project = &self.host().project;
        // Google's limit is on project and name together.
        if !is_dns_label(name, 98usize.saturating_sub(project.len() + 1)) {
            return Err(ApiError::legacy(
                400,
                "invalid",
                format!("Invalid request: instance name ({name})."),
            ));
        }
        for field in body.keys() {
            if !SETTABLE.contains(&field.as_str()) && !IGNORED.contains(&field.as_str()) {
                return Err(super::unimplemented(field));
            }
        }
        if !matches!(
            settings::word(body, &["instanceType"]),
            "" | "CLOUD_SQL_INSTANCE"
        ) {
            return Err(super::unimplemented("replicas and external instances"));
        }
        let version = settings::word(body, &["databaseVersion"]);
        let major = settings::major(version)?;
        let region = match settings::word(body, &["region"]) {
            "" => "us-central1",
            region => region,
        };
        check_location(region)
            .map_err(|_| invalid(format!("Region {region} is not a valid region")))?;
        let given = body.get("settings").and_then(Value::as_object);
        let mut complete = given
            .cloned()
            .ok_or_else(|| invalid("Missing required field: settings"))?;
        settings::complete(&mut complete, major);
        settings::check(&complete, region)?;
        complete.insert("settingsVersion".into(), "1".into());
        let zone = match settings::word(&complete, &["locationPreference", "zone"]) {
            "" => format!("{region}-b"),
            zone => zone.to_owned(),
        };
        // Computed where the client leaves it open. Source: terraform-provider-google,
        // `resource_sql_database_instance.go`.
        complete["locationPreference"]["zone"] = zone.clone().into();
        let message = json!({
            "kind": "sql#instance", "name": name, "project": project, "region": region,
            "databaseVersion": version, "databaseInstalledVersion": format!("{version}_9"),
            "state": "PENDING_CREATE", "backendType": "SECOND_GEN",
            "instanceType": "CLOUD_SQL_INSTANCE", "gceZone": zone, "settings": complete,
            "connectionName": format!("{project}:{region}:{name}"),
            "serviceAccountEmailAddress": self.sql_account(),
            "sqlNetworkArchitecture": "NEW_NETWORK_ARCHITECTURE",
            "maintenanceVersion": format!("{version}_9.R20260901.00_00"),
            "createTime": self.now(), "etag": settings::etag(),
        });
        Ok(message.as_object().cloned().unwrap_or_default())
    }

    async fn create_instance(
        &self,
        name: &str,
        operation: &str,
        password: Option<String>,
    ) -> Result<(), Failure> {
        let (version, given) = {
            let mut state = self.inner.sql.lock();
            let instance = state.instance(name).map_err(gone)?;
            let version = settings::word(&instance.message, &["databaseVersion"]);
            (settings::major(version).map_err(gone)?, instance.settings())
        };
        let (started, ()) = tokio::join!(
            self.start_server(name, version, &given, password),
            self.take_sql(operation, CREATION),
        );
        let mut state = self.inner.sql.lock();
        let instance = state.instance(name).map_err(gone)?;
        let network = settings::word(&given, &["ipConfiguration", "privateNetwork"]);
        if network.rsplit('/').next() == Some(NOT_PEERED) {
            instance.set("state", "FAILED");
            return Err(not_peered(&self.host().project, network));
        }
        match started {
            Ok(server) => instance.server = server,
            Err(failure) => {
                instance.set("state", "FAILED");
                return Err(failure);
            }
        }
        instance.set("state", "RUNNABLE");
        instance.set("ipAddresses", instance.addresses(&given));
        instance.set("serverCaCert", self.server_ca(name));
        instance
            .databases
            .insert("postgres".into(), databases::message("postgres", name));
        instance
            .users
            .insert(DEFAULT_USER.into(), users::message(DEFAULT_USER, name));
        Ok(())
    }

    pub(super) fn get_instance(&self, call: &Call) -> Outcome {
        let mut state = self.inner.sql.lock();
        let message = state.instance(call.var(1))?.message.clone();
        Ok(self.instance_view(call, message))
    }

    pub(super) fn list_instances(&self, call: &Call) -> Outcome {
        // "The expression is in the form of field:value. Fields can be nested as needed as per
        // their JSON representation, such as 'settings.userLabels.auto_start:true'" (Cloud SQL
        // Admin API, "Method: instances.list"); one by name or by one label is what is served.
        let wanted = match call.query("filter") {
            "" => None,
            filter => Some(filter.split_once(':').filter(|(field, _)| {
                *field == "name" || field.starts_with("settings.userLabels.")
            }).ok_or_else(|| {
                super::unimplemented("filters of instances but `name:NAME` and `settings.userLabels.KEY:VALUE`")
            })?),
        };
        let fits = |name: &str, message: &Object| match wanted {
            None => true,
            Some(("name", wanted)) => name == wanted,
            Some((field, wanted)) => {
                let path: Vec<&str> = field.split('.').collect();
                settings::word(message, &path) == wanted
            }
        };
        let all: Vec<Object> = {
            let state = self.inner.sql.lock();
            state
                .instances
                .iter()
                .filter(|(name, it)| fits(name, &it.message))
                .map(|(_, it)| it.message.clone())
                .collect()
        };
        let items = all.into_iter().map(|it| self.instance_view(call, it));
        listed(call, "sql#instancesList", items.collect())
    }

    fn instance_view(&self, call: &Call, mut message: Object) -> Value {
        let name = settings::word(&message, &["name"]);
        let link = self.sql_link(call, &format!("instances/{name}"));
        message.insert("selfLink".into(), link.into());
        Value::Object(message)
    }

    pub(super) fn list_server_cas(&self, call: &Call) -> Outcome {
        let mut state = self.inner.sql.lock();
        let message = &state.instance(call.var(1))?.message;
        let certificate = message.get("serverCaCert").cloned().unwrap_or_default();
        Ok(json!({
            "kind": "sql#instancesListServerCas",
            "activeVersion": certificate["sha1Fingerprint"], "certs": [certificate],
        }))
    }

    pub(super) fn delete_instance(&self, call: &Call) -> Outcome {
        let name = call.var(1).to_owned();
        // As other backups here it holds nothing; the API for backups of deleted instances is not
        // served.
        let last_backup = call
            .flag("enableFinalBackup")
            .then_some(super::backups::BACKUP);
        let (operation, server) = {
            let mut state = self.inner.sql.lock();
            let instance = state.idle(&name)?;
            if instance.settings().get("deletionProtectionEnabled") == Some(&json!(true)) {
                return Err(ApiError::legacy(
                    400,
                    "invalid",
                    "The instance is protected. Please disable the deletion protection and try again. To disable deletion protection, update the instance settings with deletionProtectionEnabled set to false.",
                ));
            }
            instance.set("state", "PENDING_DELETE");
            let server = instance.server.clone();
            (state.begin(self, call, &name, "DELETE"), server)
        };
        let (gcp, begun) = (self.clone(), operation.clone());
        self.host().background.spawn(async move {
            if let Some(server) = server {
                server.remove().await;
            }
            gcp.take_sql(&begun, DELETION + last_backup.unwrap_or_default())
                .await;
            {
                let mut state = gcp.inner.sql.lock();
                state.instances.remove(&name);
                if last_backup.is_some() {
                    state.last_backups.push(name);
                }
            }
            gcp.finish_sql(&begun, Ok(()));
        });
        self.sql_operation(call, &operation)
    }
}

/// Refuses a name that is in use, also by an instance that is being deleted.
///
/// "The deleted instance name can be reused immediately to create a new instance."
/// Source: cloud.google.com/sql/docs/postgres/delete-instance.
fn check_free(state: &State, name: &str) -> Outcome<()> {
    if state.instances.contains_key(name) {
        return Err(ApiError::legacy(
            409,
            "instanceAlreadyExists",
            "The Cloud SQL instance already exists.",
        ));
    }
    Ok(())
}

/// The failure of an instance in a network that Google's services cannot reach, which only the
/// operation tells (hashicorp/terraform-provider-google's issues about
/// `google_service_networking_connection` quote it).
fn not_peered(project: &str, network: &str) -> Failure {
    Failure {
        code: "NETWORK_NOT_PEERED",
        message: format!(
            "Failed to create subnetwork. Please create Service Networking connection with service \
             'servicenetworking.googleapis.com' from consumer project '{project}' network '{network}' again."
        ),
    }
}

/// An instance that went while something was done to it.
pub(super) fn gone(error: ApiError) -> Failure {
    Failure {
        code: "INTERNAL_ERROR",
        message: error.message,
    }
}
