//! What declares one environment into one graph.

use std::sync::Arc;

use deployer_core::spec::EnvironmentSpec;

use crate::ground::Ground;
use crate::project::Project;

/// One environment while its nodes are declared.
pub(crate) struct Composition<'a> {
    pub(crate) project: Arc<Project>,
    pub(crate) env: &'a EnvironmentSpec,
    pub(crate) ground: Ground,
}

impl<'a> Composition<'a> {
    /// Of a target and what it is to hold.
    pub(crate) fn new(project: &Arc<Project>, env: &'a EnvironmentSpec) -> Self {
        Self {
            project: Arc::clone(project),
            env,
            ground: Ground::given(&project.section, env.services.keys()),
        }
    }
}
