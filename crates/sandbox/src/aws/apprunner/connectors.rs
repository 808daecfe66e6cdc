//! VPC connectors.

use serde_json::{Value, json};

use super::state::{Connector, State};
use super::{AppRunner, invalid, listed, not_found, too_many};
use crate::aws::error::AwsError;
use crate::aws::json::{list, need, random_hex};

/// AWS General Reference, "AWS App Runner endpoints and quotas", from memory.
const MOST: usize = 10;

impl AppRunner {
    pub(super) fn create_connector(&self, input: &Value) -> Result<Value, AwsError> {
        let name = need(input, "VpcConnectorName");
        if list(input, "Subnets").is_empty() {
            return Err(invalid("At least one subnet is required."));
        }
        let mut state = self.lock();
        // One revision per name (`Connector::shown`); the words are ours.
        if active(&state).any(|it| it.name == name) {
            return Err(invalid(format!(
                "VPC connector with the provided name already exists: {name}."
            )));
        }
        if active(&state).count() >= MOST {
            return Err(too_many("VPC connectors"));
        }
        let connector = Connector {
            arn: self.arn(&format!("vpcconnector/{name}/1/{}", random_hex(32))),
            name: name.to_owned(),
            subnets: input["Subnets"].clone(),
            // "If not specified, App Runner uses the default security group of the Amazon VPC"
            // (CreateVpcConnector). The sandbox does not know which that is; that none is named
            // then is ours.
            groups: json!(list(input, "SecurityGroups")),
            created: self.now(),
            deleted: None,
            tags: list(input, "Tags").to_vec(),
        };
        let answer = json!({ "VpcConnector": connector.shown() });
        state.connectors.push(connector);
        Ok(answer)
    }

    /// Inactive ones are shown too: "permanently removed some time after they are deleted"
    /// (`VpcConnector.Status`).
    pub(super) fn describe_connector(&self, input: &Value) -> Result<Value, AwsError> {
        let arn = need(input, "VpcConnectorArn");
        let state = self.lock();
        let found = state.connectors.iter().find(|it| it.arn == arn);
        let found = found.ok_or_else(|| not_found(arn))?;
        Ok(json!({ "VpcConnector": found.shown() }))
    }

    pub(super) fn list_connectors(&self, input: &Value) -> Result<Value, AwsError> {
        let state = self.lock();
        let all = active(&state).map(Connector::shown).collect();
        listed(input, "VpcConnectors", all)
    }

    pub(super) fn delete_connector(&self, input: &Value) -> Result<Value, AwsError> {
        let arn = need(input, "VpcConnectorArn");
        let now = self.now();
        let mut state = self.lock();
        if !active(&state).any(|it| it.arn == arn) {
            return Err(not_found(arn));
        }
        // The words: roadmap#161.
        let is_used = state.services.iter().any(|it| {
            let egress = &it.config.members["NetworkConfiguration"]["EgressConfiguration"];
            it.deleted.is_none() && egress["VpcConnectorArn"] == arn
        });
        if is_used {
            return Err(invalid(format!(
                "Provided VPC connector arn is being used by other services. ARN: {arn}"
            )));
        }
        let found = state.connectors.iter_mut().find(|it| it.arn == arn);
        let found = found.ok_or_else(|| not_found(arn))?;
        found.deleted = Some(now);
        Ok(json!({ "VpcConnector": found.shown() }))
    }
}

/// The connectors that can be used.
pub fn active(state: &State) -> impl Iterator<Item = &Connector> {
    state.connectors.iter().filter(|it| it.deleted.is_none())
}
