//! Where an alias may lead: a record of its own zone, or a service's name in the zone of that
//! service and region.

/// Zones of services, with the domain that their names are in: App Runner's as "AWS App Runner
/// endpoints and quotas" (AWS General Reference) has them, those of load balancers in us-east-1 as
/// "Elastic Load Balancing endpoints and quotas" does. The zones of other services are not known
/// here, and what is said to be in them is taken.
const SERVICES: [(&str, &str); 13] = [
    ("Z0224347AD7KVHMLOX31", "us-east-2.awsapprunner.com."),
    ("Z01915732ZBZKC8D32TPT", "us-east-1.awsapprunner.com."),
    ("Z02243383FTQ64HJ5772Q", "us-west-2.awsapprunner.com."),
    ("Z00855883LBHKTIC4ODF2", "ap-south-1.awsapprunner.com."),
    ("Z09819469CZ3KQ8PWMCL", "ap-southeast-1.awsapprunner.com."),
    ("Z03657752RA8799S0TI5I", "ap-southeast-2.awsapprunner.com."),
    ("Z08491812XW6IPYLR6CCA", "ap-northeast-1.awsapprunner.com."),
    ("Z0334911C2FDI2Q9M4FZ", "eu-central-1.awsapprunner.com."),
    ("Z087551914Z2PCAU0QHMW", "eu-west-1.awsapprunner.com."),
    ("Z098228427VC6B3IX76ON", "eu-west-2.awsapprunner.com."),
    ("Z087117439MBKHYM69QS6", "eu-west-3.awsapprunner.com."),
    ("Z35SXDOTRQ7X7K", "us-east-1.elb.amazonaws.com."),
    ("Z26RNL4JYFTOTI", "elb.us-east-1.amazonaws.com."),
];

/// Where an alias leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The id of the zone that the name is in.
    pub(super) zone: String,
    /// In lower case and with its final dot.
    pub(super) name: String,
}

impl Target {
    /// Whether the name is in the zone, as far as the zone is known here.
    pub(super) fn is_within(&self) -> bool {
        let service = SERVICES.iter().find(|(zone, _)| *zone == self.zone);
        // Of App Runner's and load balancers' names only what is in this very domain: a zone of
        // one region has none of another's.
        service.is_none_or(|(_, domain)| self.name.ends_with(&format!(".{domain}")))
    }

    /// Whether it is in the domain of a service whose zone has another id.
    pub(super) fn is_elsewhere(&self) -> bool {
        let mut services = SERVICES.iter();
        let of = services.find(|(_, domain)| self.name.ends_with(&format!(".{domain}")));
        of.is_some_and(|(zone, _)| *zone != self.zone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_region_is_in_the_zone_of_that_region_alone() {
        let target = |zone: &str, name: &str| Target {
            zone: zone.into(),
            name: name.into(),
        };
        let ireland = "Z087551914Z2PCAU0QHMW";
        let good = target(ireland, "abc.eu-west-1.awsapprunner.com.");
        assert!(good.is_within() && !good.is_elsewhere());
        let other_region = target(ireland, "abc.eu-west-2.awsapprunner.com.");
        assert!(!other_region.is_within());
        let unknown_zone = target("ZUNKNOWN", "abc.eu-west-1.awsapprunner.com.");
        assert!(unknown_zone.is_within() && unknown_zone.is_elsewhere());
        assert!(target("ZUNKNOWN", "lb.example.net.").is_within());
    }
}
