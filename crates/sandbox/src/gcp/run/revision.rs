//! Revisions: made from a service's template, read, deleted.

use serde_json::{Value, json};

use super::conditions::{self, Standing};
use super::{Key, REVISION, Readiness, Revision, Service, short, text};
use crate::gcp::Gcp;
use crate::gcp::error::{ApiError, Outcome};
use crate::gcp::names::{fresh_etag, random_suffix};
use crate::gcp::operations::any;
use crate::gcp::schema::Object;
use crate::gcp::wire::Call;

/// What a revision takes over from its template.
const INHERITED: [&str; 18] = [
    "annotations",
    "client",
    "clientVersion",
    "containers",
    "encryptionKey",
    "encryptionKeyRevocationAction",
    "encryptionKeyShutdownDuration",
    "executionEnvironment",
    "labels",
    "maxInstanceRequestConcurrency",
    "nodeSelector",
    "scaling",
    "serviceAccount",
    "serviceMesh",
    "sessionAffinity",
    "timeout",
    "volumes",
    "vpcAccess",
];

impl Gcp {
    /// Adds the revision that the service's template describes; returns its name.
    pub(super) fn add_revision(&self, key: &Key, service: &mut Service, now: &str) -> String {
        service.kept.revision_count += 1;
        let template = service
            .message
            .get("template")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        let name = match text(&template, "revision") {
            "" => format!(
                "{}-{:05}-{}",
                key.1,
                service.kept.revision_count,
                random_suffix(3)
            ),
            given => given.to_owned(),
        };
        let full = format!(
            "{}/services/{}/revisions/{name}",
            self.parent_at(&key.0),
            key.1
        );
        let mut message: Object = template
            .iter()
            .filter(|(k, _)| INHERITED.contains(&k.as_str()))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        for (field, value) in [
            ("name", json!(full)),
            ("uid", json!(uuid::Uuid::new_v4().to_string())),
            ("generation", json!("1")),
            ("createTime", json!(now)),
            ("updateTime", json!(now)),
            ("service", json!(key.1)),
            (
                "launchStage",
                service
                    .message
                    .get("launchStage")
                    .cloned()
                    .unwrap_or_default(),
            ),
            (
                "creator",
                service
                    .message
                    .get("lastModifier")
                    .cloned()
                    .unwrap_or_default(),
            ),
            ("reconciling", json!(true)),
            (
                "logUri",
                json!(self.log_uri(
                    "cloud_run_revision",
                    &[("service_name", &key.1), ("revision_name", &name)]
                )),
            ),
            ("etag", json!(fresh_etag())),
        ] {
            message.insert(field.into(), value);
        }
        for kind in [
            "Ready",
            "ContainerHealthy",
            "ContainerReady",
            "ResourcesAvailable",
        ] {
            conditions::set(&mut message, kind, &Standing::pending(), now);
        }
        service
            .message
            .insert("latestCreatedRevision".into(), full.into());
        service.kept.revisions.insert(
            name.clone(),
            Revision {
                message,
                image: None,
                readiness: Readiness::Pending,
                instance: None,
            },
        );
        name
    }

    /// Where the console would show the logs of a resource.
    pub(super) fn log_uri(&self, kind: &str, labels: &[(&str, &str)]) -> String {
        let project = &self.host().project;
        let place: Vec<String> = labels.iter().map(|(k, v)| format!("{k}/{v}")).collect();
        let filter: Vec<String> = labels
            .iter()
            .map(|(k, v)| format!("%0Aresource.labels.{k}%3D%22{v}%22"))
            .collect();
        format!(
            "https://console.cloud.google.com/logs/viewer?project={project}&resource={kind}/{}&advancedFilter=resource.type%3D%22{kind}%22{}",
            place.join("/"),
            filter.concat()
        )
    }

    pub(super) fn get_revision(&self, key: &Key, id: &str) -> Outcome {
        self.with_service(key, |service| match service.kept.revisions.get(id) {
            Some(revision) => Ok(Value::Object(revision.message.clone())),
            None => Err(super::absent("Revision", id)),
        })
    }

    pub(super) fn list_revisions(&self, call: &Call, key: &Key) -> Outcome {
        let mut all = self.inner.run.services.at(&key.0, |own, s| {
            let wanted = key.1 == "-" || own.1 == key.1;
            let revisions = s.kept.revisions.values().filter(|_| wanted);
            revisions.map(|r| r.message.clone()).collect::<Vec<_>>()
        });
        if key.1 != "-" {
            self.with_service(key, |_| Ok(()))?;
        }
        all.sort_by(|a, b| text(b, "createTime").cmp(text(a, "createTime")));
        call.listed(all, 100)
    }

    pub(super) fn delete_revision(&self, call: &Call, key: &Key) -> Outcome {
        let id = call.var(3).to_owned();
        let (mut message, instance) = self.with_service(key, |service| {
            let Some(revision) = service.kept.revisions.get(&id) else {
                return Err(super::absent("Revision", &id));
            };
            super::check_etag(&id, &revision.message, call.query("etag"))?;
            let latest = short(text(&service.message, "latestCreatedRevision")) == id;
            if latest || super::traffic::serving(service).contains(&id) {
                return Err(ApiError::precondition(format!(
                    "Revision '{id}' cannot be deleted: it is the latest created revision or receives traffic."
                )));
            }
            if call.flag("validateOnly") {
                return Ok((revision.message.clone(), None));
            }
            let gone = service.kept.revisions.remove(&id);
            Ok(gone.map(|r| (r.message, r.instance)).unwrap_or_default())
        })?;
        if let Some(instance) = instance {
            let gcp = self.clone();
            self.host()
                .background
                .spawn(async move { instance.stop(&gcp).await });
        }
        message.insert("deleteTime".into(), self.now().into());
        let value = any(REVISION, &Value::Object(message.clone()));
        debug_assert!(value.is_object());
        self.done_operation(&key.0, REVISION, &message)
    }
}
