//! Cloud DNS: names in existing zones.

mod ask;
mod calls;
mod record;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::{Dns, RecordStatus, Zones};
use deployer_core::error::Result;
use deployer_core::graph::Graph;
use deployer_core::spec::RecordSpec;

use crate::project::Project;

use calls::{Actual, Calls, RecordPath};
use record::addresses;

pub(crate) use record::{RECORD, Record};

/// Cloud DNS behind [`Dns`] and [`Zones`].
pub(crate) struct CloudDns {
    pub(crate) project: Arc<Project>,
}

impl std::fmt::Debug for CloudDns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CloudDns({})", self.project.names.project)
    }
}

impl Dns for CloudDns {
    fn record(&self, graph: &mut Graph, record: &RecordSpec) -> Address {
        let place = RecordPath::of(record);
        let address = Address::new(&self.project.target, RECORD, place.to_string());
        let past = graph.past(&address);
        graph.resource(|_| Record {
            calls: Calls {
                project: Arc::clone(&self.project),
                place,
            },
            past,
            address: address.clone(),
            spec: record.clone(),
            ttl: Mutex::default(),
        });
        address
    }
}

#[async_trait]
impl Zones for CloudDns {
    async fn status(&self, record: &RecordSpec) -> Result<Option<RecordStatus>> {
        let calls = Calls {
            project: Arc::clone(&self.project),
            place: RecordPath::of(record),
        };
        let found = calls.look().await?.seen(&calls.cannot("read"))?;
        Ok(found.map(|Actual { set, .. }| RecordStatus {
            kind: set.r#type.clone().unwrap_or_default(),
            leads_to: addresses(&set),
            ttl: set.ttl.and_then(|seconds| u32::try_from(seconds).ok()),
        }))
    }
}
