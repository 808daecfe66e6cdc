//! Lets each attempt of a call out only while the run may change its target.

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, ConnectorBuilder};
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use deployer_core::ledger::Permit;

/// The SDK's usual HTTP client behind a permit that is asked for right before a request is sent.
#[derive(Debug)]
pub(crate) struct Permitted {
    client: SharedHttpClient,
    permit: Permit,
}

impl Permitted {
    /// Sends nothing that the permit refuses.
    pub(crate) fn new(permit: Permit) -> Self {
        // As the SDK makes its own, proxies of the environment included.
        let client = Builder::new().build_with_connector_fn(|settings, components| {
            let mut connector =
                ConnectorBuilder::default().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
            connector.set_connector_settings(settings.cloned());
            if let Some(components) = components {
                connector.set_sleep_impl(components.sleep_impl());
            }
            connector.set_proxy_config(Some(ProxyConfig::from_env()));
            connector.build()
        });
        Self { client, permit }
    }
}

impl HttpClient for Permitted {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Gate {
            connector: self.client.http_connector(settings, components),
            permit: self.permit.clone(),
        })
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.client.connector_metadata()
    }
}

#[derive(Debug)]
struct Gate {
    connector: SharedHttpConnector,
    permit: Permit,
}

impl HttpConnector for Gate {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (connector, permit) = (self.connector.clone(), self.permit.clone());
        HttpConnectorFuture::new(async move {
            // A user's error is not tried again.
            let refused = permit.ask().await;
            refused.map_err(|error| ConnectorError::user(error.into()))?;
            connector.call(request).await
        })
    }
}
