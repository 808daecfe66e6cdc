//! What a cloud does for deployer: each capability *declares* nodes into the graph and *operates*
//! what runs.

// long: the contracts of a cloud, read in one go

mod autopsy;
mod console;
mod data;
mod dns;
mod marked;
mod migration;

pub use autopsy::{Autopsy, StoppedContainer, StoppedInstance, UnfitTarget};
pub use console::{Console, Keyboard, Over, Shown};
pub use data::{Cache, CacheOutputs, Database, DatabaseOutputs, PasswordRule, StoreStatus};
pub use dns::{Dns, RecordStatus};
pub use marked::{Marked, Unlisted};
pub use migration::{Birth, MigrationKey, Rerun};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::address::{Address, Target};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::gate::{Checks, HoldsBack};
use crate::graph::{Graph, Output, Value};
use crate::ledger::Permit;
use crate::node::{Node, Token, Watch};
use crate::one_off::{OneOffs, Order};
use crate::ours::{Owner, Past};
use crate::spec::{Architecture, EnvironmentSpec, Member, SecretSpec, ServiceSpec};
use crate::wait::Readiness;

/// An image in a target's own registry, pinned: `HOST/REPOSITORY@sha256:...`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImageRef(pub String);

/// A secret's version as the runtime takes it. Never a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretVersion {
    /// The secret's own name in the cloud: an ARN, `projects/P/secrets/S`.
    pub secret: String,
    /// The version: a UUID, a number.
    pub version: String,
}

/// The cloud's own word for a revision: an ECS task definition's ARN, a Cloud Run revision's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub String);

/// Who calls, as the cloud says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Caller {
    /// The AWS account or Google project that the credentials reach.
    pub account: String,
    /// The principal: an ARN, an e-mail address.
    pub principal: String,
}

/// The local image that a copy starts from, opened before planning.
#[derive(Clone, Debug)]
pub struct LocalImage {
    /// The image as the OCI crate reads it; the registries copy it.
    pub source: Arc<dyn ImageContent>,
    /// `sha256:...` of the index or manifest.
    pub digest: String,
    /// The digest of the manifest for the service's architecture; equal to `digest` when there is
    /// no index.
    pub platform_digest: String,
    /// The tag to give it beside the digest, when the source has one.
    pub tag: Option<String>,
    /// `HOST/REPOSITORY` that it is read from. `None` when it is on this machine.
    pub origin: Option<String>,
}

/// Where a copy goes.
#[derive(Clone, Debug)]
pub struct Destination {
    /// `https://HOST`, or `http://` on loopback.
    pub base: String,
    /// The repository's path below it.
    pub repository: String,
    /// Who we are there.
    pub login: Arc<dyn RegistryLogin>,
}

/// Gives a registry's user and password. Asked whenever the registry asks who we are: what ends
/// while gigabytes are copied is replaced.
#[async_trait]
pub trait RegistryLogin: Send + Sync + std::fmt::Debug {
    /// User and password that are good now. Its `Debug` shows neither.
    async fn login(&self) -> Result<(String, SecretString)>;
}

/// Opaque to this crate: an image that can be copied into a registry, digest unchanged.
#[async_trait]
pub trait ImageContent: Send + Sync + std::fmt::Debug {
    /// Copies manifests and blobs; what is there is not sent again. Ends with the registry's own
    /// word that the digest is there.
    async fn copy_to(&self, to: &Destination, tag: Option<&str>, watch: &dyn Watch) -> Result<()>;

    /// Gives another tag to what was copied there.
    ///
    /// Errors: conflict, when the registry says that the tag stays where it is.
    async fn tag(&self, to: &Destination, tag: &str) -> Result<()>;

    /// Whether the registry has the digest.
    async fn is_at(&self, to: &Destination) -> Result<bool>;
}

/// A secret as the cloud has it. Never the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretStatus {
    /// The current version. `None` when the secret has none yet.
    pub version: Option<SecretVersion>,
    /// When that version was made.
    pub changed: Option<Timestamp>,
    /// How many versions there are that can be used.
    pub versions: usize,
    /// The newest version, where none can be used because somebody switched it off: what it holds
    /// may be wanted again.
    pub disabled: Option<String>,
}

/// Containers' images.
#[async_trait]
pub trait Registry: Send + Sync {
    /// Declares the service's repository and the copy of its image into it. With
    /// [`Scope::CodeOnly`] only the copy: the repository exists.
    fn image(
        &self,
        graph: &mut Graph,
        env: &EnvironmentSpec,
        service: &ServiceSpec,
        image: &LocalImage,
        scope: Scope,
    ) -> Output<ImageRef>;
}

