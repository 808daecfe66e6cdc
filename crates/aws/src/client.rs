//! The SDKs' clients: region, endpoint, time-outs and retries of one target.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::spec::{AwsService, AwsSpec};
use aws_config::BehaviorVersion;
use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_ecs::config::{AsyncSleep, Sleep};
use deployer_core::address::{Address, CloudName, Target};
use deployer_core::capability::Context;
use deployer_core::clock::Clock;
use deployer_core::error::{Error, Result};
use deployer_core::spec::ServiceSpec;
use sync_wrapper::SyncFuture;
use url::{Host, Url};

use crate::connection;
use crate::credentials::Credentials;
use crate::gate::Gate;
use crate::ground::ClusterName;
use crate::lookup::{AppRunnerServices, LogGroups, Lookups, SecretValues, Services};
use crate::rates::Sdk;

/// Tries of one call, counting the first. ECS alone throttles by the account.
pub(crate) const ATTEMPTS: u32 = 5;

/// Everything that the capabilities of one target share.
pub(crate) struct Clients {
    pub(crate) app_runner: aws_sdk_apprunner::Client,
    pub(crate) ecs: aws_sdk_ecs::Client,
    pub(crate) ecr: aws_sdk_ecr::Client,
    pub(crate) secrets: aws_sdk_secretsmanager::Client,
    pub(crate) logs: aws_sdk_cloudwatchlogs::Client,
    pub(crate) sts: aws_sdk_sts::Client,
    pub(crate) rds: aws_sdk_rds::Client,
    pub(crate) elasticache: aws_sdk_elasticache::Client,
    pub(crate) scaling: aws_sdk_applicationautoscaling::Client,
    pub(crate) balancers: aws_sdk_elasticloadbalancingv2::Client,
    pub(crate) tagging: aws_sdk_resourcegroupstagging::Client,
    pub(crate) lookups: Lookups,
    /// The base URL of every call, where it is not AWS itself that answers.
    pub(crate) endpoint: Option<String>,
    pub(crate) section: AwsSpec,
    /// Where ECS's services and tasks are looked for, whoever makes it.
    pub(crate) cluster: ClusterName,
    pub(crate) target: Target,
    pub(crate) context: Context,
    /// For what no SDK signs: the websocket of a session.
    pub(crate) credentials: Credentials,
}

impl Clients {
    /// Reads the SDK's own configuration (environment, profile); credentials are asked for by the
    /// first call.
    pub(crate) async fn open(
        section: &AwsSpec,
        context: Context,
        credentials: &Credentials,
    ) -> Result<Self> {
        let endpoint = section.endpoint.as_deref();
        let (config, sandbox) =
            configuration(&section.region, endpoint, &context, credentials).await?;
        let app_runner = config.client();
        let ecs = config.client();
        let logs = config.client();
        let secrets = config.client();
        Ok(Self {
            lookups: Lookups {
                app_runner: AppRunnerServices::new(&app_runner),
                services: Services::new(&ecs, &section.cluster),
                secret_values: SecretValues::new(&secrets),
                log_groups: LogGroups::new(&logs),
            },
            app_runner,
            ecs,
            ecr: config.client(),
            secrets,
            logs,
            sts: config.client(),
            rds: config.client(),
            elasticache: config.client(),
            scaling: config.client(),
            balancers: config.client(),
            tagging: config.client(),
            endpoint: config.endpoint(),
            section: section.clone(),
            cluster: ClusterName(section.cluster.clone()),
            target: Target {
                cloud: CloudName::Aws,
                account: section.account.clone(),
                region: section.region.clone(),
                sandbox,
            },
            context,
            credentials: credentials.clone(),
        })
    }

    /// An address in this target.
    pub(crate) fn address(&self, kind: &str, name: &str) -> Address {
        Address::new(&self.target, kind, name)
    }

    /// What the manifest says about this service on AWS only.
    pub(crate) fn settings(&self, service: &ServiceSpec) -> AwsService {
        self.section
            .services
            .get(&service.key)
            .cloned()
            .unwrap_or_default()
    }

