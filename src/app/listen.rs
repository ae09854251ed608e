//! Listening sockets.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};
use tracing::debug;

use super::StartError;
use crate::config::ListenSocket;

/// Connections that the kernel holds until they are accepted. 20,000 dashboards that lost their server come back at
/// once; the kernel lowers it to its own limit.
const BACKLOG: i32 = 4096;

/// Binds all of `sockets`, which `flag` asks for. An optional one (the IPv6 half of `localhost`) that the machine lacks
/// is left out; where the first half of a pair was given a free port, the second takes the same.
pub(super) fn bind(
    sockets: &[ListenSocket],
    flag: &'static str,
) -> Result<Vec<(SocketAddr, TcpListener)>, StartError> {
    let mut bound: Vec<(SocketAddr, TcpListener)> = Vec::new();
    for socket in sockets {
        let mut address = socket.address;
        if let (true, 0, Some((other, _))) = (socket.optional, address.port(), bound.last()) {
            address.set_port(other.port());
        }
        match bind_one(address) {
            Ok(listener) => bound.push((listener.local_addr()?, listener)),
            Err(error) if socket.optional && is_lacking(&error) => debug!(%address, %error, "left out"),
            Err(error) => return Err(StartError::Bind { address, error, flag }),
        }
    }
    Ok(bound)
}

fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Whether the machine has no such address, or no such kind of address, at all. One that is in use is another matter:
/// browsers that prefer it would reach another program.
fn is_lacking(error: &io::Error) -> bool {
    /// `EAFNOSUPPORT`, which has no kind of its own.
    const NO_SUCH_FAMILY: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(NO_SUCH_FAMILY)
}