/// What a secret is to hold, as found out before planning.
#[derive(Clone)]
pub enum SecretContent {
    /// Whatever the cloud holds stays; it must exist.
    Keep,
    /// This value.
    Exactly(SecretString),
    /// What the cloud holds stays; where there is nothing, this value (generated, in memory only).
    AtFirst(SecretString),
    /// What another node makes: unknown until that one is there. Compared with what the cloud holds
    /// in memory.
    From(Value<SecretString>),
}

impl SecretContent {
    /// Whether people put it into the cloud themselves: nothing else has it.
    pub fn is_by_hand(&self) -> bool {
        match self {
            Self::Keep => true,
            Self::Exactly(_) | Self::AtFirst(_) | Self::From(_) => false,
        }
    }
}

impl std::fmt::Debug for SecretContent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Keep => "Keep",
            Self::Exactly(_) => "Exactly([redacted])",
            Self::AtFirst(_) => "AtFirst([redacted])",
            Self::From(_) => "From([redacted])",
        })
    }
}

/// Secrets and their versions.
#[async_trait]
pub trait SecretStore: Send + Sync {
    /// Declares a secret. With [`SecretContent::Exactly`] its `read` also reads the current value,
    /// compares it in memory and forgets it, so that a changed value is a visible change and
    /// nothing derived from it is kept.
    fn secret(
        &self,
        graph: &mut Graph,
        env: &EnvironmentSpec,
        secret: &SecretSpec,
        content: SecretContent,
    ) -> Output<SecretVersion>;

    /// Declares a member of a secret that is a JSON object and that is declared already. Where the
    /// cloud's services take whole secrets only, that is another secret, of ours.
    fn member(
        &self,
        graph: &mut Graph,
        env: &EnvironmentSpec,
        secret: &SecretSpec,
        member: &Member,
    ) -> Output<SecretVersion>;

    /// The state of a secret. `None` when it does not exist (or is scheduled for deletion).
    async fn status(&self, name: &str) -> Result<Option<SecretStatus>>;

    /// The current value. `None` when the secret or its current version does not exist.
    async fn value(&self, name: &str) -> Result<Option<SecretString>>;

    /// What one version holds. `None` when it is not there any more, or holds no text.
    async fn value_of(&self, version: &SecretVersion) -> Result<Option<SecretString>>;

    /// Whether it is a version of the secret at this address. Pure.
    fn is_of(&self, version: &SecretVersion, address: &Address) -> bool;

    /// Whether it stands for whatever is current when an instance starts, as of a secret that
    /// somebody else rotates: no revision pins another. Pure.
    fn is_moving(&self, _version: &SecretVersion) -> bool {
        false
    }

    /// Why a version that a revision pins cannot be given to it any more; `None` when it can. Reads
    /// no value.
    async fn unusable(&self, version: &SecretVersion) -> Result<Option<String>>;

    /// Adds a version, making the secret (marked as ours) when it does not exist, restoring it when
    /// it is scheduled for deletion. The same token never adds two versions where the cloud can
    /// tell.
    async fn put_version(
        &self,
        env: &EnvironmentSpec,
        secret: &SecretSpec,
        value: &SecretString,
        token: &Token,
    ) -> Result<SecretVersion>;
}

/// What a service's nodes make.
#[derive(Clone, Debug)]
pub struct ServiceOutputs {
    /// The revision that serves once the service node is ready.
    pub revision: Output<Revision>,
    /// Where it is reached, when the cloud gives it an address.
    pub url: Output<Option<String>>,
    /// The address of the node that moves traffic: the last one of the service.
    pub service: Address,
    /// The key of its migration, once that has run; `None` where it has none.
    pub migration: Option<Output<String>>,
}

/// What a service takes from other nodes and from the ledger.
#[derive(Clone, Debug)]
pub struct ServiceInputs {
    /// The image.
    pub image: Value<ImageRef>,
    /// The secrets that its variables and its migration use, by the manifest's names.
    pub secrets: BTreeMap<String, Value<SecretVersion>>,
    /// Which databases these secrets name, by the manifest's names of the secrets: those that
    /// deployer makes.
    pub births: BTreeMap<String, Value<Birth>>,
    /// Keys of migrations that succeeded before (see [`MigrationKey`]).
    pub migrated: Arc<dyn MigrationRecord>,
    /// Run the migration although this release's one was tried and failed: a person's word.
    pub rerun: Rerun,
    /// Who asks a candidate before it gets traffic, where [`Runtime::holds_back`] says that there
    /// is one. `None`: a new revision gets the traffic once it is ready.
    pub gate: Option<Arc<dyn Checks>>,
}

