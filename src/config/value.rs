//! Plain values that settings have: numbers, switches, sizes, times, lists and the log's choices.
//! Addresses and other names of the network are in `address.rs`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::setting::{Raw, Value, Wrong};

/// A text as a TOML basic string.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl Value for usize {
    const NAME: &'static str = "a whole number";
    const EXAMPLE: &'static str = "a whole number without a unit, such as 64";

    fn parse(raw: &Raw) -> Result<Self, Wrong> {
        match raw {
            Raw::Integer(number) => usize::try_from(*number).ok(),
            Raw::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
        .ok_or_else(|| Wrong::form::<Self>(raw))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for bool {
    const NAME: &'static str = "true or false";
    const EXAMPLE: &'static str = "true or false";

    fn parse(raw: &Raw) -> Result<Self, Wrong> {
        match raw {
            Raw::Boolean(value) => Some(*value),
            Raw::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
        .ok_or_else(|| Wrong::form::<Self>(raw))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A list: a TOML array, or a text with commas.
impl<T: Value> Value for Vec<T> {
    const NAME: &'static str = T::NAME;
    const EXAMPLE: &'static str = T::EXAMPLE;

    fn parse(raw: &Raw) -> Result<Self, Wrong> {
        match raw {
            Raw::List(items) => items.iter().map(T::parse).collect(),
            Raw::Text(text) if text.trim().is_empty() => Ok(Vec::new()),
            Raw::Text(text) => {
                text.split(',').map(|item| T::parse(&Raw::Text(item.trim().to_owned()))).collect()
            }
            other => Err(Wrong::new(
                format!("{} is not a list", other.shown()),
                format!("give a list in brackets; each item is {}", T::EXAMPLE),
            )),
        }
    }

    fn show(&self) -> String {
        let items: Vec<String> = self.iter().map(Value::show).collect();
        format!("[{}]", items.join(", "))
    }
}

/// A number of octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(usize);

/// Units of [`ByteSize`], largest first. `K`, `M` and `G` alone are refused: they mean both.
const SIZES: [(&str, usize); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// That many octets.
    pub const fn new(octets: usize) -> ByteSize {
        ByteSize(octets)
    }

    /// The number of octets.
    pub const fn get(self) -> usize {
        self.0
    }
}

/// In the largest binary unit that divides it: `1MiB`, `1000B`.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = SIZES[..3].iter().find(|(_, size)| self.0 > 0 && self.0.is_multiple_of(*size));
        let (unit, size) = binary.unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / size)
    }
}

impl Value for ByteSize {
    const NAME: &'static str = "a size";
    const EXAMPLE: &'static str = "a size such as \"64KiB\" or \"8MiB\", or a number of bytes";

    fn parse(raw: &Raw) -> Result<Self, Wrong> {
        match raw {
            Raw::Integer(number) => usize::try_from(*number).ok(),
            Raw::Text(text) => parse_size(text.trim()),
            _ => None,
        }
        .map(ByteSize)
        .ok_or_else(|| Wrong::form::<Self>(raw))
    }

    fn show(&self) -> String {
        format!("\"{self}\"")
    }
}

fn parse_size(text: &str) -> Option<usize> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let (_, size) =
        SIZES.iter().find(|(name, _)| unit.is_empty() && *name == "B" || name.eq_ignore_ascii_case(unit))?;
    number.parse::<usize>().ok()?.checked_mul(*size)
}

/// Units of a time in milliseconds.
const TIMES: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Value for Duration {
    const NAME: &'static str = "a time";
    const EXAMPLE: &'static str = "a time with its unit, such as \"30s\" or \"500ms\" (ms, s, m, h)";

    fn parse(raw: &Raw) -> Result<Self, Wrong> {
        match raw {
            Raw::Text(text) => parse_time(text.trim()),
            Raw::Integer(0) => Some(Duration::ZERO),
            _ => None,
        }
        .ok_or_else(|| Wrong::form::<Self>(raw))
    }

    fn show(&self) -> String {
        let millis = self.as_millis();
        let fits = |size: u64| millis > 0 && millis.is_multiple_of(u128::from(size));
        let unit = TIMES.iter().find(|(_, size)| fits(*size)).unwrap_or(&("s", 1_000));
        format!("\"{}{}\"", millis / u128::from(unit.1), unit.0)
    }
}

/// `30s`, `500ms`, `1m30s`: whole numbers with units, added up.
fn parse_time(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut millis) = (text, 0u64);
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        let (_, size) = TIMES.iter().find(|(name, _)| *name == unit.trim())?;
        millis = number.parse::<u64>().ok()?.checked_mul(*size)?.checked_add(millis)?;
        rest = tail;
    }
    (!text.is_empty()).then(|| Duration::from_millis(millis))
}

