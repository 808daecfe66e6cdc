//! Containers of hand-made images really run, apart from each other, and leave nothing behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use deployer_sandbox::runner::{
    Container, ContainerSpec, ExecError, Isolation, StartError, Stream, probe,
};
use serde_json::json;
use support::{Lines, Machine, OCI_INDEX, Packed, REPOSITORY, put_app, put_image, spec};
use tokio::io::AsyncWriteExt;

/// Says so where a test cannot mean anything, because the machine refuses namespaces.
fn isolated(machine: &Machine) -> bool {
    match machine.runner.isolation() {
        Isolation::Namespaces => true,
        Isolation::Shared { why } => {
            println!("skipped, no namespaces here: {why}");
            false
        }
        Isolation::Simulated => panic!("this runner was made to run containers"),
    }
}

async fn get(address: SocketAddr) -> String {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client
        .get(format!("http://{address}/"))
        .send()
        .await
        .unwrap();
    answer.text().await.unwrap()
}

async fn healthy(container: &Container) -> SocketAddr {
    let address = container.address().unwrap();
    for _ in 0..500 {
        if probe(address, "/", Duration::from_secs(1)).await {
            return address;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never became healthy");
}

fn server(name: &str, lines: &Lines) -> ContainerSpec {
    ContainerSpec {
        port: Some(8080),
        ..spec(&["listen", "0.0.0.0"], &[("NAME", name)], lines)
    }
}

#[tokio::test]
async fn two_containers_listen_on_the_same_port_and_stop() {
    let machine = Machine::new();
    put_app(&machine.store);
    let lines = Lines::default();
    let first = machine.runner.start(server("one", &lines)).await.unwrap();
    let second = machine.runner.start(server("two", &lines)).await.unwrap();
    let (first_address, second_address) = (healthy(&first).await, healthy(&second).await);
    assert_eq!(get(first_address).await, "one");
    assert_eq!(get(second_address).await, "two");
    assert_eq!(machine.runner.running().len(), 2);

    let exit = first.stop(Duration::from_millis(50)).await;
    // The first process of a namespace hears no SIGTERM without a handler; alone it does.
    assert_eq!(exit.code, if isolated(&machine) { 137 } else { 143 });
    assert!(!probe(first_address, "/", Duration::from_millis(200)).await);
    assert_eq!(get(second_address).await, "two");
    machine.runner.shutdown().await;
    assert_eq!(second.exit().map(|exit| exit.code), Some(137));
    assert!(!machine.folder.path().join("containers").exists());
    assert!(machine.runner.start(server("late", &lines)).await.is_err());
}

#[tokio::test]
async fn output_and_exit_code_arrive_together() {
    let machine = Machine::new();
    put_app(&machine.store);
    let lines = Lines::default();
    let container = machine
        .runner
        .start(spec(&["exit", "3"], &[], &lines))
        .await
        .unwrap();
    assert_eq!(container.wait().await.code, 3);
    let mut all = lines.all();
    all.sort_by_key(|(_, line)| line.clone());
    let expected = [
        (Stream::Stderr, "to stderr"),
        (Stream::Stdout, "to stdout"),
        (Stream::Stdout, "unfinished line"),
    ];
    assert_eq!(
        all,
        expected.map(|(stream, line)| (stream, line.to_owned()))
    );
    assert!(container.address().is_none());
    machine.runner.shutdown().await;
}

#[tokio::test]
async fn image_and_override_meet_in_environment_folder_and_user() {
    let machine = Machine::new();
    if !isolated(&machine) {
        return;
    }
    let passwd = "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n";
    let packed = Packed {
        architecture: "amd64",
        files: &[("etc/passwd", passwd, 0o644)],
        config: json!({
            "Entrypoint": ["guest"], "Cmd": ["exit", "9"], "WorkingDir": "/srv/app",
            "User": "app", "Env": ["FROM_IMAGE=1", "BOTH=image"],
        }),
    };
    put_image(&machine.store, Some("v1"), &packed);
    let lines = Lines::default();
    let spec = spec(&["look"], &[("BOTH", "override")], &lines);
    let container = machine.runner.start(spec).await.unwrap();
    assert_eq!(container.wait().await.code, 0, "{}", lines.text());
    let text = lines.text();
    for line in [
        "cwd /srv/app",
        "pid 1",
        "env FROM_IMAGE=1",
        "env BOTH=override",
        "env HOME=/home/app",
        "Uid: 1000",
        "Gid: 1001",
        "files fine",
    ] {
        assert!(text.lines().any(|it| it == line), "no `{line}` in:\n{text}");
    }
    machine.runner.shutdown().await;
}

#[tokio::test]
async fn an_image_is_copied_where_overlays_are_refused() {
    // A colon separates folders in an overlay's options: the mount fails.
    let machine = Machine::with_scratch("with:colon");
    put_app(&machine.store);
    let lines = Lines::default();
    let container = machine
        .runner
        .start(spec(&["exit", "4"], &[], &lines))
        .await
        .unwrap();
    assert_eq!(container.wait().await.code, 4, "{}", lines.text());
    machine.runner.shutdown().await;
}

#[tokio::test]
async fn servers_of_the_host_are_reached_under_the_address_in_the_environment() {
    let machine = Machine::new();
    put_app(&machine.store);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // A probe that asks whether anyone listens hangs up at once.
            let _ = stream.write_all(b"hello from the host").await;
        }
    });
    let lines = Lines::default();
    let url = format!("postgres://u:p@127.0.0.1:{port}/db");
    let spec = spec(&["ask", "DATABASE_URL"], &[("DATABASE_URL", &url)], &lines);
    let container = machine.runner.start(spec).await.unwrap();
    assert_eq!(container.wait().await.code, 0);
    assert_eq!(lines.text(), "hello from the host");
    serving.abort();
    machine.runner.shutdown().await;
}

