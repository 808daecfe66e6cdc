//! What declares one environment into one graph.

use std::sync::Arc;

use deployer_core::spec::EnvironmentSpec;

use crate::client::Clients;
use crate::dns::Route53;
use crate::ground::Ground;

/// One environment while its nodes are declared.
pub(crate) struct Composition<'a> {
    pub(crate) clients: Arc<Clients>,
    /// Where the records of a service's domains are.
    pub(crate) names: Route53,
    pub(crate) env: &'a EnvironmentSpec,
    pub(crate) ground: Ground,
}

impl<'a> Composition<'a> {
    /// Of a target and what it is to hold.
    pub(crate) fn new(clients: &Arc<Clients>, names: &Route53, env: &'a EnvironmentSpec) -> Self {
        Self {
            clients: Arc::clone(clients),
            names: names.clone(),
            env,
            ground: Ground::given(&clients.section),
        }
    }
}
