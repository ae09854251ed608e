//! Who somebody is.

use std::sync::Arc;

use crate::broker::Tenant;

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

    /// Whose destinations the identity speaks of.
    pub fn tenant(&self) -> Tenant {
        self.tenant
    }

    /// The user's name, if it is known.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }
}
