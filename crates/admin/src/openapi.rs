//! OpenAPI 3.1: the interface described for machines.

use actix_web::HttpResponse;

const DOCUMENT: &str = include_str!("openapi.json");

pub(crate) async fn document() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .insert_header(("Cache-Control", "no-cache"))
        .body(DOCUMENT)
}
