//! The page at `/`, that of operators, the JavaScript client they use, and the descriptions of what can be asked: embedded
//! files, served under a strict content security policy.

use crate::wire::http::{Response, problem};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const YAML: &str = "application/yaml";

/// Nothing but our own files, and connections to ourselves.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    base-uri 'none'; frame-ancestors 'none'; form-action 'none'";

/// The file at `path` of the public door, or 404.
#[must_use]
pub fn page(path: &str) -> Response {
    served(match path {
        "/" => (HTML, include_bytes!("page/index.html")),
        "/page.css" => (CSS, include_bytes!("page/page.css")),
        "/page.js" => (JAVASCRIPT, include_bytes!("page/page.js")),
        _ => return shared(path),
    })
}

/// The file at `path` of the operators' door, or 404.
#[must_use]
pub fn dashboard(path: &str) -> Response {
    served(match path {
        "/" | "/dashboard" => (HTML, include_bytes!("dashboard/index.html")),
        "/dashboard.css" => (CSS, include_bytes!("dashboard/dashboard.css")),
        "/dashboard.js" => (JAVASCRIPT, include_bytes!("dashboard/dashboard.js")),
        "/charts.js" => (JAVASCRIPT, include_bytes!("dashboard/charts.js")),
        "/figures.js" => (JAVASCRIPT, include_bytes!("dashboard/figures.js")),
        "/history.js" => (JAVASCRIPT, include_bytes!("dashboard/history.js")),
        "/words.js" => (JAVASCRIPT, include_bytes!("dashboard/words.js")),
        _ => return shared(path),
    })
}

/// The file at `path` that both doors have, or 404.
fn shared(path: &str) -> Response {
    served(match path {
        "/client.js" => (JAVASCRIPT, include_bytes!("client/fanfare.js")),
        "/favicon.svg" => (SVG, include_bytes!("page/favicon.svg")),
        "/openapi.yaml" => (YAML, include_bytes!("../../docs/openapi.yaml")),
        "/openapi-operators.yaml" => (YAML, include_bytes!("../../docs/openapi-operators.yaml")),
        "/asyncapi.yaml" => (YAML, include_bytes!("../../docs/asyncapi.yaml")),
        _ => return problem(404, "not_found", "There is nothing at this path."),
    })
}

/// A file of this media type.
fn served((media_type, bytes): (&'static str, &'static [u8])) -> Response {
    Response::new(200)
        .header("Content-Security-Policy", POLICY)
        .header("X-Content-Type-Options", "nosniff")
        .header("Referrer-Policy", "no-referrer")
        .header("Cache-Control", "no-cache")
        .body(media_type, bytes)
}
