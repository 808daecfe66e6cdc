//! Templates of revisions and tasks: what Cloud Run refuses in one, and what it fills in.

use serde_json::{Value, json};

use super::resources::{Use, check_resources};
use crate::gcp::error::{ApiError, Outcome};
use crate::gcp::names::{is_dns_label, project_number};
use crate::gcp::schema::{Object, snake};
use crate::gcp::seconds;

/// Name spaces of labels and annotations that the v2 API rejects.
const SYSTEM: [&str; 4] = [
    "run.googleapis.com",
    "cloud.googleapis.com",
    "serving.knative.dev",
    "autoscaling.knative.dev",
];

/// Checks labels and annotations of a resource or template; `at` ends with a dot or is empty.
pub fn check_metadata(at: &str, owner: &Object) -> Outcome<()> {
    for kind in ["labels", "annotations"] {
        for key in owner
            .get(kind)
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(Object::keys)
        {
            if is_system(key) {
                return Err(ApiError::field(
                    &format!("{at}{kind}"),
                    format!(
                        "the key '{key}' is in a system namespace; use the corresponding field of the v2 API"
                    ),
                ));
            }
        }
    }
    let labels = owner.get("labels").and_then(Value::as_object);
    let labels = labels.cloned().unwrap_or_default();
    let (prefixed, plain): (Object, Object) =
        labels.into_iter().partition(|(key, _)| key.contains('/'));
    if let Some((key, _)) = prefixed
        .iter()
        .find(|(key, value)| !is_qualified(key, value))
    {
        return Err(ApiError::field(
            &format!("{at}labels"),
            format!("Label '{key}' violates the format of Kubernetes' labels."),
        ));
    }
    crate::gcp::names::check_labels(&format!("{at}labels"), Some(&plain.into()))
}

/// Whether a label's or annotation's key is in a name space that only Cloud Run fills.
pub fn is_system(key: &str) -> bool {
    let within = |space: &str| {
        SYSTEM.iter().any(|system| {
            let outer = space.strip_suffix(system);
            outer.is_some_and(|outer| outer.is_empty() || outer.ends_with('.'))
        })
    };
    key.split_once('/').is_some_and(|(space, _)| within(space))
}

/// Kubernetes' rule for a label with a name space, as `gcloud` sets `client.knative.dev/nonce`.
fn is_qualified(key: &str, value: &Value) -> bool {
    let short = |text: &str| {
        let ends = |c: char| c.is_ascii_alphanumeric();
        text.len() <= 63
            && text.starts_with(ends)
            && text.ends_with(ends)
            && text.chars().all(|c| ends(c) || "-_.".contains(c))
    };
    let (space, name) = key.split_once('/').unwrap_or_default();
    let labels = space.split('.');
    let domain = space.len() <= 253 && labels.into_iter().all(|it| is_dns_label(it, 63));
    let value = value.as_str().unwrap_or_default();
    domain && short(name) && (value.is_empty() || short(value))
}

/// Fills in what Cloud Run fills in. `template` is a `RevisionTemplate` or a `TaskTemplate`.
pub fn fill(template: &mut Object, usage: Use, project: &str) {
    let account = format!(
        "{}-compute@developer.gserviceaccount.com",
        project_number(project)
    );
    template.entry("serviceAccount").or_insert(account.into());
    match usage {
        Use::Service => {
            let fractional = super::resources::cpu_of(template).is_some_and(|cpu| cpu < 1.0);
            template.entry("timeout").or_insert("300s".into());
            template
                .entry("maxInstanceRequestConcurrency")
                .or_insert(if fractional { 1 } else { 80 }.into());
            let scaling = template.entry("scaling").or_insert(json!({}));
            if scaling.get("maxInstanceCount").is_none() {
                scaling["maxInstanceCount"] = 100.into();
            }
        }
        Use::Job => {
            template.entry("timeout").or_insert("600s".into());
            template.entry("maxRetries").or_insert(3.into());
            template
                .entry("executionEnvironment")
                .or_insert("EXECUTION_ENVIRONMENT_GEN2".into());
        }
    }
    fill_network(template);
    let containers = template.get_mut("containers").and_then(Value::as_array_mut);
    let containers = containers.into_iter().flatten();
    let containers: Vec<&mut Object> = containers.filter_map(Value::as_object_mut).collect();
    let alone = containers.len() == 1;
    for container in containers {
        // Of several only the one that names a port takes the requests.
        let serves = usage == Use::Service && (alone || container.contains_key("ports"));
        fill_container(container, usage, serves);
    }
}

