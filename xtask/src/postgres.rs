//! A real PostgreSQL from the installed binaries, never as root, gone when it is no longer needed.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::interrupt::{self, Registered};
use crate::run;
use crate::workspace;

const PACKAGE: &str = "postgresql";

/// Nothing here must survive a crash, so nothing waits for a disk.
const SETTINGS: &str = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off \
    -c max_connections=200 -c unix_socket_directories='' -c listen_addresses=127.0.0.1";

/// A running server on loopback; stopped and deleted when dropped or interrupted.
pub struct Postgres {
    instance: Instance,
    port: u16,
    password: String,
    _interrupt: Registered,
}

/// Where a server's binaries and data are.
#[derive(Clone)]
struct Instance {
    binaries: PathBuf,
    data: PathBuf,
}

/// `cargo xtask postgres`: runs until interrupted.
pub fn command() -> Result<()> {
    let postgres = Postgres::start()?;
    println!("{}", postgres.url("postgres"));
    eprintln!("PostgreSQL runs until Ctrl-C");
    loop {
        std::thread::park();
    }
}

impl Postgres {
    /// Starts a server with an empty data directory on a free port.
    ///
    /// Fails with the package to install when there are no binaries.
    pub fn start() -> Result<Self> {
        let instance = Instance {
            binaries: binaries()?,
            data: data_directory()?,
        };
        let password = random()?;
        instance.initialise(&password)?;
        let stopped = instance.clone();
        let interrupt = interrupt::on_interrupt(move || stopped.remove());
        // Another process may take the port between our look and the server's: then look again.
        let mut attempts = 3;
        let port = loop {
            let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
            attempts -= 1;
            match instance.start(port) {
                Ok(()) => break port,
                Err(_) if attempts > 0 => {}
                Err(error) => {
                    instance.remove();
                    return Err(error.context("PostgreSQL does not start"));
                }
            }
        };
        Ok(Self {
            instance,
            port,
            password,
            _interrupt: interrupt,
        })
    }

    /// The superuser's URL of `database`.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgresql://postgres:{}@127.0.0.1:{}/{database}",
            self.password, self.port
        )
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.instance.remove();
    }
}

impl Instance {
    fn initialise(&self, password: &str) -> Result<()> {
        let file = self.data.with_extension("password");
        fs::write(&file, password).context("cannot write the password file")?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
        let mut initdb = unprivileged(&self.binaries.join("initdb"));
        initdb.args([
            "--username=postgres",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
        ]);
        initdb
            .args(["--locale=C", "--no-sync", "--pwfile"])
            .arg(&file);
        initdb.arg("--pgdata").arg(&self.data);
        let done = run::output(&mut initdb);
        fs::remove_file(&file).context("cannot remove the password file")?;
        done.map(drop)
            .context("cannot make a PostgreSQL data directory")
    }

    fn start(&self, port: u16) -> Result<()> {
        let mut command = self.pg_ctl("start");
        command
            .arg("--wait")
            .arg("--log")
            .arg(self.data.join("server.log"));
        command
            .arg("--options")
            .arg(format!("-p {port} {SETTINGS}"));
        // The server inherits the standard streams: a pipe would never reach its end.
        command
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        run::run(&mut command)
    }

    /// Stops the server, if it runs, and deletes its data. What fails here is left for the next
    /// start to clear away.
    fn remove(&self) {
        let _ = run::output(self.pg_ctl("stop").args(["--mode=immediate", "--wait"]));
        let _ = fs::remove_dir_all(&self.data);
    }

    fn pg_ctl(&self, action: &str) -> Command {
        let mut command = unprivileged(&self.binaries.join("pg_ctl"));
        command.arg(action).arg("--pgdata").arg(&self.data);
        command
    }
}

/// The newest installed server's directory of programs.
fn binaries() -> Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for version in fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
    {
        let number = version.file_name().to_string_lossy().parse().unwrap_or(0);
        found.push((number, version.path().join("bin")));
    }
    found.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = found.into_iter().rev().map(|(_, directory)| directory);
    let mut candidates = candidates.chain(std::env::split_paths(&path));
    match candidates.find(|directory| directory.join("initdb").is_file()) {
        Some(directory) => Ok(directory),
        None => bail!(
            "no PostgreSQL server is installed: install the Debian package `{PACKAGE}` \
             (`apt-get install {PACKAGE}`), or put `initdb` and `pg_ctl` on the PATH"
        ),
    }
}

/// An absent directory, named after this process, in a place where the server may write.
fn data_directory() -> Result<PathBuf> {
    let own = workspace::generated("postgres");
    let temporary = std::env::temp_dir().join("deployer-postgres");
    for parent in [own, temporary] {
        fs::create_dir_all(&parent)?;
        clear_leftovers(&parent);
        if is_root() {
            run::run(Command::new("chown").arg("postgres").arg(&parent))?;
        }
        // A workspace in root's home is closed to the server's user.
        let mut test = unprivileged(Path::new("test"));
        if test
            .arg("-w")
            .arg(&parent)
            .status()
            .is_ok_and(|status| status.success())
        {
            return Ok(parent.join(format!("run-{}", std::process::id())));
        }
    }
    bail!("the PostgreSQL user can write neither under `target` nor under the temporary directory")
}

/// Removes the servers of processes that were killed before they could.
fn clear_leftovers(parent: &Path) {
    let Ok(binaries) = binaries() else { return };
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name
            .strip_prefix("run-")
            .filter(|pid| !Path::new("/proc").join(pid).exists());
        if owner.is_some() {
            Instance {
                binaries: binaries.clone(),
                data: entry.path(),
            }
            .remove();
        }
    }
}

/// PostgreSQL refuses to run as root, with good reason.
fn unprivileged(program: &Path) -> Command {
    let mut command = if is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/");
    command
}

/// Whether this process may do everything.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// 32 hexadecimal digits that nobody can guess.
pub fn random() -> Result<String> {
    let mut bytes = [0; 16];
    let mut random = fs::File::open("/dev/urandom").context("cannot open /dev/urandom")?;
    std::io::Read::read_exact(&mut random, &mut bytes).context("cannot read /dev/urandom")?;
    Ok(hex::encode(bytes))
}
