//! ECR: the service's repository, and the copy of its image into it.

mod repository;

pub(crate) use repository::{Repository, RepositoryReady};

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_ecr::types::{ImageFailure, ImageFailureCode, ImageIdentifier};
use deployer_core::address::Address;
use deployer_core::capability::{
    Destination, ImageRef, LocalImage, Registry, RegistryLogin, Scope,
};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::Fields;
use deployer_core::graph::{Graph, Output, Value};
use deployer_core::kind::Declared;
use deployer_core::node::{Evidence, Step, Token, Undone, Watch};
use deployer_core::spec::ServiceSpec;
use url::Url;

use crate::client::Clients;
use crate::composition::Composition;
use crate::ecr_login::{EcrLogin, authorization};
use crate::error::{code, failure};

/// The kind of an image copy's node.
pub(crate) const IMAGE: &str = "ecr.image";

/// All that a digest can name; without them ECR says that it does not know an index.
const MEDIA_TYPES: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// What the tag begins with that keeps an image which is deployed: rules of a repository commonly
/// let images without a tag expire, and a tag that moves on leaves the image behind that serves
/// (aws/amazon-ecs-agent#4226, aws/containers-roadmap#1078).
const KEPT: &str = "deployer-";

/// How many digits of the digest are in that tag.
const DIGITS: usize = 12;

/// The tag that keeps an image.
fn kept(digest: &str) -> String {
    let digits = digest.trim_start_matches("sha256:");
    let digits = digits.get(..DIGITS).unwrap_or(digits);
    format!("{KEPT}{digits}")
}

impl Registry for Composition<'_> {
    fn image(
        &self,
        graph: &mut Graph,
        service: &ServiceSpec,
        image: &LocalImage,
        scope: Scope,
    ) -> Output<ImageRef> {
        let name = service.repository.clone();
        let lent = image.origin.as_ref() == Some(&place(&self.clients, &name));
        let into = match scope {
            Scope::Whole => {
                let declared = Declared {
                    site: &self.clients,
                    name: &name,
                    env: self.env,
                    adopt: service.adopt,
                };
                Value::From(graph.declare(declared, |_| Repository { lent }))
            }
            Scope::CodeOnly => Value::Given(RepositoryReady),
        };
        let address = self.clients.address(IMAGE, &name);
        let output = Output::of(&address);
        // Where the image will be follows from names alone, so it is known while planning.
        output.publish(reference(&self.clients, &name, &image.digest));
        let copied = output.clone();
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

pub(crate) struct ImageCopy {
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
        let (first, last) = match (&self.image.tag, &ours) {
            (Some(theirs), _) => (Some(theirs), ours.as_ref()),
            (None, ours) => (ours.as_ref(), None),
        };
        match source.copy_to(&to, first.map(String::as_str), watch).await {
            // ECR: "The image tag already exists in the repository and cannot be overwritten
            // because the repository is immutable".
            Err(error) if error.kind() == ErrorKind::Conflict && self.image.tag.is_some() => {
                let tag = self.image.tag.as_deref().unwrap_or_default();
                watch.note(&format!(
                    "the repository's tags are immutable: `{tag}` stays where it was"
                ));
            }
            copied => copied?,
        }
        match last {
            // It tells that all is done: it is the last.
            Some(last) => source.tag(&to, last).await,
            None => Ok(()),
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
