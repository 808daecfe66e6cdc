//! What each attempt of a call passes right before it is sent: it waits for its turn at the API and for as long as the API
//! asked for, and goes only while the run may change its target.

use std::sync::Arc;

use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use deployer_core::capability::Context;
use deployer_core::ledger::Permit;
use tokio::sync::Semaphore;

use crate::connection;
use crate::rates::Rates;
use crate::retry_after::{self, Pauses};

/// How many calls of one target are on their way at once: more would only be more connections.
const AT_ONCE: usize = 32;

/// The SDK's usual HTTP client behind the gate.
#[derive(Debug)]
pub(crate) struct Gate {
    client: SharedHttpClient,
    rules: Arc<Rules>,
}

/// Who passes, and when.
#[derive(Debug)]
struct Rules {
    rates: Rates,
    pauses: Pauses,
    places: Semaphore,
    permit: Permit,
}

impl Gate {
    /// Sends nothing that the permit refuses, and nothing faster than its API takes it or sooner than it asks for.
    pub(crate) fn new(context: &Context) -> Self {
        Self {
            client: connection::http(),
            rules: Arc::new(Rules {
                rates: Rates::new(&context.clock),
                pauses: Pauses::new(&context.clock),
                places: Semaphore::new(AT_ONCE),
                permit: context.permit.clone(),
            }),
        }
    }
}

impl HttpClient for Gate {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Guarded {
            connector: self.client.http_connector(settings, components),
            rules: Arc::clone(&self.rules),
        })
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.client.connector_metadata()
    }
}

#[derive(Debug)]
struct Guarded {
    connector: SharedHttpConnector,
    rules: Arc<Rules>,
}

impl HttpConnector for Guarded {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (connector, rules) = (self.connector.clone(), Arc::clone(&self.rules));
        HttpConnectorFuture::new(async move {
            let api = retry_after::api(&request);
            let _place = loop {
                rules.pauses.over(&api).await;
                rules.rates.turn(&request).await;
                let place = rules.places.acquire().await;
                let place = place.map_err(|closed| ConnectorError::user(closed.into()))?;
                // One that was answered meanwhile may have been asked for time.
                if rules.pauses.left(&api).is_zero() {
                    break place;
                }
            };
            // Asked last: the lease may have been lost while waiting. A user's error is not tried again.
            let refused = rules.permit.ask().await;
            refused.map_err(|error| ConnectorError::user(error.into()))?;
            let answer = connector.call(request).await?;
            rules.pauses.note(&api, &answer);
            Ok(answer)
        })
    }
}