/// The turn at a migration; it ends when this is dropped.
pub type Turn = futures::lock::OwnedMutexGuard<()>;

/// What the ledger knows of migrations.
#[async_trait]
pub trait MigrationRecord: Send + Sync + std::fmt::Debug {
    /// Waits until nobody else in this process is at the migration of that key, and keeps them
    /// waiting: two services of one image and one database have one migration.
    async fn turn(&self, key: &str) -> Turn;

    /// How the migration of that key stands.
    async fn standing(&self, key: &str) -> Result<MigrationStanding>;

    /// Every migration that was ever started, by key: for a look before the inputs, and so the key,
    /// are known.
    async fn standings(&self) -> Result<BTreeMap<String, MigrationStanding>>;

    /// Notes that the migration of that key starts; durable before the call that starts it.
    /// `before` is what the cloud told of its executions until then, where it takes no token: by
    /// that a start whose reply is lost is found.
    async fn started(&self, key: &str, what: &str, before: Option<String>) -> Result<()>;

    /// Notes where it runs (a task's ARN, an execution's name), so that a later run can find it.
    async fn running(&self, key: &str, execution: &str) -> Result<()>;

    /// Notes how it ended.
    async fn ended(&self, key: &str, outcome: Result<(), String>) -> Result<()>;

    /// Notes that the cloud could not start this execution, and that nothing of it ran.
    async fn not_started(&self, key: &str, execution: &str, why: String) -> Result<()>;
}

/// How a migration stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum MigrationStanding {
    /// Never started.
    Never,
    /// Started, end unknown. The execution when the cloud had answered.
    Started {
        /// A task's ARN or an execution's name.
        execution: Option<String>,
        /// When. `None` in ledgers of before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Timestamp>,
        /// What the cloud told of its executions until then, in a form of the cloud's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<String>,
    },
    /// Ended well.
    Succeeded {
        /// When.
        at: Timestamp,
    },
    /// Ended in failure.
    Failed {
        /// When.
        at: Timestamp,
        /// Why, in the cloud's words.
        why: String,
    },
    /// The cloud could not start it and says that nothing of it ran, or what it was run for is
    /// gone: the next run may start another execution, unasked.
    NotStarted {
        /// When that was found out.
        at: Timestamp,
        /// The execution that came to nothing.
        execution: String,
        /// Why, in the cloud's words.
        why: String,
    },
}

/// A revision that the cloud still has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RevisionInfo {
    /// Its name.
    pub revision: Revision,
    /// The image it runs.
    pub image: ImageRef,
    /// When it was made.
    pub created: Option<Timestamp>,
}

/// What serves, in the cloud's own words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Serving {
    /// The service as the cloud knows it.
    pub service: String,
    /// The revision that is asked to serve.
    pub wanted: Option<Revision>,
    /// Share of the traffic by revision, in percent; sums to 100 when anything serves.
    pub traffic: Vec<(Revision, u32)>,
    /// The images of the revisions that serve, by revision.
    pub images: BTreeMap<String, ImageRef>,
    /// Instances asked for and running, where the cloud counts them.
    pub instances: Option<(u32, u32)>,
    /// `ready`, `in progress`, `failing`, `failed`, in a word and the cloud's reason.
    pub state: ServingState,
    /// Where it is reached.
    pub url: Option<String>,
}

/// Whether what serves is settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "why")]
pub enum ServingState {
    /// The wanted revision serves everything.
    Ready,
    /// On its way; says what it waits for.
    InProgress(String),
    /// What is wanted does not stay up: its instances end by themselves, and the cloud goes on
    /// starting others. Says what is missing and how they ended.
    Failing(String),
    /// It failed; says why.
    Failed(String),
}

impl From<Readiness> for ServingState {
    fn from(readiness: Readiness) -> Self {
        match readiness {
            Readiness::Ready => Self::Ready,
            Readiness::Pending(why) => Self::InProgress(why),
            Readiness::Failed(why) | Readiness::RolledBack(why) | Readiness::Replaced(why) => {
                Self::Failed(why)
            }
        }
    }
}

