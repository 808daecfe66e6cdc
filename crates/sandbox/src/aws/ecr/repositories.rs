//! Repositories: creation, settings, tags.

use serde_json::{Value, json};

use super::{Ecr, Repository};
use crate::aws::error::AwsError;
use crate::aws::json::{
    drop_tags, flag, list, merge_tags, need, number, page, seconds, text, texts,
};

impl Ecr {
    pub(super) fn create(&self, input: &Value) -> Result<Value, AwsError> {
        let name = need(input, "repositoryName");
        let mut state = self.lock();
        if state.repositories.contains_key(name) {
            return Err(AwsError::new(
                "RepositoryAlreadyExistsException",
                format!(
                    "The repository with name '{name}' already exists in the registry with id '{}'",
                    self.inner.account
                ),
            ));
        }
        let mutability = text(input, "imageTagMutability").unwrap_or("MUTABLE");
        let exclusions = input
            .get("imageTagMutabilityExclusionFilters")
            .filter(|v| !v.is_null())
            .cloned();
        check_exclusions(mutability, exclusions.is_some())?;
        let tags = list(input, "tags").to_vec();
        check_tags(&tags)?;
        let encryption = input
            .get("encryptionConfiguration")
            .filter(|value| !value.is_null());
        let repository = Repository {
            created: self.inner.clock.now(),
            mutability: mutability.to_owned(),
            exclusions,
            scan_on_push: input
                .get("imageScanningConfiguration")
                .is_some_and(|scan| flag(scan, "scanOnPush")),
            encryption: encryption
                .cloned()
                .unwrap_or_else(|| json!({"encryptionType": "AES256"})),
            tags,
        };
        let answer = json!({"repository": self.shown(name, &repository)});
        state.repositories.insert(name.to_owned(), repository);
        Ok(answer)
    }

    fn shown(&self, name: &str, repository: &Repository) -> Value {
        let inner = &self.inner;
        let mut out = json!({
            "repositoryArn": self.arn(name),
            "registryId": inner.account,
            "repositoryName": name,
            "repositoryUri": format!("{}.dkr.ecr.{}.amazonaws.com/{name}", inner.account, inner.region),
            "createdAt": seconds(repository.created),
            "imageTagMutability": repository.mutability,
            "imageScanningConfiguration": {"scanOnPush": repository.scan_on_push},
            "encryptionConfiguration": repository.encryption,
        });
        if let Some(filters) = &repository.exclusions {
            out["imageTagMutabilityExclusionFilters"] = filters.clone();
        }
        out
    }

    pub(super) fn describe(&self, input: &Value) -> Result<Value, AwsError> {
        let names = texts(input, "repositoryNames");
        let state = self.lock();
        let absent = names
            .iter()
            .find(|name| !state.repositories.contains_key(*name));
        if let Some(name) = absent {
            return Err(self.not_found(name));
        }
        let found: Vec<Value> = state
            .repositories
            .iter()
            .filter(|(name, _)| names.is_empty() || names.contains(name))
            .map(|(name, repository)| self.shown(name, repository))
            .collect();
        let size = number(input, "maxResults").unwrap_or(100) as usize;
        let (found, next) =
            page(found, text(input, "nextToken"), size).map_err(|()| bad_token())?;
        Ok(with_token(json!({"repositories": found}), next))
    }

    pub(super) fn delete(&self, input: &Value) -> Result<Value, AwsError> {
        let name = need(input, "repositoryName");
        let stored = self.stored(name);
        let mut state = self.lock();
        let repository = state
            .repositories
            .get(name)
            .ok_or_else(|| self.not_found(name))?;
        if !flag(input, "force") && !self.inner.store.manifests(&stored).is_empty() {
            return Err(AwsError::new(
                "RepositoryNotEmptyException",
                format!(
                    "The repository with name '{name}' in registry with id '{}' cannot be deleted because it still \
                     contains images",
                    self.inner.account
                ),
            ));
        }
        let answer = json!({"repository": self.shown(name, repository)});
        self.inner.store.delete_repository(&stored);
        state.repositories.remove(name);
        Ok(answer)
    }

    pub(super) fn put_mutability(&self, input: &Value) -> Result<Value, AwsError> {
        let account = self.inner.account.clone();
        let exclusions = input
            .get("imageTagMutabilityExclusionFilters")
            .filter(|v| !v.is_null())
            .cloned();
        let mutability = need(input, "imageTagMutability");
        check_exclusions(mutability, exclusions.is_some())?;
        self.with(input, |name, repository| {
            repository.mutability = mutability.to_owned();
            repository.exclusions = exclusions;
            Ok(json!({
                "registryId": account, "repositoryName": name, "imageTagMutability": repository.mutability,
            }))
        })
    }

    pub(super) fn list_tags(&self, input: &Value) -> Result<Value, AwsError> {
        self.with_arn(input, |repository| Ok(json!({"tags": repository.tags})))
    }

    pub(super) fn tag(&self, input: &Value) -> Result<Value, AwsError> {
        self.with_arn(input, |repository| {
            let mut tags = repository.tags.clone();
            merge_tags(&mut tags, list(input, "tags"), "Key");
            check_tags(&tags)?;
            repository.tags = tags;
            Ok(json!({}))
        })
    }

    pub(super) fn untag(&self, input: &Value) -> Result<Value, AwsError> {
        self.with_arn(input, |repository| {
            drop_tags(&mut repository.tags, &texts(input, "tagKeys"), "Key");
            Ok(json!({}))
        })
    }

    fn with_arn<T>(
        &self,
        input: &Value,
        act: impl FnOnce(&mut Repository) -> Result<T, AwsError>,
    ) -> Result<T, AwsError> {
        let arn = need(input, "resourceArn");
        let name = arn.strip_prefix(&self.arn("")).ok_or_else(|| {
            AwsError::new(
                "InvalidParameterException",
                format!("Invalid parameter at 'resourceArn' failed to satisfy constraint: 'Invalid ARN: {arn}'"),
            )
        })?;
        let mut state = self.lock();
        act(state
            .repositories
            .get_mut(name)
            .ok_or_else(|| self.not_found(name))?)
    }
}

fn check_exclusions(mutability: &str, given: bool) -> Result<(), AwsError> {
    if mutability.ends_with("_WITH_EXCLUSION") == given {
        return Ok(());
    }
    Err(AwsError::new(
        "InvalidParameterException",
        "Invalid parameter at 'imageTagMutabilityExclusionFilters' failed to satisfy constraint: 'exclusion filters go \
         with IMMUTABLE_WITH_EXCLUSION and MUTABLE_WITH_EXCLUSION only'",
    ))
}

fn check_tags(tags: &[Value]) -> Result<(), AwsError> {
    if tags.len() > 50 {
        return Err(AwsError::new(
            "TooManyTagsException",
            "A repository has at most 50 tags.",
        ));
    }
    let reserved = tags
        .iter()
        .any(|tag| need(tag, "Key").to_ascii_lowercase().starts_with("aws:"));
    match reserved {
        true => Err(AwsError::new(
            "InvalidTagParameterException",
            "Tag keys beginning with aws: are reserved.",
        )),
        false => Ok(()),
    }
}

pub(super) fn with_token(mut out: Value, next: Option<String>) -> Value {
    if let Some(next) = next {
        out["nextToken"] = json!(next);
    }
    out
}

pub(super) fn bad_token() -> AwsError {
    AwsError::new(
        "InvalidParameterException",
        "Invalid parameter at 'nextToken' failed to satisfy constraint: 'Invalid token'",
    )
}
