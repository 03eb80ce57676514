//! The descriptions of what can be asked, `docs/openapi.yaml`, `docs/openapi-operators.yaml` and `docs/asyncapi.yaml`, against
//! the running server: each path and method answers as it says, and there is no path that none of them knows.

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use fanfare::session::hooks::Source;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use support::http::{Answer, Http, ask, get, post};
use support::process::ServerProcess;
use support::publisher::Publisher;
use support::websocket::Client;

/// A description, as a value.
struct Description {
    whole: Value,
    text: String,
}

impl Description {
    fn read(name: &str) -> Description {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
        let text = std::fs::read_to_string(path).unwrap();
        let whole = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        Description { whole, text }
    }

    /// What a reference names, or the value itself.
    fn resolve<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(target) => {
                let pointer = target.strip_prefix('#').expect("references lead to the same file");
                self.resolve(self.whole.pointer(pointer).unwrap_or_else(|| panic!("{target} leads nowhere")))
            }
            None => value,
        }
    }

    /// Every path, method and operation.
    fn operations(&self) -> Vec<(&str, String, &Value)> {
        let mut operations = Vec::new();
        for (path, methods) in self.whole["paths"].as_object().expect("paths") {
            for (method, operation) in methods.as_object().expect("methods") {
                operations.push((&**path, method.to_uppercase(), operation));
            }
        }
        operations
    }

    /// What is wrong with a value, or with what it has in it.
    fn check(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let schema = self.resolve(schema);
        let Some(rules) = schema.as_object() else { return Err(format!("{schema} is no schema")) };
        let wrong = |what: &str| Err(format!("{value}: {what}: {schema}"));
        for (rule, expected) in rules {
            match rule.as_str() {
                "type" => {
                    let kinds = expected.as_array().cloned().unwrap_or_else(|| vec![expected.clone()]);
                    if !kinds.iter().any(|kind| is_kind(value, kind.as_str().expect("a type"))) {
                        return wrong("another type");
                    }
                }
                "const" if value != expected => return wrong("another value"),
                "enum" if !expected.as_array().expect("a list").contains(value) => {
                    return wrong("none of these");
                }
                "required" => {
                    let names =
                        expected.as_array().expect("a list").iter().map(|name| name.as_str().unwrap());
                    if let Some(missing) = names.into_iter().find(|name| value.get(name).is_none()) {
                        return wrong(&format!("{missing} is missing"));
                    }
                }
                "properties" => {
                    for (name, schema) in expected.as_object().expect("properties") {
                        value.get(name).map_or(Ok(()), |value| self.check(schema, value))?;
                    }
                }
                "additionalProperties" => {
                    let known = rules.get("properties").and_then(Value::as_object);
                    let members = value.as_object().into_iter().flatten();
                    for (name, value) in
                        members.filter(|(name, _)| !known.is_some_and(|known| known.contains_key(*name)))
                    {
                        match expected {
                            Value::Bool(false) => return wrong(&format!("nobody knows {name}")),
                            schema => self.check(schema, value)?,
                        }
                    }
                }
                "items" => {
                    value.as_array().into_iter().flatten().try_for_each(|item| self.check(expected, item))?
                }
                "oneOf" => {
                    let schemas = expected.as_array().expect("a list").iter();
                    if schemas.filter(|schema| self.check(schema, value).is_ok()).count() != 1 {
                        return wrong("not one of these");
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Asserts that an answer has a described status, media type and shape.
    fn assert_described(&self, operation: &Value, answer: &Answer, context: &str) {
        let responses = &operation["responses"];
        let status = answer.status.to_string();
        let response = responses.get(&status).or_else(|| responses.get("default"));
        let response =
            self.resolve(response.unwrap_or_else(|| panic!("{context}: {status} is not described")));
        let Some(content) = response.get("content") else { return };
        let media_type = answer.field("content-type").unwrap_or_else(|| panic!("{context}: no media type"));
        let described =
            content.get(media_type).unwrap_or_else(|| panic!("{context}: {media_type}: {content}"));
        if media_type.ends_with("json") {
            let outcome = self.check(&described["schema"], &answer.json());
            assert_eq!(outcome, Ok(()), "{context}: {}", answer.text());
        }
    }
}

fn is_kind(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => panic!("there is no type {kind}"),
    }
}

const SECRET: &str = "a shared secret";

/// A server that has whatever the descriptions speak of.
struct Scene {
    server: ServerProcess,
    _secrets: tempfile::NamedTempFile,
}

impl Scene {
    fn new() -> Scene {
        let secrets = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(secrets.path(), SECRET).unwrap();
        let path = secrets.path().to_str().unwrap().to_owned();
        let hooks = ["--hook-github-secrets", "--hook-gitea-secrets", "--hook-gitlab-tokens"];
        let mut flags = vec!["--presence", "chat", "--quiet-after", "50ms"];
        hooks.iter().for_each(|hook| flags.extend([hook, &*path]));
        let server = ServerProcess::start(&flags);
        Publisher::connect(server.public).publish("repo:alice/demo", "1");
        Scene { server, _secrets: secrets }
    }

    /// What stands in a path for its parameters; nothing if the example will do.
    fn stand_in(&self, path: &str) -> Option<String> {
        match path {
            "/notifications/{id}" | "/notifications/{id}/read" => {
                let body =
                    json!({"user_id": "alice", "notification_type": "mention", "title": "t", "body": "b"});
                let answer = post(self.server.public, "/notifications", &body.to_string());
                Some(answer.json()["notification"]["id"].as_str().unwrap().to_owned())
            }
            "/clients/{id}" => {
                let clients = get(self.server.admin, "/clients").json();
                Some(clients["clients"][0]["id"].as_str().expect("somebody is connected").to_owned())
            }
            _ => None,
        }
    }
}

/// A request as its description has it: the target, its fields, its body.
fn example(
    scene: &Scene,
    description: &Description,
    path: &str,
    operation: &Value,
) -> (String, String, String) {
    let content =
        operation.get("requestBody").map(|body| &description.resolve(body)["content"]["application/json"]);
    let body = content.map_or(String::new(), |content| {
        assert_eq!(
            description.check(&content["schema"], &content["example"]),
            Ok(()),
            "{path}: its own example"
        );
        content["example"].to_string()
    });
    let (mut target, mut query, mut fields) = (path.to_owned(), Vec::new(), String::new());
    for parameter in operation.get("parameters").and_then(Value::as_array).into_iter().flatten() {
        let parameter = description.resolve(parameter);
        let name = parameter["name"].as_str().unwrap();
        let example = match &parameter["example"] {
            Value::Null => {
                assert_ne!(parameter["required"], true, "{path}: {name} has no example");
                continue;
            }
            Value::Array(items) => items[0].clone(),
            example => example.clone(),
        };
        let example = example.as_str().map_or_else(|| example.to_string(), str::to_owned);
        match parameter["in"].as_str().unwrap() {
            "path" => {
                let value = scene.stand_in(path).unwrap_or(example);
                target = target.replace(&format!("{{{name}}}"), &value);
            }
            "query" => query.push(format!("{name}={example}")),
            "header" => fields += &format!("{name}: {}\r\n", proof(name, &body).unwrap_or(example)),
            other => panic!("{path}: {name} is in {other}"),
        }
    }
    if !query.is_empty() {
        target = format!("{target}?{}", query.join("&"));
    }
    if !body.is_empty() {
        fields += "Content-Type: application/json\r\n";
    }
    (target, fields, body)
}

/// What proves that a webhook comes from who says so, if the field does.
fn proof(field: &str, body: &str) -> Option<String> {
    let signature = || {
        let mut hmac = <Hmac<Sha256> as KeyInit>::new_from_slice(SECRET.as_bytes()).unwrap();
        hmac.update(body.as_bytes());
        hmac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    match field {
        "X-Hub-Signature-256" => Some(format!("sha256={}", signature())),
        "X-Gitea-Signature" => Some(signature()),
        "X-Gitlab-Token" => Some(SECRET.to_owned()),
        _ => None,
    }
}

const EVENT_STREAM: &str = "text/event-stream; charset=utf-8";

const DOORS: [(&str, bool); 2] = [("openapi.yaml", true), ("openapi-operators.yaml", false)];

fn address(scene: &Scene, is_public: bool) -> SocketAddr {
    if is_public { scene.server.public } else { scene.server.admin }
}

#[test]
fn every_path_and_method_answers_as_described() {
    let scene = Scene::new();
    for (name, is_public) in DOORS {
        let description = Description::read(name);
        let mut count = 0;
        for (path, method, operation) in description.operations() {
            // Somebody is there, whoever was disconnected before.
            let _client = Client::subscribed(scene.server.public, "t:a");
            let (target, mut fields, body) = example(&scene, &description, path, operation);
            let context = format!("{name}: {method} {target}");
            let responses = operation["responses"].as_object().unwrap();
            let is_stream = responses.contains_key("101")
                || operation["responses"]["200"]["content"].get(EVENT_STREAM).is_some();
            if responses.contains_key("101") {
                fields += "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
            }
            let answer = if is_stream {
                let mut http = Http::connect(address(&scene, is_public));
                http.send(format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
                http.head()
            } else {
                ask(address(&scene, is_public), &method, &target, &fields, &body)
            };
            description.assert_described(operation, &answer, &context);
            // A server without keys has no tokens to revoke.
            let expected = if path == "/revoke" { 503 } else { answer.status.min(299) };
            assert_eq!(answer.status, expected, "{context}: {:?}", String::from_utf8_lossy(&answer.body));
            assert!(responses.contains_key(&answer.status.to_string()), "{context}: {}", answer.status);
            count += 1;
        }
        assert!(15 < count, "{name}: {count}");
    }
}

#[test]
fn what_is_bad_is_refused_as_described() {
    let scene = Scene::new();
    let mut count = 0;
    for (name, is_public) in DOORS {
        let description = Description::read(name);
        for (path, method, operation) in description.operations() {
            if operation.get("requestBody").is_none() {
                continue;
            }
            let (target, fields, _) = example(&scene, &description, path, operation);
            let fields: String = fields
                .split_inclusive("\r\n")
                .map(|field| {
                    let (name, rest) = field.split_once(": ").unwrap();
                    proof(name, "{")
                        .map_or_else(|| format!("{name}: {rest}"), |proof| format!("{name}: {proof}\r\n"))
                })
                .collect();
            let answer = ask(address(&scene, is_public), &method, &target, &fields, "{");
            let context = format!("{name}: {method} {target} with half a body");
            description.assert_described(operation, &answer, &context);
            answer.assert_problem(400, "bad_json", &context);
            count += 1;
        }
    }
    assert!(8 < count, "{count}");
}

#[test]
fn each_path_has_the_methods_that_are_described_and_no_others() {
    let scene = Scene::new();
    for (name, is_public) in DOORS {
        let description = Description::read(name);
        let operations = description.operations();
        let paths: BTreeSet<&str> = operations.iter().map(|(path, _, _)| *path).collect();
        for path in paths {
            let target = path.replace("{channel}", "t:a").replace("{id}", "x").replace("{name}", "alice");
            let answer = ask(address(&scene, is_public), "OPTIONS", &target, "", "");
            assert_eq!(answer.status, 204, "{name}: {path}");
            let allowed = answer
                .field("allow")
                .unwrap()
                .split(", ")
                .filter(|method| !["HEAD", "OPTIONS"].contains(method));
            let described =
                operations.iter().filter(|(own, _, _)| *own == path).map(|(_, method, _)| &**method);
            assert_eq!(allowed.collect::<BTreeSet<_>>(), described.collect(), "{name}: {path}");
        }
    }
}

/// The paths that stand in the source of whatever decides what there is.
fn paths_in(file: &str, from: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/session").join(file);
    let source = std::fs::read_to_string(path).unwrap();
    let (_, rest) = source.split_once(from).unwrap_or_else(|| panic!("{file} has no {from}"));
    let body = rest.split("\n}\n").next().unwrap().split(";\n\n").next().unwrap();
    let texts = body.split('"').skip(1).step_by(2).filter(|text| text.starts_with('/'));
    texts.map(str::to_owned).collect()
}

#[test]
fn there_is_no_path_that_is_not_described() {
    let [public, operators] = DOORS.map(|(name, _)| {
        let description = Description::read(name);
        description.operations().iter().map(|(path, _, _)| (*path).to_owned()).collect::<BTreeSet<String>>()
    });
    let mut count = 0;
    let mut check = |described: &BTreeSet<String>, path: &str| {
        count += 1;
        let is_there = match path.ends_with('/') && path != "/" {
            true => described.iter().any(|own| own.starts_with(path) && own.contains('{')),
            false => described.contains(path),
        };
        assert!(is_there, "{path} is not described");
    };
    for path in paths_in("request.rs", "const HEALTH_PATHS") {
        check(&public, &path);
        check(&operators, &path);
    }
    for path in paths_in("request.rs", "pub const PAGE_PATHS")
        .iter()
        .chain(&paths_in("request.rs", "fn allowed_methods("))
    {
        check(&public, path);
    }
    for path in paths_in("operate.rs", "pub fn allowed_methods(")
        .iter()
        .chain(&paths_in("request.rs", "pub const DASHBOARD_PATHS"))
    {
        check(&operators, path);
    }
    Source::ALL.iter().for_each(|source| check(&public, &format!("/hooks/{}", source.name())));
    assert!(35 < count, "the sources were read: {count}");
}

#[test]
fn the_descriptions_are_served_as_they_are_and_each_at_its_door() {
    let server = ServerProcess::start(&[]);
    for (address, path, name) in [
        (server.public, "/openapi.yaml", "openapi.yaml"),
        (server.public, "/asyncapi.yaml", "asyncapi.yaml"),
        (server.admin, "/openapi.yaml", "openapi-operators.yaml"),
    ] {
        let answer = get(address, path);
        assert_eq!((answer.status, answer.field("content-type")), (200, Some("application/yaml")), "{path}");
        assert_eq!(answer.text(), Description::read(name).text, "{path}");
    }
    get(server.public, "/openapi-operators.yaml").assert_problem(
        404,
        "not_found",
        "this one is the operators'",
    );
    get(server.admin, "/asyncapi.yaml").assert_problem(
        404,
        "not_found",
        "there is no WebSocket at this door",
    );
}

#[test]
fn commands_and_messages_are_those_of_the_description() {
    let scene = Scene::new();
    let description = Description::read("asyncapi.yaml");
    let messages = &description.whole["components"]["messages"];
    let mut seen = BTreeSet::new();
    let mut check = |message: &Value| {
        let kind = message["type"].as_str().unwrap().to_owned();
        assert_eq!(description.check(&messages[&kind]["payload"], message), Ok(()));
        seen.insert(kind.clone());
        kind
    };
    let mut client = Client::open(scene.server.public, "/ws");
    for (name, operation) in description.whole["operations"].as_object().unwrap() {
        if operation["action"] == "send" {
            continue;
        }
        let allowed: BTreeSet<&str> = operation["reply"]["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|reply| reply["$ref"].as_str().unwrap().rsplit('/').next().unwrap())
            .collect();
        for example in messages[name]["examples"].as_array().unwrap() {
            let command = &example["payload"];
            assert_eq!(check(command), *name);
            let mut answer = client.ask(&command.to_string());
            // What comes unasked may come between.
            while answer["id"] != command["id"] {
                check(&answer);
                answer = client.next();
            }
            let kind = check(&answer);
            assert!(allowed.contains(&*kind), "{command}: {answer}");
        }
    }
    // What comes unasked: an announcement, a cursor, a bracket with older events, a gap.
    let announced = post(scene.server.admin, "/announce", r#"{"message":"hello"}"#);
    assert_eq!(announced.status, 202);
    while check(&client.next()) != "system" {}
    while check(&client.next()) != "cursor" {}
    client.send(r#"{"type":"filter","filter":{}}"#);
    client.send(r#"{"type":"subscribe","channel":"repo:alice/demo","since":"earliest"}"#);
    while check(&client.next()) != "replay" {}
    while check(&client.next()) != "event" {}
    client.send(r#"{"type":"nonsense","id":"last"}"#);
    while check(&client.next()) != "error" {}
    let mut stranger = Client::open(scene.server.public, "/ws?channel=t:a&since=aaaaaaaa-7");
    while check(&stranger.next()) != "gap" {}
    let described: BTreeSet<String> = messages.as_object().unwrap().keys().cloned().collect();
    assert_eq!(described, seen);
    // The server knows no command that is not described.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = std::fs::read_to_string(root.join("src/session/command.rs")).unwrap();
    let arms = source.lines().map(str::trim).filter_map(|line| line.strip_prefix('"')?.split_once("\" => "));
    let known: Vec<&str> = arms.map(|(name, _)| name).collect();
    assert!(6 < known.len(), "{known:?}");
    known.iter().for_each(|name| assert!(described.contains(*name), "{name} is not described"));
}
