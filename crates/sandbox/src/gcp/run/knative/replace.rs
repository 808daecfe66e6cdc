//! `services.replaceService`: v1 changes a service, as `gcloud run services update` does it.
//!
//! What v1 says is brought into v2's fields and goes the way of v2's `services.patch`; what has no
//! place there is refused.

use serde_json::Value;

use super::fields::Fields;
use super::{annotations, spec};
use crate::gcp::Gcp;
use crate::gcp::error::{ApiError, Outcome};
use crate::gcp::names::check_project;
use crate::gcp::run::Key;
use crate::gcp::run::service::Change;
use crate::gcp::schema::Object;
use crate::gcp::wire::Call;

/// The label that tells where a service is.
pub const LOCATION: &str = "cloud.googleapis.com/location";

/// What of the metadata only Google sets; clients send back what they read.
const OUTPUT_ONLY: [&str; 4] = ["creationTimestamp", "generation", "selfLink", "uid"];

/// Where v1 has what v2's checks find fault with.
const PATHS: [(&str, &str); 7] = [
    ("template.revision", "spec.template.metadata.name"),
    ("template.labels", "spec.template.metadata.labels"),
    ("template.annotations", "spec.template.metadata.annotations"),
    ("template.", "spec.template.spec."),
    ("traffic", "spec.traffic"),
    ("labels", "metadata.labels"),
    ("annotations", "metadata.annotations"),
];

impl Gcp {
    pub(super) fn replace_service(&self, call: &Call, key: &Key) -> Outcome {
        let dry_run = match call.query("dryRun") {
            "" => false,
            "all" => true,
            _ => return Err(ApiError::field("dry_run", "must be empty or 'all'")),
        };
        self.with_service(key, |_| Ok(()))?;
        let mut given = Fields::of(&call.body);
        for (name, only) in [
            ("apiVersion", "serving.knative.dev/v1"),
            ("kind", "Service"),
        ] {
            if given.text(name) != only {
                return Err(ApiError::field(name, format!("must be '{only}'")));
            }
        }
        given.take("status");
        let mut metadata = given.inner("metadata");
        let spec = given.inner("spec");
        given.end()?;
        self.check_names(&mut metadata, key)?;
        // v2's etag without its quotes.
        let etag = match metadata.text("resourceVersion") {
            version if version.is_empty() => version,
            version => format!("\"{version}\""),
        };
        let change = Change {
            etag: &etag,
            validate_only: dry_run,
            force: false,
        };
        let changed =
            self.change_service(key, &change, |service| replaced(service, metadata, spec));
        let (changed, fresh) = changed.map_err(with_v1s_path)?;
        if dry_run {
            return Ok(self.v1_service(&key.0, &changed, ""));
        }
        self.begin_change(call, key, fresh)?;
        self.get_v1_service(key)
    }

    /// Refuses a message that is of another project or service than its path.
    fn check_names(&self, metadata: &mut Fields, key: &Key) -> Outcome<()> {
        let (name, namespace) = (metadata.text("name"), metadata.text("namespace"));
        if check_project(&self.host().project, &namespace).is_err() {
            return Err(ApiError::field(
                "metadata.namespace",
                format!("'{namespace}' is not the project in the request's path"),
            ));
        }
        if name != key.1 {
            return Err(ApiError::field(
                "metadata.name",
                format!("'{name}' is not the service in the request's path"),
            ));
        }
        Ok(())
    }
}

/// The service with everything that v1 can say as these say it.
fn replaced(service: Object, mut metadata: Fields, mut spec: Fields) -> Outcome<Object> {
    let template = spec::template(spec.inner("template"), service.get("template"))?;
    let traffic = spec::traffic(spec.list("traffic"))?;
    spec.end()?;
    let labels = metadata.labels(&[LOCATION])?;
    let given = metadata.map("annotations");
    for name in OUTPUT_ONLY {
        metadata.take(name);
    }
    metadata.end()?;
    let mut service = Value::Object(service);
    let plain = annotations::take("Service", "metadata", &given, &mut service)?;
    let mut service = service.as_object().cloned().unwrap_or_default();
    for (name, value) in [
        ("template", template),
        ("traffic", traffic),
        ("labels", labels.into()),
        ("annotations", plain.into()),
    ] {
        service.insert(name.into(), value);
    }
    Ok(service)
}

fn with_v1s_path(mut error: ApiError) -> ApiError {
    let renamed = |text: &str| {
        let (v2, v1) = PATHS.iter().find(|(v2, _)| text.starts_with(v2))?;
        Some(text.replacen(v2, v1, 1))
    };
    if let Some(message) = renamed(&error.message) {
        error.message = message;
    }
    for detail in &mut error.details {
        let violations = detail["fieldViolations"].as_array_mut();
        for violation in violations.into_iter().flatten() {
            if let Some(field) = violation["field"].as_str().and_then(renamed) {
                violation["field"] = field.into();
            }
        }
    }
    error
}
