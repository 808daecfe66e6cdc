//! Services: created, changed, listed, deleted.

use serde_json::{Value, json};

use super::conditions::{self, Standing};
use super::resources::Use;
use super::template;
use super::{Key, SERVICE, Served, Service, check_etag, number, text};
use crate::gcp::Gcp;
use crate::gcp::error::{ApiError, Code, Outcome};
use crate::gcp::names::{fresh_etag, is_dns_label};
use crate::gcp::operations::any;
use crate::gcp::schema::{Object, camel};
use crate::gcp::wire::Call;
use crate::runner::Front;

/// What a client may set; a change without a mask replaces all of it.
const SETTABLE: [&str; 20] = [
    "annotations",
    "binaryAuthorization",
    "buildConfig",
    "client",
    "clientVersion",
    "customAudiences",
    "defaultUriDisabled",
    "description",
    "functionalType",
    "iapEnabled",
    "ingress",
    "invokerIamDisabled",
    "labels",
    "launchStage",
    "multiRegionSettings",
    "scaling",
    "sshEnabled",
    "template",
    "traffic",
    "etag",
];

/// How a service is to be changed.
pub struct Change<'a> {
    /// The version that the caller saw; empty when it does not matter.
    pub etag: &'a str,
    /// Nothing is to be kept.
    pub validate_only: bool,
    /// A new revision also for the same template.
    pub force: bool,
}

impl Gcp {
    pub(super) async fn create_service(&self, call: &Call) -> Outcome {
        let (location, id) = (call.var(1), call.query("serviceId"));
        if !is_dns_label(id, 49) {
            return Err(ApiError::field(
                "service_id",
                "must use only lowercase alphanumeric characters and dashes, begin with a letter, not end with a dash, and be shorter than 50 characters",
            ));
        }
        self.new_service(call, (location.to_owned(), id.to_owned()))
            .await
    }

    async fn new_service(&self, call: &Call, key: Key) -> Outcome {
        let mut message: Object = call
            .body
            .iter()
            .filter(|(k, _)| SETTABLE.contains(&k.as_str()))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        self.complete_service(&mut message, &key)?;
        let account = message["template"]["serviceAccount"].as_str();
        self.check_agent(account.unwrap_or_default())?;
        self.check_lingering(SERVICE, &key)?;
        if self.inner.run.services.lock().contains_key(&key) {
            return Err(ApiError::new(
                Code::AlreadyExists,
                format!("Resource '{}' already exists.", key.1),
            ));
        }
        let now = self.now();
        message.insert(
            "name".into(),
            format!("{}/services/{}", self.parent_at(&key.0), key.1).into(),
        );
        message.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
        message.insert("createTime".into(), now.into());
        message.insert("creator".into(), call.principal.clone().into());
        if call.flag("validateOnly") {
            return self.done_operation(&key.0, SERVICE, &message);
        }
        let front = self.host().runner.front().await.map_err(|error| {
            ApiError::new(
                Code::Internal,
                format!("cannot listen on loopback: {error}"),
            )
        })?;
        let uri = format!("http://{}", front.address());
        message.insert("uri".into(), uri.clone().into());
        message.insert("urls".into(), json!([uri]));
        {
            let mut services = self.inner.run.services.lock();
            if services.contains_key(&key) {
                front.close();
                return Err(ApiError::new(
                    Code::AlreadyExists,
                    format!("Resource '{}' already exists.", key.1),
                ));
            }
            let kept = Served {
                revisions: Default::default(),
                revision_count: 0,
                front,
                tags: Default::default(),
                operation: String::new(),
            };
            services.insert(key.clone(), Service::new(message, kept));
        }
        match self.begin_change(call, &key, true) {
            Ok(operation) => Ok(operation),
            Err(error) => {
                if let Some(service) = self.inner.run.services.lock().remove(&key) {
                    service.kept.front.close();
                }
                Err(error)
            }
        }
    }

    /// Fills in what Cloud Run fills in, then checks everything that it checks before it accepts.
    fn complete_service(&self, message: &mut Object, key: &Key) -> Outcome<()> {
        let resource = format!("{}/services/{}", self.parent_at(&key.0), key.1);
        self.check_invoker(&resource, message.get("invokerIamDisabled"))?;
        for (name, value) in [("ingress", "INGRESS_TRAFFIC_ALL"), ("launchStage", "GA")] {
            message.entry(name).or_insert(value.into());
        }
        if message
            .get("traffic")
            .and_then(Value::as_array)
            .is_none_or(Vec::is_empty)
        {
            message.insert(
                "traffic".into(),
                json!([{ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100 }]),
            );
        }
        let template = message.entry("template").or_insert(json!({}));
        let template = template
            .as_object_mut()
            .ok_or_else(|| ApiError::field("template", "must be set"))?;
        template::fill(template, Use::Service, &self.host().project);
        template::check("template", template, Use::Service)?;
        template::check_metadata("template.", template)?;
        check_revision_name(&key.1, text(template, "revision"))?;
        template::check_metadata("", message)?;
        if text(message, "description").chars().count() > 512 {
            return Err(ApiError::field(
                "description",
                "must not be longer than 512 characters",
            ));
        }
        super::traffic::check(&key.1, message)
    }

