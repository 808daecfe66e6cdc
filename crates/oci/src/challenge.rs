//! What a registry answers to who did not say who they are, and what they wanted.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// What a request will do to a repository, and so what a token for it must allow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    Pull(String),
    Push(String),
    /// Push to the first, mounting blobs out of the second.
    Mount(String, String),
}

impl Scope {
    /// The repository that is written to, or read from.
    pub(crate) fn repository(&self) -> &str {
        match self {
            Scope::Pull(repo) | Scope::Push(repo) | Scope::Mount(repo, _) => repo,
        }
    }

    pub(crate) fn to_params(&self) -> Vec<String> {
        match self {
            Scope::Pull(repo) => vec![format!("repository:{repo}:pull")],
            Scope::Push(repo) => vec![format!("repository:{repo}:pull,push")],
            Scope::Mount(to, from) => {
                vec![
                    format!("repository:{to}:pull,push"),
                    format!("repository:{from}:pull"),
                ]
            }
        }
    }
}

/// What a registry's `WWW-Authenticate` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer(TokenService),
}

/// Who gives tokens for a registry, as its challenge says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenService {
    pub(crate) realm: String,
    pub(crate) service: Option<String>,
    /// What the registry calls what it wants a token for: `public.ecr.aws` has a word of its own.
    pub(crate) scope: Option<String>,
}

impl Challenge {
    /// The challenge we can answer best, a token before a password; `None` when there is none.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(WWW_AUTHENTICATE);
        let texts = values.iter().filter_map(|v| v.to_str().ok());
        let mut basic = None;
        for text in texts {
            // A header that cannot be parsed is as good as none: the 401 then stands.
            for challenge in http_auth::parse_challenges(text).unwrap_or_default() {
                if challenge.scheme.eq_ignore_ascii_case("basic") {
                    basic = Some(Self::Basic);
                }
                let param = |name: &str| {
                    let found = challenge
                        .params
                        .iter()
                        .find(|p| p.0.eq_ignore_ascii_case(name));
                    found.map(|p| p.1.to_unescaped())
                };
                if challenge.scheme.eq_ignore_ascii_case("bearer")
                    && let Some(realm) = param("realm")
                {
                    return Some(Self::Bearer(TokenService {
                        realm,
                        service: param("service"),
                        scope: param("scope"),
                    }));
                }
            }
        }
        basic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(text: &str) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, text.parse().unwrap());
        Challenge::from_headers(&headers)
    }

    #[test]
    fn a_token_service_is_preferred_to_sending_the_password() {
        let found = challenge(r#"Basic realm="x", Bearer realm="https://a/token",service="reg""#);
        let wanted = Challenge::Bearer(TokenService {
            realm: "https://a/token".into(),
            service: Some("reg".into()),
            scope: None,
        });
        assert_eq!(found, Some(wanted));
    }

    #[test]
    fn a_challenge_we_cannot_answer_is_none() {
        assert_eq!(challenge("Negotiate"), None);
        assert_eq!(challenge("=,;"), None);
    }
}
