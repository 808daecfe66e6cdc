//! Makes networks that a manifest can name out of what uses them. Performs no IO.

use std::collections::{BTreeMap, BTreeSet};

use deployer_core::capability::Network;

use super::of_services;

/// How many are offered.
const MOST: usize = 9;

/// What uses a network; what says most about where tasks can run comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum By {
    /// An ECS service: tasks start there, and find what they need.
    Service,
    /// A connector of App Runner's.
    Connector,
    /// The subnet group of databases.
    DatabaseGroup,
    /// The subnet group of caches.
    CacheGroup,
    /// A load balancer.
    Balancer,
}

/// Subnets that something uses together.
#[derive(Clone, Debug)]
pub(super) struct Sighting {
    pub(super) by: By,
    /// Of what uses it.
    pub(super) name: String,
    pub(super) vpc: Option<String>,
    pub(super) subnets: BTreeSet<String>,
    pub(super) security_groups: BTreeSet<String>,
    pub(super) public_address: Option<bool>,
}

impl Sighting {
    /// Subnets alone.
    pub(super) fn new(by: By, name: &str, subnets: &[String]) -> Self {
        Self {
            by,
            name: name.to_owned(),
            vpc: None,
            subnets: subnets.iter().cloned().collect(),
            security_groups: BTreeSet::new(),
            public_address: None,
        }
    }
}

/// What makes two sightings the same choice for a manifest.
type Choice<'a> = (
    &'a BTreeSet<String>,
    &'a BTreeSet<String>,
    Option<bool>,
    // Of services and connectors, and of everything else.
    bool,
);

/// The networks, each choice of subnets and groups once: first those that most services run in.
/// Subnets that services run in are not offered again without their groups.
pub(super) fn networks(sightings: &[Sighting]) -> Vec<Network> {
    let mut vpcs: BTreeMap<&str, &str> = BTreeMap::new();
    for it in sightings {
        let vpc = it.vpc.as_deref();
        vpcs.extend(it.subnets.iter().filter_map(|s| Some((s.as_str(), vpc?))));
    }
    let runs = |by: By| matches!(by, By::Service | By::Connector);
    let mut choices: BTreeMap<Choice, Vec<&Sighting>> = BTreeMap::new();
    for it in sightings.iter().filter(|it| !it.subnets.is_empty()) {
        let choice = (
            &it.subnets,
            &it.security_groups,
            it.public_address,
            runs(it.by),
        );
        choices.entry(choice).or_default().push(it);
    }
    let run_in: BTreeSet<&BTreeSet<String>> = choices
        .keys()
        .filter_map(|(subnets, _, _, runs)| runs.then_some(*subnets))
        .collect();
    let mut ranked: Vec<(&Choice, &Vec<&Sighting>)> = choices
        .iter()
        .filter(|((subnets, _, _, runs), _)| *runs || !run_in.contains(subnets))
        .collect();
    ranked.sort_by_key(|(_, seen)| {
        let first = seen.iter().map(|it| it.by).min();
        (first, std::cmp::Reverse(seen.len()))
    });
    let ranked = ranked.into_iter().take(MOST);
    ranked
        .map(|((subnets, groups, public, _), seen)| Network {
            name: subnets
                .iter()
                .find_map(|subnet| vpcs.get(subnet.as_str()).map(|vpc| (*vpc).to_owned())),
            seen: words(seen),
            runs_services: seen.iter().any(|it| runs(it.by)),
            subnets: subnets.iter().cloned().collect(),
            security_groups: groups.iter().cloned().collect(),
            public_address: *public,
        })
        .collect()
}

/// What uses it, in a few words.
fn words(seen: &[&Sighting]) -> String {
    let first = seen.iter().map(|it| it.by).min().unwrap_or(By::Balancer);
    let names = seen.iter().filter(|it| it.by == first);
    let names: BTreeSet<String> = names.map(|it| it.name.clone()).collect();
    let name = names.first().map_or("", String::as_str);
    match first {
        By::Service => of_services(&names),
        By::Connector => format!("of VPC connector {name}"),
        By::DatabaseGroup => format!("of database subnet group {name}"),
        By::CacheGroup => format!("of cache subnet group {name}"),
        By::Balancer => format!("of load balancer {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(by: By, name: &str, vpc: Option<&str>, subnets: &[&str]) -> Sighting {
        let subnets: Vec<String> = subnets.iter().map(|it| (*it).to_owned()).collect();
        Sighting {
            vpc: vpc.map(str::to_owned),
            ..Sighting::new(by, name, &subnets)
        }
    }

    fn service(name: &str, subnets: &[&str], group: &str) -> Sighting {
        Sighting {
            security_groups: [group.to_owned()].into(),
            public_address: Some(false),
            ..seen(By::Service, name, None, subnets)
        }
    }

    #[test]
    fn what_most_services_run_in_comes_first_with_its_groups_and_its_vpc() {
        let found = networks(&[
            seen(By::Balancer, "edge", Some("vpc-1"), &["p1", "p2"]),
            seen(By::DatabaseGroup, "main", Some("vpc-1"), &["s1", "s2"]),
            service("odd", &["s3"], "sg-odd"),
            service("web", &["s2", "s1"], "sg-web"),
            service("worker", &["s1", "s2"], "sg-web"),
            seen(By::CacheGroup, "other", Some("vpc-2"), &["o1"]),
        ]);
        let told: Vec<_> = found
            .iter()
            .map(|it| (it.name.as_deref(), it.seen.as_str(), it.runs_services))
            .collect();
        let wanted = [
            (Some("vpc-1"), "of 2 services", true),
            (None, "of service odd", true),
            (Some("vpc-2"), "of cache subnet group other", false),
            (Some("vpc-1"), "of load balancer edge", false),
        ];
        assert_eq!(told, wanted);
        assert_eq!(found[0].subnets, ["s1", "s2"]);
        assert_eq!(found[0].security_groups, ["sg-web"]);
        assert_eq!(found[0].public_address, Some(false));
    }

    #[test]
    fn one_subnet_with_other_groups_is_another_choice() {
        let found = networks(&[service("a", &["s1"], "sg-a"), service("b", &["s1"], "sg-b")]);
        let groups: Vec<_> = found.iter().map(|it| &it.security_groups[0]).collect();
        assert_eq!(groups, ["sg-a", "sg-b"]);
        assert!(networks(&[]).is_empty());
    }
}
