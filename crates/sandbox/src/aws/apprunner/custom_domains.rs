//! Custom domains of services: certificates that are proven by records, then the domain serves.
//!
//! `custom-domain-app-runner.js` is the file of that name in `cf-custom-resources/lib` of
//! aws/copilot-cli.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::services::{alive, in_state};
use super::state::State;
use super::{AppRunner, invalid, listed};
use crate::aws::error::AwsError;
use crate::aws::json::{flag, need, random_hex};

/// "You can associate up to five custom domains" (Developer Guide, "Managing custom domain names").
const MOST: usize = 5;

/// Until ACM has a certificate that waits for its records. Copilot looks for them ten times, three
/// seconds apart.
const CREATING: Duration = Duration::from_secs(15);

/// How often ACM looks for the records. Ours: all that is said is that it "typically takes several
/// minutes".
const LOOKS: Duration = Duration::from_secs(60);

/// Until a certificate that was issued is in use. Ours.
const BINDING: Duration = Duration::from_secs(30);

/// "If ACM cannot validate the domain name within 72 hours from the time it generates a CNAME value
/// for you, ACM changes the certificate status to Validation timed out" (AWS Certificate Manager
/// User Guide, "DNS validation").
const PATIENCE: Duration = Duration::from_secs(72 * 3600);

/// Until a domain is gone that was disassociated. Ours; the provider waits five minutes.
const DELETING: Duration = Duration::from_secs(15);

/// Whose certificates ACM issues (AWS Certificate Manager User Guide, "Configure a CAA record").
const AUTHORITIES: [&str; 4] = [
    "amazon.com",
    "amazontrust.com",
    "awstrust.com",
    "amazonaws.com",
];

/// A domain that is associated with a service, or is to be.
pub struct Domain {
    id: Uuid,
    /// The service's ARN.
    service: String,
    name: String,
    /// Whether `www.NAME` is served as well.
    www: bool,
    /// In lower case, as App Runner says it, whatever its model lists: the constants of the
    /// provider's `custom_domain_association.go` and of `custom-domain-app-runner.js`, and a
    /// recorded answer of a real service, `xebia-email-signature` in eu-west-1, of 2023-01-12.
    status: &'static str,
    /// None before the certificate is requested.
    records: Vec<Record>,
}

/// A canonical name that ACM wants to see.
struct Record {
    /// With its final dot, as the recorded answer has it.
    name: String,
    value: String,
    is_seen: bool,
}

impl Domain {
    /// Whether it serves this name.
    fn serves(&self, name: &str) -> bool {
        let www = self.www.then(|| format!("www.{}", self.name));
        self.name == name || www.as_deref() == Some(name)
    }

    /// The message `CustomDomain`.
    fn shown(&self) -> Value {
        let failed = self.status == "create_failed";
        let records = self.records.iter().map(|record| {
            let status = match (record.is_seen, failed) {
                (true, _) => "SUCCESS",
                (false, true) => "FAILED",
                (false, false) => "PENDING_VALIDATION",
            };
            json!({
                "Name": record.name, "Type": "CNAME", "Value": record.value, "Status": status,
            })
        });
        let records: Vec<Value> = records.collect();
        let mut shown = json!({
            "DomainName": self.name, "EnableWWWSubdomain": self.www, "Status": self.status,
        });
        if !records.is_empty() {
            shown["CertificateValidationRecords"] = json!(records);
        }
        shown
    }

    /// One for each name, and one more: the provider's acceptance test expects three of a domain
    /// with `www`, the recorded answer has two of one without. Of which name the third is, the
    /// answer tells: `_HEX.TOKEN.DOMAIN.`
    fn ask(&mut self) {
        let mut of = vec![
            format!("{}.", self.name),
            format!("{}.{}.", random_hex(30), self.name),
        ];
        if self.www {
            of.push(format!("www.{}.", self.name));
        }
        let record = |of: String| Record {
            name: format!("_{}.{of}", random_hex(32)),
            value: format!("_{}.xmkpffzlvd.acm-validations.aws.", random_hex(32)),
            is_seen: false,
        };
        self.records = of.into_iter().map(record).collect();
        self.status = "pending_certificate_dns_validation";
    }
}

impl AppRunner {
    /// Only of a service that runs, as for every other change of it: ours.
    pub(super) fn associate_domain(&self, input: &Value) -> Result<Value, AwsError> {
        let mut state = self.lock();
        let arn = need(input, "ServiceArn");
        let status = alive(&state, arn)?.status;
        if status != "RUNNING" {
            return Err(in_state("updated", status));
        }
        let name = need(input, "DomainName").to_ascii_lowercase();
        let name = name.trim_end_matches('.').to_owned();
        // "Default: true" (API Reference, "AssociateCustomDomain").
        let www = input.get("EnableWWWSubdomain").is_none() || flag(input, "EnableWWWSubdomain");
        let wildcard = name.starts_with("*.");
        // "A wildcard ... You can't use the www option in this case" (Developer Guide, "Managing
        // custom domain names"). The words are ours.
        if wildcard && www {
            return Err(invalid(
                "EnableWWWSubdomain isn't supported for a wildcard domain.",
            ));
        }
        let plain = name.trim_start_matches("*.");
        if !plain.contains('.') || plain.contains('*') || plain.split('.').any(str::is_empty) {
            return Err(invalid(format!("Domain name {name} isn't valid.")));
        }
        let wanted = [Some(name.clone()), www.then(|| format!("www.{name}"))];
        for wanted in wanted.iter().flatten() {
            let taken = state.domains.iter().find(|it| it.serves(wanted));
            if let Some(taken) = taken.filter(|it| alive(&state, &it.service).is_ok()) {
                // As far as `custom-domain-app-runner.js` reads it; also of the same service.
                let message = format!("{wanted} is already associated with {}.", taken.service);
                return Err(invalid(message));
            }
        }
        let own = state.domains.iter().filter(|it| it.service == arn);
        if own.count() >= MOST {
            // Its model names no error of its own for this. The words are ours.
            return Err(invalid(format!(
                "The service already has {MOST} custom domains."
            )));
        }
        let domain = Domain {
            id: Uuid::new_v4(),
            service: arn.to_owned(),
            name,
            www,
            status: "creating",
            records: Vec::new(),
        };
        let answer = answer(&state, arn, &domain)?;
        let (this, id) = (self.clone(), domain.id);
        state.domains.push(domain);
        let background = &self.inner.host.background;
        background.spawn(async move { this.certify(id).await });
        Ok(answer)
    }

