//! Instances: created, listed, failed over, deleted.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Instance, Server, rules, text};
use crate::backing::{BackingError, RedisSpec, SignedBy};
use crate::gcp::Gcp;
use crate::gcp::certificate::Certificate;
use crate::gcp::error::{ApiError, Code, Outcome};
use crate::gcp::names::is_dns_label;
use crate::gcp::operations::any;
use crate::gcp::schema::Object;
use crate::gcp::shelf::{Key, Kind, Makes, all, located};
use crate::gcp::wire::Call;

const CREATION: Duration = Duration::from_secs(5 * 60);
const DELETION: Duration = Duration::from_secs(2 * 60);
const FAILOVER: Duration = Duration::from_secs(60);

const PORT: u16 = 6379;
const TLS_PORT: u16 = 6378;

/// An address that leads nowhere, for an instance without a server.
const NOWHERE: &str = "10.114.0.3";

/// Deleted next to it: that takes a while.
pub(super) const CACHES: Kind<Server> = Kind {
    methods: "redis.projects.locations.instances.",
    id: 2,
    on: |gcp| &gcp.inner.redis,
    home: located,
    makes: Some(Makes {
        named: |call| match call.query("instanceId") {
            id if is_dns_label(id, 40) => Ok(id.to_owned()),
            _ => Err(ApiError::field(
                "instance_id",
                "must be 1 to 40 lowercase letters, digits and dashes, begin with a letter and not end with a dash",
            )),
        },
        made: |gcp, call, key| gcp.new_cache(&call.body, key),
        taken: |gcp, key| {
            let message = format!("Resource '{}' already exists", gcp.cache_name(key));
            ApiError::new(Code::AlreadyExists, message)
        },
        answer: |gcp, key, message| {
            let operation = gcp.begin_cache(key, "create");
            let (gcp, key, begun) = (gcp.clone(), key.clone(), operation.clone());
            gcp.clone().host().background.spawn(async move {
                let result = gcp.start_cache(&key, &message).await;
                gcp.finish_cache(&key, &begun, result);
            });
            operation
        },
    }),
    changes: None,
    ends: None,
    absent: |gcp, key| {
        ApiError::not_found(format!("Resource '{}' was not found", gcp.cache_name(key)))
    },
    fits: all,
    page: 500,
};

impl Gcp {
    fn new_cache(&self, body: &Object, key: &Key) -> Outcome<(Object, Server)> {
        rules::check_settable(body)?;
        let mut message = body.clone();
        rules::complete(&mut message, &self.host().project, &key.0);
        rules::check(&message, &self.host().project, &key.0)?;
        message.insert("name".into(), self.cache_name(key).into());
        message.insert("createTime".into(), self.now().into());
        message.insert("state".into(), "CREATING".into());
        let auth = message.get("authEnabled") == Some(&json!(true));
        let kept = Server {
            auth: auth.then(auth_string),
            server: None,
        };
        Ok((message, kept))
    }

    async fn start_cache(&self, key: &Key, message: &Object) -> Outcome<()> {
        let tls = rules::speaks_tls(message);
        let port = if tls { TLS_PORT } else { PORT };
        let passwords = self.with_cache(key, |it| Ok(it.passwords()))?;
        let spec = RedisSpec {
            name: self.cache_name(key),
            port,
            tls,
            signed_by: SignedBy::Vendor,
            passwords,
        };
        let (started, ()) = tokio::join!(
            self.host().backing.start_redis(spec),
            self.host().clock.sleep(CREATION),
        );
        self.with_cache(key, |instance| {
            let endpoint = match started {
                Ok(server) => {
                    let endpoint = server.endpoint();
                    instance.kept.server = Some(server);
                    (endpoint.ip().to_string(), endpoint.port())
                }
                Err(BackingError::NotInstalled(_)) => (NOWHERE.to_owned(), port),
                Err(BackingError::Machine(why)) => {
                    instance.set("statusMessage", why.clone());
                    return Err(ApiError::new(Code::Internal, why));
                }
            };
            instance.set("host", endpoint.0);
            instance.set("port", endpoint.1);
            instance.set("state", "READY");
            let range = instance.message.entry("reservedIpRange");
            range.or_insert("10.114.0.0/29".into());
            let identity = format!("serviceAccount:{}", self.cache_account());
            instance.set("persistenceIamIdentity", identity);
            if tls {
                instance.set("serverCaCerts", self.cache_authorities());
            }
            Ok(())
        })
    }

