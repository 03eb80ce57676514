//! The page at `/`, the JavaScript client it uses, and the descriptions of what can be asked: embedded files, served under a
//! strict content security policy.

use crate::wire::http::{Response, problem};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const YAML: &str = "application/yaml";

/// Nothing but our own files, and connections to ourselves.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    base-uri 'none'; frame-ancestors 'none'; form-action 'none'";

/// The file at `path`, or 404.
#[must_use]
pub fn page(path: &str) -> Response {
    let (media_type, bytes): (&'static str, &'static [u8]) = match path {
        "/" => (HTML, include_bytes!("page/index.html")),
        "/page.css" => (CSS, include_bytes!("page/page.css")),
        "/page.js" => (JAVASCRIPT, include_bytes!("page/page.js")),
        "/client.js" => (JAVASCRIPT, include_bytes!("client/fanfare.js")),
        "/favicon.svg" => (SVG, include_bytes!("page/favicon.svg")),
        "/openapi.yaml" => (YAML, include_bytes!("../../docs/openapi.yaml")),
        "/openapi-operators.yaml" => (YAML, include_bytes!("../../docs/openapi-operators.yaml")),
        "/asyncapi.yaml" => (YAML, include_bytes!("../../docs/asyncapi.yaml")),
        _ => return problem(404, "not_found", "There is nothing at this path."),
    };
    Response::new(200)
        .header("Content-Security-Policy", POLICY)
        .header("X-Content-Type-Options", "nosniff")
        .header("Referrer-Policy", "no-referrer")
        .header("Cache-Control", "no-cache")
        .body(media_type, bytes)
}
