//! The REST door: `/api/v1/…`.
//!
//! One file for each resource. All answer JSON, errors too.

mod body;
mod error;
mod events;
mod messages;
mod metrics;
mod nodes;

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};

use crate::broker::{Broker, Destination, Identity, Operation};
use crate::producers::figures::Figures;
use crate::producers::nodes::Nodes;

/// What the resources work on.
#[derive(Debug, Clone)]
pub struct Api {
    /// Where messages go.
    pub broker: Arc<Broker>,
    /// Where events go, and figures come from.
    pub figures: Arc<Figures>,
    /// What the figures are shown as: `/topic/metrics`.
    pub metrics: Destination,
    /// Where events are sent to, on every door: `/app/events`.
    pub events: Destination,
    /// The nodes that are one broker.
    pub nodes: Nodes,
    /// What they are shown as: `/topic/nodes`.
    pub nodes_topic: Destination,
    /// Octets of one request's body.
    pub max_body: usize,
    /// What a frame to a subscriber may have.
    pub frames: Arc<stomp_parser::Limits>,
}

impl Api {
    /// Who asks. Nobody in particular, so long as there are no users.
    fn identity(&self) -> Identity {
        Identity::anonymous()
    }

    /// The refusal of what whoever asks may not do.
    fn unless_allowed(&self, operation: Operation, destination: &Destination) -> Option<HttpResponse> {
        let denied = self.broker.authorize(&self.identity(), operation, destination).err()?;
        Some(error::refuse(StatusCode::FORBIDDEN, &denied.to_string()))
    }
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
            .configure(nodes::routes)
            .default_service(web::to(error::unknown)),
    );
}
