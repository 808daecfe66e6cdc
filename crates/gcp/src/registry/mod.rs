//! Images in Artifact Registry: the repository, and the copy of an image into it.

mod repository;

use std::sync::Arc;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::{Destination, ImageRef, LocalImage, Registry, Scope};
use deployer_core::error::{ErrorKind, Result};
use deployer_core::fields::Fields;
use deployer_core::graph::{Graph, Output, Value};
use deployer_core::kind::{Declared, Kind};
use deployer_core::node::{Evidence, Step, Token, Undone, Watch};
use deployer_core::spec::ServiceSpec;

use crate::composition::Composition;
use crate::credentials::GoogleLogin;
use crate::project::Project;

pub(crate) use repository::Repository;

/// The copy's kind in addresses.
pub(crate) const IMAGE: &str = "artifactregistry.image";

impl Registry for Composition<'_> {
    fn image(
        &self,
        graph: &mut Graph,
        service: &ServiceSpec,
        image: &LocalImage,
        scope: Scope,
    ) -> Output<ImageRef> {
        let (repository, _) = split(&service.repository);
        let made = match scope {
            Scope::Whole => {
                let lent = self.is_read_from(image, repository);
                Some(self.repository(graph, service, repository, lent))
            }
            Scope::CodeOnly => None,
        };
        let target = &self.project.target;
        let mut address = Address::new(target, IMAGE, &service.repository);
        if graph.find(&address).is_some() {
            // Two services share the image's name; each has its own copy to see to.
            address.name = format!("{}#{}", service.repository, service.key);
        }
        let output = Output::of(&address);
        // The name is a formula: it is known before the copy is made.
        output.publish(self.reference(&service.repository, &image.digest));
        graph.step(|inputs| Copy {
            project: Arc::clone(&self.project),
            address,
            repository: service.repository.clone(),
            image: image.clone(),
            reference: self.reference(&service.repository, &image.digest),
            _made: made.as_ref().map(|made| inputs.take(made)),
            output: output.clone(),
        });
        output
    }
}

impl Composition<'_> {
    /// Declares the repository, once for all services that share it.
    fn repository(
        &self,
        graph: &mut Graph,
        service: &ServiceSpec,
        name: &str,
        lent: bool,
    ) -> Output<()> {
        let address = Address::new(&self.project.target, Repository::KIND, name);
        if graph.find(&address).is_some() {
            return Output::of(&address);
        }
        let declared = Declared {
            site: &self.project,
            name,
            env: self.env,
            adopt: service.adopt,
        };
        graph.declare(declared, |_| Repository {
            given: lent || self.project.section.repository.is_some(),
        })
    }

    fn reference(&self, repository: &str, digest: &str) -> ImageRef {
        ImageRef(format!("{}@{digest}", self.place(repository)))
    }

    /// A repository or an image of this project and region, as references name it.
    fn place(&self, repository: &str) -> String {
        let target = &self.project.target;
        let project = project_path(&target.account);
        format!("{}-docker.pkg.dev/{project}/{repository}", target.region)
    }

    /// Whether the image is read from that very repository.
    fn is_read_from(&self, image: &LocalImage, repository: &str) -> bool {
        let within = format!("{}/", self.place(repository));
        let origin = image.origin.as_deref();
        origin.is_some_and(|origin| origin.starts_with(&within))
    }
}

/// A project as image names have it: of one that belongs to a domain, `example.com:project`, the
/// colon becomes a slash (<https://docs.cloud.google.com/artifact-registry/docs/docker/names>).
fn project_path(project: &str) -> String {
    project.replace(':', "/")
}

/// `REPO` and `IMAGE` of `REPO/IMAGE`.
fn split(repository: &str) -> (&str, &str) {
    repository.split_once('/').unwrap_or((repository, ""))
}

/// The copy of one image.
pub(crate) struct Copy {
    project: Arc<Project>,
    address: Address,
    repository: String,
    image: LocalImage,
    reference: ImageRef,
    /// The repository is made first; its marker carries nothing.
    _made: Option<Value<()>>,
    output: Output<ImageRef>,
}

impl Copy {
    fn destination(&self) -> Destination {
        let project = project_path(&self.project.target.account);
        let credentials = self.project.clients.credentials.clone();
        Destination {
            base: self.project.registry.clone(),
            repository: format!("{project}/{}", self.repository),
            login: Arc::new(GoogleLogin(credentials)),
        }
    }
}

#[async_trait]
impl Step for Copy {
    fn address(&self) -> &Address {
        &self.address
    }

    async fn evidence(&self) -> Result<Evidence> {
        let digest = &self.image.digest;
        match self.image.source.is_at(&self.destination()).await {
            Ok(true) => Ok(Evidence::Done(format!("the registry has {digest}"))),
            Ok(false) => Ok(Evidence::NotDone(
                "the registry does not have it".to_owned(),
            )),
            // Artifact Registry refuses to say anything about a repository that does not exist.
            Err(error) if matches!(error.kind(), ErrorKind::Denied | ErrorKind::NotFound) => Ok(
                Evidence::Unknown(format!("the registry does not say: {error}")),
            ),
            Err(error) => Err(error),
        }
    }

    fn desired(&self) -> Fields {
        let mut fields = Fields::new();
        fields.set("image", &self.reference.0);
        fields.set_some("tag", self.image.tag.as_ref());
        fields
    }

    fn publish(&self) {
        self.output.publish(self.reference.clone());
    }

    async fn run(&self, _token: &Token, watch: &dyn Watch) -> Result<()> {
        let to = self.destination();
        let tag = self.image.tag.as_deref();
        match (self.image.source.copy_to(&to, tag, watch).await, tag) {
            // Artifact Registry: "cannot update tag X. The repository has enabled tag
            // immutability".
            (Err(error), Some(tag)) if error.kind() == ErrorKind::Conflict => {
                watch.note(&format!(
                    "the repository's tags are immutable: `{tag}` stays where it was"
                ));
                Ok(())
            }
            (copied, _) => copied,
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
    use super::*;

    #[test]
    fn a_project_of_a_domain_has_a_slash_in_image_names() {
        assert_eq!(project_path("example.com:shop"), "example.com/shop");
        assert_eq!(project_path("shop-staging"), "shop-staging");
    }

    #[test]
    fn the_repository_is_the_first_part_and_the_image_the_rest() {
        assert_eq!(split("agentidp-staging/idp"), ("agentidp-staging", "idp"));
        assert_eq!(split("shared/team/idp"), ("shared", "team/idp"));
    }
}
