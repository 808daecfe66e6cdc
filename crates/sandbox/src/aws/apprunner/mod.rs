//! App Runner: services whose deployments really run, their operations, VPC connectors and auto
//! scaling configurations.
//!
//! Sources that are named shortly here: "API Reference" and "Developer Guide" are AWS App Runner's
//! (the guide as it stands in awsdocs/aws-app-runner-developer-guide), "roadmap" is
//! aws/apprunner-roadmap, "provider" is `internal/service/apprunner` of
//! hashicorp/terraform-provider-aws. "Ours" is what none of them says.

mod check;
mod connectors;
mod custom_domains;
mod deploy;
mod domain;
mod instances;
mod launch;
mod operations;
mod rules;
mod scaling;
mod services;
mod state;

use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};

use super::error::AwsError;
use super::logs::Logs;
use super::pages::Pages;
use super::route53::Route53;
use super::secrets::Secrets;
use super::shelf::{self, Asked, Found, Kind, Service, Site};
use super::tagging::Tagged;
use super::tags::Tags;
use crate::Host;
use state::State;

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct AppRunner {
    inner: Arc<Inner>,
}

struct Inner {
    host: Host,
    logs: Logs,
    /// Where the records of custom domains are looked for.
    route53: Route53,
    secrets: Secrets,
    state: Mutex<State>,
}

impl AppRunner {
    /// No services; the default auto scaling configuration.
    pub fn new(host: &Host, logs: Logs, secrets: Secrets, route53: Route53) -> Self {
        let this = Self {
            inner: Arc::new(Inner {
                host: host.clone(),
                logs,
                route53,
                secrets,
                state: Mutex::default(),
            }),
        };
        this.add_default_scaling();
        this
    }

    /// Every service that is not deleted, with its address and instances.
    pub fn status(&self) -> Value {
        let state = self.lock();
        let services = state.services.iter().filter(|it| it.status != "DELETED");
        let shown = services.map(|it| {
            json!({
                "name": it.name,
                "status": it.status,
                "domain": it.domain,
                "url": format!("http://{}", it.front.address()),
                "instances": it.instances.iter().map(|one| &one.id).collect::<Vec<_>>(),
            })
        });
        shown.collect()
    }

    /// Everything that has tags, or had: what is deleted too. "The GetResources ... operations
    /// support all resource types" (Resource Groups Tagging API Reference, "Services that support
    /// the Resource Groups Tagging API").
    pub fn tagged(&self) -> Vec<Tagged> {
        let state = self.lock();
        let services = state.services.iter();
        let services = services.map(|it| SERVICE.tags.tagged(&it.arn, &it.tags));
        let kinds = KINDS.iter().flat_map(|kind| kind.tagged(&state));
        services.chain(kinds).collect()
    }

    /// Everything that there is, as data.
    pub(crate) fn dump(&self) -> Value {
        crate::dump::of(&*self.lock())
    }

    /// Carries out an operation that the schema has let through.
    pub async fn call(&self, operation: &str, input: &Value) -> Result<Value, AwsError> {
        match operation {
            "AssociateCustomDomain" => self.associate_domain(input),
            "CreateService" => self.create_service(input).await,
            "DeleteAutoScalingConfiguration" => self.delete_scaling(input),
            "DeleteService" => self.delete_service(input),
            "DescribeCustomDomains" => self.describe_domains(input),
            "DescribeService" => self.describe_service(input),
            "DisassociateCustomDomain" => self.disassociate_domain(input),
            "ListOperations" => self.list_operations(input),
            "ListServices" => self.list_services(input),
            "PauseService" => self.pause_service(input),
            "ResumeService" => self.resume_service(input),
            "StartDeployment" => self.start_deployment(input),
            "UpdateDefaultAutoScalingConfiguration" => self.set_default_scaling(input),
            "UpdateService" => self.update_service(input),
            operation => {
                let site = &self.site();
                let asked = Asked {
                    site,
                    operation,
                    input,
                };
                SERVICE.answer(&KINDS, &mut self.lock(), &asked, |state, arn| {
                    tags_at(state, site, arn)
                })
            }
        }
    }

    /// Whether IAM wants iam:PassRole for this call: it hands App Runner a role to act with.
    pub fn passes_role(&self, operation: &str, input: &Value) -> bool {
        let access = &input["SourceConfiguration"]["AuthenticationConfiguration"]["AccessRoleArn"];
        let instance = &input["InstanceConfiguration"]["InstanceRoleArn"];
        matches!(operation, "CreateService" | "UpdateService")
            && (access.is_string() || instance.is_string())
    }

    /// Whether a call makes a service-linked role, which takes a permission of its own: the first
    /// service of an account one, the first VPC connector another (Developer Guide, "Using
    /// service-linked roles for App Runner").
    pub fn makes_role(&self, operation: &str) -> bool {
        let state = self.lock();
        match operation {
            "CreateService" => !state.has_role,
            "CreateVpcConnector" => state.connectors.is_empty(),
            _ => false,
        }
    }

    fn arn(&self, resource: &str) -> String {
        let host = &self.inner.host;
        let (region, account) = (&host.region, &host.account);
        format!("arn:aws:apprunner:{region}:{account}:{resource}")
    }

    fn site(&self) -> Site {
        Site::of(&self.inner.host, "apprunner")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner
            .state
            .lock()
            .expect("no panic while the state is held")
    }

    fn now(&self) -> jiff::Timestamp {
        self.inner.host.clock.now()
    }
}

/// "If you don't specify MaxResults, the request retrieves all available results in a single
/// response" (API Reference, of every listing).
const PAGES: Pages = Pages {
    members: ("MaxResults", "NextToken"),
    size: usize::MAX,
    wrong: || invalid("The NextToken you specified isn't valid."),
};

const SERVICE: Service = Service {
    pages: |input, member, all| PAGES.of(input, member, all),
    tags: Tags {
        service: "apprunner",
        too_many: || invalid("A resource can have at most 50 tags."),
        ..Tags::LISTED
    },
};

/// The simple kinds.
const KINDS: [Kind<State>; 2] = [connectors::CONNECTOR, scaling::SCALING];

/// The tags of whatever is not deleted.
fn tags_at<'a>(state: &'a mut State, site: &Site, arn: &str) -> Found<'a> {
    if let Some(at) = state
        .services
        .iter()
        .position(|it| it.arn == arn && it.deleted.is_none())
    {
        return Ok(&mut state.services[at].tags);
    }
    let found = shelf::tags_at(&KINDS, state, site, arn).and_then(Result::ok);
    found.ok_or_else(|| not_found(arn))
}

/// An error of the kind that App Runner uses for wrong requests.
fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidRequestException", message)
}

/// An error of the kind that App Runner uses for things that it does not know. The words are ours.
fn not_found(arn: &str) -> AwsError {
    let message = format!("Resource not found for the provided ARN. ARN: {arn}");
    AwsError::new("ResourceNotFoundException", message)
}

/// There may be no more of these (AWS General Reference, "AWS App Runner endpoints and quotas").
/// The words are ours.
fn too_many(what: &str) -> AwsError {
    let message = format!("You've reached your quota of {what}.");
    AwsError::new("ServiceQuotaExceededException", message)
}
