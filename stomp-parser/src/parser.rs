//! The grammar of a frame's header section, applied to the whole section at once.
//!
//! Finding where the section ends is `scan`'s, the body is `body`'s. The rules above the parsers
//! follow the *Augmented BNF* of the specifications, with what peers in the field are allowed
//! beyond it.

use bytestring::ByteString;
use memchr::memchr;
use nom::branch::alt;
use nom::bytes::complete::take_till1;
use nom::character::complete::{anychar, char, digit1};
use nom::combinator::{all_consuming, map_opt, rest};
use nom::multi::fold_many0;
use nom::sequence::{preceded, separated_pair, terminated};
use nom::{IResult, Parser};

use crate::error::Error;
use crate::{Command, Headers, Version, meter};

/// Reads a header section, its blank line included, that has this many header lines.
///
/// Names and values are slices of `section`; only those that hold an escape are copied.
pub(crate) fn head(
    section: &ByteString,
    version: Option<Version>,
    lines: usize,
) -> Result<(Command, Headers), Error> {
    meter::count(section.len());
    let (command, mut headers) = match header_section(section, version, lines) {
        Ok((_, parsed)) => parsed,
        Err(nom::Err::Failure(Fault::Rule(error))) => return Err(error),
        Err(_) => return Err(Error::header_without_colon(section.as_bytes())),
    };
    if pads_with_spaces(command, version, &headers) {
        headers.trim_spaces();
        if let Some((_, value)) = headers.iter().find(|(name, _)| name.is_empty()) {
            return Err(Error::empty_header_name(format!(" :{value}").as_bytes()));
        }
    }
    Ok((command, headers))
}

/// Whether lines may end with CR LF: in 1.2, and in the first frame, which is written before a
/// version is known.
pub(crate) fn allows_crlf(version: Option<Version>) -> bool {
    matches!(version, None | Some(Version::V1_2))
}

/// `content-length = 1*DIGIT`
pub(crate) fn content_length(value: &str) -> Option<u64> {
    map_opt(all_consuming(digit1::<&str, Fault>), |digits: &str| {
        digits.parse().ok()
    })
    .parse(value)
    .ok()
    .map(|(_, length)| length)
}

/// The `receipt` header in the complete lines of a section that may be broken elsewhere.
pub(crate) fn receipt(lines: &[u8], version: Option<Version>) -> Option<String> {
    let mut lines = lines.split(|octet| *octet == b'\n').map(|line| {
        let bare = line.strip_suffix(b"\r").filter(|_| allows_crlf(version));
        std::str::from_utf8(bare.unwrap_or(line)).unwrap_or_default()
    });
    let command = Command::from_octets(lines.next()?.as_bytes())?;
    if command.opens_session() {
        return None;
    }
    let padding: &[char] = if version == Some(Version::V1_0) {
        &[' ']
    } else {
        &[]
    };
    let (_, value) = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim_matches(padding) == "receipt")?;
    let value = value.trim_matches(padding);
    match escapes(command, version) {
        Some(version) => unescape(value, version).ok(),
        None => Some(value.to_owned()),
    }
}

/// The version whose escapes a frame of this command uses. The frames that open a session use none,
/// nor does what comes before the version is agreed on.
fn escapes(command: Command, version: Option<Version>) -> Option<Version> {
    version.filter(|version| *version != Version::V1_0 && !command.opens_session())
}

/// Whether spaces around names and values are padding.
///
/// The examples of the 1.0 specification write `destination:/queue/a` and `login: <username>`
/// alike, and ActiveMQ trims values in 1.0 only, so in 1.0 all spaces at both ends go. Later
/// versions forbid trimming. A frame that opens a session speaks the version that it asks for or,
/// in a `CONNECTED`, gives.
fn pads_with_spaces(command: Command, version: Option<Version>, headers: &Headers) -> bool {
    let spoken = match (version, command) {
        (Some(version), _) => Some(version),
        (None, Command::Connected) => Version::negotiate(headers.get("version")),
        (None, Command::Connect | Command::Stomp) => {
            Version::negotiate(headers.get("accept-version"))
        }
        (None, _) => None,
    };
    spoken == Some(Version::V1_0)
}

/// How parsers here fail.
#[derive(Debug)]
enum Fault {
    /// What was looked for is not here; what comes next in the grammar may be.
    Absent,
    /// A rule is broken, and nothing else needs to be tried.
    Rule(Error),
}

impl<I> nom::error::ParseError<I> for Fault {
    fn from_error_kind(_: I, _: nom::error::ErrorKind) -> Self {
        Self::Absent
    }

    fn append(_: I, _: nom::error::ErrorKind, other: Self) -> Self {
        other
    }
}

type Parsed<'a, T> = IResult<&'a str, T, Fault>;

/// What the lines of one header section are read by.
struct Rules<'a> {
    section: &'a ByteString,
    crlf: bool,
    /// Whether a CR inside of a line is an error: 1.2 has an escape for it.
    strict_cr: bool,
    escapes: Option<Version>,
}

/// ```abnf
/// header-section = command EOL *( header EOL ) EOL
/// ```
fn header_section<'a>(
    section: &'a ByteString,
    version: Option<Version>,
    lines: usize,
) -> Parsed<'a, (Command, Headers)> {
    let crlf = allows_crlf(version);
    let (input, command) = command_line(section, crlf)?;
    let rules = Rules {
        section,
        crlf,
        strict_cr: version == Some(Version::V1_2) && !command.opens_session(),
        escapes: escapes(command, version).filter(|_| memchr(b'\\', section.as_bytes()).is_some()),
    };
    let mut headers = fold_many0(
        |input| header(input, &rules),
        || Headers::with_capacity(lines),
        |mut headers, (name, value)| {
            headers.push(name, value);
            headers
        },
    );
    let (input, headers) = headers.parse(input)?;
    let (input, _) = line(input, crlf)?;
    Ok((input, (command, headers)))
}

