//! Auto scaling configurations and their revisions.

use serde_json::{Value, json};

use super::state::State;
use super::{AppRunner, SERVICE, invalid, not_found, too_many};
use crate::aws::error::AwsError;
use crate::aws::json::{copy, flag, need, number, random_hex, text};
use crate::aws::shelf::{Going, Kind, Site, Taken, live, unused};

/// What every account has from the start (provider, `service_test.go`: `DefaultConfiguration/1/`).
const DEFAULT: &str = "DefaultConfiguration";
/// "You can have up to 10 unique auto scaling configuration names and up to 5 revisions for each
/// configuration" (Developer Guide, "Managing App Runner automatic scaling").
const MOST_NAMES: usize = 10;
const MOST_REVISIONS: usize = 5;

const NAME: &str = "AutoScalingConfigurationName";
const REVISION: &str = "AutoScalingConfigurationRevision";
pub const ARN: &str = "AutoScalingConfigurationArn";

/// By ARN.
pub(super) const SCALING: Kind<State> = Kind {
    noun: ("AutoScalingConfiguration", "AutoScalingConfigurations"),
    answers: (
        "AutoScalingConfiguration",
        "AutoScalingConfigurationSummaryList",
    ),
    arn: ("autoscalingconfiguration/", ARN),
    on: (|it| &it.scaling, |it| &mut it.scaling),
    named: |state, site, input| {
        let name = need(input, NAME);
        let revision = last(state, name) + 1;
        let resource = format!(
            "autoscalingconfiguration/{name}/{revision}/{}",
            random_hex(32)
        );
        Ok(site.arn(&resource))
    },
    asked: |state, _, input| match text(input, ARN) {
        None => Ok(Vec::new()),
        Some(arn) => Ok(vec![need(find(state, arn)?, ARN).to_owned()]),
    },
    made: |state, site, arn, input| {
        let (name, size) = (need(input, NAME), |member, usual| {
            number(input, member).unwrap_or(usual)
        });
        let (least, most) = (size("MinSize", 1), size("MaxSize", 25));
        if least > most {
            return Err(invalid("MinSize can't be larger than MaxSize."));
        }
        let mut names: Vec<&str> = live(&state.scaling).map(|it| need(it, NAME)).collect();
        let count = names.iter().filter(|it| **it == name).count();
        names.dedup();
        if count >= MOST_REVISIONS {
            return Err(too_many("revisions of an auto scaling configuration"));
        }
        if count == 0 && names.len() >= MOST_NAMES {
            return Err(too_many("auto scaling configuration names"));
        }
        Ok(members(
            site,
            arn,
            (name, last(state, name) + 1),
            [size("MaxConcurrency", 100), least, most],
        ))
    },
    changes: &[],
    free: unused,
    going: Going::Described(|site, value| {
        value["Status"] = json!("inactive");
        value["DeletedAt"] = site.now();
    }),
    taken: Taken::Answered,
    absent: |_, arn| not_found(arn),
    shown: |state, it, operation| match operation {
        "ListAutoScalingConfigurations" => summary(state, &it.value),
        _ => whole(state, &it.value),
    },
    fits: |state, it, input| {
        // "Default: true" (ListAutoScalingConfigurations, LatestOnly).
        let latest_only = input.get("LatestOnly").and_then(Value::as_bool);
        let is_named = text(input, NAME).is_none_or(|name| it.value[NAME] == name);
        is_named && (!latest_only.unwrap_or(true) || is_latest(state, &it.value))
    },
    service: &SERVICE,
};

fn members(site: &Site, arn: &str, (name, revision): (&str, i64), sizes: [i64; 3]) -> Value {
    json!({
        ARN: arn, NAME: name, REVISION: revision, "Status": "active", "IsDefault": false,
        "MaxConcurrency": sizes[0], "MinSize": sizes[1], "MaxSize": sizes[2], "CreatedAt": site.now(),
    })
}

/// The last revision of a name. "It's unique among all the active configurations": a name of which
/// all is deleted begins at 1 again (provider, `auto_scaling_configuration_version_test.go`).
fn last(state: &State, name: &str) -> i64 {
    let own = live(&state.scaling).filter(|it| it[NAME] == name);
    own.map(revision).max().unwrap_or_default()
}

fn revision(scaling: &Value) -> i64 {
    number(scaling, REVISION).unwrap_or_default()
}

impl AppRunner {
    pub(super) fn add_default_scaling(&self) {
        let (site, id) = (self.site(), format!("{:032}", 1));
        let arn = site.arn(&format!("autoscalingconfiguration/{DEFAULT}/1/{id}"));
        let mut members = members(&site, &arn, (DEFAULT, 1), [100, 1, 25]);
        members["IsDefault"] = json!(true);
        SCALING.put(&mut self.lock(), &arn, members);
    }

