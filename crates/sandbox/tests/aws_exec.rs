//! ECS Exec: agents that come up, commands in terminals, sessions that end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

mod aws_support;
mod support;

use std::time::Duration;

use aws_support::{Account, REGISTRY};
use deployer_sandbox::{Moto, Options};
use deployer_session::{Closed, Endpoint, Output, Session};
use futures::{SinkExt as _, StreamExt as _};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use support::layer_with_shell;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

/// An account with an image that has a shell.
struct App {
    account: Account,
    _folder: tempfile::TempDir,
}

impl App {
    /// At this speed.
    async fn new(speed: f64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            moto: Moto::Off,
            speed,
            ..Options::new(folder.path().join("state"))
        };
        let account = Account::of(options).await;
        let repository = json!({"repositoryName": "app"});
        account.ok("ecr:CreateRepository", repository).await;
        let config = json!({
            "Env": ["PATH=/usr/bin:/bin", "COLOUR=blue"], "WorkingDir": "/tmp", "User": "65534:65534",
        });
        account
            .push_layer("app", "v1", layer_with_shell(), config)
            .await;
        Self {
            account,
            _folder: folder,
        }
    }

    /// Registers a revision with these members. Returns its ARN.
    async fn define(&self, changes: Value) -> String {
        let mut input = json!({
            "family": "app", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"],
            "cpu": "256", "memory": "512",
            "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
            "taskRoleArn": "arn:aws:iam::123456789012:role/task",
            "containerDefinitions": [container("app")],
        });
        let changes = changes.as_object().unwrap().clone();
        input.as_object_mut().unwrap().extend(changes);
        input
            .as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        let registered = self.account.ok("ecs:RegisterTaskDefinition", input).await;
        let arn = registered["taskDefinition"]["taskDefinitionArn"].as_str();
        arn.unwrap().to_owned()
    }

    /// Starts a task that takes commands. Returns its ARN.
    async fn start(&self, definition: &str) -> String {
        let run = self.account.ok("ecs:RunTask", run(definition, true)).await;
        let arn = run["tasks"][0]["taskArn"].as_str().unwrap();
        let tasks = json!({"tasks": [arn]});
        let up = |answer: &Value| agent(answer)["lastStatus"] == "RUNNING";
        self.account.until("ecs:DescribeTasks", tasks, up).await;
        arn.to_owned()
    }

    /// Opens a session, as soon as the agent is connected.
    async fn open(&self, task: &str, command: &str) -> Endpoint {
        for _ in 0..200 {
            let input = json!({"task": task, "command": command, "interactive": true});
            let caller = &self.account.caller;
            let (status, body) = self
                .account
                .call_as(caller, "ecs:ExecuteCommand", input)
                .await;
            if status == 200 {
                let session = &body["session"];
                return Endpoint {
                    url: session["streamUrl"].as_str().unwrap().to_owned(),
                    token: session["tokenValue"].as_str().unwrap().to_owned().into(),
                    headers: http::HeaderMap::new(),
                    proxy: None,
                };
            }
            assert_eq!(body["__type"], "TargetNotConnectedException", "{body}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the agent of {task} never connected");
    }

    /// Runs a command to its end. Returns what it printed, and why the session ended.
    async fn exec(&self, task: &str, command: &str) -> (String, Closed) {
        let endpoint = self.open(task, command).await;
        let mut session = Session::open(&endpoint, sleep).await.unwrap();
        let said = rest(&mut session).await;
        (said, session.closed().await)
    }
}

fn container(name: &str) -> Value {
    json!({
        "name": name, "image": format!("{REGISTRY}/app:v1"),
        "entryPoint": ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"],
        "environment": [{"name": "GREETING", "value": "hello"}],
    })
}

fn run(definition: &str, takes_commands: bool) -> Value {
    json!({
        "taskDefinition": definition, "launchType": "FARGATE",
        "enableExecuteCommand": takes_commands, "networkConfiguration": network(),
    })
}

fn network() -> Value {
    json!({"awsvpcConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"]}})
}

fn agent(answer: &Value) -> &Value {
    &answer["tasks"][0]["containers"][0]["managedAgents"][0]
}

