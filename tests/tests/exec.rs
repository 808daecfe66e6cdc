//! `deployer exec` as people use it: at a terminal, through the real binary, into a container that
//! runs.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use deployer_tests::deployer::exit;
use deployer_tests::prepared::Prepared;
use deployer_tests::project::Project;
use deployer_tests::python;
use deployer_tests::sandbox::Sandbox;
use deployer_tests::terminal::Terminal;
use serde_json::Value;

const NAME: &str = "a_person_at_a_terminal_works_in_a_task_that_serves";
const OTHERS: &str = "a_client_of_others_and_ours_see_the_same_session";

/// A session is over after 20 minutes of silence, in the cloud's time: whoever types here is slower
/// than the other tests are.
const SPEED: &str = "20";

#[test]
fn a_person_at_a_terminal_works_in_a_task_that_serves() {
    let Some(prepared) = Prepared::find(NAME) else {
        return;
    };
    let project = that_takes_commands(&prepared);
    a_shell_is_at_the_persons_terminal(&project);
    a_command_ends_with_its_own_code(&project);
    a_terminal_without_a_size_is_one_too(&project);
    without_a_terminal_the_output_is_the_commands_and_nothing_else(&project);
}

/// npm's `ssm-session`, written from the agent's source by others, is at the other end of the same
/// wire: what is typed arrives, and what is printed comes, byte for byte as with ours.
#[test]
fn a_client_of_others_and_ours_see_the_same_session() {
    let Some(prepared) = Prepared::find(OTHERS) else {
        return;
    };
    let Some(node) = prepared.node(OTHERS) else {
        return;
    };
    let project = that_takes_commands(&prepared);
    let script = "while [ \"$(stty size)\" != '30 100' ]; do sleep 0.1; done; \
                  echo ready; read line; echo \"got $line\"; echo \"\u{e4}\u{20ac}\"";
    let command = format!("/bin/sh -c '{}'", script.replace('\'', "'\\''"));
    let exports: Vec<_> = project.sandbox.exports.clone().into_iter().collect();
    let service = project.manifest.service_name();
    let session = python::run(&prepared, "execute.py", &[&service, &command], &exports);
    let theirs = of_others(&node, &session);
    let line = format!("exec \"$DEPLOYER\" exec idp -- {command}");
    let terminal = Terminal::start(&project.deployer, &line, (100, 30));
    terminal.until_it_shows("ready");
    terminal.types("hello there\n");
    let (code, ours) = terminal.finish();
    assert_eq!(code, 0, "{ours}");
    assert!(
        theirs.ends_with("got hello there\r\n\u{e4}\u{20ac}\r\n"),
        "{theirs:?}"
    );
    assert!(ours.ends_with(&theirs), "{ours:?} {theirs:?}");
}

/// What the client of others shows of a session, of the same size, once it has typed the same line.
fn of_others(node: &Path, session: &Value) -> String {
    let mut client = Command::new("node")
        .arg(node.join("session.js"))
        .args(["100", "30", "ready", "hello there"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Node.js can be started");
    let mut input = client.stdin.take().expect("it is piped");
    write!(input, "{session}").expect("it reads");
    drop(input);
    let output = client.wait_with_output().expect("it ends");
    assert!(output.status.success(), "it says why");
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    told["shown"].as_str().expect("text").to_owned()
}

/// A project of which a task takes commands.
fn that_takes_commands(prepared: &Prepared) -> Project {
    let sandbox = Sandbox::start_with(prepared, &["--speed", SPEED]);
    let mut project = Project::new(prepared, Arc::new(sandbox));
    project.change(|manifest| {
        manifest.image = prepared.image("1.0.0-shell");
        manifest.migrates = false;
        manifest.replicas = "1".to_owned();
        manifest.gcp = None;
        let exec = "\n[targets.aws.services.idp]\nenable_execute_command = true\n";
        manifest.aws = Some(exec.to_owned());
    });
    let apply = ["apply", "--yes", "--no-verify"];
    project.deployer.run(&apply).exits(exit::SUCCESS);
    project
}

/// Keys go there as they are typed, Ctrl-C too; the window has one size here and there; the
/// terminal is as before at the end.
fn a_shell_is_at_the_persons_terminal(project: &Project) {
    let line = "\"$DEPLOYER\" exec idp; c=$?; echo \"after: $(stty -a)\"; exit $c";
    let terminal = Terminal::start(&project.deployer, line, (100, 30));
    terminal.until_it_shows("its end, or `exit`, ends this");
    // What is echoed is not what is printed.
    terminal.types("test -t 0 && test -t 1 && echo it-is-$((40 + 2))\n");
    terminal.until_it_shows("it-is-42");
    terminal.types("echo size: $(stty size)\n");
    terminal.until_it_shows("size: 30 100");
    terminal.resize((120, 40));
    terminal.types(
        "while [ \"$(stty size)\" != '40 120' ]; do sleep 0.1; done; echo now: $(stty size)\n",
    );
    terminal.until_it_shows("now: 40 120");
    terminal.types("echo begin-$((1 + 1)); sleep 1000\n");
    terminal.until_it_shows("begin-2");
    terminal.types("\u{3}");
    terminal.types("echo it-ended-with-$?\n");
    terminal.until_it_shows("it-ended-with-130");
    terminal.types("exit 7\n");
    let (code, shown) = terminal.finish();
    assert_eq!(code, 7, "{shown}");
    let (during, after) = shown.split_once("after: ").expect("the shell went on");
    let modes: Vec<&str> = after.split_whitespace().collect();
    for mode in ["icanon", "echo", "isig"] {
        assert!(modes.contains(&mode), "{mode}: {after}");
    }
    // The word by which the code is told is shown to nobody.
    assert!(!during.contains("deployer-"), "{during}");
}

fn a_command_ends_with_its_own_code(project: &Project) {
    // The size follows the start: the protocol has no other way.
    let awaits = "until test \"$(stty size)\" = \"22 77\"; do sleep 0.1; done";
    let line = format!("exec \"$DEPLOYER\" exec idp -- sh -c '{awaits}; echo so; exit 3'");
    let terminal = Terminal::start(&project.deployer, &line, (77, 22));
    let (code, shown) = terminal.finish();
    assert_eq!(code, 3, "{shown}");
    assert!(shown.contains("so\r\n"), "{shown}");
}

/// As some jobs and serial lines have them: 0 columns, 0 rows.
fn a_terminal_without_a_size_is_one_too(project: &Project) {
    let line = "\"$DEPLOYER\" status && exec \"$DEPLOYER\" exec idp -- sh -c 'echo fine; exit 4'";
    let terminal = Terminal::start(&project.deployer, line, (0, 0));
    let (code, shown) = terminal.finish();
    assert_eq!(code, 4, "{shown}");
    assert!(shown.contains("fine\r\n"), "{shown}");
}

fn without_a_terminal_the_output_is_the_commands_and_nothing_else(project: &Project) {
    let words = [
        "exec",
        "idp",
        "--",
        "sh",
        "-c",
        "echo out; echo more; exit 5",
    ];
    let done = project.deployer.run(&words).exits(5);
    assert_eq!(done.stdout, "out\nmore\n", "{done}");
}
