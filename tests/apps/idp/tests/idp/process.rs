//! The binary under test, started with exactly the environment a test gives it.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use serde_json::Value;

/// The directory of one release, as an image holds it under `/app`.
pub fn release(version: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("releases")
        .join(version)
}

/// An RSA key pair in PEM.
pub struct Pair {
    /// PKCS#8.
    pub private: String,
    /// SubjectPublicKeyInfo.
    pub public: String,
}

/// Two different key pairs, made once: an unoptimised build takes a second for each.
pub static PAIRS: LazyLock<[Pair; 2]> = LazyLock::new(|| [generate(), generate()]);

fn generate() -> Pair {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let private = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap();
    let public = AsDer::<PublicKeyX509Der<'_>>::as_der(pair.public_key()).unwrap();
    let pem = |tag: &str, der: &[u8]| pem::encode(&pem::Pem::new(tag, der));
    Pair {
        private: pem("PRIVATE KEY", private.as_ref()),
        public: pem("PUBLIC KEY", public.as_ref()),
    }
}

/// `idp` with nothing in its environment but `variables`.
pub fn idp(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_idp"));
    command
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied());
    command
}

/// Runs `idp migrate` for a release directory; returns when it ended.
pub fn migrate(root: &std::path::Path, database: &str) -> Output {
    let root = root.to_str().unwrap();
    idp(
        &["migrate"],
        &[("IDP_ROOT", root), ("DATABASE_URL", database)],
    )
    .output()
    .unwrap()
}

/// A serving process; killed when dropped.
pub struct Service {
    child: Child,
    url: String,
    lines: Vec<String>,
}

impl Service {
    /// Starts a release on a free port and waits until it listens.
    pub fn start(version: &str, variables: &[(&str, &str)]) -> Self {
        let root = release(version);
        let mut command = idp(&["serve"], variables);
        command
            .env("IDP_ROOT", root)
            .env("PORT", "0")
            .stdout(Stdio::piped());
        let child = command.spawn().unwrap();
        // Made first, so that a start that fails leaves no process behind.
        let mut service = Self {
            child,
            url: String::new(),
            lines: Vec::new(),
        };
        let mut output = BufReader::new(service.child.stdout.take().unwrap());
        while service.url.is_empty() {
            let mut line = String::new();
            assert_ne!(
                output.read_line(&mut line).unwrap(),
                0,
                "ended early: {}",
                service.log()
            );
            let event: Value = serde_json::from_str(&line).unwrap();
            service.lines.push(line);
            if event["message"] == "listening" {
                service.url = format!("http://127.0.0.1:{}", event["port"]);
            }
        }
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        service
    }

    /// What the process printed until it listened.
    pub fn log(&self) -> String {
        self.lines.concat()
    }

    /// Status and body of `GET path`.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.get_as(path, "")
    }

    /// Status and body of `GET path` with an `authorization` header.
    pub fn get_as(&self, path: &str, authorization: &str) -> (u16, String) {
        let request = agent().get(format!("{}{path}", self.url));
        let mut answer = request
            .header("authorization", authorization)
            .call()
            .unwrap();
        (
            answer.status().as_u16(),
            answer.body_mut().read_to_string().unwrap(),
        )
    }

    /// Status and JSON body of a token request.
    pub fn token(&self, form: &[(&str, &str)]) -> (u16, Value) {
        let request = agent().post(format!("{}/api/v1/token", self.url));
        let mut answer = request.send_form(form.iter().copied()).unwrap();
        let body = answer.body_mut().read_to_string().unwrap();
        (
            answer.status().as_u16(),
            serde_json::from_str(&body).unwrap(),
        )
    }

    /// Runs `idp healthcheck` beside the service, as a container's health check does.
    pub fn healthcheck(&self) -> Option<i32> {
        let port = self.url.rsplit(':').next().unwrap();
        idp(&["healthcheck"], &[("PORT", port)])
            .status()
            .unwrap()
            .code()
    }

    /// Asks the process to stop, as both clouds do, and returns its exit code.
    pub fn terminate(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        self.child.wait().unwrap().code()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Both fail only when the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into()
}
