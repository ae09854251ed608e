//! `/api/v1/events`: events in.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::json;

use super::body::JsonBody;
use super::{Api, error};
use crate::broker::Operation;
use crate::producers::clock::iso;
use crate::producers::ingest::Rejection;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource("/events")
                .route(web::post().to(post))
                .route(web::to(|| async { error::only("POST") })),
        )
        .service(
            web::resource("/events/health")
                .route(web::get().to(health))
                .route(web::to(|| async { error::only("GET") })),
        );
}

async fn post(api: web::Data<Api>, JsonBody(body): JsonBody) -> HttpResponse {
    if let Some(refused) = api.unless_allowed(Operation::Send, &api.events) {
        return refused;
    }
    match api.figures.take(&body) {
        Ok(event) => HttpResponse::Accepted().json(event.accepted()),
        Err(rejection @ Rejection::NoRandomness) => {
            HttpResponse::build(StatusCode::INTERNAL_SERVER_ERROR).json(rejection.body())
        }
        Err(rejection) => HttpResponse::BadRequest().json(rejection.body()),
    }
}

async fn health(api: web::Data<Api>) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "UP", "timestamp": iso(api.figures.clock().now().wall) }))
}
