//! Container health checks. The command is not run inside the container: the URL that it asks is asked from outside.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use regex::Regex;
use serde_json::Value;

use crate::aws::json::{list, number};
use crate::clock::Clock;
use crate::runner::probe;

/// A real process starts no faster because the cloud's time does: failures before this do not count.
const REAL_START: Duration = Duration::from_secs(3);
/// Nor does it answer faster.
const REAL_TIMEOUT: Duration = Duration::from_secs(2);
/// Checks are never closer together than this.
const REAL_INTERVAL: Duration = Duration::from_millis(200);

static URL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"(?:https?://)?(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1?\])(?::\d+)?(/[^\s"'|;&)]*)?"#,
    )
    .expect("the pattern is tested")
});

/// A check with the vendor's defaults filled in; times are the cloud's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The path that the command asks for. `None` when it asks for no URL: such a check passes as long as the
    /// container runs.
    pub path: Option<String>,
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
        let words: Vec<&str> = list(check, "command")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        if words.first() == Some(&"NONE") {
            return None;
        }
        let command = words.get(1..).unwrap_or_default().join(" ");
        let path = URL
            .captures(&command)
            .map(|found| found.get(1).map_or("/", |path| path.as_str()).to_owned());
        let seconds = |name: &str, default: u64| {
            let given = number(check, name).and_then(|seconds| u64::try_from(seconds).ok());
            Duration::from_secs(given.unwrap_or(default))
        };
        let retries = number(check, "retries").and_then(|retries| u32::try_from(retries).ok());
        Some(Self {
            path,
            interval: seconds("interval", 30),
            timeout: seconds("timeout", 5),
            retries: retries.unwrap_or(3),
            start_period: seconds("startPeriod", 0),
        })
    }

    /// Checks until the task is gone; `tell` is called at each change.
    pub async fn watch(
        &self,
        clock: Clock,
        address: Option<SocketAddr>,
        mut tell: impl FnMut(Health),
    ) {
        let began = tokio::time::Instant::now();
        let scale = |time: Duration| time.div_f64(clock.speed());
        let forgiven = scale(self.start_period).max(REAL_START);
        let (mut failures, mut last) = (0, None);
        loop {
            tokio::time::sleep(scale(self.interval).max(REAL_INTERVAL)).await;
            let passed = match (&self.path, address) {
                (Some(path), Some(address)) => {
                    probe(address, path, scale(self.timeout).max(REAL_TIMEOUT)).await
                }
                _ => true,
            };
            let now = match passed {
                true => {
                    failures = 0;
                    Health::Healthy
                }
                false => {
                    if last == Some(Health::Healthy) || began.elapsed() > forgiven {
                        failures += 1;
                    }
                    if failures < self.retries {
                        continue;
                    }
                    Health::Unhealthy
                }
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
    fn check(command: Value, path: Option<&str>) {
        let container = json!({"healthCheck": {"command": command}});
        assert_eq!(HealthCheck::read(&container).unwrap().path.as_deref(), path);
    }

    #[test]
    fn the_url_is_found_in_the_commands_that_people_write() {
        check(
            json!([
                "CMD-SHELL",
                "curl -f http://localhost:3000/health || exit 1"
            ]),
            Some("/health"),
        );
        check(
            json!(["CMD", "wget", "-q", "-O-", "http://127.0.0.1/up?deep=1"]),
            Some("/up?deep=1"),
        );
        check(
            json!(["CMD-SHELL", "curl -f localhost:8080 || exit 1"]),
            Some("/"),
        );
        check(
            json!([
                "CMD-SHELL",
                "node -e \"fetch('http://localhost:1/a').then(r=>process.exit(r.ok?0:1))\""
            ]),
            Some("/a"),
        );
        check(json!(["CMD", "/app/healthcheck"]), None);
        assert!(HealthCheck::read(&json!({"healthCheck": {"command": ["NONE"]}})).is_none());
    }
}
