//! STS: who is calling. Roles cannot be assumed here.

use serde_json::{Value, json};

use super::credentials::USER;
use super::error::AwsError;

/// Carries out an operation that the schema has let through.
pub fn call(account: &str, operation: &str, input: &Value) -> Result<Value, AwsError> {
    match operation {
        "GetCallerIdentity" => Ok(json!({
            "UserId": "AIDASANDBOX0000000000",
            "Account": account,
            "Arn": format!("arn:aws:iam::{account}:user/{USER}"),
        })),
        _ => {
            let role = super::json::need(input, "RoleArn");
            Err(AwsError::denied(account, "sts:AssumeRole", role))
        }
    }
}
