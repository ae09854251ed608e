//! `stentor serve`: flags made into settings, logging switched on, and the server started. What a server is made of is
//! `app`'s business.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;

use super::{Failure, print};
use crate::config::{Config, Overrides};
use crate::{app, telemetry};

const EXAMPLES: &str = "\
Examples:
  stentor serve
      Serve on both loopback addresses at port 8080; open http://localhost:8080/
  stentor serve --listen localhost:0
      Take a free port, and say which
  stentor serve --listen 0.0.0.0:8080 --listen '[::]:8080' --allowed-origin https://example.org
      Listen on every interface, for the pages of one site
  stentor serve --tcp localhost:61613
      Serve STOMP over plain TCP too, on loopback
  STENTOR_OUTBOX__MESSAGES=1000 stentor serve --print-config
      Set what has no flag, and see what is in force

Flags win over variables (STENTOR_…), variables over the file, the file over the
defaults. In variables a section and its setting are joined by two underscores;
lists take commas. Ctrl-c or SIGTERM stops the server
cleanly: its clients are told to go, one after the other. A second one stops it
at once.";

/// Serve the dashboard, STOMP over WebSocket, SockJS and TCP, and the REST API.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Where to listen: an IP address and a port, or localhost:PORT for both loopbacks; port 0 takes a free one. Can be
    /// given several times [env: STENTOR_LISTEN] [default: localhost:8080]
    #[arg(long, value_name = "ADDR", value_parser = NonEmptyStringValueParser::new())]
    listen: Vec<String>,

    /// Where to serve STOMP over plain TCP too, such as localhost:61613; nowhere by default. Can be given several times
    /// [env: STENTOR_TCP]
    #[arg(long, value_name = "ADDR", value_parser = NonEmptyStringValueParser::new())]
    tcp: Vec<String>,

    /// Let everybody who reaches the address of --tcp connect, where that is beyond loopback [env: STENTOR_TCP_BEYOND_LOOPBACK]
    #[arg(long)]
    tcp_beyond_loopback: bool,

    /// The RabbitMQ that joins several nodes, amqp:// or amqps:// [env: STENTOR_AMQP]
    #[arg(long, value_name = "URL", value_parser = NonEmptyStringValueParser::new())]
    amqp: Option<String>,

    /// This node's name [env: STENTOR_NODE] [default: the host's name]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    node: Option<String>,

    /// Read settings from a TOML file [env: STENTOR_CONFIG]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Threads that serve connections, 1 to 64 [env: STENTOR_WORKERS] [default: one for each core]
    #[arg(long, value_name = "N", value_parser = NonEmptyStringValueParser::new())]
    workers: Option<String>,

    /// An origin whose pages may connect, such as https://example.org. Can be given several times; without one, any
    /// page may, which is allowed on loopback only [env: STENTOR_ALLOWED_ORIGINS]
    #[arg(long, value_name = "URL", value_parser = NonEmptyStringValueParser::new())]
    allowed_origin: Vec<String>,

    /// Let pages of any origin connect when listening beyond loopback [env: STENTOR_ANY_ORIGIN]
    #[arg(long)]
    any_origin: bool,

    /// error, warn, info, debug or trace, or directives such as info,stentor::broker=debug [env: STENTOR_LOG_LEVEL]
    /// [default: info]
    #[arg(long, value_name = "LEVEL", value_parser = NonEmptyStringValueParser::new())]
    log_level: Option<String>,

    /// text or json [env: STENTOR_LOG_FORMAT] [default: text]
    #[arg(long, value_name = "FORMAT", value_parser = NonEmptyStringValueParser::new())]
    log_format: Option<String>,

    /// Print all settings in force as a commented file, and do nothing else
    #[arg(long)]
    print_config: bool,
}

