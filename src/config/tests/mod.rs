//! Loading as a whole: layers over each other, lists, printing. Below, `refusals` has each way to be refused.
#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

mod refusals;

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn from_environment(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load_with(&Overrides::default(), variables(pairs))
}

fn from_file(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("stentor.toml"), text)
}

fn from_flags(flags: &[(&'static str, &'static str, &str)]) -> Result<Config, ConfigError> {
    let add = |all: Overrides, (flag, setting, value): &(&'static str, &'static str, &str)| {
        all.flag(flag, setting, *value)
    };
    Config::load_with(&flags.iter().fold(Overrides::default(), add), [])
}

#[test]
fn defaults_are_those_that_the_documentation_names() {
    let config = Config::load_with(&Overrides::default(), []).unwrap();
    assert_eq!(config, Config::default());
    let sockets: Vec<String> = config.sockets().iter().map(|socket| socket.address.to_string()).collect();
    assert_eq!(sockets, ["127.0.0.1:8080", "[::1]:8080"]);
    assert_eq!(config.origins(), AllowedOrigins::Any);
    assert_eq!((config.outbox.messages, config.outbox.bytes.get()), (256, 1 << 20));
    assert_eq!(config.stomp.heart_beat_send, Duration::from_secs(1));
    assert_eq!(config.stomp.heart_beat_want, Duration::from_secs(30));
    assert_eq!((config.stomp.max_headers, config.stomp.max_line.get()), (128, 16 << 10));
    assert_eq!((config.stomp.max_header_bytes.get(), config.stomp.max_body.get()), (64 << 10, 8 << 20));
    assert!((1..=64).contains(&config.workers));
}

#[test]
fn every_default_lies_in_its_own_range() {
    let printed = Config::default().to_toml();
    assert_eq!(from_file(&printed).unwrap(), Config::default());
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, "node = 'file'\nworkers = 3\n[outbox]\nmessages = 10\nbytes = '2MiB'\n").unwrap();
    let overrides = Overrides::new(Some(file.path().to_owned())).flag("--node", "node", "flag");
    let environment =
        variables(&[("STENTOR_NODE", "variable"), ("STENTOR_OUTBOX__MESSAGES", "20"), ("PATH", "/bin")]);
    let config = Config::load_with(&overrides, environment).unwrap();
    assert_eq!(config.node.as_str(), "flag");
    assert_eq!(config.outbox.messages, 20);
    assert_eq!((config.workers, config.outbox.bytes), (3, mib(2)));
    assert_eq!(config.sockjs, SockJs::default());
}

#[test]
fn the_file_can_be_named_by_a_variable_and_the_flag_wins() {
    let mut named = tempfile::NamedTempFile::new().unwrap();
    write!(named, "node = 'named'").unwrap();
    let path = named.path().to_str().unwrap().to_owned();
    let environment = [("STENTOR_CONFIG", path.as_str())];
    assert_eq!(from_environment(&environment).unwrap().node.as_str(), "named");

    let mut given = tempfile::NamedTempFile::new().unwrap();
    write!(given, "node = 'given'").unwrap();
    let overrides = Overrides::new(Some(given.path().to_owned()));
    assert_eq!(Config::load_with(&overrides, variables(&environment)).unwrap().node.as_str(), "given");
}

#[test]
fn lists_come_from_commas_repeated_flags_and_arrays() {
    let expected: Vec<Listen> = vec![Listen::Localhost(1), Listen::Address("127.0.0.1:2".parse().unwrap())];
    assert_eq!(from_environment(&[("STENTOR_LISTEN", "localhost:1, 127.0.0.1:2")]).unwrap().listen, expected);
    assert_eq!(from_file("listen = ['localhost:1', '127.0.0.1:2']").unwrap().listen, expected);
    let flag = |address| ("--listen", "listen", address);
    assert_eq!(from_flags(&[flag("localhost:1"), flag("127.0.0.1:2")]).unwrap().listen, expected);
}

#[test]
fn every_setting_is_set_by_its_own_variable() {
    let mut names = Vec::new();
    Config::default().each("", &mut |setting| {
        names.push((setting.name, setting.slot.show()));
    });
    for (name, shown) in names {
        let variable = layers::variable_of(&name);
        let value = shown.trim_matches(['"', '[', ']']).replace('"', "");
        assert_eq!(from_environment(&[(&variable, &value)]).unwrap(), Config::default(), "{name}");
        let error = from_environment(&[(&variable, "\u{1}")]).unwrap_err();
        assert_eq!(error.problems()[0].setting, name);
    }
}

#[test]
fn an_empty_variable_counts_as_unset() {
    assert_eq!(
        from_environment(&[("STENTOR_WORKERS", ""), ("STENTOR_CONFIG", "")]).unwrap(),
        Config::default()
    );
}

#[test]
fn what_is_printed_reads_back_the_same_and_hides_the_password() {
    let text = "listen = ['localhost:0', '127.0.0.1:9']\nallowed_origins = ['https://example.org']\nnode = 'n'\n\
                [stomp]\nheart_beat_want = '0s'\nmax_body = 5000\n[log]\nlevel = 'warn'\nformat = 'json'";
    let config = from_file(text).unwrap();
    let printed = config.to_toml();
    assert_eq!(from_file(&printed).unwrap(), config);
    assert!(
        printed.contains("[stomp]") && printed.contains("# Default: \"30s\"\nheart_beat_want = \"0s\""),
        "{printed}"
    );
    assert!(printed.lines().all(|line| line.len() < 140), "{printed}");

    let secret = Config { amqp: Some("amqp://guest:hunter2@rabbit".parse().unwrap()), ..Config::default() };
    assert!(secret.to_toml().contains("amqp = \"amqp://guest:***@rabbit\""));
    assert!(!format!("{secret:?}").contains("hunter2"));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "([a-z_.\\[\\]='\"0-9:/,@\\\\ \n]|listen|outbox|amqp|\u{e9}){0,60}") {
        let _ = from_file(&text);
        let all = ["LISTEN", "AMQP", "ALLOWED_ORIGINS", "NODE", "OUTBOX__BYTES", "METRICS__PERIOD", "LOG__LEVEL"];
        for name in all {
            let _ = from_environment(&[(&format!("STENTOR_{name}"), &text)]);
        }
    }
}
