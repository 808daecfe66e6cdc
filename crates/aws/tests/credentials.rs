//! Why there are no credentials is said in a sentence, cause by cause: each in a process of its
//! own, whose environment it is.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that panics is a test that fails"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use deployer_aws::{Credentials, ProvideCredentials};
use deployer_core::error::Error;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Set in a process that looks for credentials and says what it found.
const LOOKS: &str = "DEPLOYER_CREDENTIALS_LOOKS";

const CONFIG: &str = "\
[profile sso]
sso_session = corp
sso_account_id = 123456789012
sso_role_name = Deployer
region = eu-west-1

[sso-session corp]
sso_start_url = https://corp.example.com/start
sso_region = eu-west-1
sso_registration_scopes = sso:account:access

[profile base]
region = us-east-1

[profile chained]
role_arn = arn:aws:iam::123456789012:role/deploy
source_profile = base
region = us-east-1

[profile mfa]
role_arn = arn:aws:iam::123456789012:role/deploy
source_profile = base
mfa_serial = arn:aws:iam::123456789012:mfa/someone
region = us-east-1

[profile on-sso]
role_arn = arn:aws:iam::123456789012:role/deploy
source_profile = sso
region = us-east-1

[profile process]
credential_process = /bin/sh -c \"echo '{\\\"Version\\\":1,\\\"AccessKeyId\\\":\\\"AKIDEXAMPLE\\\",\\\"SecretAccessKey\\\":\\\"x\\\"}'\"

[profile broken-process]
credential_process = /bin/false
";

const KEYS: &str =
    "[base]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = an-example-no-key\n";

/// As STS refuses (<https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html>).
const DENIED: &str = "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
    <Code>AccessDenied</Code><Message>User: arn:aws:iam::123456789012:user/ci is not authorized to perform: \
    sts:AssumeRole on resource: arn:aws:iam::123456789012:role/deploy</Message></Error>\
    <RequestId>0</RequestId></ErrorResponse>";
const INVALID_TOKEN: &str = "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
    <Code>InvalidIdentityToken</Code><Message>Incorrect token audience</Message></Error>\
    <RequestId>0</RequestId></ErrorResponse>";

type Case = (&'static str, fn(&Path));

const CASES: &[Case] = &[
    (
        "a_profile_that_does_not_exist_is_named_with_those_that_do",
        absent_profile,
    ),
    (
        "a_session_that_has_ended_names_the_command_that_begins_one",
        single_sign_on,
    ),
    (
        "a_role_that_may_not_be_assumed_is_told_in_stss_own_words",
        denied_role,
    ),
    (
        "a_second_factor_is_not_asked_for_and_the_hint_says_how_to_give_it",
        second_factor,
    ),
    (
        "a_web_identity_is_told_from_every_other_cause",
        web_identity,
    ),
    ("a_program_that_gives_no_credentials_is_named", program),
    ("no_credentials_at_all_says_where_was_looked", nothing),
    ("an_unknown_authority_is_named_at_once", unknown_authority),
    ("a_proxy_that_wants_a_login_is_named_at_once", proxy),
];

fn main() -> ExitCode {
    if std::env::var_os(LOOKS).is_some() {
        look();
        return ExitCode::SUCCESS;
    }
    let filters: Vec<String> = std::env::args()
        .skip(1)
        .filter(|it| !it.starts_with('-'))
        .collect();
    let chosen =
        |name: &str| filters.is_empty() || filters.iter().any(|it| name.contains(it.as_str()));
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("config"), CONFIG).expect("a file");
    std::fs::write(folder.path().join("credentials"), KEYS).expect("a file");
    for (name, case) in CASES.iter().filter(|(name, _)| chosen(name)) {
        case(folder.path());
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

/// What the process does that a case starts.
#[tokio::main]
async fn look() {
    match Credentials::new("us-east-1").provide_credentials().await {
        Ok(found) => println!("found {}", found.access_key_id()),
        Err(error) => {
            let ours = Error::found_in(&error).expect("every refusal is ours");
            println!("{ours}\nhint: {}", ours.hint_text().unwrap_or_default());
        }
    }
}

/// What is said with these variables, and nothing else but the files.
fn said(folder: &Path, variables: &[(&str, &str)]) -> String {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new(program)
        .env_clear()
        .env(LOOKS, "1")
        .env("HOME", folder.join("home"))
        .env("AWS_CONFIG_FILE", folder.join("config"))
        .env("AWS_SHARED_CREDENTIALS_FILE", folder.join("credentials"))
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(variables.iter().copied())
        .output()
        .expect("this program can be started");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complaint}");
    assert!(!said.contains("an-example-no-key"), "{said}");
    said
}

fn says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
}

fn absent_profile(folder: &Path) {
    let said = said(folder, &[("AWS_PROFILE", "prod")]);
    says(
        &said,
        &[
            "the AWS profile `prod`",
            "config",
            "hint: the profiles are: base, broken-process, chained",
        ],
    );
}

fn single_sign_on(folder: &Path) {
    for profile in ["sso", "on-sso"] {
        let said = said(folder, &[("AWS_PROFILE", profile)]);
        says(
            &said,
            &[
                "single sign-on session of AWS profile `sso`",
                "hint: run `aws sso login --profile sso`",
            ],
        );
    }
}

