//! The sources of settings, each read into the same form: a map from a setting's full name to what was given and
//! where. Names that no setting has are found here; what a value means is the setting's own business.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::error::{Problem, ProblemKind, Source};
use super::setting::Raw;

/// Every variable that Stentor reads starts so.
const PREFIX: &str = "STENTOR_";

/// The variable that names the configuration file, a flag's counterpart rather than a setting.
pub(super) const FILE_VARIABLE: &str = "STENTOR_CONFIG";

/// Variables named after a flag whose setting is in a section.
const FLAG_VARIABLES: [(&str, &str); 2] =
    [("STENTOR_LOG_LEVEL", "log.level"), ("STENTOR_LOG_FORMAT", "log.format")];

/// The project's test suites find the server by this variable, and the servers that they start inherit it.
const OF_THE_TESTS: &str = "STENTOR_BIN";

/// What one source says about one setting.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) raw: Raw,
    pub(super) source: Source,
}

/// What one source says, by the settings' full names.
pub(super) type Layer = BTreeMap<String, Given>;

/// The full names of all settings.
pub(super) struct Names(pub(super) Vec<String>);

impl Names {
    fn is_setting(&self, name: &str) -> bool {
        self.0.iter().any(|known| known == name)
    }

    fn is_section(&self, name: &str) -> bool {
        self.sections().any(|section| section == name)
    }

    fn sections(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|name| name.rsplit_once('.')).map(|(section, _)| section)
    }

    /// The setting or section that was probably meant by `name`.
    fn nearest(&self, name: &str) -> Option<&str> {
        let name = name.replace('-', "_");
        let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
        let misplaced = self.0.iter().find(|known| last(known) == last(&name)).map(String::as_str);
        misplaced.or_else(|| nearest(&name, self.0.iter().map(String::as_str).chain(self.sections())))
    }
}

/// Reads a TOML text. `path` is only what messages call it.
pub(super) fn from_file(path: &Path, text: &str, names: &Names, problems: &mut Vec<Problem>) -> Layer {
    let mut layer = Layer::new();
    match DeTable::parse(text) {
        Ok(table) => File { path, text, names, problems, layer: &mut layer }.table("", table.get_ref()),
        // The error's own text shows the line, and with it perhaps a password.
        Err(error) => problems.push(Problem {
            kind: ProblemKind::File,
            setting: "configuration file".to_owned(),
            source: source_at(path, text, error.span().map_or(0, |span| span.start)),
            what: error.message().lines().next().unwrap_or("not TOML").to_owned(),
            fix: "mend the line; the form is TOML: name = value, below a [section] where it has one"
                .to_owned(),
        }),
    }
    layer
}

fn source_at(path: &Path, text: &str, offset: usize) -> Source {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    let line = 1 + before.iter().filter(|octet| **octet == b'\n').count();
    Source::File { path: path.to_owned(), line: Some(line) }
}

/// The walk over a parsed file.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
    names: &'a Names,
    problems: &'a mut Vec<Problem>,
    layer: &'a mut Layer,
}

impl File<'_> {
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = format!("{prefix}{}", key.get_ref());
            let source = source_at(self.path, self.text, key.span().start);
            match value.get_ref() {
                // A key with a dot in it is a quoted one, and no setting is called so.
                _ if key.get_ref().contains('.') => self.unknown(name, source),
                DeValue::Table(inner) if self.names.is_section(&name) => {
                    self.table(&format!("{name}."), inner);
                }
                _ if self.names.is_section(&name) => self.not_a_section(name, source),
                value if self.names.is_setting(&name) => {
                    self.layer.insert(name, Given { raw: raw(value), source });
                }
                _ => self.unknown(name, source),
            }
        }
    }

    fn unknown(&mut self, name: String, source: Source) {
        let fix = match self.names.nearest(&name) {
            Some(known) if self.names.is_section(known) => {
                format!("the section [{known}] may be meant")
            }
            Some(known) => format!("{known} may be meant ({})", placed(known)),
            None => "remove it; `stentor serve --print-config` shows all settings".to_owned(),
        };
        self.problems.push(Problem {
            kind: ProblemKind::Unknown,
            what: "there is no such setting".to_owned(),
            setting: name,
            source,
            fix,
        });
    }

    fn not_a_section(&mut self, name: String, source: Source) {
        self.problems.push(Problem {
            kind: ProblemKind::Invalid,
            what: "this is a section, not a setting".to_owned(),
            fix: format!("write [{name}] on a line of its own and its settings below it"),
            setting: name,
            source,
        });
    }
}

