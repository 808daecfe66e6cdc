//! What `status` tells of an instance; pure.

use deployer_core::capability::StoreStatus;
use google_cloud_redis_v1::model::Instance;

use super::{calls, shape};

/// An instance in Google's own words; its token is not among them.
pub(super) fn of(instance: &Instance) -> StoreStatus {
    StoreStatus {
        state: calls::judge(instance).into(),
        said: instance.state.name().unwrap_or("unknown").to_owned(),
        version: Some(shape::version(instance)),
        class: instance.tier.name().map(str::to_owned),
        storage_gib: None,
        memory_gib: u32::try_from(instance.memory_size_gb).ok(),
        endpoint: calls::endpoint(instance).map(|(host, port)| format!("{host}:{port}")),
    }
}
