//! Names in the DNS.

use std::collections::BTreeSet;

use crate::address::Address;
use crate::graph::Graph;
use crate::spec::{EnvironmentSpec, RecordSpec};

/// Records in existing zones.
pub trait Dns: Send + Sync + std::fmt::Debug {
    /// Declares the record; its node is ready when the zone's own servers answer with it.
    ///
    /// Records carry no labels: one of that name and another content that is not in `inventory` is not ours and is not
    /// touched, unless the specification adopts it.
    fn record(
        &self,
        graph: &mut Graph,
        env: &EnvironmentSpec,
        record: &RecordSpec,
        inventory: &BTreeSet<Address>,
    ) -> Address;
}
