//! The command line: every command and option, with its help text.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Deserialize;

use crate::commands;

/// Reproducible pipelines for computational pathology
///
/// A pipeline is a text file that says what is made from what. `cerb run` makes it,
/// remembers every result by its content, and next time does only what has changed.
#[derive(Parser, Debug)]
#[command(
    name = "cerb",
    bin_name = "cerb",
    version,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "Start with `cerb run pipelines/quickstart.cerb`; `cerb help` lists the operators a pipeline is made of.",
    after_long_help = AFTER_LONG_HELP
)]
pub struct Cli {
    /// Colours: `auto` follows the terminal and NO_COLOR
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Output"
    )]
    pub color: When,

    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

const AFTER_LONG_HELP: &str = "\
Examples:
  cerb run pipelines/quickstart.cerb             make everything the pipeline outputs
  cerb run tcga.cerb -p n=3 --root data=/mnt/x   three slides, from another folder
  cerb check pipelines                           prove every pipeline below a folder
  cerb plan tcga.cerb                            what would run, and why, without running it
  cerb why tcga.cerb nuclei@case-07              why one node runs again, field by field
  cerb help instances.nuclei                     an operator's ports and parameters
  cerb explain lang::mpp_mismatch                what an error means, with its remedy
  cerb show last                                 times, states and outputs of the last run
  cerb diff last~1 last                          what is different between two runs
  cerb test tcga.cerb --junit tests.xml          what must come out, for those who watch
  cerb gc --dry-run                              what no recent run needs, and how much room it takes

Environment:
  CERB_STORE    where results are kept (as --store)
  NO_COLOR      no colours, when set to anything

Exit codes:
  0    done, or nothing to do
  1    nothing complete, or more failures than @tolerate allows
  2    the pipeline or the command line is wrong
  3    some items failed, within what @tolerate allows; an expectation does not hold;
       a golden would be rewritten (`bless --dry-run`); `verify` found other bytes; `fmt --check` or `docs --check`
       would change a file
  4    `plan --exit-code`: something would run
  130  interrupted
  70   a bug in cerb";

/// When to use colours.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Even into a file or pipe
    Always,
    /// Not at all
    Never,
}

/// One variant per command; each command's file in `commands/` holds its options.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make what a pipeline outputs, doing only what is not yet done
    Run(commands::run::Run),
    /// Say what a run would do, and why, without doing it
    Plan(commands::plan::Plan),
    /// Prove a pipeline without running it: names, types, units, resolutions
    Check(commands::check::Check),
    /// Run the tests of a pipeline and judge what they expect
    Test(commands::test::Test),
    /// Keep what a pipeline makes now as its goldens, and why
    Bless(commands::bless::Bless),
    /// Say in words why a node runs again, or why it does not
    Why(commands::why::Why),
    /// List the operators, or show one operator or command
    Help(commands::help::Help),
    /// Say what is different between two runs
    Diff(commands::diff::Diff),
    /// Run again what a run did: its text, its parameters, its inputs by content
    Rerun(commands::rerun::Rerun),
    /// Do some of what a run recorded again, and compare what comes out, byte by byte
    Verify(commands::verify::Verify),
    /// List the runs of a store, newest first
    Runs(commands::runs::Runs),
    /// Show a run, or the stored value behind a digest
    Show(commands::show::Show),
    /// Export a run with its provenance, as a Workflow Run RO-Crate
    Export(commands::export::Export),
    /// Remove what no recent run needs
    Gc(commands::gc::Gc),
    /// Show what takes room in the store, verify it, or pin what is to be kept
    Store(commands::store::Store),
    /// Draw a pipeline: dot, mermaid or svg
    Graph(commands::graph::Graph),
    /// Write pipelines in the one layout; comments and meaning stay
    Fmt(commands::fmt::Fmt),
    /// Write the reference of operators, language and commands as Markdown
    Docs(commands::docs::Docs),
    /// Write a pipeline in its other form: text as YAML, YAML as text
    Convert(commands::convert::Convert),
    /// Explain an error code, with an example and a remedy
    Explain(commands::explain::Explain),
    /// Answer an editor: mistakes, hover, completion, definitions, renaming, formatting
    Lsp(commands::lsp::Lsp),
}

