//! A repository's own history as events: its commits, oldest first, as `git log` tells them.
//!
//! # Contract       git is only asked, and in a way that no setting of the repository changes: nothing is fetched, and no
//! program runs that the repository names
//! # Bounds         one commit is held at a time, of which [`FILES_MAX`] files and [`TEXT_CHARACTERS`] of each text are told;
//! git itself holds the list of commits

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::value::to_raw_value;

use crate::corpus::Specimen;

/// The commits of one repository while they are read.
#[derive(Debug)]
pub(crate) struct History {
    git: Child,
    output: BufReader<ChildStdout>,
    channel: String,
    repository: String,
    branch: String,
    boundary: String,
    /// The head of the commit after the last one, once it was seen.
    next: Option<String>,
}

/// A commit to be published.
#[derive(Debug)]
pub(crate) struct Commit {
    /// The event.
    pub(crate) specimen: Specimen,
    /// When it was committed, in Unix seconds.
    pub(crate) committed_at: i64,
}

/// What is published of a commit.
#[derive(Serialize)]
struct Payload<'a> {
    id: &'a str,
    repository: &'a str,
    branch: &'a str,
    author: &'a str,
    subject: &'a str,
    /// Unix seconds.
    authored_at: i64,
    committed_at: i64,
    files_changed: u64,
    /// The first of them.
    files: &'a [String],
}

impl History {
    /// Of the branch that is checked out in `repository`, a work tree, a folder in it or a bare repository. `boundary` is a number
    /// that nobody could guess, since it marks where a commit begins.
    ///
    /// # Errors
    /// There is no git, no repository, or no commit.
    pub(crate) fn open(repository: &Path, boundary: u64) -> anyhow::Result<History> {
        let shown = repository.display();
        let folder = ask(repository, &["rev-parse", "--path-format=absolute", "--git-common-dir"])?;
        if !folder.status.success() {
            let reason = String::from_utf8_lossy(&folder.stderr);
            bail!(
                "{shown} is no repository that git reads: {}",
                reason.trim().lines().next().unwrap_or_default()
            );
        }
        if !ask(repository, &["rev-parse", "--verify", "--quiet", "HEAD^{commit}"])?.status.success() {
            bail!("{shown} has no commits");
        }
        let branch = ask(repository, &["symbolic-ref", "--short", "--quiet", "HEAD"])?;
        let branch = Some(first_line(&branch)).filter(|branch| !branch.is_empty());
        let branch = branch.unwrap_or_else(|| "HEAD".to_owned());
        let name = name_of(&first_line(&folder));
        let boundary = format!("{boundary:016x}");
        let mut git = git(repository)
            .args(LOG)
            .arg(format!("--format=tformat:{boundary}%H%x00%at%x00%ct%x00%an%x00%s"))
            .arg("HEAD")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run git")?;
        let output = git.stdout.take().context("git says nothing")?;
        Ok(History {
            channel: channel_of(&name, &branch),
            git,
            output: BufReader::new(output),
            repository: name,
            branch,
            boundary,
            next: None,
        })
    }

    /// The next commit; `None` behind the last.
    ///
    /// # Errors
    /// Git ends amid it, or says what it should not.
    pub(crate) fn next_commit(&mut self) -> anyhow::Result<Option<Commit>> {
        let head = match self.next.take() {
            Some(head) => head,
            None => match self.read_piece()? {
                Some(head) => head,
                None => return self.end().map(|()| None),
            },
        };
        let strange = || format!("git log said {head:?} where a commit should begin");
        let id = head.strip_prefix(&self.boundary).with_context(strange)?.to_owned();
        let mut field = || self.read_piece()?.context("git log ended amid a commit");
        let (authored_at, committed_at) = (field()?.parse()?, field()?.parse()?);
        let (author, subject) = (shorten(field()?), shorten(field()?));
        let (mut files, mut files_changed) = (Vec::new(), 0);
        while let Some(piece) = self.read_piece()? {
            if piece.starts_with(&self.boundary) {
                self.next = Some(piece);
                break;
            }
            // A line ends between a commit and its files, and nothing stands behind the last of them.
            let file = if files_changed == 0 { piece.strip_prefix('\n').unwrap_or(&piece) } else { &piece };
            if file.is_empty() {
                continue;
            }
            files_changed += 1;
            if files.len() < FILES_MAX {
                files.push(shorten(file.to_owned()));
            }
        }
        let payload = to_raw_value(&Payload {
            id: &id,
            repository: &self.repository,
            branch: &self.branch,
            author: &author,
            subject: &subject,
            authored_at,
            committed_at,
            files_changed,
            files: &files,
        })?;
        let (event, kind, channel) = ("push".to_owned(), "commit".to_owned(), self.channel.clone());
        Ok(Some(Commit { specimen: Specimen { event, action: None, channel, kind, payload }, committed_at }))
    }

