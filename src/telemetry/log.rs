//! The log: set up once from the configuration, written to standard error. And a limiter for warnings that one
//! misbehaving client could otherwise write a thousand times a second.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

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

/// Lets through at most so many warnings of each kind in an interval, and counts the others. Kinds must be few: they
/// are never forgotten.
#[derive(Debug)]
pub struct RateLimit<K> {
    most: u32,
    interval: Duration,
    kinds: HashMap<K, Window>,
}

/// The interval of one kind that is under way.
#[derive(Debug)]
struct Window {
    start: Instant,
    passed: u32,
    suppressed: u64,
}

impl<K: Eq + Hash + Copy> RateLimit<K> {
    /// At most `most` of each kind in an `interval`, which starts with the first one.
    pub fn new(most: u32, interval: Duration) -> RateLimit<K> {
        RateLimit { most, interval, kinds: HashMap::new() }
    }

    /// Whether a warning of this kind may be written now. `Some(n)`: yes, and `n` were suppressed since the last one
    /// written; the line should say so where `n` is not 0. `None`: no, and it is counted.
    pub fn permit(&mut self, kind: K, now: Instant) -> Option<u64> {
        let window = self.kinds.entry(kind).or_insert(Window { start: now, passed: 0, suppressed: 0 });
        if now.saturating_duration_since(window.start) >= self.interval {
            window.start = now;
            window.passed = 0;
        }
        if window.passed >= self.most {
            window.suppressed += 1;
            return None;
        }
        window.passed += 1;
        Some(std::mem::take(&mut window.suppressed))
    }

    /// The counts of kinds whose interval is over and whose suppressed warnings no line has told of yet, for a timer to
    /// write; they are then told.
    pub fn overdue(&mut self, now: Instant) -> Vec<(K, u64)> {
        let interval = self.interval;
        let over = |window: &Window| {
            window.suppressed > 0 && now.saturating_duration_since(window.start) >= interval
        };
        let windows = self.kinds.iter_mut().filter(|(_, window)| over(window));
        windows.map(|(kind, window)| (*kind, std::mem::take(&mut window.suppressed))).collect()
    }
}

thread_local! {
    /// Five of a kind in ten seconds, by each worker.
    static WARNINGS: RefCell<RateLimit<&'static str>> = RefCell::new(RateLimit::new(5, Duration::from_secs(10)));
}

/// [`RateLimit::permit`] with a limit that this thread's warnings share: five of a kind in ten seconds. While a thread
/// ends, nothing is limited.
pub fn permit_warning(kind: &'static str) -> Option<u64> {
    WARNINGS.try_with(|warnings| warnings.borrow_mut().permit(kind, Instant::now())).unwrap_or(Some(0))
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
        assert!(logged(LogFormat::Text, "trace,stentor=off").contains("starting 2 workers"));
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

    #[test]
    fn so_many_of_a_kind_pass_and_the_next_one_tells_of_the_others() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut limit = RateLimit::new(2, Duration::from_secs(10));
        assert_eq!([(); 4].map(|()| limit.permit("a", at(0))), [Some(0), Some(0), None, None]);
        assert_eq!(limit.permit("b", at(1)), Some(0), "kinds are apart");
        assert_eq!(limit.permit("a", at(9)), None);
        assert_eq!(limit.permit("a", at(10)), Some(3));
        assert_eq!(limit.permit("a", at(11)), Some(0));
        assert_eq!(limit.permit("a", at(19)), None, "the interval starts anew with the one that passed");
    }

    #[test]
    fn what_was_suppressed_is_told_once_when_its_interval_is_over() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut limit = RateLimit::new(1, Duration::from_secs(10));
        for kind in ["a", "b"] {
            limit.permit(kind, at(0));
        }
        limit.permit("a", at(5));
        assert_eq!(limit.overdue(at(9)), []);
        assert_eq!(limit.overdue(at(10)), [("a", 1)]);
        assert_eq!(limit.overdue(at(11)), []);
        assert_eq!(limit.permit("a", at(12)), Some(0));
    }
}
