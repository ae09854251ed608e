//! Selectors of a hub's subscriptions to topics.
//!
//! Owns the rule that a message is judged once for each distinct selector, however many subscriptions have it.

use std::collections::HashMap;

use crate::broker::message::Message;
use crate::broker::selector::Selector;

/// Distinct selectors, and what they said of the message that is being delivered.
#[derive(Debug, Default)]
pub(super) struct Selecting {
    numbers: HashMap<Selector, (u32, u32)>,
    free: Vec<u32>,
    /// By number: the last message that it was asked of, and its answer.
    answers: Vec<(u64, bool)>,
    message: u64,
}

impl Selecting {
    /// One more group has this selector. Gives its number.
    pub(super) fn add(&mut self, selector: &Selector) -> u32 {
        if let Some((number, users)) = self.numbers.get_mut(selector) {
            *users += 1;
            return *number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.answers.push((0, false));
            (self.answers.len() - 1) as u32
        });
        self.answers[number as usize] = (0, false);
        self.numbers.insert(selector.clone(), (number, 1));
        number
    }

    /// One group less has it.
    pub(super) fn remove(&mut self, selector: &Selector) {
        if let Some((number, users)) = self.numbers.get_mut(selector) {
            *users -= 1;
            if *users == 0 {
                self.free.push(*number);
                self.numbers.remove(selector);
            }
        }
    }

    /// Another message is delivered.
    pub(super) fn next_message(&mut self) {
        self.message += 1;
    }

    /// Whether the message is for those who have this selector. `asked` counts how often it had to be judged.
    pub(super) fn wants(
        &mut self,
        number: u32,
        selector: &Selector,
        message: &Message,
        asked: &mut u64,
    ) -> bool {
        let Some(answer) = self.answers.get_mut(number as usize) else { return false };
        if answer.0 != self.message {
            *asked += 1;
            let headers = &message.headers;
            *answer = (self.message, selector.matches(|name| headers.get(name).map(|value| &**value)));
        }
        answer.1
    }
}
