//! The `cerb` binary: arguments, environment, terminal, exit code.

mod args;
mod ci;
mod claims;
mod commands;
mod config;
mod difference;
mod drawing;
mod failure;
mod forecast;
mod given;
mod goldens;
mod history;
mod machine;
mod page;
mod process;
mod progress;
mod provenance;
mod reference;
mod reports;
mod session;
mod story;
mod stream;
mod summary;
mod terminal;
mod work;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use failure::{Failure, exit};

fn main() -> ExitCode {
    process::set_up();
    process::report_bugs();
    // `exit::WRONG_CALL` is also what clap exits with on a bad command line.
    let cli = Cli::parse();
    let color = cli.color;
    let json = cli.command.json();
    let code = match std::panic::catch_unwind(|| dispatch(cli)) {
        Ok(Ok(code)) => code,
        Ok(Err(failure)) => {
            failure.report(color);
            if json {
                println!("{}", failure.event());
            }
            failure.exit
        }
        Err(_) => exit::BUG,
    };
    ExitCode::from(code)
}

fn dispatch(cli: Cli) -> Result<u8, Failure> {
    let color = cli.color;
    match cli.command {
        Command::Run(run) => run.execute(color),
        Command::Plan(plan) => plan.execute(color),
        Command::Check(check) => check.execute(color),
        Command::Test(test) => test.execute(color),
        Command::Bless(bless) => bless.execute(color),
        Command::Verify(verify) => verify.execute(color),
        Command::Why(why) => why.execute(color),
        Command::Rerun(rerun) => rerun.execute(color),
        Command::Diff(diff) => diff.execute(color),
        Command::Help(help) => help.execute(color),
        Command::Runs(runs) => runs.execute(color),
        Command::Show(show) => show.execute(color),
        Command::Export(export) => export.execute(color),
        Command::Gc(gc) => gc.execute(color),
        Command::Store(store) => store.execute(color),
        Command::Graph(graph) => graph.execute(color),
        Command::Fmt(fmt) => fmt.execute(color),
        Command::Docs(docs) => docs.execute(color),
        Command::Convert(convert) => convert.execute(color),
        Command::Explain(explain) => explain.execute(color),
        Command::Lsp(lsp) => lsp.execute(color),
    }
}
