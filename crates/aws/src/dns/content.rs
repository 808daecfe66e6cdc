//! What a record says, as the manifest asks for it and as Route 53 tells it; pure.

use std::net::IpAddr;

use aws_sdk_route53::types::{AliasTarget, ResourceRecord, ResourceRecordSet, RrType};
use deployer_core::capability::RecordStatus;
use deployer_core::error::Result;
use deployer_core::fields::Fields;
use deployer_core::spec::LeadsTo;

use crate::error::incomplete;

/// How long resolvers may keep an address of a record that is made, in seconds.
const TTL: i64 = 300;

/// What the manifest has no word for: another hand may set it, and it stays so.
const UNSAID: [&str; 2] = ["ttl", "evaluate_target_health"];

/// The type of an address record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    A,
    Aaaa,
}

impl Type {
    /// The type that leads there. Aliases are A records: every load balancer has such addresses.
    pub(super) fn of(leads_to: &LeadsTo) -> Self {
        match leads_to {
            LeadsTo::Address(IpAddr::V6(_)) => Self::Aaaa,
            LeadsTo::Address(IpAddr::V4(_)) | LeadsTo::LoadBalancer(_) => Self::A,
        }
    }

    /// Its name.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
        }
    }

    /// The type of that name.
    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::A, Self::Aaaa]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }

    fn sdk(self) -> RrType {
        match self {
            Self::A => RrType::A,
            Self::Aaaa => RrType::Aaaa,
        }
    }

    /// Whether a record is of this type.
    pub(super) fn is_of(self, set: &ResourceRecordSet) -> bool {
        *set.r#type() == self.sdk()
    }
}

/// A name as people write it: lower case, no last dot, no escapes.
pub(crate) fn plain(name: &str) -> String {
    let name = name.trim_end_matches('.').to_lowercase();
    name.replace("\\052", "*")
}

/// Where an alias leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Balancer {
    pub(crate) dns_name: String,
    /// The zone of the load balancer's own name.
    pub(crate) zone: String,
}

/// What a record is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Alias(Balancer),
    Address(IpAddr),
}

impl Content {
    /// Its fields, as compared.
    pub(super) fn fields(&self) -> Fields {
        let mut fields = Fields::new();
        match self {
            Self::Alias(balancer) => {
                fields.set("leads_to", &balancer.dns_name);
                fields.set("alias_zone", &balancer.zone);
            }
            Self::Address(address) => fields.set("leads_to", address),
        }
        fields
    }

    /// The record that says it, and else says what the one of its type says that is there.
    pub(super) fn set(
        &self,
        name: &str,
        kind: Type,
        there: Option<&ResourceRecordSet>,
    ) -> Result<ResourceRecordSet> {
        let there = there.filter(|set| kind.is_of(set));
        let set = ResourceRecordSet::builder()
            .name(format!("{name}."))
            .r#type(kind.sdk());
        let set = match self {
            Self::Alias(balancer) => {
                let alias = AliasTarget::builder()
                    .hosted_zone_id(&balancer.zone)
                    .dns_name(format!("{}.", balancer.dns_name))
                    .evaluate_target_health(
                        there
                            .and_then(ResourceRecordSet::alias_target)
                            .is_some_and(AliasTarget::evaluate_target_health),
                    );
                set.alias_target(alias.build().map_err(incomplete)?)
            }
            Self::Address(address) => {
                let record = ResourceRecord::builder().value(address.to_string());
                set.ttl(there.and_then(ResourceRecordSet::ttl).unwrap_or(TTL))
                    .resource_records(record.build().map_err(incomplete)?)
            }
        };
        set.build().map_err(incomplete)
    }
}

/// Where a record leads, in the same terms as [`Content::fields`].
pub(super) fn led(set: &ResourceRecordSet) -> Fields {
    without_unsaid(&described(set))
}

/// The same without what the manifest has no word for.
pub(super) fn without_unsaid(fields: &Fields) -> Fields {
    let mut led = Fields::new();
    let said = fields.iter().filter(|(name, _)| !UNSAID.contains(name));
    for (name, value) in said {
        led.set_value(name, value.clone());
    }
    led
}

