//! Takes from what the clouds told what a first manifest takes without a question. Performs no IO.

use deployer_core::capability::{Candidate, Findings, Network};

use super::draft::{AwsDraft, Draft, GcpDraft};
use super::survey::Told;

/// Completes what nobody said. What differs between services of one account, the app's own role and
/// account, is named in a comment only.
pub fn complete(draft: &mut Draft, told: &Told) {
    let needs_network = draft.database || draft.cache;
    if let (Some(aws), Some(found)) = (&mut draft.aws, &told.aws) {
        complete_aws(aws, found);
    }
    if let (Some(gcp), Some(found)) = (&mut draft.gcp, &told.gcp) {
        complete_gcp(gcp, found, needs_network);
    }
}

fn complete_aws(aws: &mut AwsDraft, found: &Findings) {
    account(aws, found);
    first(&mut aws.cluster, &found.clusters);
    aws.remarks.cluster = others(aws.cluster.as_deref(), &found.clusters);
    first(&mut aws.execution_role, &found.execution_roles);
    aws.remarks.execution_role = others(aws.execution_role.as_deref(), &found.execution_roles);
    first(&mut aws.access_role, &found.access_roles);
    aws.remarks.task_role = others(aws.task_role.as_deref(), &found.identities);
    if aws.subnets.is_empty()
        && let Some(network) = found.networks.first()
    {
        take_network(aws, network);
    }
}

/// The account that answered.
pub fn account(aws: &mut AwsDraft, found: &Findings) {
    if let Some(caller) = &found.caller {
        aws.account = Some(caller.account.clone());
    }
}

/// Subnets, groups and the way out, as what is there has them.
pub fn take_network(aws: &mut AwsDraft, network: &Network) {
    aws.subnets.clone_from(&network.subnets);
    if aws.security_groups.is_empty() {
        aws.security_groups.clone_from(&network.security_groups);
    }
    aws.assign_public_ip = network.public_address.filter(|public| *public);
    aws.remarks.subnets = Some(where_seen(network));
}

/// A network in a few words.
pub fn where_seen(network: &Network) -> String {
    let seen = match &network.name {
        Some(name) => format!("{name}, {}", network.seen),
        None => network.seen.clone(),
    };
    match network.runs_services {
        true => seen,
        // Whether they lead anywhere, only EC2 could tell.
        false => format!("{seen}; tasks in them must reach the internet, or endpoints"),
    }
}

fn complete_gcp(gcp: &mut GcpDraft, found: &Findings, needs_network: bool) {
    gcp.remarks.service_account = others(gcp.service_account.as_deref(), &found.identities);
    let Some(network) = found.networks.first() else {
        return;
    };
    if needs_network && gcp.network.is_none() && gcp.subnetwork.is_none() {
        take_way(gcp, network);
    }
}

/// Network and subnetwork, as what is there has them.
pub fn take_way(gcp: &mut GcpDraft, network: &Network) {
    gcp.network.clone_from(&network.name);
    gcp.subnetwork = network.subnets.first().cloned();
    gcp.remarks.network = Some(network.seen.clone());
}

fn first(value: &mut Option<String>, found: &[Candidate]) {
    if value.is_none() {
        *value = found.first().map(|it| it.name.clone());
    }
}

/// What else was found, for a comment. `None` when there is nothing else.
pub fn others(taken: Option<&str>, found: &[Candidate]) -> Option<String> {
    let others = found.iter().filter(|it| Some(it.name.as_str()) != taken);
    let others: Vec<String> = others
        .map(|it| format!("{} ({})", it.name, it.seen))
        .collect();
    (!others.is_empty()).then(|| format!("there: {}", others.join(", ")))
}

#[cfg(test)]
mod tests {
    use deployer_core::capability::Caller;

    use super::*;

    fn network(seen: &str, runs_services: bool, subnet: &str) -> Network {
        Network {
            name: Some("vpc-1".into()),
            seen: seen.into(),
            runs_services,
            subnets: vec![subnet.into()],
            security_groups: vec!["sg-1".into()],
            public_address: Some(true),
        }
    }

    fn findings() -> Findings {
        Findings {
            caller: Some(Caller {
                account: "123456789012".into(),
                principal: "arn:aws:iam::123456789012:user/ana".into(),
            }),
            clusters: vec![
                Candidate::new("main", "12 services"),
                Candidate::new("batch", "1 service"),
            ],
            networks: vec![network("of 3 services", true, "subnet-1")],
            execution_roles: vec![Candidate::new("ecsTaskExecutionRole", "of 3 services")],
            identities: vec![Candidate::new("shop-task", "of service shop")],
            ..Findings::default()
        }
    }

    #[test]
    fn what_most_services_use_is_taken_and_the_apps_own_role_is_only_named() {
        let mut draft = Draft {
            aws: Some(AwsDraft::default()),
            ..Draft::default()
        };
        let told = Told {
            aws: Some(findings()),
            gcp: None,
        };
        complete(&mut draft, &told);
        let aws = draft.aws.unwrap();
        assert_eq!(aws.account.as_deref(), Some("123456789012"));
        assert_eq!(aws.cluster.as_deref(), Some("main"));
        assert_eq!(
            aws.remarks.cluster.as_deref(),
            Some("there: batch (1 service)")
        );
        assert_eq!(aws.subnets, ["subnet-1"]);
        assert_eq!(aws.security_groups, ["sg-1"]);
        assert_eq!(aws.assign_public_ip, Some(true));
        assert_eq!(aws.execution_role.as_deref(), Some("ecsTaskExecutionRole"));
        assert_eq!(aws.task_role, None);
        let named = aws.remarks.task_role.unwrap();
        assert_eq!(named, "there: shop-task (of service shop)");
    }

    #[test]
    fn what_a_person_said_stays() {
        let mut draft = Draft {
            aws: Some(AwsDraft {
                cluster: Some("batch".into()),
                subnets: vec!["subnet-9".into()],
                ..AwsDraft::default()
            }),
            ..Draft::default()
        };
        let told = Told {
            aws: Some(findings()),
            gcp: None,
        };
        complete(&mut draft, &told);
        let aws = draft.aws.unwrap();
        assert_eq!(aws.cluster.as_deref(), Some("batch"));
        assert_eq!(aws.subnets, ["subnet-9"]);
        assert_eq!(aws.security_groups, Vec::<String>::new());
        assert_eq!(aws.assign_public_ip, None);
    }

    #[test]
    fn a_way_into_a_network_is_taken_where_there_is_something_to_reach() {
        let told = Told {
            aws: None,
            gcp: Some(Findings {
                networks: vec![network("of database main", false, "inner")],
                ..Findings::default()
            }),
        };
        for database in [false, true] {
            let mut draft = Draft {
                database,
                gcp: Some(GcpDraft::default()),
                ..Draft::default()
            };
            complete(&mut draft, &told);
            assert_eq!(draft.gcp.unwrap().network.is_some(), database);
        }
    }
}
