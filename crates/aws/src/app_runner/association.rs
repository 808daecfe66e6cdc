//! What App Runner tells of the domains of a service, and how one is taken off.

use std::time::Duration;

use aws_sdk_apprunner::types::CustomDomain as SdkDomain;
use deployer_core::error::{Error, ErrorKind};
use deployer_core::fields::Fields;
use deployer_core::kind::{Refused, read_or_sort};
use deployer_core::wait::{Look, Pace, Readiness, poll};

use super::regions::ZONES;
use crate::dns::{Balancer, Proof, plain};
use crate::site::prelude::*;

/// How long a domain may take to leave: the Terraform provider waits five minutes
/// (`internal/service/apprunner/custom_domain_association.go` of hashicorp/terraform-provider-aws).
const GONE: Pace = Pace::until(Duration::from_secs(10 * 60));

/// The codes of a call on what is not there.
pub(super) const ABSENT: &[&str] = &["ResourceNotFoundException"];

pub(super) const WWW: Field = Field::replaces("www", Order::DeleteFirst);
pub(super) const STATE: Field = Field::replaces("state", Order::DeleteFirst);

/// What an association says of its state that is as it is to be, or on its way there.
pub(super) const ASSOCIATED: &str = "associated";

/// Where an association is. The model lists these in upper case, and the service answers in lower
/// case (the constants in the Terraform provider's file, and in aws/copilot-cli's
/// `cf-custom-resources/lib/custom-domain-app-runner.js`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Creating,
    Pending,
    Binding,
    Active,
    CreateFailed,
    Deleting,
    DeleteFailed,
}

impl Status {
    fn of(domain: &SdkDomain) -> Self {
        match domain.status().as_str().to_ascii_uppercase().as_str() {
            "PENDING_CERTIFICATE_DNS_VALIDATION" => Self::Pending,
            "BINDING_CERTIFICATE" => Self::Binding,
            "ACTIVE" => Self::Active,
            "CREATE_FAILED" => Self::CreateFailed,
            "DELETING" => Self::Deleting,
            "DELETE_FAILED" => Self::DeleteFailed,
            _ => Self::Creating,
        }
    }

    pub(super) fn state(self) -> &'static str {
        match self {
            Self::Creating | Self::Pending | Self::Binding | Self::Active => ASSOCIATED,
            Self::CreateFailed => "could not be created",
            Self::Deleting => "on its way out",
            Self::DeleteFailed => "could not be deleted",
        }
    }
}

/// A service's associations.
pub(super) struct Domains {
    pub(super) arn: String,
    /// Where an alias of the service leads.
    pub(super) target: Balancer,
    all: Vec<SdkDomain>,
}

/// The associations of the service of a name. `None` when there is no such service.
pub(super) async fn domains(clients: &Clients, service: &str) -> Result<Option<Domains>, Refusal> {
    let listed = clients.lookups.app_runner.ask(service).await;
    let Some(listed) = listed.map_err(|error| Refusal::new(&error))? else {
        return Ok(None);
    };
    let arn = listed.service_arn().unwrap_or_default().to_owned();
    let mut all = Vec::new();
    let mut target = String::new();
    let mut pages = clients
        .app_runner
        .describe_custom_domains()
        .service_arn(&arn)
        .into_paginator()
        .send();
    while let Some(page) = pages.next().await {
        let page = match page.map_err(Refusal::from) {
            Ok(page) => page,
            // Deleted a moment ago.
            Err(refusal) if refusal.is_one_of(ABSENT) => return Ok(None),
            Err(refusal) => return Err(refusal),
        };
        plain(page.dns_target()).clone_into(&mut target);
        all.extend(page.custom_domains);
    }
    let target = Balancer {
        dns_name: target,
        zone: zone_of(&clients.section.region)?.to_owned(),
    };
    Ok(Some(Domains { arn, target, all }))
}

/// The zone that the names of a region's services are in.
///
/// Errors: input, where none is known.
fn zone_of(region: &str) -> Result<&'static str> {
    let found = ZONES.iter().find(|(known, _)| *known == region);
    found.map(|(_, zone)| *zone).ok_or_else(|| {
        let message = format!("no alias leads to App Runner in `{region}`: its zone is not known");
        Error::input(message).hint(
            "leave `domains` out and make a CNAME record by hand, or use a region that AWS's page \
             \"AWS App Runner endpoints and quotas\" lists",
        )
    })
}

/// An association as it is.
#[derive(Clone, Debug)]
pub(crate) struct Association {
    /// The service's ARN.
    arn: String,
    /// As App Runner spells it.
    domain: String,
    pub(super) target: Balancer,
    pub(super) www: bool,
    pub(super) status: Status,
    pub(super) proofs: Vec<Proof>,
    /// The names of the records that were not seen.
    unseen: Vec<String>,
}

