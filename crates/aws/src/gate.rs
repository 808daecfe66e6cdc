//! What each attempt of a call passes right before it is sent: it waits for its turn at the API and
//! for as long as the API asked for, and goes only while the run may change its target.

use std::sync::Arc;
use std::time::Instant;

use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
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
            // Asked last: the lease may have been lost while waiting. A user's error is not tried
            // again.
            let refused = rules.permit.ask().await;
            refused.map_err(|error| ConnectorError::user(error.into()))?;
            let call = Call::of(&request);
            let answer = connector.call(request).await;
            call.tell(answer.as_ref().ok());
            let answer = answer?;
            rules.pauses.note(&api, &answer);
            Ok(answer)
        })
    }
}

/// A call as it is told of: its action, and nothing that it says.
struct Call {
    /// `ecs:UpdateService`. `None` where nobody wants to know.
    name: Option<String>,
    sent: Instant,
}

impl Call {
    fn of(request: &HttpRequest) -> Self {
        let wanted = tracing::enabled!(tracing::Level::DEBUG);
        Self {
            name: wanted.then(|| name(request)),
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

/// The service by the name that the call is signed for, and the action: by the header of those that
/// speak JSON, the form's field of those that speak the query protocol; for the rest the method.
fn name(request: &HttpRequest) -> String {
    let headers = request.headers();
    // `Credential=KEY/DAY/REGION/SERVICE/aws4_request`.
    let signed = headers.get("authorization").unwrap_or_default();
    let scope = signed.split("Credential=").nth(1).unwrap_or_default();
    let service = scope.split('/').nth(3).unwrap_or("unsigned");
    let target = headers
        .get("x-amz-target")
        .and_then(|it| it.rsplit_once('.'));
    let form = || {
        let text = std::str::from_utf8(request.body().bytes()?).ok()?;
        text.split('&')
            .find_map(|field| field.strip_prefix("Action="))
    };
    let action = target.map(|(_, action)| action).or_else(form);
    format!("{service}:{}", action.unwrap_or(request.method()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(service: &str) -> HttpRequest {
        let mut request = HttpRequest::empty();
        let scope = format!(
            "AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-east-1/{service}/aws4_request, Signature=1"
        );
        request.headers_mut().insert("authorization", scope);
        request
    }

    #[test]
    fn a_call_is_told_by_service_and_action_and_by_nothing_that_it_says() {
        let mut json = signed("ecs");
        let target = "AmazonEC2ContainerServiceV20141113.UpdateService";
        json.headers_mut().insert("x-amz-target", target);
        assert_eq!(name(&json), "ecs:UpdateService");
        let mut form = signed("rds");
        *form.body_mut() = "Action=CreateDBInstance&MasterUserPassword=hunter2".into();
        assert_eq!(name(&form), "rds:CreateDBInstance");
        assert_eq!(name(&signed("route53")), "route53:GET");
    }
}
