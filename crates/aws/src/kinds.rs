//! The kinds of this cloud, beside those of Route 53 (`dns`). What is listed in neither cannot be
//! declared.

use deployer_core::kind::Role;

use crate::app_runner;
use crate::app_runner::custom_domain::CustomDomain;
use crate::app_runner::vpc_connector::VpcConnector;
use crate::cache::replication_group::ReplicationGroup;
use crate::cache::subnet_group as cache;
use crate::client::Clients;
use crate::database::instance::Instance;
use crate::database::parameter_group::ParameterGroup;
use crate::database::subnet_group as database;
use crate::registry::{IMAGE, ImageCopy, Repository};
use crate::runtime::cluster::Cluster;
use crate::runtime::jobs::Tasks;
use crate::runtime::log_group::LogGroup;
use crate::runtime::migration::MIGRATION;
use crate::runtime::scaling::Scaling;
use crate::runtime::service::Service;
use crate::runtime::task_definition::TaskDefinition;
use crate::secret_store::{MEMBER, Secret, Taken};
use crate::site::Facts;

deployer_core::kinds! {
    site: Clients, facts: Facts;
    kinds:
        CustomDomain,
        Repository,
        LogGroup,
        TaskDefinition,
        Service,
        Scaling,
        Secret,
        database::SubnetGroup,
        ParameterGroup,
        Instance,
        cache::SubnetGroup,
        ReplicationGroup,
        app_runner::service::Service,
        app_runner::scaling::Scaling,
        VpcConnector,
        Cluster,
    ;
    // Steps, and what of somebody else's is only read.
    gone:
        ImageCopy = IMAGE => Role::Image,
        Tasks = MIGRATION => Role::Migration,
        Taken = MEMBER => Role::Secret,
    ;
}
