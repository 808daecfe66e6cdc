//! A real PostgreSQL per managed database: TLS, a master user without superuser's rights, an
//! administrator of ours.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use nix::sys::signal::Signal;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use super::server::{Server, create_private, place};
use super::{Backing, BackingError};
use crate::process::{User, bound_command_as, find_in_path, unprivileged};

/// Nothing here must survive a crash, so nothing waits for a disk; and many run on one machine. A
/// statement that fails may hold a password: it is not logged.
const SETTINGS: &str = "fsync = off\nfull_page_writes = off\n\
    unix_socket_directories = ''\nshared_buffers = '16MB'\nmax_wal_size = '64MB'\nmin_wal_size = '32MB'\n\
    autovacuum_naptime = '10min'\npassword_encryption = 'scram-sha-256'\n\
    log_min_error_statement = 'panic'\nssl = on\n\
    ssl_cert_file = 'server.crt'\nssl_key_file = 'server.key'\n\
    ssl_ca_file = 'ca.crt'\ninclude_if_exists = 'instance.conf'\n";

/// The PostgreSQL that is installed here.
#[derive(Clone, Debug)]
pub(super) struct Installed {
    /// Folders of programs by major version; newest last.
    versions: BTreeMap<u32, PathBuf>,
    user: Option<User>,
}

/// What a new database server is like.
pub struct PostgresSpec {
    /// Shown in `sandbox status`.
    pub name: String,
    /// The vendor's own superuser, which is the sandbox's too: `rdsadmin`, `cloudsqladmin`.
    pub administrator: String,
    /// The role that the vendor's master users are members of: `rds_superuser`,
    /// `cloudsqlsuperuser`.
    pub master_role: String,
    /// The major version to run when it is installed; otherwise the newest that is.
    pub major: Option<u32>,
    /// The port wanted. Where it cannot be had, [`Postgres::endpoint`] has another.
    pub port: u16,
    /// Whether connections without TLS are refused.
    pub force_tls: bool,
    /// Further settings of the server, such as `max_connections`.
    pub settings: BTreeMap<String, String>,
}

/// A database server with its data. Dropping it leaves it running; it ends with the sandbox.
#[derive(Clone)]
pub struct Postgres {
    inner: Arc<Inner>,
}

struct Inner {
    backing: Backing,
    id: u64,
    server: Arc<Server>,
    administrator: String,
    master_role: String,
    password: String,
    major: u32,
}

impl Installed {
    /// Debian's folders, then `PATH`.
    pub(super) fn find() -> Result<Self, String> {
        let mut versions = BTreeMap::new();
        for entry in std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
        {
            let major = entry.file_name().to_string_lossy().parse::<u32>();
            let programs = entry.path().join("bin");
            if let (Ok(major), true) = (major, programs.join("initdb").is_file()) {
                versions.insert(major, programs);
            }
        }
        let in_path = find_in_path("initdb")
            .and_then(|it| Some(it.canonicalize().ok()?.parent()?.to_owned()));
        if let Some(programs) = in_path.filter(|it| it.join("postgres").is_file())
            && let Some(major) = major_of(&programs)
        {
            versions.entry(major).or_insert(programs);
        }
        if versions.is_empty() {
            return Err("postgres is not installed (Debian: postgresql)".into());
        }
        let user = unprivileged(&["postgres", "nobody"])
            .map_err(|why| format!("postgres cannot be used: {why}"))?;
        Ok(Self { versions, user })
    }

    fn programs(&self, wanted: Option<u32>) -> Option<(u32, &Path)> {
        let exact = wanted.and_then(|major| self.versions.get_key_value(&major));
        let found = exact.or_else(|| self.versions.last_key_value());
        found.map(|(major, programs)| (*major, programs.as_path()))
    }
}

impl fmt::Display for Installed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let majors: Vec<String> = self.versions.keys().map(u32::to_string).collect();
        write!(f, "PostgreSQL {}", majors.join(", "))
    }
}

/// From `postgres (PostgreSQL) 15.14 (...)`.
fn major_of(programs: &Path) -> Option<u32> {
    let output = std::process::Command::new(programs.join("postgres"))
        .arg("--version")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.split(' ').nth(2)?;
    version.split(['.', '\n']).next()?.parse().ok()
}

