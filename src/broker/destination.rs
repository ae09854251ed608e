//! Destinations and filters, parsed once at the edge.
//!
//! Owns the grammar of names: prefix, segments, wildcards, lengths. Leaves to the index how filters are
//! found, and to the channels what a name promises.
//!
//! ```text
//! destination = prefix name
//! prefix      = "/topic/" / "/queue/" / "/user/" / "/app/" / "/reply-queue/"
//! name        = segment *( separator segment )
//! separator   = ":" / "." / "/"
//! filter      = destination / pattern
//! pattern     = "/topic/" part *( separator part )     ; "#" only as the last part
//! part        = segment / "*" / "#"
//! ```

mod by_key;

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};

use bytestring::ByteString;

pub(super) use self::by_key::{Key, dotted};
use super::routing_key::key_length;

/// The octets that a name may have once it is mapped to an AMQP routing key (AMQP 0.9.1 short strings).
pub const MAX_KEY: usize = 255;

/// The segments that a pattern may have: what a pattern costs, in memory and for each message that it nearly matches,
/// grows with them.
pub const MAX_PATTERN: usize = 16;

/// An organisation whose traffic no other sees.
///
/// A number given out by whoever knows the organisations; [`Tenant::DEFAULT`] where there is one only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tenant(u32);

impl Tenant {
    /// The tenant of an installation that does not tell tenants apart.
    pub const DEFAULT: Tenant = Tenant(0);

    /// The tenant of this number.
    pub const fn numbered(number: u32) -> Tenant {
        Tenant(number)
    }

    /// The number behind it.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// What a destination's prefix says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `/topic/…`: a channel; every subscriber gets each message.
    Topic,
    /// `/queue/…`: one consumer gets each message, and acknowledges it.
    Queue,
    /// `/user/<name>/…`: all connections of one user that subscribe to `/user/…`.
    User,
    /// `/app/…`: answered by a handler of the broker or of the program that embeds it.
    App,
    /// `/reply-queue/…`: the connection that named it in a `reply-to`.
    Reply,
}

impl Kind {
    const ALL: [Kind; 5] = [Kind::Topic, Kind::Queue, Kind::User, Kind::App, Kind::Reply];

    /// The prefix, slashes included.
    pub const fn prefix(self) -> &'static str {
        match self {
            Kind::Topic => "/topic/",
            Kind::Queue => "/queue/",
            Kind::User => "/user/",
            Kind::App => "/app/",
            Kind::Reply => "/reply-queue/",
        }
    }
}

/// A place that messages are sent to: a tenant, a kind and a name.
#[derive(Clone)]
pub struct Destination {
    tenant: Tenant,
    kind: Kind,
    text: ByteString,
    /// It stands for all spellings of its key: see `by_key.rs`.
    by_key: bool,
}

impl Destination {
    /// Parses the `destination` of a SEND.
    ///
    /// # Errors
    /// Says what is wrong with the text; see the grammar of this module.
    pub fn parse(tenant: Tenant, text: ByteString) -> Result<Destination, InvalidDestination> {
        let kind = kind_of(&text)?;
        let destination = Destination { tenant, kind, text, by_key: false };
        check_text(&destination.text, destination.name())?;
        for segment in segments(destination.name()) {
            match segment {
                "" => return Err(InvalidDestination::EmptySegment(destination.text.clone())),
                "*" | "#" => return Err(InvalidDestination::Wildcard(destination.text.clone())),
                _ => {}
            }
        }
        if kind == Kind::User && destination.name().split_once('/').is_none_or(|(name, _)| name == "queue") {
            return Err(InvalidDestination::NoUser(destination.text));
        }
        Ok(destination)
    }

    /// Where a connection hears what is sent to its user: `rest` is what follows `/user/` in its SUBSCRIBE.
    ///
    /// # Errors
    /// As [`Destination::parse`].
    pub fn of_user(tenant: Tenant, user: &str, rest: &str) -> Result<Destination, InvalidDestination> {
        let mut name = user.replace('%', "%25").replace('/', "%2F");
        if segments(&name).any(|segment| matches!(segment, "" | "*" | "#")) {
            name = name.replace('.', "%2E").replace(':', "%3A").replace('*', "%2A").replace('#', "%23");
        }
        Destination::parse(tenant, format!("{}{name}/{rest}", Kind::User.prefix()).into())
    }

    /// As [`Destination::of_user`], for a connection of nobody in particular. No user's name can be mistaken for `secret`.
    ///
    /// # Errors
    /// As [`Destination::parse`].
    pub fn of_nobody(tenant: Tenant, secret: &str, rest: &str) -> Result<Destination, InvalidDestination> {
        Destination::parse(tenant, format!("{}%{secret}/{rest}", Kind::User.prefix()).into())
    }

