//! Asks which APIs are on, and switches them on (Service Usage has no client here).

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::spec::{DnsProvider, GcpSpec};
use deployer_core::capability::Switching;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::permissions::Feature;
use deployer_core::spec::EnvironmentSpec;
use deployer_core::wait::{Look, Pace, poll};
use serde_json::{Value, json};

use crate::apis::Apis;
use crate::credentials;
use crate::hints;
use crate::kinds;
use crate::paths::short;
use crate::project::Project;

/// What is in the project's network and not a kind: those who put something into a subnetwork, or
/// behind a connector, need its API as well.
const NETWORK: &str = "compute.googleapis.com";
const CONNECTORS: &str = "vpcaccess.googleapis.com";

/// What a project may have to switch on: what the kinds of the table say; Service Usage itself,
/// Cloud Logging and Cloud Storage are on from the start ("Enabled by default" in its
/// documentation), Resource Manager is done without.
fn known() -> BTreeSet<&'static str> {
    let of_kinds = kinds::ALL.iter().map(|it| it.facts.api);
    of_kinds.chain([NETWORK, CONNECTORS]).collect()
}

/// "If you enabled this API recently, wait a few minutes for the action to propagate to our
/// systems."
const PROPAGATION: Duration = Duration::from_secs(10 * 60);

/// How often in a row an API must answer: some of its servers learn later than others that it is
/// on.
const IN_A_ROW: u32 = 3;

impl Apis {
    async fn call(&self, project: &Project, call: reqwest::RequestBuilder) -> Result<(u16, Value)> {
        let headers = credentials::headers(&project.clients.credentials).await?;
        let unanswered = |error: reqwest::Error| {
            Error::new(
                ErrorKind::Unavailable,
                "cannot ask which APIs are switched on",
            )
            .because(error.without_url())
        };
        let answer = call.headers(headers).send().await.map_err(unanswered)?;
        let status = answer.status().as_u16();
        let body = answer.bytes().await.map_err(unanswered)?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    /// Notes what is off. A caller who may not see it is told by each API itself.
    pub(crate) async fn look(&self, project: &Project) {
        let id = &project.names.project;
        let known = known();
        let names: Vec<String> = known
            .iter()
            .map(|api| format!("names=projects/{id}/services/{api}"))
            .collect();
        let path = format!("/v1/projects/{id}/services:batchGet?{}", names.join("&"));
        let call = self
            .http
            .get(self.url("serviceusage.googleapis.com", &path));
        let states = match self.call(project, call).await {
            Ok((200, states)) => states,
            Ok((status, said)) => {
                tracing::debug!(status, %said, "the APIs' states are not told");
                return;
            }
            Err(error) => {
                tracing::debug!(?error, "the APIs' states are not known");
                return;
            }
        };
        let told = states["services"].as_array().into_iter().flatten();
        // `projects/NUMBER`: also where the Resource Manager API is off.
        let mut owners = told.filter_map(|state| state["parent"].as_str());
        if let Some(owner) = owners.next() {
            project.names.learn(id, short(owner));
        }
        let states = states["services"].as_array().into_iter().flatten();
        let off = states.filter(|state| state["state"] == "DISABLED");
        let off: Vec<&str> = off
            .filter_map(|state| state["config"]["name"].as_str().or(state["name"].as_str()))
            .collect();
        let off = |api: &&str| off.iter().any(|name| name.ends_with(api));
        *self.off.lock().unwrap_or_else(PoisonError::into_inner) =
            known.into_iter().filter(off).collect();
    }

    /// Makes sure that everything that `env` needs is on; tells what was switched on.
    ///
    /// Errors: rejected, when something is off and may not be switched on here, with the command;
    /// timed out, when what was switched on does not answer.
    pub(crate) async fn prepare(
        &self,
        project: &Project,
        env: &EnvironmentSpec,
        switching: Switching,
    ) -> Result<Vec<String>> {
        let needed = needed(env, &project.section);
        let off: Vec<&str> = {
            let off = self.off.lock().unwrap_or_else(PoisonError::into_inner);
            needed.into_iter().filter(|api| off.contains(api)).collect()
        };
        if off.is_empty() {
            return Ok(Vec::new());
        }
        if !project.section.enable_apis || switching == Switching::Never {
            return Err(refusal(project, &off));
        }
        self.switch_on(project, &off).await?;
        self.answer_at_last(project, &off).await?;
        let mut known = self.off.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|api| !off.contains(api));
        Ok(off.into_iter().map(str::to_owned).collect())
    }

