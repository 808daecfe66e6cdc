//! App Runner: a service with its connector and its scaling, and what operates them. One-off tasks
//! run on Fargate beside it (`runtime`).
//!
//! App Runner cannot hold a candidate back: what is deployed takes traffic as soon as it is
//! healthy, and what verifies it follows that. It keeps no revisions (`described`), pins no secret
//! (`note`), and says of a service that it runs whatever became of a deployment (`operations`).

mod association;
mod autopsy;
mod begin;
mod calls;
pub(crate) mod custom_domain;
mod described;
pub(crate) mod hints;
mod kind;
mod note;
pub(crate) mod one_off;
pub(crate) mod operate;
mod operations;
mod printed;
pub(crate) mod regions;
pub(crate) mod scaling;
mod served;
pub(crate) mod service;
pub(crate) mod shape;
mod switch;
pub(crate) mod vpc_connector;

use std::sync::Arc;

use aws_sdk_apprunner::types::Service as SdkService;
use deployer_core::capability::{Autopsy, Entrance, Scope, ServiceInputs, ServiceOutputs};
use deployer_core::error::Result;
use deployer_core::graph::{Graph, Output, Value};
use deployer_core::kind::Declared;
use deployer_core::migration::Migrated;
use deployer_core::names::{LEDGER_TAG, prefix};
use deployer_core::spec::{EnvironmentSpec, ServiceSpec};

use crate::client::Clients;
use crate::dns::Route53;
use crate::ground::{ConnectorName, Ground, Subnets};
use crate::spec::AppRunner;
use crate::tags;

pub(crate) use calls::PATIENCE;
pub(crate) use printed::streams_of;
use scaling::{Scaling, ScalingArn, USUAL_CONCURRENCY};
use service::Service;
use shape::{Around, Roles, Shape};
use vpc_connector::VpcConnector;

/// One service while its nodes are declared.
pub(crate) struct Declaration<'a> {
    pub(crate) clients: &'a Arc<Clients>,
    /// Where the records of its domains are.
    pub(crate) names: &'a Route53,
    pub(crate) env: &'a EnvironmentSpec,
    pub(crate) ground: &'a Ground,
    pub(crate) service: &'a ServiceSpec,
    pub(crate) asked: &'a AppRunner,
    pub(crate) inputs: &'a ServiceInputs,
    pub(crate) scope: Scope,
}

impl Declaration<'_> {
    /// Declares the service with what it is made of, its migration aside.
    pub(crate) fn declare(&self, graph: &mut Graph, migrated: &Value<Migrated>) -> ServiceOutputs {
        let around = match self.scope {
            Scope::Whole => {
                let connector = self.connector(graph);
                Some(self.around(graph, connector))
            }
            Scope::CodeOnly => None,
        };
        let address = self.clients.address(service::SERVICE, &self.service.name);
        let outputs = ServiceOutputs {
            revision: Output::of(&address),
            url: Output::of(&address),
            service: address.clone(),
            migration: None,
        };
        let past = graph.past(&address);
        let mut ownership = tags::ownership(self.env, self.service.adopt, &past);
        let note = self.env.ledger.iter();
        ownership
            .tags
            .extend(note.map(|it| (LEDGER_TAG.to_owned(), it.mark.clone())));
        graph.resource(|inputs| {
            let versions = self.inputs.secrets.iter();
            let versions = versions.map(|(key, value)| (key.clone(), inputs.pass(value)));
            let versions = versions.collect();
            let image = inputs.pass(&self.inputs.image);
            let access = self.ground.access_roles.get(&self.service.key);
            let access = access.expect("what App Runner runs has an access role");
            let roles = Roles {
                access: inputs.pass(access),
                instance: self.ground.roles.task.as_ref().map(|it| inputs.pass(it)),
            };
            Service {
                clients: Arc::clone(self.clients),
                address,
                ownership,
                ledger: self.env.ledger.clone(),
                known: past.known,
                shape: Shape::new(self.service, roles, image, versions),
                around: around.map(|around| Around {
                    connector: around.connector.map(|it| inputs.pass(&it)),
                    scaling: inputs.pass(&around.scaling),
                    ..around
                }),
                patience: self.service.patience,
                scope: self.scope,
                migrated: inputs.pass(migrated),
                revision: outputs.revision.clone(),
                url: outputs.url.clone(),
                known_url: self.service.url.clone(),
                redeploy: self.inputs.redeploy.clone(),
                releases: self.inputs.releases.clone(),
            }
        });
        if self.scope == Scope::Whole {
            let through = (self.clients, self.names);
            let made = &outputs.revision;
            let of = (self.service, self.asked);
            custom_domain::declare(graph, through, self.env, of, made);
        }
        outputs
    }

    fn around(&self, graph: &mut Graph, connector: Option<Value<ConnectorName>>) -> Around {
        let (scaling_name, scaling) = self.scaling(graph);
        Around {
            connector,
            scaling_name,
            scaling: Value::From(scaling),
        }
    }

    /// The environment's connector, which the first service declares. `None` where the manifest has
    /// no network.
    fn connector(&self, graph: &mut Graph) -> Option<Value<ConnectorName>> {
        let network = &self.ground.network;
        if !Subnets::are_said(&network.subnets) {
            return None;
        }
        let connector = self.ground.connector.get_or_init(|| {
            let base = prefix(&self.env.app, &self.env.environment);
            let made = graph.declare(self.declared(&base), |inputs| {
                VpcConnector(network.taken(inputs))
            });
            // Its name is given: it is known before there is one.
            made.publish(ConnectorName(made.address().name.clone()));
            Value::From(made)
        });
        Some(connector.clone())
    }

    fn scaling(&self, graph: &mut Graph) -> (String, Output<ScalingArn>) {
        let count = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let replicas = self.service.replicas;
        let wish = Scaling {
            least: count(replicas.min),
            most: count(replicas.max),
            concurrency: count(self.asked.concurrency.unwrap_or(USUAL_CONCURRENCY)),
        };
        let output = graph.declare(self.declared(&self.service.name), |_| wish);
        (output.address().name.clone(), output)
    }

    fn declared<'b>(&'b self, name: &'b str) -> Declared<'b, Clients> {
        Declared {
            site: self.clients,
            name,
            env: self.env,
            adopt: false,
        }
    }
}

/// Where a service is reached: the name that App Runner gave it.
pub(crate) fn url_of(clients: &Clients, service: &SdkService) -> Option<String> {
    let name = service.service_url().filter(|name| !name.is_empty())?;
    let scheme = match clients.target.sandbox {
        true => "http",
        false => "https",
    };
    Some(format!("{scheme}://{name}"))
}

/// How requests get to it from outside.
pub(crate) async fn entrance(clients: &Clients, name: &str) -> Result<Entrance> {
    let service = calls::seen(clients, name).await?;
    Ok(match service.as_ref().is_some_and(described::is_private) {
        true => Entrance::Inside("App Runner lets in what comes from a VPC only".into()),
        false => Entrance::Open,
    })
}

/// What explains a failure.
pub(crate) async fn explain(clients: &Clients, service: &ServiceSpec) -> Autopsy {
    autopsy::of(clients, service).await
}

/// The log group in which the app's lines are. `None` when there is no such service.
pub(crate) async fn log_group(clients: &Clients, name: &str) -> Result<Option<String>> {
    let service = calls::seen(clients, name).await?;
    Ok(service.map(|service| autopsy::application_log(&service)))
}
