//! What each attempt of a call passes right before it is sent: it waits for its turn at the API and
//! for as long as the API asked for, and goes only while the run may change its target.

use std::sync::Arc;
use std::time::Instant;

use aws_sdk_ecs::config::RuntimeComponents;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, Metadata};
use aws_smithy_runtime_api::client::result::ConnectorError;
use deployer_core::capability::Context;
use deployer_core::error::Error;
use deployer_core::ledger::Permit;
use tokio::sync::Semaphore;

use crate::connection;
use crate::rates::{self, Api, Rates};
use crate::retry_after::Pauses;

/// How many calls of one target are on their way at once: more would only be more connections.
const AT_ONCE: usize = 32;

/// The header, added here, by which an answer says of which API it is: an SDK's error does not.
pub(crate) const ANSWERED_BY: &str = "x-deployer-answered-by";

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
    /// Sends nothing that the permit refuses, and nothing faster than its API takes it or sooner
    /// than it asks for.
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

/// The operation that a request is of, and its API.
///
/// Errors: internal, when it is not known: its client was made without a rate.
fn operation_of(request: &HttpRequest) -> Result<(Metadata, &'static Api), Error> {
    let unpaced = |what: &str| {
        let message = format!("{what} was called by a client that has no rate");
        Error::internal(message)
    };
    let operation = request.extension::<Metadata>();
    let operation = operation.ok_or_else(|| unpaced("AWS"))?.clone();
    let api = rates::api(&operation).ok_or_else(|| unpaced(operation.service()))?;
    Ok((operation, api))
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
            // A user's error is not tried again.
            let known = operation_of(&request);
            let (operation, api) = known.map_err(|error| ConnectorError::user(error.into()))?;
            let _place = loop {
                rules.pauses.over(api.prefix).await;
                rules.rates.turn(api, operation.name()).await;
                let place = rules.places.acquire().await;
                let place = place.map_err(|closed| ConnectorError::user(closed.into()))?;
                // One that was answered meanwhile may have been asked for time.
                if rules.pauses.left(api.prefix).is_zero() {
                    break place;
                }
            };
            // Asked last: the lease may have been lost while waiting.
            let refused = rules.permit.ask().await;
            refused.map_err(|error| ConnectorError::user(error.into()))?;
            let call = Call::of(api, &operation);
            let answer = connector.call(request).await;
            call.tell(answer.as_ref().ok());
            let mut answer = answer?;
            rules.pauses.note(api.prefix, &answer);
            answer.headers_mut().insert(ANSWERED_BY, api.prefix);
            Ok(answer)
        })
    }
}

/// A call as it is told of: its operation, and nothing that it says.
struct Call {
    /// `ecs:UpdateService`. `None` where nobody wants to know.
    name: Option<String>,
    sent: Instant,
}

impl Call {
    fn of(api: &Api, operation: &Metadata) -> Self {
        let wanted = tracing::enabled!(tracing::Level::DEBUG);
        Self {
            name: wanted.then(|| format!("{}:{}", api.prefix, operation.name())),
            sent: Instant::now(),
        }
    }

    fn tell(self, answer: Option<&HttpResponse>) {
        let Some(name) = self.name else { return };
        let took = self.sent.elapsed().as_millis();
        match answer {
            Some(answer) => tracing::debug!("aws {name} {} {took}ms", answer.status().as_u16()),
            None => tracing::debug!("aws {name} no answer {took}ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use deployer_core::error::ErrorKind;

    use super::*;

    fn of(operation: Option<Metadata>) -> Result<String, Error> {
        let mut request = HttpRequest::empty();
        if let Some(operation) = operation {
            request.add_extension(operation);
        }
        let (operation, api) = operation_of(&request)?;
        Ok(format!("{}:{}", api.prefix, operation.name()))
    }

    #[test]
    fn a_request_without_its_operation_or_of_an_api_without_rates_goes_nowhere() {
        let told = of(Some(Metadata::new("UpdateService", "ECS")));
        assert_eq!(told.unwrap(), "ecs:UpdateService");
        for unpaced in [None, Some(Metadata::new("RunInstances", "EC2"))] {
            assert_eq!(of(unpaced).unwrap_err().kind(), ErrorKind::Internal);
        }
    }
}
