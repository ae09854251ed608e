//! What `sub`, `pub` and `bench` have in common: the flags that say which broker and who is calling, and the forms of
//! their values.

use std::time::Duration;

use super::Failure;
use crate::client::{Login, Target};

/// How a broker is reached.
#[derive(Debug, clap::Args)]
pub(super) struct Broker {
    /// The broker: ws://HOST:PORT/PATH for a raw WebSocket, http://HOST:PORT/PREFIX for SockJS over WebSocket,
    /// tcp://HOST[:61613] for plain TCP
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:8080/ws/websocket")]
    pub(super) url: Target,

    #[command(flatten)]
    pub(super) credentials: Credentials,
}

/// Who is calling.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Credentials {
    /// The user's name, where the broker wants one
    #[arg(long, value_name = "NAME")]
    login: Option<String>,

    /// The password that goes with it; other users of this machine may see it in the list of processes
    #[arg(long, value_name = "WORD")]
    passcode: Option<String>,

    /// The header host of CONNECT, which some brokers take for a virtual host [default: none]
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
}

impl Credentials {
    /// What CONNECT says, with the interval at which the server shall show that it lives.
    pub(super) fn login(&self, beat: Duration) -> Login {
        Login { login: self.login.clone(), passcode: self.passcode.clone(), host: self.host.clone(), beat }
    }
}

/// A header as `--header` takes it: `name:value`, split at the first colon.
pub(super) fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("give name:value".to_owned()),
    }
}

/// A time in seconds, above zero and no more than a day.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    const DAY: f64 = 86_400.0;
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= DAY => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("give a number of seconds above 0, such as 10 or 0.5, up to 86400".to_owned()),
    }
}

/// A runtime of this thread alone.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("the system refuses a runtime: {error}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn headers_split_at_their_first_colon() {
        let pair = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
        assert_eq!(header("a:b:c"), pair("a", "b:c"));
        assert_eq!(header("a:"), pair("a", ""));
        assert!(header("a").is_err() && header(":b").is_err());
    }

    #[test]
    fn seconds_are_bounded() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "86401", "NaN", "inf", "ten"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
