//! What things are called in RabbitMQ.
//!
//! Owns every name to the octet: routing and binding keys, queues, exchanges, and which tenant a name belongs to. No
//! name from here is longer than AMQP can carry. Leaves to the core how a name is mapped to a key.
//!
//! ```text
//! topics    amq.topic (or another)    key         /topic/a:b is a.b, of another tenant <tenant>.a.b
//! queues    (the default exchange)    queue       /queue/q is q, of another tenant <tenant>.q
//! users     stentor.direct            user.<name>, reply.<name>, session.<id>
//! nodes     stentor.nodes             no key, a fanout
//! internal  stentor.events, stentor.node.<node>.<incarnation>
//! ```
//!
//! Two installations on one RabbitMQ have another word than `stentor` each, and another exchange for topics.

use std::collections::HashMap;

use smallvec::{SmallVec, smallvec};

use crate::broker::{Destination, Filter, Kind, MAX_KEY, Tenant, excerpt};

/// What precedes the name of a queue in that of its dead letters' queue.
const DEAD_LETTERS: &str = "dlq.";

/// What names of RabbitMQ's own begin with. It refuses to declare others of them.
const RABBITMQ: &str = "amq.";

/// Why a name can't go to RabbitMQ. The text is the client's, and the message says how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidName {
    /// Longer than AMQP's names can be.
    #[error("{} is too long: at most {MAX_KEY} octets as RabbitMQ has it, the tenant's name included", excerpt(.0))]
    TooLong(String),
    /// Its first segment is the name of a tenant.
    #[error("{} begins with the name of a tenant: choose another first segment", excerpt(.0))]
    OfTenant(String),
    /// A queue that is not the clients'.
    #[error("{} is an internal queue's name: choose one that begins neither with 'amq.' nor with the installation's name and a dot", excerpt(.0))]
    Internal(String),
    /// Whose it is has no name.
    #[error("{} is of a tenant that has no name: give it one", excerpt(.0))]
    NoTenant(String),
}

/// Why an installation can't be called so. The operator's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidNames {
    /// A name that is no segment.
    #[error("{} names no installation or tenant: give 1 to 64 of A-Z a-z 0-9 - _ ~", excerpt(.0))]
    Word(String),
    /// A tenant whose names would be others' names.
    #[error("a tenant can't be called {}: the word is used by the broker or by another tenant", excerpt(.0))]
    Taken(String),
    /// An exchange that AMQP can't name.
    #[error("{} names no exchange for topics: give 1 to {MAX_KEY} octets", excerpt(.0))]
    Exchange(String),
}

/// The tenants that have a name. All names of another than the default tenant begin with it.
#[derive(Debug, Clone, Default)]
pub(crate) struct TenantNames {
    names: HashMap<Tenant, String>,
    tenants: HashMap<String, Tenant>,
}

impl TenantNames {
    /// First segments that would make a tenant's names those of something else.
    const TAKEN: [&str; 5] = ["amq", "dlq", "user", "reply", "session"];

    /// These tenants. The default one has no name.
    ///
    /// # Errors
    /// [`InvalidNames`] if a name is no plain segment, or has a meaning already.
    #[cfg_attr(not(test), allow(dead_code))] // so long as no tenants are configured
    pub(crate) fn new(all: impl IntoIterator<Item = (Tenant, String)>) -> Result<TenantNames, InvalidNames> {
        let mut known = TenantNames::default();
        for (tenant, name) in all {
            check_word(&name)?;
            let is_free = tenant != Tenant::DEFAULT
                && !TenantNames::TAKEN.contains(&&*name)
                && !known.tenants.contains_key(&name);
            if !is_free || known.names.insert(tenant, name.clone()).is_some() {
                return Err(InvalidNames::Taken(name));
            }
            known.tenants.insert(name, tenant);
        }
        Ok(known)
    }

    /// Whether a name may begin so in its tenant's own namespace only.
    pub(crate) fn is_reserved(&self, first_segment: &str) -> bool {
        self.tenants.contains_key(first_segment)
    }