/// ```abnf
/// command = "CONNECT" / "STOMP" / "CONNECTED" / "SEND" / "SUBSCRIBE" / "UNSUBSCRIBE" / "ACK"
///         / "NACK" / "BEGIN" / "COMMIT" / "ABORT" / "DISCONNECT" / "MESSAGE" / "RECEIPT" / "ERROR"
/// ```
fn command_line(input: &str, crlf: bool) -> Parsed<'_, Command> {
    map_opt(
        |input| line(input, crlf),
        |line: &str| Command::from_octets(line.as_bytes()),
    )
    .parse(input)
}

/// ```abnf
/// header       = header-name ":" header-value
/// header-name  = 1*<any OCTET except LF or ":">
/// header-value = *<any OCTET except LF>
/// ```
/// The specifications keep `:` out of values, and 1.2 keeps CR out of both. The colon is accepted,
/// because clients send it unescaped, older stomp.js among them.
fn header<'a>(input: &'a str, rules: &Rules<'_>) -> Parsed<'a, (ByteString, ByteString)> {
    let (after, line) = line(input, rules.crlf)?;
    if line.is_empty() {
        return Err(nom::Err::Error(Fault::Absent));
    }
    if rules.strict_cr && memchr(b'\r', line.as_bytes()).is_some() {
        return broken(Error::raw_carriage_return(line.as_bytes()));
    }
    let mut pair = separated_pair(up_to(b':'), char(':'), rest);
    let (name, value) = match pair.parse(line) {
        Ok((_, pair)) => pair,
        Err(_) => return broken(Error::header_without_colon(line.as_bytes())),
    };
    if name.is_empty() {
        return broken(Error::empty_header_name(line.as_bytes()));
    }
    match (text(name, rules), text(value, rules)) {
        (Ok(name), Ok(value)) => Ok((after, (name, value))),
        (Err(bad), _) | (_, Err(bad)) => broken(Error::invalid_escape(
            line.as_bytes(),
            bad.escape,
            bad.version,
        )),
    }
}

/// ```abnf
/// line = *<any OCTET except LF> EOL
/// EOL  = [CR] LF                      ; the CR in 1.2 only
/// ```
fn line(input: &str, crlf: bool) -> Parsed<'_, &str> {
    let (after, line) = terminated(up_to(b'\n'), char('\n')).parse(input)?;
    let bare = line.strip_suffix('\r').filter(|_| crlf);
    Ok((after, bare.unwrap_or(line)))
}

/// Everything before the first octet of this value.
fn up_to<'a>(octet: u8) -> impl Parser<&'a str, Output = &'a str, Error = Fault> {
    move |input: &'a str| match memchr(octet, input.as_bytes()) {
        Some(at) => Ok((&input[at..], &input[..at])),
        None => Err(nom::Err::Error(Fault::Absent)),
    }
}

fn broken<T>(rule: Error) -> Result<T, nom::Err<Fault>> {
    Err(nom::Err::Failure(Fault::Rule(rule)))
}

/// An escape that the version does not know; a lone `\` where the text ends with one.
struct BadEscape<'a> {
    escape: &'a str,
    version: Version,
}

fn text<'a>(text: &'a str, rules: &Rules<'_>) -> Result<ByteString, BadEscape<'a>> {
    match rules.escapes {
        Some(version) if memchr(b'\\', text.as_bytes()).is_some() => {
            unescape(text, version).map(ByteString::from)
        }
        _ => Ok(rules.section.slice_ref(text)),
    }
}

/// ```abnf
/// text = *( run / escape )
/// run  = 1*<any OCTET except "\">
/// ```
fn unescape(text: &str, version: Version) -> Result<String, BadEscape<'_>> {
    let run = take_till1(|c| c == '\\').map(Piece::Run);
    let mut pieces = fold_many0(
        alt((run, escape(version).map(Piece::Escaped))),
        || String::with_capacity(text.len()),
        |mut plain, piece| {
            match piece {
                Piece::Run(run) => plain.push_str(run),
                Piece::Escaped(char) => plain.push(char),
            }
            plain
        },
    );
    let parsed: Parsed<'_, String> = pieces.parse(text);
    match parsed {
        Ok(("", plain)) => Ok(plain),
        Ok((rest, _)) => Err(BadEscape {
            escape: first_chars(rest, 2),
            version,
        }),
        Err(_) => Err(BadEscape {
            escape: first_chars(text, 2),
            version,
        }),
    }
}

enum Piece<'a> {
    Run(&'a str),
    Escaped(char),
}

/// ```abnf
/// escape = "\" ( "\" / "c" / "n" / "r" )      ; "r" in 1.2 only
/// ```
fn escape<'a>(version: Version) -> impl Parser<&'a str, Output = char, Error = Fault> {
    let plain = move |code| match code {
        '\\' => Some('\\'),
        'c' => Some(':'),
        'n' => Some('\n'),
        'r' if version == Version::V1_2 => Some('\r'),
        _ => None,
    };
    preceded(char('\\'), map_opt(anychar, plain))
}

fn first_chars(text: &str, chars: usize) -> &str {
    let end = text
        .char_indices()
        .nth(chars)
        .map_or(text.len(), |(at, _)| at);
    &text[..end]
}
