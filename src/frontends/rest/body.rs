//! The body of a request: JSON that says that it is JSON, within a bound.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{FromRequest, HttpRequest, HttpResponse, ResponseError};
use bytes::Bytes;

use super::{Api, error};

/// The octets of a JSON body, not parsed yet.
///
/// One that does not say that it is JSON is refused: a page of another origin can't send one that says so without
/// asking first, and is not allowed to, so that no page can make a visitor's browser publish here.
pub(super) struct JsonBody(pub(super) Bytes);

impl FromRequest for JsonBody {
    type Error = Unreadable;
    type Future = Pin<Box<dyn Future<Output = Result<JsonBody, Unreadable>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let declared = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = declared.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/json") {
            return Box::pin(async { Err(Unreadable::NotJson) });
        }
        let most = request.app_data::<actix_web::web::Data<Api>>().map_or(0, |api| api.max_body);
        let body = Bytes::from_request(request, payload);
        Box::pin(async move {
            match body.await {
                Ok(body) => Ok(JsonBody(body)),
                Err(error) if error.as_response_error().status_code() == StatusCode::PAYLOAD_TOO_LARGE => {
                    Err(Unreadable::TooLarge(most))
                }
                Err(error) => Err(Unreadable::Broken(error.to_string())),
            }
        })
    }
}

/// Why a body was not taken.
#[derive(Debug)]
pub(super) enum Unreadable {
    NotJson,
    TooLarge(usize),
    Broken(String),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::NotJson => f.write_str("send the header content-type: application/json"),
            Unreadable::TooLarge(most) => write!(f, "the body is larger than {most} octets"),
            Unreadable::Broken(why) => write!(f, "the body could not be read: {why}"),
        }
    }
}

impl ResponseError for Unreadable {
    fn status_code(&self) -> StatusCode {
        match self {
            Unreadable::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Unreadable::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Unreadable::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }

    fn error_response(&self) -> HttpResponse {
        error::refuse(self.status_code(), &self.to_string())
    }
}
