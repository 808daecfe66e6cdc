//! VPC connectors.

use serde_json::json;

use super::state::State;
use super::{SERVICE, invalid, not_found, too_many};
use crate::aws::json::{list, need, random_hex, text};
use crate::aws::shelf::{Going, Kind, Taken, all, live, whole};

/// AWS General Reference, "AWS App Runner endpoints and quotas", from memory.
const MOST: usize = 10;

pub(super) const CONNECTOR: Kind<State> = Kind {
    noun: ("VpcConnector", "VpcConnectors"),
    answers: ("VpcConnector", "VpcConnectors"),
    arn: ("vpcconnector/", "VpcConnectorArn"),
    on: (|it| &it.connectors, |it| &mut it.connectors),
    named: |_, site, input| {
        let name = need(input, "VpcConnectorName");
        Ok(site.arn(&format!("vpcconnector/{name}/1/{}", random_hex(32))))
    },
    asked: |_, _, input| {
        Ok(text(input, "VpcConnectorArn")
            .map(str::to_owned)
            .into_iter()
            .collect())
    },
    made: |state, site, arn, input| {
        let name = need(input, "VpcConnectorName");
        if list(input, "Subnets").is_empty() {
            return Err(invalid("At least one subnet is required."));
        }
        // One revision per name (below); the words are ours.
        if live(&state.connectors).any(|it| it["VpcConnectorName"] == name) {
            return Err(invalid(format!(
                "VPC connector with the provided name already exists: {name}."
            )));
        }
        if live(&state.connectors).count() >= MOST {
            return Err(too_many("VPC connectors"));
        }
        Ok(json!({
            "VpcConnectorName": name,
            "VpcConnectorArn": arn,
            // "At this time, App Runner supports only one revision per name" (API Reference,
            // "VpcConnector").
            "VpcConnectorRevision": 1,
            "Subnets": input["Subnets"],
            // "If not specified, App Runner uses the default security group of the Amazon VPC"
            // (CreateVpcConnector). The sandbox does not know which that is; that none is named
            // then is ours.
            "SecurityGroups": list(input, "SecurityGroups"),
            "Status": "ACTIVE",
            "CreatedAt": site.now(),
        }))
    },
    changes: &[],
    free: |state, _, arn, _| {
        // The words: roadmap#161.
        let is_used = state.services.iter().any(|it| {
            let egress = &it.config.members["NetworkConfiguration"]["EgressConfiguration"];
            it.deleted.is_none() && egress["VpcConnectorArn"] == arn
        });
        match is_used {
            false => Ok(()),
            true => Err(invalid(format!(
                "Provided VPC connector arn is being used by other services. ARN: {arn}"
            ))),
        }
    },
    // "permanently removed some time after they are deleted" (`VpcConnector.Status`).
    going: Going::Described(|site, value| {
        value["Status"] = json!("INACTIVE");
        value["DeletedAt"] = site.now();
    }),
    taken: Taken::Answered,
    absent: |_, arn| not_found(arn),
    shown: whole,
    fits: all,
    service: &SERVICE,
};
