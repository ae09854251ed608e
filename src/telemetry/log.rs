//! The log: set up once from the configuration, written to standard error.

use std::fmt;
use std::io::{self, IsTerminal as _};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat};

/// Switches the log on for the whole process, records of the `log` crate included. Once it is on, a further call
/// changes nothing, so that several servers can live in one process.
pub fn init(config: &Log) {
    // NO_COLOR: a convention among command-line programs (no-color.org), set and not empty.
    let colours =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let _ = subscriber(config, io::stderr, colours).try_init();
}

fn subscriber<W>(config: &Log, writer: W, colours: bool) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(config.level.directives()))
        .with_timer(Clock)
        .with_target(config.level.is_detailed() || config.format == LogFormat::Json)
        .with_ansi(colours && config.format == LogFormat::Text)
        // It would report a closed standard error to standard error, and panic.
        .log_internal_errors(false)
        .with_writer(writer);
    match config.format {
        LogFormat::Text => Box::new(builder.compact().finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).with_span_list(false).finish()),
    }
}

/// UTC to the millisecond: `2026-01-31T12:00:00.123Z`.
struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        write!(out, "{:.3}", jiff::Timestamp::now())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A writer whose output can be read.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, level: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let config = Log { format, level: level.parse().unwrap() };
        let subscriber = subscriber(&config, move || writer.clone(), false);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "stentor::app", port = 8080, "serving");
            tracing::debug!(target: "stentor::app", "detail");
            tracing::info!(target: "actix_server::builder", "starting 2 workers");
            tracing::warn!(target: "actix_server::builder", "trouble");
            tracing::error!(target: "actix_http::h1::dispatcher", "stream error: request parse error");
        });
        let octets = lines.0.lock().unwrap().clone();
        String::from_utf8(octets).unwrap()
    }

    #[test]
    fn text_is_one_quiet_line_without_colours_or_nanoseconds() {
        let text = logged(LogFormat::Text, "info");
        let lines: Vec<&str> = text.lines().collect();
        let [serving, trouble] = lines[..] else { panic!("{text}") };
        let (time, rest) = serving.split_once(' ').unwrap();
        assert!(time.len() == "2026-01-31T12:00:00.123Z".len() && time.ends_with('Z'), "{time}");
        assert_eq!(rest.trim(), "INFO serving port=8080");
        assert!(trouble.contains("WARN trouble") && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn debug_says_where_a_line_comes_from() {
        let text = logged(LogFormat::Text, "debug");
        assert!(text.contains("DEBUG stentor::app: detail"), "{text}");
        assert!(!text.contains("starting 2 workers"), "{text}");
        assert!(text.contains("request parse error"), "{text}");
        assert!(logged(LogFormat::Text, "trace,stentor=off").contains("starting 2 workers"));
    }

    /// Anybody can send what is no HTTP as often as he likes.
    #[test]
    fn what_clients_send_to_the_http_server_fills_no_log() {
        for level in ["error", "warn", "info"] {
            assert!(!logged(LogFormat::Text, level).contains("request parse error"), "{level}");
        }
        assert!(logged(LogFormat::Text, "info,actix_http=error").contains("request parse error"));
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = logged(LogFormat::Json, "info");
        let first = text.lines().next().unwrap();
        assert!(first.starts_with('{') && first.ends_with('}'), "{first}");
        for part in
            ["\"level\":\"INFO\"", "\"message\":\"serving\"", "\"port\":8080", "\"target\":\"stentor::app\""]
        {
            assert!(first.contains(part), "{part} in {first}");
        }
    }
}
