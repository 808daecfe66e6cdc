//! Who serves: traffic targets, the addresses in front, and who is refused.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Key, Readiness, Service, short, text};
use crate::gcp::Gcp;
use crate::gcp::error::{ApiError, Code, Outcome};
use crate::gcp::names::is_dns_label;
use crate::gcp::schema::Object;
use crate::runner::{Front, Gate};

/// The type of a target that leads to the latest ready revision.
pub const LATEST: &str = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST";
/// The type of a target that leads to the revision that it names.
pub const PINNED: &str = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION";

/// Checks the `traffic` of the service of that name.
pub fn check(name: &str, service: &Object) -> Outcome<()> {
    let targets = service
        .get("traffic")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let mut tags = BTreeSet::new();
    let mut sum = 0;
    for (index, target) in targets.iter().enumerate() {
        let at = format!("traffic[{index}]");
        let revision = target["revision"].as_str().unwrap_or_default();
        match target["type"].as_str().unwrap_or_default() {
            LATEST if !revision.is_empty() => {
                return Err(ApiError::field(
                    &format!("{at}.revision"),
                    "must not be set when the type is LATEST",
                ));
            }
            LATEST => {}
            PINNED if revision.is_empty() => {
                return Err(ApiError::field(
                    &format!("{at}.revision"),
                    "must be set when the type is REVISION",
                ));
            }
            PINNED if revision.contains('/') => {
                return Err(ApiError::field(
                    &format!("{at}.revision"),
                    "must be the name of a revision, not a path",
                ));
            }
            PINNED => {}
            _ => return Err(ApiError::field(&format!("{at}.type"), "must be set")),
        }
        let percent = target["percent"].as_i64().unwrap_or(0);
        if !(0..=100).contains(&percent) {
            return Err(ApiError::field(
                &format!("{at}.percent"),
                "must be between 0 and 100",
            ));
        }
        sum += percent;
        let tag = target["tag"].as_str().unwrap_or_default();
        // They make one label of the tag's address (the API's answer as firebase/firebase-tools
        // #6137 has it; the field is named as in the other refusals here).
        if !tag.is_empty() && tag.len() + name.len() > 46 {
            return Err(ApiError::field(
                &format!("{at}.tag"),
                format!(
                    "traffic tag '{tag}' and service name '{name}' together are too long. Combined traffic tag and service name cannot exceed 46 characters."
                ),
            ));
        }
        if !tag.is_empty() && !is_dns_label(tag, 46) {
            return Err(ApiError::field(
                &format!("{at}.tag"),
                "must be a DNS label of at most 46 characters",
            ));
        }
        if !tag.is_empty() && !tags.insert(tag) {
            return Err(ApiError::field(
                &format!("{at}.tag"),
                format!("the tag '{tag}' is given more than once"),
            ));
        }
    }
    if sum != 100 {
        return Err(ApiError::field(
            "traffic",
            format!("the percentages must sum to 100, they sum to {sum}"),
        ));
    }
    Ok(())
}

/// The revisions that the service's traffic leads to now, by tag or percentage.
pub fn serving(service: &Service) -> BTreeSet<String> {
    let ready = short(text(&service.message, "latestReadyRevision"));
    targets(&service.message, ready)
        .into_iter()
        .map(|t| t.revision)
        .filter(|r| !r.is_empty())
        .collect()
}

struct Target {
    revision: String,
    percent: u32,
    tag: String,
}

/// The targets with LATEST replaced by the latest ready revision (empty when there is none).
fn targets(service: &Object, latest_ready: &str) -> Vec<Target> {
    let all = service
        .get("traffic")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    all.map(|target| Target {
        revision: match target["type"].as_str() {
            Some(PINNED) => target["revision"].as_str().unwrap_or_default().to_owned(),
            _ => latest_ready.to_owned(),
        },
        percent: target["percent"]
            .as_u64()
            .and_then(|p| u32::try_from(p).ok())
            .unwrap_or(0),
        tag: target["tag"].as_str().unwrap_or_default().to_owned(),
    })
    .filter(|t| t.percent > 0 || !t.tag.is_empty())
    .collect()
}

const FORBIDDEN: &str = "<html><head>\n<title>403 Forbidden</title>\n</head>\n<body>\n<h1>Error: Forbidden</h1>\n\
     <h2>Your client does not have permission to get URL from this server.</h2>\n</body></html>\n";
const UNAUTHORIZED: &str = "<html><head>\n<title>401 Unauthorized</title>\n</head>\n<body>\n<h1>Error: Unauthorized</h1>\n\
     <h2>Your client does not have permission to the requested URL.</h2>\n</body></html>\n";