async fn some(session: &mut Session) -> String {
    let next = tokio::time::timeout(Duration::from_secs(60), session.next());
    match next.await.expect("something in time") {
        Some(Output::Stdout(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        other => panic!("{other:?}"),
    }
}

async fn until(session: &mut Session, words: &str) -> String {
    let mut said = String::new();
    while !said.contains(words) {
        said += &some(session).await;
    }
    said
}

async fn rest(session: &mut Session) -> String {
    let mut said = Vec::new();
    while let Some(Output::Stdout(bytes)) = session.next().await {
        said.extend(bytes);
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn a_command_runs_as_root_in_the_containers_own_surroundings() {
    let app = App::new(60.0).await;
    let definition = app.define(json!({})).await;
    let task = app.start(&definition).await;
    let command = r#"/bin/sh -c 'echo "$GREETING $COLOUR $TERM $LANG $(id -u) $PWD $0"; echo oops >&2; exit 3' me"#;
    let (said, closed) = app.exec(&task, command).await;
    // In a terminal: one stream, lines that end with both, no code.
    let all = "hello blue xterm-256color C.UTF-8 0 /tmp me\r\noops\r\n";
    assert_eq!(said, all);
    assert_eq!(closed, Closed::Remote(None));
    // The container's own command sees what was done.
    let (said, _) = app
        .exec(
            &task,
            "sh -c 'echo here >/tmp/file; cat /tmp/file /proc/1/comm'",
        )
        .await;
    assert_eq!(said, "here\r\nsh\r\n");
    app.account.close().await;
}

#[tokio::test]
async fn a_shell_takes_what_is_typed_and_knows_its_windows_size() {
    let app = App::new(60.0).await;
    let definition = app.define(json!({})).await;
    let task = app.start(&definition).await;
    let endpoint = app.open(&task, "/bin/sh").await;
    let mut session = Session::open(&endpoint, sleep).await.unwrap();
    let input = session.input();
    until(&mut session, "# ").await;
    input.resize(91, 17).await.unwrap();
    input.send("stty size\r").await.unwrap();
    let said = until(&mut session, "17 91").await;
    assert!(said.starts_with("stty size\r\n"), "it is echoed: {said:?}");
    input.resize(0, 0).await.unwrap();
    input.send("stty size; cat\r").await.unwrap();
    until(&mut session, "0 0").await;
    // The terminal makes a signal of it.
    input.send("x\r").await.unwrap();
    until(&mut session, "x\r\nx\r\n").await;
    input.send(vec![3]).await.unwrap();
    until(&mut session, "# ").await;
    input.send("exit\r").await.unwrap();
    rest(&mut session).await;
    assert_eq!(session.closed().await, Closed::Remote(None));
    app.account.close().await;
}

/// A client that is nobody's here: what npm's `ssm-session` 1.0.6 sends, recorded from its own
/// functions. Its digests are hexadecimal and cut, its types filled with zeros in front.
#[tokio::test]
async fn another_client_is_understood() {
    let app = App::new(60.0).await;
    let definition = app.define(json!({})).await;
    let task = app.start(&definition).await;
    let endpoint = app.open(&task, "/bin/sh").await;
    let stream = TcpStream::connect(app.account.sandbox.aws_url.trim_start_matches("http://"));
    let stream = stream.await.unwrap();
    let (mut socket, _) = client_async(endpoint.url.as_str(), stream).await.unwrap();
    let recorded = include_str!("fixtures/ssm-session.jsonl").lines();
    let recorded: Vec<(String, String)> = recorded
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let frame = |kind: &str, nth: usize| {
        let mut frames = recorded.iter().filter(|(of, _)| of == kind);
        let (_, text) = frames.nth(nth).unwrap();
        match kind {
            "text" => Message::Text(text.replace("TOKEN", endpoint.token.expose_secret()).into()),
            _ => Message::Binary(hex::decode(text).unwrap().into()),
        }
    };
    socket.send(frame("text", 0)).await.unwrap();
    socket.send(frame("size", 0)).await.unwrap();
    socket.send(frame("keys", 0)).await.unwrap();
    let (mut shown, mut asked) = (String::new(), false);
    let read = async {
        while let Some(Ok(message)) = socket.next().await {
            let Message::Binary(bytes) = message else {
                continue;
            };
            let kind = String::from_utf8_lossy(&bytes[4..36]).trim().to_owned();
            let payload = String::from_utf8_lossy(&bytes[120..]).into_owned();
            match kind.as_str() {
                "output_stream_data" => {
                    let number = i64::from_be_bytes(bytes[48..56].try_into().unwrap());
                    let number = usize::try_from(number).unwrap();
                    socket.send(frame("ack", number)).await.unwrap();
                    shown += &payload;
                }
                "channel_closed" => return shown,
                _ => {}
            }
            if shown.contains("17 91") && !asked {
                asked = true;
                socket.send(frame("keys", 1)).await.unwrap();
            }
        }
        panic!("the session is not closed: {shown}");
    };
    let shown = tokio::time::timeout(Duration::from_secs(30), read)
        .await
        .unwrap();
    assert!(shown.contains("17 91\r\n"), "{shown}");
    app.account.close().await;
}

#[tokio::test]
async fn what_is_not_enabled_or_not_there_is_refused() {
    let app = App::new(60.0).await;
    let account = &app.account;
    let no_role = app.define(json!({"taskRoleArn": null})).await;
    let role = "a valid task role is not being used";
    let invalid = "InvalidParameterException";
    account
        .refused("ecs:RunTask", run(&no_role, true), invalid, role)
        .await;
    let service = json!({
        "serviceName": "web", "taskDefinition": no_role, "desiredCount": 0, "launchType": "FARGATE",
        "networkConfiguration": network(), "enableExecuteCommand": true,
    });
    let role = "because a valid taskRoleArn is not being used";
    account
        .refused("ecs:CreateService", service, invalid, role)
        .await;
    let two = json!([container("app"), container("beside")]);
    let two = app.define(json!({"containerDefinitions": two})).await;
    let off = account.ok("ecs:RunTask", run(&two, false)).await;
    let off = off["tasks"][0]["taskArn"].clone();
    let input = |task: &Value| json!({"task": task, "command": "sh", "interactive": true});
    let disabled = "execute command was not enabled when the task was run";
    account
        .refused("ecs:ExecuteCommand", input(&off), invalid, disabled)
        .await;
    let on = json!(app.start(&two).await);
    let mut which = input(&on);
    account
        .refused(
            "ecs:ExecuteCommand",
            which.clone(),
            invalid,
            "container name",
        )
        .await;
    which["container"] = json!("beside");
    which["interactive"] = json!(false);
    account
        .refused("ecs:ExecuteCommand", which, invalid, "nteractive")
        .await;
    app.account.close().await;
}

#[tokio::test]
async fn a_command_that_cannot_start_is_told_by_the_end_of_its_session() {
    let app = App::new(60.0).await;
    let definition = app.define(json!({})).await;
    let task = app.start(&definition).await;
    for (command, words) in [
        ("bash", "exec: \"bash\": executable file not found in $PATH"),
        (
            "/bin/bash -l",
            "fork/exec /bin/bash: no such file or directory",
        ),
        ("sh -c 'oops", "Failed to parse commands input"),
    ] {
        let (said, closed) = app.exec(&task, command).await;
        assert_eq!(said, "");
        let Closed::Remote(Some(told)) = closed else {
            panic!("{closed:?}");
        };
        assert!(
            told.contains("Unable to start command") && told.contains(words),
            "{told}"
        );
    }
    app.account.close().await;
}

/// An agent reads its terminal only while somebody listens.
#[tokio::test]
async fn a_program_whose_client_is_gone_waits_where_its_terminal_is_full() {
    let app = App::new(60.0).await;
    let definition = app.define(json!({})).await;
    let task = app.start(&definition).await;
    let command = "sh -c 'echo first; seq 1 20000; echo x >/tmp/done; echo last'";
    let endpoint = app.open(&task, command).await;
    let mut session = Session::open(&endpoint, sleep).await.unwrap();
    until(&mut session, "first").await;
    drop(session);
    let (said, _) = app
        .exec(&task, "sh -c 'sleep 0.5; cat /tmp/done || echo waits'")
        .await;
    assert!(said.ends_with("waits\r\n"), "{said}");
    let stolen = Endpoint {
        token: "another".to_owned().into(),
        ..endpoint
    };
    let mut session = Session::open(&stolen, sleep).await.unwrap();
    assert_eq!(session.next().await, None, "it has not the token");
    app.account.close().await;
}

#[tokio::test]
async fn an_agent_takes_two_sessions_and_one_more_waits_for_its_turn() {
    // At this speed a session lives 80 s without a word, however busy the machine is.
    let app = App::new(15.0).await;
    let definition = app.define(json!({})).await;
    let task = app.start(&definition).await;
    let mut sessions = Vec::new();
    for _ in 0..4 {
        let endpoint = app.open(&task, "sh -c 'echo begun; sleep 600'").await;
        sessions.push(Session::open(&endpoint, sleep).await.unwrap());
    }
    let [one, two, third, fourth] = &mut sessions[..] else {
        panic!("four");
    };
    until(one, "begun").await;
    until(two, "begun").await;
    let soon = Duration::from_secs(1);
    let heard = tokio::time::timeout(soon, third.begun()).await;
    assert!(heard.is_err(), "nobody speaks to the third");
    one.input().send(vec![3]).await.unwrap();
    rest(one).await;
    until(third, "begun").await;
    two.input().send(vec![3]).await.unwrap();
    rest(two).await;
    let heard = tokio::time::timeout(soon, fourth.begun()).await;
    assert!(heard.is_err(), "nor ever to the fourth");
    app.account.close().await;
}

/// 20 MiB of a terminal, on a wire that is good and on one that is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn much_comes_through_whole() {
    const BYTES: usize = 20 * 1024 * 1024;
    let app = App::new(60.0).await;
    let definition = app.define(json!({})).await;
    let task = app.start(&definition).await;
    for (bytes, disturbed) in [(BYTES, false), (BYTES / 256, true)] {
        app.account.sandbox.disturb_sessions(disturbed);
        let rows = bytes / 8;
        // An agent waits two seconds for acknowledgements at the end, which is too short on a
        // machine that is busy: the program ends once it is told that all of it was seen.
        let command = format!("sh -c 'stty raw -echo; seq -f %07.0f {rows}; printf end; read it'");
        let endpoint = app.open(&task, &command).await;
        let mut session = Session::open(&endpoint, sleep).await.unwrap();
        let mut all = Vec::with_capacity(bytes);
        while let Some(output) = session.next().await {
            if let Output::Stdout(piece) = output {
                all.extend_from_slice(&piece);
                if all.ends_with(b"end") {
                    session.input().send(b"\n".to_vec()).await.unwrap();
                }
            }
        }
        assert!(all.ends_with(b"end"));
        assert_eq!(all.len(), rows * 8 + 3);
        for (number, row) in all.chunks_exact(8).enumerate() {
            let want = format!("{:07}\n", number + 1);
            assert_eq!(row, want.as_bytes());
        }
    }
    app.account.close().await;
}

#[tokio::test]
async fn a_session_is_over_after_twenty_minutes_of_silence_and_its_command_with_it() {
    let app = App::new(600.0).await;
    let definition = app.define(json!({})).await;
    let task = app.start(&definition).await;
    let left = "(trap \"\" HUP; sleep 6; echo x >/tmp/left) >/dev/null 2>&1 </dev/null &";
    let command = format!("sh -c '{left} echo begun; sleep 600; echo x >/tmp/itself'");
    let endpoint = app.open(&task, &command).await;
    let began = tokio::time::Instant::now();
    let mut session = Session::open(&endpoint, sleep).await.unwrap();
    let input = session.input();
    until(&mut session, "begun").await;
    // What the client sends, if it is only the window's size, keeps it alive.
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        input.resize(80, 24).await.unwrap();
    }
    assert_eq!(session.next().await, None);
    assert!(began.elapsed() > Duration::from_secs(4));
    let Closed::Remote(Some(words)) = session.closed().await else {
        panic!("the gateway ends it");
    };
    assert!(words.contains("inactivity"), "{words}");
    // The command was killed, and not what it had left behind.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (said, _) = app
        .exec(&task, "sh -c 'cat /tmp/left; cat /tmp/itself'")
        .await;
    assert!(
        said.starts_with("x\r\n") && said.contains("No such file"),
        "{said}"
    );
    app.account.close().await;
}

#[tokio::test]
async fn a_task_that_stops_takes_its_sessions_with_it() {
    let app = App::new(60.0).await;
    let definition = app.define(json!({})).await;
    let task = app.start(&definition).await;
    let endpoint = app.open(&task, "sh -c 'echo begun; sleep 600'").await;
    let mut session = Session::open(&endpoint, sleep).await.unwrap();
    until(&mut session, "begun").await;
    app.account.ok("ecs:StopTask", json!({"task": task})).await;
    rest(&mut session).await;
    // The agent goes with its container, and says nothing of it.
    assert!(matches!(session.closed().await, Closed::Lost(_)));
    let stopped = |answer: &Value| {
        let status = &answer["tasks"][0]["lastStatus"];
        status == "STOPPED" && agent(answer)["lastStatus"] == "STOPPED"
    };
    let tasks = json!({"tasks": [task]});
    app.account.until("ecs:DescribeTasks", tasks, stopped).await;
    app.account.close().await;
}

#[tokio::test]
async fn an_agent_that_may_not_reach_the_gateway_is_never_connected() {
    let app = App::new(600.0).await;
    app.account.sandbox.connect_agents(false);
    let definition = app.define(json!({})).await;
    let task = app.start(&definition).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let input = json!({"task": task, "command": "sh", "interactive": true});
    let (code, words) = ("TargetNotConnectedException", "internal error");
    app.account
        .refused("ecs:ExecuteCommand", input, code, words)
        .await;
    app.account.close().await;
}
