//! Tests of the service's shape: an empty second plan, and every change by another hand seen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::spec::{Egress, GcpSpec};
use deployer_core::capability::ImageRef;
use deployer_core::capability::SecretVersion;
use deployer_core::graph::Inputs;
use deployer_core::ours::Past;
use deployer_core::spec::{EnvironmentSpec, HealthSpec, MebiBytes, MilliCpu, Replicas, VerifySpec};
use deployer_core::spec::{Inject, SecretUse};
use google_cloud_run_v2::model::service_scaling::ScalingMode;
use google_cloud_run_v2::model::vpc_access::{NetworkInterface, VpcEgress};
use google_cloud_run_v2::model::{EnvVar, ServiceScaling, VpcAccess};

use super::*;
use crate::ground::Ground;
use crate::paths::test_names;
use crate::runtime::rollout;

const IMAGE: &str = "europe-west1-docker.pkg.dev/demo-project/idp-staging/idp@sha256:aa";

fn spec() -> ServiceSpec {
    let used = |secret: &str, inject| SecretUse {
        secret: secret.into(),
        inject,
        member: None,
    };
    ServiceSpec {
        key: "idp".into(),
        name: "idp-staging".into(),
        repository: "idp-staging/idp".into(),
        image: "oci:idp".into(),
        architecture: None,
        port: 8080,
        health: HealthSpec {
            path: "/health".into(),
            command: Vec::new(),
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            retries: 3,
            start_period: Duration::from_secs(60),
        },
        cpu: MilliCpu(1000),
        memory: MebiBytes(1024),
        replicas: Replicas { min: 1, max: 4 },
        entrypoint: Vec::new(),
        command: Vec::new(),
        env: BTreeMap::from([
            ("GREETING".into(), "hello".into()),
            ("EMPTY".into(), String::new()),
        ]),
        secrets: BTreeMap::from([("DATABASE_URL".into(), used("database-url", Inject::Value))]),
        migrate: None,
        url: None,
        adopt: false,
        record: None,
        domains: Vec::new(),
        verify: VerifySpec::default(),
        patience: deployer_core::spec::PATIENCE,
        unsaid: BTreeSet::new(),
    }
}

fn section() -> GcpSpec {
    GcpSpec {
        secret_replication: Vec::new(),
        project: "demo-project".into(),
        region: "europe-west1".into(),
        service_account: Some("app@demo-project.iam.gserviceaccount.com".into()),
        vpc_connector: Some("vpc".into()),
        network: None,
        subnetwork: None,
        egress: Egress::PrivateRanges,
        repository: None,
        endpoint: None,
        registry_endpoint: None,
        enable_apis: false,
        services: BTreeMap::new(),
        databases: BTreeMap::new(),
        caches: BTreeMap::new(),
    }
}

fn way(section: &GcpSpec) -> Way {
    let ground = Ground::given(section, [].into_iter());
    Way::new(&test_names(), ground.network, section.egress)
}

fn environment() -> EnvironmentSpec {
    EnvironmentSpec {
        app: "idp".into(),
        environment: "staging".into(),
        tags: BTreeMap::from([("Team".into(), "Identity".into())]),
        secrets: BTreeMap::new(),
        databases: BTreeMap::new(),
        caches: BTreeMap::new(),
        services: BTreeMap::new(),
        ledger: None,
    }
}

fn composed(spec: &ServiceSpec, base: Service) -> Service {
    let names = test_names();
    let version = SecretVersion {
        secret: names.secret("database-url"),
        version: "3".into(),
    };
    let secrets = BTreeMap::from([("database-url".to_owned(), Value::Given(version))]);
    let env = environment();
    let variables = Variables::from_nodes(&names, &env, spec, &secrets, &mut Inputs::default());
    let section = section();
    let account = section.account_of(&spec.key).cloned();
    let account = account.map(|email| Value::Given(ServiceAccount(email)));
    Shape::new(
        spec,
        section.services.get(&spec.key).cloned().unwrap_or_default(),
        (account, way(&section)),
        &names,
        labels::ownership(&env, spec.adopt, &Past::default()),
    )
    .compose(base, Some(ImageRef(IMAGE.into())), &variables)
}

/// What Cloud Run makes of a service: defaults filled in, names spelt its way.
fn as_the_cloud_tells_it() -> Service {
    let mut service = composed(&spec(), Service::new()).set_name("it-is-there");
    service
        .labels
        .insert("goog-managed-by".into(), "cloudrun".into());
    let template = service.template.as_mut().unwrap();
    template.vpc_access = Some(
        VpcAccess::new()
            .set_connector("projects/demo-project/locations/europe-west1/connectors/vpc")
            .set_egress(VpcEgress::PrivateRangesOnly),
    );
    let container = &mut template.containers[0];
    container.name = "idp-1".into();
    container.ports[0].name = "http1".into();
    container.env.reverse();
    let resources = container.resources.as_mut().unwrap();
    resources.limits.insert("cpu".into(), "1000m".into());
    resources.limits.insert("memory".into(), "1Gi".into());
    resources.startup_cpu_boost = true;
    service.traffic.clear();
    service
}

