//! `app_runner.custom_domain`: a domain that a service answers for, with a certificate of its own.
//!
//! An association begins with a certificate that waits for its proof. This node is ready once App
//! Runner tells which records prove whose the domain is; `route53.validation` makes them, and is
//! ready once the domain is served; only then a record leads there, so that a name which moves here
//! from elsewhere is never led to what does not know it. `www.DOMAIN` is served by the association
//! of `DOMAIN`.
//!
//! Associations carry no tags: ours is what the inventory knows, and one that is there already and
//! says what is asked for is left as it is when it is not wanted any more.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use deployer_core::address::Address;
use deployer_core::capability::Revision;
use deployer_core::error::{Error, ErrorKind};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::{Graph, Output, Value};
use deployer_core::kind::{read_or_sort, until_seen, until_taken};
use deployer_core::node::{Effect, Ready, Resource, Watch};
use deployer_core::ours::{Past, Stranger};
use deployer_core::spec::{EnvironmentSpec, ServiceSpec};
use deployer_core::wait::{Pace, Readiness};

use super::association::{
    ABSENT, ASSOCIATED, Association, STATE, Status, WWW, domains, find, read, remove, until_gone,
};
use super::calls;
use crate::dns::{Asked, Authority, Balancer, Entrance, Leads, Proof, Route53};
use crate::error::Told;
use crate::site::prelude::*;
use crate::spec::AppRunner;

/// The Terraform provider waits five minutes for the records
/// (`internal/service/apprunner/custom_domain_association.go` of
/// hashicorp/terraform-provider-aws); nobody says that it is quick.
const ASKED: Pace = Pace::until(Duration::from_secs(10 * 60));

/// A domain that is to be served.
pub(crate) struct CustomDomain {
    clients: Arc<Clients>,
    address: Address,
    service: String,
    domain: String,
    /// Whether `www.DOMAIN` is served as well.
    www: bool,
    adopt: bool,
    past: Past,
    /// The services of this environment that had it by an earlier apply, and are not to have it.
    formerly: Vec<String>,
    /// The service is there.
    _made: Value<Revision>,
    asked: Output<Vec<Proof>>,
    served: Output<Balancer>,
}

impl CustomDomain {
    fn called(&self) -> String {
        format!("custom domain `{}`", self.domain)
    }

    async fn look(&self) -> Result<Reading<Association>> {
        read(&self.clients, &self.service, &self.domain).await
    }

    /// Fails while a service of this environment has it that is not to: what is not wanted any more
    /// is taken away last, and a name is served by one service.
    async fn refuse_a_move(&self) -> Result<()> {
        for other in &self.formerly {
            let found = read(&self.clients, other, &self.domain).await?;
            if let Reading::Present(found) = found
                && found.status != Status::Deleting
            {
                let domain = &self.domain;
                let what = format!("`{domain}` is still associated with service `{other}`");
                return Err(Error::input(what).hint(format!(
                    "it moves in two applies, and nobody is served under it in between: take `{domain}` \
                     out of `domains` everywhere and apply, then give it to `{}` and apply again",
                    self.service
                )));
            }
        }
        Ok(())
    }

    async fn associate(&self, arn: &str, watch: &dyn Watch) -> Result<()> {
        let action = format!(
            "associate {} with service `{}`",
            self.called(),
            self.service
        );
        let call = || {
            self.clients
                .app_runner
                .associate_custom_domain()
                .service_arn(arn)
                .domain_name(&self.domain)
                .enable_www_subdomain(self.www)
                .send()
        };
        calls::when_free(&self.clients, arn, &action, watch, call)
            .await
            .map(drop)
    }
}

/// The words that aws/copilot-cli reads; who has the name is told, where it is told at all, by the
/// rest of them.
const TAKEN: &str = "is already associated with";

fn taken(domain: &str, error: Error) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("`{domain}` is associated with another App Runner service"),
    )
    .because(error)
    .hint(
        "a name is served by one service, in whichever account and region: take it off there (`aws apprunner \
         disassociate-custom-domain`), or leave it out of `domains` here",
    )
}

#[async_trait]
impl Resource for CustomDomain {
    type Actual = Association;

    fn address(&self) -> &Address {
        &self.address
    }

    async fn read(&self) -> Result<Reading<Self::Actual>> {
        Ok(match self.look().await? {
            Reading::Absent => {
                self.refuse_a_move().await?;
                Reading::Absent
            }
            Reading::Present(found) if found.status == Status::Deleting => {
                Reading::Tombstoned("it is being taken off the service".into())
            }
            Reading::Present(found) if found.www != self.www && !self.past.known && !self.adopt => {
                let with = if found.www { "with" } else { "without" };
                let how = format!("it is associated {with} `www.{}`", self.domain);
                Reading::Foreign(how.into())
            }
            other => other,
        })
    }

