//! The words of a selector: how a text is split into them, and how they are put together in the normal form.

use std::borrow::Cow;

use nom::branch::alt;
use nom::bytes::complete::{is_not, tag, tag_no_case, take_while};
use nom::character::complete::{one_of, satisfy};
use nom::combinator::{opt, recognize, value};
use nom::error::{ErrorKind, ParseError};
use nom::multi::many0_count;
use nom::{IResult, Parser};

use super::error::{Broken, Fault};

/// A word, and where it stands.
#[derive(Debug)]
pub(super) struct Token<'a> {
    pub(super) word: Word<'a>,
    pub(super) at: usize,
    /// As it is written in the text.
    spelled: &'a str,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Word<'a> {
    Keyword(Keyword),
    Symbol(Symbol),
    /// Of a header, without quotes.
    Name(Cow<'a, str>),
    /// Without quotes.
    Text(Cow<'a, str>),
    /// Up to 2⁶³, which is in range only behind a minus.
    Exact(u64),
    Approximate(f64),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Keyword {
    And,
    Between,
    Escape,
    False,
    In,
    Is,
    Like,
    Not,
    Null,
    Or,
    True,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Symbol {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Plus,
    Minus,
    Times,
    Over,
    Open,
    Close,
    Comma,
}

const KEYWORDS: [(&str, Keyword); 11] = [
    ("AND", Keyword::And),
    ("BETWEEN", Keyword::Between),
    ("ESCAPE", Keyword::Escape),
    ("FALSE", Keyword::False),
    ("IN", Keyword::In),
    ("IS", Keyword::Is),
    ("LIKE", Keyword::Like),
    ("NOT", Keyword::Not),
    ("NULL", Keyword::Null),
    ("OR", Keyword::Or),
    ("TRUE", Keyword::True),
];

/// The keyword that a word is, in any case.
fn keyword(word: &str) -> Option<(&'static str, Keyword)> {
    KEYWORDS.into_iter().find(|(text, _)| text.eq_ignore_ascii_case(word))
}

/// Splits a text into its words.
pub(super) fn tokens(text: &str) -> Result<Vec<Token<'_>>, Broken> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(is_white);
    while !rest.is_empty() {
        let at = text.len() - rest.len();
        match word(rest) {
            Ok((behind, word)) => {
                tokens.push(Token { word, at, spelled: &rest[..rest.len() - behind.len()] });
                rest = behind.trim_start_matches(is_white);
            }
            Err(nom::Err::Error(no) | nom::Err::Failure(no)) => return Err(Broken { at, fault: no.0 }),
            Err(nom::Err::Incomplete(_)) => return Err(Broken { at, fault: Fault::Character }),
        }
    }
    Ok(tokens)
}

/// The words with spaces only where they would run into each other, keywords in capitals, numbers in small letters, and
/// names in quotes only where they need them. Not longer than the text that the words are of.
pub(super) fn normal_form(tokens: &[Token<'_>]) -> String {
    let mut text = String::new();
    for token in tokens {
        let spelled = match &token.word {
            Word::Keyword(_) => Cow::Owned(token.spelled.to_ascii_uppercase()),
            Word::Exact(_) | Word::Approximate(_) => Cow::Owned(token.spelled.to_ascii_lowercase()),
            Word::Name(name) if is_plain(name) => Cow::Borrowed(&**name),
            _ => Cow::Borrowed(token.spelled),
        };
        if text.ends_with(is_part) && spelled.starts_with(is_part) {
            text.push(' ');
        }
        text.push_str(&spelled);
    }
    text
}

/// Java's white space (The Java Language Specification, section 3.6, with its line terminators).
fn is_white(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r' | '\x0c')
}

/// Java's identifiers, about: currencies other than `$`, connectors other than `_`, and marks that stand above or below
/// letters have to be quoted.
fn is_start(character: char) -> bool {
    character.is_alphabetic() || matches!(character, '_' | '$')
}

/// What may follow in an identifier, or in what begins as a number.
fn is_part(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '$' | '.')
}

fn is_plain(name: &str) -> bool {
    name.starts_with(is_start) && name.chars().all(is_part) && keyword(name).is_none()
}

/// Why there is no word.
struct No(Fault);

impl ParseError<&str> for No {
    fn from_error_kind(_: &str, _: ErrorKind) -> No {
        No(Fault::Character)
    }

    fn append(_: &str, _: ErrorKind, other: No) -> No {
        other
    }
}

type Read<'a, T> = IResult<&'a str, T, No>;

fn word(input: &str) -> Read<'_, Word<'_>> {
    alt((string, quoted_name, number, keyword_or_name, symbol.map(Word::Symbol))).parse(input)
}

fn string(input: &str) -> Read<'_, Word<'_>> {
    quoted(input, ["'", "''"], Fault::OpenString).map(|(rest, text)| (rest, Word::Text(text)))
}

fn quoted_name(input: &str) -> Read<'_, Word<'_>> {
    match quoted(input, ["\"", "\"\""], Fault::OpenName)? {
        (_, name) if name.is_empty() => Err(nom::Err::Failure(No(Fault::EmptyName))),
        (rest, name) => Ok((rest, Word::Name(name))),
    }
}

/// What stands between two quotes, in which a quote stands twice. `open` is the fault of having no second one.
fn quoted<'a>(input: &'a str, [one, two]: [&'static str; 2], open: Fault) -> Read<'a, Cow<'a, str>> {
    let (rest, _) = tag(one).parse(input)?;
    let (rest, inner) = recognize(many0_count(alt((is_not(one), tag(two))))).parse(rest)?;
    let closed: Read<'_, &str> = tag(one).parse(rest);
    let (rest, _) = closed.map_err(|_| nom::Err::Failure(No(open)))?;
    let inner = if inner.contains(one) { Cow::Owned(inner.replace(two, one)) } else { Cow::Borrowed(inner) };
    Ok((rest, inner))
}

fn keyword_or_name(input: &str) -> Read<'_, Word<'_>> {
    let (rest, word) = recognize((satisfy(is_start), take_while(is_part))).parse(input)?;
    Ok((rest, keyword(word).map_or(Word::Name(word.into()), |(_, keyword)| Word::Keyword(keyword))))
}

fn symbol(input: &str) -> Read<'_, Symbol> {
    alt((
        value(Symbol::Unequal, tag("<>")),
        value(Symbol::LessOrEqual, tag("<=")),
        value(Symbol::GreaterOrEqual, tag(">=")),
        value(Symbol::Equal, tag("=")),
        value(Symbol::Less, tag("<")),
        value(Symbol::Greater, tag(">")),
        value(Symbol::Plus, tag("+")),
        value(Symbol::Minus, tag("-")),
        value(Symbol::Times, tag("*")),
        value(Symbol::Over, tag("/")),
        value(Symbol::Open, tag("(")),
        value(Symbol::Close, tag(")")),
        value(Symbol::Comma, tag(",")),
    ))
    .parse(input)
}

/// Takes all that might be meant as one number, so that what is wrong with it is not taken for something else.
fn number(input: &str) -> Read<'_, Word<'_>> {
    let hexadecimal = recognize((tag_no_case("0x"), take_while(is_part)));
    let exponent = recognize((one_of("eE"), one_of("+-")));
    let decimal = recognize((
        opt(tag(".")),
        satisfy(|first| first.is_ascii_digit()),
        many0_count(alt((exponent, recognize(satisfy(is_part))))),
    ));
    let (rest, spelled) = alt((hexadecimal, decimal)).parse(input)?;
    match literal(spelled) {
        Ok(word) => Ok((rest, word)),
        Err(fault) => Err(nom::Err::Failure(No(fault))),
    }
}

/// Java's integer and floating-point literals (The Java Language Specification, sections 3.10.1 and 3.10.2), but for
/// floating-point ones in hexadecimal, which are neither "in scientific notation" nor "with a decimal".
fn literal(spelled: &str) -> Result<Word<'static>, Fault> {
    let spelled = spelled.to_ascii_lowercase();
    let integer = spelled.strip_suffix('l').unwrap_or(&spelled);
    if let Some(digits) = integer.strip_prefix("0x") {
        exact(digits, 16)
    } else if let Some(digits) = integer.strip_prefix("0b") {
        exact(digits, 2)
    } else if integer.bytes().all(|octet| octet.is_ascii_digit() || octet == b'_') {
        let octal = integer.len() > 1 && integer.starts_with('0');
        exact(integer, if octal { 8 } else { 10 })
    } else {
        approximate(&spelled)
    }
}

fn exact(digits: &str, radix: u32) -> Result<Word<'static>, Fault> {
    let digits = without_underscores(digits, radix).ok_or(Fault::Number)?;
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(Fault::Number);
    }
    let value = u64::from_str_radix(&digits, radix).map_err(|_| Fault::TooLarge)?;
    if value > i64::MIN.unsigned_abs() { Err(Fault::TooLarge) } else { Ok(Word::Exact(value)) }
}

fn approximate(spelled: &str) -> Result<Word<'static>, Fault> {
    let single = spelled.strip_suffix('f');
    let digits = single.or(spelled.strip_suffix('d')).unwrap_or(spelled);
    let digits = without_underscores(digits, 10).ok_or(Fault::Number)?;
    let value = match single {
        Some(_) => f64::from(digits.parse::<f32>().map_err(|_| Fault::Number)?),
        None => digits.parse().map_err(|_| Fault::Number)?,
    };
    if value.is_finite() { Ok(Word::Approximate(value)) } else { Err(Fault::TooLarge) }
}

/// Underscores may stand between digits, any number of them.
fn without_underscores(digits: &str, radix: u32) -> Option<Cow<'_, str>> {
    let is_digit = |character: char| character.is_digit(radix);
    let mut gaps = digits.split('_').filter(|group| !group.is_empty()).peekable();
    if digits.starts_with('_') || digits.ends_with('_') {
        return None;
    }
    while let Some(group) = gaps.next() {
        if gaps.peek().is_some_and(|next| !group.ends_with(is_digit) || !next.starts_with(is_digit)) {
            return None;
        }
    }
    Some(if digits.contains('_') { digits.replace('_', "").into() } else { digits.into() })
}
