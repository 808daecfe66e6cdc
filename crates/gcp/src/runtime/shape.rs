//! The Cloud Run service that the manifest describes, and a service described field by field; pure.
//!
//! [`describe`] reads both what is there and what [`Shape::compose`] makes, so that noise is equal
//! on both sides.

use crate::spec::{GcpService, Ingress};
use deployer_core::capability::ImageRef;
use deployer_core::error::{Error, Result};
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::graph::Value;
use deployer_core::kind::Ownership;
use deployer_core::spec::ServiceSpec;
use google_cloud_api::model::LaunchStage;
use google_cloud_run_v2::model;
use google_cloud_run_v2::model::volume::VolumeType;
use google_cloud_run_v2::model::{
    BuildConfig, Container, IngressTraffic, Probe, RevisionTemplate, Service, TrafficTarget,
    TrafficTargetAllocationType,
};

use crate::ground::ServiceAccount;
use crate::labels;
use crate::paths::{Names, short};
use crate::runtime::container::{self, Frame, Variables, Way};
use crate::runtime::{counts, probes, quantity, rollout};

/// Cloud Run gives a request five minutes unless told otherwise.
const REQUEST_TIMEOUT: i64 = 300;
/// Cloud Run gives an instance 80 requests at once, and one below a whole CPU.
const CONCURRENCY: i32 = 80;

/// The traffic tag of a candidate. A name that nobody gives by chance, as a tag of that name is
/// taken away; short, as it shares 46 characters with the service's name.
pub(crate) const CANDIDATE: &str = "dpl-gate";

/// How the newest revision is to stand.
pub(crate) const READY: &str = "ready";

/// What the manifest says of one service.
pub(crate) struct Shape {
    pub(crate) spec: ServiceSpec,
    pub(crate) section: GcpService,
    pub(crate) account: Option<Value<ServiceAccount>>,
    pub(crate) way: Way,
    pub(crate) ownership: Ownership,
    pub(crate) names: Names,
}

impl Shape {
    /// What the manifest says of `spec`, for what one environment owns: what it runs as, and its
    /// way into the VPC.
    pub(crate) fn new(
        spec: &ServiceSpec,
        section: GcpService,
        (account, way): (Option<Value<ServiceAccount>>, Way),
        names: &Names,
        ownership: Ownership,
    ) -> Self {
        Self {
            spec: spec.clone(),
            section,
            account,
            way,
            ownership,
            names: names.clone(),
        }
    }

    /// `base` (what is there, or nothing) with everything that the manifest says; what it is silent
    /// about stays. An unknown image or secret version is left out.
    pub(crate) fn compose(
        &self,
        base: Service,
        image: Option<ImageRef>,
        variables: &Variables,
    ) -> Service {
        let is_new = base.name.is_empty();
        let ingress = match self.section.ingress {
            Some(Ingress::All) => IngressTraffic::All,
            Some(Ingress::Internal) => IngressTraffic::InternalOnly,
            Some(Ingress::InternalAndLoadBalancer) => IngressTraffic::InternalLoadBalancer,
            None if self.spec.adopt && !is_new => base.ingress.clone(),
            None => IngressTraffic::All,
        };
        // Whoever may call it is the invoker's to compare; a new one is open, or closed, from its
        // first moment.
        let unchecked = match is_new {
            true => self.section.public != Some(false),
            false => base.invoker_iam_disabled,
        };
        let labels = labels::merged(&self.ownership, &base.labels);
        let stage = container::launch_stage(&base.launch_stage);
        let traffic = everything_to_the_latest(&base.traffic);
        let scaling = match self.is_silent("replicas", &base) {
            true => base.scaling.clone(),
            false => counts::by_revision(base.scaling.clone(), &self.spec.replicas),
        };
        let template = self.template(base.template.clone().unwrap_or_default(), image, variables);
        base.set_labels(labels)
            .set_ingress(ingress)
            .set_launch_stage(stage)
            .set_invoker_iam_disabled(unchecked)
            .set_traffic(traffic)
            .set_or_clear_scaling(scaling)
            // What builds the image anew from its source, and its base, would put another one in
            // the place of ours.
            .set_or_clear_build_config(None::<BuildConfig>)
            .set_template(template)
    }

    /// Whether the service was somebody's, and the manifest does not say this of it.
    fn is_silent(&self, key: &str, base: &Service) -> bool {
        let template = base.template.as_ref();
        template.is_some_and(|template| {
            container::keeps(
                &self.spec,
                key,
                container::main_container(&template.containers),
            )
        })
    }