    /// A destination of the broker's own, whose text is known to be right.
    ///
    /// # Errors
    /// As [`Destination::parse`]; the name may hold a part (a host's name, say) that is not the broker's.
    pub fn topic(tenant: Tenant, name: &str) -> Result<Destination, InvalidDestination> {
        Destination::parse(tenant, format!("{}{name}", Kind::Topic.prefix()).into())
    }

    /// Whose destination it is.
    pub fn tenant(&self) -> Tenant {
        self.tenant
    }

    /// What its prefix says.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The whole text, prefix included, as the client spelled it.
    pub fn text(&self) -> &ByteString {
        &self.text
    }

    /// The text behind the prefix.
    pub fn name(&self) -> &str {
        &self.text[self.kind.prefix().len()..]
    }

    /// What those who get a message are shown: to a user, `/user/queue/…` without the name; by key, `/topic/` and the key,
    /// unless they asked for one spelling.
    pub fn shown(&self) -> Cow<'_, str> {
        match (self.kind, self.name().split_once('/')) {
            _ if self.by_key => self.shown_by_key(),
            (Kind::User, Some((_, rest))) => Cow::Owned(format!("{}{rest}", Kind::User.prefix())),
            _ => Cow::Borrowed(&self.text),
        }
    }

    /// A copy that shares no memory with the frame it was parsed from, for whatever outlives the frame.
    #[must_use]
    pub fn detached(&self) -> Destination {
        Destination { text: ByteString::from(&*self.text), ..*self }
    }
}

impl PartialEq for Destination {
    fn eq(&self, other: &Self) -> bool {
        self.tenant == other.tenant && self.text == other.text && self.by_key == other.by_key
    }
}

impl Eq for Destination {}

impl Hash for Destination {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.tenant.hash(state);
        self.text.hash(state);
        if self.by_key {
            state.write_u8(1);
        }
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.text, self.tenant.0)
    }
}

/// What a subscription asks for: one destination, or all that a pattern matches.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter {
    destination: Destination,
    wild: bool,
}

impl Filter {
    /// Parses the `destination` of a SUBSCRIBE: as [`Destination::parse`], with `*` for one segment and
    /// `#`, at the end, for any number of them.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn parse(tenant: Tenant, text: ByteString) -> Result<Filter, InvalidDestination> {
        let kind = kind_of(&text)?;
        if kind != Kind::Topic {
            return Err(InvalidDestination::NotSubscribable(text));
        }
        let destination = Destination { tenant, kind, text, by_key: false };
        check_text(&destination.text, destination.name())?;
        let mut wild = false;
        let mut ended = false;
        for segment in segments(destination.name()) {
            if ended {
                return Err(InvalidDestination::HashNotLast(destination.text.clone()));
            }
            match segment {
                "" => return Err(InvalidDestination::EmptySegment(destination.text.clone())),
                "*" => wild = true,
                "#" => (wild, ended) = (true, true),
                _ => {}
            }
        }
        if wild && segments(destination.name()).count() > MAX_PATTERN {
            return Err(InvalidDestination::TooDeep(destination.text));
        }
        Ok(Filter { destination: destination.detached(), wild })
    }

    /// Of which kind they are.
    pub fn kind(&self) -> Kind {
        self.destination.kind
    }

    /// Whose destinations it selects.
    pub fn tenant(&self) -> Tenant {
        self.destination.tenant
    }

    /// The text as the client spelled it.
    pub fn text(&self) -> &ByteString {
        &self.destination.text
    }

    /// The text behind the prefix.
    pub fn name(&self) -> &str {
        self.destination.name()
    }

    /// The one destination that is asked for, unless this is a pattern.
    pub fn exact(&self) -> Option<&Destination> {
        (!self.wild).then_some(&self.destination)
    }

    /// Whether a message to `destination` is asked for. The index answers this for many filters at once.
    pub fn matches(&self, destination: &Destination) -> bool {
        if !self.wild {
            return self.destination == *destination
                || destination.by_key && destination.is_key_of(&self.destination);
        }
        if destination.kind != Kind::Topic || destination.tenant != self.tenant() {
            return false;
        }
        let mut name = segments(destination.name());
        for part in segments(self.name()) {
            match (part, name.next()) {
                ("#", _) => return true,
                ("*", Some(_)) => {}
                (part, Some(segment)) if part == segment => {}
                _ => return false,
            }
        }
        name.next().is_none()
    }
}