const HIDDEN: &str = "<html><head>\n<title>404 Page not found</title>\n</head>\n<body>\n<h1>Error: Page not found</h1>\n\
     <h2>The requested URL was not found on this server.</h2>\n</body></html>\n";

fn page(status: StatusCode, page: &str) -> Vec<u8> {
    let reason = status.canonical_reason().unwrap_or_default();
    let length = page.len();
    format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: text/html; charset=UTF-8\r\ncontent-length: {length}\r\nconnection: \
         close\r\n\r\n{page}",
        status.as_u16()
    )
    .into_bytes()
}

/// Paths that never reach a container: "Cloud Run reserves the paths /eventlog, paths starting with
/// /_ah/, and some paths ending with z; to prevent conflicts with reserved paths, avoid all paths
/// that end in z" (Cloud Run's known issues, "Reserved URL paths"). Google names no list of the
/// last ones: those of its own servers' debug pages are taken here.
fn is_reserved(path: &str) -> bool {
    const DEBUG: [&str; 8] = [
        "/healthz", "/statusz", "/varz", "/streamz", "/rpcz", "/flagz", "/threadz", "/buildz",
    ];
    path == "/eventlog" || path.starts_with("/_ah/") || DEBUG.contains(&path)
}

/// Where Identity-Aware Proxy sends whoever has not signed in.
const SIGN_IN: &str = "HTTP/1.1 302 Found\r\nlocation: https://accounts.google.com/o/oauth2/v2/auth\r\n\
     x-goog-iap-generated-response: true\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Who gets through to a service's containers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Admitted {
    /// Who signs in. "The IAP check happens first and accepts or blocks requests. Then the Cloud
    /// Run IAM check accepts or blocks requests"
    /// (<https://docs.cloud.google.com/run/docs/securing/identity-aware-proxy-cloud-run>).
    SignedIn,
    /// Everybody.
    All,
    /// Who bears an identity token for the service's address.
    Invokers,
    /// Nobody who comes over the internet.
    Nobody,
}

impl Gcp {
    /// Makes the service's traffic what its message asks for: starts instances that are missing,
    /// binds the tags' addresses, and sets backends and `trafficStatuses`. The error is the one
    /// that `RoutesReady` reports.
    pub(super) async fn assign_traffic(&self, key: &Key) -> Outcome<()> {
        let wanted = self.with_service(key, |service| {
            let ready = short(text(&service.message, "latestReadyRevision"));
            let all = targets(&service.message, ready);
            for target in &all {
                match service.kept.revisions.get(&target.revision).map(|r| &r.readiness) {
                    Some(Readiness::Ready) => {}
                    Some(Readiness::Pending) => {
                        return Err(ApiError::precondition(format!("Revision '{}' is not ready.", target.revision)));
                    }
                    Some(Readiness::Failed(error)) => return Err(error.clone()),
                    None if target.revision.is_empty() => {
                        return Err(ApiError::precondition(format!("Service '{}' has no ready revision.", key.1)));
                    }
                    None => {
                        return Err(ApiError::new(
                            Code::Internal,
                            format!(
                                "Revision '{}' does not exist or is deleted. Update all traffic to route to currently available revisions.",
                                target.revision
                            ),
                        ));
                    }
                }
            }
            Ok(all)
        })?;
        for target in &wanted {
            self.ensure_instance(key, &target.revision).await?;
        }
        self.bind_tags(key, &wanted).await?;
        self.with_service(key, |service| {
            let statuses = statuses(service);
            service.message.insert("trafficStatuses".into(), statuses);
            Ok(())
        })?;
        self.assign_backends(key).await;
        self.retire_idle(key);
        Ok(())
    }

    async fn bind_tags(&self, key: &Key, wanted: &[Target]) -> Outcome<()> {
        for target in wanted.iter().filter(|t| !t.tag.is_empty()) {
            let known = self.with_service(key, |service| {
                Ok(service.kept.tags.contains_key(&target.tag))
            })?;
            if known {
                continue;
            }
            let address =
                self.with_service(key, |service| Ok(service.address(&target.revision)))?;
            let front = match address {
                // What answers in a simulated container's stead is asked at the tag's address.
                Some(_) => Front::bind(0).await,
                None => self.host().runner.front().await,
            };
            let front = front.map_err(|error| {
                ApiError::new(
                    Code::Internal,
                    format!("cannot listen on loopback: {error}"),
                )
            })?;
            self.with_service(key, |service| {
                service.kept.tags.insert(target.tag.clone(), front);
                Ok(())
            })?;
        }
        self.with_service(key, |service| {
            service.kept.tags.retain(|tag, front| {
                let keep = wanted.iter().any(|t| &t.tag == tag);
                if !keep {
                    front.close();
                }
                keep
            });
            Ok(())
        })
    }

