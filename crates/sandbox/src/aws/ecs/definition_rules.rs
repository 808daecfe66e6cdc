//! Which task definitions ECS takes: the rules that its model does not carry.

use std::collections::BTreeSet;

use serde_json::Value;

use super::client;
use crate::aws::error::AwsError;
use crate::aws::json::{list, need, number, text};

/// CPU units that Fargate offers, with the least and most memory and its step, in MiB.
const FARGATE: [(i64, i64, i64, i64); 8] = [
    (256, 512, 1024, 512),
    (256, 2048, 2048, 512),
    (512, 1024, 4096, 1024),
    (1024, 2048, 8192, 1024),
    (2048, 4096, 16_384, 1024),
    (4096, 8192, 30_720, 1024),
    (8192, 16_384, 61_440, 4096),
    (16_384, 32_768, 122_880, 8192),
];

/// "Task definition size limit: 64 KiB" (AmazonECS/latest/developerguide/service-quotas.html).
const LARGEST: usize = 64 * 1024;

/// Checks a request to register a task definition.
pub fn check(input: &Value) -> Result<(), AwsError> {
    let family = need(input, "family");
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if family.is_empty() {
        return Err(client("Family can not be blank."));
    }
    if family.len() > 255 || !family.chars().all(fits) {
        return Err(client(
            "Invalid family: up to 255 letters (uppercase and lowercase), numbers, underscores, and hyphens are allowed.",
        ));
    }
    // Of the whole, before anything in it is looked at (awsdocs/amazon-ecs-developer-guide#149).
    let length = input.to_string().len();
    if length > LARGEST {
        return Err(client(format!(
            "Actual length: '{length}'. Max allowed length is '{LARGEST}' bytes."
        )));
    }
    let containers = list(input, "containerDefinitions");
    if containers.is_empty() {
        return Err(client("Container list cannot be empty."));
    }
    let fargate = list(input, "requiresCompatibilities")
        .iter()
        .any(|one| one == "FARGATE");
    if fargate {
        check_fargate(input)?;
    }
    let mut names = BTreeSet::new();
    for container in containers {
        let name = need(container, "name");
        check_container(input, container, fargate)?;
        if !names.insert(name) {
            return Err(client(format!(
                "Invalid container definition: the container name '{name}' is used more than once."
            )));
        }
    }
    let essential = |container: &Value| {
        container
            .get("essential")
            .and_then(Value::as_bool)
            .unwrap_or(true)
    };
    if !containers.iter().any(essential) {
        return Err(client(
            "Invalid 'essential' setting: at least one container must be essential.",
        ));
    }
    for container in containers {
        for dependency in list(container, "dependsOn") {
            let on = need(dependency, "containerName");
            if !names.contains(on) {
                return Err(client(format!(
                    "Invalid setting for container '{}': dependsOn names the container '{on}', which is not defined.",
                    need(container, "name")
                )));
            }
        }
    }
    Ok(())
}

fn check_fargate(input: &Value) -> Result<(), AwsError> {
    if text(input, "networkMode") != Some("awsvpc") {
        return Err(client("Fargate only supports network mode ‘awsvpc’."));
    }
    let missing = |what: &str| {
        client(format!(
            "Fargate requires that '{what}' be defined at the task level."
        ))
    };
    let cpu = amount(
        text(input, "cpu").ok_or_else(|| missing("cpu"))?,
        "vcpu",
        1024.0,
    );
    let memory = amount(
        text(input, "memory").ok_or_else(|| missing("memory"))?,
        "gb",
        1024.0,
    );
    let fits = |cpu: i64, memory: i64| {
        FARGATE.iter().any(|&(units, least, most, step)| {
            units == cpu && (least..=most).contains(&memory) && (memory - least) % step == 0
        })
    };
    match (cpu, memory) {
        (Some(cpu), Some(memory)) if fits(cpu, memory) => {}
        _ => {
            return Err(client(format!(
                "No Fargate configuration exists for given values: {} CPU, {} memory. See the Amazon ECS documentation \
                 for the valid values.",
                need(input, "cpu"),
                need(input, "memory")
            )));
        }
    }
    if text(input, "executionRoleArn").is_some() {
        return Ok(());
    }
    for container in list(input, "containerDefinitions") {
        let driver = container
            .get("logConfiguration")
            .and_then(|logs| text(logs, "logDriver"));
        let why = match driver {
            Some(driver @ "awslogs") => format!("log driver {driver}"),
            _ if need(container, "image").contains(".dkr.ecr.") => "ECR images".to_owned(),
            _ => continue,
        };
        return Err(client(format!(
            "Fargate requires task definition to have execution role ARN to support {why}."
        )));
    }
    Ok(())
}

