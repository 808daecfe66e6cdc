//! Knows the sizes of managed databases and caches: from CPU and memory to the clouds' own names,
//! and what is near.

use deployer_core::spec::{MebiBytes, MilliCpu};

/// RDS classes for PostgreSQL, by CPU and memory in GiB. Small sizes are burstable (t4g); from 8
/// GiB on two CPUs they are not (m7g), and with 8 GiB for each CPU they are the memory-optimised
/// ones (r7g). Source: "Hardware specifications for DB instance classes" in the Amazon RDS user
/// guide.
const RDS: [(u32, u32, &str); 17] = [
    (2, 1, "db.t4g.micro"),
    (2, 2, "db.t4g.small"),
    (2, 4, "db.t4g.medium"),
    (2, 8, "db.m7g.large"),
    (2, 16, "db.r7g.large"),
    (4, 16, "db.m7g.xlarge"),
    (4, 32, "db.r7g.xlarge"),
    (8, 32, "db.m7g.2xlarge"),
    (8, 64, "db.r7g.2xlarge"),
    (16, 64, "db.m7g.4xlarge"),
    (16, 128, "db.r7g.4xlarge"),
    (32, 128, "db.m7g.8xlarge"),
    (32, 256, "db.r7g.8xlarge"),
    (48, 192, "db.m7g.12xlarge"),
    (48, 384, "db.r7g.12xlarge"),
    (64, 256, "db.m7g.16xlarge"),
    (64, 512, "db.r7g.16xlarge"),
];

/// ElastiCache node types for Redis, by memory in MiB, the smallest first. Source: "Redis OSS
/// node-type specific parameters" in the Amazon ElastiCache user guide (`maxmemory`, rounded down).
const ELASTICACHE: [(u32, &str); 11] = [
    (512, "cache.t4g.micro"),
    (1402, "cache.t4g.small"),
    (3164, "cache.t4g.medium"),
    (6533, "cache.m7g.large"),
    (13_383, "cache.r7g.large"),
    (26_951, "cache.r7g.xlarge"),
    (54_087, "cache.r7g.2xlarge"),
    (108_349, "cache.r7g.4xlarge"),
    (214_579, "cache.r7g.8xlarge"),
    (325_396, "cache.r7g.12xlarge"),
    (429_147, "cache.r7g.16xlarge"),
];

/// Memorystore's largest instance. Source: "Memory management best practices", Memorystore for
/// Redis.
const MEMORYSTORE_MOST: u32 = 300;

/// What of a size a cloud has, in the cloud's own word; else what it has instead, in words.
pub(crate) type Offer<T> = Result<T, String>;

fn nearest(pairs: Vec<(u32, u32)>) -> String {
    let mut pairs = pairs;
    pairs.sort_unstable();
    pairs.dedup();
    let words: Vec<_> = pairs
        .into_iter()
        .map(|(cpu, memory)| format!("{} with {}", MilliCpu(cpu), MebiBytes(memory)))
        .collect();
    format!("the nearest that it offers: {}", words.join(", or "))
}

/// The RDS instance class with exactly this CPU and memory.
pub(crate) fn rds_class(cpu: MilliCpu, memory: MebiBytes) -> Offer<&'static str> {
    let sizes = RDS.map(|(cpus, gib, name)| (cpus * 1000, gib * 1024, name));
    if let Some((.., name)) = sizes
        .iter()
        .find(|size| (size.0, size.1) == (cpu.0, memory.0))
    {
        return Ok(name);
    }
    // The nearest of those with this CPU (or the CPU nearest to it), and of those with this memory.
    let by_cpu = sizes.iter().min_by_key(|size| {
        let cpus = size.0.abs_diff(cpu.0);
        (cpus, size.1.abs_diff(memory.0), std::cmp::Reverse(size.1))
    });
    let by_memory = sizes.iter().min_by_key(|size| {
        let memory = size.1.abs_diff(memory.0);
        (memory, size.0.abs_diff(cpu.0), std::cmp::Reverse(size.0))
    });
    let near = by_cpu.into_iter().chain(by_memory);
    Err(nearest(near.map(|size| (size.0, size.1)).collect()))
}