#[tokio::test]
async fn servers_that_are_open_to_containers_are_reached_at_their_own_address() {
    let machine = Machine::new();
    if !isolated(&machine) {
        return;
    }
    put_app(&machine.store);
    let server = tokio::net::TcpListener::bind("127.71.3.9:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        while let Ok((mut stream, _)) = server.accept().await {
            let _ = stream.write_all(b"hello from the host").await;
        }
    });
    let answer = async || {
        let lines = Lines::default();
        let url = format!("tcp://{address}/");
        let spec = spec(&["ask", "SERVER"], &[("SERVER", &url)], &lines);
        let container = machine.runner.start(spec).await.unwrap();
        assert_eq!(container.wait().await.code, 0);
        lines.text()
    };
    assert!(answer().await.contains("refused"));
    machine.runner.open_to_containers(address);
    assert_eq!(answer().await, "hello from the host");
    machine.runner.close_to_containers(address);
    assert!(answer().await.contains("refused"));
    serving.abort();
    machine.runner.shutdown().await;
}

#[tokio::test]
async fn a_server_on_loopback_only_cannot_be_reached_from_outside() {
    let machine = Machine::new();
    if !isolated(&machine) {
        return;
    }
    put_app(&machine.store);
    let lines = Lines::default();
    let spec = ContainerSpec {
        port: Some(8080),
        ..spec(&["listen", "127.0.0.1"], &[], &lines)
    };
    let container = machine.runner.start(spec).await.unwrap();
    lines.wait_for("listening").await;
    let address = container.address().unwrap();
    assert!(!probe(address, "/", Duration::from_secs(1)).await);
    machine.runner.shutdown().await;
}