impl Command {
    /// Says whether a program reads standard output.
    pub fn json(&self) -> bool {
        match self {
            Command::Run(run) => run.json,
            Command::Plan(plan) => plan.json,
            Command::Check(check) => check.json || check.format != commands::check::Format::Human,
            Command::Test(test) => test.json,
            Command::Bless(bless) => bless.json,
            Command::Why(why) => why.json,
            Command::Help(help) => help.json,
            Command::Diff(diff) => diff.json,
            Command::Rerun(rerun) => rerun.json,
            Command::Verify(verify) => verify.json,
            Command::Runs(runs) => runs.json,
            Command::Show(show) => show.json,
            Command::Gc(gc) => gc.json,
            Command::Store(store) => store.json,
            Command::Graph(_)
            | Command::Fmt(_)
            | Command::Convert(_)
            | Command::Docs(_)
            | Command::Explain(_)
            | Command::Export(_) => false,
            Command::Lsp(_) => true,
        }
    }
}

/// A pipeline, and what fills its parameters and roots.
#[derive(Args, Debug, Clone)]
pub struct PipelineArgs {
    /// The pipeline file, such as pipelines/quickstart.cerb
    #[arg(value_name = "PIPELINE")]
    pub pipeline: PathBuf,

    /// With what
    #[command(flatten)]
    pub with: With,
}

/// What fills a pipeline's parameters and roots, and where its store is.
#[derive(Args, Debug, Clone)]
pub struct With {
    /// Set a parameter, as the pipeline would write it: `-p n=3`, `-p at='0.25 mpp'`
    #[arg(short = 'p', long = "param", value_name = "NAME=VALUE", value_parser = pair, help_heading = "Pipeline")]
    pub params: Vec<(String, String)>,

    /// Take values from a YAML or JSON file of `name: value` lines; `-p` goes over it
    #[arg(
        short = 'P',
        long = "params",
        value_name = "FILE",
        help_heading = "Pipeline"
    )]
    pub files: Vec<PathBuf>,

    /// Take a profile of cerb.yaml or cerb.local.yaml beside the pipeline; `-P` and `-p` go over it
    #[arg(long = "profile", value_name = "NAME", help_heading = "Pipeline")]
    pub profiles: Vec<String>,

    /// Bind a root to a folder of this machine: `--root data=/mnt/slides`
    #[arg(long = "root", value_name = "NAME=DIR", value_parser = bound, help_heading = "Pipeline")]
    pub roots: Vec<(String, String)>,

    /// Bind a secret to the file that holds it: `--secret token=FILE`
    #[arg(long = "secret", value_name = "NAME=FILE", value_parser = bound, help_heading = "Pipeline")]
    pub secrets: Vec<(String, String)>,

    /// Where results are kept [default: .cerb/ beside the pipeline]
    #[arg(
        long,
        value_name = "DIR",
        env = "CERB_STORE",
        hide_env_values = true,
        help_heading = "Pipeline"
    )]
    pub store: Option<PathBuf>,

    /// Read every input again instead of trusting size and modification time
    #[arg(long, help_heading = "Pipeline")]
    pub rehash: bool,

    /// What runs the network; `auto` takes a GPU when there is one [default: cpu]
    #[arg(long, value_name = "DEVICE", help_heading = "Machine")]
    pub device: Option<Device>,
}

/// What runs the network.
#[derive(ValueEnum, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    /// The processor: runs everywhere
    Cpu,
    /// NVIDIA GPUs: an error that says what is missing when there is none to use
    Cuda,
    /// A GPU when there is one, else the processor
    Auto,
}

/// Splits `name=value`; the value may be empty, which is a text too.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err(format!("`{text}` does not have the form NAME=VALUE")),
    }
}

/// Splits `name=path`.
fn bound(text: &str) -> Result<(String, String), String> {
    match pair(text) {
        Ok((name, path)) if path.is_empty() => Err(format!("`{name}` is bound to nothing")),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn values_may_hold_an_equals_sign() {
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(pair("a").is_err());
        assert!(pair("=b").is_err());
        assert_eq!(pair("a="), Ok(("a".into(), String::new())));
        assert!(bound("a=").is_err());
    }

    #[test]
    fn every_command_has_examples() {
        for command in Cli::command().get_subcommands() {
            assert!(
                command.get_after_help().is_some(),
                "`{}` has no examples",
                command.get_name()
            );
        }
    }
}