/// "If subnetwork is not specified, the subnetwork with the same name with the network will be
/// used. [...] If network is not specified, it will be looked up from the subnetwork"
/// (`NetworkInterface` of the v2 API); both are `default_from_api` in Terraform's
/// `mmv1/products/cloudrunv2/Service.yaml`. Subnetworks here are of the network of their name.
fn fill_network(template: &mut Object) {
    let Some(access) = template.get_mut("vpcAccess") else {
        return;
    };
    let direct = access.get("networkInterfaces").is_some();
    if direct || access.get("connector").is_some() {
        let egress = access.as_object_mut().map(|it| it.entry("egress"));
        egress.map(|it| it.or_insert("PRIVATE_RANGES_ONLY".into()));
    }
    let interfaces = access["networkInterfaces"].as_array_mut();
    for interface in interfaces.into_iter().flatten() {
        for (given, missing) in [("network", "subnetwork"), ("subnetwork", "network")] {
            let name = interface[given]
                .as_str()
                .map(|it| super::short(it).to_owned());
            if let (Some(name), None) = (name, interface[missing].as_str()) {
                interface[missing] = name.into();
            }
        }
    }
}

/// The container that takes a service's requests, or the first of a job.
pub fn main_container(template: &Object) -> Option<&Object> {
    let containers = template.get("containers")?.as_array()?;
    let named = containers.iter().find(|it| it.get("ports").is_some());
    named.or_else(|| containers.first())?.as_object()
}

fn fill_container(container: &mut Object, usage: Use, serves: bool) {
    let had_resources = container.contains_key("resources");
    let resources = container.entry("resources").or_insert(json!({}));
    if !had_resources && usage == Use::Service {
        resources["cpuIdle"] = true.into();
    }
    for (name, value) in [("cpu", "1000m"), ("memory", "512Mi")] {
        if resources["limits"].get(name).is_none() {
            resources["limits"][name] = value.into();
        }
    }
    if !serves {
        return;
    }
    let ports = container
        .entry("ports")
        .or_insert(json!([{ "name": "http1", "containerPort": 8080 }]));
    if ports[0].get("name").is_none() {
        ports[0]["name"] = "http1".into();
    }
    let port = port_of(container);
    let probe = container.entry("startupProbe").or_insert(json!({
        "timeoutSeconds": 240, "periodSeconds": 240, "failureThreshold": 1, "tcpSocket": { "port": port },
    }));
    fill_probe(probe, port);
    if let Some(probe) = container.get_mut("livenessProbe") {
        fill_probe(probe, port);
    }
}

fn fill_probe(probe: &mut Value, port: u16) {
    for (name, value) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("failureThreshold", 3),
    ] {
        if probe.get(name).is_none() {
            probe[name] = value.into();
        }
    }
    for kind in ["httpGet", "tcpSocket", "grpc"] {
        let Some(action) = probe.get_mut(kind) else {
            continue;
        };
        if action.get("port").is_none() {
            action["port"] = port.into();
        }
        if kind == "httpGet" && action.get("path").is_none() {
            action["path"] = "/".into();
        }
    }
}

/// The port that the container is to listen on.
pub fn port_of(container: &Object) -> u16 {
    let port = container
        .get("ports")
        .and_then(|p| p[0]["containerPort"].as_u64());
    port.and_then(|p| u16::try_from(p).ok()).unwrap_or(8080)
}

