//! Images in Artifact Registry: the repository, and the copy of an image into it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::{
    Destination, ImageRef, LocalImage, Registry, RegistryLogin, Scope,
};
use deployer_core::error::{ErrorKind, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::{Graph, Output, Value};
use deployer_core::node::{Effect, Evidence, Kept, Reading, Resource, Step, Token, Undone, Watch};
use deployer_core::spec::{EnvironmentSpec, ServiceSpec};
use google_cloud_artifactregistry_v1::model;
use google_cloud_artifactregistry_v1::model::repository::Format;
use google_cloud_auth::credentials::Credentials;
use google_cloud_wkt::FieldMask;
use secrecy::SecretString;

use crate::credentials;
use crate::error::{self, Found};
use crate::labels::{self, Labels, Owner};
use crate::operation;
use crate::project::Project;

/// The repository's kind in addresses.
pub(crate) const REPOSITORY: &str = "artifactregistry.repository";
/// The copy's kind in addresses.
pub(crate) const IMAGE: &str = "artifactregistry.image";

/// Making or deleting a repository takes seconds; Google names no bound.
const OPERATION_DEADLINE: Duration = Duration::from_secs(180);

/// Artifact Registry behind [`Registry`].
pub(crate) struct Images {
    pub(crate) project: Arc<Project>,
}

impl Registry for Images {
    fn image(
        &self,
        graph: &mut Graph,
        env: &EnvironmentSpec,
        service: &ServiceSpec,
        image: &LocalImage,
        scope: Scope,
    ) -> Output<ImageRef> {
        let (repository, _) = split(&service.repository);
        let made = match scope {
            Scope::Whole => {
                let lent = self.is_read_from(image, repository);
                Some(self.repository(graph, env, service, repository, lent))
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

impl Images {
    /// Declares the repository, once for all services that share it.
    fn repository(
        &self,
        graph: &mut Graph,
        env: &EnvironmentSpec,
        service: &ServiceSpec,
        name: &str,
        lent: bool,
    ) -> Output<()> {
        let address = Address::new(&self.project.target, REPOSITORY, name);
        let output = Output::of(&address);
        if graph.find(&address).is_none() {
            let labels = labels::of(env).after(&graph.past(&address));
            graph.resource(|_| Repository {
                path: RepositoryPath::new(&self.project, name),
                given: lent || self.project.section.repository.is_some(),
                owner: Owner::wanted(&labels, service.adopt),
                address,
                labels,
                output: output.clone(),
            });
        }
        output
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

/// A project as image names have it: of one that belongs to a domain, `example.com:project`, the colon becomes a slash
/// (<https://docs.cloud.google.com/artifact-registry/docs/docker/names>).
fn project_path(project: &str) -> String {
    project.replace(':', "/")
}

/// The caller's access token, which image registries of Google take for a password. Asked for at each challenge: it ends
/// after an hour at most.
pub(crate) struct GoogleLogin(pub(crate) Credentials);

impl std::fmt::Debug for GoogleLogin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GoogleLogin([redacted])")
    }
}

#[async_trait]
impl RegistryLogin for GoogleLogin {
    async fn login(&self) -> Result<(String, SecretString)> {
        let token = credentials::access_token(&self.0).await?;
        Ok(("oauth2accesstoken".to_owned(), token))
    }
}

/// `REPO` and `IMAGE` of `REPO/IMAGE`.
fn split(repository: &str) -> (&str, &str) {
    repository.split_once('/').unwrap_or((repository, ""))
}

/// The calls that concern one repository.
struct RepositoryPath {
    project: Arc<Project>,
    name: String,
}

impl RepositoryPath {
    fn new(project: &Arc<Project>, name: &str) -> Self {
        Self {
            project: Arc::clone(project),
            name: name.to_owned(),
        }
    }

    fn cannot(&self, what: &str) -> String {
        format!("cannot {what} repository `{}`", self.name)
    }

    async fn get(&self) -> Result<Found<model::Repository>> {
        let outcome = self
            .project
            .clients
            .repositories
            .get_repository()
            .set_name(self.project.names.repository(&self.name))
            .send()
            .await;
        error::found(outcome, &self.cannot("read"))
    }

    async fn label(&self, labels: HashMap<String, String>) -> Result<model::Repository> {
        let project = &self.project;
        let repository = model::Repository::new()
            .set_name(project.names.repository(&self.name))
            .set_labels(labels);
        project
            .clients
            .repositories
            .update_repository()
            .set_repository(repository)
            .set_update_mask(FieldMask::default().set_paths(["labels"]))
            .send()
            .await
            .map_err(|error| error::failed(error, &self.cannot("label")))
    }

    async fn delete(&self) -> Result<()> {
        let action = self.cannot("delete");
        let outcome = self
            .project
            .clients
            .repositories
            .delete_repository()
            .set_name(self.project.names.repository(&self.name))
            .send()
            .await;
        match error::optional(outcome, &action)? {
            Some(operation) => self.settle(operation, &action).await,
            None => Ok(()),
        }
    }

    async fn settle(
        &self,
        started: google_cloud_longrunning::model::Operation,
        action: &str,
    ) -> Result<()> {
        let repositories = &self.project.clients.repositories;
        operation::settle(&self.project, started, OPERATION_DEADLINE, action, |name| {
            repositories.get_operation().set_name(name).send()
        })
        .await
    }
}

/// A repository as it is.
#[derive(Clone, Debug)]
pub(crate) struct ActualRepository {
    labels: HashMap<String, String>,
    format: Format,
    /// The manifest names it and it carries another's mark, or none: used, never changed.
    lent: bool,
}

impl ActualRepository {
    fn of(repository: model::Repository, lent: bool) -> Self {
        Self {
            labels: repository.labels,
            format: repository.format,
            lent,
        }
    }
}

/// The environment's repository.
struct Repository {
    path: RepositoryPath,
    address: Address,
    owner: Owner,
    labels: Labels,
    /// Whether the manifest names it, or an image in it: an existing one is then used as it stands.
    given: bool,
    output: Output<()>,
}

fn describe(labels: &HashMap<String, String>, format: &Format) -> Fields {
    let mut fields = Fields::new();
    let format = format.name().unwrap_or("unknown to this version");
    fields.set("format", format.to_lowercase());
    labels::describe(&mut fields, labels);
    fields
}

#[async_trait]
impl Resource for Repository {
    type Actual = ActualRepository;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<ActualRepository>> {
        Ok(match self.path.get().await? {
            Found::Absent => Reading::Absent,
            Found::Denied(why) => Reading::Denied(why),
            Found::Here(repository) => match self.owner.objection(&repository.labels) {
                None => Reading::Present(ActualRepository::of(repository, false)),
                Some(_) if self.given && repository.format == Format::Docker => {
                    Reading::Present(ActualRepository::of(repository, true))
                }
                Some(why) => Reading::Foreign(why),
            },
        })
    }

    fn desired(&self) -> Fields {
        let labels = self.labels.set.clone().into_iter().collect();
        describe(&labels, &Format::Docker)
    }

    fn observed(&self, actual: &ActualRepository) -> Fields {
        if actual.lent {
            return self.desired();
        }
        describe(&actual.labels, &actual.format)
    }

    fn effect(&self, field: &str) -> Effect {
        if field == "format" {
            Effect::LosesData
        } else {
            Effect::InPlace
        }
    }

    fn publish(&self, _actual: &ActualRepository) {
        self.output.publish(());
    }

    async fn create(&self, _token: &Token, _watch: &dyn Watch) -> Result<ActualRepository> {
        let action = self.path.cannot("create");
        let repository = model::Repository::new()
            .set_format(Format::Docker)
            .set_labels(self.labels.set.clone());
        let project = &self.path.project;
        let outcome = project
            .clients
            .repositories
            .create_repository()
            .set_parent(project.names.location())
            .set_repository_id(&self.path.name)
            .set_repository(repository.clone())
            .send()
            .await;
        match outcome {
            Ok(operation) => self.path.settle(operation, &action).await?,
            Err(error) if error::exists_already(&error) => {
                // Our own create, whose reply was lost, or somebody else's.
                return match self.read().await? {
                    Reading::Present(actual) => Ok(actual),
                    _ => Err(error::failed(error, &action)),
                };
            }
            Err(error) => return Err(error::failed(error, &action)),
        }
        Ok(ActualRepository::of(repository, false))
    }

    async fn update(
        &self,
        actual: &ActualRepository,
        _changes: &[FieldChange],
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<ActualRepository> {
        let labels = labels::merged(&self.labels, &actual.labels);
        Ok(ActualRepository {
            labels: self.path.label(labels).await?.labels,
            ..actual.clone()
        })
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harmless("the images that served before are in it")
    }

    async fn delete(&self, _actual: &ActualRepository, _token: &Token) -> Result<()> {
        self.path.delete().await
    }

    fn is_guarded(&self) -> bool {
        true
    }
}

/// The copy of one image.
struct Copy {
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
        self.image
            .source
            .copy_to(&to, self.image.tag.as_deref(), watch)
            .await
    }

    async fn left(&self, _failed: Option<ErrorKind>) -> Result<Undone> {
        Ok(Undone::Stays(
            "one image more in the registry is in nobody's way".into(),
        ))
    }
}

/// A repository that is no longer desired: it can be read and deleted.
pub(crate) struct Leftover {
    path: RepositoryPath,
    address: Address,
    owner: Owner,
}

impl Leftover {
    /// The repository at `address`.
    pub(crate) fn new(project: &Arc<Project>, address: &Address, owner: Owner) -> Self {
        Self {
            path: RepositoryPath::new(project, &address.name),
            address: address.clone(),
            owner,
        }
    }
}

#[async_trait]
impl crate::existing::Existing for Leftover {
    type Actual = ActualRepository;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<ActualRepository>> {
        Ok(match self.path.get().await? {
            Found::Absent => Reading::Absent,
            Found::Denied(why) => Reading::Denied(why),
            Found::Here(repository) => match self.owner.objection(&repository.labels) {
                None => Reading::Present(ActualRepository::of(repository, false)),
                Some(why) => Reading::Foreign(why),
            },
        })
    }

    fn observed(&self, actual: &ActualRepository) -> Fields {
        describe(&actual.labels, &actual.format)
    }

    async fn delete(&self, _actual: &ActualRepository) -> Result<()> {
        self.path.delete().await
    }

    async fn release(&self, actual: &ActualRepository) -> Result<()> {
        let labels = labels::unmarked(&actual.labels);
        self.path.label(labels).await.map(drop)
    }

    fn is_guarded(&self) -> bool {
        true
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

    #[test]
    fn a_repository_of_another_format_differs() {
        let labels = HashMap::from([("deployer".to_owned(), "idp_staging".to_owned())]);
        let changes =
            describe(&labels, &Format::Maven).changes_to(&describe(&labels, &Format::Docker));
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].field, "format");
    }
}
