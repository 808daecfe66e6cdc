//! The reference implementation of a registry, Debian's `docker-registry`: open, with a password,
//! and with a token service.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use axum::Router;
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use common::{INDEX, layout_files, multi_platform, simple_layout, write_dir};
use deployer_oci::{
    Anonymous, Credentials, Error, ErrorKind, ImageSource, Keychain, Registry, RegistryAuth,
};
use serde_json::{Value, json};
use tempfile::TempDir;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A `docker-registry` on a free port.
struct Real {
    _running: Running,
    host: String,
    folder: TempDir,
}

impl Real {
    /// With this text after the usual configuration.
    async fn start(folder: TempDir, auth: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let host = format!("127.0.0.1:{port}");
        let storage = folder.path().join("storage");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: '{}'}}}}\n\
             http: {{addr: '{host}'}}\n{auth}",
            storage.display()
        );
        std::fs::write(folder.path().join("config.yml"), config).unwrap();
        let mut command = Command::new("docker-registry");
        command
            .arg("serve")
            .arg(folder.path().join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let running = Running(command.spawn().unwrap_or_else(|error| {
            panic!("`docker-registry` cannot be started ({error}); install it: apt-get install docker-registry")
        }));
        for _ in 0..200 {
            if std::net::TcpStream::connect(&host).is_ok() {
                return Self {
                    _running: running,
                    host,
                    folder,
                };
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("docker-registry does not listen on {host}");
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn registry(&self, auth: impl RegistryAuth + 'static) -> Registry {
        Registry::named(&self.host, auth).unwrap()
    }

    /// Copies a small image in, and reads it as the manifest would name it.
    async fn goes_round(&self, auth: impl RegistryAuth + Clone + 'static) -> Result<(), Error> {
        let layout = self.path().join("single");
        let large = vec![7_u8; 5 * 1024 * 1024];
        let digest = simple_layout(&layout, &[&large, b"small"]);
        let source = ImageSource::parse("oci:single", self.path())?;
        let image = source.open(Anonymous).await?;
        let copied = self
            .registry(auth.clone())
            .copy(&image, "team/app", Some("v1"), &|_| {})
            .await?;
        assert_eq!(copied.digest, digest);
        let name = format!("{}/team/app:v1", self.host);
        let image = ImageSource::parse(&name, self.path())?.open(auth).await?;
        assert_eq!(image.digest(), &digest);
        Ok(())
    }

    /// Nobody, and a wrong password, are refused by name.
    async fn keeps_strangers_out(&self) {
        let wrong = Credentials::Basic {
            user: "robot".into(),
            password: "hunter2".into(),
        };
        for stranger in [Credentials::Anonymous, wrong] {
            let error = self.goes_round(stranger).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}

/// Logins where a `docker login` left them.
#[derive(Clone)]
struct Kept(Keychain);

#[async_trait::async_trait]
impl RegistryAuth for Kept {
    async fn credentials(&self, registry: &str, repository: &str) -> Result<Credentials, Error> {
        let search = self.0.search(registry, repository).await;
        let found = search
            .found
            .unwrap_or_else(|| panic!("{:?}", search.in_vain));
        Ok(found.credentials)
    }
}

/// With this `config.json`, and a helper `test` that answers `login`.
fn kept(folder: &Path, config: &Value, login: &Value) -> Kept {
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let helper = folder.join("docker-credential-test");
    std::fs::write(
        &helper,
        format!("#!/bin/sh\ncat >/dev/null\necho '{login}'\n"),
    )
    .unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let folder = folder.as_os_str().to_owned();
    Kept(Keychain::new(move |name| match name {
        "DOCKER_CONFIG" => Some(folder.clone()),
        "PATH" => Some(OsString::from(&path)),
        _ => None,
    }))
}

/// What a client that is not ours reads.
async fn raw(url: &str, kind: &str) -> Vec<u8> {
    let request = reqwest::Client::new().get(url).header("accept", kind);
    let response = request.send().await.unwrap().error_for_status().unwrap();
    response.bytes().await.unwrap().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_registry_takes_and_gives_back_the_same_digest() {
    let real = Real::start(tempfile::tempdir().unwrap(), "").await;
    let registry = real.registry(Anonymous);
    let parts = multi_platform();
    let top = parts.last().unwrap();
    write_dir(
        &real.path().join("multi"),
        &layout_files(&parts, &[(top, INDEX, None)]),
    );
    let large = vec![7_u8; 5 * 1024 * 1024];
    simple_layout(&real.path().join("single"), &[&large, b"small"]);
    for name in ["multi", "single"] {
        let source = ImageSource::parse(&format!("oci:{name}"), real.path()).unwrap();
        let image = source.open(Anonymous).await.unwrap();
        let copied = registry
            .copy(&image, name, Some("v1"), &|_| {})
            .await
            .unwrap();
        assert_eq!(&copied.digest, image.digest());
        assert_eq!(copied.blobs_uploaded, image.blobs().len());
        let top = image.manifests().last().unwrap();
        let url = format!("http://{}/v2/{name}/manifests/v1", real.host);
        assert_eq!(raw(&url, &top.media_type).await, top.bytes);
        let remote = format!("{}/{name}:v1", real.host);
        let remote = ImageSource::parse(&remote, real.path()).unwrap();
        let image = remote.open(Anonymous).await.unwrap();
        assert_eq!(&copied.digest, image.digest());
        let elsewhere = format!("copy/{name}");
        let copied = registry
            .copy(&image, &elsewhere, None, &|_| {})
            .await
            .unwrap();
        assert_eq!(copied.blobs_mounted, image.blobs().len());
        let again = registry
            .copy(&image, &elsewhere, None, &|_| {})
            .await
            .unwrap();
        assert_eq!(again.blobs_present, image.blobs().len());
    }
}

/// `robot` with the password `U*U`: a vector of crypt_blowfish's own tests.
const HTPASSWD: &str = "robot:$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_asks_for_a_password_is_shown_the_one_that_docker_keeps() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("htpasswd");
    std::fs::write(&file, HTPASSWD).unwrap();
    let auth = format!(
        "auth: {{htpasswd: {{realm: test, path: '{}'}}}}\n",
        file.display()
    );
    let real = Real::start(folder, &auth).await;
    let host = &real.host;
    let login = json!({"ServerURL": host, "Username": "robot", "Secret": "U*U"});
    for config in [
        json!({"auths": {host: {"auth": BASE64_STANDARD.encode("robot:U*U")}}}),
        json!({"auths": {format!("{host}/team"): {"username": "robot", "password": "U*U"}}}),
        json!({"credsStore": "test", "auths": {host: {}}}),
        json!({"credHelpers": {host: "test"}, "credsStore": "absent"}),
    ] {
        real.goes_round(kept(real.path(), &config, &login))
            .await
            .unwrap();
    }
    real.keeps_strangers_out().await;
}

/// A token service in this process, as the distribution project's specification says; it signs for
/// `docker-registry`.
struct Tokens {
    key: EcdsaKeyPair,
    /// In every token's head: the registry checks it against its root certificates.
    certificate: String,
    asked: Mutex<Vec<String>>,
}

impl Tokens {
    /// Serves; gives the realm's address.
    async fn start(folder: &Path) -> (Arc<Self>, String) {
        let pair = rcgen::KeyPair::generate().unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pair.serialize_der());
        let certificate = rcgen::CertificateParams::new(["tokens.example".to_owned()])
            .unwrap()
            .self_signed(&pair)
            .unwrap();
        std::fs::write(folder.join("root.pem"), certificate.pem()).unwrap();
        let tokens = Arc::new(Self {
            key: key.unwrap(),
            certificate: BASE64_STANDARD.encode(certificate.der()),
            asked: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let realm = format!("http://{}/token", listener.local_addr().unwrap());
        let methods = axum::routing::get(by_password).post(by_identity);
        let app = Router::new()
            .route("/token", methods)
            .with_state(Arc::clone(&tokens));
        tokio::spawn(async move { axum::serve(listener, app).await });
        (tokens, realm)
    }

    fn note(&self, text: impl Into<String>) {
        self.asked.lock().unwrap().push(text.into());
    }

    /// For every action on every repository that is asked for.
    fn token(&self, service: &str, scopes: &str) -> String {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let access = scopes.split(' ').filter_map(|scope| {
            let mut parts = scope.split(':');
            let (kind, name) = (parts.next()?, parts.next()?);
            let actions: Vec<_> = parts.next()?.split(',').collect();
            Some(json!({"type": kind, "name": name, "actions": actions}))
        });
        let claims = json!({
            "iss": "tokens.example", "sub": "robot", "aud": service,
            "iat": now, "nbf": now - 5, "exp": now + 300, "jti": now.to_string(),
            "access": access.collect::<Vec<_>>(),
        });
        let head = json!({"typ": "JWT", "alg": "ES256", "x5c": [self.certificate]});
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&head), part(&claims));
        let signature = self
            .key
            .sign(&SystemRandom::new(), signed.as_bytes())
            .unwrap();
        format!(
            "{signed}.{}",
            BASE64_URL_SAFE_NO_PAD.encode(signature.as_ref())
        )
    }
}

async fn by_password(
    State(tokens): State<Arc<Tokens>>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let all = |name: &str| -> Vec<_> {
        let pairs = query.iter().filter(|(key, _)| key == name);
        pairs.map(|(_, value)| value.as_str()).collect()
    };
    let shown = headers.get("authorization").map(|it| it.to_str().unwrap());
    let known = format!("Basic {}", BASE64_STANDARD.encode("robot:s3cret"));
    if shown != Some(known.as_str()) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    tokens.note("by password");
    let token = tokens.token(&all("service").join(" "), &all("scope").join(" "));
    axum::Json(json!({"token": token, "expires_in": 300})).into_response()
}

async fn by_identity(
    State(tokens): State<Arc<Tokens>>,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    if form["grant_type"] != "refresh_token" || form["refresh_token"] != "1dentity" {
        return (StatusCode::UNAUTHORIZED, r#"{"error":"invalid_grant"}"#).into_response();
    }
    assert!(!form["client_id"].is_empty());
    tokens.note("by identity");
    let token = tokens.token(&form["service"], &form["scope"]);
    axum::Json(json!({"access_token": token, "expires_in": 300})).into_response()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_asks_for_a_token_gets_one_for_a_password_or_an_identity_token() {
    let folder = tempfile::tempdir().unwrap();
    let (tokens, realm) = Tokens::start(folder.path()).await;
    let root = folder.path().join("root.pem");
    let auth = format!(
        "auth: {{token: {{realm: '{realm}', service: test, issuer: tokens.example, rootcertbundle: '{}'}}}}\n",
        root.display()
    );
    let real = Real::start(folder, &auth).await;
    let host = &real.host;
    let password = json!({"ServerURL": host, "Username": "robot", "Secret": "s3cret"});
    let identity = json!({"ServerURL": host, "Username": "<token>", "Secret": "1dentity"});
    let store = json!({"credsStore": "test"});
    let in_file = json!({"auths": {host: {"auth": BASE64_STANDARD.encode("robot:s3cret")}}});
    let token_in_file = json!({"auths": {host: {"identitytoken": "1dentity"}}});
    for (config, login, way) in [
        (&in_file, &password, "by password"),
        (&store, &password, "by password"),
        (&store, &identity, "by identity"),
        (&token_in_file, &identity, "by identity"),
    ] {
        tokens.asked.lock().unwrap().clear();
        real.goes_round(kept(real.path(), config, login))
            .await
            .unwrap();
        let asked = tokens.asked.lock().unwrap().clone();
        assert!(
            !asked.is_empty() && asked.iter().all(|it| it == way),
            "{asked:?}"
        );
    }
    real.keeps_strangers_out().await;
    let wrong = Credentials::Identity("hunter2".into());
    let error = real.goes_round(wrong).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}
