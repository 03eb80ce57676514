//! The pages at `/` of both doors: their files, and the rules they are served under.

mod support;

use std::net::SocketAddr;

use support::http::{Http, get};
use support::process::ServerProcess;

/// Files at the public door.
const FILES: &[(&str, &str)] = &[
    ("/", "text/html; charset=utf-8"),
    ("/page.css", "text/css; charset=utf-8"),
    ("/page.js", "text/javascript; charset=utf-8"),
    ("/client.js", "text/javascript; charset=utf-8"),
    ("/favicon.svg", "image/svg+xml"),
];

/// Those at the operators' door.
const DASHBOARD: &[(&str, &str)] = &[
    ("/", "text/html; charset=utf-8"),
    ("/dashboard", "text/html; charset=utf-8"),
    ("/dashboard.css", "text/css; charset=utf-8"),
    ("/dashboard.js", "text/javascript; charset=utf-8"),
    ("/charts.js", "text/javascript; charset=utf-8"),
    ("/figures.js", "text/javascript; charset=utf-8"),
    ("/history.js", "text/javascript; charset=utf-8"),
    ("/words.js", "text/javascript; charset=utf-8"),
    ("/client.js", "text/javascript; charset=utf-8"),
    ("/favicon.svg", "image/svg+xml"),
];

/// Both doors of a server, and what each has.
fn doors(server: &ServerProcess) -> [(SocketAddr, &'static [(&'static str, &'static str)]); 2] {
    [(server.public, FILES), (server.admin, DASHBOARD)]
}

#[test]
fn every_file_has_its_type_and_the_strict_policy() {
    let server = ServerProcess::start(&[]);
    for (door, path, media_type) in doors(&server)
        .into_iter()
        .flat_map(|(door, files)| files.iter().map(move |(path, of)| (door, path, of)))
    {
        let answer = get(door, path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.field("content-type"), Some(*media_type), "{path}");
        assert_eq!(answer.field("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.field("referrer-policy"), Some("no-referrer"), "{path}");
        assert_eq!(answer.field("cache-control"), Some("no-cache"), "{path}");
        assert!(!answer.body.is_empty(), "{path}");
        let policy = answer.field("content-security-policy").expect("a policy");
        for part in
            ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"]
        {
            assert!(policy.split("; ").any(|directive| directive == part), "{path}: {part} in {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{path}: {policy}");
    }
}

#[test]
fn what_the_page_names_is_there_and_nothing_comes_from_elsewhere() {
    let server = ServerProcess::start(&[]);
    for (door, files) in doors(&server) {
        let page = get(door, "/");
        let mut found = 0;
        for attribute in ["src=\"", "href=\""] {
            for rest in page.text().split(attribute).skip(1) {
                let target = rest.split('"').next().unwrap();
                if target.starts_with('#') {
                    continue;
                }
                assert!(files.iter().any(|(path, _)| *path == target), "{target} is a file of ours");
                found += 1;
            }
        }
        assert!(3 <= found, "a style sheet, a script, an icon: {found}");
        for rest in page.text().split("<script").skip(1) {
            assert!(rest.split('>').next().unwrap().contains("src="), "the policy lets no inline script run");
        }
        assert!(!page.text().contains("<style") && !page.text().contains(" style=\""), "nor inline styles");
        for (path, _) in files.iter().filter(|(path, _)| path.ends_with(".js")) {
            for rest in get(door, path).text().split(" from '").skip(1) {
                let target = rest.split('\'').next().unwrap();
                let is_ours = files.iter().any(|(path, _)| *path == target);
                assert!(is_ours || !target.starts_with('/'), "{path} imports {target}");
            }
        }
    }
}

#[test]
fn a_head_request_has_the_length_and_no_body() {
    let server = ServerProcess::start(&[]);
    for (door, files) in doors(&server) {
        let mut http = Http::connect(door);
        for (path, _) in files {
            http.send(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
            let head = http.answer_to("HEAD");
            let whole = get(door, path);
            assert_eq!(head.field("content-length"), Some(whole.body.len().to_string().as_str()), "{path}");
        }
    }
}

#[test]
fn other_paths_are_not_there() {
    let server = ServerProcess::start(&[]);
    for path in
        ["/index.html", "/page.css/", "//", "/../page.css", "/page%2Ecss", "/PAGE.CSS", "/src/main.rs", "/."]
    {
        get(server.public, path).assert_problem(404, "not_found", path);
    }
}
