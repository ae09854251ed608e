//! The backend of a node that is alone: a message is given back at once.

use crate::broker::{Backend, Destination, Filter, Forward, Forwarded, Message, Promise};

/// One node, embedded.
#[derive(Debug, Clone, Copy, Default)]
pub struct Local;

impl Backend for Local {
    fn forward(&self, message: Message) -> Forward {
        Forwarded::here(message)
    }

    fn want(&self, _: &Filter) {}

    fn release(&self, _: &Filter) {}

    fn bound(&self, _: &Filter) -> Option<Promise<()>> {
        None
    }

    fn queue(&self, _: &Destination) -> Result<Option<Promise<()>>, String> {
        Ok(None)
    }

    fn catch_up(&self) -> Option<Promise<()>> {
        None
    }

    fn is_away(&self) -> bool {
        false
    }

    fn away(&self) -> Promise<()> {
        Box::pin(std::future::pending())
    }

    fn wanted_elsewhere(&self, _: &Destination) -> bool {
        false
    }
}
