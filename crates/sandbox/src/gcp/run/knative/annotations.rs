//! Annotations of v1 in whose place v2 has fields: on what Google takes each, and what it says.
//!
//! Keys and kinds are those that Google's discovery document lists; which of them a message of v2
//! can say is ours.

use serde_json::Value;

use crate::gcp::error::{ApiError, Outcome};
use crate::gcp::run::template::is_system;
use crate::gcp::schema::Object;

/// How the value of a field stands in an annotation.
#[derive(Clone, Copy)]
enum Form {
    Text,
    /// `true`, or nothing.
    Flag,
    /// Zero is the same as nothing.
    Number,
    /// Zero means zero.
    Count,
    /// JSON.
    List,
    /// v1's word and the value of v2's enum; an empty one stands for the default.
    Word(&'static [(&'static str, &'static str)]),
    /// `false` where v2's field is not set: without the annotation it is.
    Throttling,
}

/// An annotation, the kinds that take it, and the field of the v2 message with its form. Without a
/// field the sandbox has nowhere to keep it.
type Row = (&'static str, &'static str, Option<(&'static str, Form)>);

const EVERY_KIND: &str = "All resources";
const THROTTLING: (&str, &str) = (
    "run.googleapis.com/cpu-throttling",
    "/containers/0/resources/cpuIdle",
);

#[rustfmt::skip]
const ROWS: [Row; 42] = [
    ("autoscaling.knative.dev/maxScale", "Revision", Some(("/scaling/maxInstanceCount", Form::Number))),
    ("autoscaling.knative.dev/minScale", "Revision", Some(("/scaling/minInstanceCount", Form::Number))),
    ("run.googleapis.com/base-images", "Service, Revision", None),
    ("run.googleapis.com/binary-authorization-breakglass", "Service, Job", None),
    ("run.googleapis.com/binary-authorization", "Service, Job, Execution", None),
    ("run.googleapis.com/build-base-image", "Service", None),
    ("run.googleapis.com/build-enable-automatic-updates", "Service", None),
    ("run.googleapis.com/build-environment-variables", "Service", None),
    ("run.googleapis.com/build-function-target", "Service, Revision", None),
    ("run.googleapis.com/build-id", "Service, Revision", None),
    ("run.googleapis.com/build-image-uri", "Service", None),
    ("run.googleapis.com/build-name", "Service", None),
    ("run.googleapis.com/build-service-account", "Service", None),
    ("run.googleapis.com/build-source-location", "Service, Revision", None),
    ("run.googleapis.com/build-worker-pool", "Service", None),
    ("run.googleapis.com/client-name", EVERY_KIND, Some(("/client", Form::Text))),
    ("run.googleapis.com/client-version", EVERY_KIND, Some(("/clientVersion", Form::Text))),
    ("run.googleapis.com/cloudsql-instances", "Revision, Execution, Instance", None),
    ("run.googleapis.com/container-dependencies", "Revision, Instance", None),
    (THROTTLING.0, "Revision", Some((THROTTLING.1, Form::Throttling))),
    ("run.googleapis.com/custom-audiences", "Service", Some(("/customAudiences", Form::List))),
    ("run.googleapis.com/default-url-disabled", "Service", Some(("/defaultUriDisabled", Form::Flag))),
    ("run.googleapis.com/description", "Service", Some(("/description", Form::Text))),
    ("run.googleapis.com/encryption-key-shutdown-hours", "Revision", None),
    ("run.googleapis.com/encryption-key", "Revision, Execution, Instance", None),
    ("run.googleapis.com/execution-environment", "Revision, Execution", Some(("/executionEnvironment", Form::Word(&[
        ("gen1", "EXECUTION_ENVIRONMENT_GEN1"), ("gen2", "EXECUTION_ENVIRONMENT_GEN2"),
    ])))),
    ("run.googleapis.com/gc-traffic-tags", "Service", None),
    ("run.googleapis.com/gpu-zonal-redundancy-disabled", "Revision", None),
    ("run.googleapis.com/health-check-disabled", "Revision", Some(("/healthCheckDisabled", Form::Flag))),
    ("run.googleapis.com/ingress", "Service, Instance", Some(("/ingress", Form::Word(&[
        ("all", "INGRESS_TRAFFIC_ALL"), ("internal", "INGRESS_TRAFFIC_INTERNAL_ONLY"),
        ("internal-and-cloud-load-balancing", "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"), ("none", "INGRESS_TRAFFIC_NONE"),
    ])))),
    ("run.googleapis.com/invoker-iam-disabled", "Service, Instance", Some(("/invokerIamDisabled", Form::Flag))),
    ("run.googleapis.com/launch-stage", "Service, Job", Some(("/launchStage", Form::Word(&[
        ("ALPHA", "ALPHA"), ("BETA", "BETA"), ("GA", ""),
    ])))),
    ("run.googleapis.com/minScale", "Service", Some(("/scaling/minInstanceCount", Form::Number))),
    ("run.googleapis.com/maxScale", "Service", Some(("/scaling/maxInstanceCount", Form::Number))),
    ("run.googleapis.com/manualInstanceCount", "Service", Some(("/scaling/manualInstanceCount", Form::Count))),
    ("run.googleapis.com/network-interfaces", "Revision, Execution, Instance", Some(("/vpcAccess/networkInterfaces", Form::List))),
    ("run.googleapis.com/scalingMode", "Service", Some(("/scaling/scalingMode", Form::Word(&[
        ("automatic", "AUTOMATIC"), ("manual", "MANUAL"),
    ])))),
    ("run.googleapis.com/secrets", "Revision, Execution", None),
    ("run.googleapis.com/sessionAffinity", "Revision", Some(("/sessionAffinity", Form::Flag))),
    ("run.googleapis.com/startup-cpu-boost", "Revision", Some(("/containers/0/resources/startupCpuBoost", Form::Flag))),
    ("run.googleapis.com/vpc-access-connector", "Revision, Execution", Some(("/vpcAccess/connector", Form::Text))),
    ("run.googleapis.com/vpc-access-egress", "Revision, Execution, Instance", Some(("/vpcAccess/egress", Form::Word(&[
        ("all-traffic", "ALL_TRAFFIC"), ("all", "ALL_TRAFFIC"), ("private-ranges-only", "PRIVATE_RANGES_ONLY"),
    ])))),
];

/// What a service's annotations tell and no client sets; clients send back what they read.
const OUTPUT_ONLY: [&str; 5] = [
    "run.googleapis.com/ingress-status",
    "run.googleapis.com/operation-id",
    "run.googleapis.com/urls",
    "serving.knative.dev/creator",
    "serving.knative.dev/lastModifier",
];

/// Those of a kind that say a field.
fn saying(kind: &str) -> impl Iterator<Item = (&'static str, &'static str, Form)> {
    let rows = ROWS.into_iter().filter(move |row| takes(row.1, kind));
    rows.filter_map(|(key, _, said)| said.map(|(pointer, form)| (key, pointer, form)))
}

fn takes(kinds: &str, kind: &str) -> bool {
    kinds == EVERY_KIND || kinds.split(", ").any(|known| known == kind)
}

/// The annotations that say what a message's fields say. `kind` is v1's: a template of revisions is
/// a `Revision`.
pub fn said(kind: &str, message: &Object) -> Object {
    let all = saying(kind).filter_map(|(key, pointer, form)| {
        let text = form.write(field(message, pointer))?;
        Some((key.to_owned(), text.into()))
    });
    all.collect()
}

/// Sets the fields of `message` that annotations say, clears those that they could say and do not,
/// and returns the annotations that have no such meaning. Refuses those that Google does not take
/// on this kind; `at` is the path of their owner.
pub fn take(kind: &str, at: &str, given: &Object, message: &mut Value) -> Outcome<Object> {
    for (_, pointer, _) in saying(kind) {
        clear(message, pointer);
    }
    if takes("Revision", kind) && !given.contains_key(THROTTLING.0) {
        set(message, THROTTLING.1, true.into());
    }
    let refuse = |why: String| Err(ApiError::field(&format!("{at}.annotations"), why));
    let mut plain = Object::new();
    for (key, value) in given {
        if kind == "Service" && OUTPUT_ONLY.contains(&key.as_str()) {
            continue;
        }
        if !is_system(key) {
            plain.insert(key.clone(), value.clone());
            continue;
        }
        let nowhere = format!("Annotation '{key}' is not supported on resources of kind '{kind}'.");
        let Some((_, kinds, said)) = ROWS.iter().find(|row| row.0 == key) else {
            return refuse(nowhere);
        };
        if !takes(kinds, kind) {
            return refuse(format!("{nowhere} Supported kinds are: {kinds}"));
        }
        let Some((pointer, form)) = said else {
            return Err(ApiError::unimplemented(format!("the annotation '{key}'")));
        };
        let text = value.as_str().unwrap_or_default();
        match form.read(text) {
            Some(Value::Null) => {}
            Some(value) => set(message, pointer, value),
            None => return refuse(format!("Invalid value '{text}' of annotation '{key}'.")),
        }
    }
    Ok(plain)
}

impl Form {
    /// What the annotation says of a field; nothing where its absence says it.
    fn write(self, field: Option<&Value>) -> Option<String> {
        match self {
            Self::Text => Some(field?.as_str()?.to_owned()),
            Self::Flag => field?.as_bool()?.then(|| "true".to_owned()),
            Self::Number | Self::Count => Some(field?.as_i64()?.to_string()),
            Self::List => Some(field?.to_string()),
            Self::Word(words) => {
                let field = field?;
                let (word, _) = words.iter().find(|(_, value)| field == value)?;
                Some((*word).to_owned())
            }
            Self::Throttling => (field != Some(&Value::Bool(true))).then(|| "false".to_owned()),
        }
    }

    /// The field's value, null for its default; nothing when the annotation makes no sense.
    fn read(self, text: &str) -> Option<Value> {
        match self {
            Self::Text => Some(text.into()),
            Self::Flag => {
                let flag: bool = text.parse().ok()?;
                Some(flag.then_some(true).into())
            }
            Self::Number | Self::Count => {
                let number: i32 = text.parse().ok().filter(|n| *n >= 0)?;
                let said = number > 0 || matches!(self, Self::Count);
                Some(said.then_some(number).into())
            }
            Self::List => {
                let list: Value = serde_json::from_str(text).ok()?;
                list.is_array().then_some(list)
            }
            Self::Word(words) => {
                let (_, value) = words.iter().find(|(word, _)| *word == text)?;
                Some((!value.is_empty()).then_some(*value).into())
            }
            Self::Throttling => {
                let throttled: bool = text.parse().ok()?;
                Some(throttled.then_some(true).into())
            }
        }
    }
}

/// What a JSON pointer leads to.
fn field<'a>(message: &'a Object, pointer: &str) -> Option<&'a Value> {
    let (name, rest) = match pointer[1..].find('/') {
        Some(end) => pointer[1..].split_at(end),
        None => (&pointer[1..], ""),
    };
    message.get(name)?.pointer(rest)
}

/// Sets what a JSON pointer leads to, and makes the objects on the way.
fn set(message: &mut Value, pointer: &str, value: Value) {
    let mut at = message;
    for part in pointer.split('/').skip(1) {
        at = match part.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) => &mut at[part],
        };
    }
    *at = value;
}

