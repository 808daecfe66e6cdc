//! The start-up and the liveness probe of a service's container: what the manifest makes of them,
//! and how they are shown; pure.

use std::time::Duration;

use deployer_core::spec::HealthSpec;
use google_cloud_run_v2::model::probe::ProbeType;
use google_cloud_run_v2::model::{Container, HTTPGetAction, Probe};

/// A start-up probe may take four minutes in all.
const LONGEST_START: u64 = 240;

/// The start-up and the liveness probe of `there`, a container that is to listen on `port`.
///
/// The start-up probe looks often, so that a healthy start is known soon, and gives up when the
/// health check of the manifest would: after the start period and as many failures as it allows.
/// Cloud Run ends it after four minutes. The headers that a probe sends, and a port of its own, are
/// none of the manifest's affair and stay.
pub(crate) fn of(health: &HealthSpec, port: i32, there: &Container) -> (Probe, Probe) {
    let seconds = |time: Duration| time.as_secs_f64().ceil() as u64;
    let interval = seconds(health.interval).clamp(1, 3600);
    let timeout = seconds(health.timeout).clamp(1, LONGEST_START);
    let retries = u64::from(health.retries.max(1));
    let period = interval.min(5).max(timeout);
    let patience = (seconds(health.start_period) + retries * interval).min(LONGEST_START);
    let small = |number: u64| i32::try_from(number).unwrap_or(i32::MAX);
    let probe = |before: Option<&Probe>, period: u64, failures: u64| {
        let look = look(before, listens_on(there)).set_path(&health.path);
        let look = match look.port {
            0 => look.set_port(port),
            _ => look,
        };
        Probe::new()
            .set_timeout_seconds(small(timeout))
            .set_period_seconds(small(period))
            .set_failure_threshold(small(failures))
            .set_http_get(look)
    };
    (
        probe(
            there.startup_probe.as_ref(),
            period,
            (patience / period).max(1),
        ),
        probe(
            there.liveness_probe.as_ref(),
            interval.max(timeout),
            retries,
        ),
    )
}

/// What stays of how a probe looks: its headers, and its port where that is not the one that the
/// container listened on.
fn look(before: Option<&Probe>, listened: i32) -> HTTPGetAction {
    let look = match before.and_then(|probe| probe.probe_type.as_ref()) {
        Some(ProbeType::HttpGet(get)) => (**get).clone(),
        _ => HTTPGetAction::new(),
    };
    match look.port == listened {
        true => look.set_port(0),
        false => look,
    }
}

/// A probe as it is, at the port that the container of before is to listen on.
pub(crate) fn kept(probe: Option<&Probe>, port: i32, there: &Container) -> Option<Probe> {
    let mut probe = probe?.clone();
    let listened = listens_on(there);
    let follow = |at: &mut i32| {
        if *at == listened {
            *at = port;
        }
    };
    match &mut probe.probe_type {
        Some(ProbeType::HttpGet(get)) => follow(&mut get.port),
        Some(ProbeType::TcpSocket(socket)) => follow(&mut socket.port),
        Some(ProbeType::Grpc(grpc)) => follow(&mut grpc.port),
        // Google's own list is open.
        _ => {}
    }
    Some(probe)
}

fn listens_on(container: &Container) -> i32 {
    container
        .ports
        .first()
        .map_or(0, |port| port.container_port)
}

/// `/health, every 5 s for at most 5 s, 6 failures`; Cloud Run's own numbers where none are given.
/// Of headers their names, since a value may let somebody in. `port` is the container's.
pub(crate) fn show(probe: &Probe, port: Option<i32>) -> String {
    let at = |own: i32| match own {
        0 => String::new(),
        own if Some(own) == port => String::new(),
        own => format!(" at port {own}"),
    };
    let what = match &probe.probe_type {
        Some(ProbeType::HttpGet(get)) => {
            let path = match get.path.as_str() {
                "" => "/",
                path => path,
            };
            let mut names: Vec<&str> = get.http_headers.iter().map(|it| it.name.as_str()).collect();
            names.sort_unstable();
            let with = match names.as_slice() {
                [] => String::new(),
                names => format!(" with {}", names.join(" and ")),
            };
            format!("{path}{}{with}", at(get.port))
        }
        Some(ProbeType::TcpSocket(socket)) => format!("tcp{}", at(socket.port)),
        Some(ProbeType::Grpc(grpc)) => {
            let service = match grpc.service.as_str() {
                "" => String::new(),
                service => format!(" {service}"),
            };
            format!("grpc{service}{}", at(grpc.port))
        }
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

#[cfg(test)]
mod tests {
    use google_cloud_run_v2::model::{ContainerPort, GRPCAction, HTTPHeader};

    use super::*;

    fn health() -> HealthSpec {
        HealthSpec {
            path: "/health".into(),
            command: Vec::new(),
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            retries: 3,
            start_period: Duration::from_secs(60),
        }
    }

    fn listening(port: i32) -> Container {
        Container::new().set_ports([ContainerPort::new().set_container_port(port)])
    }

    fn get(probe: &Probe) -> &HTTPGetAction {
        match &probe.probe_type {
            Some(ProbeType::HttpGet(get)) => get,
            other => panic!("no request: {other:?}"),
        }
    }

    #[test]
    fn the_start_up_probe_looks_often_and_is_as_patient_as_the_health_check() {
        let of = |health: &HealthSpec| of(health, 8080, &Container::new());
        let (startup, liveness) = of(&health());
        assert_eq!(startup.period_seconds, 5);
        // 60 s to start and three failures 30 s apart.
        assert_eq!(startup.period_seconds * startup.failure_threshold, 150);
        assert_eq!(
            (liveness.period_seconds, liveness.failure_threshold),
            (30, 3)
        );
        let mut patient = health();
        patient.start_period = Duration::from_secs(3600);
        let (startup, _) = of(&patient);
        assert!(startup.period_seconds * startup.failure_threshold <= 240);
        let mut slow = health();
        slow.timeout = Duration::from_secs(60);
        let (startup, liveness) = of(&slow);
        assert!(startup.timeout_seconds <= startup.period_seconds);
        assert!(liveness.timeout_seconds <= liveness.period_seconds);
    }

    #[test]
    fn a_probe_keeps_its_headers_and_a_port_of_its_own() {
        let header = HTTPHeader::new().set_name("X-Probe").set_value("hush");
        let look = HTTPGetAction::new().set_path("/old").set_port(8080);
        let there = Probe::new().set_http_get(look.set_http_headers([header]));
        let container = listening(8080).set_startup_probe(there.clone());
        let (startup, liveness) = of(&health(), 9090, &container);
        assert_eq!(get(&startup).http_headers[0].value, "hush");
        assert_eq!((get(&startup).port, get(&liveness).port), (9090, 9090));
        let shown = show(&startup, Some(9090));
        assert!(shown.starts_with("/health with X-Probe, every"), "{shown}");
        assert!(!shown.contains("hush"));
        let own = listening(8081).set_startup_probe(there);
        let (startup, _) = of(&health(), 9090, &own);
        assert_eq!(get(&startup).port, 8080);
        assert!(show(&startup, Some(9090)).starts_with("/health at port 8080 with"));
    }

    #[test]
    fn a_probe_that_stays_follows_the_containers_port() {
        let there = Probe::new().set_grpc(GRPCAction::new().set_port(8080).set_service("health"));
        let kept = kept(Some(&there), 9090, &listening(8080)).unwrap();
        assert!(show(&kept, Some(9090)).starts_with("grpc health, every"));
        assert!(show(&there, Some(9090)).starts_with("grpc health at port 8080, every"));
    }
}
