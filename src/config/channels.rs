//! Patterns of channels with their bounds, and the catalogue that they make.

use std::str::FromStr;
use std::time::Duration;

use super::Channels;
use super::error::ProblemKind;
use super::setting::{Raw, Value, Wrong};
use super::value::ByteSize;
use crate::broker::{Catalogue, ChannelKind, Filter, HistoryLimits, Rule, Tenant};

/// A pattern of topics, and bounds of its own where it has some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelPattern {
    pattern: String,
    messages: Option<usize>,
    bytes: Option<ByteSize>,
    age: Option<Duration>,
    tail: Option<usize>,
}

impl ChannelPattern {
    /// What it matches, as a SUBSCRIBE has it, without `/topic/`.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }
}

impl FromStr for ChannelPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<ChannelPattern, String> {
        let mut words = text.split_whitespace();
        let pattern = words.next().unwrap_or_default().to_owned();
        Filter::parse(Tenant::DEFAULT, format!("/topic/{pattern}").into()).map_err(|why| why.to_string())?;
        if pattern.contains(char::is_control) {
            return Err("a pattern has no control characters".to_owned());
        }
        let mut channel = ChannelPattern { pattern, messages: None, bytes: None, age: None, tail: None };
        for word in words {
            let (name, value) = word.split_once('=').ok_or_else(|| format!("{word:?} is no bound"))?;
            let raw = Raw::Text(value.to_owned());
            let wrong = |Wrong { what, .. }: Wrong| format!("{name}: {what}");
            match name {
                "messages" => channel.messages = Some(at_least_one(&raw).map_err(wrong)?),
                "bytes" => channel.bytes = Some(ByteSize::parse(&raw).map_err(wrong)?),
                "age" => channel.age = Some(Duration::parse(&raw).map_err(wrong)?),
                "tail" => channel.tail = Some(usize::parse(&raw).map_err(wrong)?),
                _ => return Err(format!("there is no bound called {name:?}")),
            }
        }
        Ok(channel)
    }
}

fn at_least_one(raw: &Raw) -> Result<usize, Wrong> {
    let number = usize::parse(raw)?;
    if number > 0 { Ok(number) } else { Err(Wrong::new("0 is too few", "give 1 or more")) }
}

impl ChannelPattern {
    fn is_bounded(&self) -> bool {
        self.messages.is_some() || self.bytes.is_some() || self.age.is_some() || self.tail.is_some()
    }

    fn rule(&self, kind: ChannelKind, history: HistoryLimits, built_in: &Catalogue) -> Rule {
        Rule {
            pattern: self.pattern.clone(),
            kind,
            history: HistoryLimits {
                messages: self.messages.unwrap_or(history.messages),
                bytes: self.bytes.map_or(history.bytes, ByteSize::get),
                age: self.age.unwrap_or(history.age),
            },
            // Unless it says otherwise, it stays what it is without the configuration.
            tail: self.tail.unwrap_or_else(|| built_in.rule(&self.pattern).map_or(0, |rule| rule.tail)),
            is_configured: true,
        }
    }
}

impl Value for ChannelPattern {
    const NAME: &'static str = "a pattern of topics";
    const EXAMPLE: &'static str = "a pattern without /topic/, and bounds behind it, such as \
                                   \"orders:# messages=1000 bytes=1MiB age=10m tail=100\"";

    fn parse(raw: &Raw) -> Result<Self, Wrong> {
        let Raw::Text(text) = raw else { return Err(Wrong::form::<Self>(raw)) };
        text.parse()
            .map_err(|why| Wrong::new(format!("{}: {why}", raw.shown()), format!("give {}", Self::EXAMPLE)))
    }

    fn show(&self) -> String {
        let mut text = self.pattern.clone();
        let bounds = [
            ("messages", self.messages.map(|number| number.to_string())),
            ("bytes", self.bytes.map(|size| size.to_string())),
            ("age", self.age.map(|age| age.show().trim_matches('"').to_owned())),
            ("tail", self.tail.map(|number| number.to_string())),
        ];
        for (name, value) in bounds {
            if let Some(value) = value {
                text.push_str(&format!(" {name}={value}"));
            }
        }
        super::value::quoted(&text)
    }
}

impl Channels {
    /// The bounds of channels without any of their own.
    fn history(&self) -> HistoryLimits {
        HistoryLimits {
            messages: self.history_messages,
            bytes: self.history_bytes.get(),
            age: self.history_age,
        }
    }

    /// The rules, and those that everybody finds.
    pub fn catalogue(&self) -> Catalogue {
        let (history, built_in) = (self.history(), Catalogue::default());
        let rules = self
            .lists()
            .into_iter()
            .flat_map(|(kind, _, list)| list.iter().map(move |pattern| (kind, pattern)))
            .map(|(kind, pattern)| pattern.rule(kind, history, &built_in));
        Catalogue::new(rules.collect(), history)
    }

    fn lists(&self) -> [(ChannelKind, &'static str, &[ChannelPattern]); 3] {
        [
            (ChannelKind::Snapshot, "channels.snapshot", &self.snapshot),
            (ChannelKind::Events, "channels.events", &self.events),
            (ChannelKind::Plain, "channels.plain", &self.plain),
        ]
    }

    /// The rules that bind several settings.
    pub(super) fn check_together(&self, refuse: &mut impl FnMut(ProblemKind, &str, &str, &str)) {
        let mut seen: Vec<String> = Vec::new();
        for (kind, setting, list) in self.lists() {
            for channel in list {
                // Separators are alike in patterns.
                let pattern = channel.pattern.replace([':', '/'], ".");
                if seen.contains(&pattern) {
                    let what = format!("the pattern {:?} is there twice", channel.pattern);
                    refuse(ProblemKind::Contradiction, setting, &what, "give each pattern one kind, once");
                }
                seen.push(pattern);
                if channel.is_bounded() && kind != ChannelKind::Events {
                    let what = format!(
                        "{:?} has bounds of a history, and {} has none",
                        channel.pattern,
                        kind.name()
                    );
                    refuse(ProblemKind::Contradiction, setting, &what, "leave the bounds out");
                }
            }
        }
        if self.max_history_bytes < self.history_bytes {
            let what = format!(
                "{} for all channels is less than the {} of channels.history_bytes for one",
                self.max_history_bytes, self.history_bytes
            );
            let fix = "raise it, or lower channels.history_bytes";
            refuse(ProblemKind::Contradiction, "channels.max_history_bytes", &what, fix);
        }
    }
}
