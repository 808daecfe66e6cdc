//! What the credentials must be allowed, as a page in Markdown and as JSON.

use std::collections::BTreeSet;
use std::fmt::{self, Write};

use deployer_aws::permissions as aws;
use deployer_core::address::CloudName;
use deployer_core::permissions::Feature;
use deployer_gcp::permissions as gcp;
use serde_json::{Map, Value, json};

const HEAD: &str = "\
# Permissions

What the credentials that `deployer` runs with must be allowed, and no more. `deployer permissions` prints this page,
`deployer permissions --json` its policies and roles for scripts; `--cloud` chooses a cloud. The tests run `deployer` with
exactly these actions and permissions in force, and compare the ARNs with the names that it makes; conditions only AWS itself
weighs.

A manifest needs what stands at its own parts: one without databases needs nothing of RDS or Cloud SQL. `plan`, `status`,
`releases`, `logs` and `verify` read only; `plan` reads the values of secrets too, to compare them, and `apply --only` does not.
";

const AWS: &str = "
## AWS

In every policy replace the words in capitals: ACCOUNT, REGION, CLUSTER, APP and ENV (as in the manifest), EXECUTION_ROLE and
TASK_ROLE, with App Runner ACCESS_ROLE, where there are records ZONE (the hosted zone's id), where secrets of others are read SHARED_SECRET (their names):

```sh
deployer permissions --cloud aws --json | jq '.aws.whole[0]' |
  sed -e s/ACCOUNT/123456789012/g -e s/REGION/eu-central-1/g -e s/CLUSTER/default/g -e s/APP/shop/g -e s/ENV/staging/g \\
      -e s/EXECUTION_ROLE/shop-execution/g -e s/TASK_ROLE/shop-app/g -e s/ZONE/Z0123456789ABC/g
```

- In China and in GovCloud ARNs begin with `arn:aws-cn:` and `arn:aws-us-gov:`.
- What the manifest names itself (`name`, `family`, `repository`, `log_group`, `ledger`) has other ARNs: put these in. Of names
  that are too long for a service the end is cut, and the ARNs still fit, unless APP-ENV alone is too long.
- The environments `prod` and `prod-eu` of one app begin alike: whoever may change the first may change the second. Name them so
  that neither begins with the other and a hyphen where that matters.
- Nobody needs permission for `sts:GetCallerIdentity`, with which `deployer` checks the account.
- The roles of the tasks are somebody else's to make: EXECUTION_ROLE pulls the image, writes the log (the managed policy
  `AmazonECSTaskExecutionRolePolicy`) and reads the secrets (`secretsmanager:GetSecretValue` on
  `arn:aws:secretsmanager:REGION:ACCOUNT:secret:/APP/ENV/*`); TASK_ROLE is the app's own. On App Runner ACCESS_ROLE pulls the
  image (the managed policy `AWSAppRunnerServicePolicyForECRAccess`) and trusts `build.apprunner.amazonaws.com`; TASK_ROLE trusts
  `tasks.apprunner.amazonaws.com`, for migrations and `deployer run` also `ecs-tasks.amazonaws.com`, and reads the secrets.
- Without `iam:CreateServiceLinkedRole` somebody must have made the roles of the services once:
  `aws iam create-service-linked-role --aws-service-name ecs.amazonaws.com`.
- A secret, a log group or a bucket under a key of your own needs `kms:Decrypt` and `kms:GenerateDataKey` on that key.
";

const GCP: &str = "
## Google Cloud

Replace the words in capitals: PROJECT, REGION, MEMBER (who deploys: `user:ann@example.com`,
`serviceAccount:deploy@PROJECT.iam.gserviceaccount.com`), RUNTIME_ACCOUNT (`service_account` in the manifest, or
`NUMBER-compute@developer.gserviceaccount.com`), SECRETS_PROJECT (where secrets of others are).

- The least that a predefined role allows is often more than is needed; the custom roles below are the least.
- `roles/iam.serviceAccountUser` and the ledger's role are granted on the account and on the bucket, not on the project: on the project they
  open every account and every bucket of it.
- To say who may call a service, or to switch its check off, takes `roles/run.admin`. Where all services are private and stay so,
  `roles/run.developer` is enough.
