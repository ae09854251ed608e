//! The REST door: `/api/v1/…`.
//!
//! One file for each resource. All answer JSON, errors too.

mod error;
mod events;
mod messages;
mod metrics;

use std::sync::Arc;

use actix_web::web;

use crate::broker::Broker;
use crate::producers::scheduler::Figures;

pub use self::events::take_event;

/// What the resources work on.
#[derive(Debug, Clone)]
pub struct Api {
    /// Where messages go.
    pub broker: Arc<Broker>,
    /// Where events go, and figures come from.
    pub figures: Arc<Figures>,
    /// Octets of one request's body.
    pub max_body: usize,
}

/// Adds the resources to an App.
pub fn routes(config: &mut web::ServiceConfig, api: Api) {
    config.service(
        web::scope("/api/v1")
            .app_data(web::PayloadConfig::new(api.max_body))
            .app_data(web::Data::new(api))
            .configure(events::routes)
            .configure(metrics::routes)
            .configure(messages::routes)
            .default_service(web::to(error::unknown)),
    );
}