    /// Whose a key, or a queue's name, is, and what it is called there.
    pub(crate) fn owner<'k>(&self, key: &'k str) -> (Tenant, &'k str) {
        let (first, rest) = key.split_once(SEPARATORS).unwrap_or((key, ""));
        self.tenants.get(first).map_or((Tenant::DEFAULT, key), |tenant| (*tenant, rest))
    }

    /// The name under which `tenant`'s `name` is known to all. `text` is what the client said.
    fn of(&self, tenant: Tenant, name: &str, text: &str) -> Result<String, InvalidName> {
        let full = match self.names.get(&tenant) {
            Some(prefix) => format!("{prefix}.{name}"),
            None if tenant != Tenant::DEFAULT => return Err(InvalidName::NoTenant(text.to_owned())),
            None if self.is_reserved(first_segment(name)) => {
                return Err(InvalidName::OfTenant(text.to_owned()));
            }
            None => name.to_owned(),
        };
        if full.len() > MAX_KEY { Err(InvalidName::TooLong(text.to_owned())) } else { Ok(full) }
    }
}

/// What keys of replies begin with.
pub(crate) const REPLY: &str = "reply.";

/// All names of one installation.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    topics: String,
    /// The installation's name and a dot.
    own: String,
    direct: String,
    nodes: String,
    events: String,
    tenants: TenantNames,
}

impl Names {
    /// The names of `installation`, whose topics go to the exchange `topics`.
    ///
    /// # Errors
    /// [`InvalidNames`] if one of them is no name, or a tenant is called as the installation is.
    pub(crate) fn new(installation: &str, topics: &str, tenants: TenantNames) -> Result<Names, InvalidNames> {
        check_word(installation)?;
        if TenantNames::TAKEN.contains(&installation) || tenants.is_reserved(installation) {
            return Err(InvalidNames::Taken(installation.to_owned()));
        }
        if topics.is_empty() || topics.len() > MAX_KEY {
            return Err(InvalidNames::Exchange(topics.to_owned()));
        }
        let named = |what: &str| format!("{installation}.{what}");
        Ok(Names {
            topics: topics.to_owned(),
            own: named(""),
            direct: named("direct"),
            nodes: named("nodes"),
            events: named("events"),
            tenants,
        })
    }

    /// The exchange of topics.
    pub(crate) fn topics(&self) -> &str {
        &self.topics
    }

    /// The direct exchange by which one user, connection or session is found.
    pub(crate) fn direct(&self) -> &str {
        &self.direct
    }

    /// The fanout exchange of what nodes tell each other.
    pub(crate) fn nodes(&self) -> &str {
        &self.nodes
    }

    /// The stream that is the log of events channels.
    pub(crate) fn events(&self) -> &str {
        &self.events
    }

    /// The queue of one start of one node. Of a long node's name the beginning: the incarnation tells it from others.
    pub(crate) fn node_queue(&self, node: &str, incarnation: u32) -> String {
        let (head, tail) = (format!("{}node.", self.own), format!(".{incarnation:08x}"));
        let room = MAX_KEY - head.len() - tail.len();
        format!("{head}{}{tail}", &node[..node.floor_char_boundary(room)])
    }

    /// The tenants.
    pub(crate) fn tenants(&self) -> &TenantNames {
        &self.tenants
    }

    /// The key under which messages to a `/topic/` destination are published.
    ///
    /// # Errors
    /// [`InvalidName`] if it is too long with its tenant's name, or another tenant's.
    pub(crate) fn routing_key(&self, destination: &Destination) -> Result<String, InvalidName> {
        self.tenants.of(destination.tenant(), &destination.key(), destination.text())
    }

    /// The keys that bring all messages which a filter asks for: its own, and for one destination, where that differs, its
    /// name as spelled, under which RabbitMQ's STOMP plug-in publishes.
    ///
    /// # Errors
    /// As [`Names::routing_key`].
    pub(crate) fn binding_keys(&self, filter: &Filter) -> Result<SmallVec<[String; 2]>, InvalidName> {
        let key = self.tenants.of(filter.tenant(), &filter.key(), filter.text())?;
        let spelled = filter.exact().and_then(|exact| {
            // One that is too long as spelled nobody can publish to, and nothing is lost without it.
            self.tenants.of(exact.tenant(), exact.name(), exact.text()).ok()
        });
        Ok(match spelled {
            Some(spelled) if spelled != key => smallvec![key, spelled],
            _ => smallvec![key],
        })
    }

