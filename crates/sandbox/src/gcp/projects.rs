//! What clients ask about the project itself: Resource Manager and Service Usage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::Gcp;
use super::error::{ApiError, Code, Outcome};
use super::iam::Policy;
use super::names::project_number;
use super::operations::any;
use super::wire::Call;

/// The APIs that are enabled from the start: what the sandbox offers, and what Cloud Run's ways
/// into a network need.
const OFFERED: [&str; 12] = [
    "artifactregistry.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "compute.googleapis.com",
    "dns.googleapis.com",
    "iam.googleapis.com",
    "logging.googleapis.com",
    "redis.googleapis.com",
    "run.googleapis.com",
    "secretmanager.googleapis.com",
    "serviceusage.googleapis.com",
    "sqladmin.googleapis.com",
    "vpcaccess.googleapis.com",
];

/// "If you enabled this API recently, wait a few minutes for the action to propagate to our
/// systems" (the words of the refusal itself).
const PROPAGATION: Duration = Duration::from_secs(60);

/// How long after that some of an API's servers still call it disabled: every second call, here.
const FLAPS: Duration = Duration::from_secs(60);
/// How long after Cloud Run was enabled its agent and the default compute account are there for
/// everybody.
const ACCOUNTS: Duration = Duration::from_secs(4 * 60);
/// How long one change of the project's services takes, during which another one is refused.
const ACTIVATION: Duration = Duration::from_secs(10);

/// Which APIs are enabled, from when on each answers, and what comes with that.
pub struct Services(Mutex<Enabled>);

#[derive(Serialize)]
struct Enabled {
    /// From when on each answers.
    from: BTreeMap<String, jiff::Timestamp>,
    /// From when on the accounts are known that come with Cloud Run.
    accounts: jiff::Timestamp,
    /// Until when a change is under way.
    busy: jiff::Timestamp,
    /// Counts the calls to APIs that were only just enabled.
    #[serde(skip)]
    calls: u64,
    /// Whether a billing account is linked.
    billed: bool,
}

impl Default for Services {
    fn default() -> Self {
        let offered = OFFERED.iter();
        let offered = offered.map(|s| ((*s).to_owned(), jiff::Timestamp::MIN));
        Self(Mutex::new(Enabled {
            from: offered.collect(),
            accounts: jiff::Timestamp::MIN,
            busy: jiff::Timestamp::MIN,
            calls: 0,
            billed: true,
        }))
    }
}

impl Services {
    fn lock(&self) -> MutexGuard<'_, Enabled> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that there is, as data.
    pub(super) fn dump(&self) -> Value {
        crate::dump::of(&*self.lock())
    }
}

/// The project's own policy. The caller is its owner; no service's account has a role, as in
/// organizations since May 2024
/// (<https://cloud.google.com/iam/docs/service-account-types#default>).
pub struct ProjectPolicy(Mutex<Policy>);

