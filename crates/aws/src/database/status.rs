//! What `status` tells of an instance; pure.

use aws_sdk_rds::types::DbInstance;
use deployer_core::capability::StoreStatus;

use super::shape::InstanceActual;

/// An instance in RDS's own words.
pub(super) fn of(instance: &DbInstance) -> StoreStatus {
    let actual = InstanceActual::of(instance);
    let endpoint = actual.endpoint.as_ref();
    StoreStatus {
        state: actual.readiness().into(),
        version: instance.engine_version().map(str::to_owned),
        class: instance.db_instance_class().map(str::to_owned),
        storage_gib: instance
            .allocated_storage()
            .and_then(|gib| u32::try_from(gib).ok()),
        memory_gib: None,
        endpoint: endpoint.map(|endpoint| format!("{}:{}", endpoint.host, endpoint.port)),
        said: actual.status,
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_rds::types::Endpoint;
    use deployer_core::capability::ServingState;

    use super::*;

    #[test]
    fn an_instance_that_is_made_is_in_progress_and_has_no_address() {
        let instance = DbInstance::builder()
            .db_instance_status("creating")
            .engine_version("16.4")
            .allocated_storage(20)
            .build();
        let status = of(&instance);
        assert_eq!(
            (status.endpoint, status.storage_gib, status.said.as_str()),
            (None, Some(20), "creating")
        );
        assert!(matches!(status.state, ServingState::InProgress(_)));
    }

    #[test]
    fn an_available_instance_tells_its_minor_version_and_its_address() {
        let endpoint = Endpoint::builder().address("db.example.com").port(5432);
        let instance = DbInstance::builder()
            .db_instance_status("available")
            .engine_version("16.4")
            .endpoint(endpoint.build())
            .build();
        let status = of(&instance);
        assert_eq!(status.state, ServingState::Ready);
        assert_eq!(status.version.as_deref(), Some("16.4"));
        assert_eq!(status.endpoint.as_deref(), Some("db.example.com:5432"));
    }
}