    /// Says which tags the newest revision does not bear yet: a tag alone makes none.
    pub(crate) fn stale_tags(&self, service: &Service) -> Option<String> {
        let template = service.template.as_ref()?;
        let set = self.ownership.tags.iter();
        let stale = set.filter(|(key, value)| {
            let is_on_service = service.labels.get(*key) == Some(value);
            is_on_service && template.labels.get(*key) != Some(value)
        });
        let stale: Vec<String> = stale
            .map(|(key, value)| format!("{key} = {value}"))
            .collect();
        (!stale.is_empty()).then(|| {
            format!(
                "its newest revision was made without the tags {}: they come with the next one",
                stale.join(", ")
            )
        })
    }

    fn template(
        &self,
        base: RevisionTemplate,
        image: Option<ImageRef>,
        variables: &Variables,
    ) -> RevisionTemplate {
        let frame = Frame {
            image,
            entrypoint: &self.spec.entrypoint,
            command: &self.spec.command,
            variables,
            cpu: self.spec.cpu,
            memory: self.spec.memory,
        };
        let there = container::main_container(&base.containers);
        let filled = container::keep_unsaid(&self.spec, frame.fill(there.cloned()), there);
        let concurrency = self.concurrency(&base, there, &filled);
        let main = self.serve(filled, there);
        let containers = container::with_main(&base.containers, main);
        let labels = labels::merged(&self.ownership, &base.labels);
        let scaling = base.scaling.clone().unwrap_or_default();
        let scaling = match container::keeps(&self.spec, "replicas", there) {
            true => scaling,
            false => scaling
                .set_min_instance_count(counts::count(self.spec.replicas.min))
                .set_max_instance_count(counts::count(self.spec.replicas.max)),
        };
        let asked = self.section.request_timeout.map(i64::from);
        let asked = asked.map(|seconds| google_cloud_wkt::Duration::clamp(seconds, 0));
        let usual = google_cloud_wkt::Duration::clamp(REQUEST_TIMEOUT, 0);
        let timeout = asked.or(base.timeout).unwrap_or(usual);
        let account = container::account(self.account.as_ref(), &base.service_account);
        let access = self.way.over(base.vpc_access.clone());
        base.set_labels(labels)
            // A name would have to be a new one each time.
            .set_revision("")
            .set_containers(containers)
            .set_scaling(scaling)
            .set_max_instance_request_concurrency(concurrency)
            .set_timeout(timeout)
            .set_service_account(account)
            .set_or_clear_vpc_access(access)
    }

    /// What only a container that takes requests has; `there` is what it is made of.
    fn serve(&self, container: Container, there: Option<&Container>) -> Container {
        let port = i32::from(self.spec.port);
        let named = container.ports.first().cloned().unwrap_or_default();
        let is_new = container.ports.is_empty();
        let resources = container.resources.clone().unwrap_or_default();
        let idle = match self.section.cpu_idle {
            Some(idle) => idle,
            None if self.spec.adopt && !is_new => resources.cpu_idle,
            None => true,
        };
        let (startup, liveness) = probes::of(&self.spec.health, port, &container);
        let kept = |probe: Option<&Probe>| probes::kept(probe, port, &container);
        let startup = match container::keeps(&self.spec, "health.start_period", there) {
            true => kept(container.startup_probe.as_ref()),
            false => Some(startup),
        };
        let liveness = match container::keeps(&self.spec, "health.path", there) {
            true => kept(container.liveness_probe.as_ref()),
            false => Some(liveness),
        };
        container
            .set_ports([named.set_container_port(port)])
            .set_resources(resources.set_cpu_idle(idle))
            .set_or_clear_startup_probe(startup)
            .set_or_clear_liveness_probe(liveness)
    }

    /// Below one CPU an instance takes one request; whoever gets more again is not held to that.
    /// `there` is the container of before, `main` the one that is made of it.
    fn concurrency(
        &self,
        base: &RevisionTemplate,
        there: Option<&Container>,
        main: &Container,
    ) -> i32 {
        let was_small = there.is_some_and(is_small);
        match (
            self.section.concurrency,
            base.max_instance_request_concurrency,
        ) {
            (Some(given), _) => counts::count(given),
            (None, _) if is_small(main) => 1,
            (None, there) if there > 0 && !was_small => there,
            (None, _) => CONCURRENCY,
        }
    }
}

/// Whether a container has less than a whole CPU.
fn is_small(container: &Container) -> bool {
    let limits = container.resources.as_ref().map(|it| &it.limits);
    let cpu = limits.and_then(|limits| limits.get("cpu"));
    cpu.is_some_and(|cpu| quantity::read_cpu(cpu).starts_with("0."))
}

