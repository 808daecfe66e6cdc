//! The one place that tells the clouds apart: whose section it is, whose catalogue, and what that
//! cloud alone is asked for.
//!
//! Everything else asks the section ([`Section`]) or the catalogue ([`Catalogue`]).

use std::path::Path;

use deployer_aws::spec::AwsSpec;
use deployer_core::address::CloudName;
use deployer_core::catalogue::Catalogue;
use deployer_gcp::spec::GcpSpec;

use crate::model::{Manifest, Targets};
use crate::section::{AwsRuntime, LedgerPlace, Section};

/// What `cloud` offers and what it calls it.
pub fn catalogue(cloud: CloudName) -> &'static Catalogue {
    match cloud {
        CloudName::Aws => &deployer_aws::CATALOGUE,
        CloudName::Gcp => &deployer_gcp::CATALOGUE,
    }
}

impl Targets {
    /// The section of `cloud`. `None` where the manifest has no such target.
    pub(crate) fn of(&self, cloud: CloudName) -> Option<&dyn Section> {
        match cloud {
            CloudName::Aws => self.aws.as_ref().map(|own| own as &dyn Section),
            CloudName::Gcp => self.gcp.as_ref().map(|own| own as &dyn Section),
        }
    }

    /// Every section that there is, in the order of [`CloudName::ALL`].
    pub(crate) fn all(&self) -> impl Iterator<Item = &dyn Section> {
        CloudName::ALL
            .into_iter()
            .filter_map(|cloud| self.of(cloud))
    }
}

impl Manifest {
    /// The clouds that the manifest has a target for, in the order of [`CloudName::ALL`].
    pub fn targets(&self) -> Vec<CloudName> {
        let sections = self.targets.all();
        sections.map(|own| own.catalogue().cloud).collect()
    }

    /// The account (or project) and the region of a target. `None` where the manifest has no such
    /// one.
    pub fn place(&self, cloud: CloudName) -> Option<(&str, &str)> {
        let section = self.targets.of(cloud)?;
        Some((section.account(), section.region()))
    }

    /// Where the ledger of a target is. `None` where the manifest has no such one.
    pub fn ledger(&self, cloud: CloudName) -> Option<LedgerPlace<'_>> {
        Some(self.targets.of(cloud)?.ledger())
    }

    /// What runs `service` on AWS.
    pub fn aws_runtime(&self, service: &str) -> AwsRuntime {
        let target = self.targets.aws.as_ref();
        target.map_or_else(AwsRuntime::default, |target| target.runtime_of(service))
    }

    /// What AWS alone is asked for in `environment`; files are found from `folder`. `None` where
    /// the manifest has no such target.
    pub fn aws_spec(&self, environment: &str, folder: &Path) -> Option<AwsSpec> {
        let services = self.services.keys().map(|key| self.called(key));
        let target = self.targets.aws.as_ref()?;
        Some(target.spec(&self.app, environment, services, folder))
    }

    /// What Google Cloud alone is asked for. `None` where the manifest has no such target.
    pub fn gcp_spec(&self) -> Option<GcpSpec> {
        Some(self.targets.gcp.as_ref()?.spec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &str = r#"{
        "app": "idp",
        "targets": {
            "aws": { "account": "123456789012", "region": "us-east-1" },
            "gcp": { "project": "acme-identity", "region": "us-central1" }
        }
    }"#;

    #[test]
    fn each_cloud_has_its_own_section_and_catalogue() {
        let manifest: Manifest = serde_json::from_str(BOTH).unwrap();
        assert_eq!(manifest.targets(), CloudName::ALL);
        for cloud in CloudName::ALL {
            assert_eq!(catalogue(cloud).cloud, cloud);
            let section = manifest.targets.of(cloud).unwrap();
            assert_eq!(section.catalogue().cloud, cloud);
        }
        let place = manifest.place(CloudName::Gcp);
        assert_eq!(place, Some(("acme-identity", "us-central1")));
    }

    #[test]
    fn nobody_can_own_the_usual_bucket_of_another_account() {
        let mut manifest: Manifest = serde_json::from_str(BOTH).unwrap();
        let owner = |manifest: &Manifest| {
            let place = manifest.ledger(CloudName::Aws).unwrap();
            place.owner.map(str::to_owned)
        };
        assert_eq!(owner(&manifest).as_deref(), Some("123456789012"));
        let aws = manifest.targets.aws.as_mut().unwrap();
        aws.ledger = Some("s3://somebodys".to_owned());
        assert_eq!(owner(&manifest), None);
        let aws = manifest.targets.aws.as_mut().unwrap();
        aws.ledger_owner = Some("210987654321".to_owned());
        assert_eq!(owner(&manifest).as_deref(), Some("210987654321"));
    }
}