- With a `repository` that is there, `roles/artifactregistry.writer` on it is enough.
- With a network of another project (Shared VPC) that project grants `roles/compute.networkUser` to Cloud Run's own agent, not to
  who deploys.
- Records in a zone of another project need `roles/dns.admin` there.
- Without `roles/serviceusage.serviceUsageConsumer` each API says itself that it is off, one after another.
";

/// One cloud's part.
struct Part {
    /// Of the page.
    page: fn(&mut String) -> fmt::Result,
    /// Of the document.
    document: fn() -> Value,
}

fn part(cloud: CloudName) -> Part {
    match cloud {
        CloudName::Aws => Part {
            page: aws_part,
            document: aws_document,
        },
        CloudName::Gcp => Part {
            page: gcp_part,
            document: gcp_document,
        },
    }
}

/// The page, of these clouds.
pub fn page(clouds: &[CloudName]) -> String {
    let mut text = HEAD.to_owned();
    for cloud in clouds {
        let written = (part(*cloud).page)(&mut text);
        written.expect("a string takes all that is written");
    }
    text
}

/// The features that a table has rows for.
fn features(has: impl Fn(Feature) -> bool) -> Vec<Feature> {
    Feature::ALL.into_iter().filter(|it| has(*it)).collect()
}

fn aws_features() -> Vec<Feature> {
    features(|feature| aws::NEEDS.iter().any(|need| need.access.feature == feature))
}

fn gcp_features() -> Vec<Feature> {
    features(|feature| gcp::NEEDS.iter().any(|need| need.access.feature == feature))
}

fn aws_part(text: &mut String) -> fmt::Result {
    text.push_str(AWS);
    writeln!(text, "\n### What each kind needs on AWS\n")?;
    writeln!(
        text,
        "| kind | needed by | to read | to change |\n|---|---|---|---|"
    )?;
    for need in aws::NEEDS.iter() {
        let [read, change] = need.actions();
        let (needed, read, change) = (
            need.access.feature.needed_by(),
            listed(&read),
            listed(&change),
        );
        let (kind, noun) = (need.kind, need.noun);
        writeln!(text, "| `{kind}`: {noun} | {needed} | {read} | {change} |")?;
    }
    let whole = aws::policies(&Feature::ALL);
    writeln!(
        text,
        "\n### Everything on AWS\n\nThe whole is longer than the {} characters that IAM takes in one policy: attach all {}.",
        aws::LONGEST_POLICY,
        whole.len()
    )?;
    write_policies(text, &whole)?;
    for feature in aws_features() {
        writeln!(text, "\n### AWS: {}", feature.needed_by())?;
        write_policies(text, &aws::policies(&[feature]))?;
    }
    writeln!(
        text,
        "\n### AWS: `apply --only`\n\nFor a pipeline that deploys code and nothing else: a new image, a new revision, the roll-out. \
         Everything else is there already."
    )?;
    write_policies(text, &aws::only())
}