    /// Points the service's addresses at the instances of its traffic, or at a refusal when callers
    /// may not call.
    pub(super) async fn assign_backends(&self, key: &Key) {
        let assigned = self.with_service(key, |service| {
            let gate = self.gate(service.admitted(), text(&service.message, "uri"));
            let served = service
                .message
                .get("trafficStatuses")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            let status = json!({ "traffic": served });
            let ready = short(text(&service.message, "latestReadyRevision")).to_owned();
            let all = status
                .as_object()
                .map(|s| targets(s, &ready))
                .unwrap_or_default();
            let address = |revision: &str| service.address(revision);
            let weighted: Vec<(SocketAddr, u32)> = all
                .iter()
                .filter(|t| t.percent > 0 && !super::scaling::is_disabled(&service.message))
                .filter_map(|t| Some((address(&t.revision)?, t.percent)))
                .collect();
            service.kept.front.guard(Arc::clone(&gate));
            service.kept.front.serve(weighted);
            for target in all.iter().filter(|t| !t.tag.is_empty()) {
                if let Some(front) = service.kept.tags.get(&target.tag) {
                    let own = address(&target.revision).map(|a| (a, 1));
                    front.guard(Arc::clone(&gate));
                    front.serve(own.into_iter().collect());
                }
            }
            Ok(())
        });
        // A service that is gone needs no backends.
        drop(assigned);
    }

    /// What Google's front end does with a request before a container sees it. A token may also
    /// come in `X-Serverless-Authorization`, which then is the only one that is looked at (Cloud
    /// Run, "Authenticating service-to-service").
    fn gate(&self, admitted: Admitted, uri: &str) -> Gate {
        let (gcp, uri) = (self.clone(), uri.to_owned());
        Arc::new(move |path, headers| {
            if is_reserved(path) || admitted == Admitted::Nobody {
                return Some(page(StatusCode::NOT_FOUND, HIDDEN));
            }
            match admitted {
                Admitted::All => return None,
                Admitted::SignedIn => return Some(SIGN_IN.as_bytes().to_vec()),
                Admitted::Invokers | Admitted::Nobody => {}
            }
            let header = |name: &str| headers.lines().find_map(|line| line.strip_prefix(name));
            let bearer = header("x-serverless-authorization:").or_else(|| header("authorization:"));
            let token = bearer
                .and_then(|it| it.split_once(' '))
                .map(|(_, token)| token);
            match token {
                None => Some(page(StatusCode::FORBIDDEN, FORBIDDEN)),
                Some(token) if gcp.auth().admits(token, &uri) => None,
                Some(_) => Some(page(StatusCode::UNAUTHORIZED, UNAUTHORIZED)),
            }
        })
    }

    /// Stops instances that have had no traffic for a minute of cloud time.
    fn retire_idle(&self, key: &Key) {
        let (gcp, key) = (self.clone(), key.clone());
        self.host().background.spawn(async move {
            gcp.host().clock.sleep(Duration::from_secs(60)).await;
            let idle = gcp.with_service(&key, |service| {
                let needed = serving(service);
                let idle = service
                    .kept
                    .revisions
                    .iter_mut()
                    .filter(|(name, revision)| {
                        !needed.contains(*name) && matches!(revision.readiness, Readiness::Ready)
                    });
                Ok(idle
                    .filter_map(|(_, revision)| revision.instance.take())
                    .collect::<Vec<_>>())
            });
            for instance in idle.unwrap_or_default() {
                instance.stop(&gcp).await;
            }
        });
    }
}

impl Service {
    /// Where the instance of a revision listens.
    fn address(&self, revision: &str) -> Option<SocketAddr> {
        self.kept
            .revisions
            .get(revision)?
            .instance
            .as_ref()?
            .address()
    }

    fn admitted(&self) -> Admitted {
        let internal = !matches!(text(&self.message, "ingress"), "" | "INGRESS_TRAFFIC_ALL");
        let open = self.message.get("invokerIamDisabled") == Some(&Value::Bool(true))
            || self.policy.grants_all_users("roles/run.invoker");
        if internal || self.message.get("defaultUriDisabled") == Some(&Value::Bool(true)) {
            Admitted::Nobody
        } else if self.message.get("iapEnabled") == Some(&Value::Bool(true)) {
            Admitted::SignedIn
        } else if open {
            Admitted::All
        } else {
            Admitted::Invokers
        }
    }
}

/// `trafficStatuses`: the targets as they now serve.
fn statuses(service: &Service) -> Value {
    let all = service
        .message
        .get("traffic")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    all.map(|target| {
        let mut status = target.clone();
        if let Some(front) = target["tag"]
            .as_str()
            .and_then(|tag| service.kept.tags.get(tag))
        {
            status["uri"] = format!("http://{}", front.address()).into();
        }
        status
    })
    .collect()
}
