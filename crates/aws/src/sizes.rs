//! Knows the sizes that RDS, ElastiCache, Fargate and App Runner offer; performs no IO.

use std::cmp::Reverse;

use deployer_core::catalogue::{CacheSize, Offer, nearest, nearest_pairs};
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

/// Fargate's sizes for Linux: CPU in thousandths, then least, most and step of memory in MiB.
/// Source: "Task CPU and memory" in the Amazon ECS developer guide.
const FARGATE: [(u32, u32, u32, u32); 7] = [
    // 0.25 vCPU also has 512 MiB, which is off the 1 GiB grid: see `fargate_memory`.
    (250, 1024, 2048, 1024),
    (500, 1024, 4096, 1024),
    (1000, 2048, 8192, 1024),
    (2000, 4096, 16384, 1024),
    (4000, 8192, 30720, 1024),
    (8000, 16384, 61440, 4096),
    (16000, 32768, 122_880, 8192),
];

/// App Runner's sizes: CPU in thousandths, and each memory in MiB that goes with it. Source: the
/// values are those of `Cpu` and `Memory` in the AWS App Runner API Reference; which go together,
/// of its Developer Guide, from memory.
const APP_RUNNER: [(u32, &[u32]); 5] = [
    (250, &[512, 1024]),
    (500, &[1024]),
    (1000, &[2048, 3072, 4096]),
    (2000, &[4096, 6144]),
    (4000, &[8192, 10240, 12288]),
];

/// The RDS instance class with exactly this CPU and memory.
pub(crate) fn rds_class(cpu: MilliCpu, memory: MebiBytes) -> Offer<String> {
    let sizes = RDS.map(|(cpus, gib, name)| (cpus * 1000, gib * 1024, name));
    if let Some((.., name)) = sizes
        .iter()
        .find(|size| (size.0, size.1) == (cpu.0, memory.0))
    {
        return Ok((*name).to_owned());
    }
    // The nearest of those with this CPU (or the CPU nearest to it), and of those with this memory.
    let by_cpu = sizes.iter().min_by_key(|size| {
        let cpus = size.0.abs_diff(cpu.0);
        (cpus, size.1.abs_diff(memory.0), Reverse(size.1))
    });
    let by_memory = sizes.iter().min_by_key(|size| {
        let memory = size.1.abs_diff(memory.0);
        (memory, size.0.abs_diff(cpu.0), Reverse(size.0))
    });
    let near = by_cpu.into_iter().chain(by_memory);
    Err(nearest_pairs(near.map(|size| (size.0, size.1)).collect()))
}

/// The node type that the manifest names, else the smallest that has this much memory.
pub(crate) fn elasticache_node(own: Option<&str>, memory: MebiBytes) -> Offer<CacheSize> {
    match own {
        Some(class) => Ok(named_node(class, memory)),
        None => smallest_node(memory),
    }
}

/// The smallest node type that has this much memory.
fn smallest_node(memory: MebiBytes) -> Offer<CacheSize> {
    let fits = ELASTICACHE.iter().find(|(own, _)| *own >= memory.0);
    let (own, class) = fits.ok_or_else(|| {
        let most = ELASTICACHE.iter().map(|(own, _)| *own).max();
        format!(
            "the most that it offers: {}",
            MebiBytes(most.unwrap_or_default())
        )
    })?;
    Ok(CacheSize {
        class: (*class).to_owned(),
        memory_gib: whole_gib(*own),
    })
}

/// The node type that the manifest names; one that this table lacks has the memory that the
/// manifest asks for.
fn named_node(class: &str, asked: MebiBytes) -> CacheSize {
    let known = ELASTICACHE.iter().find(|(_, name)| *name == class);
    CacheSize {
        class: class.to_owned(),
        memory_gib: whole_gib(known.map_or(asked.0, |(own, _)| *own)),
    }
}

fn whole_gib(mebi: u32) -> u32 {
    (mebi / 1024).max(1)
}

/// Fargate's CPUs.
pub(crate) fn fargate_cpus(_asked: u32) -> Vec<u32> {
    FARGATE.iter().map(|size| size.0).collect()
}

/// The memory nearest to what is asked for that Fargate has with this CPU.
pub(crate) fn fargate_memory(cpu: u32, asked: u32) -> Option<u32> {
    let &(_, least, most, step) = FARGATE.iter().find(|size| size.0 == cpu)?;
    let small = (cpu == 250).then_some(512);
    let grid = (least..=most).step_by(step as usize);
    nearest(small.into_iter().chain(grid), asked)
}

/// App Runner's CPUs.
pub(crate) fn app_runner_cpus(_asked: u32) -> Vec<u32> {
    APP_RUNNER.iter().map(|size| size.0).collect()
}

/// The memory nearest to what is asked for that App Runner has with this CPU.
pub(crate) fn app_runner_memory(cpu: u32, asked: u32) -> Option<u32> {
    let (_, offered) = APP_RUNNER.iter().find(|size| size.0 == cpu)?;
    nearest(offered.iter().copied(), asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(cpus: u32, gib: u32) -> (MilliCpu, MebiBytes) {
        (MilliCpu(cpus * 1000), MebiBytes(gib * 1024))
    }

    #[test]
    fn a_pair_is_a_class() {
        for (cpus, gib, class) in [
            (2, 4, "db.t4g.medium"),
            (2, 8, "db.m7g.large"),
            (4, 16, "db.m7g.xlarge"),
            (64, 256, "db.m7g.16xlarge"),
        ] {
            let (cpu, memory) = pair(cpus, gib);
            assert_eq!(rds_class(cpu, memory).unwrap(), class);
        }
    }

    #[test]
    fn the_nearest_sizes_are_named_and_are_offers() {
        let (cpu, memory) = pair(1, 4);
        let said = rds_class(cpu, memory).unwrap_err();
        assert_eq!(said, "the nearest that it offers: 2 vCPU with 4 GiB");
        let (cpu, memory) = pair(4, 8);
        let said = rds_class(cpu, memory).unwrap_err();
        assert_eq!(
            said,
            "the nearest that it offers: 2 vCPU with 8 GiB, or 4 vCPU with 16 GiB"
        );
    }

    #[test]
    fn a_cache_gets_the_smallest_node_that_has_its_memory() {
        let node = |memory| elasticache_node(None, MebiBytes(memory));
        let is = |class: &str, memory_gib| {
            let class = class.to_owned();
            Ok(CacheSize { class, memory_gib })
        };
        assert_eq!(node(512), is("cache.t4g.micro", 1));
        assert_eq!(node(1024), is("cache.t4g.small", 1));
        assert_eq!(node(2048), is("cache.t4g.medium", 3));
        assert_eq!(node(13 * 1024), is("cache.r7g.large", 13));
        assert!(node(1024 * 1024).is_err());
        let own = elasticache_node(Some("cache.x9.huge"), MebiBytes(8192));
        assert_eq!(own, is("cache.x9.huge", 8));
    }
}