    /// The destination of a message that came under `key` from the exchange of topics. `exact` is what it says of that itself;
    /// if there is none, or it is not of this key, the message is a foreign one, and its destination `/topic/` and the key.
    /// None if no destination can be called so.
    pub(crate) fn destination(&self, key: &str, exact: Option<&str>) -> Option<Destination> {
        let (tenant, name) = self.tenants.owner(key);
        exact
            .and_then(|text| Destination::parse(tenant, text.into()).ok())
            .filter(|exact| exact.kind() == Kind::Topic && exact.key() == name)
            .or_else(|| Destination::foreign(tenant, name).ok())
    }

    /// The queue behind a `/queue/` destination: its name as it stands.
    ///
    /// # Errors
    /// [`InvalidName`] if it is too long, another tenant's, or one of RabbitMQ's or the broker's own.
    pub(crate) fn queue_name(&self, destination: &Destination) -> Result<String, InvalidName> {
        let queue = self.tenants.of(destination.tenant(), destination.name(), destination.text())?;
        if queue.starts_with(RABBITMQ) || queue.starts_with(&self.own) {
            return Err(InvalidName::Internal(destination.text().to_string()));
        }
        Ok(queue)
    }

    /// Where the dead letters of a `/queue/` destination go. Those of dead letters, and of a queue whose name is too long for
    /// another, go nowhere.
    pub(crate) fn dead_letters(&self, destination: &Destination) -> Option<String> {
        let name = destination.name();
        if name.starts_with(DEAD_LETTERS) || self.queue_name(destination).is_err() {
            return None;
        }
        self.tenants.of(destination.tenant(), &format!("{DEAD_LETTERS}{name}"), destination.text()).ok()
    }

    /// The key on the direct exchange of what is for one user or one connection, `/user/` and `/reply-queue/`.
    ///
    /// # Errors
    /// As [`Names::routing_key`].
    pub(crate) fn address_key(&self, destination: &Destination) -> Result<String, InvalidName> {
        let kind = if destination.kind() == Kind::Reply { REPLY } else { "user." };
        let name = format!("{kind}{}", destination.name());
        self.tenants.of(destination.tenant(), &name, destination.text())
    }

    /// The queue by which AMQP's own clients answer a connection, of its address `/reply-queue/…`.
    pub(crate) fn reply_queue(&self, address: &str) -> Option<String> {
        let name = address.strip_prefix(Kind::Reply.prefix())?;
        let queue = self.queue_of_key(&format!("{REPLY}{name}"));
        (queue.len() <= MAX_KEY).then_some(queue)
    }

    /// The queue that belongs to a key of a reply.
    pub(crate) fn queue_of_key(&self, key: &str) -> String {
        format!("{}{key}", self.own)
    }

    /// The address behind such a queue.
    pub(crate) fn reply_address(&self, queue: &str) -> Option<String> {
        let name = queue.strip_prefix(self.own.as_str())?.strip_prefix(REPLY)?;
        Some(format!("{}{name}", Kind::Reply.prefix()))
    }

    /// The key on the direct exchange of a SockJS session, which is of no tenant yet.
    ///
    /// # Errors
    /// [`InvalidName::TooLong`].
    pub(crate) fn session_key(&self, id: &str) -> Result<String, InvalidName> {
        self.tenants.of(Tenant::DEFAULT, &format!("session.{id}"), id)
    }
}

/// What ends a segment. In a key of ours that is the dot alone, in a foreign one any of them.
const SEPARATORS: [char; 3] = ['.', ':', '/'];

fn first_segment(name: &str) -> &str {
    name.split(SEPARATORS).next().unwrap_or(name)
}