impl Postgres {
    pub(super) async fn start_new(
        backing: Backing,
        spec: PostgresSpec,
    ) -> Result<Self, BackingError> {
        let installed = backing
            .inner
            .postgres
            .clone()
            .map_err(BackingError::NotInstalled)?;
        let absent = || BackingError::NotInstalled("postgres is not installed".into());
        let (major, programs) = installed.programs(spec.major).ok_or_else(absent)?;
        let user = installed.user;
        let folder = backing.new_folder(user)?;
        let data = folder.join("data");
        let password = uuid::Uuid::new_v4().simple().to_string();
        initialise(
            &programs.join("initdb"),
            user,
            &data,
            &spec.administrator,
            &password,
        )
        .await?;
        let endpoint = place(spec.port)?;
        let certificate = backing.authority().server(&[endpoint.ip()], &["localhost"]);
        let certificate = certificate.map_err(|error| BackingError::Machine(error.to_string()))?;
        create_private(&data.join("server.crt"), &certificate.certificate, user)?;
        create_private(&data.join("server.key"), &certificate.key, user)?;
        create_private(&data.join("ca.crt"), &backing.authority().pem(), user)?;
        create_private(
            &data.join("pg_hba.conf"),
            &access(&spec.administrator, spec.force_tls),
            user,
        )?;
        create_private(
            &data.join("postgresql.conf"),
            &configuration(endpoint),
            user,
        )?;
        create_private(&data.join("instance.conf"), &settings(&spec.settings), user)?;
        let server = Arc::new(Server {
            kind: "postgres",
            name: spec.name,
            folder,
            endpoint,
            user,
            program: programs.join("postgres"),
            arguments: vec!["-D".into(), data.into()],
            // The fast shutdown: it waits for no client, and loses nothing.
            end: Signal::SIGINT,
            // The immediate one, which leaves no shared memory behind.
            orphaned: Signal::SIGQUIT,
            running: tokio::sync::Mutex::default(),
        });
        let id = backing.keep(&server)?;
        let inner = Inner {
            backing,
            id,
            server,
            administrator: spec.administrator,
            master_role: spec.master_role,
            password,
            major,
        };
        let postgres = Self {
            inner: Arc::new(inner),
        };
        let first = async {
            postgres.start().await?;
            let role = identifier(&postgres.inner.master_role);
            postgres
                .execute("postgres", &format!("CREATE ROLE {role} CREATEDB CREATEROLE IN ROLE pg_monitor, pg_signal_backend"))
                .await
        };
        if let Err(error) = first.await {
            postgres.remove().await;
            return Err(error);
        }
        Ok(postgres)
    }

    /// Where it listens, also while it is stopped. Reachable from this machine, and from
    /// containers that were started after it was made.
    pub fn endpoint(&self) -> SocketAddr {
        self.inner.server.endpoint
    }

    /// The major version that really runs.
    pub fn major(&self) -> u32 {
        self.inner.major
    }

    /// Starts it again after [`Postgres::stop`]. Nothing happens when it runs.
    pub async fn start(&self) -> Result<(), BackingError> {
        self.inner
            .server
            .start(|| async { self.connect("postgres").await.is_ok() })
            .await
    }

    /// Ends its process and with it every connection; the data stays.
    pub async fn stop(&self) {
        self.inner.server.stop().await;
    }

    /// Ends its process and removes its data.
    pub async fn remove(&self) {
        self.inner.backing.forget(self.inner.id).await;
    }

    /// Whether connections without TLS are refused, from the next connection on.
    pub async fn set_force_tls(&self, force: bool) -> Result<(), BackingError> {
        let rules = access(&self.inner.administrator, force);
        self.write("pg_hba.conf", &rules)?;
        self.inner.server.hang_up().await;
        Ok(())
    }

    /// Replaces the settings; those that need a restart wait for one.
    pub async fn configure(&self, given: &BTreeMap<String, String>) -> Result<(), BackingError> {
        self.write("instance.conf", &settings(given))?;
        self.inner.server.hang_up().await;
        Ok(())
    }

    /// Makes a user that may log in, a member of the master role when `master`. The error names
    /// neither password nor statement.
    pub async fn create_user(
        &self,
        name: &str,
        password: &str,
        master: bool,
    ) -> Result<(), BackingError> {
        let (user, password) = (identifier(name), literal(password));
        let rights = match master {
            true => format!(
                "CREATEDB CREATEROLE IN ROLE {}",
                identifier(&self.inner.master_role)
            ),
            false => String::new(),
        };
        self.execute(
            "postgres",
            &format!("CREATE USER {user} PASSWORD {password} {rights}"),
        )
        .await
    }

    /// Changes a password; open connections stay.
    pub async fn set_password(&self, name: &str, password: &str) -> Result<(), BackingError> {
        let (user, password) = (identifier(name), literal(password));
        self.execute(
            "postgres",
            &format!("ALTER USER {user} PASSWORD {password}"),
        )
        .await
    }