    /// Time.
    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.context.clock
    }
}

/// The SDK's configuration of one target. Clients are made of it by [`Config::client`] and in no
/// other way: so the rates of each one's API are known, and the gate can tell its calls.
pub(crate) struct Config(SdkConfig);

impl Config {
    /// A client, whose calls wait for their turns.
    pub(crate) fn client<C: Sdk>(&self) -> C {
        C::of(&self.0)
    }

    /// The base URL of every call. `None` where AWS itself answers.
    fn endpoint(&self) -> Option<String> {
        self.0.endpoint_url().map(str::to_owned)
    }
}

/// The SDK's own configuration (environment, profile) with our time-outs and retries, and whether
/// its endpoint is on loopback. `AWS_ENDPOINT_URL` wins over `endpoint`.
///
/// Errors: input, when the endpoint is not a URL.
pub(crate) async fn configuration(
    region: &str,
    endpoint: Option<&str>,
    context: &Context,
    credentials: &Credentials,
) -> Result<(Config, bool)> {
    // Of each attempt, from when it is sent: how long it waits for its turn is not the cloud's
    // doing. A server that never answers keeps a call for its attempts and the pauses between them,
    // which is twice the time-out.
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(context.call_timeout.min(Duration::from_secs(5)))
        .read_timeout(context.call_timeout / 3)
        .build();
    let retries = RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(Duration::from_millis(200));
    let mut config = aws_config::defaults(BehaviorVersion::latest())
        .region(aws_config::Region::new(region.to_owned()))
        .timeout_config(timeouts)
        .retry_config(retries)
        .sleep_impl(Waits(Arc::clone(&context.clock)))
        .http_client(Gate::new(context))
        .credentials_provider(credentials.clone())
        .load()
        .await;
    if let (None, Some(endpoint)) = (config.endpoint_url(), endpoint) {
        config = config.into_builder().endpoint_url(endpoint).build();
    }
    let sandbox = match config.endpoint_url() {
        Some(endpoint) => is_loopback(endpoint)?,
        None => false,
    };
    Ok((Config(config), sandbox))
}

/// For calls that belong to no target: reading an image out of somebody's registry.
pub(crate) async fn plain(region: &str, credentials: &Credentials) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(aws_config::Region::new(region.to_owned()))
        .http_client(connection::http())
        .credentials_provider(credentials.clone())
        .load()
        .await
}

/// Time-outs and pauses between tries, by the clock that everything waits by.
struct Waits(Arc<dyn Clock>);

impl AsyncSleep for Waits {
    fn sleep(&self, duration: Duration) -> Sleep {
        let clock = Arc::clone(&self.0);
        // The SDK wants a future that can be shared, which nobody ever does.
        Sleep::new(SyncFuture::new(async move { clock.pause(duration).await }))
    }
}

impl std::fmt::Debug for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waits")
    }
}

fn is_loopback(endpoint: &str) -> Result<bool> {
    let url = Url::parse(endpoint).map_err(|error| {
        Error::input(format!("`{endpoint}` is not a base URL for AWS calls"))
            .because(error)
            .hint("write it as `http://127.0.0.1:4566`, in `targets.aws.endpoint` or AWS_ENDPOINT_URL")
    })?;
    Ok(match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => false,
    })
}

