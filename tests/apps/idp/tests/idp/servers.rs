//! Servers that speak TLS, started for one test; reported as skipped where they are not installed.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::database::skipped;

const POSTGRES: &str = "/usr/lib/postgresql/15/bin";
const REDIS: &str = "/usr/bin/redis-server";

/// An authority of a test's own.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub pem: String,
}

impl Authority {
    /// A new one, which nobody trusts yet.
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// Writes `server.crt` and `server.key` for one name or address into `directory`.
    fn certify(&self, name: &str, directory: &Path) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(directory.join("server.crt"), certificate.pem()).unwrap();
        let path = directory.join("server.key");
        fs::write(&path, key.serialize_pem()).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    /// On 127.0.0.1.
    pub port: u16,
    _directory: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Redis with TLS and the password `t0ken`, or the test is reported as skipped.
pub fn redis(test: &str, authority: &Authority) -> Option<Server> {
    if !Path::new(REDIS).exists() {
        skipped(test, "redis-server is not installed");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    authority.certify("127.0.0.1", directory.path());
    fs::write(directory.path().join("ca.crt"), &authority.pem).unwrap();
    let port = free_port();
    let mut command = Command::new(REDIS);
    command.current_dir(directory.path()).args([
        "--bind",
        "127.0.0.1",
        "--port",
        "0",
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        "server.crt",
        "--tls-key-file",
        "server.key",
        "--tls-ca-cert-file",
        "ca.crt",
        "--tls-auth-clients",
        "no",
        "--requirepass",
        "t0ken",
        "--save",
        "",
    ]);
    let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    Some(start(command, port, directory, listens))
}

/// PostgreSQL that takes only TLS connections, its certificate for `name`, user `postgres` without
/// a password; or the test is reported as skipped.
pub fn postgres(test: &str, authority: &Authority, name: &str) -> Option<Server> {
    let root =
        fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if !root || !Path::new(POSTGRES).exists() {
        skipped(
            test,
            "needs PostgreSQL 15 of Debian, and root to become its user",
        );
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let owned = |path: &Path| {
        let done = Command::new("chown")
            .args(["-R", "postgres"])
            .arg(path)
            .status();
        assert!(done.unwrap().success());
    };
    owned(directory.path());
    let made = as_postgres("initdb")
        .args([
            "--no-sync",
            "--auth=trust",
            "--username=postgres",
            "--pgdata",
        ])
        .arg(&data)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    authority.certify(name, &data);
    fs::write(
        data.join("pg_hba.conf"),
        "hostssl all all 127.0.0.1/32 trust\n",
    )
    .unwrap();
    owned(&data);
    let port = free_port();
    let mut command = as_postgres("postgres");
    command
        .args([
            "-c",
            "ssl=on",
            "-c",
            "fsync=off",
            "-c",
            "listen_addresses=127.0.0.1",
        ])
        .args([
            "-c",
            "unix_socket_directories=",
            "-p",
            &port.to_string(),
            "-D",
        ])
        .arg(&data);
    // It listens before it lets anyone in.
    let ready = || {
        let asked = Command::new(PathBuf::from(POSTGRES).join("pg_isready"))
            .args(["--quiet", "--host=127.0.0.1", "--port", &port.to_string()])
            .status();
        asked.unwrap().success()
    };
    Some(start(command, port, directory, ready))
}

/// `setpriv` replaces itself, so that the process that is killed is the server.
fn as_postgres(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(PathBuf::from(POSTGRES).join(program))
        .current_dir("/");
    command
}

fn start(mut command: Command, port: u16, directory: TempDir, ready: impl Fn() -> bool) -> Server {
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let server = Server {
        child: child.unwrap(),
        port,
        _directory: directory,
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while !ready() {
        assert!(Instant::now() < deadline, "the server does not get ready");
        std::thread::sleep(Duration::from_millis(20));
    }
    server
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
