//! What AWS offers and what it calls it: the facts that the checks of a manifest are made of.

use deployer_core::address::CloudName;
use deployer_core::catalogue::{
    Asks, CacheSecret, Caches, Catalogue, Databases, HealthCheck, Idle, Kinds, Members, Namespace,
    Runtime, SecretNames, Standby,
};
use deployer_core::moved::Moved;

use crate::{app_runner, database, dns, kinds, names, permissions, sizes};

/// AWS's facts.
pub static CATALOGUE: Catalogue = Catalogue {
    cloud: CloudName::Aws,
    title: "AWS",
    account: "account",
    buckets: "s3",
    secrets: SecretNames {
        rule: &names::SECRET,
        read: &names::SECRET_READ,
        members: Members::Read,
        made: names::secret,
    },
    database: Databases {
        product: "RDS",
        instance: Namespace {
            rule: &names::RDS_INSTANCE,
            space: "RDS instance",
        },
        size: "class",
        sized: sizes::rds_class,
        storage_gib: 20..=65_536,
        backup_days: 35,
        standby: Standby::Alone,
    },
    cache: Caches {
        product: "ElastiCache",
        instance: Namespace {
            rule: &names::REPLICATION_GROUP,
            space: "replication group",
        },
        sized: sizes::elasticache_node,
        secret: CacheSecret::Token,
    },
    keeps_variable: |name| name.starts_with("AWSAPPRUNNER"),
    kinds: Kinds {
        noun,
        told: &[kinds::TOLD, dns::kinds::TOLD],
        left,
        moved: Moved::of(&[kinds::FORMER, dns::kinds::FORMER]),
    },
};

/// ECS on Fargate.
pub static FARGATE: Runtime = Runtime {
    name: "Fargate",
    service: Namespace {
        rule: &names::ECS,
        space: "ECS service",
    },
    cpus: sizes::fargate_cpus,
    memory: sizes::fargate_memory,
    idle: Idle::Refused {
        why: "ECS with no task at all serves nobody",
        help: "nothing starts a task when a request comes, as Cloud Run does: ",
    },
    health: HealthCheck {
        whose: "aws",
        asks: Asks::Container,
        interval: 5..=300,
        timeout: 2..=60,
        start_period: 0..=300,
        retries: 1..=10,
    },
    patience: None,
};

/// App Runner.
pub static APP_RUNNER: Runtime = Runtime {
    name: "App Runner",
    service: Namespace {
        rule: &names::APP_RUNNER_SERVICE,
        space: "App Runner service",
    },
    cpus: sizes::app_runner_cpus,
    memory: sizes::app_runner_memory,
    // `MinSize` of CreateAutoScalingConfiguration (AWS App Runner API Reference).
    idle: Idle::Refused {
        why: "App Runner has one instance at least",
        help: "",
    },
    // `HealthCheckConfiguration` (AWS App Runner API Reference); it has no start period.
    health: HealthCheck {
        whose: "App Runner",
        asks: Asks::Runtime,
        interval: 1..=20,
        timeout: 1..=20,
        start_period: 0..=u64::MAX,
        retries: 1..=20,
    },
    patience: Some(app_runner::PATIENCE),
};

/// ECS: "Task definition size limit: 64 KiB" (AmazonECS/latest/developerguide/service-quotas.html),
/// of the whole as JSON: "Actual length: '66420'. Max allowed length is '65536' bytes."
/// (awsdocs/amazon-ecs-developer-guide#149).
pub const TASK_DEFINITION_BYTES: usize = 64 * 1024;

fn noun(kind: &str) -> Option<&'static str> {
    let mut known = permissions::NEEDS.iter();
    known.find(|it| it.kind == kind).map(|it| it.noun)
}

fn left(kind: &str, name: &str, token: &str) -> Option<String> {
    let words = CATALOGUE.kinds.leaves(kind)?.replace("NAME", name);
    Some(words.replace('…', &database::final_part(token)))
}

#[cfg(test)]
mod tests {
    use deployer_core::spec::{MebiBytes, MilliCpu};

    use super::*;
    use crate::tables;

    fn offered(runtime: &Runtime, cpu: u32, memory: u32) -> bool {
        runtime.offers(MilliCpu(cpu), MebiBytes(memory)).is_ok()
    }

    #[test]
    fn every_table_tells_its_former_names_and_each_belongs_to_one_kind() {
        let moved = CATALOGUE.kinds.moved;
        let all = tables::all().map(|it| it.kind);
        assert!(moved.today().eq(all));
        assert_eq!(moved.clash(), None);
        let mut names = kinds::NAMES.iter().chain(dns::kinds::NAMES);
        assert!(names.all(|it| moved.kind(it) == *it));
    }

    #[test]
    fn fargate_offers_the_documented_pairs_and_no_others() {
        let aws = |cpu, memory| offered(&FARGATE, cpu, memory);
        for (cpu, memory) in [
            (250, 512),
            (250, 1024),
            (250, 2048),
            (500, 4096),
            (1000, 2048),
            (2000, 16384),
        ] {
            assert!(aws(cpu, memory), "{cpu} {memory}");
        }
        for (cpu, memory) in [
            (4000, 30720),
            (8000, 61440),
            (16000, 32768),
            (16000, 122_880),
        ] {
            assert!(aws(cpu, memory), "{cpu} {memory}");
        }
        for (cpu, memory) in [
            (250, 3072),
            (500, 512),
            (1000, 1024),
            (300, 1024),
            (8000, 17408),
            (16000, 36864),
        ] {
            assert!(!aws(cpu, memory), "{cpu} {memory}");
        }
    }

    #[test]
    fn app_runner_offers_pairs_of_its_own() {
        let offered = |cpu, memory| offered(&APP_RUNNER, cpu, memory);
        for (cpu, memory) in [
            (250, 512),
            (500, 1024),
            (1000, 3072),
            (2000, 6144),
            (4000, 12288),
        ] {
            assert!(offered(cpu, memory), "{cpu} {memory}");
        }
        // What Fargate has.
        for (cpu, memory) in [
            (250, 2048),
            (500, 2048),
            (1000, 8192),
            (2000, 5120),
            (8000, 16384),
        ] {
            assert!(!offered(cpu, memory), "{cpu} {memory}");
        }
        let words = APP_RUNNER
            .offers(MilliCpu(500), MebiBytes(2048))
            .unwrap_err();
        assert_eq!(
            words,
            "the nearest that it offers: 0.5 vCPU with 1 GiB, or 1 vCPU with 2 GiB"
        );
    }

    #[test]
    fn the_nearest_offers_are_named_and_are_offers() {
        let words = FARGATE.offers(MilliCpu(500), MebiBytes(512)).unwrap_err();
        assert_eq!(
            words,
            "the nearest that it offers: 0.25 vCPU with 512 MiB, or 0.5 vCPU with 1 GiB"
        );
    }
}
