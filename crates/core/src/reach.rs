//! What stands between this machine and an address and will stand there at the next try, too: a
//! certificate that it does not trust, a proxy that wants to know who asks.

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

#[cfg(test)]
mod tests {
    use super::*;

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
