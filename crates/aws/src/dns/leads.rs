//! Where a name is to lead, and how that is found out.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::Fields;
use deployer_core::graph::Value;
use deployer_core::node::Reading;
use deployer_core::spec::{LeadsTo, RecordSpec};

use super::content::{Balancer, Content, Type};
use super::{Api, calls};

/// A service that is reached through a load balancer of its cloud's own.
#[async_trait]
pub(crate) trait Entrance: Send + Sync {
    /// Where an alias of it leads: absent while there is no such service, denied when the caller
    /// may not see it.
    async fn find(&self) -> Result<Reading<Balancer>>;
}

/// Where a name is to lead.
pub(crate) enum Leads {
    /// As the manifest says.
    To(LeadsTo),
    /// To a service, once it serves the name.
    In {
        /// The service.
        entrance: Arc<dyn Entrance>,
        /// The same, of the node that has it serve the name.
        served: Value<Balancer>,
    },
}

/// A record that is asked for.
pub(crate) struct Asked {
    /// Lower case, without the last dot.
    pub(crate) name: String,
    /// The zone's domain or id; the nearest public one that is there when `None`.
    pub(crate) zone: Option<String>,
    pub(crate) leads: Leads,
    /// Name servers (`HOST:PORT`) that are asked in place of the zone's own.
    pub(crate) servers: Vec<String>,
    /// Whether a record of that name that leads elsewhere is taken over.
    pub(crate) adopt: bool,
}

impl From<RecordSpec> for Asked {
    fn from(spec: RecordSpec) -> Self {
        Self {
            name: spec.name,
            zone: Some(spec.zone),
            leads: Leads::To(spec.leads_to),
            servers: spec.servers,
            adopt: spec.adopt,
        }
    }
}

impl Leads {
    /// The type of the record.
    pub(super) fn kind(&self) -> Type {
        match self {
            Self::To(leads_to) => Type::of(leads_to),
            Self::In { .. } => Type::A,
        }
    }

    /// The address that name servers are to tell. `None` where it changes.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::To(LeadsTo::Address(address)) => Some(*address),
            Self::To(LeadsTo::LoadBalancer(_)) | Self::In { .. } => None,
        }
    }

    /// What a record is to say, as far as that is known without asking.
    pub(super) fn known(&self) -> Option<Content> {
        match self {
            Self::To(LeadsTo::Address(address)) => Some(Content::Address(*address)),
            Self::To(LeadsTo::LoadBalancer(_)) => None,
            Self::In { served, .. } => served.known().map(Content::Alias),
        }
    }

    /// The fields of a record of which it is not known yet what it is to say.
    pub(super) fn unknown(&self) -> Fields {
        let mut fields = Fields::new();
        if let Self::In { served, .. } = self {
            fields.set_value("leads_to", served.field(|to| to.dns_name.clone()));
            fields.set_value("alias_zone", served.field(|to| to.zone.clone()));
        }
        fields
    }

    /// Finds out what a record is to say: absent while that is not known yet, denied when the
    /// caller may not see where it leads.
    ///
    /// Errors: not found, when there is no such load balancer in the region.
    pub(super) async fn look_up(&self, api: &Api, region: &str) -> Result<Reading<Content>> {
        let wanted = match self {
            Self::To(LeadsTo::Address(address)) => {
                return Ok(Reading::Present(Content::Address(*address)));
            }
            Self::In { entrance, .. } => return Ok(entrance.find().await?.map(Content::Alias)),
            Self::To(LeadsTo::LoadBalancer(wanted)) => wanted,
        };
        match calls::balancer(api, wanted).await? {
            Reading::Absent | Reading::Tombstoned(_) | Reading::Foreign(_) => {
                let what = format!("there is no load balancer `{wanted}` in {region}");
                Err(Error::new(ErrorKind::NotFound, what)
                    .hint("name an existing one by its name, ARN or DNS name"))
            }
            found => Ok(found.map(Content::Alias)),
        }
    }
}