/// The bounds of memory in MiB that Cloud SQL takes with so many CPUs: 0.9 to 6.5 GiB for each, at
/// least 3.75 GiB, in steps of 256 MiB. Source: "Machine types" of Cloud SQL for PostgreSQL.
fn cloud_sql_bounds(cpus: u32) -> (u32, u32) {
    let step = 256;
    // 0.9 GiB and 6.5 GiB, in MiB.
    let least = (cpus * 9216).div_ceil(10).next_multiple_of(step).max(3840);
    let most = cpus * 6656 / step * step;
    (least, most)
}

fn cloud_sql_takes(cpus: u32) -> bool {
    cpus == 1 || (cpus.is_multiple_of(2) && (2..=96).contains(&cpus))
}

/// The Cloud SQL tier with exactly this CPU and memory.
pub(crate) fn cloud_sql_tier(cpu: MilliCpu, memory: MebiBytes) -> Offer<String> {
    let cpus = cpu.0 / 1000;
    let (least, most) = cloud_sql_bounds(cpus);
    let whole = cpu.0.is_multiple_of(1000) && cloud_sql_takes(cpus);
    if whole && memory.0.is_multiple_of(256) && (least..=most).contains(&memory.0) {
        return Ok(format!("db-custom-{cpus}-{}", memory.0));
    }
    let offered = || (1..=96).filter(|cpus| cloud_sql_takes(*cpus));
    let distance = |cpus: &u32| (cpus * 1000).abs_diff(cpu.0);
    let near_memory = |cpus: u32| {
        let (least, most) = cloud_sql_bounds(cpus);
        memory.0.next_multiple_of(256).clamp(least, most)
    };
    let by_cpu = offered().min_by_key(distance);
    let by_memory = offered()
        .filter(|cpus| near_memory(*cpus) == memory.0.next_multiple_of(256))
        .min_by_key(distance);
    let near = by_cpu.into_iter().chain(by_memory);
    Err(nearest(
        near.map(|cpus| (cpus * 1000, near_memory(cpus))).collect(),
    ))
}

/// Whether Cloud SQL has this tier in the edition that is used (Enterprise); else why not.
pub(crate) fn cloud_sql_knows(tier: &str) -> Offer<()> {
    if matches!(tier, "db-f1-micro" | "db-g1-small") {
        return Ok(());
    }
    let parts = tier.strip_prefix("db-custom-").and_then(|rest| {
        let (cpus, memory) = rest.split_once('-')?;
        Some((cpus.parse::<u32>().ok()?, memory.parse::<u32>().ok()?))
    });
    match parts {
        Some((cpus @ 1..=96, memory)) => {
            let words = cloud_sql_tier(MilliCpu(cpus * 1000), MebiBytes(memory));
            words.map(|_| ())
        }
        Some(_) | None => Err(
            "write \"db-custom-CPUS-MEBIBYTES\", such as \"db-custom-2-7680\", \
                               or \"db-f1-micro\" or \"db-g1-small\""
                .to_owned(),
        ),
    }
}

/// A node of ElastiCache: its type, and its memory in whole GiB, rounded down and at least 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) class: String,
    pub(crate) memory_gib: u32,
}

/// The smallest node type that has this much memory.
pub(crate) fn elasticache_node(memory: MebiBytes) -> Offer<Node> {
    let fits = ELASTICACHE.iter().find(|(own, _)| *own >= memory.0);
    let (own, class) = fits.ok_or_else(|| {
        let most = ELASTICACHE.iter().map(|(own, _)| *own).max();
        format!(
            "the most that it offers: {}",
            MebiBytes(most.unwrap_or_default())
        )
    })?;
    Ok(Node {
        class: (*class).to_owned(),
        memory_gib: whole_gib(*own),
    })
}

/// The node type that the manifest names; one that this table lacks has the memory that the
/// manifest asks for.
pub(crate) fn elasticache_named(class: &str, asked: MebiBytes) -> Node {
    let known = ELASTICACHE.iter().find(|(_, name)| *name == class);
    Node {
        class: class.to_owned(),
        memory_gib: whole_gib(known.map_or(asked.0, |(own, _)| *own)),
    }
}

fn whole_gib(mebi: u32) -> u32 {
    (mebi / 1024).max(1)
}

