//! Knows which pairs of CPU and memory Fargate, App Runner and Cloud Run offer.

use deployer_core::spec::{MebiBytes, MilliCpu};

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
/// values are those of `Cpu` and `Memory` in the AWS App Runner API Reference; which go together, of
/// its Developer Guide, from memory.
const APP_RUNNER: [(u32, &[u32]); 5] = [
    (250, &[512, 1024]),
    (500, &[1024]),
    (1000, &[2048, 3072, 4096]),
    (2000, &[4096, 6144]),
    (4000, &[8192, 10240, 12288]),
];

/// Who offers sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seller {
    Fargate,
    AppRunner,
    CloudRun,
}

impl Seller {
    /// Its name, for people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fargate => "Fargate",
            Self::AppRunner => "App Runner",
            Self::CloudRun => "Cloud Run",
        }
    }
}

/// Cloud Run's sizes: least and most memory in MiB of each whole number of CPUs.
/// Source: "Configure CPU limits for services" in the Cloud Run documentation.
const CLOUD_RUN: [(u32, u32, u32); 5] = [
    (1000, 128, 4096),
    (2000, 128, 8192),
    (4000, 2048, 16384),
    (6000, 4096, 24576),
    (8000, 4096, 32768),
];

fn fargate_memory(&(cpu, least, most, step): &(u32, u32, u32, u32)) -> Vec<u32> {
    let grid = (least..=most).step_by(step as usize);
    if cpu == 250 {
        std::iter::once(512).chain(grid).collect()
    } else {
        grid.collect()
    }
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

/// Whether `seller` offers instances of this size; else what it offers instead, in words.
pub(super) fn judge(seller: Seller, cpu: MilliCpu, memory: MebiBytes) -> Result<(), String> {
    let offered = match seller {
        Seller::Fargate => FARGATE
            .iter()
            .any(|size| size.0 == cpu.0 && fargate_memory(size).contains(&memory.0)),
        Seller::AppRunner => {
            let mut sizes = APP_RUNNER.iter();
            sizes.any(|(size, offered)| *size == cpu.0 && offered.contains(&memory.0))
        }
        Seller::CloudRun => {
            cloud_run_range(cpu.0).is_some_and(|(least, most)| (least..=most).contains(&memory.0))
        }
    };
    if offered {
        Ok(())
    } else {
        Err(nearest_offers(seller, cpu, memory))
    }
}

/// The nearest pair with this CPU and the nearest with this memory.
fn nearest_offers(seller: Seller, cpu: MilliCpu, memory: MebiBytes) -> String {
    let cpus: Vec<u32> = match seller {
        Seller::Fargate => FARGATE.iter().map(|size| size.0).collect(),
        Seller::AppRunner => APP_RUNNER.iter().map(|size| size.0).collect(),
        Seller::CloudRun => {
            let small = [80, 500];
            let same = cloud_run_range(cpu.0).map(|_| cpu.0);
            let whole = CLOUD_RUN.iter().map(|size| size.0);
            small.into_iter().chain(same).chain(whole).collect()
        }
    };
    // The nearest CPU of all, and the nearest CPU that has this much memory.
    let near = |cpus: &[u32]| {
        cpus.iter()
            .copied()
            .min_by_key(|other| (other.abs_diff(cpu.0), *other))
    };
    let with_memory: Vec<u32> = cpus
        .iter()
        .copied()
        .filter(|&cpu| nearest_memory(seller, cpu, memory.0) == Some(memory.0))
        .collect();
    let mut pairs: Vec<(u32, u32)> = [near(&cpus), near(&with_memory)]
        .into_iter()
        .flatten()
        .filter_map(|cpu| Some((cpu, nearest_memory(seller, cpu, memory.0)?)))
        .collect();
    pairs.sort_unstable();
    pairs.dedup();
    let pairs: Vec<_> = pairs
        .into_iter()
        .map(|(cpu, memory)| format!("{} with {}", MilliCpu(cpu), MebiBytes(memory)))
        .collect();
    format!("the nearest that it offers: {}", pairs.join(", or "))
}

/// The memory nearest to `memory` that is offered with `cpu`.
fn nearest_memory(seller: Seller, cpu: u32, memory: u32) -> Option<u32> {
    match seller {
        Seller::Fargate => {
            let size = FARGATE.iter().find(|size| size.0 == cpu)?;
            let offered = fargate_memory(size).into_iter();
            // Rather more than less, when it is as near.
            offered.min_by_key(|other| (other.abs_diff(memory), std::cmp::Reverse(*other)))
        }
        Seller::AppRunner => {
            let (_, offered) = APP_RUNNER.iter().find(|size| size.0 == cpu)?;
            let offered = offered.iter().copied();
            offered.min_by_key(|other| (other.abs_diff(memory), std::cmp::Reverse(*other)))
        }
        Seller::CloudRun => cloud_run_range(cpu).map(|(least, most)| memory.clamp(least, most)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(seller: Seller, cpu: u32, memory: u32) -> bool {
        judge(seller, MilliCpu(cpu), MebiBytes(memory)).is_ok()
    }

    #[test]
    fn fargate_offers_the_documented_pairs_and_no_others() {
        let aws = |cpu, memory| offered(Seller::Fargate, cpu, memory);
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
        let offered = |cpu, memory| offered(Seller::AppRunner, cpu, memory);
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
        let words = judge(Seller::AppRunner, MilliCpu(500), MebiBytes(2048)).unwrap_err();
        assert_eq!(
            words,
            "the nearest that it offers: 0.5 vCPU with 1 GiB, or 1 vCPU with 2 GiB"
        );
    }

    #[test]
    fn cloud_run_offers_small_cpus_with_little_memory() {
        let gcp = |cpu, memory| offered(Seller::CloudRun, cpu, memory);
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
        let words = judge(Seller::Fargate, MilliCpu(500), MebiBytes(512)).unwrap_err();
        assert_eq!(
            words,
            "the nearest that it offers: 0.25 vCPU with 512 MiB, or 0.5 vCPU with 1 GiB"
        );
        let words = judge(Seller::CloudRun, MilliCpu(1000), MebiBytes(8192)).unwrap_err();
        assert_eq!(
            words,
            "the nearest that it offers: 1 vCPU with 4 GiB, or 2 vCPU with 8 GiB"
        );
        let words = judge(Seller::CloudRun, MilliCpu(3000), MebiBytes(4096)).unwrap_err();
        assert_eq!(words, "the nearest that it offers: 2 vCPU with 4 GiB");
    }
}
