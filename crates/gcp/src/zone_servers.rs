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

/// Looks whether every server answers `name` (fully qualified) with `address`.
///
/// `Ok` when they do; otherwise which one does not, and what it said, for people.
pub(crate) async fn all_answer(
    servers: &[String],
    name: &str,
    address: IpAddr,
) -> Result<(), String> {
    if servers.is_empty() {
        return Err("the zone names no servers".to_owned());
    }
    let looks = servers.iter().map(|server| answers(server, name, address));
    let looks = futures::future::join_all(looks).await;
    looks.into_iter().collect()
}

async fn answers(server: &str, name: &str, address: IpAddr) -> Result<(), String> {
    let found = ask(server, name, address)
        .await
        .map_err(|why| format!("name server `{server}`: {why}"))?;
    if found == [address] {
        return Ok(());
    }
    let found: Vec<String> = found.iter().map(IpAddr::to_string).collect();
    Err(match found.as_slice() {
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

/// The address of a server given as `HOST`, `HOST:PORT` or an address; the machine's own resolver finds the host.
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
                // RFC 1035, 4.1: the question repeated, marked as an authoritative answer, with at most one record that
                // points back at the question's name.
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

    async fn check(servers: &[String]) -> Result<(), String> {
        all_answer(servers, "idp.example.com.", IpAddr::V4(WANTED)).await
    }

    #[tokio::test]
    async fn a_name_is_there_when_every_server_answers_with_its_address() {
        let right = server(Some(WANTED)).await;
        check(std::slice::from_ref(&right)).await.unwrap();

        let old = server(Some(Ipv4Addr::new(198, 51, 100, 1))).await;
        let why = check(&[right.clone(), old]).await.unwrap_err();
        assert!(why.contains("still says 198.51.100.1"), "{why}");

        let ignorant = server(None).await;
        let why = check(&[right, ignorant]).await.unwrap_err();
        assert!(
            why.contains("does not know `idp.example.com.` yet"),
            "{why}"
        );
    }

    #[tokio::test]
    async fn a_zone_without_servers_never_answers() {
        assert!(check(&[]).await.unwrap_err().contains("no servers"));
    }
}