impl Args {
    fn overrides(self) -> Overrides {
        let mut overrides = Overrides::new(self.config);
        let lists = [
            ("--listen", "listen", self.listen),
            ("--tcp", "tcp", self.tcp),
            ("--allowed-origin", "allowed_origins", self.allowed_origin),
        ];
        let singles = [
            ("--amqp", "amqp", self.amqp),
            ("--node", "node", self.node),
            ("--workers", "workers", self.workers),
            (
                "--tcp-beyond-loopback",
                "tcp_beyond_loopback",
                self.tcp_beyond_loopback.then(|| "true".to_owned()),
            ),
            ("--any-origin", "any_origin", self.any_origin.then(|| "true".to_owned())),
            ("--log-level", "log.level", self.log_level),
            ("--log-format", "log.format", self.log_format),
        ];
        let singles =
            singles.into_iter().map(|(flag, setting, value)| (flag, setting, value.into_iter().collect()));
        for (flag, setting, values) in lists.into_iter().chain(singles) {
            let values: Vec<String> = values;
            overrides = values.into_iter().fold(overrides, |all, value| all.flag(flag, setting, value));
        }
        overrides
    }
}

/// Serves until it is told to stop, or prints the configuration.
pub(super) fn run(args: Args) -> Result<(), Failure> {
    let print_config = args.print_config;
    let config = Config::load(&args.overrides()).map_err(Failure::Config)?;
    if print_config {
        return print(&config.to_toml());
    }
    telemetry::log::init(&config.log);
    app::serve(&config).map_err(Failure::Start)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser as _;

    use super::super::{Cli, Command};
    use super::*;
    use crate::config::{AllowedOrigins, Listen};

    fn parsed(line: &str) -> Args {
        let Some(Command::Serve(args)) = Cli::try_parse_from(line.split(' ')).unwrap().command else {
            unreachable!("{line}")
        };
        args
    }

    #[test]
    fn every_flag_reaches_its_setting() {
        let line = "stentor serve --listen localhost:1 --listen 0.0.0.0:2 --node n --workers 3 \
                    --allowed-origin https://a.org --allowed-origin https://b.org --log-level warn --log-format json";
        let config = Config::load_with(&parsed(line).overrides(), []).unwrap();
        assert_eq!(config.listen, [Listen::Localhost(1), Listen::Address("0.0.0.0:2".parse().unwrap())]);
        assert_eq!((config.node.as_str(), config.workers), ("n", 3));
        let origins = ["https://a.org".parse().unwrap(), "https://b.org".parse().unwrap()];
        assert_eq!(config.origins(), AllowedOrigins::Only(&origins));
        assert!(
            config.to_toml().contains("level = \"warn\"") && config.to_toml().contains("format = \"json\"")
        );
        assert!(Config::load_with(&parsed("stentor serve --any-origin").overrides(), []).unwrap().any_origin);
        let line = "stentor serve --tcp localhost:61613 --tcp 0.0.0.0:61614 --tcp-beyond-loopback";
        let config = Config::load_with(&parsed(line).overrides(), []).unwrap();
        assert_eq!(config.tcp, [Listen::Localhost(61613), Listen::Address("0.0.0.0:61614".parse().unwrap())]);
        assert!(config.tcp_beyond_loopback);
    }

    #[test]
    fn flags_that_are_refused_are_named() {
        for (line, name) in [
            ("stentor serve --tcp 0.0.0.0:1", "tcp (flag --tcp)"),
            ("stentor serve --amqp http://rabbit", "amqp (flag --amqp)"),
            ("stentor serve --workers many", "workers (flag --workers)"),
            ("stentor serve --config /nowhere", "configuration file (flag --config)"),
        ] {
            let error = Config::load_with(&parsed(line).overrides(), []).unwrap_err().to_string();
            assert!(error.starts_with(name), "{line}: {error}");
        }
    }

    #[test]
    fn an_empty_flag_is_wrong_usage() {
        assert!(Cli::try_parse_from(["stentor", "serve", "--node", ""]).is_err());
    }
}