fn gcp_part(text: &mut String) -> fmt::Result {
    text.push_str(GCP);
    writeln!(text, "\n### What each kind needs on Google Cloud\n")?;
    writeln!(
        text,
        "| kind | needed by | to read | to change | the least predefined roles |\n|---|---|---|---|---|"
    )?;
    for need in gcp::NEEDS.iter() {
        let set = |all: &[&'static str]| listed(&all.iter().copied().collect());
        let access = need.access;
        let (read, change, roles) = (set(access.read), set(access.change), set(access.roles));
        let (kind, noun, needed) = (need.kind, need.noun, access.feature.needed_by());
        writeln!(
            text,
            "| `{kind}`: {noun} | {needed} | {read} | {change} | {roles} |"
        )?;
    }
    for feature in gcp_features() {
        writeln!(text, "\n### Google Cloud: {}\n\n```sh", feature.needed_by())?;
        for (on, role) in gcp::roles(&[feature]) {
            writeln!(text, "{}", on.grant(role))?;
        }
        writeln!(text, "```")?;
    }
    writeln!(
        text,
        "\n### The least on Google Cloud\n\nA custom role with what the project must allow for everything above; leave out what the \
         manifest does not have. The grants on RUNTIME_ACCOUNT, on the bucket and on SECRETS_PROJECT stay as above.\n"
    )?;
    write_role(
        text,
        "deployer",
        "deployer",
        &gcp::permissions(&Feature::ALL),
    )?;
    writeln!(
        text,
        "\n### Google Cloud: `apply --only`\n\nFor a pipeline that deploys code and nothing else, beside the grants on RUNTIME_ACCOUNT and \
         on the bucket.\n"
    )?;
    let only = gcp::ONLY.iter().copied().collect();
    write_role(text, "deployer_only", "deployer apply --only", &only)
}

/// A table's cell.
fn listed(names: &BTreeSet<&'static str>) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn write_policies(text: &mut String, policies: &[Value]) -> fmt::Result {
    for policy in policies {
        writeln!(text, "\n```json\n{policy:#}\n```")?;
    }
    Ok(())
}

fn write_role(
    text: &mut String,
    id: &str,
    title: &str,
    permissions: &BTreeSet<&str>,
) -> fmt::Result {
    let role = gcp::custom_role(title, permissions);
    writeln!(text, "```yaml\n{role}```\n\n```sh")?;
    writeln!(
        text,
        "gcloud iam roles create {id} --project=PROJECT --file=role.yaml"
    )?;
    let grant = gcp::On::Project.grant(&format!("projects/PROJECT/roles/{id}"));
    writeln!(text, "{grant}\n```")
}

/// The same for programs.
pub fn document(clouds: &[CloudName]) -> Value {
    let parts = clouds.iter();
    let parts = parts.map(|cloud| (cloud.to_string(), (part(*cloud).document)()));
    Value::Object(parts.collect())
}

fn aws_document() -> Value {
    let each = aws_features().into_iter();
    let each = each.map(|it| (it.name().to_owned(), json!(aws::policies(&[it]))));
    json!({
        "whole": aws::policies(&Feature::ALL),
        "features": each.collect::<Map<_, _>>(),
        "only": aws::only(),
    })
}

fn gcp_document() -> Value {
    let each = gcp_features().into_iter().map(|it| {
        let roles = gcp::roles(&[it]);
        let roles: Vec<String> = roles.iter().map(|(on, role)| on.grant(role)).collect();
        let permissions = gcp::permissions(&[it]);
        let part = json!({ "permissions": permissions, "commands": roles });
        (it.name().to_owned(), part)
    });
    json!({
        "whole": gcp::permissions(&Feature::ALL),
        "features": each.collect::<Map<_, _>>(),
        "only": gcp::ONLY,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [CloudName; 2] = [CloudName::Aws, CloudName::Gcp];

    #[test]
    fn the_page_in_the_repository_is_the_one_that_the_tables_make() {
        let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/permissions.md");
        let kept = std::fs::read_to_string(kept).unwrap();
        // Before it stands how it is made.
        let (_, kept) = kept.split_once("-->\n\n").unwrap();
        assert!(
            kept == page(&BOTH),
            "docs/permissions.md is stale: run `cargo xtask docs`"
        );
    }

    #[test]
    fn one_cloud_says_nothing_of_the_other() {
        assert!(!page(&[CloudName::Aws]).contains("gcloud"));
        assert!(!page(&[CloudName::Gcp]).contains("arn:"));
        assert_eq!(document(&[CloudName::Gcp]).as_object().unwrap().len(), 1);
    }

    #[test]
    fn names_are_left_open_in_words_that_stand_alone() {
        let policies = document(&[CloudName::Aws]).to_string();
        let is_of_a_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        for word in [
            "ACCOUNT",
            "REGION",
            "CLUSTER",
            "APP",
            "ENV",
            "EXECUTION_ROLE",
            "TASK_ROLE",
            "SHARED_SECRET",
            "ZONE",
        ] {
            let mut places = policies.match_indices(word).peekable();
            assert!(places.peek().is_some(), "{word}");
            for (at, _) in places {
                let (before, after) = (&policies[..at], &policies[at + word.len()..]);
                assert!(!before.ends_with(is_of_a_word), "{word}");
                assert!(!after.starts_with(is_of_a_word), "{word}");
            }
        }
    }
}
