//! The page of the command line: every command with its options, as `--help` prints it.

use std::fmt::Write;

use clap::CommandFactory;

use crate::args::Cli;

/// Columns of the text, so that the page does not depend on a terminal.
const WIDTH: usize = 100;

/// Returns the page.
pub fn page() -> String {
    let mut cli = Cli::command().term_width(WIDTH);
    cli.build();
    let mut out = String::from("# The command line\n");
    let _ = write!(out, "\n```text\n{}\n```\n", plain(&mut cli));
    for command in cli.get_subcommands_mut() {
        let _ = write!(out, "\n## `cerb {}`\n", command.get_name());
        let _ = write!(out, "\n```text\n{}\n```\n", plain(command));
    }
    out
}

fn plain(command: &mut clap::Command) -> String {
    let text = command.render_long_help().to_string();
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
    lines.join("\n")
}