/// What a rollback makes serve.
#[derive(Clone, Debug)]
pub struct Activation {
    /// The service's name in the cloud.
    pub service: String,
    /// The revision that the release recorded.
    pub revision: Revision,
    /// What the release was asked for, where the cloud keeps no revisions: what it runs is made of
    /// this again. `None` where a cloud puts its own revision back.
    pub recorded: Option<Box<RecordedRelease>>,
    /// Secrets that follow: variable name -> the current version, for those the revision pins
    /// otherwise.
    pub follow: BTreeMap<String, SecretVersion>,
}

/// What a release says of what it runs.
#[derive(Clone, Debug)]
pub struct RecordedRelease {
    /// What was asked for.
    pub spec: ServiceSpec,
    /// The image in the target's registry.
    pub image: ImageRef,
    /// The secret versions that it started with, by the manifest's names.
    pub secrets: BTreeMap<String, SecretVersion>,
}

/// Services, their revisions and one-off jobs.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// Whether it runs containers of that architecture as this service.
    ///
    /// Errors: input, with what to do instead.
    fn runs(&self, _service: &ServiceSpec, _architecture: Architecture) -> Result<()> {
        Ok(())
    }

    /// Declares what the service needs beyond image and secrets (log group, task definition or job,
    /// migration, the service itself, its invoker binding). The migration runs after the image and
    /// the secrets and before traffic moves.
    fn service(
        &self,
        graph: &mut Graph,
        env: &EnvironmentSpec,
        service: &ServiceSpec,
        inputs: &ServiceInputs,
        scope: Scope,
    ) -> ServiceOutputs;

    /// Whether a new revision of this service can be held back from the traffic until it has passed
    /// its gate. Pure.
    fn holds_back(&self, service: &ServiceSpec) -> HoldsBack;

    /// What serves. `None` when there is no such service.
    async fn serving(&self, service: &ServiceSpec) -> Result<Option<Serving>>;

    /// The revisions that can still be activated, newest first.
    async fn revisions(&self, service: &ServiceSpec) -> Result<Vec<RevisionInfo>>;

    /// The secret versions that a revision pins, by variable name.
    ///
    /// Errors: not found, when the revision can never serve again.
    async fn pinned(
        &self,
        service: &str,
        revision: &Revision,
    ) -> Result<BTreeMap<String, SecretVersion>>;

    /// The ledger that a service of this owner's notes; see [`crate::spec::LedgerNote`]. `None`
    /// where it notes none, or is not there.
    async fn noted_ledger(&self, owner: &Owner, service: &str) -> Result<Option<String>>;

    /// Whether a revision has its size with it: then it is restored when the revision serves again.
    fn revisions_have_sizes(&self) -> bool {
        false
    }

    /// Whether a service's revision has the versions of its secrets with it: else an instance reads
    /// what is current when it starts, and a rollback restores none.
    fn revisions_pin_secrets(&self, _service: &str) -> bool {
        true
    }

    /// Makes a revision serve everything (a new one, equal but for the secrets that follow, when
    /// there are any), and waits until it does. Returns the revision that serves.
    ///
    /// Errors: [`crate::error::ErrorKind::Untrue`] when something else serves at the end.
    async fn activate(
        &self,
        activation: &Activation,
        token: &Token,
        watch: &dyn Watch,
    ) -> Result<Revision>;

    /// Looks whose a service is, right before it is changed by its name alone.
    ///
    /// Errors: conflict, when it bears another mark than `owner`'s, or none. One that is not there
    /// is the change's affair.
    async fn must_be_of(&self, owner: &Owner, service: &str) -> Result<()>;

    /// How requests from outside get to a service, for whoever verifies it. The default says: as
    /// they are.
    async fn entrance(&self, _service: &ServiceSpec) -> Result<Entrance> {
        Ok(Entrance::Open)
    }

    /// What runs one-offs of a service with what one of its revisions has, in the service's own
    /// network. Reads only.
    ///
    /// Errors: not found, when there is no such service or revision; input, when this runtime
    /// cannot run it.
    async fn one_offs(
        &self,
        env: &EnvironmentSpec,
        service: &ServiceSpec,
        order: Order,
    ) -> Result<Box<dyn OneOffs>>;

    /// What the one-offs of a service leave behind for the next ones: it stays as long as the
    /// manifest has the service. `None` where they leave nothing. Pure.
    fn holder_of_one_offs(&self, _service: &ServiceSpec) -> Option<Address> {
        None
    }

    /// Runs a command, its words as they are, in a container of a service that serves, in a
    /// terminal of its own: in the instance that is named, or in any. The default says that there
    /// is no such thing here.
    ///
    /// Errors: not found, when there is no such instance, or none; rejected, when its instances
    /// take no commands.
    async fn console(
        &self,
        _service: &ServiceSpec,
        _instance: Option<&str>,
        _command: &[String],
    ) -> Result<Box<dyn Console>> {
        let message = "no command runs in a container that serves here";
        Err(Error::new(ErrorKind::Rejected, message).hint(
            "`deployer run SERVICE -- COMMAND` runs one by itself, with the same image, variables and secrets",
        ))
    }

    /// What explains a failure: stopped instances, conditions, events, the last lines of the log.
    /// Best effort, never an error.
    async fn autopsy(&self, service: &ServiceSpec) -> Autopsy;
}