    /// Removes a user. Refused while it owns something.
    pub async fn drop_user(&self, name: &str) -> Result<(), BackingError> {
        self.execute("postgres", &format!("DROP USER {}", identifier(name)))
            .await
    }

    /// Makes an empty database that `owner` owns.
    pub async fn create_database(&self, name: &str, owner: &str) -> Result<(), BackingError> {
        let (name, owner) = (identifier(name), identifier(owner));
        self.execute("postgres", &format!("CREATE DATABASE {name} OWNER {owner}"))
            .await
    }

    /// Removes a database with everything in it, also while it is in use.
    pub async fn drop_database(&self, name: &str) -> Result<(), BackingError> {
        self.execute(
            "postgres",
            &format!("DROP DATABASE {} WITH (FORCE)", identifier(name)),
        )
        .await
    }

    /// The first column of what `statement` finds in `database`, as the administrator.
    pub async fn query(
        &self,
        database: &str,
        statement: &str,
    ) -> Result<Vec<String>, BackingError> {
        let client = self.connect(database).await?;
        let found = client.simple_query(statement).await.map_err(refused)?;
        let first = found.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
            _ => None,
        });
        Ok(first.collect())
    }

    async fn execute(&self, database: &str, statement: &str) -> Result<(), BackingError> {
        self.query(database, statement).await.map(drop)
    }

    async fn connect(&self, database: &str) -> Result<Client, BackingError> {
        let endpoint = self.endpoint();
        let connecting = Config::new()
            .hostaddr(endpoint.ip())
            .port(endpoint.port())
            .user(&self.inner.administrator)
            .password(&self.inner.password)
            .dbname(database)
            .application_name("sandbox")
            .connect(NoTls)
            .await;
        let (client, connection) = connecting.map_err(refused)?;
        // It ends when the client is dropped.
        tokio::spawn(connection);
        Ok(client)
    }

    fn write(&self, file: &str, text: &str) -> std::io::Result<()> {
        let server = &self.inner.server;
        let path = server.folder.join("data").join(file);
        create_private(&path, text, server.user).map(drop)
    }
}

/// Makes the data directory. The password goes through a file that is gone afterwards.
async fn initialise(
    initdb: &Path,
    user: Option<User>,
    data: &Path,
    administrator: &str,
    password: &str,
) -> Result<(), BackingError> {
    let file = data.with_extension("password");
    create_private(&file, password, user)?;
    let mut command = bound_command_as(user, Signal::SIGKILL, initdb);
    command
        .arg(format!("--username={administrator}"))
        .args([
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ])
        .arg("--pwfile")
        .arg(&file)
        .arg("--pgdata")
        .arg(data)
        .current_dir("/")
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    std::fs::remove_file(&file)?;
    let output = output.map_err(|error| BackingError::Machine(error.to_string()))??;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(BackingError::Machine(format!("initdb: {}", said.trim())))
        }
    }
}

fn configuration(endpoint: SocketAddr) -> String {
    let (address, port) = (endpoint.ip(), endpoint.port());
    format!("listen_addresses = '{address}'\nport = {port}\n{SETTINGS}")
}

/// Who may connect how. The administrator's connections never leave the machine.
fn access(administrator: &str, force_tls: bool) -> String {
    let mut rules = format!(
        "host all {administrator} 127.0.0.0/8 scram-sha-256\nhostssl all all all scram-sha-256\n"
    );
    if !force_tls {
        rules.push_str("hostnossl all all all scram-sha-256\n");
    }
    rules
}

fn settings(given: &BTreeMap<String, String>) -> String {
    given.iter().fold(String::new(), |mut all, (name, value)| {
        // Writing to a string cannot fail.
        let _ = writeln!(all, "{name} = {}", value_of_setting(value));
        all
    })
}

fn value_of_setting(value: &str) -> String {
    format!(
        "'{}'",
        value
            .replace('\\', "\\\\")
            .replace('\'', "''")
            .replace('\n', " ")
    )
}

/// A quoted identifier.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\"").replace('\0', ""))
}

/// A quoted string, whatever `standard_conforming_strings` says.
fn literal(text: &str) -> String {
    let text = text
        .replace('\\', "\\\\")
        .replace('\'', "''")
        .replace('\0', "");
    format!("E'{text}'")
}

/// What the server said; its messages do not quote the statement.
fn refused(error: tokio_postgres::Error) -> BackingError {
    let said = error.as_db_error().map(|error| error.message().to_owned());
    BackingError::Machine(said.unwrap_or_else(|| error.to_string()))
}
