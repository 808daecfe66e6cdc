//! What `status` tells of an instance; pure.

use deployer_core::capability::StoreStatus;
use google_cloud_sql_v1::model::DatabaseInstance;

use super::{instance, shape};

/// The port of every PostgreSQL instance.
pub(super) const PORT: u16 = 5432;

/// An instance in Google's own words.
pub(super) fn of(instance: &DatabaseInstance) -> StoreStatus {
    let settings = instance.settings.as_ref();
    StoreStatus {
        state: instance::judge(instance).into(),
        said: instance.state.name().unwrap_or("unknown").to_owned(),
        version: Some(shape::version(instance)),
        class: settings.map(|settings| settings.tier.clone()),
        storage_gib: settings
            .and_then(|settings| settings.data_disk_size_gb)
            .and_then(|gib| u32::try_from(gib).ok()),
        memory_gib: None,
        endpoint: shape::host(instance).map(|host| format!("{host}:{PORT}")),
    }
}

#[cfg(test)]
mod tests {
    use deployer_core::capability::ServingState;
    use google_cloud_sql_v1::model::database_instance::SqlInstanceState;
    use google_cloud_sql_v1::model::{IpMapping, SqlDatabaseVersion, SqlIpAddressType};

    use super::*;

    #[test]
    fn an_instance_tells_its_state_version_and_address() {
        let address = IpMapping::new()
            .set_type(SqlIpAddressType::Primary)
            .set_ip_address("10.0.0.3");
        let instance = DatabaseInstance::new()
            .set_state(SqlInstanceState::PendingCreate)
            .set_database_version(SqlDatabaseVersion::Postgres16);
        let making = of(&instance);
        assert!(matches!(making.state, ServingState::InProgress(_)));
        assert_eq!(
            (making.said.as_str(), making.endpoint),
            ("PENDING_CREATE", None)
        );
        let made = of(&instance
            .set_state(SqlInstanceState::Runnable)
            .set_ip_addresses([address]));
        assert_eq!(made.state, ServingState::Ready);
        assert_eq!(made.version.as_deref(), Some("16"));
        assert_eq!(made.endpoint.as_deref(), Some("10.0.0.3:5432"));
    }
}