    fn cache_account(&self) -> String {
        let number = crate::gcp::names::project_number(&self.host().project);
        format!("{number}-sandbox@cloud-redis.iam.gserviceaccount.com")
    }

    /// The messages `TlsCertificate` of an instance that speaks TLS.
    fn cache_authorities(&self) -> Value {
        let authority = Certificate::of(self.host().backing.authority());
        json!([{
            "cert": authority.pem, "serialNumber": authority.serial,
            "sha1Fingerprint": authority.fingerprint,
            "createTime": authority.since, "expireTime": authority.until,
        }])
    }

    pub(super) fn failover_cache(&self, call: &Call, key: &Key) -> Outcome {
        debug_assert!(call.method.id.ends_with("failover"));
        let server = self.with_cache(key, |it| {
            ready(it)?;
            if !rules::is_highly_available(&it.message) {
                return Err(ApiError::precondition(
                    "Failover is only supported for STANDARD_HA instances.",
                ));
            }
            it.set("state", "FAILING_OVER");
            Ok(it.kept.server.clone())
        })?;
        let operation = self.begin_cache(key, "failover");
        let (gcp, key, begun) = (self.clone(), key.clone(), operation.clone());
        self.host().background.spawn(async move {
            if let Some(server) = &server {
                server.stop().await;
            }
            gcp.host().clock.sleep(FAILOVER).await;
            let restarted = match &server {
                Some(server) => server.start().await.map_err(broken),
                None => Ok(()),
            };
            let settled = gcp.with_cache(&key, |it| {
                let first = text(&it.message, "currentLocationId").to_owned();
                let zones = ["locationId", "alternativeLocationId"];
                let other = zones.map(|zone| text(&it.message, zone).to_owned());
                if let Some(zone) = other.into_iter().find(|zone| *zone != first) {
                    it.set("currentLocationId", zone);
                }
                it.set("state", "READY");
                Ok(())
            });
            gcp.finish_cache(&key, &begun, restarted.and(settled));
        });
        Ok(operation)
    }

    pub(super) fn delete_cache(&self, call: &Call, key: &Key) -> Outcome {
        debug_assert!(call.body.is_empty());
        let server = self.with_cache(key, |it| {
            ready(it)?;
            it.set("state", "DELETING");
            Ok(it.kept.server.clone())
        })?;
        let operation = self.begin_cache(key, "delete");
        let (gcp, key, begun) = (self.clone(), key.clone(), operation.clone());
        self.host().background.spawn(async move {
            if let Some(server) = server {
                server.remove().await;
            }
            gcp.host().clock.sleep(DELETION).await;
            gcp.inner.redis.lock().remove(&key);
            gcp.end_operation(&begun, Ok(any("google.protobuf.Empty", &json!({}))));
        });
        Ok(operation)
    }
}

/// Refuses a change while another one is being made.
pub(super) fn ready(instance: &Instance) -> Outcome<()> {
    if instance.state() == "READY" {
        return Ok(());
    }
    Err(ApiError::precondition(format!(
        "Instance is in state {}; it must be READY for this operation.",
        instance.state()
    )))
}

/// What the machine refused.
pub(super) fn broken(error: BackingError) -> ApiError {
    ApiError::new(Code::Internal, error.to_string())
}

/// An AUTH string as Memorystore makes them.
pub(super) fn auth_string() -> String {
    uuid::Uuid::new_v4().to_string()
}
