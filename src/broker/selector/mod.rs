//! Selectors of SUBSCRIBE. None is understood yet: each is refused.

/// A condition on a message's headers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Selector(Never);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Never {}

/// A text is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("selectors are not understood by this version: leave the header out")]
pub struct InvalidSelector;

impl Selector {
    /// Reads a selector.
    ///
    /// # Errors
    /// Always.
    pub fn parse(_: &str) -> Result<Selector, InvalidSelector> {
        Err(InvalidSelector)
    }

    /// Whether a message with these headers is selected.
    pub fn matches<'a>(&self, _: impl Fn(&str) -> Option<&'a str>) -> bool {
        match self.0 {}
    }
}