/// What is logged: a level for Stentor's own parts, or `tracing` directives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

/// The levels that stand alone.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl LogFilter {
    /// The filter in the form that [`EnvFilter`] reads. A level by itself is that of this project's crates; libraries
    /// then speak from `warn` on, since their `info` and `debug` drown ours. Below `debug` two parts of actix-http say
    /// nothing at all: they call it an error, and write a line each time, when somebody sends what is no HTTP.
    pub fn directives(&self) -> String {
        // What the AMQP library tells as errors, the backend says better.
        const QUIET: &str = "actix_http::h1::dispatcher=off,actix_http::h1::decoder=off,lapin=off";
        match self.0.as_str() {
            "off" => "off".to_owned(),
            "error" => format!("error,{QUIET}"),
            level if LEVELS.contains(&level) => {
                let ours = format!("warn,stentor={level},sockjs={level},stomp_parser={level}");
                if self.is_detailed() { ours } else { format!("{ours},{QUIET}") }
            }
            directives => directives.to_owned(),
        }
    }

    /// Whether one asked for more than the everyday levels, and so wants to know where a line comes from.
    pub fn is_detailed(&self) -> bool {
        !matches!(self.0.as_str(), "off" | "error" | "warn" | "info")
    }
}

impl FromStr for LogFilter {
    type Err = String;

    /// A level, or directives each of which names a target or is a level. `EnvFilter` itself takes a misspelt level
    /// for the name of a target; here it is refused.
    fn from_str(text: &str) -> Result<Self, String> {
        let named = |part: &str| part.contains(['=', '[']) || LEVELS.contains(&part);
        if let Some(part) = text.split(',').map(str::trim).find(|part| !named(part)) {
            return Err(format!("{part:?} is no level"));
        }
        match EnvFilter::builder().parse(text) {
            Ok(_) => Ok(LogFilter(text.to_owned())),
            Err(error) => Err(format!("{text:?} is no filter: {error}")),
        }
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        LogFilter("info".to_owned())
    }
}

impl Value for LogFilter {
    const NAME: &'static str = "a level";
    const EXAMPLE: &'static str =
        "error, warn, info, debug or trace, or directives such as \"info,stentor::broker=debug\"";

    fn parse(raw: &Raw) -> Result<Self, Wrong> {
        let Raw::Text(text) = raw else {
            return Err(Wrong::form::<Self>(raw));
        };
        let text = text.trim();
        let level = LEVELS.iter().find(|level| level.eq_ignore_ascii_case(text)).copied();
        let filter = level.unwrap_or(text).parse();
        filter.map_err(|what: String| Wrong::new(what, format!("give {}", Self::EXAMPLE)))
    }

    fn show(&self) -> String {
        quoted(&self.0)
    }
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people: one compact line.
    #[default]
    Text,
    /// For machines: one JSON object a line.
    Json,
}

impl Value for LogFormat {
    const NAME: &'static str = "a format";
    const EXAMPLE: &'static str = "text or json";

    fn parse(raw: &Raw) -> Result<Self, Wrong> {
        match raw {
            Raw::Text(text) if text.trim().eq_ignore_ascii_case("text") => Ok(LogFormat::Text),
            Raw::Text(text) if text.trim().eq_ignore_ascii_case("json") => Ok(LogFormat::Json),
            _ => Err(Wrong::form::<Self>(raw)),
        }
    }

    fn show(&self) -> String {
        quoted(match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        })
    }
}

/// What a full queue does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverflowPolicy {
    /// Takes no more, and tells the sender.
    Refuse,
    /// Makes its oldest message a dead letter.
    DropOldest,
}

impl Value for OverflowPolicy {
    const NAME: &'static str = "a policy for full queues";
    const EXAMPLE: &'static str = "refuse or drop-oldest";

