//! `eventsource`: frames as events of one response, at `/{server}/{session}/eventsource`. Browsers ask again by themselves
//! when it ends.

use actix_web::http::Method;
use bytes::{BufMut as _, Bytes, BytesMut};

use crate::{
    http::{Receiver, Wrapping, receive},
    routes::{Path, Route, Serve},
};

pub(crate) static ROUTE: Route = Route {
    name: "eventsource",
    path: Path::Session("eventsource"),
    methods: &[Method::GET],
    enabled: |_| true,
    serve: Serve::Receiver(|sockjs, request, _| {
        let receiver = Receiver {
            transport: ROUTE.name,
            content_type: "text/event-stream",
            wrapping: Wrapping {
                begin: Bytes::from_static(b"data: "),
                escape: Some(escape),
                end: b"\r\n\r\n",
            },
            // Opera 10 wanted something before the first event.
            prelude: Some(Bytes::from_static(b"\r\n")),
        };
        receive(sockjs, request, receiver)
    }),
};

/// sockjs-client decodes each event as it does URIs. Line ends, which would cut an event in two, are in no frame.
fn escape(frame: &[u8], out: &mut BytesMut) {
    let mut run = 0;
    for at in memchr::memchr_iter(b'%', frame) {
        out.put_slice(&frame[run..at]);
        out.put_slice(b"%25");
        run = at + 1;
    }
    out.put_slice(&frame[run..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_signs_are_escaped() {
        let mut out = BytesMut::new();
        escape(b"%a%%b", &mut out);
        assert_eq!(out, "%25a%25%25b");
    }
}
