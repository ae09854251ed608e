//! What REST says when it refuses: `{status: "error", message, …}`.

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

/// An answer that says what was wrong.
pub(super) fn refuse(status: StatusCode, message: &str) -> HttpResponse {
    HttpResponse::build(status).json(json!({ "status": "error", "message": message }))
}

/// The answer for paths that are none.
pub(super) async fn unknown(request: HttpRequest) -> HttpResponse {
    refuse(
        StatusCode::NOT_FOUND,
        &format!("there is no {} {} here", request.method(), request.path()),
    )
}

/// The answer for a method that a resource does not have.
pub(super) fn only(allowed: &'static str) -> HttpResponse {
    HttpResponse::MethodNotAllowed()
        .insert_header(("Allow", allowed))
        .json(json!({ "status": "error", "message": format!("use {allowed}") }))
}

/// The refusal of a body that does not say that it is JSON. A page of another origin can't send one that says so without
/// asking first, and is not allowed to: so no page can make a visitor's browser publish here.
pub(super) fn unless_json(request: &HttpRequest) -> Option<HttpResponse> {
    let declared = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = declared.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return None;
    }
    Some(refuse(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "send the header content-type: application/json",
    ))
}

/// The answer for a body that could not be read.
pub(super) fn unreadable(error: &actix_web::Error, most: usize) -> HttpResponse {
    let status = error.as_response_error().status_code();
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        refuse(status, &format!("the body is larger than {most} octets"))
    } else {
        refuse(
            StatusCode::BAD_REQUEST,
            &format!("the body could not be read: {error}"),
        )
    }
}