    pub(super) fn disassociate_domain(&self, input: &Value) -> Result<Value, AwsError> {
        let mut state = self.lock();
        let (arn, name) = (need(input, "ServiceArn"), need(input, "DomainName"));
        alive(&state, arn)?;
        let mut domains = state.domains.iter_mut();
        let found = domains.find(|it| it.service == arn && it.name.eq_ignore_ascii_case(name));
        let Some(domain) = found else {
            // The words that `custom-domain-app-runner.js` reads. The code is ours.
            let message = format!("No custom domain {name} found for the provided service");
            return Err(invalid(message));
        };
        let id = domain.id;
        domain.status = "deleting";
        let domain = state.domains.iter().find(|it| it.id == id);
        let answer = answer(&state, arn, domain.ok_or_else(|| invalid(name))?)?;
        let this = self.clone();
        let clock = self.inner.host.clock.clone();
        self.inner.host.background.spawn(async move {
            clock.sleep(DELETING).await;
            this.lock().domains.retain(|it| it.id != id);
        });
        Ok(answer)
    }

    pub(super) fn describe_domains(&self, input: &Value) -> Result<Value, AwsError> {
        let state = self.lock();
        let arn = need(input, "ServiceArn");
        let service = alive(&state, arn)?;
        let own = state.domains.iter().filter(|it| it.service == arn);
        let mut out = listed(input, "CustomDomains", own.map(Domain::shown).collect())?;
        out["DNSTarget"] = json!(service.domain);
        out["ServiceArn"] = json!(arn);
        // Nothing here is reached through a VPC ingress connection.
        out["VpcDNSTargets"] = json!([]);
        Ok(out)
    }

    /// What becomes of a domain once it is associated.
    async fn certify(self, id: Uuid) {
        let clock = self.inner.host.clock.clone();
        clock.sleep(CREATING).await;
        let may = |domain: &Domain| self.may_certify(domain);
        match self.with_domain(id, |domain| {
            let may = may(domain);
            match may {
                true => domain.ask(),
                false => domain.status = "create_failed",
            }
            may
        }) {
            Some(true) => {}
            Some(false) | None => return,
        }
        let mut waited = Duration::ZERO;
        loop {
            clock.sleep(LOOKS).await;
            waited += LOOKS;
            let seen = self.with_domain(id, |domain| self.see(domain));
            match seen {
                None => return,
                Some(true) => break,
                Some(false) if waited >= PATIENCE => {
                    self.with_domain(id, |domain| domain.status = "create_failed");
                    return;
                }
                Some(false) => {}
            }
        }
        clock.sleep(BINDING).await;
        self.with_domain(id, |domain| domain.status = "active");
    }

    /// Looks for the records in the public DNS. Whether all are there.
    fn see(&self, domain: &mut Domain) -> bool {
        for record in &mut domain.records {
            let found = self.inner.route53.canonical(&record.name);
            record.is_seen |= found.as_deref() == Some(record.value.as_str());
        }
        let all = domain.records.iter().all(|record| record.is_seen);
        if all {
            domain.status = "binding_certificate";
        }
        all
    }

    /// "If you're using CAA certifications in the DNS records, make sure that at least one
    /// domain's CAA records include amazon.com. Otherwise, ACM fails to issue a certificate. As a
    /// result, the custom domain for App Runner fails to be created" (Developer Guide, "Custom
    /// domain names").
    fn may_certify(&self, domain: &Domain) -> bool {
        let name = domain.name.trim_start_matches("*.");
        self.inner.route53.may_certify(name, &AUTHORITIES)
    }

    /// A domain that nobody is taking off. `None` when it is gone, or going.
    fn with_domain<T>(&self, id: Uuid, act: impl FnOnce(&mut Domain) -> T) -> Option<T> {
        let mut state = self.lock();
        let mut domains = state.domains.iter_mut();
        let domain = domains.find(|it| it.id == id && it.status != "deleting");
        domain.map(act)
    }
}

fn answer(state: &State, arn: &str, domain: &Domain) -> Result<Value, AwsError> {
    let service = alive(state, arn)?;
    Ok(json!({
        "DNSTarget": service.domain, "ServiceArn": arn, "CustomDomain": domain.shown(),
        "VpcDNSTargets": [],
    }))
}
