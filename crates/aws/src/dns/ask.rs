//! Asks name servers what they answer: the proof that a name works.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use deployer_core::wait::Readiness;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};

use super::content::Type;

/// How long one server may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What one server answered: its addresses for the name, or why there is no answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    server: String,
    told: Result<Vec<IpAddr>, Silence>,
}

/// Why there are no addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Silence {
    /// It answered, and has none.
    Nothing,
    /// It did not answer.
    Unreachable(String),
}

/// Asks every server (`HOST` or `HOST:PORT`) at once.
pub(super) async fn ask(servers: &[String], name: &str, kind: Type) -> Vec<Answer> {
    let asked: FuturesOrdered<_> = servers
        .iter()
        .map(|server| async move {
            let told = tokio::time::timeout(PATIENCE * 2, ask_one(server, name, kind)).await;
            let late = || Err(Silence::Unreachable("it did not answer in time".into()));
            Answer {
                server: server.clone(),
                told: told.unwrap_or_else(|_| late()),
            }
        })
        .collect();
    asked.collect().await
}

async fn ask_one(server: &str, name: &str, kind: Type) -> Result<Vec<IpAddr>, Silence> {
    let unreachable = |error: &dyn std::fmt::Display| Silence::Unreachable(error.to_string());
    let address = resolve(server).await?;
    let resolver = resolver(address).map_err(|error| unreachable(&error))?;
    let record_type = match kind {
        Type::A => RecordType::A,
        Type::Aaaa => RecordType::AAAA,
    };
    let answer = resolver.lookup(format!("{name}."), record_type).await;
    match answer {
        Ok(answer) => Ok(answer
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::A(address) => Some(IpAddr::V4(address.0)),
                RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                _ => None,
            })
            .collect()),
        Err(error) if error.is_no_records_found() => Err(Silence::Nothing),
        Err(error) => Err(unreachable(&error)),
    }
}

async fn resolve(server: &str) -> Result<SocketAddr, Silence> {
    let with_port = match server.parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, 53).to_string(),
        Err(_) if server.contains(':') => server.to_owned(),
        Err(_) => format!("{}:53", server.trim_end_matches('.')),
    };
    let found = tokio::net::lookup_host(with_port).await;
    let mut found = found.map_err(|error| Silence::Unreachable(error.to_string()))?;
    let nowhere = || Silence::Unreachable("it has no address".into());
    found.next().ok_or_else(nowhere)
}

