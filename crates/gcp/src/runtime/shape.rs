//! The Cloud Run service that the manifest describes, and a service described field by field; pure.
//!
//! [`describe`] reads both what is there and what [`Shape::compose`] makes, so that noise is equal on both sides.

use std::time::Duration;

use deployer_core::capability::ImageRef;
use deployer_core::fields::{FieldChange, Fields};
use deployer_core::spec::{HealthSpec, ServiceSpec};
use deployer_manifest::section::{GcpSection, GcpService, Ingress};
use google_cloud_api::model::LaunchStage;
use google_cloud_run_v2::model::probe::ProbeType;
use google_cloud_run_v2::model::volume::VolumeType;
use google_cloud_run_v2::model::{
    Container, HTTPGetAction, IngressTraffic, Probe, RevisionTemplate, Service, TrafficTarget,
    TrafficTargetAllocationType,
};

use crate::labels::{self, Labels};
use crate::project::{Names, short};
use crate::runtime::container::{self, Frame, Variables, Way};
use crate::runtime::verdict;

/// Cloud Run gives a request five minutes unless told otherwise.
const REQUEST_TIMEOUT: i64 = 300;
/// Cloud Run gives an instance 80 requests at once, and one below a whole CPU.
const CONCURRENCY: i32 = 80;
/// A start-up probe may take four minutes in all.
const LONGEST_START: u64 = 240;

/// How the newest revision is to stand.
pub(crate) const READY: &str = "ready";

/// What the manifest says of one service.
pub(crate) struct Shape {
    pub(crate) spec: ServiceSpec,
    pub(crate) section: GcpService,
    pub(crate) account: Option<String>,
    pub(crate) way: Way,
    pub(crate) labels: Labels,
    pub(crate) names: Names,
}

impl Shape {
    /// What the manifest says of `spec`, for one environment's labels.
    pub(crate) fn new(
        spec: &ServiceSpec,
        section: &GcpSection,
        names: &Names,
        labels: Labels,
    ) -> Self {
        Self {
            spec: spec.clone(),
            section: section.services.get(&spec.key).cloned().unwrap_or_default(),
            account: section.service_account.clone(),
            way: Way::of(names, section),
            labels,
            names: names.clone(),
        }
    }

    /// `base` (what is there, or nothing) with everything that the manifest says; what it is silent about stays.
    /// An unknown image or secret version is left out.
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
        // Whoever may call it is the invoker's to compare; a new one is open, or closed, from its first moment.
        let unchecked = match is_new {
            true => self.section.public != Some(false),
            false => base.invoker_iam_disabled,
        };
        let labels = labels::merged(&self.labels, &base.labels);
        let stage = container::launch_stage(&base.launch_stage);
        let traffic = everything_to_the_latest(&base.traffic);
        let template = self.template(base.template.clone().unwrap_or_default(), image, variables);
        base.set_labels(labels)
            .set_ingress(ingress)
            .set_launch_stage(stage)
            .set_invoker_iam_disabled(unchecked)
            .set_traffic(traffic)
            .set_template(template)
    }

    /// Says which tags the newest revision does not bear yet: a tag alone makes none.
    pub(crate) fn stale_tags(&self, service: &Service) -> Option<String> {
        let template = service.template.as_ref()?;
        let set = self.labels.set.iter();
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
        let main = container::main_container(&base.containers)
            .cloned()
            .unwrap_or_default();
        let concurrency = self.concurrency(&base, &main);
        let main = self.serve(frame.fill(main));
        let containers = container::with_main(&base.containers, main);
        let labels = labels::merged(&self.labels, &base.labels);
        let scaling = base.scaling.clone().unwrap_or_default();
        let scaling = scaling
            .set_min_instance_count(count(self.spec.replicas.min))
            .set_max_instance_count(count(self.spec.replicas.max));
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

    /// What only a container that takes requests has.
    fn serve(&self, container: Container) -> Container {
        let port = i32::from(self.spec.port);
        let named = container.ports.first().cloned().unwrap_or_default();
        let is_new = container.ports.is_empty();
        let resources = container.resources.clone().unwrap_or_default();
        let idle = match self.section.cpu_idle {
            Some(idle) => idle,
            None if self.spec.adopt && !is_new => resources.cpu_idle,
            None => true,
        };
        let (startup, liveness) = probes(&self.spec.health, port);
        container
            .set_ports([named.set_container_port(port)])
            .set_resources(resources.set_cpu_idle(idle))
            .set_startup_probe(startup)
            .set_liveness_probe(liveness)
    }

    /// Below one CPU an instance takes one request; whoever gets more again is not held to that.
    fn concurrency(&self, base: &RevisionTemplate, main: &Container) -> i32 {
        let limits = main.resources.as_ref().map(|resources| &resources.limits);
        let cpu = limits.and_then(|limits| limits.get("cpu"));
        let was_small = cpu.is_some_and(|cpu| container::read_cpu(cpu).starts_with("0."));
        match (
            self.section.concurrency,
            base.max_instance_request_concurrency,
        ) {
            (Some(given), _) => count(given),
            (None, _) if self.spec.cpu.0 < 1000 => 1,
            (None, there) if there > 0 && !was_small => there,
            (None, _) => CONCURRENCY,
        }
    }
}

fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Everything to the newest revision; addresses that tags give stay.
fn everything_to_the_latest(there: &[TrafficTarget]) -> Vec<TrafficTarget> {
    let latest = TrafficTarget::new()
        .set_type(TrafficTargetAllocationType::Latest)
        .set_percent(100);
    std::iter::once(latest).chain(tags(there)).collect()
}

/// The targets that have a tag, which gives a revision an address of its own, without any traffic.
pub(crate) fn tags(there: &[TrafficTarget]) -> impl Iterator<Item = TrafficTarget> {
    let tagged = there.iter().filter(|target| !target.tag.is_empty());
    tagged.map(|target| target.clone().set_percent(0))
}

/// The start-up and the liveness probe.
///
/// The start-up probe looks often, so that a healthy start is known soon, and gives up when the health check of the
/// manifest would: after the start period and as many failures as it allows. Cloud Run ends it after four minutes.
fn probes(health: &HealthSpec, port: i32) -> (Probe, Probe) {
    let seconds = |time: Duration| time.as_secs_f64().ceil() as u64;
    let interval = seconds(health.interval).clamp(1, 3600);
    let timeout = seconds(health.timeout).clamp(1, LONGEST_START);
    let retries = u64::from(health.retries.max(1));
    let period = interval.min(5).max(timeout);
    let patience = (seconds(health.start_period) + retries * interval).min(LONGEST_START);
    let small = |number: u64| i32::try_from(number).unwrap_or(i32::MAX);
    let probe = |period: u64, failures: u64| {
        let look = HTTPGetAction::new().set_path(&health.path).set_port(port);
        Probe::new()
            .set_timeout_seconds(small(timeout))
            .set_period_seconds(small(period))
            .set_failure_threshold(small(failures))
            .set_http_get(look)
    };
    (
        probe(period, (patience / period).max(1)),
        probe(interval.max(timeout), retries),
    )
}

/// A service, field by field, and whether its newest revision can serve.
pub(crate) fn describe(names: &Names, service: &Service) -> Fields {
    let mut fields = Fields::new();
    labels::describe(&mut fields, &service.labels);
    fields.set("ingress", ingress(&service.ingress));
    fields.set("traffic", verdict::show_asked(&service.traffic));
    fields.set(
        "serving",
        verdict::failure(service).map_or_else(|| READY.into(), |why| format!("failed: {why}")),
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
    if let Some(template) = &service.template {
        describe_template(&mut fields, names, template);
    }
    fields
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
    // 100 is what Cloud Run takes for an unset one.
    let most = Some(scaling.max_instance_count)
        .filter(|count| *count > 0)
        .unwrap_or(100);
    fields.set("instances.max", most);
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
        fields.set_some(field, probe.as_ref().map(show_probe));
    }
}

/// `/health, every 5 s for at most 5 s, 6 failures`; Cloud Run's own numbers where none are given.
fn show_probe(probe: &Probe) -> String {
    let what = match &probe.probe_type {
        Some(ProbeType::HttpGet(get)) if get.path.is_empty() => "/".to_owned(),
        Some(ProbeType::HttpGet(get)) => get.path.clone(),
        Some(ProbeType::TcpSocket(_)) => "tcp".to_owned(),
        Some(ProbeType::Grpc(_)) => "grpc".to_owned(),
        _ => "?".to_owned(),
    };
    let or = |given: i32, default: i32| if given == 0 { default } else { given };
    let mut text = format!(
        "{what}, every {} s for at most {} s, {} failures",
        or(probe.period_seconds, 10),
        or(probe.timeout_seconds, 1),
        or(probe.failure_threshold, 3),
    );
    if probe.initial_delay_seconds != 0 {
        text.push_str(&format!(", after {} s", probe.initial_delay_seconds));
    }
    text
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
const AROUND: [(&str, &str); 4] = [
    ("tags.", "labels"),
    ("ingress", "ingress"),
    ("launch stage", "launch_stage"),
    ("traffic", "traffic"),
];

/// Whether a field is of the service around its revisions.
pub(crate) fn is_around(field: &str) -> bool {
    AROUND.iter().any(|(begins, _)| field.starts_with(begins))
}

/// Whether these changes need a new revision: any but those of the service around it, its labels among them. A roll-out that
/// failed needs one although nothing else differs.
pub(crate) fn needs_revision(changes: &[FieldChange]) -> bool {
    changes.iter().any(|change| !is_around(&change.field))
}

/// Where Cloud Run keeps what changes around the revisions.
pub(crate) fn around(changes: &[FieldChange]) -> Vec<&'static str> {
    let changed = |begins: &str| changes.iter().any(|it| it.field.starts_with(begins));
    let paths = AROUND.iter().filter(|(begins, _)| changed(begins));
    paths.map(|(_, path)| *path).collect()
}

/// What is around the revisions, the traffic aside, as it was `before`, and which fields of it changed; to be sent alone.
pub(crate) fn around_as_before(
    before: &Service,
    changes: &[FieldChange],
) -> (Service, Vec<&'static str>) {
    let paths = around(changes);
    let around = Service::new()
        .set_labels(before.labels.clone())
        .set_ingress(before.ingress.clone())
        .set_launch_stage(before.launch_stage.clone());
    let paths = paths.into_iter().filter(|path| *path != "traffic");
    (around, paths.collect())
}

/// The short name of a revision as the service gives it. `None` when there is none.
pub(crate) fn revision_name(name: &str) -> Option<&str> {
    (!name.is_empty()).then(|| short(name))
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
