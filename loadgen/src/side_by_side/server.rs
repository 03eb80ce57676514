//! A server that is driven: started from its profile, waited for, prepared, and ended.
//!
//! # Contract       a server that was started here ends when its `Instance` is dropped, or with this process
//! # Bounds         it has ten seconds to become ready

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::options::{Pins, ServerFlags};
use super::profile::{Profile, Request};
use crate::counting::shape::Load;
use crate::counting::{Server, request};
use crate::machine;
use crate::target::Target;

/// A server that is ready.
#[derive(Debug)]
pub(crate) struct Instance {
    server: Server,
    child: Option<Child>,
    /// Its own directory, taken away with it.
    directory: Option<PathBuf>,
}

impl Instance {
    /// Starts what `profile` says, or finds what runs already, and makes the requests that come before `load`. `pid` is
    /// the process of one that runs already.
    ///
    /// # Errors
    /// It cannot be started, is not ready in time, or refuses one of the requests.
    pub(crate) fn start(
        profile: &Profile,
        load: &Load,
        flags: &ServerFlags,
        pins: Pins,
        pid: Option<u32>,
    ) -> anyhow::Result<Instance> {
        let mut instance = match &profile.url {
            Some(url) => {
                let target = Target::parse(url, None).map_err(anyhow::Error::msg)?;
                let server = Server { authority: target.authority, address: target.address, pid };
                Instance { server, child: None, directory: None }
            }
            None => Instance::spawn(profile, flags, pins)?,
        };
        instance.wait(profile)?;
        instance.set_up(profile, load)?;
        Ok(instance)
    }

    /// Where it is.
    pub(crate) fn server(&self) -> Server {
        self.server.clone()
    }

    fn spawn(profile: &Profile, flags: &ServerFlags, pins: Pins) -> anyhow::Result<Instance> {
        let directory = empty_directory()?;
        let address = free_address()?;
        let port = address.port().to_string();
        let programs = Programs::find(flags)?;
        let replaced = |text: &str| {
            let text = text.replace("{port}", &port).replace("{dir}", &directory.display().to_string());
            programs.replaced(&text, profile)
        };
        let words: Vec<String> = profile.command.iter().map(|word| replaced(word)).collect();
        let [program, arguments @ ..] = words.as_slice() else { bail!("{} has no command", profile.name) };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(directory.join(LOG)).context("no log for the server")?);
        command.envs(profile.env.iter().map(|(name, value)| (name, replaced(value))));
        machine::tie(&mut command, pins.server);
        let child = command.spawn().with_context(|| format!("cannot start {program}"));
        let child = child.inspect_err(|_| drop(fs::remove_dir_all(&directory)))?;
        let server = Server { authority: address.to_string(), address, pid: Some(child.id()) };
        Ok(Instance { server, child: Some(child), directory: Some(directory) })
    }

    fn wait(&mut self, profile: &Profile) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_MAX;
        loop {
            if self.is_ready(&profile.ready) {
                return Ok(());
            }
            let ended = match &mut self.child {
                Some(child) => child.try_wait()?,
                None => None,
            };
            if let Some(status) = ended {
                bail!("{} ended with {status} before it was ready{}", profile.name, self.last_words());
            }
            if deadline < Instant::now() {
                bail!("{} was not ready within ten seconds{}", profile.name, self.last_words());
            }
            std::thread::sleep(READY_STEP);
        }
    }

    fn is_ready(&self, ready: &str) -> bool {
        let Server { authority, address, .. } = &self.server;
        if ready == "tcp" {
            return TcpStream::connect_timeout(address, Duration::from_secs(1)).is_ok();
        }
        let question = Request {
            method: "GET".to_owned(),
            path: ready.to_owned(),
            headers: Vec::new(),
            body: String::new(),
            ok: Vec::new(),
        };
        request::ask(*address, authority, &question).is_ok_and(|status| status == 200)
    }

    fn set_up(&self, profile: &Profile, load: &Load) -> anyhow::Result<()> {
        let Server { authority, address, .. } = &self.server;
        for template in &profile.setup {
            let is_for_each = [&template.path, &template.body].iter().any(|text| text.contains("{channel}"));
            for number in 0..if is_for_each { load.channels } else { 1 } {
                let channel = profile.channel_name(number);
                let request = Request {
                    path: template.path.replace("{channel}", &channel),
                    body: template.body.replace("{channel}", &channel),
                    ..template.clone()
                };
                let status = request::ask(*address, authority, &request)
                    .with_context(|| format!("{} does not answer {}", profile.name, request.path))?;
                if !request::is_ok(status, &request.ok) {
                    bail!("{} answered {} {} with {status}", profile.name, request.method, request.path);
                }
            }
        }
        Ok(())
    }

    /// The end of what the server wrote to its standard error.
    fn last_words(&self) -> String {
        let log = self.directory.as_ref().and_then(|directory| fs::read(directory.join(LOG)).ok());
        let log = log.unwrap_or_default();
        let end =
            String::from_utf8_lossy(&log[log.len().saturating_sub(LAST_WORDS_BYTES)..]).trim().to_owned();
        if end.is_empty() { end } else { format!(": {end}") }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // One that has ended already is only collected.
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(directory) = &self.directory {
            let _ = fs::remove_dir_all(directory);
        }
    }
}

/// The programs that profiles name by words in braces.
#[derive(Debug)]
struct Programs {
    own: PathBuf,
    fanfare: PathBuf,
}

impl Programs {
    fn find(flags: &ServerFlags) -> anyhow::Result<Programs> {
        let own = std::env::current_exe().context("cannot find this program")?;
        let fanfare = flags.fanfare.clone().unwrap_or_else(|| own.with_file_name("fanfare"));
        Ok(Programs { own, fanfare })
    }

    fn replaced(&self, text: &str, profile: &Profile) -> String {
        let shown = |path: &Path| path.display().to_string();
        text.replace("{loadgen}", &shown(&self.own))
            .replace("{fanfare}", &shown(&self.fanfare))
            .replace("{profiles}", &shown(&profile.directory))
    }
}

/// What the profile's command prints as the server's version, its lines with commas between them; `None` if there is no such
/// command, or it fails: a result stands without it.
pub(crate) fn version(profile: &Profile, flags: &ServerFlags) -> Option<String> {
    let programs = Programs::find(flags).ok()?;
    let words: Vec<String> = profile.version.iter().map(|word| programs.replaced(word, profile)).collect();
    let (program, arguments) = words.split_first()?;
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let version: String = lines.join(", ").chars().take(VERSION_LENGTH_MAX).collect();
    (output.status.success() && !version.is_empty()).then_some(version)
}

/// An address that was free a moment ago.
fn free_address() -> anyhow::Result<std::net::SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
    Ok(listener.local_addr()?)
}

fn empty_directory() -> anyhow::Result<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("loadgen-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let directory = std::env::temp_dir().join(name);
    fs::create_dir(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory)
}

const LOG: &str = "server.log";
const READY_MAX: Duration = Duration::from_secs(10);
const READY_STEP: Duration = Duration::from_millis(2);
/// In characters.
const VERSION_LENGTH_MAX: usize = 300;
const LAST_WORDS_BYTES: usize = 500;
