//! What the broker says of itself: logs and metrics.

pub mod health;
pub mod log;
pub mod metrics;
pub mod rate_limit;

pub use health::Health;
pub use metrics::Metrics;
