//! The patterns of LIKE.

use super::error::Fault;

/// A compiled pattern: `_` stands for one character, `%` for any number of them.
#[derive(Debug, PartialEq)]
pub(super) struct Pattern(Box<[Item]>);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Item {
    Character(char),
    One,
    Many,
}

impl Pattern {
    /// Reads a pattern in which `escape` takes their meaning from `%`, `_` and itself. Before anything else it is
    /// refused, as in SQL-92 ("invalid escape sequence"); the standard of selectors does not say.
    pub(super) fn new(text: &str, escape: Option<char>) -> Result<Pattern, Fault> {
        let mut items = Vec::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            let item = match character {
                _ if Some(character) == escape => match characters.next() {
                    Some(next) if matches!(next, '%' | '_') || next == character => Item::Character(next),
                    _ => return Err(Fault::Escaped),
                },
                '_' => Item::One,
                '%' => Item::Many,
                _ => Item::Character(character),
            };
            if item != Item::Many || items.last() != Some(&Item::Many) {
                items.push(item);
            }
        }
        Ok(Pattern(items.into()))
    }

    /// Whether it describes the whole of `text`; none if that would take more than is left of `effort`, a character's
    /// comparison each. Takes the pattern's length times the text's, at the worst: where a text goes on otherwise than
    /// the pattern, only the last `%` need take one character more, since whatever stands before it was matched by as
    /// little as possible.
    pub(super) fn matches(&self, text: &str, effort: &mut u32) -> Option<bool> {
        let mut rest = text.chars();
        let mut at = 0;
        let mut last = None;
        loop {
            *effort = effort.checked_sub(1)?;
            match self.0.get(at) {
                Some(Item::Many) => {
                    at += 1;
                    if at == self.0.len() {
                        return Some(true);
                    }
                    last = Some((at, rest.clone()));
                    continue;
                }
                Some(item) => match rest.next() {
                    Some(character) if *item == Item::One || *item == Item::Character(character) => {
                        at += 1;
                        continue;
                    }
                    Some(_) => {}
                    None => return Some(false),
                },
                None if rest.as_str().is_empty() => return Some(true),
                None => {}
            }
            let Some((behind, start)) = &mut last else { return Some(false) };
            if start.next().is_none() {
                return Some(false);
            }
            at = *behind;
            rest = start.clone();
        }
    }
}
