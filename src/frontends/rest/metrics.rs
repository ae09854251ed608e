//! `/api/v1/metrics`: the same object as `/topic/metrics`.

use actix_web::http::header;
use actix_web::{HttpResponse, web};

use super::{Api, error};
use crate::broker::Operation;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(
        web::resource("/metrics").route(web::get().to(get)).route(web::to(|| async { error::only("GET") })),
    );
}

async fn get(api: web::Data<Api>) -> HttpResponse {
    if let Some(refused) = api.unless_allowed(Operation::Read, &api.metrics) {
        return refused;
    }
    HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(api.figures.json())
}
