//! What Google Cloud offers and what it calls it: the facts that the checks of a manifest are made
//! of.

use deployer_core::address::CloudName;
use deployer_core::catalogue::{
    Asks, CacheSecret, Caches, Catalogue, Databases, HealthCheck, Idle, Kinds, Members, Namespace,
    Runtime, SecretNames, Standby,
};
use deployer_core::moved::Moved;

use crate::{kinds, names, permissions, sizes};

/// Google Cloud's facts.
pub static CATALOGUE: Catalogue = Catalogue {
    cloud: CloudName::Gcp,
    title: "Google Cloud",
    account: "project",
    buckets: "gs",
    secrets: SecretNames {
        rule: &names::SECRET,
        read: &names::SECRET_READ,
        members: Members::Copied,
        made: names::secret,
    },
    database: Databases {
        product: "Cloud SQL",
        instance: Namespace {
            rule: &names::CLOUD_SQL,
            space: "Cloud SQL instance",
        },
        size: "tier",
        sized: sizes::cloud_sql_tier,
        storage_gib: 10..=65_536,
        backup_days: 365,
        standby: Standby::WithBackups,
    },
    cache: Caches {
        product: "Memorystore",
        instance: Namespace {
            rule: &names::MEMORYSTORE,
            space: "Memorystore instance",
        },
        sized: sizes::memorystore,
        secret: CacheSecret::Authority,
    },
    keeps_variable: |name| {
        matches!(name, "K_SERVICE" | "K_REVISION" | "K_CONFIGURATION")
            || name.starts_with("CLOUD_RUN_")
            || name.starts_with("X_GOOGLE_")
    },
    kinds: Kinds {
        noun,
        told: &[kinds::TOLD],
        left,
        moved: Moved::of(&[kinds::FORMER]),
    },
};

/// Cloud Run.
pub static CLOUD_RUN: Runtime = Runtime {
    name: "Cloud Run",
    service: Namespace {
        rule: &names::RUN_SERVICE,
        space: "Cloud Run service",
    },
    cpus: sizes::cloud_run_cpus,
    memory: sizes::cloud_run_memory,
    idle: Idle::Wakes,
    health: HealthCheck {
        whose: "gcp",
        asks: Asks::Runtime,
        interval: 1..=240,
        timeout: 1..=240,
        start_period: 0..=3600,
        retries: 1..=1000,
    },
    patience: None,
};

/// Cloud Run: "the maximum length is 32768 bytes" (google.cloud.run.v2.EnvVar, `value`).
pub const VARIABLE_BYTES: usize = 32_768;

/// Cloud Run: "Must not exceed 32768 characters" (google.cloud.run.v2.EnvVar, `name`).
pub const VARIABLE_NAME_CHARACTERS: usize = 32_768;

/// Cloud Run: "You can set a maximum of 1000 environment variables"
/// (run/docs/configuring/services/overview-environment-variables).
pub const VARIABLES: usize = 1000;

fn noun(kind: &str) -> Option<&'static str> {
    let mut known = permissions::NEEDS.iter();
    known.find(|it| it.kind == kind).map(|it| it.noun)
}

fn left(kind: &str, name: &str, _token: &str) -> Option<String> {
    Some(CATALOGUE.kinds.leaves(kind)?.replace("NAME", name))
}

#[cfg(test)]
mod tests {
    use deployer_core::spec::{MebiBytes, MilliCpu};

    use super::*;

    fn offered(runtime: &Runtime, cpu: u32, memory: u32) -> bool {
        runtime.offers(MilliCpu(cpu), MebiBytes(memory)).is_ok()
    }

    #[test]
    fn the_table_tells_its_former_names_and_each_belongs_to_one_kind() {
        let moved = CATALOGUE.kinds.moved;
        assert!(moved.today().eq(kinds::ALL.iter().map(|it| it.kind)));
        assert_eq!(moved.clash(), None);
        assert!(kinds::NAMES.iter().all(|it| moved.kind(it) == *it));
    }

    #[test]
    fn cloud_run_offers_small_cpus_with_little_memory() {
        let gcp = |cpu, memory| offered(&CLOUD_RUN, cpu, memory);
        for (cpu, memory) in [
            (80, 128),
            (499, 512),
            (500, 1024),
            (1000, 4096),
            (4000, 2048),
            (8000, 32768),
        ] {
            assert!(gcp(cpu, memory), "{cpu} {memory}");
        }
        for (cpu, memory) in [
            (79, 128),
            (499, 513),
            (999, 1025),
            (1500, 1024),
            (1000, 4097),
            (4000, 1024),
            (3000, 4096),
            (8000, 2048),
            (1000, 64),
        ] {
            assert!(!gcp(cpu, memory), "{cpu} {memory}");
        }
    }

    #[test]
    fn the_nearest_offers_are_named_and_are_offers() {
        let words = |cpu, memory| {
            let words = CLOUD_RUN.offers(MilliCpu(cpu), MebiBytes(memory));
            words.unwrap_err()
        };
        assert_eq!(
            words(1000, 8192),
            "the nearest that it offers: 1 vCPU with 4 GiB, or 2 vCPU with 8 GiB"
        );
        assert_eq!(
            words(3000, 4096),
            "the nearest that it offers: 2 vCPU with 4 GiB"
        );
    }
}