impl From<&Destination> for Filter {
    fn from(destination: &Destination) -> Filter {
        Filter { destination: destination.detached(), wild: false }
    }
}

/// The segments of a name: it splits at `:`, `.` and `/` alike.
pub(super) fn segments(name: &str) -> impl Iterator<Item = &str> + Clone {
    name.split([':', '.', '/'])
}

fn kind_of(text: &ByteString) -> Result<Kind, InvalidDestination> {
    Kind::ALL
        .into_iter()
        .find(|kind| text.starts_with(kind.prefix()))
        .ok_or_else(|| InvalidDestination::UnknownPrefix(text.clone()))
}

fn check_text(text: &ByteString, name: &str) -> Result<(), InvalidDestination> {
    if name.contains('\0') {
        Err(InvalidDestination::Nul(text.clone()))
    } else if key_length(name) > MAX_KEY {
        Err(InvalidDestination::TooLong(text.clone()))
    } else {
        Ok(())
    }
}

/// Why a text names no destination. The text is the client's fault, and the message says how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDestination {
    /// None of the prefixes that the broker knows.
    #[error("the destination {} has no known prefix: it must begin with /topic/, /queue/, /user/ or /app/", excerpt(.0))]
    UnknownPrefix(ByteString),
    /// Two separators in a row, or one at an end, or no name at all.
    #[error("the destination {} has an empty segment: names are split at ':', '.' and '/', and no part may be empty", excerpt(.0))]
    EmptySegment(ByteString),
    /// A wildcard where a message is to be sent.
    #[error("the destination {} has a wildcard: a message goes to one destination, '*' and '#' are for SUBSCRIBE", excerpt(.0))]
    Wildcard(ByteString),
    /// A `#` before the end of a pattern.
    #[error("the pattern {} has a '#' that is not its last segment", excerpt(.0))]
    HashNotLast(ByteString),
    /// A pattern of too many segments.
    #[error("the pattern {} has more than 16 segments", excerpt(.0))]
    TooDeep(ByteString),
    /// A NUL, which no STOMP header can carry.
    #[error("the destination {} has a NUL in it", excerpt(.0))]
    Nul(ByteString),
    /// `/app/…` is sent to, never subscribed.
    #[error("{} can't be subscribed: subscribe to a destination that begins with /topic/, /queue/ or /user/queue/", excerpt(.0))]
    NotSubscribable(ByteString),
    /// A user's destination without the user.
    #[error("the destination {} names no user: it must be /user/<name>/queue/<queue>", excerpt(.0))]
    NoUser(ByteString),
    /// Longer than a routing key can be.
    #[error("the destination {} is too long: at most 255 octets, where each octet outside A-Z a-z 0-9 - _ ~ . : / counts three", excerpt(.0))]
    TooLong(ByteString),
}

impl InvalidDestination {
    /// The rule that was broken, as a short and stable label.
    pub fn rule(&self) -> &'static str {
        match self {
            InvalidDestination::UnknownPrefix(_) => "unknown_destination",
            InvalidDestination::EmptySegment(_) => "empty_segment",
            InvalidDestination::Wildcard(_) => "wildcard_in_send",
            InvalidDestination::HashNotLast(_) => "hash_not_last",
            InvalidDestination::TooDeep(_) => "pattern_too_deep",
            InvalidDestination::Nul(_) => "nul_in_destination",
            InvalidDestination::NotSubscribable(_) => "not_subscribable",
            InvalidDestination::NoUser(_) => "no_user",
            InvalidDestination::TooLong(_) => "destination_too_long",
        }
    }
}

