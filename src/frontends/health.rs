//! `/health`: whether new clients are to be sent to this node.
//!
//! 200 where they are, 503 where they are not, and the word that says why in both.

use std::sync::Arc;

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use serde_json::json;

use crate::telemetry::health::{Health, Status};

/// Adds it to an App, before what answers all other paths.
pub fn routes(config: &mut web::ServiceConfig, health: Arc<Health>) {
    config.service(
        web::resource("/health")
            .app_data(web::Data::from(health))
            .route(web::get().to(get))
            .route(web::head().to(get))
            .default_service(web::to(only)),
    );
}

async fn get(health: web::Data<Health>) -> HttpResponse {
    let (status, reasons) = health.report();
    let mut response =
        if status.is_serving() { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    match status {
        Status::Degraded => response.json(json!({ "status": status.label(), "reasons": reasons })),
        _ => response.json(json!({ "status": status.label() })),
    }
}

async fn only() -> HttpResponse {
    HttpResponse::MethodNotAllowed().insert_header((header::ALLOW, "GET, HEAD")).finish()
}

#[cfg(test)]
mod tests {
    use actix_web::http::{Method, StatusCode};
    use actix_web::{App, test};

    use super::*;
    use crate::telemetry::Metrics;

    async fn ask(health: &Arc<Health>, method: Method) -> (StatusCode, String) {
        let health = health.clone();
        let app = test::init_service(App::new().configure(|config| routes(config, health))).await;
        let request = test::TestRequest::with_uri("/health").method(method).to_request();
        let response = test::call_service(&app, request).await;
        let status = response.status();
        if status != StatusCode::METHOD_NOT_ALLOWED {
            assert_eq!(
                response.headers().get("cache-control").map(|value| value.as_bytes()),
                Some(&b"no-store"[..])
            );
        }
        (status, String::from_utf8_lossy(&test::read_body(response).await).into_owned())
    }

    #[actix_web::test]
    async fn it_says_how_the_node_is() {
        let health = Arc::new(Health::new(Arc::new(Metrics::new())));
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(ask(&health, Method::GET).await, (unavailable, r#"{"status":"starting"}"#.to_owned()));
        health.ready();
        assert_eq!(ask(&health, Method::GET).await, (StatusCode::OK, r#"{"status":"ok"}"#.to_owned()));
        assert_eq!(ask(&health, Method::HEAD).await.0, StatusCode::OK);
        health.set("it", Some("it is out of reach".to_owned()));
        let degraded = r#"{"reasons":["it is out of reach"],"status":"degraded"}"#.to_owned();
        assert_eq!(ask(&health, Method::GET).await, (StatusCode::OK, degraded));
        health.drain();
        assert_eq!(ask(&health, Method::GET).await, (unavailable, r#"{"status":"draining"}"#.to_owned()));
        assert_eq!(ask(&health, Method::HEAD).await.0, unavailable);
        assert_eq!(ask(&health, Method::POST).await.0, StatusCode::METHOD_NOT_ALLOWED);
    }
}