fn denied_role(folder: &Path) {
    let sts = Server::answering(403, DENIED);
    let url = format!("http://{}", sts.address);
    let said = said(
        folder,
        &[("AWS_PROFILE", "chained"), ("AWS_ENDPOINT_URL", &url)],
    );
    says(
        &said,
        &[
            "AWS profile `chained` may not assume arn:aws:iam::123456789012:role/deploy",
            "AccessDenied: User: arn:aws:iam::123456789012:user/ci is not authorized to perform: sts:AssumeRole",
            "hint: let the role trust the caller",
        ],
    );
    assert_eq!(sts.connections(), 1);
}

fn second_factor(folder: &Path) {
    let sts = Server::answering(403, DENIED);
    let url = format!("http://{}", sts.address);
    let said = said(
        folder,
        &[("AWS_PROFILE", "mfa"), ("AWS_ENDPOINT_URL", &url)],
    );
    says(
        &said,
        &[
            "AccessDenied",
            "second factor",
            "aws configure export-credentials --profile mfa --format env",
        ],
    );
}

fn web_identity(folder: &Path) {
    let role = ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/ci");
    let absent = folder.join("absent").display().to_string();
    let said_absent = said(folder, &[role, ("AWS_WEB_IDENTITY_TOKEN_FILE", &absent)]);
    says(
        &said_absent,
        &[
            "cannot assume arn:aws:iam::123456789012:role/ci by the web identity in",
            "the file is not there",
        ],
    );
    let token = folder.join("token");
    std::fs::write(&token, "a.b.c").expect("a file");
    let sts = Server::answering(400, INVALID_TOKEN);
    let (token, url) = (
        token.display().to_string(),
        format!("http://{}", sts.address),
    );
    let refused = said(
        folder,
        &[
            role,
            ("AWS_WEB_IDENTITY_TOKEN_FILE", &token),
            ("AWS_ENDPOINT_URL", &url),
        ],
    );
    says(
        &refused,
        &[
            "by the web identity in",
            "InvalidIdentityToken: Incorrect token audience",
            "audience and subject",
        ],
    );
}

fn program(folder: &Path) {
    assert_eq!(
        said(folder, &[("AWS_PROFILE", "process")]),
        "found AKIDEXAMPLE\n"
    );
    let said = said(folder, &[("AWS_PROFILE", "broken-process")]);
    says(
        &said,
        &[
            "`credential_process` of AWS profile `broken-process`",
            "run it to see why: /bin/false",
        ],
    );
}

fn nothing(folder: &Path) {
    let said = said(folder, &[]);
    says(
        &said,
        &[
            "there are no AWS credentials",
            "AWS_ACCESS_KEY_ID",
            "profile `default`",
            "set AWS_PROFILE to one of: base",
        ],
    );
}

fn unknown_authority(folder: &Path) {
    let pair = rcgen::KeyPair::generate().unwrap();
    let names = ["localhost".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap();
    let certificate = certificate.self_signed(&pair).unwrap();
    let authority = folder.join("authority.pem");
    std::fs::write(&authority, certificate.pem()).unwrap();
    let key = PrivateKeyDer::try_from(pair.serialize_der()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let front = Server::start(move |stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        // A client that does not trust this hangs up.
        answer(StreamOwned::new(connection, stream), 403, DENIED);
    });
    let url = format!("https://localhost:{}", front.address.port());
    let chained = [
        ("AWS_PROFILE", "chained"),
        ("AWS_ENDPOINT_URL", url.as_str()),
    ];
    let strange = said(folder, &chained);
    says(
        &strange,
        &[
            "the certificate of localhost is signed by an authority that this machine does not know",
            "AWS_CA_BUNDLE",
        ],
    );
    assert_eq!(front.connections(), 1);
    let authority = authority.display().to_string();
    let known = said(
        folder,
        &[chained[0], chained[1], ("SSL_CERT_FILE", &authority)],
    );
    says(
        &known,
        &["AccessDenied: User: arn:aws:iam::123456789012:user/ci"],
    );
}

fn proxy(folder: &Path) {
    let proxy = Server::answering(407, "");
    let url = format!("http://{}", proxy.address);
    let said = said(folder, &[("AWS_PROFILE", "chained"), ("HTTPS_PROXY", &url)]);
    says(
        &said,
        &[
            "the proxy on the way to sts.us-east-1.amazonaws.com wants a login (407)",
            "HTTPS_PROXY=",
        ],
    );
    assert_eq!(proxy.connections(), 1);
}

/// Serves on loopback until the tests end, and counts who comes.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn start(serve: impl Fn(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                counted.fetch_add(1, Ordering::SeqCst);
                serve(stream.expect("a connection"));
            }
        });
        Self {
            address,
            connections,
        }
    }

    /// The same answer to everything.
    fn answering(status: u16, body: &'static str) -> Self {
        Self::start(move |stream| answer(stream, status, body))
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn answer(mut stream: impl Read + Write, status: u16, body: &str) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1..) => head.push(byte[0]),
            Ok(0) | Err(_) => return,
        }
    }
    // What is not read would break the connection off before the answer arrives.
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.trim().parse().unwrap());
    stream.read_exact(&mut vec![0; length]).unwrap();
    let answer = format!(
        "HTTP/1.1 {status} Said\r\ncontent-type: text/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    // Nobody may be there any more.
    let _ = stream
        .write_all(answer.as_bytes())
        .and_then(|()| stream.flush());
}
