//! Custom domains of services: certificates that are proven by records, then the domain serves.
//!
//! `custom-domain-app-runner.js` is the file of that name in `cf-custom-resources/lib` of
//! aws/copilot-cli.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::domain::{Certified, Domain, Record};
use super::services::{alive, in_state};
use super::state::State;
use super::{AppRunner, PAGES, invalid};
use crate::aws::error::AwsError;
use crate::aws::json::{flag, need};

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

/// Until a domain that was disassociated says that it is on its way out: to the provider's
/// `waitCustomDomainAssociationDeleted`, `active` is not the end either. How long is ours.
const LEAVING: Duration = Duration::from_secs(4);

/// Until a domain on its way out is gone. Ours; the provider waits five minutes.
const DELETING: Duration = Duration::from_secs(15);

/// Between two records of a domain that was served before. Ours: `domainValidationRecordReady` of
/// `custom-domain-app-runner.js` only says that they may not be there yet.
const APART: Duration = Duration::from_secs(10);

/// Whose certificates ACM issues (AWS Certificate Manager User Guide, "Configure a CAA record").
const AUTHORITIES: [&str; 4] = [
    "amazon.com",
    "amazontrust.com",
    "awstrust.com",
    "amazonaws.com",
];

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
        let mut certified = state.certified.iter();
        let before = certified.find(|it| it.service == arn && it.name == name);
        let before = before.map(|it| it.records.clone());
        let domain = Domain {
            id: Uuid::new_v4(),
            service: arn.to_owned(),
            name,
            www,
            status: match before {
                Some(_) => "active",
                None => "creating",
            },
            records: Vec::new(),
            is_leaving: false,
        };
        let answer = answer(&state, arn, &domain)?;
        let (this, id) = (self.clone(), domain.id);
        let again = before.map(|before| domain.wanted_again(&before));
        state.domains.push(domain);
        let background = &self.inner.host.background;
        background.spawn(async move {
            match again {
                Some(records) => this.trickle(id, records).await,
                None => this.certify(id).await,
            }
        });
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
        domain.is_leaving = true;
        let domain = state.domains.iter().find(|it| it.id == id);
        let answer = answer(&state, arn, domain.ok_or_else(|| invalid(name))?)?;
        let this = self.clone();
        let clock = self.inner.host.clock.clone();
        self.inner.host.background.spawn(async move {
            clock.sleep(LEAVING).await;
            this.lock().leave(id);
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
        let mut out = PAGES.of(input, "CustomDomains", own.map(Domain::shown).collect())?;
        out["DNSTarget"] = json!(service.domain);
        out["ServiceArn"] = json!(arn);
        // Nothing here is reached through a VPC ingress connection.
        out["VpcDNSTargets"] = json!([]);
        Ok(out)
    }

    /// The records of a domain that was served before come one by one; its status stays what it is.
    async fn trickle(self, id: Uuid, records: Vec<Record>) {
        let clock = self.inner.host.clock.clone();
        for record in records {
            clock.sleep(APART).await;
            if self.with_domain(id, |it| it.records.push(record)).is_none() {
                return;
            }
        }
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
        let domain = domains.find(|it| it.id == id && !it.is_leaving);
        domain.map(act)
    }
}

impl State {
    /// A domain is on its way out. Of one that was served, the validation stays known.
    fn leave(&mut self, id: Uuid) {
        let Some(domain) = self.domains.iter_mut().find(|it| it.id == id) else {
            return;
        };
        if domain.status == "active" {
            let (service, name) = (domain.service.clone(), domain.name.clone());
            let records = domain.records.clone();
            let certified = &mut self.certified;
            certified.retain(|it| it.service != service || it.name != name);
            certified.push(Certified {
                service,
                name,
                records,
            });
        }
        domain.status = "deleting";
    }
}

fn answer(state: &State, arn: &str, domain: &Domain) -> Result<Value, AwsError> {
    let service = alive(state, arn)?;
    Ok(json!({
        "DNSTarget": service.domain, "ServiceArn": arn, "CustomDomain": domain.shown(),
        "VpcDNSTargets": [],
    }))
}
