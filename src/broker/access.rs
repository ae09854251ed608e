//! Who acts, and what they may do.
//!
//! Owns the one question that every operation of every door passes. Everybody is anonymous and may do everything for
//! now; the question is asked in the places where it will have to be asked.

use std::sync::Arc;

use super::destination::{Destination, Filter, Tenant};

/// Who acts: a user of a tenant, or nobody in particular.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    tenant: Tenant,
    user: Option<Arc<str>>,
}

impl Identity {
    /// Nobody in particular, in the default tenant.
    pub fn anonymous() -> Identity {
        Identity::default()
    }

    /// A user of the default tenant, by the name that it gave.
    pub fn named(user: &str) -> Identity {
        Identity { tenant: Tenant::DEFAULT, user: Some(user.into()) }
    }

    /// Whose destinations the identity speaks of.
    pub fn tenant(&self) -> Tenant {
        self.tenant
    }

    /// The user's name, if it is known.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }
}

/// What is to be done with a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Send a message to it.
    Send,
    /// Get the messages sent to it.
    Subscribe,
    /// Read by request what it shows: the current metrics, say.
    Read,
}

/// The rights of an installation.
#[derive(Debug, Clone, Default)]
pub struct Access;

/// The identity may not do that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("access to {destination} is denied: ask the operator for the right to {operation:?} there")]
pub struct Denied {
    /// What was refused.
    pub operation: Operation,
    /// Where.
    pub destination: String,
}

/// What a right is asked for: one destination, or all that a filter selects.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// One destination.
    Destination(&'a Destination),
    /// All that a filter selects.
    Filter(&'a Filter),
}

impl Place<'_> {
    fn tenant(self) -> Tenant {
        match self {
            Place::Destination(destination) => destination.tenant(),
            Place::Filter(filter) => filter.tenant(),
        }
    }

    fn text(self) -> String {
        match self {
            Place::Destination(destination) => destination.text().to_string(),
            Place::Filter(filter) => filter.text().to_string(),
        }
    }
}

impl<'a> From<&'a Destination> for Place<'a> {
    fn from(destination: &'a Destination) -> Self {
        Place::Destination(destination)
    }
}

impl<'a> From<&'a Filter> for Place<'a> {
    fn from(filter: &'a Filter) -> Self {
        Place::Filter(filter)
    }
}

impl Access {
    /// Whether `identity` may do `operation` at `place`.
    ///
    /// # Errors
    /// [`Denied`] if it may not.
    pub fn authorize(
        &self,
        identity: &Identity,
        operation: Operation,
        place: Place<'_>,
    ) -> Result<(), Denied> {
        // Isolation of tenants does not depend on rights.
        if identity.tenant() == place.tenant() {
            Ok(())
        } else {
            Err(Denied { operation, destination: place.text() })
        }
    }
}
