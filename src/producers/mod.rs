//! What the broker publishes of its own accord, as far as it can be said without a broker: events taken in, the
//! figures made of them, and the figures of this machine. When they run and where they go is wired elsewhere.

pub mod clock;
pub mod figures;
pub mod host;
pub mod ingest;
pub mod metrics;
pub mod nodes;
pub mod scheduler;