fn changes(observed: &Service) -> Vec<String> {
    let names = test_names();
    let mut desired = describe(&names, &composed(&spec(), observed.clone()));
    desired.set("serving", READY);
    describe(&names, observed)
        .changes_to(&desired)
        .into_iter()
        .map(|change| change.field)
        .collect()
}

#[test]
fn a_second_plan_of_what_cloud_run_made_of_it_is_empty() {
    assert_eq!(changes(&as_the_cloud_tells_it()), Vec::<String>::new());
}

/// Changes one thing in what the cloud has and names the field that must show it.
fn check(field: &str, change: impl FnOnce(&mut Service)) {
    let mut service = as_the_cloud_tells_it();
    change(&mut service);
    assert_eq!(changes(&service), [field]);
}

fn template(service: &mut Service) -> &mut RevisionTemplate {
    service.template.as_mut().unwrap()
}

fn main(service: &mut Service) -> &mut Container {
    &mut template(service).containers[0]
}

#[test]
fn a_change_by_another_hand_shows_in_exactly_its_field() {
    check("image", |s| main(s).image = "other@sha256:bb".into());
    check("env.STRAY", |s| {
        main(s)
            .env
            .push(EnvVar::new().set_name("STRAY").set_value("x"))
    });
    check("env.GREETING", |s| {
        main(s).env.retain(|variable| variable.name != "GREETING")
    });
    check("secret.DATABASE_URL", |s| {
        let names = test_names();
        let version = SecretVersion {
            secret: names.secret("database-url"),
            version: "2".into(),
        };
        let env = &mut main(s).env;
        env.retain(|variable| variable.name != "DATABASE_URL");
        env.push(container::secret_variable(&names, "DATABASE_URL", &version));
    });
    check("instances.max", |s| {
        template(s).scaling.as_mut().unwrap().max_instance_count = 9
    });
    check("service account", |s| {
        template(s).service_account = "other@x".into()
    });
    check("ingress", |s| s.ingress = IngressTraffic::InternalOnly);
    check("tags.deployer", |s| {
        s.labels.insert("deployer".into(), "somebody_else".into());
    });
    check("health.startup", |s| {
        main(s).startup_probe.as_mut().unwrap().failure_threshold = 1;
    });
    check("traffic", |s| {
        s.traffic = vec![
            TrafficTarget::new()
                .set_type(TrafficTargetAllocationType::Revision)
                .set_revision("idp-staging-00001-abc")
                .set_percent(100),
        ];
    });
}

/// Changes one thing in what the cloud has, which is none of the manifest's affair.
fn leaves(change: impl FnOnce(&mut Service)) {
    let mut service = as_the_cloud_tells_it();
    change(&mut service);
    assert_eq!(changes(&service), Vec::<String>::new());
}

#[test]
fn what_the_manifest_is_silent_about_is_no_difference() {
    leaves(|s| template(s).max_instance_request_concurrency = 10);
    leaves(|s| template(s).timeout = Some(google_cloud_wkt::Duration::clamp(77, 0)));
    leaves(|s| s.launch_stage = LaunchStage::Beta);
    leaves(|s| s.invoker_iam_disabled = true);
    leaves(|s| {
        let gpu = &mut main(s).resources.as_mut().unwrap().limits;
        gpu.insert("nvidia.com/gpu".into(), "1".into());
    });
    leaves(|s| {
        let proxy = Container::new().set_name("proxy").set_image("envoy");
        template(s).containers.push(proxy);
    });
    leaves(|s| {
        let preview = TrafficTarget::new()
            .set_type(TrafficTargetAllocationType::Revision)
            .set_revision("idp-staging-00001-abc")
            .set_tag("preview");
        s.traffic = vec![
            TrafficTarget::new()
                .set_type(TrafficTargetAllocationType::Latest)
                .set_percent(100)
                .set_tag("newest"),
            preview,
        ];
    });
}

#[test]
fn more_cpu_than_one_is_no_longer_held_to_one_request() {
    let mut there = as_the_cloud_tells_it();
    template(&mut there).max_instance_request_concurrency = 1;
    let limits = &mut main(&mut there).resources.as_mut().unwrap().limits;
    limits.insert("cpu".into(), "500m".into());
    let made = composed(&spec(), there).template.unwrap();
    assert_eq!(made.max_instance_request_concurrency, CONCURRENCY);
}

