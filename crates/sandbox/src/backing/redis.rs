//! A real Redis per managed cache: TLS and AUTH as asked for, an administrator of ours.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use nix::sys::signal::Signal;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::server::{Server, create_private, place};
use super::{Backing, BackingError, SignedBy};
use crate::process::{User, find_in_path, unprivileged};

/// The user that changes passwords; clients of a managed cache do not know it.
const ADMINISTRATOR: &str = "sandbox-administrator";

/// What both vendors keep from their customers.
const WITHHELD: &str = "-acl -bgrewriteaof -bgsave -config -debug -migrate -module -psync -replicaof -save -shutdown \
    -slaveof -sync";

/// The Redis that is installed here.
#[derive(Clone, Debug)]
pub(super) struct Installed {
    program: PathBuf,
    user: Option<User>,
    version: String,
}

/// What a new cache server is like.
pub struct RedisSpec {
    /// Shown in `sandbox status`.
    pub name: String,
    /// The port wanted. Where it cannot be had, [`Redis::endpoint`] has another.
    pub port: u16,
    /// Whether it speaks TLS, and only that.
    pub tls: bool,
    /// Who signs its certificate.
    pub signed_by: SignedBy,
    /// The AUTH strings that it accepts; without any it accepts every client.
    pub passwords: Vec<String>,
}

/// A cache server. Dropping it leaves it running; it ends with the sandbox.
#[derive(Clone)]
pub struct Redis {
    inner: Arc<Inner>,
}

struct Inner {
    backing: Backing,
    id: u64,
    server: Arc<Server>,
    tls: Option<TlsConnector>,
    password: String,
}

impl Installed {
    pub(super) fn find() -> Result<Self, String> {
        let absent = "redis-server is not installed (Debian: redis-server)";
        let program = find_in_path("redis-server").ok_or(absent)?;
        let output = std::process::Command::new(&program)
            .arg("--version")
            .output();
        let output = output.map_err(|error| format!("redis-server cannot be used: {error}"))?;
        // `Redis server v=7.0.15 sha=...`
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text
            .split("v=")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        let user = unprivileged(&["redis", "nobody"])
            .map_err(|why| format!("redis-server cannot be used: {why}"))?;
        Ok(Self {
            program,
            user,
            version: version.unwrap_or("(unknown version)").to_owned(),
        })
    }
}

impl fmt::Display for Installed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis {}", self.version)
    }
}

impl Redis {
    pub(super) async fn start_new(backing: Backing, spec: RedisSpec) -> Result<Self, BackingError> {
        let installed = backing
            .inner
            .redis
            .clone()
            .map_err(BackingError::NotInstalled)?;
        let user = installed.user;
        let folder = backing.new_folder(user)?;
        let endpoint = place(spec.port)?;
        let password = uuid::Uuid::new_v4().simple().to_string();
        let mut lines = vec![
            format!("bind {}", endpoint.ip()),
            "save \"\"".into(),
            "appendonly no".into(),
            "daemonize no".into(),
            "maxmemory 64mb".into(),
            format!("user {ADMINISTRATOR} on >{password} ~* &* +@all"),
            format!("user default {}", default_user(&spec.passwords)?),
        ];
        let mut tls = None;
        if spec.tls {
            let certificate = backing
                .signer(spec.signed_by)
                .server(&[endpoint.ip()], &["localhost"]);
            let certificate = certificate.map_err(machine)?;
            create_private(&folder.join("server.crt"), &certificate.certificate, user)?;
            create_private(&folder.join("server.key"), &certificate.key, user)?;
            create_private(
                &folder.join("ca.crt"),
                &backing.signer(spec.signed_by).pem(),
                user,
            )?;
            let files =
                "tls-cert-file server.crt\ntls-key-file server.key\ntls-ca-cert-file ca.crt";
            lines.push(format!(
                "port 0\ntls-port {}\ntls-auth-clients no\n{files}",
                endpoint.port()
            ));
            tls = Some(connector(backing.signer(spec.signed_by).der())?);
        } else {
            lines.push(format!("port {}", endpoint.port()));
        }
        create_private(&folder.join("redis.conf"), &(lines.join("\n") + "\n"), user)?;
        let server = Arc::new(Server {
            kind: "redis",
            name: spec.name,
            folder,
            endpoint,
            user,
            program: installed.program,
            arguments: vec!["redis.conf".into()],
            end: Signal::SIGTERM,
            orphaned: Signal::SIGKILL,
            running: tokio::sync::Mutex::default(),
        });
        let id = backing.keep(&server)?;
        let inner = Arc::new(Inner {
            backing,
            id,
            server,
            tls,
            password,
        });
        let redis = Self { inner };
        if let Err(error) = redis.start().await {
            redis.remove().await;
            return Err(error);
        }
        Ok(redis)
    }

