//! What is done to nodes, to RabbitMQ and to the ways between them, and when: all of it follows from a seed.

use std::time::Duration;

use crate::dice::Dice;

/// Nodes that there are.
pub const NODES: usize = 3;

#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// `kill -9`; it is started again so much later.
    KillNode(usize, Duration),
    /// SIGSTOP, and SIGCONT so much later.
    Pause(usize, Duration),
    /// Its connections to RabbitMQ are reset.
    Reset(usize),
    /// Nothing passes between it and RabbitMQ for so long.
    CutOff(usize, Duration),
    /// `kill -9`; it is started again so much later.
    KillRabbit(Duration),
}

/// Each of these happens in so many seconds.
const DECK: [(u8, usize); 5] = [(0, 3), (1, 3), (2, 2), (3, 2), (4, 1)];
pub const DECK_SECONDS: u64 = 40;

/// Faults, each with when it begins.
pub fn schedule(seed: u64, seconds: u64) -> Vec<(Duration, Fault)> {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9).wrapping_add(7));
    let mut all = Vec::new();
    for deck in 0..seconds.div_ceil(DECK_SECONDS) {
        for (kind, count) in DECK {
            for _ in 0..count {
                let within = dice.below(DECK_SECONDS as usize * 900) as u64;
                let at = Duration::from_millis(deck * DECK_SECONDS * 1000 + within);
                all.push((at, fault(kind, &mut dice)));
            }
        }
    }
    all.retain(|(at, _)| at.as_secs() < seconds);
    all.sort_by_key(|(at, _)| *at);
    all
}

fn fault(kind: u8, dice: &mut Dice) -> Fault {
    let mut time =
        |least: usize, most: usize| Duration::from_millis((least + dice.below(most - least)) as u64);
    let (down, paused, cut_off, away) = (time(0, 4000), time(1000, 6000), time(500, 14_000), time(0, 8000));
    let node = dice.below(NODES);
    match kind {
        0 => Fault::KillNode(node, down),
        1 => Fault::Pause(node, paused),
        2 => Fault::Reset(node),
        3 => Fault::CutOff(node, cut_off),
        _ => Fault::KillRabbit(away),
    }
}