    /// What stands before the next zero byte; `None` at the end.
    fn read_piece(&mut self) -> anyhow::Result<Option<String>> {
        let mut piece = Vec::new();
        let read = (&mut self.output).take(PIECE_BYTES_MAX).read_until(0, &mut piece);
        if read.context("reading what git says")? == 0 {
            return Ok(None);
        }
        if piece.pop() != Some(0) {
            bail!("git log ended amid a commit, or a commit has a line of more than {PIECE_BYTES_MAX} bytes");
        }
        Ok(Some(String::from_utf8_lossy(&piece).into_owned()))
    }

    fn end(&mut self) -> anyhow::Result<()> {
        let status = self.git.wait().context("waiting for git")?;
        if status.success() { Ok(()) } else { bail!("git log ended with {status}") }
    }
}

impl Drop for History {
    fn drop(&mut self) {
        // It has ended by itself, or nobody wants the rest.
        let _ = self.git.kill();
        let _ = self.git.wait();
    }
}

fn git(repository: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(repository).stdin(Stdio::null());
    // These would name another repository than the one that was asked for.
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_NAMESPACE"] {
        command.env_remove(variable);
    }
    command.envs([
        ("LC_ALL", "C"),
        ("GIT_OPTIONAL_LOCKS", "0"),
        ("GIT_NO_LAZY_FETCH", "1"),
        ("GIT_TERMINAL_PROMPT", "0"),
    ]);
    command
}

fn ask(repository: &Path, arguments: &[&str]) -> anyhow::Result<Output> {
    match git(repository).args(arguments).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => bail!("there is no git on this machine"),
        result => result.context("cannot run git"),
    }
}

fn first_line(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned()
}

/// The repository's name, of the folder that git keeps it in.
fn name_of(folder: &str) -> String {
    let folder = folder.strip_suffix("/.git").unwrap_or(folder);
    let name = folder.rsplit('/').next().unwrap_or_default();
    name.strip_suffix(".git").unwrap_or(name).to_owned()
}

/// The channel of a repository's branch; what a channel's name cannot have becomes a dash.
fn channel_of(repository: &str, branch: &str) -> String {
    let name = format!("repo:{repository}/{branch}");
    let allowed = |character: char| character.is_ascii_alphanumeric() || "_.:/-".contains(character);
    name.chars().take(CHANNEL_BYTES_MAX).map(|one| if allowed(one) { one } else { '-' }).collect()
}

fn shorten(text: String) -> String {
    match text.char_indices().nth(TEXT_CHARACTERS) {
        Some((end, _)) => text[..end].to_owned() + "…",
        None => text,
    }
}

/// Oldest first, files by name, ends of pieces as zero bytes; and nothing that a setting could add or a program could be run for.
const LOG: &[&str] = &[
    "-c",
    "log.showSignature=false",
    "--no-pager",
    "log",
    "--reverse",
    "--encoding=UTF-8",
    "--no-color",
    "--no-notes",
    "--no-decorate",
    "--no-ext-diff",
    "--no-textconv",
    "--no-renames",
    "--no-relative",
    "--name-only",
    "-z",
];
/// Enough to see what a commit is about; all are counted.
const FILES_MAX: usize = 100;
const TEXT_CHARACTERS: usize = 500;
/// A subject is the first paragraph of a message, which may be long.
const PIECE_BYTES_MAX: u64 = 1024 * 1024;
/// What servers take at least.
const CHANNEL_BYTES_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_named_by_repository_and_branch() {
        let check = |folder: &str, branch: &str, expected: &str| {
            assert_eq!(channel_of(&name_of(folder), branch), expected, "{folder}");
        };
        check("/home/me/demo/.git", "main", "repo:demo/main");
        check("/srv/git/demo.git", "feature/x", "repo:demo/feature/x");
        check("/home/me/Tägliche Läufe/.git", "HEAD", "repo:T-gliche-L-ufe/HEAD");
        assert_eq!(channel_of(&"x".repeat(300), "main").len(), CHANNEL_BYTES_MAX);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(shorten("ä".repeat(500)), "ä".repeat(500));
        assert_eq!(shorten("ä".repeat(501)), "ä".repeat(500) + "…");
    }
}
