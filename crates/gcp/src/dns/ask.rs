//! Asks a zone's own name servers for an address record, past every cache.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::Resolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};

/// A name server near or far answers within this, or it is asked again later.
const PATIENCE: Duration = Duration::from_secs(2);

/// DNS, where a server names no port.
const PORT: u16 = 53;

/// What the servers of a zone say of a name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    /// The first that says something else, and what, for people.
    pub(crate) contrary: Option<String>,
    /// Those that could not be asked, and why, for people: it says nothing of the name.
    pub(crate) unreached: Vec<String>,
}

/// Asks every server whether it answers `name` (fully qualified) with `address`.
pub(crate) async fn ask_all(servers: &[String], name: &str, address: IpAddr) -> Answers {
    let looks = servers.iter().map(|server| async move {
        let found = ask(server, name, address).await;
        found.map_err(|why| format!("name server `{server}`: {why}"))
    });
    let looks = futures::future::join_all(looks).await;
    let mut answers = Answers::default();
    for (server, look) in servers.iter().zip(looks) {
        match look {
            Ok(found) => {
                let contrary = || contrary(server, name, address, &found);
                answers.contrary = answers.contrary.or_else(contrary);
            }
            Err(why) => answers.unreached.push(why),
        }
    }
    answers
}

fn contrary(server: &str, name: &str, wanted: IpAddr, found: &[IpAddr]) -> Option<String> {
    if found == [wanted] {
        return None;
    }
    let found: Vec<String> = found.iter().map(IpAddr::to_string).collect();
    Some(match found.as_slice() {
        [] => format!("name server `{server}` does not know `{name}` yet"),
        found => format!("name server `{server}` still says {}", found.join(", ")),
    })
}

async fn ask(server: &str, name: &str, like: IpAddr) -> Result<Vec<IpAddr>, String> {
    let server = locate(server).await?;
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    let connections = connections.map(|mut connection| {
        connection.port = server.port();
        connection
    });
    let server = NameServerConfig::new(server.ip(), true, connections.to_vec());
    let mut builder = Resolver::builder_with_config(
        ResolverConfig::from_name_servers(vec![server]),
        TokioRuntimeProvider::default(),
    );
    let options = builder.options_mut();
    options.timeout = PATIENCE;
    options.attempts = 1;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.recursion_desired = false;
    let resolver = builder.build().map_err(|error| error.to_string())?;
    let sort = match like {
        IpAddr::V4(_) => RecordType::A,
        IpAddr::V6(_) => RecordType::AAAA,
    };
    match resolver.lookup(name, sort).await {
        Ok(lookup) => Ok(lookup
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::A(address) => Some(IpAddr::V4(address.0)),
                RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                _ => None,
            })
            .collect()),
        Err(error) if error.is_no_records_found() => Ok(Vec::new()),
        Err(error) => Err(error.to_string()),
    }
}

/// The address of a server given as `HOST`, `HOST:PORT` or an address; the machine's own resolver
/// finds the host.
async fn locate(server: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = server.parse::<SocketAddr>() {
        return Ok(address);
    }
    if let Ok(address) = server.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, PORT));
    }
    let (host, port) = match server.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| "no port".to_owned())?),
        None => (server, PORT),
    };
    let mut found = tokio::net::lookup_host((host.trim_end_matches('.'), port))
        .await
        .map_err(|error| error.to_string())?;
    found.next().ok_or_else(|| "it has no address".to_owned())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// Answers one question after another with `answer`, as a name server on loopback does.
    async fn server(answer: Option<Ipv4Addr>) -> String {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let at = socket.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                // RFC 1035, 4.1: the question repeated, marked as an authoritative answer, with at
                // most one record that points back at the question's name.
                let end = 12 + buffer[12..length].iter().position(|b| *b == 0).unwrap() + 5;
                let mut reply = buffer[..end].to_vec();
                reply[2] |= 0x84;
                reply[6..12].fill(0);
                if let Some(address) = answer {
                    reply[7] = 1;
                    reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4]);
                    reply.extend(address.octets());
                } else {
                    reply[3] |= 3;
                }
                socket.send_to(&reply, from).await.unwrap();
            }
        });
        at
    }

    const WANTED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

    async fn check(servers: &[String]) -> Answers {
        ask_all(servers, "idp.example.com.", IpAddr::V4(WANTED)).await
    }

    #[tokio::test]
    async fn a_name_is_there_when_every_server_answers_with_its_address() {
        let right = server(Some(WANTED)).await;
        assert_eq!(
            check(std::slice::from_ref(&right)).await,
            Answers::default()
        );

        let old = server(Some(Ipv4Addr::new(198, 51, 100, 1))).await;
        let why = check(&[right.clone(), old]).await.contrary.unwrap();
        assert!(why.contains("still says 198.51.100.1"), "{why}");

        let ignorant = server(None).await;
        let why = check(&[right, ignorant]).await.contrary.unwrap();
        assert!(
            why.contains("does not know `idp.example.com.` yet"),
            "{why}"
        );
    }

    #[tokio::test]
    async fn a_server_that_cannot_be_asked_says_nothing_and_another_ones_word_counts() {
        // Nobody listens there: the machine refuses the question at once.
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let nobody = socket.local_addr().unwrap().to_string();
        drop(socket);
        let right = server(Some(WANTED)).await;
        let answers = check(&[nobody.clone(), right]).await;
        assert_eq!(answers.contrary, None);
        assert!(answers.unreached[0].contains(&nobody), "{answers:?}");

        let old = server(Some(Ipv4Addr::new(198, 51, 100, 1))).await;
        let answers = check(&[nobody, old]).await;
        assert!(answers.contrary.unwrap().contains("still says"));
    }
}
