//! What App Runner remembers.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::domain::{Certified, Domain};
use crate::aws::json::seconds;
use crate::aws::shelf::Shelf;
use crate::runner::{Container, Front};

/// Everything, behind one lock.
#[derive(Default, Serialize)]
pub struct State {
    /// In the order of their creation; deleted ones too, for a while.
    pub services: Vec<Service>,
    /// Of every service.
    pub domains: Vec<Domain>,
    /// Those that were served once.
    pub certified: Vec<Certified>,
    /// By ARN, inactive ones too.
    pub connectors: Shelf,
    /// By ARN, inactive ones too.
    pub scaling: Shelf,
    /// Whether the account has the service-linked role: the first service makes it.
    pub has_role: bool,
}

/// A service.
#[derive(Serialize)]
pub struct Service {
    pub id: String,
    pub name: String,
    pub arn: String,
    /// What App Runner would have called it: `xxxxxxxxxx.REGION.awsapprunner.com`.
    pub domain: String,
    /// As its model lists them.
    pub status: &'static str,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub deleted: Option<Timestamp>,
    /// As wanted by the last change that is under way or succeeded.
    pub config: Config,
    /// What serves, or would if it were not paused. `None` before the first deployment succeeded.
    pub served: Option<Served>,
    #[serde(skip)]
    pub instances: Vec<Instance>,
    /// Oldest first.
    pub operations: Vec<Operation>,
    pub tags: Vec<Value>,
    #[serde(skip)]
    pub front: Front,
}

/// The configuration of a service, with everything filled in.
#[derive(Clone, PartialEq, Serialize)]
pub struct Config {
    /// SourceConfiguration, InstanceConfiguration and so on, as DescribeService shows them.
    pub members: Map<String, Value>,
    /// The ARN of its auto scaling configuration.
    pub scaling: String,
}

/// A deployment that succeeded.
#[derive(Serialize)]
pub struct Served {
    pub config: Config,
    pub version: Version,
    /// Its operation; empty when its instances are not to run any more.
    pub operation: String,
}

/// An image that was deployed: "a copy of the image that you deployed" is kept (Developer Guide,
/// "What does App Runner delete?").
#[derive(Clone, Serialize)]
pub struct Version {
    /// The repository as stored.
    pub repository: String,
    pub digest: String,
}

/// A running instance.
#[derive(Clone)]
pub struct Instance {
    pub id: String,
    pub container: Container,
}

/// Something that was done to a service.
#[derive(Serialize)]
pub struct Operation {
    pub id: String,
    pub kind: Kind,
    pub status: &'static str,
    pub started: Timestamp,
    pub updated: Timestamp,
    pub ended: Option<Timestamp>,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Kind {
    Create,
    Update,
    Deploy,
    Pause,
    Resume,
    Delete,
}

impl State {
    /// By ARN; deleted ones too.
    pub fn service(&self, arn: &str) -> Option<&Service> {
        self.services.iter().find(|it| it.arn == arn)
    }

    /// The same, to change it.
    pub fn service_mut(&mut self, arn: &str) -> Option<&mut Service> {
        self.services.iter_mut().find(|it| it.arn == arn)
    }
}

impl Service {
    /// A member of the configuration that is always there.
    pub fn image(&self) -> &Value {
        &self.config.members["SourceConfiguration"]["ImageRepository"]
    }

    /// From now on no instance that ends is replaced.
    pub fn retire(&mut self) {
        if let Some(served) = &mut self.served {
            served.operation.clear();
        }
    }

    /// Sends requests to its instances.
    pub fn route(&self) {
        let addresses = self
            .instances
            .iter()
            .filter_map(|it| it.container.address());
        self.front.serve(addresses.map(|it| (it, 1)).collect());
    }
}

impl Operation {
    /// As ListOperations shows it.
    pub fn shown(&self, service: &str) -> Value {
        let mut out = json!({
            "Id": self.id,
            "Type": self.kind.name(),
            "Status": self.status,
            "TargetArn": service,
            "StartedAt": seconds(self.started),
            "UpdatedAt": seconds(self.updated),
        });
        if let Some(ended) = self.ended {
            out["EndedAt"] = seconds(ended);
        }
        out
    }
}

impl Kind {
    /// In ListOperations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE_SERVICE",
            Self::Update => "UPDATE_SERVICE",
            Self::Deploy => "START_DEPLOYMENT",
            Self::Pause => "PAUSE_SERVICE",
            Self::Resume => "RESUME_SERVICE",
            Self::Delete => "DELETE_SERVICE",
        }
    }

    /// In the service's events: "Service update started." (roadmap#142), "Deployment started."
    /// (roadmap#46). Pausing and resuming: ours, alike.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Create => "Service creation",
            Self::Update => "Service update",
            Self::Deploy => "Deployment",
            Self::Pause => "Service pause",
            Self::Resume => "Service resume",
            Self::Delete => "Service deletion",
        }
    }
}