#[tokio::test]
async fn a_further_command_runs_in_the_containers_own_world() {
    let machine = Machine::new();
    if !isolated(&machine) {
        return;
    }
    put_app(&machine.store);
    let lines = Lines::default();
    let spec = ContainerSpec {
        port: Some(8080),
        ..spec(&["listen", "127.0.0.1"], &[], &lines)
    };
    let container = machine.runner.start(spec).await.unwrap();
    lines.wait_for("listening").await;
    let run = async |line: &[&str], limit| {
        let words: Vec<_> = line.iter().map(|word| (*word).to_owned()).collect();
        let exit = container.exec(&words, Duration::from_millis(limit)).await;
        exit.map(|exit| exit.code)
    };
    // Its server listens on loopback only: from outside nobody reaches it.
    assert_eq!(
        run(&["guest", "get", "127.0.0.1:8080"], 10_000).await,
        Ok(0)
    );
    assert_eq!(
        run(&["/bin/guest", "get", "127.0.0.1:9"], 10_000).await,
        Ok(1)
    );
    // The host has these, the container has not.
    assert_eq!(run(&["/bin/sh", "-c", "exit 0"], 10_000).await, Ok(127));
    assert_eq!(run(&["sh"], 10_000).await, Ok(127));
    let limit = Duration::from_millis(300);
    let late = run(&["guest", "linger"], 300).await;
    assert_eq!(late, Err(ExecError::TimedOut(limit)));
    // What is killed is gone a moment later, and later still on a busy machine.
    for _ in 0..500 {
        if lingering(machine.folder.path()) == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        lingering(machine.folder.path()),
        1,
        "only the first is left"
    );
    container.stop(Duration::from_millis(50)).await;
    assert_eq!(
        run(&["guest", "exit", "0"], 10_000).await,
        Err(ExecError::Ended)
    );
    machine.runner.shutdown().await;
}

#[tokio::test]
async fn a_further_command_has_the_users_id_the_folder_and_the_environment() {
    let machine = Machine::new();
    if !isolated(&machine) {
        return;
    }
    let packed = Packed {
        architecture: "amd64",
        files: &[],
        config: json!({ "Entrypoint": ["guest", "sleep"], "WorkingDir": "/srv/app", "User": "1000:1001" }),
    };
    put_image(&machine.store, Some("v1"), &packed);
    let lines = Lines::default();
    let spec = ContainerSpec {
        command: None,
        ..spec(&[], &[("GREETING", "hello")], &lines)
    };
    let container = machine.runner.start(spec).await.unwrap();
    let words = ["guest", "expect", "/srv/app", "hello", "1000", "1001"].map(str::to_owned);
    // At once: the container may still be on its way into its root.
    let exit = container.exec(&words, Duration::from_secs(10)).await;
    assert_eq!(exit.map(|exit| exit.code), Ok(0));
    machine.runner.shutdown().await;
}

#[tokio::test]
async fn the_whole_process_tree_dies_with_its_container() {
    let machine = Machine::new();
    put_app(&machine.store);
    let lines = Lines::default();
    let container = machine
        .runner
        .start(spec(&["linger"], &[], &lines))
        .await
        .unwrap();
    lines.wait_for("lingering").await;
    let root = machine.folder.path().to_owned();
    assert!(lingering(&root) > 0);
    container.stop(Duration::from_millis(50)).await;
    assert_eq!(lingering(&root), 0);
    machine.runner.shutdown().await;
}

/// How many processes run a program that lies below this folder.
fn lingering(folder: &std::path::Path) -> usize {
    let mounts = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/mountinfo"));
    let folder = folder.to_str().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let inside = processes.filter(|process| {
        let pid = process.file_name().into_string().unwrap_or_default();
        let program = std::fs::read_link(process.path().join("exe"));
        let guest = program.is_ok_and(|it| it.ends_with("bin/guest"));
        let here = mounts(&pid).is_ok_and(|it| it.contains(folder));
        guest
            && (here
                || std::fs::read_link(process.path().join("exe"))
                    .is_ok_and(|it| it.starts_with(folder)))
    });
    inside.count()
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let machine = Machine::new();
    put_app(&machine.store);
    let lines = Lines::default();
    let entrypoint = |program: &str| ContainerSpec {
        entrypoint: Some(vec![program.to_owned()]),
        ..spec(&[], &[], &lines)
    };
    let start = async |spec| match machine.runner.start(spec).await {
        Ok(_) => panic!("it started"),
        Err(error) => error,
    };
    let absent = start(entrypoint("/bin/absent")).await;
    assert!(matches!(absent, StartError::CommandNotFound(name) if name == "/bin/absent"));
    let unnamed = start(entrypoint("absent")).await;
    assert!(matches!(unnamed, StartError::CommandNotFound(_)));
    let plain = start(entrypoint("/bin/notes.txt")).await;
    assert!(matches!(plain, StartError::CommandNotFound(_)));
    let tag = start(ContainerSpec {
        reference: "v2".into(),
        ..entrypoint("guest")
    });
    let StartError::ImageNotFound(name) = tag.await else {
        panic!("another error");
    };
    assert_eq!(name, format!("{REPOSITORY}:v2"));
    machine.runner.shutdown().await;
}

