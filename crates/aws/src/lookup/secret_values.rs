//! Reads what secrets hold: those that are asked for at the same time in one call, 20 at most.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_secretsmanager::error::SdkError;
use aws_sdk_secretsmanager::operation::batch_get_secret_value::BatchGetSecretValueError;
use deployer_core::batch::{Answer, Batches};
use deployer_core::error::Result;
use futures::FutureExt;
use secrecy::SecretString;

use crate::error::failure;

/// How many names BatchGetSecretValue takes.
const MOST: usize = 20;

type Refusal = SdkError<BatchGetSecretValueError>;

/// What the current versions of an account's secrets hold.
pub(crate) struct SecretValues(Batches<Current, Refusal>);

/// What one secret holds.
#[derive(Clone)]
pub(crate) struct Current {
    pub(crate) version: String,
    /// `None` where it is no text.
    pub(crate) value: Option<SecretString>,
}

impl SecretValues {
    /// Nothing is asked yet.
    pub(crate) fn new(secrets: &aws_sdk_secretsmanager::Client) -> Self {
        let secrets = secrets.clone();
        Self(Batches::new(MOST, move |names| {
            let secrets = secrets.clone();
            async move { ask(&secrets, names).await }.boxed()
        }))
    }

    /// `None` when nobody else asks for a value now, or the answer does not have this one:
    /// GetSecretValue tells why, and is a permission of its own.
    ///
    /// Errors: whatever kept an answer from coming.
    pub(crate) async fn ask(&self, name: &str) -> Result<Option<Current>> {
        let answer = self.0.ask(name).await;
        answer.map_err(|error| failure(&error, &format!("read the value of secret `{name}`")))
    }
}

async fn ask(
    secrets: &aws_sdk_secretsmanager::Client,
    names: Vec<String>,
) -> Answer<Current, Refusal> {
    if names.len() == 1 {
        return Ok(BTreeMap::new());
    }
    let answer = secrets
        .batch_get_secret_value()
        .set_secret_id_list(Some(names))
        .send()
        .await;
    match answer {
        Ok(answer) => {
            let values = answer.secret_values.into_iter().flatten();
            let mut named = BTreeMap::new();
            for it in values {
                let Some(version) = it.version_id else {
                    continue;
                };
                let value = it.secret_string.map(Into::into);
                let current = Current { version, value };
                // It may have been asked for by either.
                for name in [it.arn, it.name].into_iter().flatten() {
                    named.insert(name, current.clone());
                }
            }
            Ok(named)
        }
        // Whoever may not ask so, or asks what does not know this call, asks one by one.
        Err(error) if error.raw_response().is_some() => Ok(BTreeMap::new()),
        Err(error) => Err(Arc::new(error)),
    }
}
