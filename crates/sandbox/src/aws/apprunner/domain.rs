//! Custom domains as they are remembered and shown, and the records that prove them.
//!
//! `custom-domain-app-runner.js` is the file of that name in `cf-custom-resources/lib` of
//! aws/copilot-cli.

use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::aws::json::random_hex;

/// A domain that is associated with a service, or is to be.
#[derive(Serialize)]
pub struct Domain {
    pub id: Uuid,
    /// The service's ARN.
    pub service: String,
    pub name: String,
    /// Whether `www.NAME` is served as well.
    pub www: bool,
    /// In lower case, as App Runner says it, whatever its model lists: the constants of the
    /// provider's `custom_domain_association.go` and of `custom-domain-app-runner.js`, and a
    /// recorded answer of a real service, `xebia-email-signature` in eu-west-1, of 2023-01-12.
    pub status: &'static str,
    /// None before the certificate is requested.
    pub records: Vec<Record>,
    /// Whether somebody takes it off, which its status does not say from the first moment on.
    pub is_leaving: bool,
}

/// A domain that a service served before. Where it is associated with that service again, the
/// results of its validation are still cached: it is `active` at once, and its records come later
/// (`domainValidationRecordReady`).
#[derive(Serialize)]
pub struct Certified {
    pub service: String,
    pub name: String,
    pub records: Vec<Record>,
}

/// A canonical name that ACM wants to see.
#[derive(Clone, Serialize)]
pub struct Record {
    /// With its final dot, as the recorded answer has it.
    pub name: String,
    pub value: String,
    pub is_seen: bool,
}

impl Domain {
    /// Whether it serves this name.
    pub fn serves(&self, name: &str) -> bool {
        let www = self.www.then(|| format!("www.{}", self.name));
        self.name == name || www.as_deref() == Some(name)
    }

    /// The message `CustomDomain`.
    pub fn shown(&self) -> Value {
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
    fn wanted(&self) -> Vec<Record> {
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
        of.into_iter().map(record).collect()
    }

    pub fn ask(&mut self) {
        self.records = self.wanted();
        self.status = "pending_certificate_dns_validation";
    }

    /// The records of a domain that was served with these before: ACM wants the same of a name
    /// again (dflook/cloudformation-dns-certificate#7). What `www` adds is last.
    pub fn wanted_again(&self, before: &[Record]) -> Vec<Record> {
        let fresh = self.wanted().into_iter().enumerate();
        let known = |(at, record)| before.get(at).cloned().unwrap_or(record);
        fresh.map(known).collect()
    }
}
