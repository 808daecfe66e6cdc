//! The spec of a service as v1 says it, brought into v2's fields.

use serde_json::{Value, json};

use super::annotations;
use super::fields::{Fields, should_be_empty};
use crate::gcp::error::{ApiError, Outcome};
use crate::gcp::run::traffic::{LATEST, PINNED};
use crate::gcp::schema::Object;

/// What v1 says of a template; the rest of v2's is kept.
const OF_TEMPLATES: [&str; 8] = [
    "annotations",
    "containers",
    "labels",
    "maxInstanceRequestConcurrency",
    "nodeSelector",
    "revision",
    "serviceAccount",
    "timeout",
];

/// The fields of containers that are the same in both versions.
const SAME: [&str; 6] = [
    "args",
    "command",
    "image",
    "name",
    "sandboxLauncher",
    "workingDir",
];

const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];

/// The selector of v1 that v2 has a field for.
pub const ACCELERATOR: &str = "run.googleapis.com/accelerator";

/// The template, made from the one there is: what v1 cannot say stays.
pub fn template(mut given: Fields, known: Option<&Value>) -> Outcome<Value> {
    let mut out = without(known, OF_TEMPLATES);
    let mut metadata = given.inner("metadata");
    let mut spec = given.inner("spec");
    given.end()?;
    let seconds = spec.take("timeoutSeconds");
    let containers = spec.list("containers");
    if containers.is_empty() {
        return Err(ApiError::field(&spec.path("containers"), "must be set"));
    }
    let containers = containers.into_iter().enumerate().map(|(index, given)| {
        let known = known.and_then(|known| known["containers"].get(index));
        container(given, known)
    });
    let containers = containers.collect::<Outcome<Vec<_>>>()?;
    for (name, value) in [
        ("revision", metadata.take("name")),
        ("labels", filled(metadata.labels(&[])?)),
        (
            "maxInstanceRequestConcurrency",
            spec.take("containerConcurrency"),
        ),
        ("timeout", seconds.map(|number| format!("{number}s").into())),
        ("serviceAccount", spec.take("serviceAccountName")),
        ("nodeSelector", node_selector(&mut spec)?),
        ("containers", Some(containers.into())),
    ] {
        out.extend(value.map(|value| (name.to_owned(), value)));
    }
    if spec.take("volumes").is_some() {
        return Err(ApiError::unimplemented("volumes"));
    }
    spec.end()?;
    let (at, said) = (metadata.at().to_owned(), metadata.map("annotations"));
    metadata.end()?;
    let mut out = Value::Object(out);
    let plain = annotations::take("Revision", &at, &said, &mut out)?;
    if let Some(plain) = filled(plain) {
        out["annotations"] = plain;
    }
    Ok(out)
}

/// A message without these fields.
fn without<'a>(known: Option<&Value>, names: impl IntoIterator<Item = &'a str>) -> Object {
    let known = known.and_then(Value::as_object);
    let mut out = known.cloned().unwrap_or_default();
    for name in names {
        out.remove(name);
    }
    out
}

fn filled(map: Object) -> Option<Value> {
    (!map.is_empty()).then_some(Value::Object(map))
}

fn node_selector(spec: &mut Fields) -> Outcome<Option<Value>> {
    let mut selector = spec.map("nodeSelector");
    let accelerator = selector.remove(ACCELERATOR);
    match selector.keys().next() {
        Some(key) => Err(ApiError::field(
            &spec.path("nodeSelector"),
            format!("Node selector '{key}' is not supported."),
        )),
        None => Ok(accelerator.map(|it| json!({ "accelerator": it }))),
    }
}