#[test]
fn of_network_and_subnetwork_only_what_is_named_is_compared() {
    let told = |network: &str, subnetwork: &str| {
        let full = format!("projects/demo-project/global/networks/{network}");
        let interface = NetworkInterface::new()
            .set_network(full)
            .set_subnetwork(subnetwork)
            .set_tags(["tag1"]);
        VpcAccess::new()
            .set_network_interfaces([interface])
            .set_egress(VpcEgress::PrivateRangesOnly)
    };
    let over = |network: Option<&str>, subnetwork: Option<&str>, there: Option<VpcAccess>| {
        let section = GcpSpec {
            vpc_connector: None,
            network: network.map(str::to_owned),
            subnetwork: subnetwork.map(str::to_owned),
            ..section()
        };
        way(&section).over(there)
    };
    let there = Some(told("main", "back"));
    assert_eq!(over(Some("main"), None, there.clone()), there);
    assert_eq!(over(None, Some("back"), there.clone()), there);
    assert_eq!(over(None, None, there.clone()), there);
    let other = over(Some("other"), None, there).unwrap();
    let interface = &other.network_interfaces[0];
    assert_eq!(
        (interface.network.as_str(), interface.subnetwork.as_str()),
        ("other", "")
    );
    assert_eq!(interface.tags, ["tag1"]);
}

#[test]
fn what_was_adopted_is_not_opened_by_a_manifest_that_is_silent() {
    let mut there = as_the_cloud_tells_it();
    there.ingress = IngressTraffic::InternalOnly;
    main(&mut there).resources.as_mut().unwrap().cpu_idle = false;
    let adopted = ServiceSpec {
        adopt: true,
        ..spec()
    };
    let made = composed(&adopted, there.clone());
    assert_eq!(made.ingress, IngressTraffic::InternalOnly);
    let main = &made.template.unwrap().containers[0];
    assert!(!main.resources.as_ref().unwrap().cpu_idle);
    assert_eq!(composed(&spec(), there).ingress, IngressTraffic::All);
}

#[test]
fn an_update_keeps_what_the_manifest_is_silent_about() {
    let mut there = as_the_cloud_tells_it()
        .set_etag("e1")
        .set_description("by hand");
    template(&mut there).session_affinity = true;
    let updated = composed(&spec(), there.clone());
    assert_eq!(updated.etag, "e1");
    assert_eq!(updated.description, "by hand");
    let made = updated.template.as_ref().unwrap();
    assert!(made.session_affinity);
    assert_eq!(made.containers[0].name, "idp-1");
    assert!(
        made.containers[0]
            .resources
            .as_ref()
            .unwrap()
            .startup_cpu_boost
    );
    assert!(updated.labels.contains_key("goog-managed-by"));
}

#[test]
fn moving_the_traffic_back_needs_no_new_revision_and_a_failed_roll_out_does() {
    let change = |field: &str| FieldChange {
        field: field.into(),
        old: None,
        new: None,
    };
    assert!(!needs_revision(&[change("traffic"), change("ingress")]));
    assert!(!needs_revision(&[change("tags.commit")]));
    assert!(needs_revision(&[change("serving")]));
    assert!(needs_revision(&[change("traffic"), change("env.NEW")]));
}

fn adopted() -> ServiceSpec {
    let keys = [
        "cpu",
        "memory",
        "replicas",
        "entrypoint",
        "command",
        "health.start_period",
        "health.path",
    ];
    ServiceSpec {
        adopt: true,
        unsaid: keys.map(str::to_owned).into(),
        ..spec()
    }
}

/// What differs between what is there and what `spec` makes of it.
fn differs(spec: &ServiceSpec, there: &Service) -> Vec<String> {
    let names = test_names();
    let mut desired = describe(&names, &composed(spec, there.clone()));
    desired.set("serving", READY);
    let changes = describe(&names, there).changes_to(&desired).into_iter();
    changes.map(|change| change.field).collect()
}

#[test]
fn what_the_manifest_is_silent_about_stays_as_it_is_on_what_is_adopted() {
    let mut there = as_the_cloud_tells_it();
    there.scaling = Some(
        ServiceScaling::new()
            .set_scaling_mode(ScalingMode::Manual)
            .set_manual_instance_count(3),
    );
    template(&mut there)
        .scaling
        .as_mut()
        .unwrap()
        .max_instance_count = 40;
    template(&mut there).max_instance_request_concurrency = 1;
    let container = main(&mut there);
    let limits = &mut container.resources.as_mut().unwrap().limits;
    limits.insert("cpu".into(), "500m".into());
    limits.insert("memory".into(), "4Gi".into());
    container.command = vec!["/bin/tini".into(), "--".into()];
    container.args = vec!["serve".into(), "--fast".into()];
    container.startup_probe.as_mut().unwrap().failure_threshold = 40;
    container.liveness_probe = None;
    assert_eq!(differs(&adopted(), &there), Vec::<String>::new());
    // What it says is another matter: of half a CPU's single request at a time nothing is left.
    let mut says = adopted();
    says.unsaid.remove("cpu");
    assert_eq!(differs(&says, &there), ["concurrency", "cpu"]);
    // A new one has the defaults of the manifest.
    let made = composed(&adopted(), Service::new()).template.unwrap();
    assert_eq!(made.scaling.unwrap().max_instance_count, 4);
    assert!(made.containers[0].liveness_probe.is_some());
}

