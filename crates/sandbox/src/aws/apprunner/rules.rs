//! What a service may be like, and what it is like where the request does not say.

use serde_json::{Map, Value, json};

use super::state::{Config, State};
use super::{invalid, not_found, scaling};
use crate::aws::error::{AwsError, unsupported};
use crate::aws::json::{flag, need, text};
use crate::aws::shelf::live;

/// The members that UpdateService changes one by one: what is not given stays. That an instance
/// role which is not given is not unset: provider, `service_test.go`; that it is the same one level
/// down is ours.
const MERGED: [&str; 3] = [
    "InstanceConfiguration",
    "HealthCheckConfiguration",
    "NetworkConfiguration",
];
/// Units of CPU and megabytes that go together (Developer Guide, "App Runner supported
/// configurations", from memory).
const SIZES: [(&str, &[&str]); 5] = [
    ("256", &["512", "1024"]),
    ("512", &["1024"]),
    ("1024", &["2048", "3072", "4096"]),
    ("2048", &["4096", "6144"]),
    ("4096", &["8192", "10240", "12288"]),
];

/// What a new service is like.
pub fn created(state: &State, account: &str, input: &Value) -> Result<Config, AwsError> {
    let default = scaling::default(state).map(str::to_owned);
    // As the API Reference lists them. The provider's `service_test.go` notes that those of health
    // checks and sizes "differ in the API documentation and API itself", but not how.
    let defaults = json!({
        "SourceConfiguration": {},
        "InstanceConfiguration": {"Cpu": "1024", "Memory": "2048"},
        "HealthCheckConfiguration": {
            "Protocol": "TCP", "Path": "/", "Interval": 5, "Timeout": 2,
            "HealthyThreshold": 1, "UnhealthyThreshold": 5,
        },
        "NetworkConfiguration": {
            "EgressConfiguration": {"EgressType": "DEFAULT"},
            "IngressConfiguration": {"IsPubliclyAccessible": true},
            "IpAddressType": "IPV4",
        },
    });
    let mut config = Config {
        members: defaults.as_object().cloned().unwrap_or_default(),
        scaling: default.unwrap_or_default(),
    };
    if let Some(encryption) = input.get("EncryptionConfiguration") {
        let name = "EncryptionConfiguration".to_owned();
        config.members.insert(name, encryption.clone());
    }
    changed(state, account, &config, input)
}

/// What a service is like after a change.
pub fn changed(
    state: &State,
    account: &str,
    had: &Config,
    input: &Value,
) -> Result<Config, AwsError> {
    let mut config = had.clone();
    if let Some(given) = present(input, "SourceConfiguration") {
        let auto = &had.members["SourceConfiguration"]["AutoDeploymentsEnabled"];
        let source = source(account, given, auto)?;
        config.members.insert("SourceConfiguration".into(), source);
    }
    for name in MERGED {
        if let (Some(given), Some(Value::Object(into))) =
            (present(input, name), config.members.get_mut(name))
        {
            let given = given.as_object().cloned().unwrap_or_default();
            into.extend(given.into_iter().filter(|(_, value)| !value.is_null()));
        }
    }
    if let Some(given) = present(input, "ObservabilityConfiguration") {
        if flag(given, "ObservabilityEnabled") {
            return Err(unsupported("App Runner's observability configurations"));
        }
        let name = "ObservabilityConfiguration".to_owned();
        config.members.insert(name, given.clone());
    }
    if let Some(arn) = text(input, "AutoScalingConfigurationArn") {
        let found = scaling::find(state, arn)?;
        if found["Status"] == "inactive" {
            return Err(not_found(arn));
        }
        config.scaling = need(found, scaling::ARN).to_owned();
    }
    size(&mut config.members)?;
    check_network(state, &config.members)?;
    check_environment(&config.members)?;
    Ok(config)
}

fn present<'a>(input: &'a Value, name: &str) -> Option<&'a Value> {
    input.get(name).filter(|it| !it.is_null())
}