fn container(mut given: Fields, known: Option<&Value>) -> Outcome<Value> {
    let said = SAME.into_iter().chain(PROBES);
    let mut out = without(known, said.chain(["env", "ports", "resources"]));
    for name in SAME {
        out.extend(given.take(name).map(|value| (name.to_owned(), value)));
    }
    for name in PROBES {
        if let Some(probe) = given.given(name) {
            out.insert(name.into(), self::probe(probe)?);
        }
    }
    let env = given.list("env").into_iter().map(variable);
    let env = env.collect::<Outcome<Vec<_>>>()?;
    let ports = given.list("ports").into_iter().map(port);
    let ports = ports.collect::<Outcome<Vec<_>>>()?;
    for (name, list) in [("env", env), ("ports", ports)] {
        if !list.is_empty() {
            out.insert(name.into(), list.into());
        }
    }
    let mut resources = given.inner("resources");
    // Always there: what annotations say of a CPU goes here too.
    out.insert(
        "resources".into(),
        json!({ "limits": resources.map("limits") }),
    );
    if resources.take("requests").is_some() {
        return Err(ApiError::unimplemented("requests of resources"));
    }
    resources.end()?;
    if given.take("volumeMounts").is_some() {
        return Err(ApiError::unimplemented("volumes"));
    }
    given.end()?;
    Ok(Value::Object(out))
}

fn port(mut given: Fields) -> Outcome<Value> {
    let at = given.path("protocol");
    match given.text("protocol").as_str() {
        "" | "TCP" => Ok(Value::Object(given.rest())),
        _ => Err(ApiError::field(&at, "must be TCP")),
    }
}

fn variable(mut given: Fields) -> Outcome<Value> {
    let name = given.text("name");
    let value = given.take("value");
    let at = given.path("valueFrom");
    let out = match given.given("valueFrom") {
        Some(_) if value.is_some() => return Err(should_be_empty(&at)),
        Some(mut source) => {
            let mut secret = source.inner("secretKeyRef");
            source.end()?;
            let (of, version) = (secret.text("name"), secret.text("key"));
            if version.is_empty() {
                return Err(ApiError::field(&secret.path("key"), "must be set"));
            }
            secret.end()?;
            json!({ "name": name, "valueSource": { "secretKeyRef": { "secret": of, "version": version } } })
        }
        None => json!({ "name": name, "value": value.unwrap_or_else(|| "".into()) }),
    };
    given.end()?;
    Ok(out)
}

/// The same fields, but for those of Knative that Cloud Run does not take.
fn probe(mut given: Fields) -> Outcome<Value> {
    let at = given.path("successThreshold");
    if given.take("successThreshold").is_some_and(|n| n != 1) {
        return Err(ApiError::field(&at, "must be 1"));
    }
    let mut out = Object::new();
    for (action, unsupported) in [
        ("httpGet", &["host", "scheme"][..]),
        ("tcpSocket", &["host"]),
        ("grpc", &[]),
    ] {
        let Some(mut given) = given.given(action) else {
            continue;
        };
        for name in unsupported {
            if given.take(name).is_some() {
                return Err(should_be_empty(&given.path(name)));
            }
        }
        out.insert(action.into(), Value::Object(given.rest()));
    }
    if given.take("exec").is_some() {
        return Err(should_be_empty(&given.path("exec")));
    }
    out.extend(given.rest());
    Ok(Value::Object(out))
}

/// The traffic's targets.
pub fn traffic(given: Vec<Fields>) -> Outcome<Value> {
    let all = given.into_iter().map(|mut given| {
        let latest = given.take("latestRevision").is_some();
        let revision = given.take("revisionName");
        let mut target = match revision {
            Some(_) if latest => {
                return Err(ApiError::field(
                    &given.path("latestRevision"),
                    "must be false when revisionName is set",
                ));
            }
            Some(revision) => json!({ "type": PINNED, "revision": revision }),
            None => json!({ "type": LATEST }),
        };
        for name in ["percent", "tag"] {
            if let Some(value) = given.take(name) {
                target[name] = value;
            }
        }
        given.end()?;
        Ok(target)
    });
    all.collect()
}