    /// One revision, or all of a name.
    pub(super) fn delete_scaling(&self, input: &Value) -> Result<Value, AwsError> {
        let (given, site) = (need(input, ARN), self.site());
        let mut state = self.lock();
        let found = find(&state, given)?;
        if found["Status"] == "inactive" {
            // The words: provider, `auto_scaling_configuration_version.go`.
            return Err(invalid(
                "The auto scaling configuration you specified has been deleted.",
            ));
        }
        let (arn, name) = (found[ARN].clone(), found[NAME].clone());
        let all = flag(input, "DeleteAllRevisions");
        if all
            && site
                .resource(given)
                .unwrap_or_default()
                .matches('/')
                .count()
                != 1
        {
            return Err(invalid(
                "To delete all revisions, specify an ARN without a revision.",
            ));
        }
        let goes = |it: &&Value| {
            if all {
                it[NAME] == name
            } else {
                it[ARN] == arn
            }
        };
        // "You can't delete the default auto scaling configuration or a configuration that's used
        // by one or more App Runner services." The second's words:
        // hashicorp/terraform-provider-aws#38534; the first's are ours.
        if live(&state.scaling)
            .filter(goes)
            .any(|it| flag(it, "IsDefault"))
        {
            return Err(invalid(
                "You can't delete the default auto scaling configuration.",
            ));
        }
        if live(&state.scaling)
            .filter(goes)
            .any(|it| is_used(&state, it))
        {
            return Err(invalid(
                "You can't delete the auto scaling configuration. It's used by one or more services. To delete it, update the services to \
                 use other auto scaling configurations.",
            ));
        }
        let going: Vec<Value> = live(&state.scaling).filter(goes).cloned().collect();
        for scaling in &going {
            SCALING.leave(&mut state, &site, need(scaling, ARN));
        }
        let found = whole(&state, find(&state, arn.as_str().unwrap_or_default())?);
        Ok(json!({ "AutoScalingConfiguration": found }))
    }

    pub(super) fn set_default_scaling(&self, input: &Value) -> Result<Value, AwsError> {
        let mut state = self.lock();
        let arn = find(&state, need(input, ARN))?[ARN].clone();
        for scaling in state.scaling.values_mut() {
            scaling.value["IsDefault"] = json!(scaling.value[ARN] == arn);
        }
        let found = whole(&state, find(&state, arn.as_str().unwrap_or_default())?);
        Ok(json!({ "AutoScalingConfiguration": found }))
    }
}

/// "The ARN can be a full auto scaling configuration ARN, or a partial ARN ending with either
/// .../name or .../name/revision. If a revision isn't specified, the latest active revision is"
/// taken. The words for something else: awslabs/amazon-app-runner-deploy#36.
pub fn find<'a>(state: &'a State, arn: &str) -> Result<&'a Value, AwsError> {
    let mut parts = arn.splitn(6, ':');
    let (kind, resource) = (parts.nth(2), parts.nth(2).unwrap_or_default());
    let mut parts = resource.split('/');
    if kind != Some("apprunner") || parts.next() != Some("autoscalingconfiguration") {
        return Err(invalid(format!(
            "The auto scaling configuration ARN you specified isn't valid. ARN: '{arn}'"
        )));
    }
    let (name, wanted, id) = (parts.next(), parts.next(), parts.next());
    let mut own = live(&state.scaling).filter(|it| text(it, NAME) == name);
    let found = match (wanted, id) {
        (Some(_), Some(_)) => state.scaling.get(arn).map(|it| &it.value),
        (Some(wanted), None) => own.find(|it| revision(it).to_string() == wanted),
        (None, _) => own.max_by_key(|it| revision(it)),
    };
    found.ok_or_else(|| not_found(arn))
}

/// What a service has that names none.
pub fn default(state: &State) -> Option<&str> {
    let found = live(&state.scaling).find(|it| flag(it, "IsDefault"));
    found.map(|it| need(it, ARN))
}

fn is_used(state: &State, scaling: &Value) -> bool {
    let mut services = state.services.iter();
    services.any(|it| it.deleted.is_none() && scaling[ARN] == it.config.scaling)
}

fn is_latest(state: &State, scaling: &Value) -> bool {
    last(state, need(scaling, NAME)) == revision(scaling)
}

/// As services and listings show it.
pub fn summary(state: &State, scaling: &Value) -> Value {
    const SHOWN: [&str; 6] = [ARN, NAME, REVISION, "Status", "CreatedAt", "IsDefault"];
    let mut out = serde_json::Map::new();
    copy(scaling, &SHOWN, &mut out);
    out.insert(
        "HasAssociatedService".to_owned(),
        json!(is_used(state, scaling)),
    );
    Value::Object(out)
}

/// As DescribeAutoScalingConfiguration shows it.
fn whole(state: &State, scaling: &Value) -> Value {
    let mut out = scaling.clone();
    out["HasAssociatedService"] = json!(is_used(state, scaling));
    out["Latest"] = json!(scaling["Status"] == "active" && is_latest(state, scaling));
    out
}
