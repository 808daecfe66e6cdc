//! Makes the checks of one service: health first, the rest at once.

use futures::future::{join, join_all, join3};
use url::Url;

use crate::check::{self, cloud, health, jwks, metrics, request, tls, token};
use crate::examination::Examination;
use crate::finding::{Finding, Outcome};
use crate::jwt::KeySet;
use crate::subject::Subject;
use crate::verifier::Verifier;

impl Verifier {
    /// Makes every check of a service. Never fails: what cannot be checked is a finding too.
    pub async fn examine(&self, subject: &Subject) -> Examination {
        let verifier = self.for_subject(subject);
        verifier.examine_as_it_is(subject).await
    }

    /// Makes the checks of a candidate at an address of its own: all but those of what serves,
    /// which are the cloud's word and the certificate of the service's name. Never fails, as
    /// [`Verifier::examine`].
    pub async fn examine_candidate(&self, subject: &Subject) -> Examination {
        let verifier = self.for_subject(subject);
        verifier.ask_candidate(subject).await
    }

    async fn ask_candidate(&self, subject: &Subject) -> Examination {
        let mut examination = Examination::of(subject);
        let Ok(base) = &subject.address else {
            examination.skip(check::of_candidate(subject), "no address is known");
            return examination;
        };
        let health = health::check(self, base, &subject.health).await;
        examination.turned_away = health.status.filter(|status| (300..500).contains(status));
        let is_healthy = health.finding.outcome == Outcome::Passed;
        examination.findings.push(health.finding);
        if is_healthy {
            let answers = self.ask(subject, base).await;
            self.judge(answers, &mut examination);
        } else {
            let rest = check::of_candidate(subject).into_iter();
            let rest = rest.filter(|(name, _)| name != "health");
            examination.skip(rest.collect(), "it is not healthy");
        }
        examination
    }

    async fn examine_as_it_is(&self, subject: &Subject) -> Examination {
        let mut examination = Examination::of(subject);
        examination.findings.push(cloud::check(&subject.serving));
        let base = match &subject.address {
            Ok(base) => base,
            // Why there is none stands once, in the examination.
            Err(_) => {
                examination.skip(check::planned(subject), "no address is known");
                return examination;
            }
        };
        let health = health::check(self, base, &subject.health).await;
        examination.findings.push(health.finding);
        if !health.reached {
            // Why nobody answers over TLS is what the TLS check finds out.
            examination.findings.push(tls::check(self, base).await);
            let rest = check::planned(subject).into_iter();
            let rest = rest.filter(|(name, _)| name != "health" && name != "tls");
            examination.skip(rest.collect(), "nobody answers at the address");
            return examination;
        }
        self.examine_answering(subject, base, &mut examination)
            .await;
        examination
    }

    async fn examine_answering(&self, subject: &Subject, base: &Url, into: &mut Examination) {
        let (tls, answers) = join(tls::check(self, base), self.ask(subject, base)).await;
        into.findings.push(tls);
        self.judge(answers, into);
    }

    /// Asks everything at once that is not of the address itself.
    async fn ask(&self, subject: &Subject, base: &Url) -> Answers {
        let spec = &subject.spec;
        let tokens = async {
            let keys = async {
                match &spec.jwks {
                    Some(path) => Some(jwks::check(self, base, path).await),
                    None => None,
                }
            };
            let issued = async {
                match &spec.token {
                    Some(token) => Some(token::ask(self, base, token, &subject.credentials).await),
                    None => None,
                }
            };
            futures::join!(keys, issued)
        };
        let metrics = async {
            match &spec.metrics {
                Some(path) => Some(metrics::check(self, base, path).await),
                None => None,
            }
        };
        let extra = spec
            .checks
            .iter()
            .map(|extra| request::check(self, base, extra));
        let (metrics, (keys, issued), extra) = join3(metrics, tokens, join_all(extra)).await;
        Answers {
            metrics,
            keys,
            issued,
            extra,
        }
    }

    fn judge(&self, answers: Answers, into: &mut Examination) {
        let findings: &mut Vec<Finding> = &mut into.findings;
        findings.extend(answers.metrics);
        let published = answers.keys.is_some();
        if let Some((finding, keys)) = answers.keys {
            findings.push(finding);
            into.keys = keys;
        }
        if let Some(asked) = answers.issued {
            let keys = published.then_some(into.keys.as_ref());
            let (finding, issued) = token::judge(asked, keys, self.clock.now());
            into.findings.push(finding);
            into.issued = issued;
        }
        into.findings.extend(answers.extra);
    }
}

/// What a service answered.
struct Answers {
    metrics: Option<Finding>,
    keys: Option<(Finding, Option<KeySet>)>,
    issued: Option<token::Asked>,
    extra: Vec<Finding>,
}
