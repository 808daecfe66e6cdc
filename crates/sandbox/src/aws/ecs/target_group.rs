//! Target groups: what moto knows of them, and the load balancer's checks of the tasks in them.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::health::{REAL_INTERVAL, REAL_START};
use super::{Ecs, invalid};
use crate::aws::error::{AwsError, unsupported};
use crate::aws::json::{need, number, text};
use crate::clock::Clock;
use crate::runner::Container;

/// An answer gets at least this, whatever the speed.
const REAL_TIMEOUT: Duration = Duration::from_secs(2);

/// A container that a load balancer sends requests to, and how it is checked; times are the
/// cloud's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    /// The target group's ARN.
    pub arn: String,
    /// The container's name.
    pub container: String,
    /// The port that the container listens on.
    pub port: u16,
    /// `ip` or `instance`.
    kind: String,
    path: String,
    codes: Vec<RangeInclusive<u16>>,
    interval: Duration,
    timeout: Duration,
    healthy_threshold: u32,
    unhealthy_threshold: u32,
}

/// What a load balancer says of a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum TargetHealth {
    /// It has not made up its mind.
    Initial,
    /// It gets requests.
    Healthy,
    /// It gets none, for this reason.
    Unhealthy(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    describe_target_groups_result: Described,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    target_groups: Members<Group>,
}

#[derive(Deserialize)]
struct Members<T> {
    #[serde(default = "Vec::new")]
    member: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Group {
    health_check_protocol: String,
    health_check_port: String,
    health_check_path: Option<String>,
    health_check_interval_seconds: u64,
    health_check_timeout_seconds: u64,
    healthy_threshold_count: u32,
    unhealthy_threshold_count: u32,
    matcher: Option<Matcher>,
    load_balancer_arns: Members<String>,
    target_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Matcher {
    http_code: Option<String>,
}

impl Ecs {
    /// The targets that a service's load balancers make of its tasks, as moto describes them now.
    /// None without moto: then nothing says how they are checked.
    pub(super) async fn targets(&self, balancers: &[Value]) -> Result<Vec<Target>, AwsError> {
        let mut targets = Vec::new();
        let Some(moto) = &self.inner.host.moto else {
            return Ok(targets);
        };
        for balancer in balancers {
            if let Some(arn) = text(balancer, "targetGroupArn") {
                let group = self.describe_group(moto, arn).await?;
                targets.push(group.target(arn, balancer)?);
            }
        }
        Ok(targets)
    }

    async fn describe_group(&self, moto: &str, arn: &str) -> Result<Group, AwsError> {
        let unclear = |why: String| {
            let message =
                format!("the sandbox cannot ask its moto for the target group {arn}: {why}");
            AwsError::new("ServerException", message)
        };
        // moto finds the service and the account in the signature's scope, and checks nothing else.
        let (region, key) = (&self.inner.host.region, &self.inner.host.access_key.id);
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={key}/20260101/{region}/elasticloadbalancing/aws4_request, \
             SignedHeaders=host, Signature=0"
        );
        let form = [
            ("Action", "DescribeTargetGroups"),
            ("Version", "2015-12-01"),
            ("TargetGroupArns.member.1", arn),
        ];
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let asked = self.inner.http.post(moto);
        let asked = asked
            .header("authorization", authorization)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let answer = asked
            .send()
            .await
            .map_err(|error| unclear(error.to_string()))?;
        let status = answer.status();
        let body = answer
            .text()
            .await
            .map_err(|error| unclear(error.to_string()))?;
        if body.contains("TargetGroupNotFound") {
            return Err(invalid(format!("The target group {arn} does not exist.")));
        }
        if !status.is_success() {
            return Err(unclear(format!("it answered {status}")));
        }
        let answer: Answer =
            quick_xml::de::from_str(&body).map_err(|error| unclear(error.to_string()))?;
        let groups = answer.describe_target_groups_result.target_groups.member;
        let absent = || invalid(format!("The target group {arn} does not exist."));
        groups.into_iter().next().ok_or_else(absent)
    }
}

impl Group {
    fn target(self, arn: &str, balancer: &Value) -> Result<Target, AwsError> {
        if self.load_balancer_arns.member.is_empty() {
            return Err(invalid(format!(
                "The target group with targetGroupArn {arn} does not have an associated load balancer."
            )));
        }
        let port = number(balancer, "containerPort").and_then(|port| u16::try_from(port).ok());
        let port = port.unwrap_or_default();
        if self.health_check_protocol != "HTTP" {
            return Err(unsupported(
                "target groups whose health checks are not HTTP",
            ));
        }
        if self.health_check_port != "traffic-port" && self.health_check_port != port.to_string() {
            return Err(unsupported(
                "target groups that check another port than they serve",
            ));
        }
        let codes = self.matcher.and_then(|matcher| matcher.http_code);
        let codes = codes.unwrap_or_else(|| "200".to_owned());
        let codes = matched(&codes).ok_or_else(|| {
            invalid(format!(
                "The target group {arn} has an unreadable matcher `{codes}`."
            ))
        })?;
        Ok(Target {
            arn: arn.to_owned(),
            container: need(balancer, "containerName").to_owned(),
            port,
            kind: self.target_type,
            path: self.health_check_path.unwrap_or_else(|| "/".to_owned()),
            codes,
            interval: Duration::from_secs(self.health_check_interval_seconds),
            timeout: Duration::from_secs(self.health_check_timeout_seconds),
            healthy_threshold: self.healthy_threshold_count,
            unhealthy_threshold: self.unhealthy_threshold_count,
        })
    }
}

/// Refuses targets that tasks with their own network interface cannot be.
pub fn check_targets(targets: &[Target], config: &Map<String, Value>) -> Result<(), AwsError> {
    let awsvpc = config.contains_key("networkConfiguration");
    match targets.iter().find(|target| awsvpc && target.kind != "ip") {
        None => Ok(()),
        Some(Target { arn, kind, .. }) => Err(invalid(format!(
            "The provided target group {arn} has target type {kind}, which is incompatible with the awsvpc network \
             mode specified in the task definition."
        ))),
    }
}

/// The codes of a matcher: `200`, `200,202` or `200-299`.
fn matched(codes: &str) -> Option<Vec<RangeInclusive<u16>>> {
    let ranges = codes.split(',').map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    });
    ranges.collect()
}