/// Checks a filled template. `at` is the path that errors begin with: `template` or
/// `template.template`.
pub fn check(at: &str, template: &Object, usage: Use) -> Outcome<()> {
    let containers = template
        .get("containers")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    if containers.is_empty() {
        return Err(ApiError::field(
            &format!("{at}.containers"),
            "must contain exactly one container",
        ));
    }
    check_volumes(at, template, containers)?;
    let longest = if usage == Use::Service {
        3600.0
    } else {
        604_800.0
    };
    if let Some(timeout) = template.get("timeout").and_then(Value::as_str) {
        let given = seconds(timeout).map_or(-1.0, |t| t.as_secs_f64());
        if !(given > 0.0 && given <= longest) {
            return Err(ApiError::field(
                &format!("{at}.timeout"),
                format!("must be greater than 0 and at most {longest} seconds"),
            ));
        }
    }
    check_numbers(at, template)?;
    let serving = containers.iter().filter(|it| it.get("ports").is_some());
    if usage == Use::Service && containers.len() > 1 && serving.count() != 1 {
        return Err(ApiError::field(
            &format!("{at}.containers"),
            "Revision template should contain exactly one container with an exposed port.",
        ));
    }
    for (index, container) in containers.iter().enumerate() {
        let container = container.as_object().cloned().unwrap_or_default();
        let at_container = format!("{at}.containers[{index}]");
        check_container(&at_container, &container, usage)?;
        check_resources(&at_container, template, &container, usage)?;
    }
    Ok(())
}

/// Volumes are kept and shown; nothing is mounted.
fn check_volumes(at: &str, template: &Object, containers: &[Value]) -> Outcome<()> {
    let volumes = template.get("volumes").and_then(Value::as_array);
    let names: Vec<&str> = volumes
        .into_iter()
        .flatten()
        .filter_map(|volume| volume["name"].as_str())
        .collect();
    for (index, container) in containers.iter().enumerate() {
        let mounts = container["volumeMounts"].as_array().into_iter().flatten();
        let mut mounts = mounts.filter_map(|mount| mount["name"].as_str());
        if let Some(name) = mounts.find(|name| !names.contains(name)) {
            return Err(ApiError::field(
                &format!("{at}.containers[{index}].volume_mounts"),
                format!("the volume '{name}' does not exist"),
            ));
        }
    }
    Ok(())
}

fn check_numbers(at: &str, template: &Object) -> Outcome<()> {
    let number = |name: &str| template.get(name).and_then(Value::as_i64);
    if number("maxInstanceRequestConcurrency").is_some_and(|n| !(1..=1000).contains(&n)) {
        return Err(ApiError::field(
            &format!("{at}.max_instance_request_concurrency"),
            "must be between 1 and 1000",
        ));
    }
    if number("maxRetries").is_some_and(|n| !(0..=10).contains(&n)) {
        return Err(ApiError::field(
            &format!("{at}.max_retries"),
            "must be between 0 and 10",
        ));
    }
    let scaling = |name: &str| template.get("scaling").and_then(|s| s[name].as_i64());
    let (least, most) = (
        scaling("minInstanceCount").unwrap_or(0),
        scaling("maxInstanceCount").unwrap_or(100),
    );
    if least < 0 || most < 1 || least > most {
        return Err(ApiError::field(
            &format!("{at}.scaling"),
            format!(
                "min_instance_count ({least}) must not be negative nor greater than max_instance_count ({most})"
            ),
        ));
    }
    Ok(())
}

fn check_container(at: &str, container: &Object, usage: Use) -> Outcome<()> {
    let image = container
        .get("image")
        .and_then(Value::as_str)
        .unwrap_or_default();
    super::image::Image::parse(image)
        .map_err(|why| ApiError::field(&format!("{at}.image"), why))?;
    if let Some(name) = container.get("name").and_then(Value::as_str)
        && !is_dns_label(name, 63)
    {
        return Err(ApiError::field(
            &format!("{at}.name"),
            "must be a DNS label",
        ));
    }
    check_env(at, container.get("env"), usage)?;
    let ports = container
        .get("ports")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    if ports.len() > 1 || (usage == Use::Job && !ports.is_empty()) {
        return Err(ApiError::field(
            &format!("{at}.ports"),
            "should contain 0 or 1 port, and none in a job",
        ));
    }
    for port in ports {
        if !(1..=65535).contains(&port["containerPort"].as_i64().unwrap_or(0)) {
            return Err(ApiError::field(
                &format!("{at}.ports[0].container_port"),
                "must be between 1 and 65535",
            ));
        }
        if !matches!(port["name"].as_str(), None | Some("http1" | "h2c")) {
            return Err(ApiError::field(
                &format!("{at}.ports[0].name"),
                "must be empty, http1 or h2c",
            ));
        }
    }
    for (name, longest) in [("startupProbe", 240), ("livenessProbe", 3600)] {
        if let Some(probe) = container.get(name) {
            check_probe(&format!("{at}.{}", snake(name)), probe, longest)?;
        }
    }
    if container
        .get("livenessProbe")
        .is_some_and(|p| p.get("tcpSocket").is_some())
    {
        return Err(ApiError::field(
            &format!("{at}.liveness_probe.tcp_socket"),
            "is not supported in a liveness probe",
        ));
    }
    Ok(())
}