/// Everything to one revision; addresses that tags give stay.
pub(crate) fn everything_to(revision: &str, there: &[TrafficTarget]) -> Vec<TrafficTarget> {
    let all = TrafficTarget::new()
        .set_type(TrafficTargetAllocationType::Revision)
        .set_revision(revision)
        .set_percent(100);
    std::iter::once(all).chain(tags(there)).collect()
}

/// Everything to the newest revision; addresses that tags give stay.
fn everything_to_the_latest(there: &[TrafficTarget]) -> Vec<TrafficTarget> {
    let latest = TrafficTarget::new()
        .set_type(TrafficTargetAllocationType::Latest)
        .set_percent(100);
    std::iter::once(latest).chain(tags(there)).collect()
}

/// Whether the tag of a candidate is there.
pub(crate) fn has_candidate(there: &[TrafficTarget]) -> bool {
    there.iter().any(|target| target.tag == CANDIDATE)
}

/// The targets that have a tag of somebody's, which gives a revision an address of its own, without
/// any traffic. That of a candidate goes with the next change of the traffic.
pub(crate) fn tags(there: &[TrafficTarget]) -> impl Iterator<Item = TrafficTarget> {
    let theirs = |target: &&TrafficTarget| !target.tag.is_empty() && target.tag != CANDIDATE;
    let tagged = there.iter().filter(theirs);
    tagged.map(|target| target.clone().set_percent(0))
}

/// A service, field by field, and whether its newest revision can serve.
pub(crate) fn describe(names: &Names, service: &Service) -> Fields {
    let mut fields = Fields::new();
    labels::describe(&mut fields, &service.labels);
    fields.set("ingress", ingress(&service.ingress));
    fields.set("traffic", rollout::show_asked(&service.traffic));
    fields.set(
        "serving",
        rollout::failure(service).map_or_else(|| READY.into(), |why| format!("failed: {why}")),
    );
    let stage = match service.launch_stage {
        LaunchStage::Unspecified => &LaunchStage::Ga,
        ref stage => stage,
    };
    fields.set("launch stage", stage.name().unwrap_or("?").to_lowercase());
    for target in service.traffic.iter().filter(|it| !it.tag.is_empty()) {
        let leads = revision_name(&target.revision).unwrap_or("latest");
        fields.set(format!("traffic tag.{}", target.tag), leads);
    }
    let build = service.build_config.as_ref();
    fields.set_some("built from", build.map(built_from));
    if let Some(template) = &service.template {
        describe_template(&mut fields, names, template);
        fields.set_some("scaling", counts::show(service, most_instances(template)));
    }
    fields
}

fn built_from(build: &BuildConfig) -> String {
    match build.source_location.as_str() {
        "" => "source".to_owned(),
        source => source.to_owned(),
    }
}

/// How many instances a revision may have. 100 is what Cloud Run takes for an unset number.
fn most_instances(template: &RevisionTemplate) -> i32 {
    let scaling = template.scaling.as_ref();
    let most = scaling.map_or(0, |scaling| scaling.max_instance_count);
    if most > 0 { most } else { 100 }
}

fn describe_template(fields: &mut Fields, names: &Names, template: &RevisionTemplate) {
    let main = container::main_container(&template.containers);
    if let Some(main) = main {
        container::describe(fields, names, main);
        describe_serving(fields, main);
    }
    container::describe_others(fields, &template.containers);
    for volume in &template.volumes {
        let kind = volume.volume_type.as_ref();
        fields.set(
            format!("volume.{}", volume.name),
            kind.map_or("?", volume_kind),
        );
    }
    let scaling = template.scaling.clone().unwrap_or_default();
    fields.set("instances.min", scaling.min_instance_count);
    fields.set("instances.max", most_instances(template));
    let whole_cpu = !matches!(
        fields.get("cpu").map(ToString::to_string).as_deref(),
        Some(cpu) if cpu.starts_with("0.")
    );
    let concurrency = match template.max_instance_request_concurrency {
        0 if whole_cpu => CONCURRENCY,
        0 => 1,
        given => given,
    };
    fields.set("concurrency", concurrency);
    let timeout = template
        .timeout
        .as_ref()
        .map_or(0, google_cloud_wkt::Duration::seconds);
    let timeout = if timeout == 0 {
        REQUEST_TIMEOUT
    } else {
        timeout
    };
    fields.set("request timeout", format!("{timeout} s"));
    container::describe_account(fields, &template.service_account);
    container::describe_vpc(fields, names, template.vpc_access.as_ref());
}