    fn desired(&self, _there: Option<&Self::Actual>) -> Fields {
        let mut fields = Fields::new();
        fields.set(WWW.name(), self.www);
        fields.set(STATE.name(), ASSOCIATED);
        fields
    }

    fn observed(&self, actual: &Self::Actual) -> Fields {
        actual.fields()
    }

    fn cost(&self, _change: &FieldChange, _there: &Self::Actual) -> Effect {
        Effect::Replace
    }

    fn is_unmarked(&self) -> bool {
        true
    }

    fn was_there(&self, _actual: &Self::Actual) -> bool {
        !self.past.known
    }

    fn publish(&self, actual: &Self::Actual) {
        self.served.publish(actual.target.clone());
        if actual.has_told() {
            self.asked.publish(actual.proofs.clone());
        }
    }

    fn withdraw(&self, _changes: &[FieldChange]) {
        self.asked.withdraw();
        self.served.withdraw();
    }

    async fn create(&self, _token: &Token, watch: &dyn Watch) -> Result<Self::Actual> {
        let what = self.called();
        until_gone(&self.clients, &self.service, &self.domain).await?;
        let seen = domains(&self.clients, &self.service).await;
        let service = seen.told(|| format!("read service `{}`", self.service))?;
        let Some(service) = service else {
            return Err(calls::absent(&self.service));
        };
        if let Err(error) = self.associate(&service.arn, watch).await {
            if !error.chain().join(": ").contains(TAKEN) {
                return Err(error);
            }
            // The reply to an earlier call was lost, or another service has it.
            return match self.look().await? {
                Reading::Present(found) if found.www == self.www => Ok(found),
                _ => Err(taken(&self.domain, error)),
            };
        }
        until_seen(self.clients.clock(), &what, || self.look()).await
    }

    /// Nothing of it changes in place.
    async fn update(
        &self,
        actual: &Self::Actual,
        _changes: &[FieldChange],
        _token: &Token,
        _watch: &dyn Watch,
    ) -> Result<Self::Actual> {
        Ok(actual.clone())
    }

    fn kept(&self, _changes: &[FieldChange]) -> Kept {
        Kept::Harms("the domain is served in another way than before")
    }

    async fn delete(&self, actual: &Self::Actual, _token: &Token) -> Result<()> {
        let action = format!("take {} off service `{}`", self.called(), self.service);
        let busy = |error: &Error| error.chain().join(": ").contains(calls::WRONG_STATE);
        let (clock, patience) = (self.clients.clock(), calls::OTHERS);
        until_taken(clock, patience, busy, &action, || async {
            let done = remove(&self.clients, &self.service, actual).await;
            done.told(|| action.clone())
        })
        .await
    }

    async fn readiness(&self, actual: &Self::Actual) -> Result<Ready<Self::Actual>> {
        let Reading::Present(now) = self.look().await? else {
            let state = Readiness::Pending("App Runner does not tell of it yet".into());
            return Ok(Ready {
                state,
                actual: actual.clone(),
            });
        };
        let state = match now.serves() {
            Readiness::Pending(_) if now.has_told() => Readiness::Ready,
            other => other,
        };
        Ok(Ready { state, actual: now })
    }

    fn unsettled(&self, actual: &Self::Actual) -> Option<String> {
        match actual.has_told() {
            true => None,
            false => actual.serves().pending(),
        }
    }

    fn pace(&self) -> Pace {
        ASKED
    }
}

impl Kind for CustomDomain {
    type Site = Clients;
    type Is = Association;
    const KIND: &'static str = "app_runner.custom_domain";
    const NOUN: &'static str = "custom domain";
    const ROLE: Role = Role::BesideService;
    const TIER: Tier = Tier::Edge;
    const DATA: Data = Data::None;
    const FACTS: Facts = Facts {
        // It carries no mark.
        arn: None,
        access: Access {
            feature: Feature::Domains,
            read: &[
                grant(&["apprunner:ListServices"], ANYTHING),
                grant(&["apprunner:DescribeCustomDomains"], APP_RUNNER_SERVICES),
            ],
            change: &[grant(
                &[
                    "apprunner:AssociateCustomDomain",
                    "apprunner:DisassociateCustomDomain",
                ],
                APP_RUNNER_SERVICES,
            )],
        },
    };
    const MARKS: Marks<Self> = Marks::None("App Runner tags its service, and no domain of it");
    const ABSENT: &'static [&'static str] = ABSENT;
    const TAKEN: &'static [&'static str] = &[];
    const BUSY: Passing = Passing::NOTHING;
    const IN_USE: Passing = Passing {
        codes: &[calls::WRONG_STATE],
        why: "an operation of its service is under way",
        patience: calls::OTHERS,
    };

    fn describe(is: &Association, to: &mut Description) {
        to.set(WWW, is.www);
        to.set(STATE, is.status.state());
    }

    async fn find(at: &At<Clients>) -> Result<Reading<There<Association>>, Refusal> {
        let (service, domain) = parts(at.name())?;
        let found = find(at, service, domain).await?;
        Ok(found.map(There::bare).into())
    }

    fn foreign(_at: &At<Clients>, _there: &There<Association>) -> Result<Option<Stranger>> {
        Ok(None)
    }

    async fn remove(
        at: &At<Clients>,
        there: &There<Association>,
        _token: &Token,
    ) -> Result<(), Refusal> {
        let (service, _) = parts(at.name())?;
        remove(at, service, &there.is).await
    }
}

