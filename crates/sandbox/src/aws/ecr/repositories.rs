//! Repositories: settings, tags.

use serde_json::{Value, json};

use super::{SERVICE, State, invalid};
use crate::Host;
use crate::aws::error::AwsError;
use crate::aws::json::{flag, need, text, texts};
use crate::aws::shelf::{Going, Kind, Taken, all, given, whole};

pub(super) const FILTERS: &str = "imageTagMutabilityExclusionFilters";

pub(super) const REPOSITORY: Kind<State> = Kind {
    noun: ("Repository", "Repositories"),
    answers: ("repository", "repositories"),
    arn: ("repository/", "repositoryArn"),
    on: (|it| &it.repositories, |it| &mut it.repositories),
    named: |_, _, input| Ok(need(input, "repositoryName").to_owned()),
    asked: |_, _, input| {
        let mut names = texts(input, "repositoryNames");
        names.extend(text(input, "repositoryName").map(str::to_owned));
        Ok(names)
    },
    made: |_, site, name, input| {
        let mutability = text(input, "imageTagMutability").unwrap_or("MUTABLE");
        check_exclusions(mutability, input)?;
        let (account, region) = (&site.host.account, &site.host.region);
        let mut made = given(input, &[FILTERS, "encryptionConfiguration"]);
        if made.get("encryptionConfiguration").is_none() {
            made["encryptionConfiguration"] = json!({"encryptionType": "AES256"});
        }
        made["repositoryArn"] = json!(site.arn(&format!("repository/{name}")));
        made["registryId"] = json!(account);
        made["repositoryName"] = json!(name);
        made["repositoryUri"] = json!(format!("{account}.dkr.ecr.{region}.amazonaws.com/{name}"));
        made["createdAt"] = site.now();
        made["imageTagMutability"] = json!(mutability);
        let scans = flag(&input["imageScanningConfiguration"], "scanOnPush");
        made["imageScanningConfiguration"] = json!({"scanOnPush": scans});
        Ok(made)
    },
    // Answers both, as its model has it (PutImageTagMutability, Amazon ECR API Reference, response
    // elements).
    changes: &[("PutImageTagMutability", |_, _, _, input| {
        let mutability = need(input, "imageTagMutability");
        check_exclusions(mutability, input)?;
        Ok(json!({"imageTagMutability": mutability, FILTERS: input[FILTERS]}))
    })],
    free: |_, site, name, input| {
        let has_images = !site
            .host
            .store
            .manifests(&stored(&site.host, name))
            .is_empty();
        match has_images && !flag(input, "force") {
            false => Ok(()),
            true => Err(AwsError::new(
                "RepositoryNotEmptyException",
                format!(
                    "The repository with name '{name}' in registry with id '{}' cannot be deleted because it still \
                     contains images",
                    site.host.account
                ),
            )),
        }
    },
    going: Going::Forgotten(|site, name| {
        site.host.store.delete_repository(&stored(&site.host, name))
    }),
    taken: Taken::Refused(|site, name| {
        let account = &site.host.account;
        AwsError::new(
            "RepositoryAlreadyExistsException",
            format!(
                "The repository with name '{name}' already exists in the registry with id '{account}'"
            ),
        )
    }),
    absent: |site, name| not_found(&site.host.account, name),
    shown: whole,
    fits: all,
    service: &SERVICE,
};

/// What the registry stores a repository under.
pub(super) fn stored(host: &Host, name: &str) -> String {
    format!("aws/{}/{}/{name}", host.account, host.region)
}

pub(super) fn not_found(account: &str, name: &str) -> AwsError {
    AwsError::new(
        "RepositoryNotFoundException",
        format!(
            "The repository with name '{name}' does not exist in the registry with id '{account}'"
        ),
    )
}

fn check_exclusions(mutability: &str, input: &Value) -> Result<(), AwsError> {
    if mutability.ends_with("_WITH_EXCLUSION") == input.get(FILTERS).is_some_and(Value::is_array) {
        return Ok(());
    }
    Err(invalid(
        FILTERS,
        "exclusion filters go with IMMUTABLE_WITH_EXCLUSION and MUTABLE_WITH_EXCLUSION only",
    ))
}

pub(super) fn check_tags(tags: &[Value]) -> Result<(), AwsError> {
    let is_reserved = |tag: &Value| need(tag, "Key").to_ascii_lowercase().starts_with("aws:");
    match tags.iter().any(is_reserved) {
        _ if tags.len() > 50 => Err(too_many_tags()),
        true => Err(AwsError::new(
            "InvalidTagParameterException",
            "Tag keys beginning with aws: are reserved.",
        )),
        false => Ok(()),
    }
}

pub(super) fn too_many_tags() -> AwsError {
    AwsError::new("TooManyTagsException", "A repository has at most 50 tags.")
}
