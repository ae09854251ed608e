//! Selectors: which messages of a destination a subscription wants, said by their headers.
//!
//! Owns the language and what it means. Leaves to the doors where a selector is written, and to the hub whom it
//! concerns. The text becomes tokens (`token.rs`, nom), these a program for a machine with a stack (`parser.rs`,
//! `program.rs`), so that nothing recurses for each message, however long a selector is.
//!
//! The language is that of Jakarta Messaging 3.1, section 3.8.1: conditions of SQL-92.
//!
//! ```text
//! or         = and *( "OR" and )
//! and        = not *( "AND" not )
//! not        = "NOT" not / test
//! test       = sum [ ( "=" / "<>" / "<" / "<=" / ">" / ">=" ) sum
//!                  / [ "NOT" ] "BETWEEN" sum "AND" sum
//!                  / [ "NOT" ] "IN" "(" string *( "," string ) ")"             ; behind an identifier
//!                  / [ "NOT" ] "LIKE" string [ "ESCAPE" string ]               ; behind an identifier
//!                  / "IS" [ "NOT" ] "NULL" ]                                   ; behind an identifier
//! sum        = product *( ( "+" / "-" ) product )
//! product    = unary *( ( "*" / "/" ) unary )
//! unary      = ( "+" / "-" ) unary / string / number / "TRUE" / "FALSE" / identifier / "(" or ")"
//! string     = "'" *( any but "'" / "''" ) "'"
//! identifier = start *( start / digit / "." ) / DQUOTE 1*( any but DQUOTE / 2DQUOTE ) DQUOTE
//! start      = letter / "_" / "$"
//! ```
//!
//! Keywords are written in any case; identifiers, which are names of headers, count with theirs. Numbers are written as
//! in Java: exact ones decimal, `0x1F`, `017` or `0b11` in the range of a `long`, approximate ones with a point or an
//! exponent. Two things are beyond the standard: an identifier may have dots in it, and any name at all, one with a
//! hyphen or a keyword, when it stands in double quotes. Without these `content-type` is a subtraction.
//!
//! **Types.** A header's value is text, and what it is compared with decides how it is read. With a string: as text.
//! With a number: as a number, if it is one ([`Number::read`](value::Number::read) says when). With TRUE, FALSE or a
//! condition, and wherever a condition stands: as a boolean, if it is `true` or `false` in any case. With another
//! header: as numbers, as booleans or as text, the first that fits both. In arithmetic, and for `<`, `<=`, `>`, `>=`
//! and BETWEEN, as a number; for LIKE and IN, as text. So does ActiveMQ compare with `convert_string_expressions:`,
//! and RabbitMQ where values have these types.
//!
//! **Unknown** is the value of a header that is not there, of one that can't be read as its place asks, and of a
//! division by zero; and of each comparison and calculation with it. AND, OR and NOT follow the standard's tables. Only
//! a selector that is true matches. (For values of unlike types the standard has comparisons false; here they are
//! unknown, so that their NOT does not match either. What is known to be unlike before any message came is refused.)
//!
//! **Arithmetic** is Java's: exact numbers are 64 bits wide, wrap around, and are divided without remainder; with an
//! approximate one both are `double`.

mod error;
mod like;
mod parser;
mod program;
mod token;
mod value;

#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

pub use self::error::InvalidSelector;
use self::program::Program;

/// Octets that a selector's text may have. RabbitMQ's bound, in characters, is the same.
const MAX_TEXT: usize = 4096;

/// How deep parentheses, NOTs and signs may stand in each other.
const MAX_NESTING: usize = 64;

/// Strings that an IN may list: each may be compared with for each message.
const MAX_LIST: usize = 256;

/// Octets of a pattern of LIKE: what it costs at worst grows with them, times those of the header.
const MAX_PATTERN: usize = 256;

/// A compiled selector. Clones share it.
///
/// Two selectors are equal if their texts differ in nothing but whitespace, the case of keywords and of numbers, and
/// quotes around names that need none.
#[derive(Clone)]
pub struct Selector(Arc<Compiled>);

struct Compiled {
    text: Box<str>,
    program: Program,
}

impl Selector {
    /// Compiles a selector, of 4096 octets at the most. An empty text is none: who wants all messages has no selector.
    ///
    /// # Errors
    /// Says what is wrong with the text, and where; see the grammar of this module.
    pub fn parse(text: &str) -> Result<Selector, InvalidSelector> {
        let (text, program) = parser::compile(text).map_err(|broken| InvalidSelector::new(text, broken))?;
        Ok(Selector(Arc::new(Compiled { text: text.into(), program })))
    }

    /// The text in its normal form, which is not longer than what was parsed, and means the same when it is parsed
    /// again.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Whether a message matches whose headers `header` gives by their names.
    pub fn matches<'h>(&self, header: impl Fn(&str) -> Option<&'h str>) -> bool {
        self.0.program.run(header) == Some(true)
    }
}

impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.text == other.0.text
    }
}

impl Eq for Selector {}

impl Hash for Selector {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.text.hash(state);
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Selector").field(&self.0.text).finish()
    }
}