/// CPU units or MiB: `256`, `.25 vCPU`, `512`, `1 GB`.
pub fn amount(given: &str, unit: &str, factor: f64) -> Option<i64> {
    let given = given.trim().to_ascii_lowercase();
    match given.strip_suffix(unit) {
        Some(number) => Some((number.trim().parse::<f64>().ok()? * factor).round() as i64),
        None => given.parse().ok(),
    }
}

fn check_container(input: &Value, container: &Value, fargate: bool) -> Result<(), AwsError> {
    let name = need(container, "name");
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 255 || !name.chars().all(fits) {
        return Err(client("Container.name contains invalid characters."));
    }
    let image = need(container, "image");
    if image.is_empty() {
        return Err(client("Container.image should not be null or empty."));
    }
    if image.len() > 255 || image.contains(char::is_whitespace) {
        return Err(client("Container.image contains invalid characters."));
    }
    let sized =
        number(container, "memory").is_some() || number(container, "memoryReservation").is_some();
    if !sized && text(input, "memory").is_none() {
        return Err(client(format!(
            "Invalid setting for container '{name}'. At least one of 'memory' or 'memoryReservation' must be specified."
        )));
    }
    let task_memory = text(input, "memory").and_then(|memory| amount(memory, "gb", 1024.0));
    if let (Some(of_task), Some(of_container)) = (task_memory, number(container, "memory"))
        && of_container > of_task
    {
        return Err(client(format!(
            "Invalid 'memory' setting for container '{name}': {of_container} is more than the task's {of_task}."
        )));
    }
    check_ports(input, container)?;
    check_environment(input, container)?;
    check_logs(container, fargate)?;
    check_health(container)?;
    let restarts = container.get("restartPolicy").unwrap_or(&Value::Null);
    // "You can specify a minimum restartAttemptPeriod of 60 seconds and a maximum of 1800 seconds"
    // (`ContainerRestartPolicy`, ECS API Reference). The words are ours.
    if let Some(period) = number(restarts, "restartAttemptPeriod")
        && !(60..=1800).contains(&period)
    {
        return Err(client(format!(
            "Invalid 'restartAttemptPeriod' setting for container '{name}': between 60 and 1800 seconds."
        )));
    }
    match number(container, "stopTimeout") {
        Some(seconds) if fargate && !(0..=120).contains(&seconds) => Err(client(format!(
            "Invalid 'stopTimeout' setting for container '{name}': at most 120 seconds on Fargate."
        ))),
        _ => Ok(()),
    }
}

fn check_ports(input: &Value, container: &Value) -> Result<(), AwsError> {
    let mut seen = BTreeSet::new();
    for mapping in list(container, "portMappings") {
        let port = number(mapping, "containerPort").unwrap_or_default();
        let host = number(mapping, "hostPort").unwrap_or(port);
        if text(mapping, "containerPortRange").is_some() {
            continue;
        }
        if !(1..=65_535).contains(&port) {
            return Err(client(
                "Invalid 'containerPort' setting: it must be between 1 and 65535.",
            ));
        }
        if text(input, "networkMode") == Some("awsvpc") && host != port {
            return Err(client(
                "When networkMode=awsvpc, the host ports and container ports in port mappings must match.",
            ));
        }
        if !seen.insert((port, text(mapping, "protocol").unwrap_or("tcp"))) {
            return Err(client(format!(
                "Port mappings must be unique: {port} is mapped twice."
            )));
        }
    }
    Ok(())
}

fn check_environment(input: &Value, container: &Value) -> Result<(), AwsError> {
    let secrets = list(container, "secrets");
    if !secrets.is_empty() && text(input, "executionRoleArn").is_none() {
        return Err(client(
            "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'.",
        ));
    }
    let mut names: BTreeSet<&str> = list(container, "environment")
        .iter()
        .map(|variable| need(variable, "name"))
        .collect();
    if names.contains("") {
        return Err(client("The environment variable name can not be blank."));
    }
    for secret in secrets {
        let name = need(secret, "name");
        if !names.insert(name) {
            return Err(client(format!(
                "The secret name must be unique and not shared with any new or existing environment variables set on \
                 the container, such as '{name}'."
            )));
        }
        if need(secret, "valueFrom").is_empty() {
            return Err(client(format!(
                "The secret '{name}' has an empty valueFrom."
            )));
        }
    }
    Ok(())
}

