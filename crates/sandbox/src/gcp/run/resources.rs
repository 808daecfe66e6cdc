//! CPU and memory: which pairs Cloud Run offers.

use serde_json::Value;

use crate::gcp::error::{ApiError, Outcome};
use crate::gcp::schema::Object;

/// What a template is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Instances that serve.
    Service,
    /// Tasks that end.
    Job,
}

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// The CPUs that a template asks for, when it says.
pub fn cpu_of(template: &Object) -> Option<f64> {
    parse_cpu(template.get("containers")?[0]["resources"]["limits"]["cpu"].as_str()?)
}

/// `1`, `0.5` or `500m`, in CPUs.
fn parse_cpu(text: &str) -> Option<f64> {
    let value = match text.strip_suffix('m') {
        Some(milli) => milli.parse::<u32>().ok().map(|m| f64::from(m) / 1000.0)?,
        None => text.parse().ok()?,
    };
    (value > 0.0).then_some(value)
}

/// A Kubernetes quantity in bytes.
fn parse_memory(text: &str) -> Option<u64> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let unit: u64 = match &text[split..] {
        "" => 1,
        "k" => 1000,
        "Ki" => 1024,
        "M" => 1_000_000,
        "Mi" => MIB,
        "G" => 1_000_000_000,
        "Gi" => GIB,
        _ => return None,
    };
    let value: f64 = text[..split].parse().ok()?;
    Some((value * unit as f64) as u64)
}

/// Refuses limits, and pairs of them, that Cloud Run does not offer. `at` is the container's path.
pub fn check_resources(at: &str, template: &Object, container: &Object, usage: Use) -> Outcome<()> {
    let resources = container.get("resources").cloned().unwrap_or_default();
    let at = format!("{at}.resources.limits");
    let limits = resources["limits"].as_object().cloned().unwrap_or_default();
    if let Some(other) = limits
        .keys()
        .find(|k| !matches!(k.as_str(), "cpu" | "memory" | "nvidia.com/gpu"))
    {
        return Err(ApiError::field(
            &at,
            format!("'{other}' is not supported; only cpu, memory and nvidia.com/gpu are"),
        ));
    }
    let text = |name: &str| limits.get(name).and_then(Value::as_str).unwrap_or_default();
    let bad_cpu = |why: &str| {
        Err(ApiError::field(
            &format!("{at}.cpu"),
            format!("Invalid value specified for cpu. {why}"),
        ))
    };
    let Some(cpu) = parse_cpu(text("cpu")) else {
        return bad_cpu("The value must be a number of CPUs.");
    };
    let offered = match usage {
        Use::Service if cpu < 1.0 => cpu >= 0.08,
        Use::Service | Use::Job => [1.0, 2.0, 4.0, 6.0, 8.0].contains(&cpu),
    };
    if !offered {
        return bad_cpu(
            "Only 1, 2, 4, 6 and 8 are supported, and for services values from 0.08 to less than 1.",
        );
    }
    let gen2 = template.get("executionEnvironment").and_then(Value::as_str)
        == Some("EXECUTION_ENVIRONMENT_GEN2");
    if cpu < 1.0 {
        if template
            .get("maxInstanceRequestConcurrency")
            .and_then(Value::as_i64)
            .unwrap_or(80)
            > 1
        {
            return bad_cpu("Total cpu < 1 is not supported with concurrency > 1.");
        }
        if resources["cpuIdle"] != true {
            return bad_cpu("Total cpu < 1 is not supported with cpu throttling disabled.");
        }
        if gen2 {
            return bad_cpu("Total cpu < 1 is not supported with gen2 execution environment.");
        }
    }
    let (least, most) = memory_range(cpu, gen2);
    let memory = parse_memory(text("memory")).unwrap_or(0);
    if (least..=most).contains(&memory) {
        return Ok(());
    }
    let environment = if gen2 {
        " with gen2 execution environment"
    } else {
        ""
    };
    Err(ApiError::field(
        &format!("{at}.memory"),
        format!(
            "Invalid value specified for container memory{environment}. For {cpu:?} CPU, memory must be between {} and {} inclusive.\n\
             For more troubleshooting guidance, see https://cloud.google.com/run/docs/configuring/memory-limits",
            quantity(least),
            quantity(most)
        ),
    ))
}

/// The least and the most memory that goes with so many CPUs
/// (<https://cloud.google.com/run/docs/configuring/services/memory-limits>).
fn memory_range(cpu: f64, gen2: bool) -> (u64, u64) {
    let floor = if gen2 { 512 * MIB } else { 128 * MIB };
    match cpu {
        c if c < 0.5 => (floor, 512 * MIB),
        c if c < 1.0 => (floor, GIB),
        c if c < 2.0 => (floor, 4 * GIB),
        c if c < 4.0 => (floor, 8 * GIB),
        c if c < 6.0 => (2 * GIB, 16 * GIB),
        c if c < 8.0 => (4 * GIB, 24 * GIB),
        _ => (4 * GIB, 32 * GIB),
    }
}

fn quantity(bytes: u64) -> String {
    if bytes.is_multiple_of(GIB) {
        format!("{}Gi", bytes / GIB)
    } else {
        format!("{}Mi", bytes / MIB)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::template::{check, fill};
    use super::*;

    fn check_with(cpu: &str, memory: &str, extra: Value) -> Result<(), String> {
        let mut template = json!({ "containers": [{
            "image": "us-central1-docker.pkg.dev/p/r/i:1",
            "resources": { "cpuIdle": true, "limits": { "cpu": cpu, "memory": memory } },
        }] });
        for (key, value) in extra.as_object().unwrap() {
            template[key] = value.clone();
        }
        let mut template = template.as_object().unwrap().clone();
        fill(&mut template, Use::Service, "p");
        check("template", &template, Use::Service).map_err(|error| error.message)
    }

    #[test]
    fn pairs_of_cpu_and_memory_are_those_that_cloud_run_offers() {
        let offered = [
            ("1", "512Mi"),
            ("1000m", "4Gi"),
            ("2", "8Gi"),
            ("0.5", "256Mi"),
            ("4", "2Gi"),
            ("8", "32G"),
        ];
        for (cpu, memory) in offered {
            assert_eq!(check_with(cpu, memory, json!({})), Ok(()), "{cpu} {memory}");
        }
        let refused = [
            ("3", "1Gi"),
            ("1", "8Gi"),
            ("4", "1Gi"),
            ("0.05", "128Mi"),
            ("0.5", "2Gi"),
            ("x", "1Gi"),
            ("1", "64Mi"),
        ];
        for (cpu, memory) in refused {
            assert!(
                check_with(cpu, memory, json!({})).is_err(),
                "{cpu} {memory}"
            );
        }
        let error = check_with("1", "8Gi", json!({})).unwrap_err();
        assert!(
            error.contains("For 1.0 CPU, memory must be between 128Mi and 4Gi inclusive."),
            "{error}"
        );
    }

    #[test]
    fn less_than_a_cpu_serves_one_request_at_a_time() {
        let error = check_with(
            "0.5",
            "256Mi",
            json!({ "maxInstanceRequestConcurrency": 80 }),
        )
        .unwrap_err();
        assert!(
            error.contains("Total cpu < 1 is not supported with concurrency > 1."),
            "{error}"
        );
    }
}
