//! The name server: answers for the public zones on loopback, over UDP and TCP, like an
//! authoritative server.

use std::io;
use std::net::SocketAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use super::records::{Record, record_type};
use super::{Key, Zone, Zones};

/// The largest answer over UDP to a client that names no size.
const PLAIN_SIZE: u16 = 512;
/// The largest that is ever sent over UDP.
const LARGEST: u16 = 1232;
/// Aliases followed within a zone.
const LONGEST_CHAIN: usize = 8;

/// A running name server; it ends when dropped.
pub(super) struct Responder {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Responder {
    /// Listens on a free port of 127.0.0.1, the same for both transports.
    pub(super) fn start(zones: Zones) -> io::Result<Self> {
        let (udp, tcp) = listen()?;
        let address = udp.local_addr()?;
        let (udp, tcp) = (UdpSocket::from_std(udp)?, TcpListener::from_std(tcp)?);
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(udp, zones.clone()));
        tasks.spawn(serve_tcp(tcp, zones));
        Ok(Self {
            address,
            _tasks: tasks,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

fn listen() -> io::Result<(std::net::UdpSocket, std::net::TcpListener)> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..16 {
        let udp = std::net::UdpSocket::bind(("127.0.0.1", 0))?;
        // The port that is free for one transport may be taken for the other.
        match std::net::TcpListener::bind(udp.local_addr()?) {
            Ok(tcp) => {
                udp.set_nonblocking(true)?;
                tcp.set_nonblocking(true)?;
                return Ok((udp, tcp));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn serve_udp(socket: UdpSocket, zones: Zones) {
    let mut buffer = vec![0; 4096];
    loop {
        // An error is about an answer that nobody waited for.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        if let Some(answer) = answer(&zones, &buffer[..length], Transport::Udp) {
            let _ = socket.send_to(&answer, client).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, zones: Zones) {
    let mut clients = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else {
            // Out of descriptors: others may be closed meanwhile.
            tokio::task::yield_now().await;
            continue;
        };
        while clients.try_join_next().is_some() {}
        let zones = zones.clone();
        clients.spawn(async move {
            // A client may hang up at any time.
            let _ = converse(client, &zones).await;
        });
    }
}

async fn converse(mut client: TcpStream, zones: &Zones) -> io::Result<()> {
    loop {
        let length = client.read_u16().await?;
        let mut query = vec![0; usize::from(length)];
        client.read_exact(&mut query).await?;
        let Some(answer) = answer(zones, &query, Transport::Tcp) else {
            return Ok(());
        };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        client.write_u16(length).await?;
        client.write_all(&answer).await?;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

/// The answer to a query, for the wire. `None` for what is no query.
fn answer(zones: &Zones, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).ok()?;
    if query.metadata.message_type != MessageType::Query {
        return None;
    }
    let mut response = Message::response(query.metadata.id, query.metadata.op_code);
    response.metadata.recursion_desired = query.metadata.recursion_desired;
    response.add_queries(query.queries.iter().cloned());
    let code = match &query.queries[..] {
        _ if query.metadata.op_code != OpCode::Query => ResponseCode::NotImp,
        [question] => {
            let name = question.name().to_ascii().to_ascii_lowercase();
            resolve(zones, &name, question.query_type(), &mut response)
        }
        _ => ResponseCode::FormErr,
    };
    response.metadata.response_code = code;
    let mut size = PLAIN_SIZE;
    if let Some(asked) = &query.edns {
        size = asked.max_payload().clamp(PLAIN_SIZE, LARGEST);
        let mut edns = Edns::new();
        edns.set_max_payload(LARGEST);
        response.set_edns(edns);
    }
    let bytes = response.to_vec().ok()?;
    if transport == Transport::Tcp || bytes.len() <= usize::from(size) {
        return Some(bytes);
    }
    // The client asks again over TCP.
    response.truncate().to_vec().ok()
}

/// Finds what a zone answers, and writes it into `response`.
fn resolve(zones: &Zones, name: &str, kind: RecordType, response: &mut Message) -> ResponseCode {
    let zones = zones.lock();
    let within =
        |zone: &&Zone| name == zone.dns_name || name.ends_with(&format!(".{}", zone.dns_name));
    let Some(zone) = zones
        .values()
        .filter(within)
        .max_by_key(|it| it.dns_name.len())
    else {
        return ResponseCode::Refused;
    };
    response.metadata.authoritative = true;
    let mut owner = name.to_owned();
    let mut code = ResponseCode::NoError;
    for _ in 0..LONGEST_CHAIN {
        let found = lookup(zone, &owner);
        let Found::Sets(sets) = found else {
            // An alias that leads out of the zone is for the client to follow.
            if response.answers.is_empty() || owner.ends_with(&format!(".{}", zone.dns_name)) {
                code = ResponseCode::NXDomain;
            }
            break;
        };
        let wanted =
            |set: &&&Record| kind == RecordType::ANY || record_type(&set.key.1) == Some(kind);
        let matching: Vec<_> = sets.iter().filter(wanted).collect();
        if !matching.is_empty() {
            matching.iter().for_each(|set| write(&owner, set, response));
            return ResponseCode::NoError;
        }
        let Some(alias) = sets.iter().find(|set| set.key.1 == "CNAME") else {
            break;
        };
        write(&owner, alias, response);
        owner = alias
            .data
            .first()
            .cloned()
            .unwrap_or_default()
            .to_ascii_lowercase();
    }
    if response.answers.is_empty() || code == ResponseCode::NXDomain {
        let soa: Key = (zone.dns_name.clone(), "SOA".into());
        if let Some(soa) = zone.served.get(&soa) {
            let records = wire_records(&zone.dns_name, soa);
            response.add_authorities(records);
        }
    }
    code
}

/// What a zone has at a name.
enum Found<'a> {
    /// Perhaps none, when only longer names are there.
    Sets(Vec<&'a Record>),
    Nothing,
}

fn lookup<'a>(zone: &'a Zone, name: &str) -> Found<'a> {
    let at = |name: &str| -> Vec<&'a Record> {
        zone.served.all().filter(|it| it.key.0 == name).collect()
    };
    let exact = at(name);
    let below = format!(".{name}");
    if !exact.is_empty() || zone.served.all().any(|it| it.key.0.ends_with(&below)) {
        return Found::Sets(exact);
    }
    // The closest wildcard stands in for names that are not there.
    let mut rest = name;
    while let Some((_, parent)) = rest.split_once('.') {
        if parent.len() < zone.dns_name.len() {
            break;
        }
        let wild = at(&format!("*.{parent}"));
        if !wild.is_empty() {
            return Found::Sets(wild);
        }
        rest = parent;
    }
    Found::Nothing
}

fn write(owner: &str, set: &Record, response: &mut Message) {
    let records = wire_records(owner, set);
    response.add_answers(records);
}

fn wire_records(owner: &str, set: &Record) -> Vec<hickory_proto::rr::Record> {
    let Ok(owner) = Name::from_ascii(owner) else {
        return Vec::new();
    };
    let record = |data| hickory_proto::rr::Record::from_rdata(owner.clone(), set.ttl, data);
    set.rdata().map(record).collect()
}