fn check_logs(container: &Value, fargate: bool) -> Result<(), AwsError> {
    let Some(logs) = container
        .get("logConfiguration")
        .filter(|logs| logs.is_object())
    else {
        return Ok(());
    };
    let driver = need(logs, "logDriver");
    if fargate && !matches!(driver, "awslogs" | "splunk" | "awsfirelens") {
        return Err(client(format!(
            "Fargate does not support the log driver {driver}: awslogs, splunk or awsfirelens."
        )));
    }
    if driver != "awslogs" {
        return Ok(());
    }
    let has = |option: &str| {
        logs.get("options")
            .and_then(|options| text(options, option))
            .is_some()
    };
    if !has("awslogs-group") || !has("awslogs-region") {
        return Err(client(
            "Log driver awslogs requires options: awslogs-region, awslogs-group",
        ));
    }
    match fargate && !has("awslogs-stream-prefix") {
        true => Err(client(
            "Log driver awslogs requires the option awslogs-stream-prefix on Fargate",
        )),
        false => Ok(()),
    }
}

fn check_health(container: &Value) -> Result<(), AwsError> {
    let Some(check) = container
        .get("healthCheck")
        .filter(|check| check.is_object())
    else {
        return Ok(());
    };
    let command = list(check, "command");
    let kind = command.first().and_then(Value::as_str).unwrap_or_default();
    let wrong = |why: String| Err(client(format!("Container.healthCheck is invalid: {why}.")));
    match kind {
        "NONE" => {}
        "CMD" | "CMD-SHELL" if command.len() > 1 => {}
        "CMD" | "CMD-SHELL" => return wrong(format!("{kind} needs a command")),
        _ => return wrong("the command must begin with CMD, CMD-SHELL or NONE".to_owned()),
    }
    let ranges = [
        ("interval", 5, 300),
        ("timeout", 2, 120),
        ("retries", 1, 10),
        ("startPeriod", 0, 300),
    ];
    for (name, least, most) in ranges {
        if let Some(value) = number(check, name).filter(|value| !(least..=most).contains(value)) {
            return wrong(format!(
                "{name} is {value}, it must be between {least} and {most}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> Value {
        json!({
            "family": "web", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"],
            "cpu": "256", "memory": "512", "executionRoleArn": "arn:aws:iam::123456789012:role/x",
            "containerDefinitions": [{"name": "app", "image": "i"}],
        })
    }

    #[track_caller]
    fn check_refused(change: impl FnOnce(&mut Value), says: &str) {
        let mut input = good();
        change(&mut input);
        let error = check(&input).unwrap_err();
        assert_eq!(error.code, "ClientException");
        assert!(error.message.contains(says), "{}", error.message);
    }

    #[test]
    fn a_definition_is_refused_for_what_fargate_cannot_run() {
        assert!(check(&good()).is_ok());
        check_refused(
            |d| d["cpu"] = json!("300"),
            "No Fargate configuration exists",
        );
        check_refused(
            |d| d["memory"] = json!("4096"),
            "No Fargate configuration exists",
        );
        check_refused(|d| d["networkMode"] = json!("bridge"), "network mode");
        check_refused(
            |d| d["containerDefinitions"][0]["essential"] = json!(false),
            "essential",
        );
        check_refused(|d| d["family"] = json!("a.b"), "family");
        let app = json!({"name": "app", "image": "i"});
        check_refused(
            |d| d["containerDefinitions"] = json!([app, app]),
            "more than once",
        );
    }

    #[test]
    fn a_definition_is_refused_when_a_secret_has_no_role_or_shares_a_name() {
        let secrets = json!([{"name": "A", "valueFrom": "a"}]);
        check_refused(
            |d| {
                d["containerDefinitions"][0]["secrets"] = secrets.clone();
                d["executionRoleArn"] = Value::Null;
            },
            "executionRoleArn",
        );
        check_refused(
            |d| {
                d["containerDefinitions"][0]["secrets"] = secrets.clone();
                d["containerDefinitions"][0]["environment"] = json!([{"name": "A", "value": "1"}]);
            },
            "such as 'A'",
        );
    }

    #[test]
    fn units_are_read_in_both_spellings() {
        assert_eq!(amount(".25 vCPU", "vcpu", 1024.0), Some(256));
        assert_eq!(amount("1 GB", "gb", 1024.0), Some(1024));
        assert_eq!(amount("512", "gb", 1024.0), Some(512));
        assert_eq!(amount("much", "gb", 1024.0), None);
    }
}