/// All that a record says.
pub(super) fn described(set: &ResourceRecordSet) -> Fields {
    let mut fields = Fields::new();
    if let Some(alias) = set.alias_target() {
        let dns_name = plain(alias.dns_name());
        // The console writes the prefix; both names have the same addresses.
        let dns_name = dns_name.strip_prefix("dualstack.").unwrap_or(&dns_name);
        fields.set("leads_to", dns_name);
        fields.set("alias_zone", alias.hosted_zone_id());
        fields.set("evaluate_target_health", alias.evaluate_target_health());
        return fields;
    }
    fields.set("leads_to", values(set).join(", "));
    fields.set_some("ttl", set.ttl());
    fields
}

fn values(set: &ResourceRecordSet) -> Vec<String> {
    let records = set.resource_records().iter();
    let mut values: Vec<String> = records.map(|record| normal(record.value())).collect();
    values.sort();
    values
}

/// What a record says, for people.
pub(super) fn status(set: &ResourceRecordSet) -> RecordStatus {
    RecordStatus {
        kind: set.r#type().as_str().to_owned(),
        leads_to: match set.alias_target() {
            Some(alias) => vec![plain(alias.dns_name())],
            None => values(set),
        },
        ttl: set.ttl().and_then(|seconds| u32::try_from(seconds).ok()),
    }
}

fn normal(value: &str) -> String {
    match value.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => plain(value),
    }
}

/// A record in a few words, for people.
pub(super) fn words(set: &ResourceRecordSet) -> String {
    let leads_to = described(set);
    let leads_to = leads_to.get("leads_to").map(ToString::to_string);
    format!(
        "{} record to `{}`",
        set.r#type().as_str(),
        leads_to.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias(dns_name: &str) -> Content {
        Content::Alias(Balancer {
            dns_name: dns_name.into(),
            zone: "Z35SXDOTRQ7X7K".into(),
        })
    }

    #[test]
    fn what_was_written_is_read_back_the_same() {
        for (content, kind) in [
            (alias("lb-1.us-east-1.elb.amazonaws.com"), Type::A),
            (Content::Address("192.0.2.7".parse().unwrap()), Type::A),
            (Content::Address("2001:db8::7".parse().unwrap()), Type::Aaaa),
        ] {
            let set = content.set("idp.example.com", kind, None).unwrap();
            assert_eq!(led(&set), content.fields());
            assert!(kind.is_of(&set));
        }
    }

    #[test]
    fn case_dots_prefixes_and_long_forms_are_noise() {
        let console = alias("Dualstack.LB-1.us-east-1.elb.amazonaws.com");
        let set = console.set("idp.example.com", Type::A, None).unwrap();
        let ours = alias("lb-1.us-east-1.elb.amazonaws.com");
        assert_eq!(led(&set), ours.fields());
        assert_eq!(normal("2001:0DB8:0::7"), "2001:db8::7");
        assert_eq!(plain("\\052.Example.com."), "*.example.com");
    }

    #[test]
    fn an_alias_elsewhere_differs() {
        let other = alias("other.elb.amazonaws.com");
        let set = other.set("x", Type::A, None).unwrap();
        assert_ne!(led(&set), alias("lb-1.elb.amazonaws.com").fields());
    }

    /// A TTL of a minute, for a quick move; target health, which Route 53's console switches on.
    #[test]
    fn what_the_manifest_has_no_word_for_is_no_difference_and_stays() {
        let address = Content::Address("192.0.2.7".parse().unwrap());
        let mut there = address.set("x", Type::A, None).unwrap();
        there.ttl = Some(60);
        assert_eq!(led(&there), address.fields());
        let moved = Content::Address("192.0.2.8".parse().unwrap());
        assert_eq!(
            moved.set("x", Type::A, Some(&there)).unwrap().ttl(),
            Some(60)
        );
        // Of another type nothing is taken.
        let six = Content::Address("2001:db8::7".parse().unwrap());
        assert_eq!(
            six.set("x", Type::Aaaa, Some(&there)).unwrap().ttl(),
            Some(TTL)
        );

        let balancer = alias("lb-1.us-east-1.elb.amazonaws.com");
        let mut there = balancer.set("x", Type::A, None).unwrap();
        assert!(!there.alias_target().unwrap().evaluate_target_health());
        there.alias_target.as_mut().unwrap().evaluate_target_health = true;
        assert_eq!(led(&there), balancer.fields());
        let moved = alias("lb-2.us-east-1.elb.amazonaws.com");
        let moved = moved.set("x", Type::A, Some(&there)).unwrap();
        assert!(moved.alias_target().unwrap().evaluate_target_health());
        // All of it counts where a record is told from another hand's.
        assert_ne!(described(&there), led(&there));
    }
}