    async fn switch_on(&self, project: &Project, apis: &[&str]) -> Result<()> {
        let path = format!(
            "/v1/projects/{}/services:batchEnable",
            project.names.project
        );
        let url = self.url("serviceusage.googleapis.com", &path);
        let action = format!("cannot switch on {}", apis.join(", "));
        let (clock, pace) = (project.context.clock.as_ref(), Pace::until(PROPAGATION));
        poll(clock, pace, "the APIs to be switched on", || async {
            let call = self.http.post(&url).json(&json!({ "serviceIds": apis }));
            let (status, operation) = self.call(project, call).await?;
            if status != 200 {
                return passing(refused(project, status, &operation, &action));
            }
            let name = operation["name"].as_str().unwrap_or_default();
            // What was on already is answered without an operation.
            let is_done =
                operation["done"] == true || name.is_empty() || name.ends_with("DONE_OPERATION");
            let operation = match is_done {
                true => operation,
                false => self.ended(project, name, &action).await?,
            };
            match operation["error"]["message"].as_str() {
                Some(said) => passing(Error::new(ErrorKind::Failed, format!("{action}: {said}"))),
                None => Ok(Look::Found(())),
            }
        })
        .await?;
        let mut switched = self.switched.lock().unwrap_or_else(PoisonError::into_inner);
        *switched = Some(clock.elapsed());
        Ok(())
    }

    /// The operation of that name once it is done.
    ///
    /// Errors: what it may not be looked at for; timed out.
    async fn ended(&self, project: &Project, name: &str, action: &str) -> Result<Value> {
        let (clock, pace) = (project.context.clock.as_ref(), Pace::until(PROPAGATION));
        let url = self.url("serviceusage.googleapis.com", &format!("/v1/{name}"));
        poll(clock, pace, "the operation", || async {
            let (status, operation) = self.call(project, self.http.get(&url)).await?;
            if status != 200 {
                return passing(refused(project, status, &operation, action));
            }
            Ok(match operation["done"] == true {
                true => Look::Found(operation),
                false => Look::NotYet("the APIs are being switched on".to_owned()),
            })
        })
        .await
    }

    /// Waits until each of the APIs has answered some times in a row without calling itself
    /// switched off.
    ///
    /// Errors: credentials, when the caller is not known to one; timed out.
    async fn answer_at_last(&self, project: &Project, apis: &[&str]) -> Result<()> {
        let (clock, pace) = (project.context.clock.as_ref(), Pace::until(PROPAGATION));
        for api in apis {
            let names = &project.names;
            let location = names.location();
            let at = (names.project.as_str(), location.as_str());
            let Some(path) = harmless(api, at) else {
                continue;
            };
            let url = self.url(api, &path);
            let row = AtomicU32::new(0);
            poll(clock, pace, api, || async {
                let (status, answer) = self.call(project, self.http.get(&url)).await?;
                if status == 401 {
                    let action = format!("cannot ask whether {api} is switched on");
                    return Err(refused(project, status, &answer, &action));
                }
                if let Some(error) = off_elsewhere(project, &answer) {
                    return Err(error);
                }
                let is_off = reasons(&answer).any(|reason| reason == "SERVICE_DISABLED");
                if is_off || status == 429 || status >= 500 {
                    row.store(0, Ordering::Relaxed);
                    return Ok(Look::NotYet(
                        "it still calls itself switched off".to_owned(),
                    ));
                }
                Ok(match row.fetch_add(1, Ordering::Relaxed) + 1 >= IN_A_ROW {
                    true => Look::Found(()),
                    false => Look::NotYet("it has only just begun to answer".to_owned()),
                })
            })
            .await?;
        }
        Ok(())
    }
}

/// The refusal of an API that is off in another project than the target's, against which the calls
/// count: no waiting mends that.
fn off_elsewhere(project: &Project, answer: &Value) -> Option<Error> {
    let details = answer["error"]["details"].as_array().into_iter().flatten();
    let mut off = details.filter(|detail| detail["reason"] == "SERVICE_DISABLED");
    let metadata = &off.next()?["metadata"];
    let consumer = metadata["consumer"].as_str()?;
    let consumer = consumer.strip_prefix("projects/").unwrap_or(consumer);
    // Whether a number is ours is known only where ours is.
    let is_known = project.names.knows_its_number();
    if !is_known || project.names.is_ours(consumer) {
        return None;
    }
    let api = metadata["service"].as_str().unwrap_or("the API");
    let message =
        format!("{api} is on, and the calls do not reach it: it is off in project `{consumer}`");
    let hint = hints::count_here(&project.names.project);
    Some(Error::new(ErrorKind::Rejected, message).hint(hint))
}

/// The reasons that an answer names.
fn reasons(answer: &Value) -> impl Iterator<Item = &str> {
    let details = answer["error"]["details"].as_array().into_iter().flatten();
    details.filter_map(|detail| detail["reason"].as_str())
}

/// The error of a call that was refused.
fn refused(project: &Project, status: u16, answer: &Value, action: &str) -> Error {
    let said = answer["error"]["message"].as_str().unwrap_or("no reason");
    let kind = match status {
        401 => ErrorKind::Credentials,
        403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        429 | 500.. => ErrorKind::Unavailable,
        _ => ErrorKind::Rejected,
    };
    let error = Error::new(kind, format!("{action}: {said}"));
    if reasons(answer).any(|reason| reason == hints::NO_BILLING) {
        return error.hint(hints::link_billing(&project.names.project));
    }
    match kind {
        ErrorKind::Credentials => error.hint(hints::LOGIN_HINT),
        ErrorKind::Denied => error.hint("`roles/serviceusage.serviceUsageAdmin` allows it"),
        _ => error,
    }
}

