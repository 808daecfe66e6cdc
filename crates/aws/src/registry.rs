//! ECR: the service's repository, and the copy of its image into it.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_ecr::types::{
    ImageFailure, ImageFailureCode, ImageIdentifier, ImageTagMutability, Repository, Tag,
};
use deployer_core::address::Address;
use deployer_core::capability::{
    Destination, ImageRef, LocalImage, Registry, RegistryLogin, Scope,
};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::{Graph, Output, Value};
use deployer_core::node::{Evidence, Kept, Reading, Resource, Step, Token, Undone, Watch};
use deployer_core::spec::{EnvironmentSpec, ServiceSpec};
use url::Url;

use crate::Aws;
use crate::client::Clients;
use crate::ecr_login::{EcrLogin, authorization};
use crate::error::{Told, code, denied, failure};
use crate::reading::{owned, seen, until_seen};
use crate::tags::{self, Ownership, TagChanges, Tags};

/// The kind of a repository's node.
pub(crate) const REPOSITORY: &str = "ecr.repository";
/// The kind of an image copy's node.
pub(crate) const IMAGE: &str = "ecr.image";

/// All that a digest can name; without them ECR says that it does not know an index.
const MEDIA_TYPES: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// What the tag begins with that keeps an image which is deployed: rules of a repository commonly let images without a tag expire,
/// and a tag that moves on leaves the image behind that serves (aws/amazon-ecs-agent#4226, aws/containers-roadmap#1078).
const KEPT: &str = "deployer-";

/// How many digits of the digest are in that tag.
const DIGITS: usize = 12;

/// The tag that keeps an image.
fn kept(digest: &str) -> String {
    let digits = digest.trim_start_matches("sha256:");
    let digits = digits.get(..DIGITS).unwrap_or(digits);
    format!("{KEPT}{digits}")
}

/// A repository that exists.
#[derive(Clone, Debug)]
struct RepositoryReady;

impl Registry for Aws {
    fn image(
        &self,
        graph: &mut Graph,
        env: &EnvironmentSpec,
        service: &ServiceSpec,
        image: &LocalImage,
        scope: Scope,
    ) -> Output<ImageRef> {
        let name = service.repository.clone();
        let into = match scope {
            Scope::Whole => {
                let clients = &self.clients;
                Value::From(declare_repository(clients, graph, env, service, image))
            }
            Scope::CodeOnly => Value::Given(RepositoryReady),
        };
        let address = self.clients.address(IMAGE, &name);
        let output = Output::of(&address);
        // Where the image will be follows from names alone, so it is known while planning.
        output.publish(reference(&self.clients, &name, &image.digest));
        let copied = output.clone();
        let lent = image.origin.as_ref() == Some(&place(&self.clients, &name));
        graph.step(|inputs| ImageCopy {
            clients: Arc::clone(&self.clients),
            address,
            into: inputs.pass(&into),
            repository: name,
            lent,
            image: image.clone(),
            output: copied,
        });
        output
    }
}

fn declare_repository(
    clients: &Arc<Clients>,
    graph: &mut Graph,
    env: &EnvironmentSpec,
    service: &ServiceSpec,
    image: &LocalImage,
) -> Output<RepositoryReady> {
    let address = clients.address(REPOSITORY, &service.repository);
    let output = Output::of(&address);
    let ownership = Ownership::new(env, service.adopt, &graph.past(&address));
    // Two services may share one repository.
    if graph.find(&address).is_none() {
        graph.resource(|_| EcrRepository {
            clients: Arc::clone(clients),
            address,
            ownership,
            lent: image.origin.as_ref() == Some(&place(clients, &service.repository)),
            output: output.clone(),
        });
    } else {
        output.publish(RepositoryReady);
    }
    output
}

/// What ECS is told to pull: always ECR's own name, whatever endpoint the copy went through.
fn reference(clients: &Clients, repository: &str, digest: &str) -> ImageRef {
    ImageRef(format!("{}@{digest}", place(clients, repository)))
}

/// A repository of this account and region, as references name it.
fn place(clients: &Clients, repository: &str) -> String {
    let section = &clients.section;
    format!(
        "{}.dkr.ecr.{}.{}/{repository}",
        section.account,
        section.region,
        crate::partition::of(&section.region).suffix,
    )
}