/// How a setting is written in a file.
fn placed(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((section, setting)) => format!("written {setting} = … below [{section}]"),
        None => format!("written {name} = … above the first [section]"),
    }
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Raw::Integer(number),
            Err(_) => Raw::Other("a number beyond 64 bits"),
        },
        DeValue::Boolean(value) => Raw::Boolean(*value),
        DeValue::Array(items) => Raw::List(items.iter().map(|item| raw(item.get_ref())).collect()),
        DeValue::Float(_) => Raw::Other("a number with a decimal point"),
        DeValue::Datetime(_) => Raw::Other("a date or time of day"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

/// Reads the variables that start with `STENTOR_`; an empty one counts as not set.
pub(super) fn from_environment(
    variables: &[(OsString, OsString)],
    names: &Names,
    problems: &mut Vec<Problem>,
) -> Layer {
    let mut layer = Layer::new();
    for (variable, value) in variables {
        let Some(variable) = variable.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        if value.is_empty()
            || variable == FILE_VARIABLE
            || variable == OF_THE_TESTS
            || of_a_service(variable, value)
        {
            continue;
        }
        let mut refuse = |kind, setting: &str, what: String, fix: String| {
            let source = Source::Variable(variable.to_owned());
            problems.push(Problem { kind, setting: setting.to_owned(), source, what, fix });
        };
        let Some(name) = setting_of(variable, names) else {
            refuse(
                ProblemKind::Unknown,
                variable,
                "there is no such setting".to_owned(),
                meant_by(variable, names),
            );
            continue;
        };
        let Some(value) = value.to_str() else {
            refuse(
                ProblemKind::Invalid,
                &name,
                "the value is not UTF-8".to_owned(),
                "give it in UTF-8".to_owned(),
            );
            continue;
        };
        let given = Given { raw: Raw::Text(value.to_owned()), source: Source::Variable(variable.to_owned()) };
        if let Some(other) = layer.insert(name.clone(), given) {
            let what = format!("{variable} and {} both set it", describe(&other.source));
            refuse(ProblemKind::Contradiction, &name, what, format!("unset {variable}"));
        }
    }
    layer
}

fn describe(source: &Source) -> &str {
    match source {
        Source::Variable(name) => name,
        _ => "another source",
    }
}

/// The variable that sets a setting.
pub(super) fn variable_of(setting: &str) -> String {
    format!("{PREFIX}{}", setting.replace('.', "__").to_ascii_uppercase())
}

fn setting_of(variable: &str, names: &Names) -> Option<String> {
    let flag =
        FLAG_VARIABLES.iter().find(|(name, _)| *name == variable).map(|(_, setting)| (*setting).to_owned());
    flag.or_else(|| names.0.iter().find(|setting| variable_of(setting) == variable).cloned())
}

fn meant_by(variable: &str, names: &Names) -> String {
    let upper = variable.to_ascii_uppercase();
    let tail = upper.strip_prefix(PREFIX).unwrap_or(&upper);
    let variables = names.0.iter().map(|name| variable_of(name)).chain([FILE_VARIABLE.to_owned()]);
    let tails: Vec<String> = variables.map(|name| name[PREFIX.len()..].to_owned()).collect();
    match nearest(tail, tails.iter().map(String::as_str)) {
        Some(meant) => {
            format!("{PREFIX}{meant} may be meant; section and setting are joined by two underscores")
        }
        None if ["PORT", "HOST", "ADDR", "ADDRESS", "BIND"].contains(&tail) => {
            format!("where to listen is {PREFIX}LISTEN, such as {PREFIX}LISTEN=127.0.0.1:8080")
        }
        None => format!("unset it; all variables that start with {PREFIX} are read as settings"),
    }
}

/// Kubernetes and Docker's links describe a service called `stentor…` to every container beside it in variables such
/// as `STENTOR_SERVICE_HOST`, `STENTOR_PORT=tcp://10.0.0.1:8080` and `STENTOR_PORT_8080_TCP_ADDR`.
fn of_a_service(variable: &str, value: &OsStr) -> bool {
    let numbered = |(_, tail): (&str, &str)| tail.starts_with(|c: char| c.is_ascii_digit());
    let url = value.to_str().is_some_and(|value| value.contains("://"));
    variable.ends_with("_SERVICE_HOST")
        || variable.contains("_SERVICE_PORT")
        || variable.ends_with("_PORT") && url
        || variable.split_once("_PORT_").is_some_and(numbered)
}

/// The candidate at the smallest edit distance, if that is small beside the name's length.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let bearable = (name.len() / 4).clamp(1, 3); // one edit in four letters reads as a slip
    let measured = candidates.map(|candidate| (distance(name, candidate), candidate));
    measured
        .filter(|(distance, _)| *distance <= bearable)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Edit distance in which two swapped neighbours count as one (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (a, b, edits) in
            [("", "", 0), ("abc", "abc", 0), ("abc", "acb", 1), ("abc", "ab", 1), ("abc", "xyz", 3)]
        {
            assert_eq!(distance(a, b), edits, "{a} {b}");
            assert_eq!(distance(b, a), edits, "{b} {a}");
        }
    }

    #[test]
    fn a_name_far_from_all_has_no_nearest() {
        assert_eq!(nearest("mesages", ["messages", "bytes"].into_iter()), Some("messages"));
        assert_eq!(nearest("colour", ["messages", "bytes"].into_iter()), None);
    }
}
