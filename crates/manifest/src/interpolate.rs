//! Fills in `${...}`; `$${` stands for a literal `${`.

use std::collections::BTreeMap;

use deployer_core::address::CloudName;
use deployer_core::catalogue::Catalogue;

use crate::layers::nearest;

/// What a template may name, for one target and one service.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    known: BTreeMap<String, String>,
    cloud: CloudName,
}

const NAMES: [&str; 7] = [
    "env",
    "app",
    "target.cloud",
    "target.region",
    "target.project",
    "target.account",
    "service.url",
];

impl Scope {
    /// What every value of a target may name; `account` under the cloud's own word for it.
    pub(crate) fn new(
        app: &str,
        environment: &str,
        catalogue: &Catalogue,
        region: &str,
        account: &str,
    ) -> Self {
        let cloud = catalogue.cloud;
        let place = format!("target.{}", catalogue.account);
        let known = [
            ("app", app),
            ("env", environment),
            ("target.cloud", cloud.as_str()),
            ("target.region", region),
            (place.as_str(), account),
        ];
        Self {
            known: known
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            cloud,
        }
    }

    /// With the service's address, when the manifest has one.
    pub(crate) fn with_url(&self, url: Option<&str>) -> Self {
        let mut scope = self.clone();
        if let Some(url) = url {
            scope.known.insert("service.url".to_owned(), url.to_owned());
        }
        scope
    }
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadTemplate {
    pub(crate) message: String,
    pub(crate) help: String,
}

/// Fills in the template `text`.
pub(crate) fn interpolate(text: &str, scope: &Scope) -> Result<String, BadTemplate> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = from.get(2..).unwrap_or_default();
            continue;
        }
        out.push_str(before);
        let inside = from.get(2..).unwrap_or_default();
        let Some((name, after)) = inside.split_once('}') else {
            return Err(BadTemplate {
                message: "`${` is not closed".to_owned(),
                help: "close it with `}`, or write `$${` for a literal `${`".to_owned(),
            });
        };
        out.push_str(
            scope
                .known
                .get(name.trim())
                .ok_or_else(|| unknown(name.trim(), scope.cloud))?,
        );
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn unknown(name: &str, cloud: CloudName) -> BadTemplate {
    let (message, help) = match name {
        "service.url" => (
            format!("`${{service.url}}` is not known for {cloud}"),
            format!("set `url` in `[targets.{cloud}.services.NAME]`"),
        ),
        "target.project" | "target.account" => (
            format!("`${{{name}}}` is not known for {cloud}"),
            format!("set this variable for each cloud, in `[targets.{cloud}.services.NAME.env]`"),
        ),
        _ => (
            format!("`${{{name}}}` is not known"),
            match nearest(name, NAMES) {
                Some(word) => {
                    format!("did you mean `${{{word}}}`? write `$${{` for a literal `${{`")
                }
                None => {
                    let names: Vec<_> = NAMES.iter().map(|name| format!("`${{{name}}}`")).collect();
                    format!(
                        "known are {}; write `$${{` for a literal `${{`",
                        names.join(", ")
                    )
                }
            },
        ),
    };
    BadTemplate { message, help }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str) -> Result<String, String> {
        let google = crate::catalogue(CloudName::Gcp);
        let scope = Scope::new("idp", "staging", google, "us-central1", "acme");
        interpolate(text, &scope).map_err(|bad| bad.message)
    }

    #[test]
    fn every_known_name_is_filled_in() {
        assert_eq!(
            fill("${app}-${env} ${target.cloud} ${target.region} ${ target.project }").unwrap(),
            "idp-staging gcp us-central1 acme"
        );
    }

    #[test]
    fn two_dollars_escape_and_a_lone_dollar_is_a_dollar() {
        assert_eq!(
            fill("$${env} costs $5 or $$ {env}").unwrap(),
            "${env} costs $5 or $$ {env}"
        );
    }

    #[test]
    fn an_unclosed_or_unknown_name_is_refused() {
        assert_eq!(fill("${env").unwrap_err(), "`${` is not closed");
        assert_eq!(fill("${region}").unwrap_err(), "`${region}` is not known");
        assert_eq!(fill("${}").unwrap_err(), "`${}` is not known");
        assert_eq!(
            fill("${target.account}").unwrap_err(),
            "`${target.account}` is not known for gcp"
        );
        assert_eq!(
            fill("${service.url}").unwrap_err(),
            "`${service.url}` is not known for gcp"
        );
    }
}
