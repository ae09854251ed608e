//! Whether what subscribers were given agrees: each with what was sent, and all with one order.

use std::collections::{HashMap, HashSet};

use crate::ledger::{Id, Kind, Reading, Sent};

/// Whether a subscription to this selects events of that.
fn selects(pattern: &str, destination: &str) -> bool {
    match pattern.strip_suffix('#') {
        Some(start) => destination.starts_with(start),
        None => pattern == destination,
    }
}

/// What did not come to a subscriber, though it was receipted or came to another, and lies in no gap that was told.
pub fn missing(sent: &[Sent], readings: &[Reading]) -> Vec<String> {
    let seen = |reading: &Reading| -> HashSet<Id> {
        reading.stretches.iter().flat_map(|stretch| stretch.ids.iter().copied()).collect()
    };
    let seen: Vec<HashSet<Id>> = readings.iter().map(seen).collect();
    let somebody: HashSet<Id> = seen.iter().flatten().copied().collect();
    let places = readings.iter().any(|reading| reading.stretches.len() > 1).then(|| places(readings));
    let mut missing = Vec::new();
    for (id, message) in sent.iter().enumerate() {
        if message.kind != Kind::Event || !message.is_receipted && !somebody.contains(&id) {
            continue;
        }
        for (who, reading) in readings.iter().enumerate() {
            if !selects(reading.destination, message.destination) || seen[who].contains(&id) {
                continue;
            }
            let place = places.as_ref().and_then(|places| places.get(&id));
            let is_told = |pair: &[crate::ledger::Stretch]| {
                let at = |id: Option<&Id>| id.and_then(|id| places.as_ref()?.get(id));
                let (before, after) = (at(pair[0].ids.last()), at(pair[1].ids.first()));
                // What nobody was given has no place.
                place.is_none_or(|place| {
                    before.is_none_or(|before| before < place) && after.is_none_or(|after| place < after)
                })
            };
            if !reading.stretches.windows(2).any(is_told) {
                let others = seen.iter().filter(|seen| seen.contains(&id)).count();
                missing
                    .push(format!("{id} did not come to reader {who}, but to {others} others: {message:?}"));
            }
        }
    }
    missing
}

/// What followed what, of all that subscribers were given.
fn followers(readings: &[Reading]) -> HashMap<Id, HashSet<Id>> {
    let mut followers: HashMap<Id, HashSet<Id>> = HashMap::new();
    for stretch in readings.iter().flat_map(|reading| &reading.stretches) {
        for pair in stretch.ids.windows(2) {
            followers.entry(pair[0]).or_default().insert(pair[1]);
        }
        if let Some(last) = stretch.ids.last() {
            followers.entry(*last).or_default();
        }
    }
    followers
}

/// A place for each, such that what followed stands behind; none for what follows itself in the end.
fn places(readings: &[Reading]) -> HashMap<Id, usize> {
    let followers = followers(readings);
    let mut before: HashMap<Id, usize> = HashMap::new();
    for id in followers.values().flatten() {
        *before.entry(*id).or_default() += 1;
    }
    let mut free: Vec<Id> = followers.keys().copied().filter(|id| !before.contains_key(id)).collect();
    let mut places = HashMap::new();
    while let Some(id) = free.pop() {
        places.insert(id, places.len());
        for next in &followers[&id] {
            let left = before.get_mut(next).expect("it was counted");
            *left -= 1;
            if *left == 0 {
                free.push(*next);
            }
        }
    }
    places
}

/// Where subscribers, or a publisher and a subscriber, do not agree on the order.
pub fn contradictions(sent: &[Sent], readings: &[Reading]) -> Vec<String> {
    let mut wrongs = Vec::new();
    let (placed, all) = (places(readings).len(), followers(readings).len());
    if placed < all {
        wrongs.push(format!("{} events came to subscribers in different orders", all - placed));
    }
    for (who, reading) in readings.iter().enumerate() {
        for stretch in &reading.stretches {
            let mut last: HashMap<(usize, &str), Id> = HashMap::new();
            for id in &stretch.ids {
                let message = &sent[*id];
                let before = last.insert((message.connection, message.destination), *id);
                if let Some(before) = before.filter(|before| before > id) {
                    wrongs.push(format!(
                        "reader {who} got {before} before {id}, of one publisher: {message:?}"
                    ));
                }
            }
        }
    }
    wrongs
}
