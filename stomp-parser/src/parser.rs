//! The grammar of a frame's header section, applied to the whole section at once.
//!
//! Finding where the section ends is `scan`'s, the body is `body`'s. The rules above the parsers
//! follow the *Augmented BNF* of the specifications, with what peers in the field are allowed
//! beyond it.

use bytestring::ByteString;
use memchr::{memchr, memchr2};
use nom::branch::alt;
use nom::bytes::complete::take_till1;
use nom::character::complete::{anychar, char};
use nom::combinator::map_opt;
use nom::multi::fold_many0;
use nom::sequence::preceded;
use nom::{IResult, Parser};

use crate::error::Error;
use crate::header::well_known;
use crate::scan::Section;
use crate::{Command, Headers, Version, meter};

/// Reads the lines of a header section that `section` says the shape of.
///
/// Names and values are slices of `text`; only those that hold an escape are copied.
pub(crate) fn headers(
    text: &ByteString,
    section: Section,
    version: Option<Version>,
) -> Result<Headers, Error> {
    meter::count(text.len());
    let mut headers = match header_lines(text, section, version) {
        Ok((_, headers)) => headers,
        Err(nom::Err::Failure(Fault::Rule(error))) => return Err(*error),
        Err(_) => return Err(Error::header_without_colon(text.as_bytes())),
    };
    if pads_with_spaces(section.command, version, &headers) {
        headers.trim_spaces();
        if let Some((_, value)) = headers.iter().find(|(name, _)| name.is_empty()) {
            return Err(Error::empty_header_name(format!(" :{value}").as_bytes()));
        }
    }
    Ok(headers)
}

/// Whether lines may end with CR LF: in 1.2, and in the first frame, which is written before a
/// version is known.
pub(crate) fn allows_crlf(version: Option<Version>) -> bool {
    matches!(version, None | Some(Version::V1_2))
}

/// `content-length = 1*DIGIT`
pub(crate) fn content_length(value: &str) -> Option<u64> {
    let digits_alone = value.bytes().all(|octet| octet.is_ascii_digit());
    value.parse().ok().filter(|_| digits_alone)
}

/// The `receipt` header in the complete lines of a section that may be broken elsewhere.
pub(crate) fn receipt(lines: &[u8], version: Option<Version>) -> Option<String> {
    let mut lines = lines.split(|octet| *octet == b'\n').map(|line| {
        let bare = line.strip_suffix(b"\r").filter(|_| allows_crlf(version));
        std::str::from_utf8(bare.unwrap_or(line)).unwrap_or_default()
    });
    // Of a command that does not exist, headers are as those of most.
    let command = Command::from_octets(lines.next()?.as_bytes()).unwrap_or(Command::Send);
    if command.opens_session() {
        return None;
    }
    let padding: &[char] = if version == Some(Version::V1_0) { &[' '] } else { &[] };
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
        (None, Command::Connect | Command::Stomp) => Version::negotiate(headers.get("accept-version")),
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
    Rule(Box<Error>),
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
    text: &'a ByteString,
    crlf: bool,
    /// Whether a CR inside of a line is an error: 1.2 has an escape for it.
    strict_cr: bool,
    escapes: Option<Version>,
}

/// ```abnf
/// header-section = command EOL *( header EOL ) EOL
/// ```
/// of which `scan` has read the command and counted the lines.
fn header_lines<'a>(text: &'a ByteString, section: Section, version: Option<Version>) -> Parsed<'a, Headers> {
    // Looked for once in all lines, since most frames have neither.
    let special = memchr2(b'\\', b'\r', text.as_bytes()).is_some();
    let opens_session = section.command.opens_session();
    let rules = Rules {
        text,
        crlf: allows_crlf(version),
        strict_cr: special && version == Some(Version::V1_2) && !opens_session,
        escapes: escapes(section.command, version).filter(|_| special),
    };
    let mut headers = Headers::with_capacity(section.lines);
    let mut input = &text[section.start..];
    for _ in 0..section.lines {
        (input, ()) = header(input, &rules, &mut headers)?;
    }
    Ok((input, headers))
}

/// ```abnf
/// header       = header-name ":" header-value
/// header-name  = 1*<any OCTET except LF or ":">
/// header-value = *<any OCTET except LF>
/// ```
/// The specifications keep `:` out of values, and 1.2 keeps CR out of both. The colon is accepted,
/// because clients send it unescaped, older stomp.js among them.
fn header<'a>(input: &'a str, rules: &Rules<'_>, headers: &mut Headers) -> Parsed<'a, ()> {
    let (after, line) = line(input, rules.crlf)?;
    if rules.strict_cr && memchr(b'\r', line.as_bytes()).is_some() {
        return broken(Error::raw_carriage_return(line.as_bytes()));
    }
    let Some(colon) = memchr(b':', line.as_bytes()) else {
        return broken(Error::header_without_colon(line.as_bytes()));
    };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() {
        return broken(Error::empty_header_name(line.as_bytes()));
    }
    let name = match well_known(name) {
        Some(name) => Ok(ByteString::from_static(name)),
        None => text(name, rules),
    };
    match (name, text(value, rules)) {
        (Ok(name), Ok(value)) => {
            headers.push(name, value);
            Ok((after, ()))
        }
        (Err(bad), _) | (_, Err(bad)) => {
            broken(Error::invalid_escape(line.as_bytes(), bad.escape, bad.version))
        }
    }
}

/// ```abnf
/// line = *<any OCTET except LF> EOL
/// EOL  = [CR] LF                      ; the CR in 1.2 only
/// ```
fn line(input: &str, crlf: bool) -> Parsed<'_, &str> {
    let end = memchr(b'\n', input.as_bytes()).ok_or(nom::Err::Error(Fault::Absent))?;
    let has_cr = crlf && input.as_bytes()[..end].ends_with(b"\r");
    Ok((&input[end + 1..], &input[..end - usize::from(has_cr)]))
}

fn broken<T>(rule: Error) -> Result<T, nom::Err<Fault>> {
    Err(nom::Err::Failure(Fault::Rule(Box::new(rule))))
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
        _ => Ok(rules.text.slice_ref(text)),
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
        Ok((rest, _)) => Err(BadEscape { escape: first_chars(rest, 2), version }),
        Err(_) => Err(BadEscape { escape: first_chars(text, 2), version }),
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
    let end = text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at);
    &text[..end]
}
