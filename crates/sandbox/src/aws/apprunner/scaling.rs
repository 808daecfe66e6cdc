//! Auto scaling configurations and their revisions.

use serde_json::{Map, Value, json};

use super::state::{Scaling, State};
use super::{AppRunner, invalid, listed, not_found, too_many};
use crate::aws::error::AwsError;
use crate::aws::json::{flag, list, need, number, random_hex, seconds, text};

/// What every account has from the start (provider, `service_test.go`: `DefaultConfiguration/1/`).
const DEFAULT: &str = "DefaultConfiguration";
/// "You can have up to 10 unique auto scaling configuration names and up to 5 revisions for each
/// configuration" (Developer Guide, "Managing App Runner automatic scaling").
const MOST_NAMES: usize = 10;
const MOST_REVISIONS: usize = 5;

impl AppRunner {
    pub(super) fn add_default_scaling(&self) {
        let id = format!("{:032}", 1);
        let resource = format!("autoscalingconfiguration/{DEFAULT}/1/{id}");
        let scaling = Scaling {
            arn: self.arn(&resource),
            name: DEFAULT.to_owned(),
            revision: 1,
            concurrency: 100,
            least: 1,
            most: 25,
            is_default: true,
            created: self.now(),
            deleted: None,
            tags: Vec::new(),
        };
        self.lock().scaling.push(scaling);
    }

    pub(super) fn create_scaling(&self, input: &Value) -> Result<Value, AwsError> {
        let name = need(input, "AutoScalingConfigurationName");
        let least = number(input, "MinSize").unwrap_or(1);
        let most = number(input, "MaxSize").unwrap_or(25);
        if least > most {
            return Err(invalid("MinSize can't be larger than MaxSize."));
        }
        let mut state = self.lock();
        let own = active(&state).filter(|it| it.name == name);
        // "It's unique among all the active configurations": a name of which all is deleted begins
        // at 1 again (provider, `auto_scaling_configuration_version_test.go`).
        let (count, last) = own.fold((0, 0), |(count, last), it| {
            (count + 1, it.revision.max(last))
        });
        let mut names: Vec<&str> = active(&state).map(|it| it.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        if count >= MOST_REVISIONS {
            return Err(too_many("revisions of an auto scaling configuration"));
        }
        if count == 0 && names.len() >= MOST_NAMES {
            return Err(too_many("auto scaling configuration names"));
        }
        let revision = last + 1;
        let resource = format!(
            "autoscalingconfiguration/{name}/{revision}/{}",
            random_hex(32)
        );
        let arn = self.arn(&resource);
        state.scaling.push(Scaling {
            arn: arn.clone(),
            name: name.to_owned(),
            revision,
            concurrency: number(input, "MaxConcurrency").unwrap_or(100),
            least,
            most,
            is_default: false,
            created: self.now(),
            deleted: None,
            tags: list(input, "Tags").to_vec(),
        });
        let made = find(&state, &arn)?;
        Ok(json!({ "AutoScalingConfiguration": whole(&state, made) }))
    }

    pub(super) fn describe_scaling(&self, input: &Value) -> Result<Value, AwsError> {
        let state = self.lock();
        let found = find(&state, need(input, "AutoScalingConfigurationArn"))?;
        Ok(json!({ "AutoScalingConfiguration": whole(&state, found) }))
    }

    pub(super) fn list_scaling(&self, input: &Value) -> Result<Value, AwsError> {
        let name = text(input, "AutoScalingConfigurationName");
        // "Default: true" (ListAutoScalingConfigurations, LatestOnly).
        let latest_only = input.get("LatestOnly").and_then(Value::as_bool);
        let state = self.lock();
        let all = active(&state)
            .filter(|it| name.is_none_or(|name| it.name == name))
            .filter(|it| !latest_only.unwrap_or(true) || is_latest(&state, it));
        let all = all.map(|it| Value::Object(summary(&state, it))).collect();
        listed(input, "AutoScalingConfigurationSummaryList", all)
    }

    pub(super) fn delete_scaling(&self, input: &Value) -> Result<Value, AwsError> {
        let given = need(input, "AutoScalingConfigurationArn");
        let now = self.now();
        let mut state = self.lock();
        let found = find(&state, given)?;
        if found.deleted.is_some() {
            // The words: provider, `auto_scaling_configuration_version.go`.
            return Err(invalid(
                "The auto scaling configuration you specified has been deleted.",
            ));
        }
        let (arn, name) = (found.arn.clone(), found.name.clone());
        let all = flag(input, "DeleteAllRevisions");
        if all
            && given
                .splitn(6, ':')
                .nth(5)
                .unwrap_or_default()
                .matches('/')
                .count()
                != 1
        {
            return Err(invalid(
                "To delete all revisions, specify an ARN without a revision.",
            ));
        }
        let goes = |it: &Scaling| match all {
            true => it.name == name && it.deleted.is_none(),
            false => it.arn == arn,
        };
        // "You can't delete the default auto scaling configuration or a configuration that's used
        // by one or more App Runner services." The second's words:
        // hashicorp/terraform-provider-aws#38534; the first's are ours.
        let going: Vec<&Scaling> = state.scaling.iter().filter(|it| goes(it)).collect();
        if going.iter().any(|it| it.is_default) {
            return Err(invalid(
                "You can't delete the default auto scaling configuration.",
            ));
        }
        if going.iter().any(|it| is_used(&state, it)) {
            return Err(invalid(
                "You can't delete the auto scaling configuration. It's used by one or more services. To delete it, update the services to \
                 use other auto scaling configurations.",
            ));
        }
        for scaling in state.scaling.iter_mut().filter(|it| goes(it)) {
            scaling.deleted = Some(now);
        }
        let found = find(&state, &arn)?;
        Ok(json!({ "AutoScalingConfiguration": whole(&state, found) }))
    }

    pub(super) fn set_default_scaling(&self, input: &Value) -> Result<Value, AwsError> {
        let given = need(input, "AutoScalingConfigurationArn");
        let mut state = self.lock();
        let arn = find(&state, given)?.arn.clone();
        for scaling in &mut state.scaling {
            scaling.is_default = scaling.arn == arn;
        }
        let found = find(&state, &arn)?;
        Ok(json!({ "AutoScalingConfiguration": whole(&state, found) }))
    }
}

fn active(state: &State) -> impl Iterator<Item = &Scaling> {
    state.scaling.iter().filter(|it| it.deleted.is_none())
}

/// "The ARN can be a full auto scaling configuration ARN, or a partial ARN ending with either
/// .../name or .../name/revision. If a revision isn't specified, the latest active revision is"
/// taken. The words for something else: awslabs/amazon-app-runner-deploy#36.
pub fn find<'a>(state: &'a State, arn: &str) -> Result<&'a Scaling, AwsError> {
    let mut parts = arn.splitn(6, ':');
    let (kind, resource) = (parts.nth(2), parts.nth(2).unwrap_or_default());
    let mut parts = resource.split('/');
    if kind != Some("apprunner") || parts.next() != Some("autoscalingconfiguration") {
        return Err(invalid(format!(
            "The auto scaling configuration ARN you specified isn't valid. ARN: '{arn}'"
        )));
    }
    let (name, revision, id) = (parts.next(), parts.next(), parts.next());
    let named = |it: &&Scaling| Some(it.name.as_str()) == name;
    let found = match (revision, id) {
        (Some(_), Some(_)) => state.scaling.iter().find(|it| it.arn == arn),
        (Some(revision), None) => active(state)
            .filter(named)
            .find(|it| it.revision.to_string() == revision),
        (None, _) => active(state).filter(named).max_by_key(|it| it.revision),
    };
    found.ok_or_else(|| not_found(arn))
}