/// Checks the environment of a container, or of an execution's overrides.
pub fn check_env(at: &str, env: Option<&Value>, usage: Use) -> Outcome<()> {
    let reserved: &[&str] = match usage {
        Use::Service => &["PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"],
        Use::Job => &[
            "CLOUD_RUN_JOB",
            "CLOUD_RUN_EXECUTION",
            "CLOUD_RUN_TASK_INDEX",
            "CLOUD_RUN_TASK_ATTEMPT",
            "CLOUD_RUN_TASK_COUNT",
            "PORT",
        ],
    };
    let env = env.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let names: Vec<&str> = env
        .iter()
        .map(|e| e["name"].as_str().unwrap_or_default())
        .collect();
    let taken: Vec<&str> = names
        .iter()
        .copied()
        .filter(|n| reserved.contains(n))
        .collect();
    if !taken.is_empty() {
        return Err(ApiError::field(
            &format!("{at}.env"),
            format!(
                "The following reserved env names were provided: {}. These values are automatically set by the system.",
                taken.join(", ")
            ),
        ));
    }
    for (index, name) in names.iter().enumerate() {
        let at = format!("{at}.env[{index}]");
        if name.is_empty() || name.contains(['=', '\0']) || name.chars().count() > 32_768 {
            return Err(ApiError::field(
                &format!("{at}.name"),
                "the name of an environment variable is missing or malformed",
            ));
        }
        if names[..index].contains(name) {
            return Err(ApiError::field(
                &format!("{at}.name"),
                format!("the environment variable {name} is given more than once"),
            ));
        }
        if env[index]["value"]
            .as_str()
            .is_some_and(|v| v.len() > 32_768)
        {
            return Err(ApiError::field(
                &format!("{at}.value"),
                "must not exceed 32768 bytes",
            ));
        }
        let source = env[index].get("valueSource");
        if source.is_some_and(|s| {
            s["secretKeyRef"]["secret"]
                .as_str()
                .unwrap_or_default()
                .is_empty()
        }) {
            return Err(ApiError::field(
                &format!("{at}.value_source.secret_key_ref.secret"),
                "must be set",
            ));
        }
    }
    Ok(())
}

fn check_probe(at: &str, probe: &Value, longest: i64) -> Outcome<()> {
    let number = |name: &str| probe[name].as_i64().unwrap_or(0);
    let (period, timeout, threshold) = (
        number("periodSeconds"),
        number("timeoutSeconds"),
        number("failureThreshold"),
    );
    let fault = |field: &str, why: String| Err(ApiError::field(&format!("{at}.{field}"), why));
    if !(1..=longest).contains(&period) {
        return fault("period_seconds", format!("must be between 1 and {longest}"));
    }
    if !(1..=longest).contains(&timeout) || timeout > period {
        return fault(
            "timeout_seconds",
            format!("must be between 1 and {longest} and not greater than period_seconds"),
        );
    }
    if !(0..=longest).contains(&number("initialDelaySeconds")) {
        return fault(
            "initial_delay_seconds",
            format!("must be between 0 and {longest}"),
        );
    }
    if threshold < 1 {
        return fault("failure_threshold", "must be at least 1".into());
    }
    if longest == 240 && threshold * period > 240 {
        return fault(
            "failure_threshold",
            "failure_threshold * period_seconds must not exceed 240 seconds".into(),
        );
    }
    let actions = ["httpGet", "tcpSocket", "grpc"]
        .iter()
        .filter(|a| probe.get(**a).is_some())
        .count();
    if actions != 1 {
        return Err(ApiError::field(
            at,
            "exactly one of http_get, tcp_socket or grpc must be set",
        ));
    }
    if probe.get("grpc").is_some() {
        return Err(ApiError::unimplemented("gRPC probes"));
    }
    if probe["httpGet"]["path"]
        .as_str()
        .is_some_and(|p| !p.starts_with('/'))
    {
        return fault("http_get.path", "must start with /".into());
    }
    Ok(())
}
