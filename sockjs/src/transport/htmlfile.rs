//! `htmlfile`: frames as scripts of a page that goes on loading in a frame of the client's page, at
//! `/{server}/{session}/htmlfile`.

use std::future::ready;

use actix_web::http::Method;
use bytes::Bytes;

use super::jsonp::{self, callback};
use crate::{
    http::{Receiver, Wrapping, escape_json, receive},
    routes::{Path, Route, Serve},
};

pub(crate) static ROUTE: Route = Route {
    name: "htmlfile",
    path: Path::Session("htmlfile"),
    methods: &[Method::GET],
    enabled: |_| true,
    serve: Serve::Receiver(|sockjs, request, _| match callback(request) {
        Ok(callback) => {
            let receiver = Receiver {
                transport: ROUTE.name,
                content_type: "text/html; charset=UTF-8",
                wrapping: Wrapping {
                    begin: Bytes::from_static(b"<script>\np(\""),
                    escape: Some(escape_json),
                    end: b"\");\n</script>\r\n",
                },
                prelude: Some(page(&callback)),
            };
            receive(sockjs, request, receiver)
        }
        Err(wrong) => Box::pin(ready(jsonp::refusal(sockjs, request, wrong))),
    }),
};

/// The page's beginning, to the letter that of the protocol, and so long that browsers begin to show it.
fn page(callback: &str) -> Bytes {
    /// What it has before its last four octets, the name of the function not counted: that of sockjs-node.
    const PADDED: usize = 1023;
    let mut page = format!(
        "<!doctype html>\n<html><head>\n  \
         <meta http-equiv=\"X-UA-Compatible\" content=\"IE=edge\" />\n  \
         <meta http-equiv=\"Content-Type\" content=\"text/html; charset=UTF-8\" />\n\
         </head><body><h2>Don't panic!</h2>\n  \
         <script>\n    document.domain = document.domain;\n    var c = parent.{callback};\n    c.start();\n    \
         function p(d) {{c.message(d);}};\n    window.onload = function() {{c.stop();}};\n  </script>"
    );
    let padding = (PADDED + callback.len()).saturating_sub(page.len());
    page.push_str(&" ".repeat(padding));
    page.push_str("\r\n\r\n");
    page.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_long_enough_to_be_shown() {
        for name in ["c", "a_long.name-of-a.callback_x.y.z1"] {
            let page = page(name);
            assert_eq!(page.len(), 1027 + name.len());
            assert!(page.ends_with(b"  \r\n\r\n"));
        }
    }
}
