//! A name server: answers for a cloud's public zones on loopback, over UDP and TCP, like an
//! authoritative server.

use std::io;
use std::net::SocketAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

/// The largest answer over UDP to a client that names no size.
const PLAIN_SIZE: u16 = 512;
/// The largest that is ever sent over UDP.
const LARGEST: u16 = 1232;
/// Aliases followed within a zone.
const LONGEST_CHAIN: usize = 8;

/// Whose zones are answered for. Cheap to clone.
pub(crate) trait Authority: Clone + Send + Sync + 'static {
    /// The zone that a name is in, as it is answered at the moment; the longest, when it is in
    /// several. Names are in lower case and have their final dot. `None` for a name of others.
    fn zone(&self, name: &str) -> Option<Served>;
}

/// A zone as it is answered.
pub(crate) struct Served {
    /// Its name, in lower case and with its final dot.
    pub(crate) domain: String,
    /// What is in it.
    pub(crate) sets: Vec<Set>,
}

/// One resource record set as it is answered.
pub(crate) struct Set {
    /// In lower case and with its final dot.
    pub(crate) name: String,
    /// Its type.
    pub(crate) kind: RecordType,
    /// In seconds.
    pub(crate) ttl: u32,
    /// Its values.
    pub(crate) data: Vec<RData>,
}

/// A running name server; it ends when dropped.
pub(crate) struct Responder {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Responder {
    /// Listens on a free port of 127.0.0.1, the same for both transports.
    /// Must be called within the runtime that will answer.
    pub(crate) fn start(zones: impl Authority) -> io::Result<Self> {
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

    pub(crate) fn address(&self) -> SocketAddr {
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

async fn serve_udp(socket: UdpSocket, zones: impl Authority) {
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

async fn serve_tcp(listener: TcpListener, zones: impl Authority) {
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

async fn converse(mut client: TcpStream, zones: &impl Authority) -> io::Result<()> {
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
fn answer(zones: &impl Authority, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
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
fn resolve(
    zones: &impl Authority,
    name: &str,
    kind: RecordType,
    response: &mut Message,
) -> ResponseCode {
    let Some(zone) = zones.zone(name) else {
        return ResponseCode::Refused;
    };
    response.metadata.authoritative = true;
    let mut owner = name.to_owned();
    let mut code = ResponseCode::NoError;
    for _ in 0..LONGEST_CHAIN {
        let found = lookup(&zone, &owner);
        let Found::Sets(sets) = found else {
            // An alias that leads out of the zone is for the client to follow.
            if response.answers.is_empty() || owner.ends_with(&format!(".{}", zone.domain)) {
                code = ResponseCode::NXDomain;
            }
            break;
        };
        let wanted = |set: &&&Set| kind == RecordType::ANY || set.kind == kind;
        let matching: Vec<_> = sets.iter().filter(wanted).collect();
        if !matching.is_empty() {
            matching.iter().for_each(|set| write(&owner, set, response));
            return ResponseCode::NoError;
        }
        let Some(alias) = sets.iter().find(|set| set.kind == RecordType::CNAME) else {
            break;
        };
        write(&owner, alias, response);
        owner = match alias.data.first() {
            Some(RData::CNAME(target)) => target.0.to_ascii().to_ascii_lowercase(),
            _ => String::new(),
        };
    }
    if response.answers.is_empty() || code == ResponseCode::NXDomain {
        let is_soa = |set: &&Set| set.kind == RecordType::SOA && set.name == zone.domain;
        if let Some(soa) = zone.sets.iter().find(is_soa) {
            response.add_authorities(wire_records(&zone.domain, soa));
        }
    }
    code
}

/// What a zone has at a name.
enum Found<'a> {
    /// Perhaps none, when only longer names are there.
    Sets(Vec<&'a Set>),
    Nothing,
}

fn lookup<'a>(zone: &'a Served, name: &str) -> Found<'a> {
    let at =
        |name: &str| -> Vec<&'a Set> { zone.sets.iter().filter(|it| it.name == name).collect() };
    let exact = at(name);
    let below = format!(".{name}");
    if !exact.is_empty() || zone.sets.iter().any(|it| it.name.ends_with(&below)) {
        return Found::Sets(exact);
    }
    // The closest wildcard stands in for names that are not there.
    let mut rest = name;
    while let Some((_, parent)) = rest.split_once('.') {
        if parent.len() < zone.domain.len() {
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

fn write(owner: &str, set: &Set, response: &mut Message) {
    response.add_answers(wire_records(owner, set));
}

fn wire_records(owner: &str, set: &Set) -> Vec<hickory_proto::rr::Record> {
    let Ok(owner) = Name::from_ascii(owner) else {
        return Vec::new();
    };
    let record = |data| hickory_proto::rr::Record::from_rdata(owner.clone(), set.ttl, data);
    set.data.iter().cloned().map(record).collect()
}
