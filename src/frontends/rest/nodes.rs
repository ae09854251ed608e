//! `GET /api/v1/nodes`: the nodes that are one broker.

use actix_web::http::header;
use actix_web::{HttpResponse, web};

use super::{Api, error};
use crate::broker::Operation;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(
        web::resource("/nodes").route(web::get().to(get)).route(web::to(|| async { error::only("GET") })),
    );
}

async fn get(api: web::Data<Api>) -> HttpResponse {
    if let Some(refusal) = api.unless_allowed(Operation::Read, &api.nodes_topic) {
        return refusal;
    }
    HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(api.nodes.json())
}
