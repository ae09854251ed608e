//! What can be wrong with a configuration, and how it is told: which setting, where it came from,
//! what is wrong with it, and what to write instead.

use std::fmt;
use std::path::PathBuf;

/// Where the value of a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// The configuration file, with the line (from 1) where one is known.
    File {
        /// The file as it was named by the user.
        path: PathBuf,
        /// The line of the key.
        line: Option<usize>,
    },
    /// An environment variable, by its name.
    Variable(String),
    /// A flag of the command line, by its name with the dashes.
    Flag(&'static str),
}

impl Source {
    /// The order in which sources are read, a file's by line.
    fn rank(&self) -> (u8, Option<usize>) {
        match self {
            Source::File { line, .. } => (0, *line),
            Source::Variable(_) => (1, None),
            Source::Flag(_) => (2, None),
            Source::Default => (3, None),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => write!(f, "default"),
            Source::File { path, line: Some(line) } => write!(f, "{}, line {line}", path.display()),
            Source::File { path, line: None } => write!(f, "{}", path.display()),
            Source::Variable(name) => write!(f, "environment variable {name}"),
            Source::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// What sort of mistake a [`Problem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProblemKind {
    /// No setting, section or variable has this name.
    Unknown,
    /// The value cannot be read, or lies outside the allowed range.
    Invalid,
    /// Two settings, each fine by itself, cannot stand together.
    Contradiction,
    /// The configuration file itself cannot be read or is not TOML.
    File,
}

/// One thing that is wrong. Displayed as `setting (source): what` and, indented below it, the fix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The sort of mistake.
    pub kind: ProblemKind,
    /// The full name of the setting, such as `outbox.messages`.
    pub setting: String,
    /// Where the offending value came from.
    pub source: Source,
    /// What is wrong, as a clause without a full stop. Never contains a secret.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { setting, source, what, fix, .. } = self;
        // Where the variable itself is unknown there is no other name to give.
        if matches!(source, Source::Variable(name) if name == setting) {
            return write!(f, "environment variable {setting}: {what}\n  fix: {fix}");
        }
        write!(f, "{setting} ({source}): {what}\n  fix: {fix}")
    }
}

/// Everything that was found wrong with a configuration; at least one problem, all of them at once so
/// that one start is enough to mend them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    /// `Ok` where there is nothing to complain about.
    pub(super) fn unless_empty(mut problems: Vec<Problem>) -> Result<(), ConfigError> {
        problems.sort_by_key(|problem| problem.source.rank());
        if problems.is_empty() { Ok(()) } else { Err(ConfigError { problems }) }
    }

    pub(super) fn one(problem: Problem) -> ConfigError {
        ConfigError { problems: vec![problem] }
    }

    /// The problems, in the order of the sources that they came from, those of the file by line.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
