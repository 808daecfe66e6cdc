//! Redis: one connection, opened when it is first needed and again after it broke.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Client, FromRedisValue, Pipeline, RedisError, RedisResult, TlsCertificates};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::tls;

/// How long an answer may take, connecting included: less than a health check waits.
const PATIENCE: Duration = Duration::from_secs(1);

/// A Redis server; clones of its connection share one socket.
pub struct Cache {
    client: Client,
    open: Mutex<Option<MultiplexedConnection>>,
}

/// Reads a `redis://` or `rediss://` URL; connects to nothing yet.
///
/// The certificate of a `rediss://` server is checked, name or address included, against
/// `authority` (PEM), without one against the system's roots, which `SSL_CERT_FILE` replaces. On
/// failure returns what is wrong in words that never quote the URL: it holds a token.
pub fn read(url: &str, authority: Option<&str>) -> Result<Client, String> {
    let malformed = |_: RedisError| "`REDIS_URL` is not a redis:// or rediss:// URL".to_owned();
    if let Some(text) = authority {
        tls::authorities(text)
            .map_err(|error| format!("the authority of `REDIS_URL` is {error}"))?;
    }
    if url.starts_with("rediss://") {
        tls::install();
        let certificates = TlsCertificates {
            client_tls: None,
            root_cert: authority.map(|text| tls::lines(text).into_bytes()),
        };
        Client::build_with_tls(url, certificates).map_err(malformed)
    } else if url.starts_with("redis://") {
        Client::open(url).map_err(malformed)
    } else {
        Err("`REDIS_URL` is not a redis:// or rediss:// URL".to_owned())
    }
}

impl Cache {
    /// A server that `read` made out; connects with the first question.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            open: Mutex::new(None),
        }
    }

    /// Whether the server answers; says so in the log when it does not.
    pub async fn answers(&self) -> bool {
        let mut ping = Pipeline::new();
        ping.cmd("PING");
        match self.ask::<(String,)>(&ping).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(error = %error, "redis does not answer");
                false
            }
        }
    }

    /// Adds one to the counter `key`, which ends `lifetime` after it was last counted; returns the
    /// count. Both happen or neither.
    pub async fn count(&self, key: &str, lifetime: Duration) -> RedisResult<u64> {
        let milliseconds = i64::try_from(lifetime.as_millis()).unwrap_or(i64::MAX);
        let mut count = Pipeline::new();
        count
            .atomic()
            .incr(key, 1)
            .pexpire(key, milliseconds)
            .ignore();
        Ok(self.ask::<(u64,)>(&count).await?.0)
    }

    /// Asks once more on a new connection when an old one turns out to be broken, as it is after
    /// the server was restarted.
    async fn ask<T: FromRedisValue>(&self, questions: &Pipeline) -> RedisResult<T> {
        let asked = async {
            match self.attempt(questions).await {
                Err(error) if error.is_unrecoverable_error() => self.attempt(questions).await,
                answer => answer,
            }
        };
        match timeout(PATIENCE, asked).await {
            Ok(answer) => answer,
            Err(elapsed) => {
                // Who holds the lock is connecting already.
                if let Ok(mut open) = self.open.try_lock() {
                    *open = None;
                }
                Err(std::io::Error::from(elapsed).into())
            }
        }
    }

    async fn attempt<T: FromRedisValue>(&self, questions: &Pipeline) -> RedisResult<T> {
        let mut connection = self.connection().await?;
        let answer = questions.query_async(&mut connection).await;
        if answer
            .as_ref()
            .is_err_and(RedisError::is_unrecoverable_error)
        {
            *self.open.lock().await = None;
        }
        answer
    }

    async fn connection(&self) -> RedisResult<MultiplexedConnection> {
        let mut open = self.open.lock().await;
        if let Some(connection) = &*open {
            return Ok(connection.clone());
        }
        let connection = self.client.get_multiplexed_async_connection().await?;
        Ok(open.insert(connection).clone())
    }
}