impl Association {
    fn of(domains: &Domains, domain: &SdkDomain) -> Self {
        let records = domain.certificate_validation_records();
        let is_unseen = |status: &str| !status.eq_ignore_ascii_case("SUCCESS");
        Self {
            arn: domains.arn.clone(),
            domain: domain.domain_name().to_owned(),
            target: domains.target.clone(),
            www: domain.enable_www_subdomain(),
            status: Status::of(domain),
            proofs: records
                .iter()
                .map(|record| Proof {
                    name: plain(record.name().unwrap_or_default()),
                    value: plain(record.value().unwrap_or_default()),
                })
                .collect(),
            unseen: records
                .iter()
                .filter(|record| record.status().is_none_or(|it| is_unseen(it.as_str())))
                .map(|record| plain(record.name().unwrap_or_default()))
                .collect(),
        }
    }

    pub(super) fn fields(&self) -> Fields {
        let mut fields = Fields::new();
        fields.set(WWW.name(), self.www);
        fields.set(STATE.name(), self.status.state());
        fields
    }

    /// Whether App Runner has told every record that it asks for.
    ///
    /// One that is active may tell fewer at first: of a domain that was taken off and is associated
    /// again the earlier results count, and its records come later (`domainValidationRecordReady`
    /// in aws/copilot-cli's `custom-domain-app-runner.js`). There are two, and with `www` three:
    /// the provider's acceptance test, and that file.
    pub(super) fn has_told(&self) -> bool {
        match self.status {
            Status::Creating => false,
            Status::Active => self.proofs.len() >= 2 + usize::from(self.www),
            Status::Pending
            | Status::Binding
            | Status::CreateFailed
            | Status::Deleting
            | Status::DeleteFailed => !self.proofs.is_empty(),
        }
    }

    /// Whether the domain is served, and what it waits for.
    pub(super) fn serves(&self) -> Readiness {
        let domain = &self.domain;
        match self.status {
            Status::Active if self.has_told() => Readiness::Ready,
            Status::Active => Readiness::Pending(format!(
                "App Runner does not tell all of the validation records of `{domain}` yet"
            )),
            Status::Creating => {
                Readiness::Pending(format!("App Runner requests a certificate for `{domain}`"))
            }
            Status::Pending => {
                let unseen: Vec<String> = self.unseen.iter().map(|it| format!("`{it}`")).collect();
                Readiness::Pending(format!(
                    "App Runner does not see {} yet (CNAME): `{domain}` must be delegated to the zone that has it",
                    unseen.join(", ")
                ))
            }
            Status::Binding => Readiness::Pending(format!(
                "App Runner puts the certificate of `{domain}` in place"
            )),
            Status::CreateFailed => Readiness::Failed(format!(
                "App Runner got no certificate for `{domain}` (CREATE_FAILED): if the domain has CAA records, one must \
                 allow `amazon.com`, and its validation records must be seen within 72 hours"
            )),
            Status::Deleting => {
                Readiness::Replaced(format!("somebody takes `{domain}` off the service"))
            }
            Status::DeleteFailed => Readiness::Failed(format!(
                "App Runner could not take `{domain}` off the service (DELETE_FAILED)"
            )),
        }
    }
}

/// One association.
pub(super) async fn find(
    clients: &Clients,
    service: &str,
    domain: &str,
) -> Result<Option<Association>, Refusal> {
    let domains = domains(clients, service).await?;
    Ok(domains.and_then(|domains| {
        let mut all = domains.all.iter();
        let found = all.find(|it| it.domain_name().eq_ignore_ascii_case(domain));
        found.map(|found| Association::of(&domains, found))
    }))
}

/// An association, or that the caller may not see it.
pub(super) async fn read(
    clients: &Clients,
    service: &str,
    domain: &str,
) -> Result<Reading<Association>> {
    match find(clients, service, domain).await {
        Ok(Some(found)) => Ok(Reading::Present(found)),
        Ok(None) => Ok(Reading::Absent),
        Err(refusal) => {
            let what = format!("custom domain `{domain}` of service `{service}`");
            read_or_sort(refusal, ABSENT, &what)
        }
    }
}

