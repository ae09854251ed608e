//! The command line: what the program is asked for, and how it says that something went wrong. Each subcommand has a
//! file; what the settings mean is `config`'s.
//!
//! Exit codes: 0 done, 1 failed while running, 2 asked wrongly (usage or configuration).

mod bench;
mod broker;
mod check;
mod publish;
mod serve;
mod sub;

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::app::StartError;
use crate::client;
use crate::config::ConfigError;

const EXAMPLES: &str = "\
Examples:
  stentor serve
      Serve on both loopback addresses at port 8080; open http://localhost:8080/
  stentor serve --listen 127.0.0.1:9000 --log-level debug
  stentor serve --listen 0.0.0.0:8080 --allowed-origin https://example.org
      Listen on every interface, for the pages of one site
  stentor serve --config stentor.toml --print-config
      Show all settings in force and their meaning, as a file to start from
  stentor sub /topic/greetings
  stentor pub /topic/greetings hello
      Print what comes; send something

`stentor help serve` explains the flags.
Exit codes: 0 done, 1 failed while running, 2 wrong usage or configuration.";

/// A message broker that streams live data to browsers: STOMP over SockJS and WebSocket.
#[derive(Debug, Parser)]
#[command(name = "stentor", version, after_help = EXAMPLES, disable_help_subcommand = false)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Check(check::Args),
    Bench(bench::Args),
    Sub(sub::Args),
    #[command(name = "pub")]
    Publish(publish::Args),
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
enum Failure {
    Config(ConfigError),
    Start(StartError),
    /// So many of the destinations to explain are none; each was said why.
    Destinations(usize),
    /// It was asked for in a way that makes no sense, in words.
    Usage(String),
    /// It failed while it ran, in words.
    Failed(String),
    /// Standard output could not be written.
    Output(io::Error),
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Failure {
        Failure::Failed(error.to_string())
    }
}

/// Runs what the process's arguments ask for.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and the version come this way too; nobody is left to tell when they cannot be written.
            let _ = error.print();
            return exit_code(error.exit_code());
        }
    };
    let result = match cli.command {
        Some(Command::Serve(args)) => serve::run(args),
        Some(Command::Check(args)) => check::run(args),
        Some(Command::Bench(args)) => bench::run(&args),
        Some(Command::Sub(args)) => sub::run(&args),
        Some(Command::Publish(args)) => publish::run(&args),
        None => print(&Cli::command().render_help()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// Writes to standard output. A reader that has gone away, as `head` does, has all that it wanted.
fn print(text: &dyn Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::Output(error)),
        _ => Ok(()),
    }
}

fn report(failure: &Failure) -> ExitCode {
    let (text, code) = match failure {
        Failure::Config(error) => {
            let each: Vec<String> =
                error.problems().iter().map(|problem| format!("error: {problem}\n")).collect();
            (each.concat(), 2)
        }
        Failure::Start(error) => (format!("error: {error}\n"), 1),
        Failure::Destinations(wrong) => {
            (format!("error: {wrong} of these can't be used as a destination\n"), 2)
        }
        Failure::Usage(why) => (format!("error: {why}\n"), 2),
        Failure::Failed(why) => (format!("error: {why}\n"), 1),
        Failure::Output(error) => (format!("error: cannot write to standard output: {error}\n"), 1),
    };
    // `eprintln!` would panic where standard error is closed.
    let _ = io::stderr().lock().write_all(text.as_bytes());
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_declaration_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_fits_a_terminal_and_ends_with_examples() {
        let help = Cli::command().term_width(100).render_help().to_string();
        assert!(help.lines().all(|line| line.chars().count() <= 120), "{help}");
        assert!(help.contains("serve") && help.contains("\nExamples:\n"), "{help}");
    }
}