impl ProjectPolicy {
    /// The policy, as data.
    pub(super) fn dump(&self) -> Value {
        crate::dump::of(&*self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a project begins with.
    pub fn owned_by(account: &str) -> Self {
        let owner = Policy::of("roles/owner", &format!("serviceAccount:{account}"));
        Self(Mutex::new(owner))
    }
}

/// The folder above the project and its policy, which the project inherits: "The effective allow
/// policy for a resource is the union of the allow policy set at that resource and the allow policy
/// inherited from its parent"
/// (<https://docs.cloud.google.com/iam/docs/resource-hierarchy-access-control>). `None` for a
/// project on its own.
#[derive(Default)]
pub struct Folder(Mutex<Option<Policy>>);

impl Folder {
    /// What there is, as data.
    pub(super) fn dump(&self) -> Value {
        crate::dump::of(&*self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Gcp {
    /// Puts the project into a folder where this account may do that; nobody who asks for the
    /// project sees it.
    pub fn set_folder(&self, role: &str, member: &str) {
        let mut folder = self
            .inner
            .folder
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *folder = Some(Policy::of(role, member));
    }

    /// What the folder's policy says, where the project is in one.
    pub(super) fn inherits(&self, says: impl FnOnce(&Policy) -> bool) -> bool {
        let folder = self
            .inner
            .folder
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        folder.as_ref().is_some_and(says)
    }

    fn parent(&self) -> &'static str {
        match self.inherits(|_| true) {
            true => "folders/300000000001",
            false => "",
        }
    }

    pub(super) fn with_project_policy<T>(&self, act: impl FnOnce(&mut Policy) -> T) -> T {
        let policy = &self.inner.project_policy.0;
        act(&mut policy.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn service(&self, id: &str) -> Value {
        let number = project_number(&self.host().project);
        let enabled = self.services().lock().from.contains_key(id);
        json!({
            "name": format!("projects/{number}/services/{id}"),
            "parent": format!("projects/{number}"),
            "config": { "name": id },
            "state": if enabled { "ENABLED" } else { "DISABLED" },
        })
    }

    fn set_service(&self, id: &str, enabled: bool) {
        let clock = &self.host().clock;
        let mut all = self.services().lock();
        if !enabled {
            all.from.remove(id);
        } else if !all.from.contains_key(id) {
            all.from.insert(id.to_owned(), clock.after(PROPAGATION));
            if id == "run.googleapis.com" {
                all.accounts = clock.after(ACCOUNTS);
            }
        }
    }

    /// Links or unlinks the project's billing account.
    pub fn set_billing(&self, linked: bool) {
        self.services().lock().billed = linked;
    }

    /// Refuses to enable services of a project without a billing account (kyegomez/zeta#71 shows
    /// the refusal whole), and while another change is under way
    /// (`ServiceUsageServiceBeingActivated` in terraform-provider-google's
    /// error_retry_predicates.go).
    fn check_activation(&self, ids: &[&str]) -> Outcome<()> {
        let clock = &self.host().clock;
        let mut all = self.services().lock();
        let number = project_number(&self.host().project);
        if !all.billed {
            let services = ids.join(",");
            let mut error = ApiError::precondition(format!(
                "Billing account for project '{number}' is not found. Billing must be enabled for activation of service(s) \
                 '{services}' to proceed."
            ));
            error.details.push(json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "UREQ_PROJECT_BILLING_NOT_FOUND",
                "domain": "serviceusage.googleapis.com/billing-enabled",
                "metadata": { "project": number, "services": services },
            }));
            return Err(error);
        }
        if clock.now() < all.busy {
            return Err(ApiError::precondition(format!(
                "Another activation or deactivation is in progress for service(s) on project {number}."
            )));
        }
        all.busy = clock.after(ACTIVATION);
        Ok(())
    }

    /// Refuses to name an account in a policy that is not made yet: "Service account
    /// ...-compute@developer.gserviceaccount.com does not exist"
    /// (googleapis/google-cloud-go#11482).
    pub(super) fn check_accounts(&self, policy: &Value) -> Outcome<()> {
        let compute = self.compute_account();
        let bindings = policy["bindings"].as_array().into_iter().flatten();
        let mut members = bindings.flat_map(|it| it["members"].as_array().into_iter().flatten());
        let named = members.any(|it| *it == *format!("serviceAccount:{compute}"));
        match named && !self.has_accounts() {
            true => Err(ApiError::invalid(format!(
                "Service account {compute} does not exist."
            ))),
            false => Ok(()),
        }
    }

    /// Refuses what Cloud Run's agent would have to do while it may not
    /// (terraform-google-modules/terraform-google-cloud-run#28).
    pub(super) fn check_agent(&self, account: &str) -> Outcome<()> {
        match self.has_accounts() {
            true => Ok(()),
            false => Err(ApiError::new(
                Code::PermissionDenied,
                format!(
                    "Google Cloud Run Service Agent does not have permission to get access tokens for the service account {account}. \
                     Please give service-{}@serverless-robot-prod.iam.gserviceaccount.com permission iam.serviceAccounts.getAccessToken \
                     on the service account. Alternatively, if the service account is unspecified or in the same project you are \
                     deploying in, ensure that the Service Agent is assigned the Google Cloud Run Service Agent role \
                     roles/run.serviceAgent.",
                    project_number(&self.host().project)
                ),
            )),
        }
    }

    fn has_accounts(&self) -> bool {
        self.services().lock().accounts <= self.host().clock.now()
    }

    fn compute_account(&self) -> String {
        let number = project_number(&self.host().project);
        format!("{number}-compute@developer.gserviceaccount.com")
    }

    /// Refuses a call to an API that is off in the project, or not on everywhere yet. The words and
    /// details are those of google.api's `ErrorInfo` for `SERVICE_DISABLED` ("Error model",
    /// AIP-193's own example).
    ///
    /// Which project it is about is the one that the call counts against: the header
    /// `x-goog-user-project` names it, else it is that of the resource ("How quota project is
    /// determined", <https://docs.cloud.google.com/docs/quotas/quota-project>). Of another project
    /// this is ours: it has no databases and no caches, and one that is called `bare-...` has
    /// nothing but what each has from the start.
    pub(super) fn check_enabled(&self, api: &str, consumer: Option<&str>) -> Outcome<()> {
        let name = api.split('.').next().unwrap_or_default();
        let id = format!("{name}.googleapis.com");
        if matches!(name, "serviceusage" | "storage") || !OFFERED.contains(&id.as_str()) {
            return Ok(());
        }
        let own = &self.host().project;
        let foreign = consumer.filter(|it| *it != own && **it != *project_number(own));
        let clock = &self.host().clock;
        let mut all = self.services().lock();
        let answers = match all.from.get(&id).copied() {
            _ if foreign.is_some_and(|it| it.starts_with("bare-")) => name == "logging",
            _ if foreign.is_some() => !matches!(name, "sqladmin" | "redis"),
            Some(from) if from <= clock.now() => {
                let settled =
                    from == jiff::Timestamp::MIN || clock.since(from) >= clock.in_cloud_time(FLAPS);
                all.calls += u64::from(!settled);
                settled || all.calls.is_multiple_of(2)
            }
            Some(_) | None => false,
        };
        drop(all);
        if answers {
            return Ok(());
        }
        let number = project_number(foreign.unwrap_or(own));
        let title = title(&id);
        let page = format!(
            "https://console.developers.google.com/apis/api/{id}/overview?project={number}"
        );
        let mut error = ApiError::new(
            Code::PermissionDenied,
            format!(
                "{title} has not been used in project {number} before or it is disabled. Enable it by visiting {page} then \
                 retry. If you enabled this API recently, wait a few minutes for the action to propagate to our systems and \
                 retry."
            ),
        );
        error.details = vec![
            json!({
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "SERVICE_DISABLED",
                "domain": "googleapis.com",
                "metadata": {
                    "service": id, "serviceTitle": title, "consumer": format!("projects/{number}"),
                    "containerInfo": number, "activationUrl": page,
                },
            }),
            json!({
                "@type": "type.googleapis.com/google.rpc.Help",
                "links": [{ "description": "Google developers console API activation", "url": page }],
            }),
        ];
        Err(error)
    }

    /// Methods of Service Usage.
    pub(super) async fn service_usage(&self, call: &Call) -> Outcome {
        if call.method.id == "serviceusage.operations.get" {
            return self
                .operations()
                .get(&format!("operations/{}", call.var(0)));
        }
        if call.var(0) != "projects" {
            return Err(ApiError::unimplemented(
                "services of folders and organizations",
            ));
        }
        self.check_project(call.var(1))?;
        let done = |kind: &str, result: Value| {
            let metadata = json!({ "@type": "type.googleapis.com/google.api.serviceusage.v1.OperationMetadata" });
            let operation = self.operations().start("", metadata.clone());
            let name = operation["name"].as_str().unwrap_or_default();
            let result = any(&format!("google.api.serviceusage.v1.{kind}"), &result);
            self.operations().finish(name, metadata, Ok(result));
            self.operations().get(name)
        };
        match call.method.id.as_str() {
            "serviceusage.services.get" => Ok(self.service(call.var(2))),
            "serviceusage.services.list" => {
                let filter = call.query("filter");
                let wanted = filter.strip_prefix("state:").unwrap_or_default();
                let mut ids: BTreeSet<String> = OFFERED.iter().map(|s| (*s).to_owned()).collect();
                ids.extend(self.services().lock().from.keys().cloned());
                let all: Vec<Value> = ids
                    .iter()
                    .map(|id| self.service(id))
                    .filter(|s| wanted.is_empty() || s["state"] == wanted)
                    .collect();
                call.listed(all, 50)
            }
            "serviceusage.services.batchGet" => {
                if call.query_all("names").len() > 30 {
                    return Err(ApiError::invalid("At most 30 services may be got at once."));
                }
                let names = call.query_all("names").iter();
                let services: Vec<Value> = names
                    .map(|n| self.service(n.rsplit('/').next().unwrap_or_default()))
                    .collect();
                Ok(json!({ "services": services }))
            }
            "serviceusage.services.enable" => {
                self.check_activation(&[call.var(2)])?;
                self.set_service(call.var(2), true);
                done(
                    "EnableServiceResponse",
                    json!({ "service": self.service(call.var(2)) }),
                )
            }
            "serviceusage.services.batchEnable" => {
                let ids: Vec<&str> = call
                    .body
                    .get("serviceIds")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect();
                self.check_activation(&ids)?;
                ids.iter().for_each(|id| self.set_service(id, true));
                let services: Vec<Value> = ids.iter().map(|id| self.service(id)).collect();
                done(
                    "BatchEnableServicesResponse",
                    json!({ "services": services }),
                )
            }
            "serviceusage.services.disable" => {
                self.services().lock().busy = self.host().clock.after(ACTIVATION);
                self.set_service(call.var(2), false);
                done(
                    "DisableServiceResponse",
                    json!({ "service": self.service(call.var(2)) }),
                )
            }
            other => Err(ApiError::unimplemented(other)),
        }
    }

    /// Methods of Resource Manager, v1 and v3.
    pub(super) fn resource_manager(&self, call: &Call) -> Outcome {
        self.check_project(call.var(0))?;
        let project = &self.host().project;
        let number = project_number(project);
        match (call.api.api.as_str(), call.method.id.as_str()) {
            (_, "cloudresourcemanager.projects.testIamPermissions") => {
                Ok(self.test_permissions(&call.body))
            }
            (_, "cloudresourcemanager.projects.getIamPolicy") => {
                Ok(self.with_project_policy(|policy| policy.get()))
            }
            (_, "cloudresourcemanager.projects.setIamPolicy") => {
                let now = self.host().clock.now();
                self.with_project_policy(|policy| policy.set_at(&call.body, now))
            }
            ("cloudresourcemanager.v1", "cloudresourcemanager.projects.get") => Ok(json!({
                "projectNumber": number, "projectId": project, "name": project,
                "lifecycleState": "ACTIVE", "createTime": self.started(),
            })),
            ("cloudresourcemanager.v3", "cloudresourcemanager.projects.get") => Ok(json!({
                "name": format!("projects/{number}"), "projectId": project, "displayName": project,
                "state": "ACTIVE", "createTime": self.started(), "parent": self.parent(),
            })),
            (_, other) => Err(ApiError::unimplemented(other)),
        }
    }
}

fn title(id: &str) -> &str {
    match id {
        "artifactregistry.googleapis.com" => "Artifact Registry API",
        "cloudresourcemanager.googleapis.com" => "Cloud Resource Manager API",
        "dns.googleapis.com" => "Cloud DNS API",
        "iam.googleapis.com" => "Identity and Access Management (IAM) API",
        "logging.googleapis.com" => "Cloud Logging API",
        "redis.googleapis.com" => "Google Cloud Memorystore for Redis API",
        "run.googleapis.com" => "Cloud Run Admin API",
        "secretmanager.googleapis.com" => "Secret Manager API",
        "sqladmin.googleapis.com" => "Cloud SQL Admin API",
        other => other,
    }
}

/// The constraints of organization policies that the sandbox can enforce.
pub const CONSTRAINTS: [&str; 2] = [DOMAINS, INVOKER];
/// Domain-restricted sharing, in force by default in organizations made since May 2024 ("secure by
/// default").
const DOMAINS: &str = "iam.allowedPolicyMemberDomains";
/// "Require the invoker IAM check for Cloud Run services", a managed constraint.
const INVOKER: &str = "run.managed.requireInvokerIam";

/// Which constraints are in force.
#[derive(Default)]
pub struct Organization(Mutex<BTreeSet<String>>);

impl Organization {
    /// What there is, as data.
    pub(super) fn dump(&self) -> Value {
        crate::dump::of(&*self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Gcp {
    /// Puts these constraints in force and no others.
    ///
    /// Errors: the name that is unknown.
    pub fn constrain(&self, constraints: Vec<String>) -> Result<(), String> {
        let unknown = constraints
            .iter()
            .find(|name| !CONSTRAINTS.contains(&name.as_str()));
        if let Some(unknown) = unknown {
            return Err(unknown.clone());
        }
        let mut all = self
            .organization()
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *all = constraints.into_iter().collect();
        Ok(())
    }

    fn enforces(&self, constraint: &str) -> bool {
        let all = self
            .organization()
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.contains(constraint)
    }

    /// Refuses a policy that names everyone where sharing is restricted to some domains
    /// ("Restricting identities by domain", which shows this refusal).
    pub(super) fn check_sharing(&self, policy: &Value) -> Outcome<()> {
        let bindings = policy["bindings"].as_array().into_iter().flatten();
        let mut members = bindings.flat_map(|it| it["members"].as_array().into_iter().flatten());
        let everyone = members.find_map(|it| {
            it.as_str()
                .filter(|it| matches!(*it, "allUsers" | "allAuthenticatedUsers"))
        });
        let Some(everyone) = everyone.filter(|_| self.enforces(DOMAINS)) else {
            return Ok(());
        };
        let mut error = ApiError::precondition(
            "One or more users named in the policy do not belong to a permitted customer,  perhaps due to an organization \
             policy.",
        );
        error.details.push(json!({
            "@type": "type.googleapis.com/google.rpc.PreconditionFailure",
            "violations": [{
                "type": format!("constraints/{DOMAINS}"),
                "subject": format!("orgpolicy:projects/{}", self.host().project),
                "description": format!("User {everyone} is not in permitted organization."),
            }],
        }));
        Err(error)
    }

    /// Refuses to switch the invoker check off where the organization wants it. That the service
    /// names the constraint is documented ("Disable the Cloud Run Invoker IAM check"); the sentence
    /// is that of managed constraints in general.
    pub(super) fn check_invoker(&self, resource: &str, disabled: Option<&Value>) -> Outcome<()> {
        if disabled != Some(&Value::Bool(true)) || !self.enforces(INVOKER) {
            return Ok(());
        }
        let mut error = ApiError::precondition(format!(
            "Operation denied by org policy on resource '{resource}': [\"constraints/{INVOKER}\": \"When enforced, requires \
             that the Cloud Run invoker IAM check is enabled on all services.\"]."
        ));
        error.details.push(json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "CUSTOM_ORG_POLICY_VIOLATION",
            "domain": "googleapis.com",
            "metadata": { "resource": resource, "customConstraints": format!("constraints/{INVOKER}") },
        }));
        Err(error)
    }
}