fn volume_kind(kind: &VolumeType) -> &'static str {
    match kind {
        VolumeType::Secret(_) => "secret",
        VolumeType::CloudSqlInstance(_) => "Cloud SQL",
        VolumeType::EmptyDir(_) => "memory",
        VolumeType::Nfs(_) => "NFS",
        VolumeType::Gcs(_) => "Cloud Storage",
        // Google's own list is open.
        _ => "of a kind that is new to this version",
    }
}

fn describe_serving(fields: &mut Fields, container: &Container) {
    if let Some(port) = container.ports.first() {
        fields.set("port", port.container_port);
    }
    let idle = container
        .resources
        .as_ref()
        .is_none_or(|resources| resources.cpu_idle);
    fields.set("cpu idle", if idle { "yes" } else { "no" });
    let probes = [
        ("health.startup", &container.startup_probe),
        ("health.liveness", &container.liveness_probe),
    ];
    for (field, probe) in probes {
        let port = container.ports.first().map(|port| port.container_port);
        fields.set_some(field, probe.as_ref().map(|probe| probes::show(probe, port)));
    }
}

fn ingress(ingress: &IngressTraffic) -> &str {
    match ingress {
        IngressTraffic::Unspecified | IngressTraffic::All => "all",
        IngressTraffic::InternalOnly => "internal",
        IngressTraffic::InternalLoadBalancer => "internal-and-load-balancer",
        IngressTraffic::None => "none",
        other => other.name().unwrap_or("unknown to this version"),
    }
}

/// Fields of the service around its revisions, by how they begin, and where Cloud Run keeps them.
const AROUND: [(&str, &str); 6] = [
    ("tags.", "labels"),
    ("ingress", "ingress"),
    ("launch stage", "launch_stage"),
    ("scaling", "scaling"),
    ("built from", "build_config"),
    ("traffic", "traffic"),
];

/// Whether a field is of the service around its revisions.
pub(crate) fn is_around(field: &str) -> bool {
    AROUND.iter().any(|(begins, _)| field.starts_with(begins))
}

/// Whether these changes need a new revision: any but those of the service around it, its labels
/// among them. A roll-out that failed needs one although nothing else differs.
pub(crate) fn needs_revision(changes: &[FieldChange]) -> bool {
    changes.iter().any(|change| !is_around(&change.field))
}

/// Where Cloud Run keeps what changes around the revisions.
pub(crate) fn around(changes: &[FieldChange]) -> Vec<&'static str> {
    let changed = |begins: &str| changes.iter().any(|it| it.field.starts_with(begins));
    let paths = AROUND.iter().filter(|(begins, _)| changed(begins));
    paths.map(|(_, path)| *path).collect()
}

/// What is around the revisions, the traffic aside, as it was `before`, and which fields of it
/// changed; to be sent alone.
pub(crate) fn around_as_before(
    before: &Service,
    changes: &[FieldChange],
) -> (Service, Vec<&'static str>) {
    let paths = around(changes);
    let around = Service::new()
        .set_labels(before.labels.clone())
        .set_ingress(before.ingress.clone())
        .set_launch_stage(before.launch_stage.clone())
        .set_or_clear_scaling(before.scaling.clone())
        .set_or_clear_build_config(before.build_config.clone());
    let paths = paths.into_iter().filter(|path| *path != "traffic");
    (around, paths.collect())
}

/// Everything that a revision took over from its template: the two messages share their members'
/// names, also of those that are newer than this program.
pub(crate) fn taken_over(revision: &model::Revision) -> Result<RevisionTemplate> {
    const OUTPUT: [&str; 18] = [
        "name",
        "uid",
        "generation",
        "createTime",
        "updateTime",
        "deleteTime",
        "expireTime",
        "launchStage",
        "service",
        "reconciling",
        "conditions",
        "observedGeneration",
        "logUri",
        "satisfiesPzs",
        "scalingStatus",
        "creator",
        "etag",
        "containerStatuses",
    ];
    let unreadable = |error: serde_json::Error| {
        Error::internal("cannot make a template of a revision").because(error)
    };
    let mut members = serde_json::to_value(revision).map_err(unreadable)?;
    if let Some(members) = members.as_object_mut() {
        members.retain(|name, _| !OUTPUT.contains(&name.as_str()));
    }
    serde_json::from_value(members).map_err(unreadable)
}

/// The short name of a revision as the service gives it. `None` when there is none.
pub(crate) fn revision_name(name: &str) -> Option<&str> {
    (!name.is_empty()).then(|| short(name))
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
