//! The HTTP surface: one function a route, and what every answer has in common.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::rejection::FormRejection;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use deadpool_postgres::Pool;
use jsonwebtoken::jwk::JwkSet;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::cache::Cache;
use crate::clients::{self, Client};
use crate::metrics::Metrics;
use crate::rate_limit::{RateLimit, Refused};
use crate::release::{Fault, Release};
use crate::settings::ServeSettings;
use crate::tokens::{Claims, LIFETIME, Refusal, TokenRequest};

/// A load balancer gives a health check a few seconds; a slow answer is a wrong one.
const HEALTH_PATIENCE: Duration = Duration::from_secs(2);

/// What the routes share.
pub struct App {
    settings: ServeSettings,
    release: Release,
    pool: Pool,
    /// When there is one.
    cache: Option<Arc<Cache>>,
    metrics: Metrics,
    rate_limit: RateLimit,
    /// Checked for clients that do not exist, so that the time taken does not tell.
    nobody: String,
}

impl App {
    /// Gathers what the routes share.
    pub fn new(
        settings: ServeSettings,
        release: Release,
        pool: Pool,
        cache: Option<Arc<Cache>>,
        metrics: Metrics,
        rate_limit: RateLimit,
    ) -> Arc<Self> {
        let nobody = clients::hash("nobody has this secret");
        Arc::new(Self {
            settings,
            release,
            pool,
            cache,
            metrics,
            rate_limit,
            nobody,
        })
    }

    async fn database_answers(&self) -> bool {
        let asked = async {
            let database = self.pool.get().await.ok()?;
            database.simple_query("SELECT 1").await.ok()
        };
        matches!(timeout(HEALTH_PATIENCE, asked).await, Ok(Some(_)))
    }

    /// `None` without a cache.
    async fn cache_answers(&self) -> Option<bool> {
        Some(self.cache.as_ref()?.answers().await)
    }
}

/// All routes.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(about))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/.well-known/jwks.json", get(jwks))
        .route("/api/v1/token", post(token))
        .route("/api/v1/verify", get(verify))
        .fallback(async || (StatusCode::NOT_FOUND, Json(json!({ "error": "not_found" }))))
        .layer(middleware::from_fn_with_state(app.clone(), observe))
        .with_state(app)
}

/// Counts and logs each request: its route, never its query or its headers.
async fn observe(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().to_string();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map(|path| path.as_str().to_owned());
    let route = route.unwrap_or_else(|| "other".to_owned());
    let mut response = next.run(request).await;
    let status = response.status().as_u16();
    app.metrics
        .requests
        .with_label_values(&[&method, &route, &status.to_string()])
        .inc();
    let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(method, route, status, milliseconds, "answered");
    if let Some(origin) = &app.settings.cors_origin {
        response
            .headers_mut()
            .insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    response
}

async fn about(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({
        "name": "idp",
        "version": app.release.version,
        "node_env": app.settings.node_env,
        "greeting": app.settings.greeting,
        "environment": app.settings.present,
    }))
}

async fn health(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    let version = &app.release.version;
    if app.release.fault == Some(Fault::Health) {
        let body = json!({ "status": "broken", "version": version });
        return (StatusCode::INTERNAL_SERVER_ERROR, Json(body));
    }
    let (database, cache) = tokio::join!(app.database_answers(), app.cache_answers());
    // Without the count of token requests none is answered.
    let (status, word) = match database && cache.unwrap_or(true) {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
    };
    let reached = |answers| if answers { "ok" } else { "unreachable" };
    let mut body = json!({
        "status": word,
        "version": version,
        "database": reached(database),
    });
    if let Some(cache) = cache {
        body["redis"] = json!(reached(cache));
    }
    (status, Json(body))
}

async fn metrics(State(app): State<Arc<App>>) -> Result<impl IntoResponse, StatusCode> {
    let text = app
        .metrics
        .text()
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok((
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    ))
}

async fn jwks(State(app): State<Arc<App>>) -> Json<JwkSet> {
    Json(app.settings.keys.published.clone())
}

async fn token(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    form: Result<Form<TokenRequest>, FormRejection>,
) -> Result<impl IntoResponse, Refusal> {
    app.rate_limit
        .admit()
        .await
        .map_err(|refused| match refused {
            Refused::Full(wait) => Refusal::TooMany(wait.as_secs().saturating_add(1)),
            Refused::Uncounted(_) => unavailable(refused),
        })?;
    let Form(request) = form.map_err(|_| Refusal::InvalidRequest("the body is not a form"))?;
    match request.grant_type.as_deref() {
        Some("client_credentials") => {}
        Some(_) => return Err(Refusal::UnsupportedGrantType),
        None => return Err(Refusal::InvalidRequest("`grant_type` is missing")),
    }
    let (id, secret) = request.credentials(&headers)?;
    let client = authenticate(&app, &id, secret).await?;
    let scope = request.grant(&client.scopes)?;
    let claims = Claims::new(&app.settings.issuer, &client.id, &scope);
    record(&app.pool, &claims).await.map_err(unavailable)?;
    let token = claims.sign(&app.settings.keys).map_err(unavailable)?;
    app.metrics.tokens.inc();
    let body = json!({
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": LIFETIME,
        "scope": scope,
    });
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)))
}

async fn verify(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let token = bearer.and_then(|value| value.strip_prefix("Bearer "));
    let (keys, issuer) = (&app.settings.keys, &app.settings.issuer);
    match token.and_then(|token| Claims::verify(token, keys, issuer)) {
        Some(claims) => Json(json!({ "active": true, "claims": claims })).into_response(),
        None => {
            let challenge = [(header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")];
            let body = Json(json!({ "active": false, "error": "invalid_token" }));
            (StatusCode::UNAUTHORIZED, challenge, body).into_response()
        }
    }
}

async fn authenticate(app: &App, id: &str, secret: String) -> Result<Client, Refusal> {
    let database = app.pool.get().await.map_err(unavailable)?;
    let client = Client::find(&**database, id).await.map_err(unavailable)?;
    let hash = client
        .as_ref()
        .map_or(&app.nobody, |client| &client.secret_hash)
        .clone();
    // Slow by design: not on the threads that answer health checks.
    let checking = tokio::task::spawn_blocking(move || clients::verify(&secret, &hash));
    match (client, checking.await.map_err(unavailable)?) {
        (Some(client), true) => Ok(client),
        (Some(_), false) | (None, _) => Err(Refusal::InvalidClient),
    }
}

async fn record(pool: &Pool, claims: &Claims) -> Result<(), deadpool_postgres::PoolError> {
    let statement = "INSERT INTO issued_tokens (jti, client_id, scope, expires_at)
         VALUES ($1, $2, $3, now() + make_interval(secs => $4))";
    let lifetime = f64::from(u32::try_from(LIFETIME).unwrap_or(u32::MAX));
    let database = pool.get().await?;
    database
        .execute(
            statement,
            &[&claims.jti, &claims.sub, &claims.scope, &lifetime],
        )
        .await?;
    Ok(())
}

fn unavailable(error: impl std::fmt::Display) -> Refusal {
    tracing::error!(error = %error, "cannot answer a token request");
    Refusal::Unavailable
}
