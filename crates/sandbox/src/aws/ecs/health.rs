//! Container health checks: the command of the task definition, run inside the container.

use std::time::Duration;

use serde_json::Value;

use crate::aws::json::{list, number};
use crate::clock::Clock;
use crate::runner::Container;

/// A real process starts no faster because the cloud's time does: failures before this do not
/// count.
pub const REAL_START: Duration = Duration::from_secs(3);
/// Nor does a command end faster, on a machine that starts several containers at once.
const REAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Checks are never closer together than this.
pub const REAL_INTERVAL: Duration = Duration::from_millis(200);

/// A check with the vendor's defaults filled in; times are the cloud's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    command: Vec<String>,
    interval: Duration,
    timeout: Duration,
    retries: u32,
    start_period: Duration,
}

/// What a check found out, as it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It passed.
    Healthy,
    /// It failed `retries` times in a row.
    Unhealthy,
}

impl HealthCheck {
    /// The check of a container definition. `None` when there is none, or it is switched off.
    pub fn read(container: &Value) -> Option<Self> {
        let check = container
            .get("healthCheck")
            .filter(|check| check.is_object())?;
        let words = list(check, "command").iter().filter_map(Value::as_str);
        let mut words = words.map(str::to_owned);
        let command = match words.next()?.as_str() {
            "NONE" => return None,
            // The shell of the image, when it has one.
            "CMD-SHELL" => ["/bin/sh", "-c"]
                .map(str::to_owned)
                .into_iter()
                .chain(words)
                .collect(),
            _ => words.collect(),
        };
        let seconds = |name: &str, default: u64| {
            let given = number(check, name).and_then(|seconds| u64::try_from(seconds).ok());
            Duration::from_secs(given.unwrap_or(default))
        };
        let retries = number(check, "retries").and_then(|retries| u32::try_from(retries).ok());
        Some(Self {
            command,
            interval: seconds("interval", 30),
            timeout: seconds("timeout", 5),
            retries: retries.unwrap_or(3),
            start_period: seconds("startPeriod", 0),
        })
    }

    /// Checks for as long as it is awaited; `tell` is called at each change.
    ///
    /// The next check begins an interval after the last one ended. Failures within the start
    /// period do not count, unless a check passed before.
    ///
    /// `grace` is for whoever acts on this, and is told nothing bad before: "the Amazon ECS service
    /// scheduler ignores unhealthy Elastic Load Balancing, VPC Lattice, and container health
    /// checks" (CreateService, `healthCheckGracePeriodSeconds`).
    pub async fn watch(
        &self,
        clock: &Clock,
        container: &Container,
        grace: Duration,
        mut tell: impl FnMut(Health),
    ) {
        let began = clock.now();
        let forgiven = clock.in_cloud_time(self.start_period).max(REAL_START);
        let limit = clock.in_cloud_time(self.timeout).max(REAL_TIMEOUT);
        let (mut failures, mut last) = (0, None);
        loop {
            clock.sleep_at_least(self.interval, REAL_INTERVAL).await;
            let ran = container.exec(&self.command, limit).await;
            let now = if ran.is_ok_and(|exit| exit.code == 0) {
                failures = 0;
                Health::Healthy
            } else {
                if last.is_some() || clock.since(began) > forgiven {
                    failures += 1;
                }
                if failures < self.retries || clock.since(began) < clock.in_cloud_time(grace) {
                    continue;
                }
                Health::Unhealthy
            };
            if last != Some(now) {
                last = Some(now);
                tell(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(command: Value, runs: &[&str]) {
        let container = json!({"healthCheck": {"command": command}});
        assert_eq!(HealthCheck::read(&container).unwrap().command, runs);
    }

    #[test]
    fn words_run_as_they_are_and_a_line_in_the_images_shell() {
        check(
            json!(["CMD", "/app/idp", "healthcheck"]),
            &["/app/idp", "healthcheck"],
        );
        check(
            json!(["CMD-SHELL", "curl -f http://localhost/ || exit 1"]),
            &["/bin/sh", "-c", "curl -f http://localhost/ || exit 1"],
        );
        assert!(HealthCheck::read(&json!({"healthCheck": {"command": ["NONE"]}})).is_none());
        assert!(HealthCheck::read(&json!({"name": "app"})).is_none());
    }
}