    pub(super) async fn patch_service(&self, call: &Call, key: &Key) -> Outcome {
        let exists = self.inner.run.services.lock().contains_key(key);
        if !exists {
            if call.flag("allowMissing") && is_dns_label(&key.1, 49) {
                return self.new_service(call, key.clone()).await;
            }
            return Err(super::absent("Service", &key.1));
        }
        self.check_named_twice(key, call.query("updateMask"))?;
        let change = Change {
            etag: text(&call.body, "etag"),
            validate_only: call.flag("validateOnly"),
            force: call.flag("forceNewRevision"),
        };
        let (changed, fresh) = self.change_service(key, &change, |mut service| {
            apply_mask(&mut service, &call.body, call.query("updateMask"))?;
            Ok(service)
        })?;
        if change.validate_only {
            return self.done_operation(&key.0, SERVICE, &changed);
        }
        self.begin_change(call, key, fresh)
    }

    /// A change under a mask leaves the name in the template, which is then taken for that of
    /// another revision, as reports tell of services that `gcloud run deploy` made
    /// (googleapis/google-cloud-python #14259 and #11870).
    fn check_named_twice(&self, key: &Key, mask: &str) -> Outcome<()> {
        let template = mask
            .split(',')
            .any(|path| path.trim().starts_with("template"));
        if mask.is_empty() || mask == "*" || template {
            return Ok(());
        }
        self.with_service(key, |service| {
            let name = service.message["template"]["revision"].as_str();
            match name.filter(|name| service.kept.revisions.contains_key(*name)) {
                Some(name) => Err(named_twice(name)),
                None => Ok(()),
            }
        })
    }

    /// The service as `change` makes it, completed and checked, and whether it takes a new
    /// revision. It is kept unless that was only to be validated.
    pub(super) fn change_service(
        &self,
        key: &Key,
        asked: &Change<'_>,
        change: impl FnOnce(Object) -> Outcome<Object>,
    ) -> Outcome<(Object, bool)> {
        self.with_service(key, |service| {
            check_etag(&key.1, &service.message, asked.etag)?;
            let mut changed = change(service.message.clone())?;
            changed.insert("etag".into(), service.message["etag"].clone());
            super::scaling::switch(&service.message, &mut changed);
            self.complete_service(&mut changed, key)?;
            let fresh = asked.force || makes_revision(&service.message, &changed);
            let name = changed["template"]["revision"].as_str().unwrap_or_default();
            if fresh && service.kept.revisions.contains_key(name) {
                return Err(named_twice(name));
            }
            if !asked.validate_only {
                service.message = changed.clone();
            }
            Ok((changed, fresh))
        })
    }

    /// Marks the service as changed, adds a revision when its template is new, and begins the
    /// roll-out.
    pub(super) fn begin_change(&self, call: &Call, key: &Key, new_revision: bool) -> Outcome {
        let now = self.now();
        let (message, revision) = self.with_service(key, |service| {
            let generation = number(&service.message, "generation") + 1;
            let message = &mut service.message;
            message.insert("generation".into(), generation.to_string().into());
            message.insert("updateTime".into(), now.clone().into());
            message.insert("lastModifier".into(), call.principal.clone().into());
            message.insert("etag".into(), fresh_etag().into());
            message.insert("reconciling".into(), true.into());
            conditions::set(message, "RoutesReady", &Standing::pending(), &now);
            if new_revision {
                conditions::set(message, "ConfigurationsReady", &Standing::pending(), &now);
            }
            conditions::set_terminal(message, &Standing::pending(), &now);
            let revision = new_revision.then(|| self.add_revision(key, service, &now));
            Ok((service.message.clone(), revision))
        })?;
        let metadata = any(SERVICE, &Value::Object(message.clone()));
        let operation = self.operations().start(&self.parent_at(&key.0), metadata);
        let name = operation["name"].as_str().unwrap_or_default().to_owned();
        let noted = self.with_service(key, |service| {
            service.kept.operation = super::short(&name).to_owned();
            Ok(())
        });
        // Of a service that is gone again only the operation tells.
        drop(noted);
        let (gcp, key, generation) = (self.clone(), key.clone(), number(&message, "generation"));
        self.host()
            .background
            .spawn(async move { gcp.roll_out(key, generation, revision, name).await });
        Ok(operation)
    }

