//! Partitions: AWS several times over, each with ARNs and names of its own; pure. Which one a
//! region is in never changes.
//!
//! As in the SDKs' own `partitions.json` (botocore 1.43.11, `botocore/data/partitions.json`), which
//! the one for Rust keeps to itself.

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    /// What its regions begin with.
    regions: &'static str,
    /// What stands in its ARNs.
    pub(crate) name: &'static str,
    /// What the names of its services end with.
    pub(crate) suffix: &'static str,
}

const fn partition(regions: &'static str, name: &'static str, suffix: &'static str) -> Partition {
    Partition {
        regions,
        name,
        suffix,
    }
}

/// The one that everybody means.
const COMMERCIAL: Partition = partition("", "aws", "amazonaws.com");

const OTHERS: [Partition; 7] = [
    partition("cn-", "aws-cn", "amazonaws.com.cn"),
    partition("eusc-", "aws-eusc", "amazonaws.eu"),
    partition("us-gov-", "aws-us-gov", "amazonaws.com"),
    partition("us-iso-", "aws-iso", "c2s.ic.gov"),
    partition("us-isob-", "aws-iso-b", "sc2s.sgov.gov"),
    partition("eu-isoe-", "aws-iso-e", "cloud.adc-e.uk"),
    partition("us-isof-", "aws-iso-f", "csp.hci.ic.gov"),
];

/// The partition of a region.
pub(crate) fn of(region: &str) -> Partition {
    let mut others = OTHERS.into_iter();
    others
        .find(|other| region.starts_with(other.regions))
        .unwrap_or(COMMERCIAL)
}

/// Where S3 answers in a region. A client that knows of one partition only would ask in the wrong
/// one.
pub fn s3_endpoint(region: &str, fips: bool) -> String {
    let service = if fips { "s3-fips" } else { "s3" };
    format!("https://{service}.{region}.{}", of(region).suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_region_is_in_the_partition_that_the_sdks_say() {
        for (region, name, suffix) in [
            ("eu-west-1", "aws", "amazonaws.com"),
            ("mx-central-1", "aws", "amazonaws.com"),
            ("cn-northwest-1", "aws-cn", "amazonaws.com.cn"),
            ("us-gov-east-1", "aws-us-gov", "amazonaws.com"),
            ("eusc-de-east-1", "aws-eusc", "amazonaws.eu"),
            ("us-iso-west-1", "aws-iso", "c2s.ic.gov"),
            ("us-isob-east-1", "aws-iso-b", "sc2s.sgov.gov"),
            ("eu-isoe-west-1", "aws-iso-e", "cloud.adc-e.uk"),
            ("us-isof-south-1", "aws-iso-f", "csp.hci.ic.gov"),
        ] {
            let found = of(region);
            assert_eq!((found.name, found.suffix), (name, suffix), "{region}");
        }
        assert_eq!(
            s3_endpoint("eusc-de-east-1", false),
            "https://s3.eusc-de-east-1.amazonaws.eu"
        );
        assert_eq!(
            s3_endpoint("us-gov-west-1", true),
            "https://s3-fips.us-gov-west-1.amazonaws.com"
        );
    }
}
