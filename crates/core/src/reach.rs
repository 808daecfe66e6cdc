//! What stands between this machine and an address and will stand there at the next try, too: a
//! certificate that it does not trust, a proxy that wants to know who asks. And who does not take a
//! connection at all, in words.

use std::error::Error as StdError;

use crate::error::{Error, ErrorKind};

/// Why no try can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The certificate is signed by an authority that this machine does not know.
    UnknownAuthority,
    /// The certificate is of another name, has ended, or is not in order.
    Certificate(&'static str),
    /// The proxy answered 407.
    ProxyLogin,
}

impl Obstacle {
    /// Finds it in what an HTTP client says and in all that its error comes from.
    ///
    /// By the words of rustls and of hyper's proxy tunnels: the clients wrap them in types of their
    /// own, some of which give no source.
    pub fn in_error(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = Self::in_words(&error.to_string()) {
                return Some(found);
            }
            next = error.source();
        }
        None
    }

    fn in_words(words: &str) -> Option<Self> {
        if words.contains("proxy authorization required") {
            return Some(Self::ProxyLogin);
        }
        let (_, why) = words.split_once("invalid peer certificate: ")?;
        let named = [
            ("UnknownIssuer", Self::UnknownAuthority),
            ("SelfSigned", Self::UnknownAuthority),
            ("CaUsedAsEndEntity", Self::UnknownAuthority),
            ("NotValidForName", Self::Certificate("is for another name")),
            (
                "certificate not valid for name",
                Self::Certificate("is for another name"),
            ),
            ("Expired", Self::Certificate("has ended")),
            ("certificate expired", Self::Certificate("has ended")),
            (
                "NotValidYet",
                Self::Certificate("is not valid yet: is this machine's clock right?"),
            ),
            (
                "certificate not valid yet",
                Self::Certificate("is not valid yet: is this machine's clock right?"),
            ),
        ];
        let found = named.iter().find(|(name, _)| why.starts_with(name));
        Some(found.map_or(Self::Certificate("is not in order"), |(_, found)| *found))
    }

    /// The error, naming the host.
    pub fn error(self, host: &str) -> Error {
        let (message, hint) = match self {
            Self::UnknownAuthority => (
                format!(
                    "the certificate of {host} is signed by an authority that this machine does not know"
                ),
                "set SSL_CERT_FILE (or AWS_CA_BUNDLE, as for `aws`) to a file with that authority's certificate, PEM",
            ),
            Self::Certificate(why) => (
                format!("the certificate of {host} {why}"),
                "check the endpoint, and whether a proxy answers in its place",
            ),
            Self::ProxyLogin => (
                format!("the proxy on the way to {host} wants a login (407)"),
                "write it into the address, `HTTPS_PROXY=http://USER:PASSWORD@PROXY:PORT`, or name the host in NO_PROXY",
            ),
        };
        Error::new(ErrorKind::Unavailable, message).hint(hint)
    }
}

/// A connection that was not made, which may pass: another try is worth it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreached {
    /// Scheme, host and port.
    base: String,
    why: &'static str,
}

impl Unreached {
    /// Finds it in what an HTTP client says and in all that its error comes from. `url` is what was
    /// asked for; without one it is read from the words, where they name one.
    pub fn in_error(error: &(dyn StdError + 'static), url: Option<&str>) -> Option<Self> {
        let (mut base, mut why) = (url.map(base_of), None);
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found.clone());
            }
            let words = error.to_string();
            // As reqwest names it: `error sending request for url (http://host:1/path)`.
            let named = words
                .split_once("for url (")
                .and_then(|(_, rest)| rest.split(')').next());
            base = base.or_else(|| named.map(base_of));
            why = why.or_else(|| why_not(error, &words));
            next = error.source();
        }
        Some(Self {
            base: base?,
            why: why?,
        })
    }

    /// The error; `variable` is what names the address, where one does.
    pub fn error(&self, variable: Option<&str>) -> Error {
        let whence = variable.map_or_else(String::new, |name| format!(" ({name})"));
        let message = format!("cannot connect to {}{whence}: {}", self.base, self.why);
        let host = self.base.split("://").nth(1).unwrap_or_default();
        let is_here = ["127.", "localhost", "[::1]"];
        Error::new(ErrorKind::Unavailable, message).hint(
            match is_here.iter().any(|it| host.starts_with(it)) {
                true => "is the sandbox up? `deployer sandbox up` starts one",
                false => "try again; check the endpoint and the network",
            },
        )
    }

    /// Whether this names the same address.
    pub fn is_of(&self, url: &str) -> bool {
        base_of(url) == self.base
    }
}

impl std::fmt::Display for Unreached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot connect to {}: {}", self.base, self.why)
    }
}

impl StdError for Unreached {}

fn why_not(error: &(dyn StdError + 'static), words: &str) -> Option<&'static str> {
    use std::io::ErrorKind as Io;
    match error
        .downcast_ref::<std::io::Error>()
        .map(std::io::Error::kind)
    {
        Some(Io::ConnectionRefused) => return Some("refused"),
        Some(Io::HostUnreachable | Io::NetworkUnreachable) => return Some("there is no way there"),
        _ => {}
    }
    // Where a client keeps the error to itself: as Linux, and hyper-util's resolver, say it.
    let named = [
        ("Connection refused", "refused"),
        ("dns error", "its name is not known"),
    ];
    named
        .iter()
        .find(|(says, _)| words.contains(says))
        .map(|(_, why)| *why)
}

/// Scheme, host and port, without who logs in.
fn base_of(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_no_connection_is_told_by_address_and_why() {
        let refused = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let wrapped = Error::internal("client error").because(refused());
        let found = Unreached::in_error(&wrapped, Some("http://me:pw@127.0.0.1:1/x?y"));
        let error = found.unwrap().error(Some("AWS_ENDPOINT_URL"));
        let says = "cannot connect to http://127.0.0.1:1 (AWS_ENDPOINT_URL): refused";
        assert_eq!(error.to_string(), says);
        assert!(error.hint_text().unwrap().contains("is the sandbox up?"));
        let words = "error sending request for url (https://run.googleapis.com/v2/x)";
        let wrapped = Error::internal(words).because(refused());
        let found = Unreached::in_error(&wrapped, None).unwrap();
        assert!(found.is_of("https://run.googleapis.com/"));
        assert!(!found.error(None).hint_text().unwrap().contains("sandbox"));
        let other = std::io::Error::other("reset");
        assert_eq!(Unreached::in_error(&other, Some("http://a")), None);
    }

    #[test]
    fn what_will_not_pass_is_told_from_what_may() {
        let check = |words: &str, found| assert_eq!(Obstacle::in_words(words), found, "{words}");
        check(
            "invalid peer certificate: UnknownIssuer",
            Some(Obstacle::UnknownAuthority),
        );
        check(
            "invalid peer certificate: certificate not valid for name \"a.example\"",
            Some(Obstacle::Certificate("is for another name")),
        );
        check(
            "invalid peer certificate: BadSignature",
            Some(Obstacle::Certificate("is not in order")),
        );
        check(
            "tunnel error: proxy authorization required",
            Some(Obstacle::ProxyLogin),
        );
        check("connection refused", None);
        let deep = Error::internal("outside").because(std::io::Error::other(
            "invalid peer certificate: UnknownIssuer",
        ));
        assert_eq!(Obstacle::in_error(&deep), Some(Obstacle::UnknownAuthority));
    }
}
