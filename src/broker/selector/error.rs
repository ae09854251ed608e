//! What can be wrong with a selector, and how that is said.

use std::fmt;

use super::super::excerpt;

/// Why a text is no selector. The text is the client's fault; the message says where it is wrong and how to mend it,
/// and quotes nothing but a short, escaped part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSelector {
    /// In characters, from 1.
    at: usize,
    /// The text from there on, unless that is its end.
    excerpt: Option<String>,
    fault: Fault,
}

impl InvalidSelector {
    pub(super) fn new(text: &str, broken: Broken) -> InvalidSelector {
        let (before, rest) = text.split_at_checked(broken.at).unwrap_or((text, ""));
        let excerpt = (!rest.is_empty()).then(|| excerpt(rest));
        InvalidSelector { at: before.chars().count() + 1, excerpt, fault: broken.fault }
    }
}

impl fmt::Display for InvalidSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.excerpt {
            Some(excerpt) => write!(f, "the selector is wrong at character {}, {excerpt}: ", self.at)?,
            None => f.write_str("the selector is wrong at its end: ")?,
        }
        self.fault.fmt(f)
    }
}

impl std::error::Error for InvalidSelector {}

/// A fault and the octet where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) at: usize,
    pub(super) fault: Fault,
}

/// The rule that a text breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("it is longer than 4096 octets")]
    TooLong,
    #[error("parentheses, NOTs and signs are nested more than 64 deep")]
    TooDeep,
    #[error("an IN lists more than 256 strings")]
    TooMany,
    #[error("a pattern of LIKE is longer than 256 octets")]
    LongPattern,
    #[error("this character has no meaning outside of quotes")]
    Character,
    #[error("a string that begins here has no closing ' (within it, a ' is written twice)")]
    OpenString,
    #[error("a name that begins here has no closing \" (strings are written in ')")]
    OpenName,
    #[error("a name in double quotes is empty")]
    EmptyName,
    #[error("this is no number (an exact one that begins with 0 is octal)")]
    Number,
    #[error(
        "this number is too large: exact ones are of 64 bits, with their sign, approximate ones are doubles"
    )]
    TooLarge,
    #[error("expected {0}")]
    Expected(&'static str),
    #[error("expected a condition: a comparison, TRUE, FALSE or a header's name")]
    NotCondition,
    #[error(
        "expected a number: strings and conditions can't be calculated with, and are compared by = and <> only"
    )]
    NotNumber,
    #[error("expected a header's name: IN, LIKE and IS NULL are asked of headers only")]
    NotHeader,
    #[error(
        "unlike things are compared, which is never true (a header whose name has a '-' in it is written in double \
         quotes)"
    )]
    Unlike,
    #[error("the ESCAPE must be one character")]
    Escape,
    #[error("in this pattern the ESCAPE stands before something else than '%', '_' or itself")]
    Escaped,
}