#[test]
fn what_cloud_run_does_not_look_at_is_not_taken_for_the_count() {
    let mut there = as_the_cloud_tells_it();
    let by_hand = ServiceScaling::new()
        .set_scaling_mode(ScalingMode::Manual)
        .set_manual_instance_count(0);
    there.scaling = Some(by_hand);
    assert_eq!(changes(&there), ["scaling"]);
    let names = test_names();
    let shown = describe(&names, &there);
    assert_eq!(
        shown.get("scaling").unwrap().to_string(),
        "manual, 0 instances"
    );
    let made = composed(&spec(), there.clone()).scaling.unwrap();
    assert_eq!(made.scaling_mode, ScalingMode::Automatic);
    assert_eq!(made.manual_instance_count, None);
    // Said neither, the service would inherit the manual count as both.
    assert_eq!((made.min_instance_count, made.max_instance_count), (1, 4));
    there.scaling = Some(ServiceScaling::new().set_max_instance_count(2));
    assert_eq!(changes(&there), ["scaling"]);
    let change = FieldChange {
        field: "scaling".into(),
        old: None,
        new: None,
    };
    assert!(!needs_revision(std::slice::from_ref(&change)));
    assert_eq!(around(&[change]), ["scaling"]);
    // What the service may have beyond its revisions holds nothing back.
    leaves(|s| s.scaling = Some(ServiceScaling::new().set_max_instance_count(4)));
    leaves(|s| s.scaling = Some(ServiceScaling::new().set_min_instance_count(2)));
}

#[test]
fn what_was_deployed_from_source_is_no_longer_built_under_our_image() {
    check("base image", |s| {
        main(s).base_image_uri = "nodejs22".into();
    });
    check("built from", |s| {
        s.build_config = Some(BuildConfig::new().set_source_location("gs://sources/app.zip"));
    });
}

#[test]
fn another_projects_network_of_the_same_name_is_another_one() {
    let names = test_names();
    let told = |network: &str, subnetwork: &str| {
        let interface = NetworkInterface::new()
            .set_network(network)
            .set_subnetwork(subnetwork);
        VpcAccess::new()
            .set_network_interfaces([interface])
            .set_egress(VpcEgress::PrivateRangesOnly)
    };
    let over = |network: &str, there: &VpcAccess| {
        let section = GcpSpec {
            vpc_connector: None,
            network: Some(network.to_owned()),
            ..section()
        };
        way(&section).over(Some(there.clone())).unwrap()
    };
    let shown = |access: &VpcAccess| {
        let mut fields = Fields::new();
        container::describe_vpc(&mut fields, &names, Some(access));
        fields
    };
    let host = "projects/host/global/networks/default";
    let ours = told("default", "default");
    let theirs = over(host, &ours);
    assert_eq!(theirs.network_interfaces[0].network, host);
    assert_eq!(theirs.network_interfaces[0].subnetwork, "");
    let changes = shown(&ours).changes_to(&shown(&theirs));
    assert_eq!(changes[0].field, "vpc.network");
    assert_eq!(changes[0].new.as_ref().unwrap().to_string(), host);
    // Ours is the same by its name, in full and with the project's number.
    for spelt in ["projects/demo-project", "projects/123456"] {
        let there = told(
            &format!("{spelt}/global/networks/default"),
            &format!("{spelt}/regions/europe-west1/subnetworks/default"),
        );
        assert_eq!(over("default", &there), there);
        assert_eq!(shown(&there), shown(&ours));
    }
    let connector = |named: &str| {
        let mut fields = Fields::new();
        let access = VpcAccess::new().set_connector(named);
        container::describe_vpc(&mut fields, &names, Some(&access));
        fields
    };
    let abroad = "projects/host/locations/europe-west1/connectors/vpc";
    assert_ne!(connector("vpc"), connector(abroad));
}

#[test]
fn moving_the_traffic_keeps_the_addresses_that_tags_give() {
    let tag = TrafficTarget::new()
        .set_revision("idp-00001-xyz")
        .set_tag("preview");
    let traffic = everything_to("idp-00002-abc", std::slice::from_ref(&tag));
    assert_eq!(rollout::show_asked(&traffic), "idp-00002-abc 100%");
    assert_eq!(traffic[1], tag);
}