struct EcrRepository {
    clients: Arc<Clients>,
    address: Address,
    ownership: Ownership,
    /// The image is read from it: where it is somebody else's, it is used as it stands.
    lent: bool,
    output: Output<RepositoryReady>,
}

/// A repository as ECR has it.
#[derive(Clone, Debug)]
pub(crate) struct RepositoryActual {
    repository: Repository,
    /// Its tags.
    pub(crate) tags: Tags,
}

impl RepositoryActual {
    fn arn(&self) -> &str {
        self.repository.repository_arn().unwrap_or_default()
    }

    /// Its fields, as compared.
    pub(crate) fn fields(&self) -> Fields {
        // How its tags and its scanning are set is not for us to say: it is chosen when we make it, and others have rules for it.
        let mut fields = Fields::new();
        tags::describe(&mut fields, &self.tags);
        fields
    }
}

/// Reads a repository and its tags.
pub(crate) async fn read_repository(
    clients: &Clients,
    name: &str,
) -> Result<Reading<RepositoryActual>> {
    let action = || format!("read repository `{name}`");
    let found = clients
        .ecr
        .describe_repositories()
        .repository_names(name)
        .send()
        .await;
    let answer = match found {
        Ok(answer) => answer,
        Err(error) => {
            if code(&error) == Some("RepositoryNotFoundException") {
                return Ok(Reading::Absent);
            }
            return match denied(&error) {
                Some(words) => Ok(Reading::Denied(words)),
                None => Err(failure(&error, &action())),
            };
        }
    };
    let Some(repository) = answer.repositories().first().cloned() else {
        return Ok(Reading::Absent);
    };
    let arn = repository.repository_arn().unwrap_or_default().to_owned();
    let listed = clients
        .ecr
        .list_tags_for_resource()
        .resource_arn(arn)
        .send()
        .await;
    let listed = match listed {
        Ok(listed) => listed,
        Err(error) => {
            return match denied(&error) {
                Some(words) => Ok(Reading::Denied(words)),
                None => Err(failure(
                    &error,
                    &format!("read the tags of repository `{name}`"),
                )),
            };
        }
    };
    let pairs = listed
        .tags()
        .iter()
        .map(|tag| (Some(tag.key()), Some(tag.value())));
    Ok(Reading::Present(RepositoryActual {
        tags: tags::from_pairs(pairs),
        repository,
    }))
}

/// Deletes a repository with its images.
pub(crate) async fn delete_repository(clients: &Clients, name: &str) -> Result<()> {
    let deleted = clients
        .ecr
        .delete_repository()
        .repository_name(name)
        .force(true)
        .send()
        .await;
    match deleted {
        Err(error) if code(&error) == Some("RepositoryNotFoundException") => Ok(()),
        other => other
            .map(drop)
            .told(|| format!("delete repository `{name}`")),
    }
}

/// Takes our mark off a repository.
pub(crate) async fn release_repository(clients: &Clients, name: &str) -> Result<()> {
    match read_repository(clients, name).await? {
        Reading::Present(actual) => {
            retag(clients, name, &actual, TagChanges::unmark(&actual.tags)).await
        }
        other => seen(other, &format!("repository `{name}`")).map(drop),
    }
}

async fn retag(
    clients: &Clients,
    name: &str,
    actual: &RepositoryActual,
    changes: TagChanges,
) -> Result<()> {
    let ecr = &clients.ecr;
    if !changes.set.is_empty() {
        ecr.tag_resource()
            .resource_arn(actual.arn())
            .set_tags(Some(ecr_tags(&changes.set)?))
            .send()
            .await
            .told(|| format!("tag repository `{name}`"))?;
    }
    if !changes.remove.is_empty() {
        ecr.untag_resource()
            .resource_arn(actual.arn())
            .set_tag_keys(Some(changes.remove))
            .send()
            .await
            .told(|| format!("remove tags of repository `{name}`"))?;
    }
    Ok(())
}

fn ecr_tags(tags: &Tags) -> Result<Vec<Tag>> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect::<Result<_, _>>()
        .map_err(crate::error::incomplete)
}