/// What a service has that names none.
pub fn default(state: &State) -> Option<&Scaling> {
    active(state).find(|it| it.is_default)
}

fn is_used(state: &State, scaling: &Scaling) -> bool {
    let mut services = state.services.iter();
    services.any(|it| it.deleted.is_none() && it.config.scaling == scaling.arn)
}

fn is_latest(state: &State, scaling: &Scaling) -> bool {
    let own = active(state).filter(|it| it.name == scaling.name);
    own.map(|it| it.revision).max() == Some(scaling.revision)
}

/// As services and listings show it.
pub fn summary(state: &State, scaling: &Scaling) -> Map<String, Value> {
    let status = match scaling.deleted {
        None => "active",
        Some(_) => "inactive",
    };
    let members = [
        ("AutoScalingConfigurationArn", json!(scaling.arn)),
        ("AutoScalingConfigurationName", json!(scaling.name)),
        ("AutoScalingConfigurationRevision", json!(scaling.revision)),
        ("Status", json!(status)),
        ("CreatedAt", seconds(scaling.created)),
        ("HasAssociatedService", json!(is_used(state, scaling))),
        ("IsDefault", json!(scaling.is_default)),
    ];
    members
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect()
}

/// As DescribeAutoScalingConfiguration shows it.
fn whole(state: &State, scaling: &Scaling) -> Value {
    let mut out = Value::Object(summary(state, scaling));
    out["Latest"] = json!(scaling.deleted.is_none() && is_latest(state, scaling));
    out["MaxConcurrency"] = json!(scaling.concurrency);
    out["MinSize"] = json!(scaling.least);
    out["MaxSize"] = json!(scaling.most);
    if let Some(deleted) = scaling.deleted {
        out["DeletedAt"] = seconds(deleted);
    }
    out
}