/// Service and domain of `SERVICE/DOMAIN`.
///
/// Errors: input, when it is not that.
fn parts(name: &str) -> Result<(&str, &str)> {
    name.split_once('/').ok_or_else(|| {
        Error::input(format!("`{name}` is not a custom domain of App Runner"))
            .hint("use the version of deployer that made it, or a newer one")
    })
}

/// A service as the records of its names see it.
struct Served {
    clients: Arc<Clients>,
    service: String,
    domain: String,
}

#[async_trait]
impl Entrance for Served {
    async fn find(&self) -> Result<Reading<Balancer>> {
        match domains(&self.clients, &self.service).await {
            Ok(Some(domains)) => Ok(Reading::Present(domains.target)),
            Ok(None) => Ok(Reading::Absent),
            Err(refusal) => {
                let what = format!("service `{}`", self.service);
                read_or_sort(refusal, ABSENT, &what)
            }
        }
    }
}

#[async_trait]
impl Authority for Served {
    async fn asks(&self) -> Result<Reading<Vec<Proof>>> {
        Ok(
            match read(&self.clients, &self.service, &self.domain).await? {
                Reading::Present(found) if !found.has_told() => Reading::Absent,
                found => found.map(|found| found.proofs),
            },
        )
    }

    async fn has_seen(&self) -> Result<Readiness> {
        let found = read(&self.clients, &self.service, &self.domain).await?;
        Ok(match found {
            Reading::Present(found) => found.serves(),
            Reading::Denied(words) => {
                return Err(Error::new(
                    ErrorKind::Denied,
                    format!("cannot see custom domain `{}`: {words}", self.domain),
                ));
            }
            Reading::Absent | Reading::Tombstoned(_) | Reading::Foreign(_) => {
                let domain = &self.domain;
                Readiness::Replaced(format!("somebody took `{domain}` off the service"))
            }
        })
    }
}

/// Whether a service had a domain by an earlier apply, and is not to have it.
fn had(graph: &Graph, clients: &Clients, service: &str, domain: &str) -> bool {
    let asked = clients.section.on_app_runner(service);
    let keeps = asked.is_some_and(|it| it.domains.iter().any(|one| one.name == domain));
    let address = clients.address(CustomDomain::KIND, &format!("{service}/{domain}"));
    !keeps && graph.past(&address).known
}

/// Declares the domains of a service with their records: the association, what proves it, and then
/// what leads to the service.
pub(crate) fn declare(
    graph: &mut Graph,
    (clients, names): (&Arc<Clients>, &Route53),
    env: &EnvironmentSpec,
    (service, asked): (&ServiceSpec, &AppRunner),
    made: &Output<Revision>,
) {
    let zone = asked.zone.as_deref();
    for domain in &asked.domains {
        let name = format!("{}/{}", service.name, domain.name);
        let address = clients.address(CustomDomain::KIND, &name);
        let (proofs, target) = (Output::of(&address), Output::of(&address));
        let past = graph.past(&address);
        let adopt = asked.adopt_records;
        let others = env.services.values().map(|it| it.name.as_str());
        let others = others.filter(|it| *it != service.name);
        let formerly = others.filter(|it| had(graph, clients, it, &domain.name));
        let formerly = formerly.map(str::to_owned).collect();
        graph.resource(|inputs| CustomDomain {
            clients: Arc::clone(clients),
            address,
            service: service.name.clone(),
            domain: domain.name.clone(),
            www: domain.www,
            adopt: adopt || service.adopt,
            past,
            formerly,
            _made: inputs.take(made),
            asked: proofs.clone(),
            served: target.clone(),
        });
        let served = Arc::new(Served {
            clients: Arc::clone(clients),
            service: service.name.clone(),
            domain: domain.name.clone(),
        });
        let (proofs, target) = (Value::From(proofs), Value::From(target));
        let authority = Arc::clone(&served) as Arc<dyn Authority>;
        let of = (domain.name.as_str(), zone, adopt);
        let proven = names.validate(graph, of, authority, &proofs, &target);
        for name in domain.names() {
            let leads = Leads::In {
                entrance: Arc::clone(&served) as Arc<dyn Entrance>,
                served: proven.clone(),
            };
            names.declare(
                graph,
                Asked {
                    name,
                    zone: zone.map(str::to_owned),
                    leads,
                    servers: Vec::new(),
                    adopt,
                },
            );
        }
    }
}