/// How much of a service is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    Whole,
    /// `apply --only`: image, new revision and roll-out of a service that exists; secret pins stay
    /// as they run, and nothing is called that a code deployment does not need.
    CodeOnly,
}

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// When.
    pub at: Timestamp,
    /// Which instance or stream.
    pub source: String,
    /// The text, without a newline.
    pub text: String,
    /// What the cloud knows it by; empty where it is not told.
    #[serde(skip)]
    pub id: String,
}

/// What containers print.
#[async_trait]
pub trait Logs: Send + Sync {
    /// Lines of `since` and later, oldest first, at most `limit` (the newest ones). A line may come
    /// late, with a time before that of lines that were there: `deployer logs --follow` asks again
    /// for the last minute, and knows lines by their ids.
    async fn lines(
        &self,
        service: &ServiceSpec,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<LogLine>>;
}

/// Whether a command may switch on what is off in the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switching {
    /// It changes nothing.
    Never,
    /// As far as the manifest allows it.
    Allowed,
}

/// How a request from outside gets to a service.
#[derive(Clone, Debug)]
pub enum Entrance {
    /// As it is.
    Open,
    /// With this header: the cloud itself checks who calls.
    With {
        /// Its name.
        header: &'static str,
        /// Its value.
        value: SecretString,
    },
    /// With an identity that is not to be had here; says why.
    Locked(String),
    /// Not over the internet; says why.
    Inside(String),
}

/// One target, opened.
#[async_trait]
pub trait Cloud: Send + Sync {
    /// Which.
    fn target(&self) -> &Target;

    /// Asks the cloud who calls. Called before any other call.
    ///
    /// Errors: [`crate::error::ErrorKind::Credentials`] when there are none, they are refused, or
    /// they are for another account than the manifest's.
    async fn caller(&self) -> Result<Caller>;

    /// Makes sure that what `env` needs is switched on in the account; tells what was switched on
    /// now. Called after [`Cloud::caller`]. The default says that nothing is ever off.
    ///
    /// Errors: [`crate::error::ErrorKind::Rejected`], naming everything that is off and may not be
    /// switched on here.
    async fn prepare(&self, _env: &EnvironmentSpec, _switching: Switching) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Images.
    fn registry(&self) -> &dyn Registry;

    /// Secrets.
    fn secrets(&self) -> &dyn SecretStore;

    /// Services.
    fn runtime(&self) -> &dyn Runtime;

    /// Databases.
    fn databases(&self) -> &dyn Database;

    /// Caches.
    fn caches(&self) -> &dyn Cache;

    /// Names.
    fn dns(&self) -> &dyn Dns;

    /// Logs.
    fn logs(&self) -> &dyn Logs;

    /// A node for something in the inventory of `owner` that is no longer desired: it can be read,
    /// released and deleted. What bears the mark of another one, or none and not what `past` says
    /// that we wrote, is foreign.
    ///
    /// Errors: input, when the kind is unknown to this version.
    fn existing(&self, address: &Address, owner: &Owner, past: &Past) -> Result<Arc<dyn Node>>;

    /// Lists what carries the mark of `owner` exactly, of the kinds that [`Cloud::existing`] knows,
    /// and what hangs on such a thing and goes before it. What another owner marked, or nobody, is
    /// never in it.
    ///
    /// Never an error: what could not be listed, because the caller may not or the cloud did not
    /// answer, stands in the answer.
    async fn find_marked(&self, owner: &Owner) -> Marked;

    /// Whether a thing of kind `kind` may have been made from one of kind `other`, and so is
    /// deleted before it: for what no inventory tells of. Goes one way only between two kinds.
    fn may_need(&self, kind: &str, other: &str) -> bool;
}

/// What every cloud's crate is given.
#[derive(Clone)]
pub struct Context {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// How long one call may stay unanswered. Where it is tried again, all tries together end after
    /// a few times as long.
    pub call_timeout: Duration,
    /// Asked before each call.
    pub permit: Permit,
}
