//! Listening sockets. Accepting never waits for a peer: all that a connection needs happens in its own task.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::BytesMut;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

use super::connection::serve;
use super::door::Door;
use crate::config::{Config, Keepalive};

/// How long accepting pauses when the system has no descriptor or memory left.
const PAUSE: Duration = Duration::from_millis(100);

/// A listening socket on one address. IPv6 sockets take IPv6 only, so that both families can be listed.
pub fn bind(address: SocketAddr, backlog: u32) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Accepts connections for as long as it is polled.
pub async fn accept(listener: TcpListener, config: Config, max_connections: usize, door: Door) {
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // A peer that left again is no reason to pause; that the system has nothing left is.
                if !is_the_peers_doing(&error) {
                    tracing::warn!("cannot accept connections for now: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
                continue;
            }
        };
        if door.connections() >= max_connections {
            // Closed at once: a client learns now, rather than by waiting, that it must go elsewhere.
            tracing::warn!(%address, max_connections, "refused: too many connections");
            continue;
        }
        if let Err(error) = set_options(&stream, config.keepalive) {
            tracing::debug!(%address, "socket options: {error}");
        }
        // IPv4 addresses that arrive on an IPv6 socket are shown as what they are.
        let address = address.ip().to_canonical();
        match door.rules() {
            Some(rules) => drop(tokio::spawn(serve(stream, BytesMut::new(), address, rules))),
            None => drop(tokio::spawn(wait(stream, address, door.clone()))),
        }
    }
}

/// The task that waits is another than the one that serves: what waiting takes is not kept for as long as a connection
/// lives.
async fn wait(mut stream: TcpStream, address: IpAddr, door: Door) {
    if let Some((rules, input)) = door.enter(&mut stream).await {
        tokio::spawn(serve(stream, input, address, rules));
    }
}

fn is_the_peers_doing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | WouldBlock)
}

fn set_options(stream: &TcpStream, keepalive: Keepalive) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_keepalive(true)?;
    let mut options = TcpKeepalive::new();
    if let Some(idle) = keepalive.idle {
        options = options.with_time(idle);
    }
    if let Some(interval) = keepalive.interval {
        options = options.with_interval(interval);
    }
    if let Some(count) = keepalive.count {
        options = options.with_retries(count);
    }
    socket.set_tcp_keepalive(&options)
}