    /// Where it listens, also while it is stopped. Reachable from this machine, and from
    /// containers that were started after it was made.
    pub fn endpoint(&self) -> SocketAddr {
        self.inner.server.endpoint
    }

    /// Starts it again after [`Redis::stop`], empty. Nothing happens when it runs.
    pub async fn start(&self) -> Result<(), BackingError> {
        let answers = || async { self.command(&["PING"]).await.is_ok() };
        self.inner.server.start(answers).await
    }

    /// Ends its process and with it every connection and everything in it.
    pub async fn stop(&self) {
        self.inner.server.stop().await;
    }

    /// Ends it for good.
    pub async fn remove(&self) {
        self.inner.backing.forget(self.inner.id).await;
    }

    /// Replaces the AUTH strings; without any every client is accepted. Open connections stay.
    pub async fn set_passwords(&self, passwords: &[String]) -> Result<(), BackingError> {
        let rules = default_user(passwords)?;
        let words = ["ACL", "SETUSER", "default"]
            .into_iter()
            .chain(rules.split(' '));
        self.command(&words.collect::<Vec<_>>()).await?;
        // A server that is started again reads the file.
        let server = &self.inner.server;
        let file = server.folder.join("redis.conf");
        let old = std::fs::read_to_string(&file)?;
        let lines = old
            .lines()
            .map(|line| match line.starts_with("user default ") {
                true => format!("user default {rules}\n"),
                false => format!("{line}\n"),
            });
        create_private(&file, &lines.collect::<String>(), server.user)?;
        Ok(())
    }

    /// Sends a command as the administrator and returns the first line of the reply.
    async fn command(&self, words: &[&str]) -> Result<String, BackingError> {
        let tcp = TcpStream::connect(self.endpoint()).await?;
        match &self.inner.tls {
            None => self.ask(tcp, words).await,
            Some(tls) => {
                let name = ServerName::IpAddress(self.endpoint().ip().into());
                self.ask(tls.connect(name, tcp).await?, words).await
            }
        }
    }

    async fn ask(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        words: &[&str],
    ) -> Result<String, BackingError> {
        let mut reply = String::new();
        for words in [&["AUTH", ADMINISTRATOR, &self.inner.password], words] {
            stream.write_all(request(words).as_bytes()).await?;
            stream.flush().await?;
            reply = line(&mut stream).await?;
            if let Some(refusal) = reply.strip_prefix('-') {
                return Err(machine(refusal));
            }
        }
        Ok(reply)
    }
}

/// The rights of clients, as the words of an ACL rule.
fn default_user(passwords: &[String]) -> Result<String, BackingError> {
    // It would end the rule, or the line of the configuration.
    let unfit = |text: &String| text.chars().any(|it| it.is_whitespace() || it.is_control());
    if passwords.iter().any(unfit) {
        return Err(machine("an AUTH string has no blanks"));
    }
    let credentials = match passwords {
        [] => "nopass".to_owned(),
        some => some
            .iter()
            .map(|it| format!(">{it}"))
            .collect::<Vec<_>>()
            .join(" "),
    };
    Ok(format!("reset on {credentials} ~* &* +@all {WITHHELD}"))
}

/// A command in Redis's protocol.
fn request(words: &[&str]) -> String {
    let count = format!("*{}\r\n", words.len());
    let words = words
        .iter()
        .map(|word| format!("${}\r\n{word}\r\n", word.len()));
    words.fold(count, |all, word| all + &word)
}

async fn line(stream: &mut (impl AsyncRead + Unpin)) -> Result<String, BackingError> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n") {
        text.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
}

/// Speaks TLS with servers that `authority` vouches for.
fn connector(authority: &[u8]) -> Result<TlsConnector, BackingError> {
    let mut roots = RootCertStore::empty();
    let added = roots.add(CertificateDer::from(authority.to_vec()));
    added.map_err(machine)?;
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(machine)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn machine(error: impl fmt::Display) -> BackingError {
    BackingError::Machine(error.to_string())
}
