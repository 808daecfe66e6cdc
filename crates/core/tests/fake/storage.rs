//! The fake's registry, secret store and log groups.

use std::collections::BTreeSet;
use std::sync::Mutex;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::{ImageRef, SecretContent, SecretVersion};
use deployer_core::error::{Error, ErrorKind, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::Listed;
use deployer_core::graph::{Output, Value};
use deployer_core::node::{Evidence, Kept, Reading, Resource, Step, Token, Undone, Watch};
use deployer_core::ours::Stranger;
use secrecy::{ExposeSecret, SecretString};

use super::world::{Api, OURS, Secret, World};

/// Whether the caller may not see it, or it is not ours.
pub fn objection<A>(
    world: &World,
    address: &Address,
    owner: Option<&String>,
) -> Option<Reading<A>> {
    let what = format!("{}/{}", address.kind, address.name);
    if world.manners.denied.contains(&what) {
        return Some(Reading::Denied("the caller lacks permission".into()));
    }
    match owner {
        Some(owner) if owner != OURS => {
            let how = format!("it belongs to {owner}");
            Some(Reading::Foreign(Stranger::of(owner, how)))
        }
        _ => None,
    }
}

pub struct Repository {
    pub api: Api,
    pub address: Address,
    pub base: Output<String>,
}

impl Listed for Repository {}

#[async_trait]
impl Resource for Repository {
    type Actual = ();

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<()>> {
        let name = &self.address.name;
        self.api
            .read("DescribeRepository", name, |world| {
                let found = world.repositories.get(name);
                objection(world, &self.address, found.map(|(owner, _)| owner)).unwrap_or(
                    if found.is_some() {
                        Reading::Present(())
                    } else {
                        Reading::Absent
                    },
                )
            })
            .await
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        Fields::new()
    }

    fn observed(&self, (): &()) -> Fields {
        Fields::new()
    }

    fn publish(&self, (): &()) {
        self.base
            .publish(format!("registry.test/{}", self.address.name));
    }

    async fn create(&self, _token: &Token, _watch: &dyn Watch) -> Result<()> {
        let name = &self.address.name;
        self.api
            .write("CreateRepository", name, |world| {
                if world.repositories.contains_key(name) {
                    return world.violation(format!("repository `{name}` exists already"));
                }
                world
                    .repositories
                    .insert(name.clone(), (OURS.into(), BTreeSet::new()));
                Ok(())
            })
            .await
    }

    async fn update(&self, (): &(), _: &[FieldChange], _: &Token, _: &dyn Watch) -> Result<()> {
        Err(Error::internal("a repository has nothing to update"))
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harmless("the fake's kinds harm nobody")
    }

    async fn delete(&self, (): &(), _token: &Token) -> Result<()> {
        super::leftover::delete(&self.api, &self.address).await
    }
}

/// Copies an image into its repository.
pub struct ImageCopy {
    pub api: Api,
    pub address: Address,
    pub digest: String,
    pub base: Value<String>,
    pub image: Output<ImageRef>,
}

#[async_trait]
impl Step for ImageCopy {
    fn address(&self) -> &Address {
        &self.address
    }

    async fn evidence(&self) -> Result<Evidence> {
        let name = &self.address.name;
        self.api
            .read("DescribeImage", name, |world| {
                match world.repositories.get(name) {
                    Some((_, images)) if images.contains(&self.digest) => {
                        Evidence::Done(format!("{} is there", self.digest))
                    }
                    _ => Evidence::NotDone("it is not there".into()),
                }
            })
            .await
    }

    fn desired(&self) -> Fields {
        let mut fields = Fields::new();
        fields.set("digest", &self.digest);
        fields.set_value("repository", self.base.field(String::clone));
        fields
    }

    fn publish(&self) {
        if let Some(base) = self.base.known() {
            self.image
                .publish(ImageRef(format!("{base}@{}", self.digest)));
        }
    }

    async fn run(&self, _token: &Token, watch: &dyn Watch) -> Result<()> {
        let name = &self.address.name;
        self.base.settled()?;
        watch.note("1 of 1 blobs");
        self.api
            .write("CopyImage", name, |world| {
                match world.repositories.get_mut(name) {
                    Some((_, images)) => {
                        images.insert(self.digest.clone());
                        Ok(())
                    }
                    None => {
                        world.violation(format!("an image came before its repository `{name}`"))
                    }
                }
            })
            .await
    }

    async fn left(&self, _failed: Option<ErrorKind>) -> Result<Undone> {
        Ok(Undone::Stays("what a step did stays done".into()))
    }
}

/// A secret as the fake tells it: never the value.
#[derive(Clone, Debug)]
pub struct SecretActual {
    version: usize,
    note: String,
}

pub struct SecretNode {
    pub api: Api,
    pub address: Address,
    pub content: SecretContent,
    /// What it holds, in memory only, with its version.
    pub held: Mutex<Option<(usize, SecretString)>>,
    pub version: Output<SecretVersion>,
}

impl SecretNode {
    /// What it is to hold. `None` when whatever it holds may stay.
    fn wanted(&self) -> Result<Option<SecretString>> {
        match &self.content {
            SecretContent::Keep => Ok(None),
            SecretContent::Exactly(value) | SecretContent::AtFirst(value) => {
                Ok(Some(value.clone()))
            }
            SecretContent::From(value) => value.settled().map(Some),
        }
    }

    /// The version that holds what is wanted already.
    fn stays(&self) -> Option<usize> {
        let held = self.held.lock().unwrap().clone();
        let (version, held) = held?;
        let is = |value: &SecretString| value.expose_secret() == held.expose_secret();
        let stays = match &self.content {
            SecretContent::Exactly(value) => is(value),
            SecretContent::From(value) => value.known().as_ref().is_some_and(is),
            SecretContent::Keep | SecretContent::AtFirst(_) => true,
        };
        stays.then_some(version)
    }

    fn look(&self, secret: &Secret) -> SecretActual {
        let version = secret.values.len();
        let held = secret.values.last().cloned().map(SecretString::from);
        *self.held.lock().unwrap() = held.map(|held| (version, held));
        SecretActual {
            version,
            note: secret.note.clone(),
        }
    }

    async fn put(&self, call: &'static str) -> Result<SecretActual> {
        let name = &self.address.name;
        let Some(wanted) = self.wanted()? else {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("secret `{name}` does not exist"),
            ));
        };
        let put = |world: &mut World| {
            if call == "CreateSecret" && world.secrets.contains_key(name) {
                return world.violation(format!("secret `{name}` exists already"));
            }
            let secret = world.secrets.entry(name.clone()).or_default();
            secret.owner = OURS.into();
            secret.deleted = false;
            secret.values.push(wanted.expose_secret().to_owned());
            Ok(self.look(secret))
        };
        self.api.write(call, name, put).await
    }
}