/// The whole GiB that Memorystore takes.
pub(crate) fn memorystore_gib(memory: MebiBytes) -> Offer<u32> {
    let gib = memory.0 / 1024;
    if memory.0.is_multiple_of(1024) && (1..=MEMORYSTORE_MOST).contains(&gib) {
        return Ok(gib);
    }
    let up = memory.0.div_ceil(1024).clamp(1, MEMORYSTORE_MOST);
    Err(format!("the nearest that it offers: {up} GiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(cpus: u32, gib: u32) -> (MilliCpu, MebiBytes) {
        (MilliCpu(cpus * 1000), MebiBytes(gib * 1024))
    }

    #[test]
    fn a_pair_is_a_class_on_aws_and_a_tier_on_google() {
        for (cpus, gib, class, tier) in [
            (2, 4, "db.t4g.medium", "db-custom-2-4096"),
            (2, 8, "db.m7g.large", "db-custom-2-8192"),
            (4, 16, "db.m7g.xlarge", "db-custom-4-16384"),
            (64, 256, "db.m7g.16xlarge", "db-custom-64-262144"),
        ] {
            let (cpu, memory) = pair(cpus, gib);
            assert_eq!(rds_class(cpu, memory).unwrap(), class);
            assert_eq!(cloud_sql_tier(cpu, memory).unwrap(), tier);
        }
    }

    #[test]
    fn the_nearest_sizes_are_named_and_are_offers() {
        let (cpu, memory) = pair(1, 4);
        let said = rds_class(cpu, memory).unwrap_err();
        assert_eq!(said, "the nearest that it offers: 2 vCPU with 4 GiB");
        let (cpu, memory) = pair(2, 16);
        let said = cloud_sql_tier(cpu, memory).unwrap_err();
        assert_eq!(
            said,
            "the nearest that it offers: 2 vCPU with 13 GiB, or 4 vCPU with 16 GiB"
        );
        let (cpu, memory) = pair(4, 8);
        let said = rds_class(cpu, memory).unwrap_err();
        assert_eq!(
            said,
            "the nearest that it offers: 2 vCPU with 8 GiB, or 4 vCPU with 16 GiB"
        );
    }

    #[test]
    fn cloud_sql_keeps_its_own_rules() {
        let tier = |cpu, memory| cloud_sql_tier(MilliCpu(cpu), MebiBytes(memory));
        assert!(tier(1000, 3840).is_ok() && tier(1000, 6656).is_ok());
        assert!(tier(1000, 3584).is_err(), "less than 3.75 GiB");
        assert!(tier(3000, 8192).is_err(), "an odd number of CPUs");
        assert!(tier(2000, 8000).is_err(), "no multiple of 256 MiB");
        assert!(
            tier(16_000, 14_592).is_err(),
            "less than 0.9 GiB for each CPU"
        );
        assert!(tier(16_000, 14_848).is_ok());
        assert!(tier(1500, 4096).is_err() && tier(98_000, 204_800).is_err());
        assert!(
            cloud_sql_knows("db-custom-2-7680").is_ok() && cloud_sql_knows("db-f1-micro").is_ok()
        );
        assert!(cloud_sql_knows("db-custom-3-7680").is_err());
        assert!(cloud_sql_knows("db-perf-optimized-N-2").is_err());
    }

    #[test]
    fn a_cache_gets_the_smallest_node_that_has_its_memory() {
        let node =
            |memory| elasticache_node(MebiBytes(memory)).map(|node| (node.class, node.memory_gib));
        let is = |class: &str, gib| Ok((class.to_owned(), gib));
        assert_eq!(node(512), is("cache.t4g.micro", 1));
        assert_eq!(node(1024), is("cache.t4g.small", 1));
        assert_eq!(node(2048), is("cache.t4g.medium", 3));
        assert_eq!(node(13 * 1024), is("cache.r7g.large", 13));
        assert!(node(1024 * 1024).is_err());
        assert_eq!(
            elasticache_named("cache.x9.huge", MebiBytes(8192)).memory_gib,
            8
        );
        assert_eq!(memorystore_gib(MebiBytes(2048)), Ok(2));
        assert!(
            memorystore_gib(MebiBytes(512)).is_err() && memorystore_gib(MebiBytes(1536)).is_err()
        );
    }
}