/// A source is replaced as a whole: that variables which are not given again are gone is ours.
fn source(account: &str, given: &Value, auto: &Value) -> Result<Value, AwsError> {
    let (code, image) = (
        present(given, "CodeRepository"),
        present(given, "ImageRepository"),
    );
    // "You must provide either this member or CodeRepository (but not both)"
    // (`SourceConfiguration.ImageRepository`).
    let image = match (code, image) {
        (None, Some(image)) => image,
        (Some(_), None) => return Err(unsupported("App Runner services from source code")),
        (Some(_), Some(_)) | (None, None) => {
            return Err(invalid(
                "Exactly one of CodeRepository and ImageRepository must be provided.",
            ));
        }
    };
    if need(image, "ImageRepositoryType") != "ECR" {
        return Err(unsupported("images of Amazon ECR Public"));
    }
    // "It's required for ECR image repositories (but not for ECR Public repositories)"
    // (`AuthenticationConfiguration.AccessRoleArn`).
    let role = &given["AuthenticationConfiguration"]["AccessRoleArn"];
    if !role.is_string() {
        return Err(invalid(
            "Authentication configuration is invalid. AccessRoleArn is required for an ECR image repository.",
        ));
    }
    let mut out = given.clone();
    let configuration = &mut out["ImageRepository"]["ImageConfiguration"];
    if configuration.is_null() {
        *configuration = json!({});
    }
    if configuration["Port"].is_null() {
        configuration["Port"] = json!("8080");
    }
    let port = need(configuration, "Port").parse::<u16>();
    if !port.is_ok_and(|port| port > 0) {
        return Err(invalid("Port must be a number between 1 and 65535."));
    }
    // "App Runner sets to false for ... an ECR repository that's in an Amazon Web Services account
    // other than the one that the service is in" (`SourceConfiguration.AutoDeploymentsEnabled`).
    // A change that does not say leaves it: ours.
    let own = need(image, "ImageIdentifier").starts_with(&format!("{account}."));
    if present(given, "AutoDeploymentsEnabled").is_none() {
        out["AutoDeploymentsEnabled"] = match auto {
            Value::Bool(_) => auto.clone(),
            _ => json!(own),
        };
    }
    if flag(&out, "AutoDeploymentsEnabled") && !own {
        return Err(invalid(
            "Automatic deployments aren't supported for an image of another account.",
        ));
    }
    Ok(out)
}

/// "App Runner API always returns the amount in multiples of 1024 units", "in MB" (provider,
/// `service.go`).
fn size(members: &mut Map<String, Value>) -> Result<(), AwsError> {
    let instance = &mut members["InstanceConfiguration"];
    let plain = |given: &str| match given.split_once(' ') {
        Some((number, _)) => {
            let number = number.parse::<f64>().unwrap_or_default();
            format!("{}", (number * 1024.0) as u32)
        }
        None => given.to_owned(),
    };
    let (cpu, memory) = (
        plain(need(instance, "Cpu")),
        plain(need(instance, "Memory")),
    );
    let fits = SIZES
        .iter()
        .any(|(of, with)| *of == cpu && with.contains(&memory.as_str()));
    if !fits {
        // The words are ours.
        return Err(invalid(format!(
            "The combination of Cpu {cpu} and Memory {memory} isn't supported."
        )));
    }
    instance["Cpu"] = json!(cpu);
    instance["Memory"] = json!(memory);
    Ok(())
}

fn check_network(state: &State, members: &Map<String, Value>) -> Result<(), AwsError> {
    let egress = &members["NetworkConfiguration"]["EgressConfiguration"];
    let arn = text(egress, "VpcConnectorArn");
    match (need(egress, "EgressType"), arn) {
        // "Only valid when EgressType = VPC" (`EgressConfiguration.VpcConnectorArn`).
        ("VPC", None) => Err(invalid("A VPC connector is required for EgressType VPC.")),
        ("VPC", Some(arn)) if live(&state.connectors).any(|it| it["VpcConnectorArn"] == arn) => {
            Ok(())
        }
        ("VPC", Some(arn)) => Err(invalid(format!(
            "The VPC connector ARN you specified isn't valid. ARN: '{arn}'"
        ))),
        (_, Some(_)) => Err(invalid(
            "A VPC connector is only valid when EgressType is VPC.",
        )),
        (_, None) => Ok(()),
    }
}

fn check_environment(members: &Map<String, Value>) -> Result<(), AwsError> {
    let image = &members["SourceConfiguration"]["ImageRepository"]["ImageConfiguration"];
    let names = |member: &str| {
        let given = image[member].as_object();
        given.map(|it| it.keys().cloned().collect::<Vec<_>>())
    };
    let variables = names("RuntimeEnvironmentVariables").unwrap_or_default();
    let secrets = names("RuntimeEnvironmentSecrets").unwrap_or_default();
    // "Keys with a prefix of AWSAPPRUNNER are reserved for system use and aren't valid" (API
    // Reference, `RuntimeEnvironmentVariables`, until 2022); "you can't specify PORT" (Developer
    // Guide, "Managing your environment variables"). The words are ours.
    let reserved = |name: &&String| name.starts_with("AWSAPPRUNNER") || *name == "PORT";
    if let Some(name) = variables.iter().chain(&secrets).find(reserved) {
        return Err(invalid(format!(
            "The environment variable {name} is reserved for system use."
        )));
    }
    // "The full Amazon Resource Name (ARN) of the Secrets Manager secret", or a parameter of
    // Systems Manager, by ARN or name (`ImageConfiguration.RuntimeEnvironmentSecrets`).
    let references = image["RuntimeEnvironmentSecrets"].as_object();
    let mut references = references.into_iter().flat_map(|it| it.values());
    if references.any(|it| {
        !it.as_str()
            .is_some_and(|it| it.starts_with("arn:aws:secretsmanager:"))
    }) {
        return Err(unsupported("parameters of Systems Manager"));
    }
    // The words: what the API answers, as many report them.
    let role = &members["InstanceConfiguration"]["InstanceRoleArn"];
    if !secrets.is_empty() && !role.is_string() {
        return Err(invalid(
            "Instance Role have to be provided if passing in RuntimeEnvironmentSecrets.",
        ));
    }
    Ok(())
}
