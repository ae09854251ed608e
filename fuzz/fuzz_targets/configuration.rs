//! The configuration: from a file's text and from the environment.
//!
//! Input: a TOML text, and behind a NUL lines of `NAME=value`. What is taken can be printed and taken again; what is
//! refused says what, where and why.
#![no_main]
#![allow(dead_code)]

/// What configuration says of channels.
#[path = "../../src/broker"]
mod broker {
    mod catalogue;
    mod destination;
    mod routing_key;

    pub use catalogue::{Catalogue, ChannelKind, HistoryLimits, Rule};
    pub use destination::{Filter, Tenant};
}
#[path = "../../src/config/mod.rs"]
mod config;

use std::ffi::OsString;
use std::path::Path;

use config::{Config, ConfigError, Overrides};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let (text, variables) = input.split_once('\0').unwrap_or((input, ""));
    check(parse(text));
    if !variables.is_empty() {
        let variables = variables.lines().filter_map(|line| line.split_once('='));
        // That one names a file, and which files there are is not in the input.
        let variables = variables.filter(|(name, _)| *name != "STENTOR_CONFIG");
        let pairs = variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        check(Config::load_with(&Overrides::default(), pairs));
    }
});

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("stentor.toml"), text)
}

fn check(result: Result<Config, ConfigError>) {
    match result {
        Ok(config) => {
            let printed = config.to_toml();
            let mut read = parse(&printed).expect("what is printed can be read");
            // But for a password, which is not shown.
            read.amqp.clone_from(&config.amqp);
            assert_eq!(read, config);
            assert_eq!(config.sockets().is_empty(), config.listen.is_empty());
            assert!(config.channels.catalogue().rule("metrics").is_some());
        }
        Err(error) => {
            assert!(!error.problems().is_empty());
            assert!(!error.to_string().is_empty());
        }
    }
}
