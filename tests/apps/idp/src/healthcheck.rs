//! Asks the server in this container whether it is healthy: an image without a shell has no `curl`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Shorter than the least time-out that ECS takes, 2 seconds.
const LIMIT: Duration = Duration::from_millis(1500);

/// What an answer that counts as healthy begins with, after the version.
const HEALTHY: &[u8] = b" 200 ";

/// The exit code: 0 when `GET /health` on port `PORT` (3000 unless set) answers 200 in time, else
/// 1.
pub fn run(environment: &dyn Fn(&str) -> Option<String>) -> u8 {
    let port = environment("PORT").map_or(Some(3000), |port| port.parse().ok());
    match port.map(ask) {
        Some(Ok(true)) => 0,
        Some(Ok(false) | Err(_)) | None => 1,
    }
}

fn ask(port: u16) -> std::io::Result<bool> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut server = TcpStream::connect_timeout(&address, LIMIT)?;
    server.set_read_timeout(Some(LIMIT))?;
    server.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut start = [0; b"HTTP/1.1 200 ".len()];
    server.read_exact(&mut start)?;
    Ok(start.ends_with(HEALTHY))
}