/// The beginning of a client's text, quoted and without control characters.
pub(crate) fn excerpt(text: &str) -> String {
    const MOST: usize = 64;
    let mut out: String = text.chars().take(MOST).flat_map(char::escape_debug).collect();
    if text.chars().nth(MOST).is_some() {
        out.push('…');
    }
    format!("'{out}'")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn destination(text: &'static str) -> Result<Destination, InvalidDestination> {
        Destination::parse(Tenant::DEFAULT, ByteString::from_static(text))
    }

    fn filter(text: &'static str) -> Result<Filter, InvalidDestination> {
        Filter::parse(Tenant::DEFAULT, ByteString::from_static(text))
    }

    #[test]
    fn every_login_has_destinations_of_its_own() {
        let of = |user: &str| Destination::of_user(Tenant::DEFAULT, user, "queue/x").unwrap();
        assert_eq!(of("anna").text(), "/user/anna/queue/x");
        assert_eq!(of("anna.b@example.org").text(), "/user/anna.b@example.org/queue/x");
        let logins = ["a/b", "a%2Fb", "a%252Fb", "J.R.", "J%2ER%2E", "*", "#", "a..b", "a%b", "%a"];
        for (at, one) in logins.iter().enumerate() {
            for other in &logins[at + 1..] {
                assert_ne!(of(one), of(other), "{one} {other}");
            }
        }
        let secret = Destination::of_nobody(Tenant::DEFAULT, "5-1-ab", "queue/x").unwrap();
        for login in ["5-1-ab", "%5-1-ab", "%255-1-ab"] {
            assert_ne!(of(login), secret);
        }
    }

    #[test]
    fn a_destination_has_kind_and_name() {
        let parsed = destination("/topic/host-metrics:web1.example.org").unwrap();
        assert_eq!(parsed.kind(), Kind::Topic);
        assert_eq!(parsed.name(), "host-metrics:web1.example.org");
        assert_eq!(destination("/app/subscribe").unwrap().kind(), Kind::App);
    }

    #[test]
    fn spellings_are_different_destinations() {
        assert_ne!(destination("/topic/a.b").unwrap(), destination("/topic/a:b").unwrap());
        assert_ne!(filter("/topic/a.b").unwrap(), filter("/topic/a/b").unwrap());
    }

    #[test]
    fn what_is_no_destination_is_named() {
        for (text, rule) in [
            ("topic/a", "unknown_destination"),
            ("", "unknown_destination"),
            ("/queu/a", "unknown_destination"),
            ("/topic/", "empty_segment"),
            ("/topic/a..b", "empty_segment"),
            ("/topic/a.", "empty_segment"),
            ("/topic/a.*", "wildcard_in_send"),
            ("/topic/#", "wildcard_in_send"),
        ] {
            assert_eq!(destination(text).unwrap_err().rule(), rule, "{text}");
        }
    }

    #[test]
    fn an_asterisk_within_a_segment_is_a_character() {
        assert_eq!(destination("/topic/a*b").unwrap().name(), "a*b");
        assert!(filter("/topic/a*b").unwrap().exact().is_some());
    }

    #[test]
    fn a_hash_stands_at_the_end() {
        assert_eq!(filter("/topic/#.a").unwrap_err().rule(), "hash_not_last");
        assert!(filter("/topic/a.#").unwrap().exact().is_none());
        assert!(filter("/topic/#").is_ok());
    }

    #[test]
    fn a_pattern_is_so_deep() {
        let deep = |segments: usize, end: &str| {
            Filter::parse(Tenant::DEFAULT, format!("/topic/{}{end}", "a.".repeat(segments - 1)).into())
        };
        assert!(deep(16, "*").is_ok());
        assert_eq!(deep(17, "*").unwrap_err().rule(), "pattern_too_deep");
        assert!(deep(100, "a").is_ok(), "no pattern");
    }

    #[test]
    fn a_name_is_as_long_as_a_routing_key() {
        let fits = format!("/topic/{}", "x".repeat(255));
        assert!(Destination::parse(Tenant::DEFAULT, fits.into()).is_ok());
        let long = format!("/topic/{}", "x".repeat(256));
        let error = Destination::parse(Tenant::DEFAULT, long.into()).unwrap_err();
        assert_eq!(error.rule(), "destination_too_long");
        let mapped = format!("/topic/{}", "é".repeat(43));
        assert!(Destination::parse(Tenant::DEFAULT, mapped.into()).is_err(), "each octet counts three");
    }

    #[test]
    fn patterns_match_by_segments() {
        for (pattern, name, matches) in [
            ("/topic/a.*", "/topic/a:b", true),
            ("/topic/a.*", "/topic/a", false),
            ("/topic/a.*", "/topic/a.b.c", false),
            ("/topic/host-metrics:#", "/topic/host-metrics:web1.example.org", true),
            ("/topic/host-metrics:#", "/topic/host-metrics", true),
            ("/topic/host-metrics:#", "/topic/host-metricsx", false),
            ("/topic/#", "/topic/anything/at.all", true),
            ("/topic/*.b", "/topic/a/b", true),
            ("/topic/a.b", "/topic/a:b", false),
        ] {
            let matched = filter(pattern).unwrap().matches(&destination(name).unwrap());
            assert_eq!(matched, matches, "{pattern} {name}");
        }
    }

    #[test]
    fn another_tenants_names_never_match() {
        let other = Destination::parse(Tenant(7), ByteString::from_static("/topic/a.b")).unwrap();
        assert!(!filter("/topic/a.b").unwrap().matches(&other));
        assert!(!filter("/topic/#").unwrap().matches(&other));
    }
}