/// A resolver that asks this one server for what it knows itself, and keeps nothing.
fn resolver(server: SocketAddr) -> Result<TokioResolver, hickory_resolver::net::NetError> {
    let mut udp = ConnectionConfig::udp();
    udp.port = server.port();
    let mut tcp = ConnectionConfig::tcp();
    tcp.port = server.port();
    let server = NameServerConfig::new(server.ip(), true, vec![udp, tcp]);
    let config = ResolverConfig::from_name_servers(vec![server]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.timeout = PATIENCE;
    options.attempts = 0;
    options.cache_size = 0;
    options.recursion_desired = false;
    options.use_hosts_file = ResolveHosts::Never;
    builder.build()
}

/// Ready when every server that answers tells `wanted`, or any address where it cannot be known (an
/// alias), and one at least answers.
pub(super) fn judge(answers: &[Answer], wanted: Option<IpAddr>) -> Readiness {
    let agrees = |told: &[IpAddr]| match wanted {
        Some(address) => told.contains(&address),
        None => !told.is_empty(),
    };
    let mut any_agrees = false;
    let mut unreachable = None;
    for Answer { server, told } in answers {
        match told {
            Ok(told) if agrees(told) => any_agrees = true,
            Ok(told) => {
                let told: Vec<String> = told.iter().map(ToString::to_string).collect();
                let told = told.join(", ");
                return Readiness::Pending(format!("`{server}` still answers `{told}`"));
            }
            Err(Silence::Nothing) => {
                return Readiness::Pending(format!("`{server}` does not know it yet"));
            }
            Err(Silence::Unreachable(why)) => {
                unreachable = Some(format!("`{server}` cannot be asked: {why}"));
            }
        }
    }
    if any_agrees {
        return Readiness::Ready;
    }
    let none = || "the zone has no servers to ask".to_owned();
    Readiness::Pending(unreachable.unwrap_or_else(none))
}

/// Ready unless a server says otherwise: another address, or, where nobody told that all servers
/// know, none. One that cannot be asked proves nothing.
pub(super) fn contradicted(
    answers: &[Answer],
    wanted: Option<IpAddr>,
    is_known: bool,
) -> Readiness {
    for Answer { server, told } in answers {
        match told {
            Ok(told) if wanted.is_some_and(|address| !told.contains(&address)) => {
                let told: Vec<String> = told.iter().map(ToString::to_string).collect();
                let told = told.join(", ");
                return Readiness::Pending(format!("`{server}` still answers `{told}`"));
            }
            Err(Silence::Nothing) if !is_known => {
                return Readiness::Pending(format!("`{server}` does not know it yet"));
            }
            Ok(_) | Err(Silence::Nothing | Silence::Unreachable(_)) => {}
        }
    }
    Readiness::Ready
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(server: &str, told: Result<Vec<IpAddr>, Silence>) -> Answer {
        Answer {
            server: server.into(),
            told,
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn every_server_that_answers_must_agree() {
        let new = || answer("ns1", Ok(vec![ip("192.0.2.2")]));
        let old = answer("ns2", Ok(vec![ip("192.0.2.1")]));
        let silent = answer("ns3", Err(Silence::Unreachable("refused".into())));
        let wanted = Some(ip("192.0.2.2"));
        assert_eq!(judge(&[new(), silent.clone()], wanted), Readiness::Ready);
        assert_eq!(
            judge(&[new(), old], wanted),
            Readiness::Pending("`ns2` still answers `192.0.2.1`".into())
        );
        assert!(matches!(judge(&[silent], wanted), Readiness::Pending(_)));
        assert!(matches!(judge(&[], wanted), Readiness::Pending(_)));
    }

    #[test]
    fn an_alias_has_arrived_when_there_is_an_address() {
        let some = answer("ns1", Ok(vec![ip("192.0.2.9")]));
        let none = answer("ns2", Err(Silence::Nothing));
        assert_eq!(judge(std::slice::from_ref(&some), None), Readiness::Ready);
        assert_eq!(
            judge(&[some, none], None),
            Readiness::Pending("`ns2` does not know it yet".into())
        );
    }

    #[test]
    fn only_an_answer_to_the_contrary_counts_where_route_53_says_that_all_know() {
        let wanted = Some(ip("192.0.2.2"));
        let silent = answer("ns1", Err(Silence::Unreachable("refused".into())));
        let nothing = answer("ns2", Err(Silence::Nothing));
        let old = answer("ns3", Ok(vec![ip("192.0.2.1")]));
        let ready = |answers: &[Answer], is_known| {
            contradicted(answers, wanted, is_known) == Readiness::Ready
        };
        assert!(ready(&[], true));
        assert!(ready(std::slice::from_ref(&silent), true));
        assert!(ready(std::slice::from_ref(&silent), false));
        // A resolver in between keeps for a while that there was nothing.
        assert!(ready(std::slice::from_ref(&nothing), true));
        assert!(!ready(&[silent, nothing], false));
        assert!(!ready(&[old], true));
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_said_to_be_unreachable() {
        // Bound and never answered.
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = socket.local_addr().unwrap().to_string();
        let answers = ask(std::slice::from_ref(&server), "idp.example.com", Type::A).await;
        let Readiness::Pending(why) = judge(&answers, None) else {
            panic!("a silent server is no proof");
        };
        assert!(why.contains(&server), "{why}");
    }

    /// A name server that answers one question with 192.0.2.7.
    async fn answer_once(socket: tokio::net::UdpSocket) {
        let mut buffer = [0; 512];
        let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
        let question = &buffer[..length];
        let mut end = 12;
        while question[end] != 0 {
            end += usize::from(question[end]) + 1;
        }
        // The question again, its name, type A, class IN, 300 s, 4 bytes.
        let mut answer = question[..end + 5].to_vec();
        answer[2..4].copy_from_slice(&[0x84, 0]);
        answer[4..12].copy_from_slice(&[0, 1, 0, 1, 0, 0, 0, 0]);
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 0x2c, 0, 4, 192, 0, 2, 7]);
        socket.send_to(&answer, client).await.unwrap();
    }

    #[tokio::test]
    async fn a_servers_answer_is_what_counts() {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = socket.local_addr().unwrap().to_string();
        let serving = tokio::spawn(answer_once(socket));
        let answers = ask(std::slice::from_ref(&server), "idp.example.com", Type::A).await;
        serving.await.unwrap();
        assert_eq!(judge(&answers, Some(ip("192.0.2.7"))), Readiness::Ready);
        assert!(matches!(
            judge(&answers, Some(ip("192.0.2.8"))),
            Readiness::Pending(_)
        ));
    }
}