impl Listed for SecretNode {}

#[async_trait]
impl Resource for SecretNode {
    type Actual = SecretActual;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<SecretActual>> {
        let name = &self.address.name;
        self.api
            .read("DescribeSecret", name, |world| {
                let found = world.secrets.get(name);
                if let Some(reading) =
                    objection(world, &self.address, found.map(|secret| &secret.owner))
                {
                    return reading;
                }
                match found {
                    None => Reading::Absent,
                    Some(secret) if secret.deleted => {
                        Reading::Tombstoned("scheduled for deletion".into())
                    }
                    Some(secret) => Reading::Present(self.look(secret)),
                }
            })
            .await
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        let mut fields = Fields::new();
        fields.set("note", "");
        match (self.stays(), &self.content) {
            (Some(version), _) => fields.set("value", format!("version {version}")),
            (None, SecretContent::From(value)) => {
                fields.set_value("value", value.field(|_| "a new version".into()));
            }
            (None, _) => fields.set("value", "a new version"),
        }
        fields
    }

    fn observed(&self, actual: &SecretActual) -> Fields {
        let mut fields = Fields::new();
        fields.set("note", &actual.note);
        fields.set("value", format!("version {}", actual.version));
        fields
    }

    fn publish(&self, actual: &SecretActual) {
        let secret = self.address.name.clone();
        self.version.publish(SecretVersion {
            secret,
            version: actual.version.to_string(),
        });
    }

    fn withdraw(&self, _changes: &[FieldChange]) {
        self.version.withdraw();
    }

    async fn create(&self, _token: &Token, _watch: &dyn Watch) -> Result<SecretActual> {
        let name = &self.address.name;
        let lingers = self
            .api
            .read("DescribeSecret", name, |world| {
                world.secrets.contains_key(name)
            })
            .await?;
        self.put(if lingers {
            "RestoreSecret"
        } else {
            "CreateSecret"
        })
        .await
    }

    async fn update(
        &self,
        _: &SecretActual,
        _: &[FieldChange],
        _: &Token,
        _: &dyn Watch,
    ) -> Result<SecretActual> {
        let name = &self.address.name;
        if self.stays().is_none() {
            return self.put("PutSecretVersion").await;
        }
        self.api
            .write("NoteSecret", name, |world| {
                let secret = world.secrets.entry(name.clone()).or_default();
                secret.note.clear();
                Ok(self.look(secret))
            })
            .await
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harmless("the fake's kinds harm nobody")
    }

    async fn delete(&self, _: &SecretActual, _token: &Token) -> Result<()> {
        super::leftover::delete(&self.api, &self.address).await
    }
}

pub struct LogGroup {
    pub api: Api,
    pub address: Address,
    pub ready: Output<()>,
}

impl Listed for LogGroup {}

#[async_trait]
impl Resource for LogGroup {
    type Actual = ();

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<()>> {
        let name = &self.address.name;
        self.api
            .read("DescribeLogGroup", name, |world| {
                let found = world.log_groups.get(name);
                objection(world, &self.address, found).unwrap_or(if found.is_some() {
                    Reading::Present(())
                } else {
                    Reading::Absent
                })
            })
            .await
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        Fields::new()
    }

    fn observed(&self, (): &()) -> Fields {
        Fields::new()
    }

    fn publish(&self, (): &()) {
        self.ready.publish(());
    }

    async fn create(&self, _token: &Token, _watch: &dyn Watch) -> Result<()> {
        let name = &self.address.name;
        self.api
            .write("CreateLogGroup", name, |world| {
                match world.log_groups.insert(name.clone(), OURS.into()) {
                    None => Ok(()),
                    Some(_) => world.violation(format!("log group `{name}` exists already")),
                }
            })
            .await
    }

    async fn update(&self, (): &(), _: &[FieldChange], _: &Token, _: &dyn Watch) -> Result<()> {
        Err(Error::internal("a log group has nothing to update"))
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harmless("the fake's kinds harm nobody")
    }

    async fn delete(&self, (): &(), _token: &Token) -> Result<()> {
        super::leftover::delete(&self.api, &self.address).await
    }
}
