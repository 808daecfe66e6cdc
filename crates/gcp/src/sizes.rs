//! Knows the sizes that Cloud SQL, Memorystore and Cloud Run offer; performs no IO.

use deployer_core::catalogue::{CacheSize, Offer, nearest_pairs};
use deployer_core::spec::{MebiBytes, MilliCpu};

/// Memorystore's largest instance. Source: "Memory management best practices", Memorystore for
/// Redis.
const MEMORYSTORE_MOST: u32 = 300;

/// Cloud Run's sizes: least and most memory in MiB of each whole number of CPUs.
/// Source: "Configure CPU limits for services" in the Cloud Run documentation.
const CLOUD_RUN: [(u32, u32, u32); 5] = [
    (1000, 128, 4096),
    (2000, 128, 8192),
    (4000, 2048, 16384),
    (6000, 4096, 24576),
    (8000, 4096, 32768),
];

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
    Err(nearest_pairs(
        near.map(|cpus| (cpus * 1000, near_memory(cpus))).collect(),
    ))
}

/// Whether Cloud SQL has this tier in the edition that is used (Enterprise); else why not.
pub fn cloud_sql_knows(tier: &str) -> Offer<()> {
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

/// A Memorystore instance of exactly this memory; sizes have no words there.
pub(crate) fn memorystore(_own: Option<&str>, memory: MebiBytes) -> Offer<CacheSize> {
    let memory_gib = memorystore_gib(memory)?;
    Ok(CacheSize {
        class: String::new(),
        memory_gib,
    })
}

/// The whole GiB that Memorystore takes.
fn memorystore_gib(memory: MebiBytes) -> Offer<u32> {
    let gib = memory.0 / 1024;
    if memory.0.is_multiple_of(1024) && (1..=MEMORYSTORE_MOST).contains(&gib) {
        return Ok(gib);
    }
    let up = memory.0.div_ceil(1024).clamp(1, MEMORYSTORE_MOST);
    Err(format!("the nearest that it offers: {up} GiB"))
}

/// Below one CPU Cloud Run takes any thousandth from 0.08, with little memory.
fn cloud_run_range(cpu: u32) -> Option<(u32, u32)> {
    match cpu {
        80..500 => Some((128, 512)),
        500..1000 => Some((128, 1024)),
        _ => CLOUD_RUN
            .iter()
            .find(|(whole, ..)| *whole == cpu)
            .map(|(_, least, most)| (*least, *most)),
    }
}

/// Cloud Run's whole CPUs, the least that it has below one, and what is asked for where it has
/// that: there it takes any thousandth.
pub(crate) fn cloud_run_cpus(asked: u32) -> Vec<u32> {
    let small = [80, 500];
    let same = cloud_run_range(asked).map(|_| asked);
    let whole = CLOUD_RUN.iter().map(|size| size.0);
    small.into_iter().chain(same).chain(whole).collect()
}

/// The memory nearest to what is asked for that Cloud Run has with this CPU.
pub(crate) fn cloud_run_memory(cpu: u32, asked: u32) -> Option<u32> {
    cloud_run_range(cpu).map(|(least, most)| asked.clamp(least, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(cpus: u32, gib: u32) -> (MilliCpu, MebiBytes) {
        (MilliCpu(cpus * 1000), MebiBytes(gib * 1024))
    }

    #[test]
    fn a_pair_is_a_tier() {
        for (cpus, gib, tier) in [
            (2, 4, "db-custom-2-4096"),
            (2, 8, "db-custom-2-8192"),
            (4, 16, "db-custom-4-16384"),
            (64, 256, "db-custom-64-262144"),
        ] {
            let (cpu, memory) = pair(cpus, gib);
            assert_eq!(cloud_sql_tier(cpu, memory).unwrap(), tier);
        }
    }

    #[test]
    fn the_nearest_sizes_are_named_and_are_offers() {
        let (cpu, memory) = pair(2, 16);
        let said = cloud_sql_tier(cpu, memory).unwrap_err();
        assert_eq!(
            said,
            "the nearest that it offers: 2 vCPU with 13 GiB, or 4 vCPU with 16 GiB"
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
    fn a_cache_has_whole_gibibytes() {
        assert_eq!(memorystore_gib(MebiBytes(2048)), Ok(2));
        assert!(
            memorystore_gib(MebiBytes(512)).is_err() && memorystore_gib(MebiBytes(1536)).is_err()
        );
    }
}
