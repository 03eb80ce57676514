//! `fanfare keys` and `fanfare token`: what it takes to let somebody in.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::Failure;
use crate::session::auth::{Grants, KeyAlgorithm, SigningKey, new_api_key};
use crate::words::limits::KEY_FILE_BYTES_MAX;

/// Makes keys.
#[derive(Args)]
pub(super) struct KeysFlags {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Subcommand)]
enum KeysCommand {
    /// Make a key that signs tokens: the private one in a file of its own, the public one beside it and on standard output,
    /// as a set (JWKS) for --jwks.
    New(NewFlags),
    /// Make an API key: the key on standard error, once; on standard output its entry for the file of --api-keys.
    Api(ApiFlags),
}

#[derive(Args)]
struct NewFlags {
    /// es256, eddsa, or hs256: one secret that both signs and verifies
    #[arg(long, default_value = "es256", value_parser = parse_algorithm)]
    algorithm: KeyAlgorithm,
    /// The folder for the files
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

#[derive(Args)]
struct ApiFlags {
    /// How operators call it
    #[arg(long)]
    name: String,
    /// The user that it stands for, if any
    #[arg(long)]
    user: Option<String>,
    #[command(flatten)]
    grants: GrantFlags,
}

/// What is granted.
#[derive(Args)]
struct GrantFlags {
    /// What may be subscribed to, separated by commas, such as 'repo:**'
    #[arg(long, value_delimiter = ',', value_name = "PATTERNS")]
    subscribe: Vec<String>,
    /// Where it may be published
    #[arg(long, value_delimiter = ',', value_name = "PATTERNS")]
    publish: Vec<String>,
    /// Where it may be asked who is there
    #[arg(long, value_delimiter = ',', value_name = "PATTERNS")]
    presence: Vec<String>,
    /// The workspaces in which that holds, '*' for all [default: outside of all]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    workspace: Vec<String>,
    /// The right of an operator
    #[arg(long)]
    admin: bool,
}

/// Prints a token, for development: in production whoever knows the users signs them.
#[derive(Args)]
pub(super) struct MintFlags {
    /// File with the private key, or the secret
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The user whom it is for
    #[arg(long)]
    sub: Option<String>,
    /// How long it is good
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = humantime::parse_duration)]
    expires: Duration,
    /// Who issues it
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// For whom it is
    #[arg(long, value_name = "NAME")]
    audience: Option<String>,
    /// Its own name, by which it can be revoked
    #[arg(long, value_name = "NAME")]
    jti: Option<String>,
    #[command(flatten)]
    grants: GrantFlags,
}

pub(super) fn run(flags: &KeysFlags) -> anyhow::Result<()> {
    match &flags.command {
        KeysCommand::New(flags) => new_key(flags),
        KeysCommand::Api(flags) => new_api(flags),
    }
}

fn new_key(flags: &NewFlags) -> anyhow::Result<()> {
    let key = SigningKey::generate(flags.algorithm)?;
    std::fs::create_dir_all(&flags.out).with_context(|| flags.out.display().to_string())?;
    let ending = if key.public.is_some() { "pem" } else { "secret" };
    let private = flags.out.join(format!("{}.{ending}", key.name));
    write(&private, &key.private, true)?;
    let Some(public) = key.public else {
        eprintln!("the secret is in {}; the server takes it by --token-key", private.display());
        return Ok(());
    };
    let set = flags.out.join(format!("{}.jwks", key.name));
    write(&set, &public, false)?;
    eprintln!("the private key is in {}", private.display());
    eprintln!("the public key is in {}; the server takes it by --jwks", set.display());
    print!("{public}");
    Ok(())
}

fn new_api(flags: &ApiFlags) -> anyhow::Result<()> {
    let (key, digest) = new_api_key()?;
    let mut entry = json!({"name": flags.name, "sha256": digest, "grants": grants(&flags.grants)?});
    if let Some(user) = &flags.user {
        entry["user"] = json!(user);
    }
    eprintln!("the key, which is told this once: {key}");
    println!("{entry}");
    Ok(())
}

pub(super) fn mint(flags: &MintFlags) -> anyhow::Result<()> {
    let file = std::fs::File::open(&flags.key).with_context(|| flags.key.display().to_string())?;
    let mut bytes = Vec::new();
    file.take(KEY_FILE_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    let key = SigningKey::parse(&bytes).with_context(|| flags.key.display().to_string())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let expires = now.checked_add(flags.expires).context("nothing lasts that long")?;
    let mut claims =
        json!({"iat": now.as_secs(), "exp": expires.as_secs(), "fanfare": grants(&flags.grants)?});
    let texts = [("sub", &flags.sub), ("iss", &flags.issuer), ("aud", &flags.audience), ("jti", &flags.jti)];
    for (name, text) in texts {
        if let Some(text) = text {
            claims[name] = json!(text);
        }
    }
    println!("{}", key.sign(&claims)?);
    Ok(())
}

/// The grant as tokens have it; what no server would understand is refused here.
fn grants(flags: &GrantFlags) -> Result<Value, Failure> {
    let mut grant = Map::new();
    let lists = [
        ("subscribe", &flags.subscribe),
        ("publish", &flags.publish),
        ("presence", &flags.presence),
        ("workspace", &flags.workspace),
    ];
    for (name, list) in lists {
        if !list.is_empty() {
            grant.insert(name.to_owned(), json!(list));
        }
    }
    if flags.admin {
        grant.insert("admin".to_owned(), json!(true));
    }
    let grant = Value::Object(grant);
    match serde_json::from_value::<Grants>(grant.clone()) {
        Ok(_) => Ok(grant),
        Err(error) => Err(Failure::Usage(format!("no such grant: {error}"))),
    }
}

/// Writes a new file; none is ever overwritten. `is_private`: for its owner alone.
fn write(path: &Path, text: &str, is_private: bool) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mode = if is_private { 0o600 } else { 0o644 };
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).with_context(|| path.display().to_string())
}

fn parse_algorithm(text: &str) -> Result<KeyAlgorithm, &'static str> {
    let known = KeyAlgorithm::parse(text).filter(|algorithm| *algorithm != KeyAlgorithm::Rs256);
    known.ok_or("es256, eddsa or hs256")
}
