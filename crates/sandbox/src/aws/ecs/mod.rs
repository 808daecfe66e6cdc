//! ECS stub.
use serde_json::Value;
use super::error::AwsError;
use crate::Host;
#[derive(Clone)]
pub struct Ecs {}
impl Ecs {
    pub fn new(_host: &Host, _logs: super::logs::Logs, _secrets: super::secrets::Secrets) -> Self { Self {} }
    pub fn status(&self) -> Value { Value::Null }
    pub fn passes_role(&self, _operation: &str, _input: &Value) -> bool { false }
    pub async fn call(&self, operation: &str, _input: &Value) -> Result<Value, AwsError> { Err(AwsError::new("UnknownOperationException", operation)) }
}
