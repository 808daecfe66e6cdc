//! What of a cloud a first manifest can name: what is there before anything of ours is.

use async_trait::async_trait;

use super::{Caller, Unlisted};

/// Looks at an account or a project before there is a manifest.
#[async_trait]
pub trait Survey: Send + Sync {
    /// Asks who calls, and what is there that a first manifest has to name. Reads only, and no more
    /// than a few dozen calls, however much is there.
    ///
    /// Never an error: what could not be asked, because there are no credentials, the caller may
    /// not or the cloud did not answer, stands in [`Findings::unlisted`].
    async fn survey(&self) -> Findings;
}

/// What a survey found. Of each list the likeliest comes first.
#[derive(Debug, Default)]
pub struct Findings {
    /// Who calls; `None` where that was not answered, and then nothing else was asked.
    pub caller: Option<Caller>,
    /// Where services can run: ECS clusters.
    pub clusters: Vec<Candidate>,
    /// Networks that something uses already.
    pub networks: Vec<Network>,
    /// What starts services, pulling images and reading secrets: ECS execution roles.
    pub execution_roles: Vec<Candidate>,
    /// What services run as: ECS task roles, service accounts.
    pub identities: Vec<Candidate>,
    /// What App Runner pulls images with. Empty where no service of App Runner's was found.
    pub access_roles: Vec<Candidate>,
    /// What could not be asked, and why.
    pub unlisted: Vec<Unlisted>,
}

/// Something that a manifest can name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// As the manifest takes it.
    pub name: String,
    /// Where it was seen, for people: `of service web`.
    pub seen: String,
}

impl Candidate {
    /// One that was seen there.
    pub fn new(name: impl Into<String>, seen: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            seen: seen.into(),
        }
    }
}

/// A network, as far as what uses it tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// A VPC's id, a network's name. `None` where only parts of it are known.
    pub name: Option<String>,
    /// Where it was seen, for people: `of service web`.
    pub seen: String,
    /// Whether services run in exactly these subnets, behind exactly these groups.
    pub runs_services: bool,
    /// Subnets.
    pub subnets: Vec<String>,
    /// Security groups.
    pub security_groups: Vec<String>,
    /// Whether what runs there has a public address, where that is known.
    pub public_address: Option<bool>,
}