/// Takes a domain off its service, and waits until it is off: only then another service may have
/// it. Succeeds when it is off already.
pub(super) async fn remove(
    clients: &Clients,
    service: &str,
    there: &Association,
) -> Result<(), Refusal> {
    if there.status != Status::Deleting {
        let call = clients
            .app_runner
            .disassociate_custom_domain()
            .service_arn(&there.arn)
            .domain_name(&there.domain);
        match call.send().await.map_err(Refusal::from) {
            Ok(_) => {}
            // The words that aws/copilot-cli reads.
            Err(refusal) if refusal.is_one_of(ABSENT) || refusal.says("No custom domain") => {
                return Ok(());
            }
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(until_off(clients, service, &there.domain).await?)
}

/// Waits until a domain that is on its way out is gone; one that is not is let be.
///
/// Errors: timed out; failed, when App Runner could not take it off.
pub(super) async fn until_gone(clients: &Clients, service: &str, domain: &str) -> Result<()> {
    until(clients, service, domain, |status| match status {
        Status::Deleting | Status::DeleteFailed => Look::NotYet(GOING.to_owned()),
        Status::Creating
        | Status::Pending
        | Status::Binding
        | Status::Active
        | Status::CreateFailed => Look::Found(()),
    })
    .await
}

/// Waits until a domain that was just taken off is gone. Only its absence says so: it may still be
/// `active` for a while (`waitCustomDomainAssociationDeleted` of the Terraform provider).
///
/// Errors: timed out; denied; failed, when App Runner could not take it off.
async fn until_off(clients: &Clients, service: &str, domain: &str) -> Result<()> {
    until(clients, service, domain, |_| Look::NotYet(GOING.to_owned())).await
}

const GOING: &str = "App Runner takes it off the service";

/// Waits until a domain is absent, or is what `look` takes for the end.
async fn until(
    clients: &Clients,
    service: &str,
    domain: &str,
    look: impl Fn(Status) -> Look<()>,
) -> Result<()> {
    let what = format!("the removal of custom domain `{domain}`");
    poll(clients.clock(), GONE, &what, || async {
        Ok(match read(clients, service, domain).await? {
            Reading::Present(found) if found.status == Status::DeleteFailed => {
                let message = found.serves().why().unwrap_or_default();
                return Err(Error::new(ErrorKind::Failed, message)
                    .hint("run the same command again: it is tried once more"));
            }
            Reading::Present(found) => look(found.status),
            Reading::Denied(words) => {
                let message = format!("cannot see custom domain `{domain}`: {words}");
                return Err(Error::new(ErrorKind::Denied, message));
            }
            Reading::Absent | Reading::Tombstoned(_) | Reading::Foreign(_) => Look::Found(()),
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use aws_sdk_apprunner::types::{
        CertificateValidationRecord, CertificateValidationRecordStatus,
        CustomDomainAssociationStatus,
    };

    use super::*;

    /// What a domain with `www` asks for.
    const THREE: [(&str, &str); 3] = [
        ("_a.example.com.", "SUCCESS"),
        ("_b.token.example.com.", "SUCCESS"),
        ("_c.www.example.com.", "SUCCESS"),
    ];

    fn association(status: &str, records: &[(&str, &str)]) -> Association {
        let records = records.iter().map(|(name, status)| {
            CertificateValidationRecord::builder()
                .name(*name)
                .r#type("CNAME")
                .value("_1.acm-validations.aws.")
                .status(CertificateValidationRecordStatus::from(*status))
                .build()
        });
        let domain = SdkDomain::builder()
            .domain_name("example.com")
            .enable_www_subdomain(true)
            .status(CustomDomainAssociationStatus::from(status))
            .set_certificate_validation_records(Some(records.collect()))
            .build()
            .unwrap();
        let domains = Domains {
            arn: "arn".into(),
            target: Balancer {
                dns_name: "abc.us-east-1.awsapprunner.com".into(),
                zone: "Z01915732ZBZKC8D32TPT".into(),
            },
            all: Vec::new(),
        };
        Association::of(&domains, &domain)
    }

    #[test]
    fn a_status_means_the_same_in_the_models_letters_and_in_the_services() {
        for status in ["active", "ACTIVE"] {
            assert_eq!(association(status, &THREE).serves(), Readiness::Ready);
        }
        for status in ["create_failed", "CREATE_FAILED"] {
            let failed = association(status, &[]);
            assert!(failed.serves().failure().is_some());
            assert_ne!(failed.fields(), association("active", &[]).fields());
        }
    }

    #[test]
    fn one_that_is_active_is_waited_for_until_it_tells_every_record() {
        for told in 0..3 {
            let early = association("active", &THREE[..told]);
            assert!(early.serves().pending().is_some(), "{told}");
            assert!(!early.has_told(), "{told}");
        }
        assert!(!association("creating", &THREE).has_told());
        assert!(association("pending_certificate_dns_validation", &THREE).has_told());
    }

    #[test]
    fn what_is_waited_for_names_the_records_that_are_not_seen() {
        let records = [
            ("_a.example.com.", "SUCCESS"),
            ("_b.www.example.com.", "PENDING_VALIDATION"),
        ];
        let pending = association("pending_certificate_dns_validation", &records);
        let why = pending.serves().pending().unwrap();
        assert!(why.contains("`_b.www.example.com`"), "{why}");
        assert!(!why.contains("_a."), "{why}");
        assert_eq!(pending.proofs[0].name, "_a.example.com");
        assert_eq!(pending.proofs[0].value, "_1.acm-validations.aws");
        // It is still what was asked for.
        assert_eq!(pending.fields(), association("active", &[]).fields());
    }

    #[test]
    fn a_region_without_a_known_zone_is_told() {
        assert_eq!(zone_of("eu-west-3").unwrap(), "Z087117439MBKHYM69QS6");
        let error = zone_of("eu-north-1").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
    }
}
