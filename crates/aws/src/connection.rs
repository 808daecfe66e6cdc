//! The HTTP client under every call to AWS, also those for credentials: the environment's proxies,
//! and words for what no further try will mend.

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
use deployer_core::reach::{Obstacle, Unreached};
use url::Url;

/// The SDK's usual HTTP client, as it makes its own: the environment's proxies and certificates
/// (`SSL_CERT_FILE`) count.
pub(crate) fn http() -> SharedHttpClient {
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
    SharedHttpClient::new(Told(SharedHttpClient::new(client)))
}

/// Says at once what would be tried again in vain.
#[derive(Debug)]
struct Told(SharedHttpClient);

impl HttpClient for Told {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Connection(self.0.http_connector(settings, components)))
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        self.0.connector_metadata()
    }
}

#[derive(Debug)]
struct Connection(SharedHttpConnector);

impl HttpConnector for Connection {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let connector = self.0.clone();
        HttpConnectorFuture::new(async move {
            let (host, url) = (host_of(request.uri()), request.uri().to_owned());
            let outcome = connector.call(request).await;
            outcome.map_err(|error| match Obstacle::in_error(&error) {
                // A user's error is not tried again.
                Some(obstacle) => ConnectorError::user(obstacle.error(&host).into()),
                None => match Unreached::in_error(&error, Some(&url)) {
                    // It is tried again as before.
                    Some(unreached) => ConnectorError::io(unreached.into()),
                    None => error,
                },
            })
        })
    }
}

fn host_of(uri: &str) -> String {
    let url = Url::parse(uri).ok();
    let host = url.as_ref().and_then(Url::host_str);
    host.unwrap_or("AWS").to_owned()
}
