//! Options of `loadgen side-by-side`, and those of servers that `loadgen count` has too.

use std::path::PathBuf;

use clap::Args;

use super::bar::Bar;
use crate::counting::shape::LoadFlags;
use crate::machine;

/// Options of `loadgen side-by-side`.
#[derive(Debug, Args)]
pub(crate) struct SideBySideFlags {
    /// The one server: a profile's file, or a name in --profiles
    #[arg(required_unless_present_any = ["suite", "list"], requires = "b")]
    pub(crate) a: Option<String>,
    /// The other one
    pub(crate) b: Option<String>,
    /// How many pairs of runs
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) pairs: u32,
    /// What the ratio A/B must be, such as cpu_per_delivery<=1.05; with a: before it, what A itself must be. Repeatable
    #[arg(long = "bar", value_name = "FIGURE<=X|FIGURE>=X")]
    pub(crate) bars: Vec<Bar>,
    /// Load options of A alone, in one word, over those of both
    #[arg(long, value_name = "OPTIONS", allow_hyphen_values = true)]
    pub(crate) a_options: Option<LoadFlags>,
    /// The same of B
    #[arg(long, value_name = "OPTIONS", allow_hyphen_values = true)]
    pub(crate) b_options: Option<LoadFlags>,
    /// Chooses the samples of which the intervals are made
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub(crate) seed: u64,
    /// Run the comparisons of a file instead, one after the other
    #[arg(long, value_name = "FILE", conflicts_with_all = ["a", "b"])]
    pub(crate) suite: Option<PathBuf>,
    /// Of the suite, only those with NAME in their name. Repeatable
    #[arg(long, value_name = "NAME", requires = "suite")]
    pub(crate) only: Vec<String>,
    /// To see whether all runs: at most 3 pairs of at most 300ms each. The figures then say little
    #[arg(long)]
    pub(crate) quick: bool,
    /// Show the shapes and their dimensions, and of a --suite its comparisons
    #[arg(long)]
    pub(crate) list: bool,
    #[command(flatten)]
    pub(crate) load: LoadFlags,
    #[command(flatten)]
    pub(crate) server: ServerFlags,
    /// Write everything as JSON, every run included, to standard output (in place of the table) or to FILE
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-", help_heading = "Output")]
    pub(crate) json: Option<PathBuf>,
    /// Write a page to look at (report.html), a text (report.txt) and everything as JSON (result.json) into this folder, anew
    /// after each comparison; `loadgen report` tells the JSON again
    #[arg(short, long, value_name = "FOLDER", help_heading = "Output")]
    pub(crate) out: Option<PathBuf>,
}

impl SideBySideFlags {
    /// How many pairs to run, where `own` is what a comparison asks for itself.
    pub(crate) fn pairs(&self, own: Option<u32>) -> u32 {
        let pairs = own.unwrap_or(self.pairs);
        if self.quick { pairs.min(QUICK_PAIRS) } else { pairs }
    }
}

const QUICK_PAIRS: u32 = 3;

/// How servers are found and where they run.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerFlags {
    /// Where profiles are looked for by name
    #[arg(long, value_name = "FOLDER", default_value = "benches/side-by-side", help_heading = "Machine")]
    pub(crate) profiles: PathBuf,
    /// The program that {fanfare} stands for [default: the one beside this program]
    #[arg(long, value_name = "FILE", help_heading = "Machine")]
    pub(crate) fanfare: Option<PathBuf>,
    /// The processor of servers
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Machine")]
    pub(crate) server_cpu: usize,
    /// The processor of the client
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Machine")]
    pub(crate) client_cpu: usize,
    /// Let the system choose processors; figures then say less
    #[arg(long, help_heading = "Machine")]
    pub(crate) unpinned: bool,
}

/// Which processors are used.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(crate) struct Pins {
    /// By servers.
    pub(crate) server: Option<usize>,
    /// By the client.
    pub(crate) client: Option<usize>,
}

impl ServerFlags {
    /// Pins the calling thread to the client's processor, and says which ones there are.
    ///
    /// # Errors
    /// There is one processor only, or these may not be used.
    pub(crate) fn pins(&self) -> anyhow::Result<Pins> {
        if self.unpinned {
            return Ok(Pins::default());
        }
        if std::thread::available_parallelism().map_or(1, std::num::NonZero::get) < 2 {
            anyhow::bail!(
                "one processor is too few to tell server and client apart; --unpinned runs all the same"
            );
        }
        if self.server_cpu == self.client_cpu {
            anyhow::bail!("server and client need processors of their own");
        }
        machine::pin_thread(self.client_cpu).map_err(|error| {
            anyhow::anyhow!(
                "cannot run on processor {}: {error}; choose another, or --unpinned",
                self.client_cpu
            )
        })?;
        Ok(Pins { server: Some(self.server_cpu), client: Some(self.client_cpu) })
    }
}