/// An installation's or a tenant's name is one segment that stands in a key as it is.
fn check_word(word: &str) -> Result<(), InvalidNames> {
    const LONGEST: usize = 64;
    let stands = |octet: u8| octet.is_ascii_alphanumeric() || b"-_~".contains(&octet);
    if (1..=LONGEST).contains(&word.len()) && word.bytes().all(stands) {
        Ok(())
    } else {
        Err(InvalidNames::Word(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const TOPICS: &str = "amq.topic";
    const INSTALLATION: &str = "stentor";

    const ACME: Tenant = Tenant::numbered(1);

    fn names() -> Names {
        let tenants = TenantNames::new([(ACME, "acme".to_owned())]).unwrap();
        Names::new(INSTALLATION, TOPICS, tenants).unwrap()
    }

    fn to(tenant: Tenant, text: &str) -> Destination {
        Destination::parse(tenant, text.into()).unwrap()
    }

    fn bound(tenant: Tenant, text: &str) -> Vec<String> {
        let filter = Filter::parse(tenant, text.into()).unwrap();
        names().binding_keys(&filter).unwrap().into_vec()
    }

    #[test]
    fn topics_have_keys_by_tenant() {
        let key = |tenant, text| names().routing_key(&to(tenant, text));
        assert_eq!(key(Tenant::DEFAULT, "/topic/a/b:c").unwrap(), "a.b.c");
        assert_eq!(key(ACME, "/topic/a/b:c").unwrap(), "acme.a.b.c");
        assert_eq!(key(ACME, "/topic/acme").unwrap(), "acme.acme");
        for text in ["/topic/acme", "/topic/acme:x", "/topic/acme/x", "/topic/acme.x"] {
            assert_eq!(key(Tenant::DEFAULT, text), Err(InvalidName::OfTenant(text.to_owned())));
        }
        assert_eq!(key(Tenant::DEFAULT, "/topic/acme-x.acme").unwrap(), "acme-x.acme");
        let unnamed = key(Tenant::numbered(2), "/topic/a");
        assert!(matches!(unnamed, Err(InvalidName::NoTenant(_))), "never in another's namespace");
    }

    #[test]
    fn the_tenants_name_counts() {
        let long = |octets: usize| format!("/topic/{}", "x".repeat(octets));
        assert_eq!(names().routing_key(&to(ACME, &long(250))).unwrap().len(), 255);
        let text = long(251);
        assert_eq!(names().routing_key(&to(ACME, &text)), Err(InvalidName::TooLong(text.clone())));
        assert!(names().routing_key(&to(Tenant::DEFAULT, &text)).is_ok());
    }

    #[test]
    fn subscriptions_bind_what_is_published_for_them() {
        assert_eq!(bound(Tenant::DEFAULT, "/topic/a.b"), ["a.b"]);
        let both = ["host-metrics.web1", "host-metrics:web1"];
        assert_eq!(bound(Tenant::DEFAULT, "/topic/host-metrics:web1"), both);
        assert_eq!(bound(ACME, "/topic/a:b"), ["acme.a.b", "acme.a:b"]);
        assert_eq!(bound(Tenant::DEFAULT, "/topic/grün"), ["gr%C3%BCn", "grün"]);
        assert_eq!(bound(Tenant::DEFAULT, "/topic/host-metrics:#"), ["host-metrics.#"]);
        assert_eq!(bound(Tenant::DEFAULT, "/topic/*:b*"), ["*.b%2A"]);
        assert_eq!(bound(ACME, "/topic/#"), ["acme.#"]);
        let reserved = Filter::parse(Tenant::DEFAULT, "/topic/acme:#".into()).unwrap();
        assert!(matches!(names().binding_keys(&reserved), Err(InvalidName::OfTenant(_))));
    }

    #[test]
    fn keys_have_owners() {
        let names = names();
        let owner = |key| names.tenants().owner(key);
        assert_eq!(owner("acme.a.b"), (ACME, "a.b"));
        assert_eq!(owner("acme:a.b"), (ACME, "a.b"));
        assert_eq!(owner("acme"), (ACME, ""));
        assert_eq!(owner("acme."), (ACME, ""));
        assert_eq!(owner("acmes.a"), (Tenant::DEFAULT, "acmes.a"));
        assert_eq!(owner("a.acme"), (Tenant::DEFAULT, "a.acme"));
        assert_eq!(owner(""), (Tenant::DEFAULT, ""));
        assert!(names.tenants().is_reserved("acme"));
        assert!(!names.tenants().is_reserved("a"));
    }

    #[test]
    fn arriving_messages_have_destinations() {
        let of = |key: &str, exact: Option<&str>| {
            names().destination(key, exact).map(|it| (it.tenant(), it.text().to_string()))
        };
        let default = |text: &str| Some((Tenant::DEFAULT, text.to_owned()));
        assert_eq!(of("a.b", Some("/topic/a:b")), default("/topic/a:b"));
        assert_eq!(of("a.b", None), default("/topic/a.b"));
        assert_eq!(of("a:b", None), default("/topic/a.b"));
        assert_eq!(of("acme.a.b", Some("/topic/a/b")), Some((ACME, "/topic/a/b".to_owned())));
        assert_eq!(of("acme.a.b", None), Some((ACME, "/topic/a.b".to_owned())));
        for forged in ["/topic/secret", "/queue/a.b", "/topic/", "nonsense", ""] {
            assert_eq!(of("a.b", Some(forged)), default("/topic/a.b"), "{forged}");
        }
        let long = "x".repeat(256);
        for bad in ["", ".", "a..b", ".a", "a.", "a.*", "#", "a.#", "acme", "acme.", "a\0b", &long] {
            assert_eq!(of(bad, None), None, "{bad}");
        }
    }

    #[test]
    fn queues_stand_as_they_are() {
        let queue = |tenant, text| names().queue_name(&to(tenant, text));
        assert_eq!(queue(Tenant::DEFAULT, "/queue/a/b:c é").unwrap(), "a/b:c é");
        assert_eq!(queue(ACME, "/queue/a/b").unwrap(), "acme.a/b");
        assert_eq!(queue(ACME, "/queue/amq.x").unwrap(), "acme.amq.x");
        assert_eq!(queue(Tenant::DEFAULT, "/queue/amqp.x").unwrap(), "amqp.x");
        assert_eq!(queue(Tenant::DEFAULT, "/queue/stentor").unwrap(), "stentor");
        for text in ["/queue/amq.x", "/queue/stentor.events", "/queue/stentor.node.a.00000001"] {
            let refused = queue(Tenant::DEFAULT, text);
            assert_eq!(refused, Err(InvalidName::Internal(text.to_owned())));
        }
        assert!(matches!(queue(Tenant::DEFAULT, "/queue/acme/x"), Err(InvalidName::OfTenant(_))));
    }

    #[test]
    fn dead_letters_go_beside_their_queue() {
        let dead = |tenant, text: &str| names().dead_letters(&to(tenant, text));
        assert_eq!(dead(Tenant::DEFAULT, "/queue/a/b").unwrap(), "dlq.a/b");
        assert_eq!(dead(ACME, "/queue/a").unwrap(), "acme.dlq.a");
        let beside = to(ACME, "/queue/dlq.a");
        assert_eq!(dead(ACME, "/queue/a"), names().queue_name(&beside).ok());
        assert_eq!(dead(Tenant::DEFAULT, "/queue/dlq.a"), None);
        assert_eq!(dead(Tenant::DEFAULT, "/queue/amq.a"), None);
        assert_eq!(dead(Tenant::DEFAULT, &format!("/queue/{}", "x".repeat(252))), None);
        assert_eq!(dead(Tenant::DEFAULT, &format!("/queue/{}", "x".repeat(251))).unwrap().len(), 255);
    }

    #[test]
    fn addresses_never_meet() {
        let names = names();
        let key = |tenant, text| names.address_key(&to(tenant, text)).unwrap();
        let all = [
            key(Tenant::DEFAULT, "/user/anna/queue/x"),
            key(Tenant::DEFAULT, "/user/acme.anna/queue/x"),
            key(ACME, "/user/anna/queue/x"),
            key(Tenant::DEFAULT, "/reply-queue/anna/queue/x"),
            names.session_key("anna/queue/x").unwrap(),
        ];
        assert_eq!(all[0], "user.anna/queue/x");
        assert_eq!(all[2], "acme.user.anna/queue/x");
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert!(matches!(names.session_key(&"x".repeat(248)), Err(InvalidName::TooLong(_))));
    }

    #[test]
    fn an_installation_has_names_of_its_own() {
        let usual = names();
        assert_eq!(
            [usual.topics(), usual.direct(), usual.nodes(), usual.events()],
            ["amq.topic", "stentor.direct", "stentor.nodes", "stentor.events"]
        );
        assert_eq!(usual.node_queue("web1.example.org", 0xbeef), "stentor.node.web1.example.org.0000beef");
        let long = usual.node_queue(&"é".repeat(200), 1);
        assert!(long.len() <= 255 && long.ends_with("é.00000001"), "{long}");
        let other = Names::new("blue", "events", TenantNames::default()).unwrap();
        assert_eq!(
            [other.topics(), other.direct(), other.nodes(), other.events()],
            ["events", "blue.direct", "blue.nodes", "blue.events"]
        );
        assert!(other.queue_name(&to(Tenant::DEFAULT, "/queue/stentor.events")).is_ok());
        assert!(other.queue_name(&to(Tenant::DEFAULT, "/queue/blue.events")).is_err());
    }

    #[test]
    fn names_that_mean_something_else_are_refused() {
        let tenants = |all: &[(u32, &str)]| {
            let all = all.iter().map(|(number, name)| (Tenant::numbered(*number), (*name).to_owned()));
            TenantNames::new(all)
        };
        assert!(tenants(&[(1, "a"), (2, "b")]).is_ok());
        for bad in
            [&[(1, "a"), (2, "a")][..], &[(1, "a"), (1, "b")], &[(0, "a")], &[(1, "dlq")], &[(1, "user")]]
        {
            assert!(matches!(tenants(bad), Err(InvalidNames::Taken(_))), "{bad:?}");
        }
        for bad in ["", "a.b", "a b", "é", "*", &"x".repeat(65)] {
            assert!(matches!(tenants(&[(1, bad)]), Err(InvalidNames::Word(_))), "{bad}");
            assert!(matches!(Names::new(bad, TOPICS, TenantNames::default()), Err(InvalidNames::Word(_))));
        }
        let called = |installation, topics, tenant| {
            Names::new(installation, topics, tenants(&[(1, tenant)]).unwrap()).unwrap_err()
        };
        assert_eq!(called("acme", TOPICS, "acme"), InvalidNames::Taken("acme".to_owned()));
        assert_eq!(called("amq", TOPICS, "acme"), InvalidNames::Taken("amq".to_owned()));
        assert_eq!(called("dlq", TOPICS, "acme"), InvalidNames::Taken("dlq".to_owned()));
        assert_eq!(called("a", "", "acme"), InvalidNames::Exchange(String::new()));
    }

    proptest! {
        #[test]
        fn what_is_published_comes_back(name in "[a-c.:/ %*#é]{1,12}|(acme[.:])?[ab]{1,3}", own in any::<bool>()) {
            let tenant = if own { ACME } else { Tenant::DEFAULT };
            let Ok(destination) = Destination::topic(tenant, &name) else { return Ok(()) };
            let Ok(key) = names().routing_key(&destination) else { return Ok(()) };
            let back = names().destination(&key, Some(destination.text()));
            prop_assert_eq!(back, Some(destination.clone()));
            prop_assert_eq!(&names().binding_keys(&Filter::from(&destination)).unwrap()[0], &key);
        }

        #[test]
        fn any_key_has_an_owner_and_a_destination_of_that_or_none(key in "[a.:/*#]{0,9}|acme[.:]\\PC{0,9}|\\PC{0,300}") {
            let (tenant, _) = names().tenants().owner(&key);
            if let Some(destination) = names().destination(&key, None) {
                prop_assert_eq!(destination.tenant(), tenant);
            }
        }
    }
}