    fn parse(raw: &Raw) -> Result<Self, Wrong> {
        match raw {
            Raw::Text(text) if text.trim().eq_ignore_ascii_case("refuse") => Ok(OverflowPolicy::Refuse),
            Raw::Text(text) if text.trim().eq_ignore_ascii_case("drop-oldest") => {
                Ok(OverflowPolicy::DropOldest)
            }
            _ => Err(Wrong::form::<Self>(raw)),
        }
    }

    fn show(&self) -> String {
        quoted(match self {
            OverflowPolicy::Refuse => "refuse",
            OverflowPolicy::DropOldest => "drop-oldest",
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn text<T: Value>(text: &str) -> Result<T, Wrong> {
        T::parse(&Raw::Text(text.to_owned()))
    }

    #[test]
    fn sizes_take_units_of_both_kinds_and_bare_numbers() {
        for (given, octets) in [
            ("0", 0),
            ("17", 17),
            ("17B", 17),
            ("64KiB", 65_536),
            ("64 kib", 65_536),
            ("2kB", 2_000),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(text::<ByteSize>(given).unwrap().get(), octets, "{given}");
        }
        assert_eq!(ByteSize::parse(&Raw::Integer(1024)).unwrap(), ByteSize(1024));
        for given in ["", "K", "8K", "8M", "1.5MiB", "-1", "MiB", "99999999999GiB", "1MiB2KiB"] {
            assert!(text::<ByteSize>(given).unwrap_err().fix.contains("64KiB"), "{given}");
        }
    }

    #[test]
    fn sizes_show_in_the_largest_unit_that_divides_them() {
        let shown: Vec<String> =
            [0, 1000, 1024, 1536, 1 << 20].iter().map(|n| ByteSize(*n).to_string()).collect();
        assert_eq!(shown, ["0B", "1000B", "1KiB", "1536B", "1MiB"]);
    }

    #[test]
    fn times_need_a_unit_unless_they_are_zero() {
        for (given, millis) in
            [("0", 0), ("0s", 0), ("500ms", 500), ("30s", 30_000), ("1m30s", 90_000), ("2h", 7_200_000)]
        {
            assert_eq!(text::<Duration>(given).unwrap(), Duration::from_millis(millis), "{given}");
        }
        assert_eq!(Duration::parse(&Raw::Integer(0)).unwrap(), Duration::ZERO);
        for given in ["", "30", "s", "1.5s", "-1s", "30 seconds", "30s5", "99999999999999999999s", "s30"] {
            assert!(text::<Duration>(given).unwrap_err().fix.contains("\"30s\""), "{given}");
        }
        assert!(Duration::parse(&Raw::Integer(30)).is_err());
    }

    #[test]
    fn times_show_in_the_largest_unit_that_divides_them() {
        let shown: Vec<String> = [0, 500, 30_000, 90_000, 7_200_000]
            .iter()
            .map(|millis| Duration::from_millis(*millis).show())
            .collect();
        assert_eq!(shown, ["\"0s\"", "\"500ms\"", "\"30s\"", "\"90s\"", "\"2h\""]);
    }

    #[test]
    fn a_misspelt_level_is_not_taken_for_a_target() {
        for wrong in ["inof", "info,debgu", "", "stentor=loud"] {
            assert!(text::<LogFilter>(wrong).unwrap_err().fix.contains("debug"), "{wrong}");
        }
        assert_eq!(text::<LogFilter>("WARN").unwrap(), LogFilter("warn".to_owned()));
        assert_eq!(text::<LogFilter>("off").unwrap().directives(), "off");
        assert_eq!(
            text::<LogFilter>("info,stentor::broker=debug").unwrap().directives(),
            "info,stentor::broker=debug"
        );
        assert_eq!(
            text::<LogFilter>("debug").unwrap().directives(),
            "warn,stentor=debug,sockjs=debug,stomp_parser=debug"
        );
    }

    #[test]
    fn quoting_survives_a_reader_of_toml() {
        let awkward = "a \"b\" \\ \n\u{7f} é";
        let document = format!("x = {}", quoted(awkward));
        let table = toml::de::DeTable::parse(&document).unwrap();
        let value = table.get_ref().get("x").unwrap().get_ref().as_str().unwrap();
        assert_eq!(value, awkward);
    }
}