/// Takes away what a JSON pointer leads to, and the object that it leaves empty.
fn clear(message: &mut Value, pointer: &str) {
    let Some((parent, name)) = pointer.rsplit_once('/') else {
        return;
    };
    let Some(Value::Object(owner)) = message.pointer_mut(parent) else {
        return;
    };
    if owner.remove(name).is_some() && owner.is_empty() {
        clear(message, parent);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_message_says_is_read_back_as_it_was() {
        let template = json!({
            "scaling": { "minInstanceCount": 1, "maxInstanceCount": 7, "cpuUtilization": 0.5 },
            "vpcAccess": { "egress": "ALL_TRAFFIC", "networkInterfaces": [{ "network": "n", "tags": ["a"] }] },
            "executionEnvironment": "EXECUTION_ENVIRONMENT_GEN2",
            "sessionAffinity": true, "client": "gcloud",
            "containers": [{ "resources": { "limits": { "cpu": "1" }, "startupCpuBoost": true } }],
        });
        let service = json!({
            "ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY", "launchStage": "BETA", "customAudiences": ["https://a"],
            "scaling": { "scalingMode": "MANUAL", "manualInstanceCount": 0 }, "invokerIamDisabled": true,
        });
        for (kind, message, count) in [("Revision", template, 9), ("Service", service, 6)] {
            let annotations = said(kind, message.as_object().unwrap());
            assert_eq!(annotations.len(), count, "{annotations:?}");
            let mut read = message.clone();
            assert_eq!(
                take(kind, "metadata", &annotations, &mut read).unwrap(),
                Object::new()
            );
            assert_eq!(read, message);
        }
    }

    #[test]
    fn what_is_not_said_is_cleared_and_what_is_no_field_stays() {
        let mut template = json!({
            "scaling": { "minInstanceCount": 1 }, "timeout": "5s",
            "containers": [{ "resources": { "limits": {} } }],
        });
        let given = json!({ "team": "a", "client.knative.dev/user-image": "b" });
        let given = given.as_object().unwrap();
        assert_eq!(
            take("Revision", "metadata", given, &mut template).unwrap(),
            *given
        );
        let left = json!({ "timeout": "5s", "containers": [{ "resources": { "limits": {}, "cpuIdle": true } }] });
        assert_eq!(template, left);
    }

    #[test]
    fn an_annotation_in_the_wrong_place_is_refused_in_googles_words() {
        let refused = |kind: &str, key: &str, value: &str| {
            let given = json!({ key: value });
            let given = given.as_object().unwrap();
            let mut message = json!({ "containers": [{}] });
            take(kind, "metadata", given, &mut message)
                .unwrap_err()
                .message
        };
        assert_eq!(
            refused("Service", "run.googleapis.com/secrets", "a"),
            "metadata.annotations: Annotation 'run.googleapis.com/secrets' is not supported on resources of kind 'Service'. \
             Supported kinds are: Revision, Execution"
        );
        for (kind, key, value) in [
            ("Service", "run.googleapis.com/mistyped", "1"),
            ("Revision", "serving.knative.dev/creator", "me"),
            ("Revision", "run.googleapis.com/cloudsql-instances", "a:b:c"),
            ("Revision", "autoscaling.knative.dev/maxScale", "many"),
            ("Revision", "autoscaling.knative.dev/minScale", "-1"),
            ("Service", "run.googleapis.com/ingress", "everywhere"),
            ("Service", "run.googleapis.com/custom-audiences", "a"),
        ] {
            assert!(refused(kind, key, value).contains(key), "{key}");
        }
    }
}
