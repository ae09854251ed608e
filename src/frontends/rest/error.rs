//! What REST says when it refuses: `{status: "error", message, …}`.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

/// An answer that says what was wrong.
pub(super) fn refuse(status: StatusCode, message: &str) -> HttpResponse {
    HttpResponse::build(status).json(json!({ "status": "error", "message": message }))
}

/// The answer for paths that are none.
pub(super) async fn unknown(request: HttpRequest) -> HttpResponse {
    refuse(StatusCode::NOT_FOUND, &format!("there is no {} {} here", request.method(), request.path()))
}

/// The answer for a method that a resource does not have.
pub(super) fn only(allowed: &'static str) -> HttpResponse {
    HttpResponse::MethodNotAllowed()
        .insert_header(("Allow", allowed))
        .json(json!({ "status": "error", "message": format!("use {allowed}") }))
}
