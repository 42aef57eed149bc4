//! The dashboard: files in the binary, nothing fetched from elsewhere.

use crate::problem::Problem;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};

const PAGE: &str = include_str!("dashboard/index.html");
const FILES: &[(&str, &str, &str)] = &[
    ("style.css", "text/css; charset=utf-8", include_str!("dashboard/style.css")),
    ("app.js", "text/javascript; charset=utf-8", include_str!("dashboard/app.js")),
    ("element.js", "text/javascript; charset=utf-8", include_str!("dashboard/element.js")),
    ("ladder.js", "text/javascript; charset=utf-8", include_str!("dashboard/ladder.js")),
    ("stream.js", "text/javascript; charset=utf-8", include_str!("dashboard/stream.js")),
    ("icon.svg", "image/svg+xml", include_str!("dashboard/icon.svg")),
];
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) async fn page() -> HttpResponse {
    serve("text/html; charset=utf-8", PAGE)
}

pub(crate) async fn file(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let name = request.match_info().get("file").unwrap_or("");
    FILES.iter().find(|(file, ..)| *file == name).map(|(_, kind, text)| serve(kind, text)).ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, format!("the dashboard has no file {}", request.path()))
    })
}

fn serve(kind: &'static str, text: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(kind)
        .insert_header(("Cache-Control", "no-cache"))
        .insert_header(("Content-Security-Policy", POLICY))
        .insert_header(("Referrer-Policy", "no-referrer"))
        .insert_header(("X-Content-Type-Options", "nosniff"))
        .body(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_fetched_from_elsewhere() {
        for (name, text) in FILES.iter().map(|(name, _, text)| (*name, *text)).chain([("index.html", PAGE)]) {
            let foreign = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!foreign.contains("http://") && !foreign.contains("https://"), "{name}");
            assert!(
                !text.contains(" style=\"") && !text.contains("onclick=\""),
                "{name}: the policy forbids inline"
            );
        }
    }

    #[test]
    fn every_file_the_page_names_exists() {
        let texts = FILES.iter().map(|(_, _, text)| *text).chain([PAGE]);
        let named: Vec<&str> = texts
            .flat_map(|text| text.split("\"/dashboard/").skip(1))
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert!(named.len() >= FILES.len(), "{named:?}");
        for name in named {
            assert!(FILES.iter().any(|(file, ..)| *file == name), "{name}");
        }
    }
}
