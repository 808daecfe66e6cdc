//! Starts moto, which answers the AWS calls that the sandbox does not own, when it is first needed.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OnceCell;

use crate::process::{Guard, Process, bound_command, find_in_path, supervise};

/// Importing moto's services takes seconds on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A loopback address that behaves as moto does: the first connection starts it and waits.
pub(crate) struct LazyMoto {
    url: String,
    server: Arc<OnceCell<Server>>,
    accepting: tokio::task::JoinHandle<()>,
}

struct Server {
    process: Process,
    port: u16,
    /// Launchers such as pyenv's may start Python as a child: the whole group is watched over.
    _guard: Guard,
}

impl LazyMoto {
    /// The executable that `DEPLOYER_SANDBOX_MOTO` names, or `moto_server` in `PATH`.
    pub(crate) fn installed() -> Option<PathBuf> {
        match std::env::var_os("DEPLOYER_SANDBOX_MOTO") {
            Some(named) => Some(PathBuf::from(named)).filter(|it| it.is_file()),
            None => find_in_path("moto_server"),
        }
    }

    /// Listens in moto's stead.
    pub(crate) async fn new(program: PathBuf) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let server = Arc::new(OnceCell::new());
        let accepting = tokio::spawn(accept(listener, program, server.clone()));
        Ok(Self {
            url,
            server,
            accepting,
        })
    }

    /// Its base URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Stops it, if it was ever needed.
    pub(crate) async fn shutdown(&self) {
        self.accepting.abort();
        if let Some(server) = self.server.get() {
            server.process.signal_group(Signal::SIGKILL);
            server.process.wait().await;
        }
    }
}

async fn accept(listener: TcpListener, program: PathBuf, server: Arc<OnceCell<Server>>) {
    let mut relays = tokio::task::JoinSet::new();
    while let Ok((mut client, _)) = listener.accept().await {
        while relays.try_join_next().is_some() {}
        let (server, program) = (server.clone(), program.clone());
        relays.spawn(async move {
            let relayed = async {
                let server = server.get_or_try_init(|| start(program)).await?;
                let mut moto = TcpStream::connect(("127.0.0.1", server.port)).await?;
                tokio::io::copy_bidirectional(&mut client, &mut moto).await
            };
            if let Err(error) = relayed.await {
                tracing::warn!(%error, "a connection to moto failed");
            }
        });
    }
}

async fn start(program: PathBuf) -> std::io::Result<Server> {
    let port = free_port()?;
    let (process, ()) = supervise("moto", move || -> std::io::Result<_> {
        let child = bound_command(&program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            // Without it managed policies cannot be attached.
            .env("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
            // Ctrl-C in the sandbox's terminal is the sandbox's to act on.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok((child, ()))
    })
    .await?;
    let guard = Guard::over(&process, true)?;
    let listening = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            if let Some(code) = process.exit() {
                let message = format!("moto_server ended with exit code {code}");
                return Err(std::io::Error::other(message));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    };
    match tokio::time::timeout(START_LIMIT, listening).await {
        Ok(started) => started.map(|()| Server {
            process,
            port,
            _guard: guard,
        }),
        Err(_) => {
            process.signal_group(Signal::SIGKILL);
            Err(std::io::Error::other("moto_server does not listen"))
        }
    }
}

/// A loopback port that nothing listens on at the moment.
pub(crate) fn free_port() -> std::io::Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> reqwest::Client {
        let client = reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0);
        client.build().unwrap()
    }

    #[tokio::test]
    async fn the_first_question_starts_it_and_shutdown_ends_it() {
        let Some(program) = LazyMoto::installed() else {
            println!("skipped, moto_server is not installed");
            return;
        };
        let moto = LazyMoto::new(program).await.unwrap();
        assert!(moto.server.get().is_none());
        let url = format!("{}/moto-api/data.json", moto.url());
        let answer = client().get(&url).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let pid = moto.server.get().unwrap().process.pid();
        moto.shutdown().await;
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
        assert!(client().get(&url).send().await.is_err());
    }

    #[tokio::test]
    async fn one_that_does_not_start_closes_the_connection() {
        let moto = LazyMoto::new("/bin/false".into()).await.unwrap();
        let asked = client().get(moto.url()).send();
        let asked = tokio::time::timeout(Duration::from_secs(10), asked).await;
        assert!(asked.unwrap().is_err());
        moto.shutdown().await;
    }
}
