//! What handlers take: arguments made of a request.

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::{Refused, Request};
use crate::broker::Headers;

/// An argument of a handler.
pub trait FromRequest: Sized {
    /// Takes it from the request.
    ///
    /// # Errors
    /// [`Refused`], if it can't be had of this one.
    fn from_request(request: &Request<'_>) -> Result<Self, Refused>;
}

/// A body that is JSON; as an answer, a value that is sent as such.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// A body that is text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(pub String);

/// Who asks, if it said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User(pub Option<String>);

impl<T: DeserializeOwned> FromRequest for Json<T> {
    fn from_request(request: &Request<'_>) -> Result<Json<T>, Refused> {
        serde_json::from_slice(&request.message.body).map(Json).map_err(|error| {
            Refused(format!("the body is not what {} takes: {error}", request.message.destination.text()))
        })
    }
}

impl FromRequest for Text {
    fn from_request(request: &Request<'_>) -> Result<Text, Refused> {
        let text = String::from_utf8(request.message.body.to_vec());
        text.map(Text).map_err(|_| Refused("the body is no text: it must be UTF-8".to_owned()))
    }
}

impl FromRequest for User {
    fn from_request(request: &Request<'_>) -> Result<User, Refused> {
        Ok(User(request.user.map(str::to_owned)))
    }
}

/// The body as it is.
impl FromRequest for Bytes {
    fn from_request(request: &Request<'_>) -> Result<Bytes, Refused> {
        Ok(request.message.body.clone())
    }
}

/// The headers of the SEND that are handed on.
impl FromRequest for Headers {
    fn from_request(request: &Request<'_>) -> Result<Headers, Refused> {
        Ok(request.message.headers.clone())
    }
}