/// What passes by itself is waited for: one change of a project's services at a time
/// (`ServiceUsageServiceBeingActivated` in terraform-provider-google), an internal error that the
/// next try does not meet (`ServiceUsageInternalError160009`, its #14691), a server that cannot
/// answer.
fn passing<T>(error: Error) -> Result<Look<T>> {
    let words = error.to_string();
    let passes = words.contains("Another activation or deactivation is in progress")
        || words.contains("160009")
        || error.kind() == ErrorKind::Unavailable;
    match passes {
        true => Ok(Look::NotYet(words)),
        false => Err(error),
    }
}

fn refusal(project: &Project, off: &[&str]) -> Error {
    let (is, apis) = match off.len() {
        1 => ("is", "API"),
        _ => ("are", "APIs"),
    };
    let id = &project.names.project;
    let command = hints::switch_on(off.iter().copied(), id);
    let message = format!(
        "{} {apis} {is} switched off in project `{id}`: {}",
        off.len(),
        off.join(", ")
    );
    let hint = match project.section.enable_apis {
        true => format!("`deployer apply` switches them on first, or type {command}"),
        false => format!("type {command}; or set `enable_apis = true` in [targets.gcp], and apply"),
    };
    Error::new(ErrorKind::Rejected, message).hint(hint)
}

/// The APIs that an environment needs.
fn needed(env: &EnvironmentSpec, section: &GcpSpec) -> BTreeSet<&'static str> {
    let mut apis = of_kinds(|feature| uses(feature, env, section));
    if section.network.is_some() || section.subnetwork.is_some() {
        apis.insert(NETWORK);
    }
    if section.vpc_connector.is_some() {
        apis.insert(CONNECTORS);
    }
    apis
}

/// The APIs of the kinds that these features bring.
fn of_kinds(uses: impl Fn(Feature) -> bool) -> BTreeSet<&'static str> {
    let kinds = kinds::ALL.iter().map(|it| it.facts);
    let used = kinds.filter(|it| uses(it.access.feature));
    used.map(|it| it.api).collect()
}

/// Whether the manifest brings a feature to this cloud.
fn uses(feature: Feature, env: &EnvironmentSpec, section: &GcpSpec) -> bool {
    match feature {
        // A database's URL is a secret.
        Feature::Secrets => !env.secrets.is_empty() || !env.databases.is_empty(),
        Feature::SharedSecrets => !env.secrets.is_empty(),
        Feature::Databases => !env.databases.is_empty(),
        Feature::Caches => !env.caches.is_empty(),
        Feature::Dns => env.services.values().any(|service| {
            let own = section.services.get(&service.key);
            let provider = own.and_then(|own| own.dns);
            service.record.is_some() && provider != Some(DnsProvider::Route53)
        }),
        Feature::Migrations => env.services.values().any(|it| it.migrate.is_some()),
        Feature::Apis => section.enable_apis,
        // What runs, or is done, beside a service.
        Feature::Always
        | Feature::OneOffs
        | Feature::Commands
        | Feature::Scaling
        | Feature::LoadBalancers
        | Feature::AppRunner
        | Feature::Domains => !env.services.is_empty(),
    }
}

/// A read that an API answers to anybody who may use it, or refuses without calling itself switched
/// off.
fn harmless(api: &str, (id, location): (&str, &str)) -> Option<String> {
    Some(match api.split('.').next()? {
        "artifactregistry" => format!("/v1/{location}/repositories?pageSize=1"),
        "run" => format!("/v2/{location}/services?pageSize=1"),
        "secretmanager" => format!("/v1/projects/{id}/secrets?pageSize=1"),
        "sqladmin" => format!("/v1/projects/{id}/instances?maxResults=1"),
        "redis" => format!("/v1/{location}/instances?pageSize=1"),
        "dns" => format!("/dns/v1/projects/{id}/managedZones?maxResults=1"),
        "compute" => format!("/compute/v1/projects/{id}/regions?maxResults=1"),
        "vpcaccess" => format!("/v1/{location}/connectors?pageSize=1"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_api_can_be_asked_whether_it_is_on() {
        for api in known() {
            let path = harmless(api, ("p", "projects/p/locations/l"));
            assert!(path.is_some(), "nothing is known to read of {api}");
        }
    }

    #[test]
    fn a_kind_needs_its_api_wherever_its_feature_is_in_use() {
        for it in kinds::ALL {
            let needed = of_kinds(|feature| feature == it.facts.access.feature);
            assert!(needed.contains(it.facts.api), "{}", it.kind);
        }
        let database = of_kinds(|feature| feature == Feature::Databases);
        assert_eq!(database, BTreeSet::from(["sqladmin.googleapis.com"]));
        let always = of_kinds(|feature| feature == Feature::Always);
        let always: Vec<&str> = always.into_iter().collect();
        assert_eq!(
            always,
            ["artifactregistry.googleapis.com", "run.googleapis.com"]
        );
    }
}