#[tokio::test]
async fn an_index_gives_the_child_for_the_platform_or_names_what_it_has() {
    let machine = Machine::new();
    let put = |architecture: &str, command: &str| {
        let packed = Packed {
            architecture,
            files: &[],
            config: json!({ "Entrypoint": ["guest", "exit", command] }),
        };
        let (digest, size) = put_image(&machine.store, None, &packed);
        json!({
            "mediaType": support::OCI_MANIFEST, "digest": digest, "size": size,
            "platform": { "os": "linux", "architecture": architecture },
        })
    };
    let (arm, amd) = (put("arm64", "1"), put("amd64", "7"));
    let attestation = {
        let mut child = put("unknown", "1");
        child["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
        child
    };
    let put_index = |tag: &str, children: serde_json::Value| {
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children });
        let index = serde_json::to_vec(&index).unwrap();
        machine
            .store
            .put_manifest(REPOSITORY, tag, OCI_INDEX, index.into())
            .unwrap();
    };
    put_index("v1", json!([arm, amd]));
    put_index("arm", json!([arm, attestation]));
    let lines = Lines::default();
    let container = machine.runner.start(spec(&[], &[], &lines)).await.unwrap();
    assert_eq!(container.wait().await.code, 7);
    // ECS asks for the one or the other.
    let on_arm = ContainerSpec {
        platform: "linux/arm64",
        ..spec(&[], &[], &lines)
    };
    let container = machine.runner.start(on_arm).await.unwrap();
    assert_eq!(container.wait().await.code, 1);
    let spec = ContainerSpec {
        reference: "arm".into(),
        ..spec(&[], &[], &lines)
    };
    match machine.runner.start(spec).await {
        Err(StartError::WrongPlatform { has, .. }) => assert_eq!(has, "linux/arm64"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it started"),
    }
    machine.runner.shutdown().await;
}

/// Set in the process that plays the sandbox in the test below.
const PLAY_SANDBOX: &str = "DEPLOYER_TEST_PLAY_SANDBOX";

#[tokio::test]
async fn containers_do_not_outlive_a_sandbox_that_is_killed() {
    if std::env::var_os(PLAY_SANDBOX).is_some() {
        return play_sandbox().await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut sandbox = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "containers_do_not_outlive_a_sandbox_that_is_killed",
            "--nocapture",
        ])
        .env(PLAY_SANDBOX, "1")
        // It gets no chance to remove its files.
        .env("TMPDIR", folder.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(sandbox.stdout.take().unwrap()));
    let pids = lines
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("pids ")?.1.to_owned()));
    let pids: Vec<_> = pids
        .unwrap()
        .split(' ')
        .map(|pid| format!("/proc/{pid}/exe"))
        .collect();
    let alive = || {
        pids.iter()
            .filter(|exe| std::fs::read_link(exe).is_ok())
            .count()
    };
    assert_eq!(alive(), 2);
    sandbox.kill().unwrap();
    sandbox.wait().unwrap();
    for _ in 0..500 {
        if alive() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} of {pids:?} are still alive", alive());
}

/// Starts one container as root and one as another user, and waits to be killed.
async fn play_sandbox() {
    let machine = Machine::new();
    put_app(&machine.store);
    let packed = Packed {
        architecture: "amd64",
        files: &[],
        config: json!({ "Entrypoint": ["guest"], "User": "1000:1000" }),
    };
    put_image(&machine.store, Some("user"), &packed);
    let lines = Lines::default();
    for reference in ["v1", "user"] {
        let spec = ContainerSpec {
            reference: reference.into(),
            ..spec(&["linger"], &[], &lines)
        };
        machine.runner.start(spec).await.unwrap();
    }
    lines.wait_for("lingering").await;
    let running = machine.runner.running().into_iter();
    let pids: Vec<_> = running
        .map(|(_, pid, _)| pid.unwrap().to_string())
        .collect();
    println!("pids {}", pids.join(" "));
    std::future::pending::<()>().await;
}