impl EcrRepository {
    async fn again(&self) -> Result<RepositoryActual> {
        let what = format!("repository `{}`", self.address.name);
        until_seen(self.clients.clock(), &what, || self.read()).await
    }
}

#[async_trait]
impl Resource for EcrRepository {
    type Actual = RepositoryActual;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Self::Actual>> {
        let reading = read_repository(&self.clients, &self.address.name).await?;
        if self.lent {
            return Ok(reading);
        }
        Ok(owned(reading, &self.ownership, |actual| &actual.tags))
    }

    fn desired(&self) -> Fields {
        let mut fields = Fields::new();
        tags::describe(&mut fields, &self.ownership.tags);
        fields
    }

    fn observed(&self, actual: &Self::Actual) -> Fields {
        if self.lent && self.ownership.foreign(&actual.tags).is_some() {
            return self.desired();
        }
        actual.fields()
    }

    fn publish(&self, _actual: &Self::Actual) {
        self.output.publish(RepositoryReady);
    }

    async fn create(&self, _token: &Token, _watch: &dyn Watch) -> Result<Self::Actual> {
        let created = self
            .clients
            .ecr
            .create_repository()
            .repository_name(&self.address.name)
            .image_tag_mutability(ImageTagMutability::Mutable)
            .set_tags(Some(ecr_tags(&self.ownership.tags)?))
            .send()
            .await;
        match created {
            // A lost reply: what is there is ours, or `again` says otherwise.
            Err(error) if code(&error) == Some("RepositoryAlreadyExistsException") => {}
            other => {
                other.told(|| format!("create repository `{}`", self.address.name))?;
            }
        }
        self.again().await
    }

    async fn update(
        &self,
        actual: &Self::Actual,
        _changes: &[FieldChange],
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<Self::Actual> {
        let changes = self.ownership.changes(&actual.tags);
        retag(&self.clients, &self.address.name, actual, changes).await?;
        self.again().await
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harmless("the images that served before are in it")
    }

    async fn delete(&self, _actual: &Self::Actual, _token: &Token) -> Result<()> {
        delete_repository(&self.clients, &self.address.name).await
    }

    fn is_guarded(&self) -> bool {
        true
    }
}

struct ImageCopy {
    clients: Arc<Clients>,
    address: Address,
    into: Value<RepositoryReady>,
    repository: String,
    /// The image is read from it: what is there already is used as it stands.
    lent: bool,
    image: LocalImage,
    output: Output<ImageRef>,
}

impl ImageCopy {
    async fn destination(&self) -> Result<Destination> {
        let given = authorization(&self.clients.ecr).await?;
        let endpoint = match &self.clients.section.registry_endpoint {
            Some(endpoint) => endpoint.clone(),
            None => given.endpoint,
        };
        let login = EcrLogin::new(self.clients.ecr.clone(), (given.user, given.password));
        destination(&endpoint, &self.repository, Arc::new(login))
    }

    /// Whether the repository has it and, where we tag it, under the tag that keeps it.
    async fn ecr_has_it(&self) -> Result<Held> {
        let id = ImageIdentifier::builder()
            .image_digest(&self.image.digest)
            .set_image_tag((!self.lent).then(|| kept(&self.image.digest)))
            .build();
        let found = self
            .clients
            .ecr
            .batch_get_image()
            .repository_name(&self.repository)
            .image_ids(id)
            .set_accepted_media_types(Some(MEDIA_TYPES.map(str::to_owned).to_vec()))
            .send()
            .await;
        match found {
            Ok(answer) if !answer.images().is_empty() => Ok(Held::Kept),
            Ok(answer) => {
                let failures = answer.failures().iter();
                let mut codes = failures.filter_map(ImageFailure::failure_code);
                let is_there =
                    codes.any(|code| *code == ImageFailureCode::ImageTagDoesNotMatchDigest);
                Ok(if is_there {
                    Held::Untagged
                } else {
                    Held::Absent
                })
            }
            Err(error) if code(&error) == Some("RepositoryNotFoundException") => Ok(Held::Absent),
            Err(error) => Err(failure(
                &error,
                &format!("look for an image in repository `{}`", self.repository),
            )),
        }
    }
}

/// What a repository has of an image.
enum Held {
    Absent,
    /// The image, without the tag that keeps it.
    Untagged,
    Kept,
}

/// Splits an endpoint that may have a path.
fn destination(
    endpoint: &str,
    repository: &str,
    login: Arc<dyn RegistryLogin>,
) -> Result<Destination> {
    let url = Url::parse(endpoint).map_err(|error| {
        Error::input(format!(
            "`{endpoint}` is not the base URL of an image registry"
        ))
        .because(error)
        .hint("`targets.aws.registry_endpoint` is a URL such as `http://127.0.0.1:5000`")
    })?;
    let path = url.path().trim_matches('/');
    Ok(Destination {
        base: url.origin().ascii_serialization(),
        repository: match path {
            "" => repository.to_owned(),
            path => format!("{path}/{repository}"),
        },
        login,
    })
}

#[async_trait]
impl Step for ImageCopy {
    fn address(&self) -> &Address {
        &self.address
    }

