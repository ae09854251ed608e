//! The connections that a run needs, made before it begins.

use std::net::TcpStream;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use stomp_parser::{Command, Frame};
use tokio::time::timeout;

use super::super::Failure;
use super::super::broker::runtime;
use super::streaming::{self, Streaming};
use crate::client::{Client, Login, Target};

/// Connections that are made at the same time.
const AT_ONCE: usize = 64;

/// How long one connection may take until it stands.
const PATIENCE: Duration = Duration::from_secs(30);

/// Open files that the process needs besides its connections.
const OTHER_FILES: u64 = 64;

/// A connection that stands.
pub(super) struct Standing {
    pub(super) socket: TcpStream,
    /// What was read from it already.
    pub(super) read: BytesMut,
    /// For XHR streaming, how far it is.
    pub(super) streaming: Option<Streaming>,
}

/// Connects once for each of the destinations, in their order, and subscribes to it; for `None` only connects. Who
/// subscribes may do so over XHR streaming.
pub(super) fn connect(
    target: &Target,
    login: &Login,
    destinations: &[Option<&str>],
    streams: bool,
) -> Result<Vec<Standing>, Failure> {
    // Over XHR streaming what goes up takes a connection of its own, for a moment.
    enough_files(destinations.len() as u64 + if streams { AT_ONCE as u64 } else { 0 })?;
    runtime()?.block_on(
        stream::iter(destinations)
            .map(|destination| async move {
                let one = match destination.filter(|_| streams) {
                    Some(destination) => {
                        timeout(PATIENCE, streaming::connect(target, login, destination)).await
                    }
                    None => timeout(PATIENCE, connect_one(target, login, *destination)).await,
                };
                one.unwrap_or_else(|_| Err(Failure::Failed(format!("{target} does not answer in time"))))
            })
            .buffered(AT_ONCE)
            .try_collect(),
    )
}

async fn connect_one(target: &Target, login: &Login, destination: Option<&str>) -> Result<Standing, Failure> {
    let mut client = Client::connect(target, login).await?;
    if let Some(destination) = destination {
        client.send_and_wait(subscribe(destination)).await?;
    }
    let (socket, read) = client.into_parts()?;
    Ok(Standing { socket, read, streaming: None })
}

/// The same id for everybody, as browsers have it.
pub(super) fn subscribe(destination: &str) -> Frame {
    Frame::new(Command::Subscribe).header("id", "sub-0").header("destination", destination)
}

/// Sees that this process may have so many connections.
///
/// # Errors
/// If it may not, with what to do.
pub(super) fn enough_files(connections: u64) -> Result<(), Failure> {
    let raised = rlimit::increase_nofile_limit(u64::MAX);
    let limit =
        raised.map_err(|error| Failure::Failed(format!("the limit of open files can't be read: {error}")))?;
    let need = connections + OTHER_FILES;
    if need > limit {
        return Err(Failure::Failed(format!(
            "{connections} connections need {need} open files, and this process may have {limit}\n  \
             fix: raise the limit (ulimit -n {need}), here and for the server, or ask for fewer"
        )));
    }
    Ok(())
}
