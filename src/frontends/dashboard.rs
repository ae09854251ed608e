//! The dashboard's files, embedded in the binary.
//!
//! Owns what is served at `/`. The files are made by the dashboard's own build; a binary built without them serves a
//! page that says how to get them.

use std::borrow::Cow;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use bytes::Bytes;
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/dashboard/dist"]
#[allow_missing = true]
struct Files;

/// Scripts, styles and connections come from here alone.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Files under this path carry a hash of their content in their names, but for texts.
const HASHED: &str = "assets/";

const MISSING: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>Stentor</title>
<h1>Stentor is running, without its dashboard</h1>
<p>This binary was built without Node. To get the dashboard, run <code>make run</code>, or
<code>npm ci &amp;&amp; npm run build</code> in <code>dashboard/</code> and then <code>cargo build</code> again.</p>
<p>Everything else works: SockJS and WebSocket at <code>/ws</code>, REST at <code>/api/v1</code>, metrics at
<a href=\"/metrics\"><code>/metrics</code></a>.</p>
</html>
";

/// Adds the dashboard to an App, behind all other routes.
pub fn routes(config: &mut web::ServiceConfig) {
    config.route("/{path:.*}", web::get().to(file)).route("/{path:.*}", web::head().to(file));
}

/// The path of sockjs-client for pages that load it as a script.
pub const SOCKJS_SCRIPT: &str = "sockjs.min.js";

/// Whether this binary has a dashboard.
pub fn is_built() -> bool {
    has("index.html")
}

/// Whether this binary has a file at this path.
pub fn has(path: &str) -> bool {
    Files::get(path).is_some()
}

async fn file(request: HttpRequest) -> HttpResponse {
    let path = match request.path().trim_start_matches('/') {
        "" => "index.html",
        path => path,
    };
    let Some(file) = Files::get(path) else {
        return if path == "index.html" {
            page(HttpResponse::Ok(), path).body(MISSING)
        } else {
            not_found(path)
        };
    };
    let tag = tag(&file.metadata.sha256_hash());
    let have = request.headers().get(header::IF_NONE_MATCH);
    if have.is_some_and(|have| have.as_bytes() == tag.as_bytes()) {
        return page(HttpResponse::NotModified(), path).insert_header((header::ETAG, tag)).finish();
    }
    page(HttpResponse::Ok(), path).insert_header((header::ETAG, tag)).body(match file.data {
        Cow::Borrowed(embedded) => Bytes::from_static(embedded),
        Cow::Owned(read) => Bytes::from(read),
    })
}

fn page(mut response: HttpResponseBuilder, path: &str) -> HttpResponseBuilder {
    let cached = if path.starts_with(HASHED) && !path.ends_with(".txt") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    response
        .content_type(content_type(path))
        .insert_header((header::CACHE_CONTROL, cached))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"));
    response
}

fn not_found(path: &str) -> HttpResponse {
    HttpResponse::NotFound()
        .content_type("text/plain; charset=utf-8")
        .body(format!("there is no /{path} here\n"))
}

fn tag(hash: &[u8; 32]) -> String {
    let hex: String = hash[..8].iter().map(|octet| format!("{octet:02x}")).collect();
    format!("\"{hex}\"")
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("txt") => "text/plain; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json" | "map") => "application/json",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        _ => "application/octet-stream",
    }
}