    pub(super) fn delete_service(&self, call: &Call, key: &Key) -> Outcome {
        let now = self.now();
        let mut message = self.with_service(key, |service| {
            check_etag(&key.1, &service.message, call.query("etag"))?;
            Ok(service.message.clone())
        })?;
        message.insert("deleteTime".into(), now.into());
        if call.flag("validateOnly") {
            return self.done_operation(&key.0, SERVICE, &message);
        }
        let Some(mut service) = self.inner.run.services.lock().remove(key) else {
            return Err(super::absent("Service", &key.1));
        };
        self.linger(SERVICE, key);
        service.kept.front.close();
        service.kept.tags.values().for_each(Front::close);
        let instances: Vec<_> = service
            .kept
            .revisions
            .values_mut()
            .filter_map(|r| r.instance.take())
            .collect();
        let metadata = any(SERVICE, &Value::Object(message));
        let operation = self
            .operations()
            .start(&self.parent_at(&key.0), metadata.clone());
        let name = operation["name"].as_str().unwrap_or_default().to_owned();
        let gcp = self.clone();
        self.host().background.spawn(async move {
            for instance in instances {
                instance.stop(&gcp).await;
            }
            gcp.host()
                .clock
                .sleep(std::time::Duration::from_secs(1))
                .await;
            gcp.operations()
                .finish(&name, metadata.clone(), Ok(metadata));
        });
        Ok(operation)
    }
}

fn named_twice(name: &str) -> ApiError {
    ApiError::new(
        Code::AlreadyExists,
        format!("Revision named '{name}' with different configuration already exists."),
    )
}

/// Whether a changed template makes a revision: a name alone does only when it is a new one.
fn makes_revision(before: &Object, after: &Object) -> bool {
    let bare = |message: &Object| {
        let template = message.get("template").and_then(Value::as_object);
        let mut template = template.cloned().unwrap_or_default();
        for name in ["revision", "client", "clientVersion"] {
            template.remove(name);
        }
        template
    };
    let name = |message: &Object| message["template"]["revision"].as_str().map(str::to_owned);
    let renamed = name(after).is_some() && name(after) != name(before);
    renamed || bare(before) != bare(after)
}

fn check_revision_name(service: &str, name: &str) -> Outcome<()> {
    if name.is_empty() {
        return Ok(());
    }
    if !name.starts_with(&format!("{service}-")) {
        return Err(ApiError::field(
            "template.revision",
            "Revision name must be prefixed by the name of the enclosing Service or Configuration with a trailing -",
        ));
    }
    if !is_dns_label(name, 63) {
        return Err(ApiError::field(
            "template.revision",
            "must use only lowercase alphanumeric characters and dashes, not end with a dash, and be at most 63 characters",
        ));
    }
    Ok(())
}

/// Takes from `body` what `mask` names; without a mask, all that a client may set.
fn apply_mask(message: &mut Object, body: &Object, mask: &str) -> Outcome<()> {
    let paths: Vec<String> = mask
        .split(',')
        .map(str::trim)
        .filter(|p| !p.is_empty())
        .map(camel)
        .collect();
    if paths.is_empty() || paths.iter().any(|p| p == "*") {
        for name in SETTABLE {
            message.remove(name);
            if let Some(value) = body.get(name) {
                message.insert(name.into(), value.clone());
            }
        }
        return Ok(());
    }
    for path in paths {
        let parts: Vec<&str> = path.split('.').collect();
        if !crate::gcp::schema::has_path("run.v2", "GoogleCloudRunV2Service", &parts) {
            return Err(ApiError::field(
                "update_mask",
                format!("the path '{path}' is not a field of Service"),
            ));
        }
        if SETTABLE.contains(&parts[0]) {
            copy_path(message, body, &parts);
        }
    }
    Ok(())
}

fn copy_path(into: &mut Object, from: &Object, parts: &[&str]) {
    let (name, rest) = (parts[0], &parts[1..]);
    if rest.is_empty() {
        match from.get(name) {
            Some(value) => into.insert(name.to_owned(), value.clone()),
            None => into.remove(name),
        };
        return;
    }
    let inner = into.entry(name).or_insert(json!({}));
    let empty = Object::new();
    let source = from.get(name).and_then(Value::as_object).unwrap_or(&empty);
    if let Some(inner) = inner.as_object_mut() {
        copy_path(inner, source, rest);
    }
}