    async fn evidence(&self) -> Result<Evidence> {
        let held = match self.clients.section.registry_endpoint {
            Some(_) => match self.image.source.is_at(&self.destination().await?).await? {
                true => Held::Kept,
                false => Held::Absent,
            },
            None => self.ecr_has_it().await?,
        };
        let digest = &self.image.digest;
        Ok(match held {
            Held::Kept => Evidence::Done(format!("the repository has {digest}")),
            Held::Untagged => Evidence::NotDone(format!(
                "the repository has {digest}, and no tag keeps it from expiring"
            )),
            Held::Absent => Evidence::NotDone(format!("the repository does not have {digest}")),
        })
    }

    fn desired(&self) -> Fields {
        let mut fields = Fields::new();
        fields.set("digest", &self.image.digest);
        fields.set_some("tag", self.image.tag.as_ref());
        fields
    }

    fn publish(&self) {
        let image = reference(&self.clients, &self.repository, &self.image.digest);
        self.output.publish(image);
    }

    async fn run(&self, _token: &Token, watch: &dyn Watch) -> Result<()> {
        self.into.settled()?;
        let to = self.destination().await?;
        let source = &self.image.source;
        let ours = (!self.lent).then(|| kept(&self.image.digest));
        source.copy_to(&to, ours.as_deref(), watch).await?;
        let Some(tag) = &self.image.tag else {
            return Ok(());
        };
        match source.tag(&to, tag).await {
            // ECR: "The image tag already exists in the repository and cannot be overwritten because the repository is immutable".
            Err(error) if error.kind() == ErrorKind::Conflict => {
                watch.note(&format!(
                    "the repository's tags are immutable: `{tag}` stays where it was"
                ));
                Ok(())
            }
            tagged => tagged,
        }
    }

    async fn left(&self, _failed: Option<ErrorKind>) -> Result<Undone> {
        Ok(Undone::Stays(
            "one image more in the registry is in nobody's way".into(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    #[derive(Debug)]
    struct Nobody;

    #[async_trait]
    impl RegistryLogin for Nobody {
        async fn login(&self) -> Result<(String, SecretString)> {
            Err(Error::new(ErrorKind::Credentials, "nobody"))
        }
    }

    #[test]
    fn the_tag_that_keeps_an_image_is_made_of_its_digest() {
        let digest = format!("sha256:0123456789abcdef{}", "0".repeat(48));
        assert_eq!(kept(&digest), "deployer-0123456789ab");
    }

    #[test]
    fn an_endpoint_with_a_path_puts_it_before_the_repository() {
        let check = |endpoint: &str, base: &str, repository: &str| {
            let to = destination(endpoint, "idp", Arc::new(Nobody)).unwrap();
            assert_eq!(
                (to.base.as_str(), to.repository.as_str()),
                (base, repository)
            );
        };
        check(
            "https://1.dkr.ecr.r.amazonaws.com",
            "https://1.dkr.ecr.r.amazonaws.com",
            "idp",
        );
        check("http://127.0.0.1:5000/", "http://127.0.0.1:5000", "idp");
        check(
            "http://127.0.0.1:5000/aws/1/",
            "http://127.0.0.1:5000",
            "aws/1/idp",
        );
    }
}