/// Clients that nobody calls: what is compared is compared without them.
#[cfg(test)]
pub(crate) async fn of_nobody() -> Clients {
    struct Still;

    #[async_trait::async_trait]
    impl Clock for Still {
        fn now(&self) -> jiff::Timestamp {
            jiff::Timestamp::UNIX_EPOCH
        }

        async fn pause(&self, _: Duration) {}
    }

    let section = AwsSpec {
        account: "123456789012".to_owned(),
        region: "eu-west-1".to_owned(),
        cluster: "default".to_owned(),
        subnets: vec!["subnet-1".to_owned()],
        execution_role: "execution".to_owned(),
        endpoint: Some("http://127.0.0.1:1".to_owned()),
        ..AwsSpec::default()
    };
    let context = Context {
        clock: Arc::new(Still),
        call_timeout: Duration::from_secs(1),
        permit: deployer_core::ledger::Permit::default(),
    };
    let credentials = Credentials::new(&section.region);
    let opened = Clients::open(&section, context, &credentials).await;
    opened.unwrap()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicU32, Ordering};

    use aws_credential_types::Credentials as Pair;
    use aws_credential_types::provider::SharedCredentialsProvider;
    use aws_sdk_ecs::error::DisplayErrorContext;

    use super::*;

    struct Watch;

    #[async_trait::async_trait]
    impl Clock for Watch {
        fn now(&self) -> jiff::Timestamp {
            jiff::Timestamp::now()
        }

        async fn pause(&self, duration: Duration) {
            tokio::time::sleep(duration).await;
        }
    }

    /// A server that refuses every request, for good, and counts them.
    fn refusing() -> (String, Arc<AtomicU32>) {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", server.local_addr().unwrap());
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            for connection in server.incoming() {
                let mut connection = connection.unwrap();
                let _ = connection.read(&mut [0; 16 * 1024]);
                count.fetch_add(1, Ordering::SeqCst);
                let refusal = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
                let _ = connection.write_all(refusal.as_bytes());
            }
        });
        (endpoint, asked)
    }

    #[tokio::test]
    async fn each_client_says_its_operation_and_one_that_does_not_is_never_answered() {
        let (endpoint, asked) = refusing();
        let pair = SharedCredentialsProvider::new(Pair::new("AKID", "secret", None, None, "test"));
        let context = Context {
            clock: Arc::new(Watch),
            call_timeout: Duration::from_secs(60),
            permit: deployer_core::ledger::Permit::default(),
        };
        let (config, sandbox) = configuration(
            "eu-west-1",
            Some(&endpoint),
            &context,
            &Credentials::given(pair),
        )
        .await
        .unwrap();
        assert!(sandbox);
        macro_rules! ask {
            ($($sdk:ident: $call:ident,)+) => {{
                $(
                    let before = asked.load(Ordering::SeqCst);
                    let paced: $sdk::Client = config.client();
                    assert!(paced.$call().send().await.is_err());
                    let sent = asked.load(Ordering::SeqCst);
                    assert!(sent > before, "{}", stringify!($sdk));
                    let forgotten = $sdk::Client::new(&config.0);
                    let refused = forgotten.$call().send().await.unwrap_err();
                    let why = DisplayErrorContext(refused).to_string();
                    assert!(why.contains("has no rate"), "{why}");
                    assert_eq!(asked.load(Ordering::SeqCst), sent);
                )+
            }};
        }
        ask! {
            aws_sdk_applicationautoscaling: list_tags_for_resource,
            aws_sdk_apprunner: list_services,
            aws_sdk_cloudwatchlogs: describe_log_groups,
            aws_sdk_ecr: get_authorization_token,
            aws_sdk_ecs: list_clusters,
            aws_sdk_elasticache: describe_replication_groups,
            aws_sdk_elasticloadbalancingv2: describe_load_balancers,
            aws_sdk_rds: describe_db_instances,
            aws_sdk_resourcegroupstagging: get_resources,
            aws_sdk_route53: list_hosted_zones,
            aws_sdk_secretsmanager: list_secrets,
            aws_sdk_sts: get_caller_identity,
        }
    }

    #[test]
    fn only_a_loopback_endpoint_is_a_sandbox() {
        for (endpoint, expected) in [
            ("http://127.0.0.1:4566", true),
            ("http://localhost:4566/", true),
            ("http://[::1]:1", true),
            ("https://127.0.0.1.example.com", false),
            ("https://ecs.us-east-1.amazonaws.com", false),
        ] {
            assert_eq!(is_loopback(endpoint).unwrap(), expected, "{endpoint}");
        }
        assert!(is_loopback("4566").is_err());
    }
}
