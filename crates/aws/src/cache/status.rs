//! What `status` tells of a replication group; pure.

use aws_sdk_elasticache::types::{CacheCluster, ReplicationGroup};
use deployer_core::capability::StoreStatus;

use super::shape::GroupActual;

/// A group in ElastiCache's own words; only a member tells the version.
pub(super) fn of(group: &ReplicationGroup, member: Option<&CacheCluster>) -> StoreStatus {
    let actual = GroupActual::of(group, member, None);
    let endpoint = actual.endpoint.as_ref();
    StoreStatus {
        state: actual.readiness().into(),
        version: member
            .and_then(|member| member.engine_version())
            .map(str::to_owned),
        class: group.cache_node_type().map(str::to_owned),
        storage_gib: None,
        memory_gib: None,
        endpoint: endpoint.map(|(host, port)| format!("{host}:{port}")),
        said: actual.status,
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_elasticache::types::{Endpoint, NodeGroup};
    use deployer_core::capability::ServingState;

    use super::*;

    #[test]
    fn the_address_is_that_of_the_primary_and_the_version_that_of_a_member() {
        let endpoint = Endpoint::builder().address("master.example.com").port(6379);
        let nodes = NodeGroup::builder().primary_endpoint(endpoint.build());
        let group = ReplicationGroup::builder()
            .status("available")
            .node_groups(nodes.build())
            .build();
        let member = CacheCluster::builder().engine_version("7.1.0").build();
        let status = of(&group, Some(&member));
        assert_eq!(status.state, ServingState::Ready);
        assert_eq!(status.version.as_deref(), Some("7.1.0"));
        assert_eq!(status.endpoint.as_deref(), Some("master.example.com:6379"));
        assert_eq!(of(&group, None).version, None);
    }
}