impl Target {
    /// Checks for as long as it is awaited, as a load balancer does; `tell` is called at each
    /// change.
    ///
    /// A new target is healthy at the first answer that matches; `grace` is for whoever acts on
    /// this: a target is not told to be unhealthy before.
    pub async fn watch(
        &self,
        clock: &Clock,
        container: Option<&Container>,
        grace: Duration,
        mut tell: impl FnMut(TargetHealth),
    ) {
        let began = clock.now();
        let limit = clock.in_cloud_time(self.timeout).max(REAL_TIMEOUT);
        let (mut failures, mut successes, mut last) = (0, 0, TargetHealth::Initial);
        loop {
            let now = match self.ask(container, limit).await {
                Ok(()) => {
                    (failures, successes) = (0, successes + 1);
                    let first = last == TargetHealth::Initial;
                    let enough = first || successes >= self.healthy_threshold;
                    enough.then_some(TargetHealth::Healthy)
                }
                Err(why) => {
                    successes = 0;
                    // Before, it had no time to listen.
                    failures += u32::from(clock.since(began) > REAL_START);
                    let enough = failures >= self.unhealthy_threshold;
                    let graced = clock.since(began) < clock.in_cloud_time(grace);
                    (enough && !graced).then_some(TargetHealth::Unhealthy(why))
                }
            };
            if let Some(now) = now
                && std::mem::discriminant(&now) != std::mem::discriminant(&last)
            {
                last = now.clone();
                tell(now);
            }
            clock.sleep_at_least(self.interval, REAL_INTERVAL).await;
        }
    }

    /// One question. The error is the load balancer's reason.
    async fn ask(&self, container: Option<&Container>, limit: Duration) -> Result<(), String> {
        let failed = || "Health checks failed".to_owned();
        let container = container.ok_or_else(failed)?;
        if let Some(healthy) = container.seems_healthy() {
            return healthy.then_some(()).ok_or_else(failed);
        }
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent("ELB-HealthChecker/2.0")
            .timeout(limit)
            .build();
        let client = client.map_err(|_| failed())?;
        let url = format!(
            "http://{}{}",
            container.address().ok_or_else(failed)?,
            self.path
        );
        match client.get(url).send().await {
            Ok(answer) => {
                let code = answer.status().as_u16();
                match self.codes.iter().any(|codes| codes.contains(&code)) {
                    true => Ok(()),
                    false => Err(format!("Health checks failed with these codes: [{code}]")),
                }
            }
            Err(error) if error.is_timeout() => Err("Request timed out".to_owned()),
            Err(_) => Err(failed()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matcher_is_a_code_a_list_or_a_range() {
        assert_eq!(matched("200"), Some(vec![200..=200]));
        assert_eq!(matched("200,302"), Some(vec![200..=200, 302..=302]));
        assert_eq!(matched("200-299"), Some(vec![200..=299]));
        assert_eq!(matched("fine"), None);
    }
}
