//! Identity tokens: what a private Cloud Run service wants of whoever calls it. Made from the same
//! credentials as everything else.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gcp_auth::CustomServiceAccount;
use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::credentials::{self, Source};
use crate::gcloud;

/// How a service account signs in without a user.
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A token for a service; `audience` is its own address.
///
/// Errors: why there is none, in words.
pub(crate) async fn of(
    http: &reqwest::Client,
    source: &Source,
    audience: &str,
) -> Result<SecretString, String> {
    match source {
        Source::Key(account, json) => of_key(http, account, json, audience).await,
        Source::Metadata => of_metadata(http, audience).await,
        Source::File(json) => of_file(http, json, audience).await,
        Source::Gcloud => of_gcloud(audience).await,
        Source::Variable(name) => Err(format!(
            "the token in `{name}` cannot be turned into an identity token"
        )),
    }
}

async fn told(call: reqwest::RequestBuilder) -> Result<(u16, Value), String> {
    let unanswered = |error: reqwest::Error| format!("nobody answers: {}", error.without_url());
    let answer = call.send().await.map_err(unanswered)?;
    let status = answer.status().as_u16();
    let body = answer.bytes().await.map_err(unanswered)?;
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}

fn token_in(member: &str, (status, answer): (u16, Value)) -> Result<SecretString, String> {
    match answer[member].as_str() {
        Some(token) => Ok(SecretString::from(token.to_owned())),
        None => {
            let said = answer["error"]["message"].as_str();
            let said = said.or(answer["error_description"].as_str());
            Err(format!("{status}: {}", said.unwrap_or("no token")))
        }
    }
}

/// A signed assertion that names the audience buys one ("Service to service: getting an ID token
/// with a service account key").
async fn of_key(
    http: &reqwest::Client,
    account: &CustomServiceAccount,
    json: &Value,
    audience: &str,
) -> Result<SecretString, String> {
    let now = Timestamp::now().as_second();
    let uri = json["token_uri"].as_str();
    let uri = uri.unwrap_or("https://oauth2.googleapis.com/token");
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!(
        "{}.{}",
        part(json!({ "alg": "RS256", "typ": "JWT", "kid": json["private_key_id"] })),
        part(json!({
            "iss": json["client_email"], "sub": json["client_email"], "aud": uri,
            "iat": now, "exp": now + 3600, "target_audience": audience,
        }))
    );
    let signature = account.signer().sign(signed.as_bytes());
    let signature = signature.map_err(|_| "the key does not sign".to_owned())?;
    let assertion = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    let form = [("grant_type", GRANT), ("assertion", &assertion)];
    token_in("id_token", told(http.post(uri).form(&form)).await?)
}

async fn of_metadata(http: &reqwest::Client, audience: &str) -> Result<SecretString, String> {
    let host = std::env::var("GCE_METADATA_HOST");
    let host = host.unwrap_or_else(|_| "metadata.google.internal".to_owned());
    let url =
        format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/identity");
    let query: String = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("audience", audience)
        .append_pair("format", "full")
        .finish();
    let call = http
        .get(format!("{url}?{query}"))
        .header("Metadata-Flavor", "Google");
    let unanswered = |error: reqwest::Error| format!("nobody answers: {}", error.without_url());
    let answer = call.send().await.map_err(unanswered)?;
    let status = answer.status().as_u16();
    let token = answer.text().await.map_err(unanswered)?;
    match status {
        200 => Ok(SecretString::from(token.trim().to_owned())),
        status => Err(format!("the metadata server answers {status}")),
    }
}

async fn of_file(
    http: &reqwest::Client,
    json: &Value,
    audience: &str,
) -> Result<SecretString, String> {
    let impersonated = json["service_account_impersonation_url"].as_str();
    match (json["type"].as_str(), impersonated) {
        (Some("impersonated_service_account"), Some(url)) => {
            let delegates = json["delegates"].clone();
            of_impersonation(http, &json["source_credentials"], url, delegates, audience).await
        }
        (Some("external_account"), Some(url)) => {
            let mut federated = json.clone();
            if let Some(members) = federated.as_object_mut() {
                members.remove("service_account_impersonation_url");
            }
            of_impersonation(http, &federated, url, Value::Null, audience).await
        }
        // Cloud Run takes those that gcloud makes for people, not those of application default
        // credentials.
        (Some("authorized_user"), _) => of_gcloud(audience).await,
        _ => Err("a federated identity has none of its own: impersonate a service account".into()),
    }
}

/// `generateIdToken` of the account that is impersonated, with what impersonates it.
async fn of_impersonation(
    http: &reqwest::Client,
    source: &Value,
    url: &str,
    delegates: Value,
    audience: &str,
) -> Result<SecretString, String> {
    let unusable = || "the credentials behind the impersonated account cannot be used".to_owned();
    let source = credentials::built(source, None)
        .ok()
        .flatten()
        .ok_or_else(unusable)?;
    let headers = credentials::headers(&source)
        .await
        .map_err(|_| unusable())?;
    let url = url.replace(":generateAccessToken", ":generateIdToken");
    let mut body = json!({ "audience": audience, "includeEmail": true });
    if delegates.is_array() {
        body["delegates"] = delegates;
    }
    token_in(
        "token",
        told(http.post(url).headers(headers).json(&body)).await?,
    )
}

/// Of a service account with the audience; people's tokens name none, and Cloud Run takes them.
async fn of_gcloud(audience: &str) -> Result<SecretString, String> {
    let audiences = format!("--audiences={audience}");
    let program = std::path::Path::new(gcloud::PROGRAM);
    let print = ["auth", "print-identity-token"];
    let of_account = [print.as_slice(), &[audiences.as_str()]].concat();
    let told = match gcloud::run(program, &of_account).await {
        Ok(token) => Ok(token),
        Err(_) => gcloud::run(program, &print).await,
    };
    match told {
        Ok(token) if !token.is_empty() => Ok(SecretString::from(token)),
        _ => Err(
            "`gcloud auth print-identity-token` gives none: log in with `gcloud auth login`".into(),
        ),
    }
}
