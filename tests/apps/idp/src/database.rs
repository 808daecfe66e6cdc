//! Where PostgreSQL is, and how the way there is protected: `DATABASE_URL` read as libpq reads it.

use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::tls::{self, Check};

/// A database that can be connected to.
#[derive(Clone)]
pub struct Database {
    /// Host, credentials, and whether to ask for TLS.
    pub config: Config,
    /// Makes the TLS of a connection when `config` asks for it.
    pub tls: MakeRustlsConnect,
}

impl Database {
    /// Reads a `postgres://` or `postgresql://` URL; `authorities` gives the PEM text that
    /// `verify-ca` and `verify-full` check against, and is asked only for these.
    ///
    /// `sslmode` is `disable` (also when it is absent), `prefer` (encrypted when the server
    /// offers it), `require` (encrypted, whoever answers), `verify-ca` or `verify-full`. On failure
    /// returns what is wrong in words that never quote the URL: it holds a password.
    pub fn read(
        url: &str,
        authorities: impl FnOnce() -> Result<String, String>,
    ) -> Result<Self, String> {
        let (rest, mode) = split_mode(url);
        let malformed = "`DATABASE_URL` is not a PostgreSQL URL (are `@ # ? /` in its password percent-encoded?)";
        if !["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| rest.starts_with(scheme))
        {
            return Err(malformed.to_owned());
        }
        // The parser's own words may quote the password.
        let mut config: Config = rest.parse().map_err(|_| malformed.to_owned())?;
        let roots = || {
            let text = authorities()?;
            tls::authorities(&text)
                .map_err(|error| format!("the authority of `DATABASE_URL` is {error}"))
        };
        let (ssl_mode, check) = match mode {
            None | Some("disable") => (SslMode::Disable, Check::Nothing),
            Some("prefer") => (SslMode::Prefer, Check::Nothing),
            Some("require") => (SslMode::Require, Check::Nothing),
            Some("verify-ca") => (SslMode::Require, Check::Authority(roots()?)),
            Some("verify-full") => (SslMode::Require, Check::AuthorityAndName(roots()?)),
            Some(_) => {
                return Err("`sslmode` in `DATABASE_URL` is none of `disable`, `prefer`, `require`, `verify-ca`, `verify-full`".to_owned());
            }
        };
        config.ssl_mode(ssl_mode);
        let tls = MakeRustlsConnect::new(tls::client(check));
        Ok(Self { config, tls })
    }

    /// Opens one connection and serves it in the background until the client is dropped.
    pub async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::error!(error = %reason(&error), "the database connection broke");
            }
        });
        Ok(client)
    }
}

/// The client says only "db error" or "error performing TLS handshake"; why is in its source.
pub fn reason(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{} ({})", said.message(), said.code().code()),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}

/// The URL without its `sslmode`, and the last `sslmode` in it: the client's own parser does not
/// know the modes that verify.
fn split_mode(url: &str) -> (String, Option<&str>) {
    let Some((base, query)) = url.split_once('?') else {
        return (url.to_owned(), None);
    };
    let (modes, others): (Vec<&str>, Vec<&str>) = query
        .split('&')
        .partition(|pair| pair.starts_with("sslmode="));
    let mode = modes.last().and_then(|pair| pair.strip_prefix("sslmode="));
    match others.is_empty() {
        true => (base.to_owned(), mode),
        false => (format!("{base}?{}", others.join("&")), mode),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Result<String, String> {
        Err("no authority".to_owned())
    }

    #[track_caller]
    fn check(url: &str, expected: SslMode) {
        let database = Database::read(url, none).unwrap_or_else(|said| panic!("{said}"));
        assert_eq!(database.config.get_ssl_mode(), expected, "{url}");
        assert_eq!(database.config.get_dbname(), Some("idp"), "{url}");
    }

    #[test]
    fn the_mode_is_the_one_in_the_url_and_plain_without_one() {
        let url = "postgresql://idp:pw@127.0.0.1:5432/idp";
        check(url, SslMode::Disable);
        check(&format!("{url}?sslmode=disable"), SslMode::Disable);
        check(&format!("{url}?sslmode=prefer"), SslMode::Prefer);
        check(&format!("{url}?sslmode=require"), SslMode::Require);
        check(
            &format!("{url}?connect_timeout=3&sslmode=require&application_name=idp"),
            SslMode::Require,
        );
    }

    #[test]
    fn what_is_not_understood_is_refused_without_quoting_the_url() {
        for url in [
            "mysql://idp:s3cr3t@127.0.0.1/idp",
            "postgresql://idp:s3cr3t@127.0.0.1:x/idp",
            "postgresql://idp:s3cr3t@127.0.0.1/idp?sslmode=s3cr3t",
            "postgresql://idp:s3cr3t@127.0.0.1/idp?sslmode=verify-full",
            "postgresql://idp:s3cr3t@127.0.0.1/idp?unknown=s3cr3t",
        ] {
            let said = Database::read(url, none).err().expect(url);
            assert!(!said.contains("s3cr3t"), "{said}");
        }
    }

    #[test]
    fn an_authority_that_is_no_certificate_is_refused() {
        let url = "postgresql://127.0.0.1/idp?sslmode=verify-ca";
        for text in [
            "",
            "PEM",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        ] {
            let said = Database::read(url, || Ok(text.to_owned())).err();
            assert_eq!(
                said.as_deref(),
                Some("the authority of `DATABASE_URL` is not one or more certificates in PEM form")
            );
        }
    }
}
