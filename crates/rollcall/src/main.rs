//! One binary for everything a person types.

mod api;
mod as_;
mod cli;
mod hss;
mod lab_command;
mod ladder;
mod load;
mod log;
mod node_command;
mod port;
mod ready;
mod show;
mod signals;
mod stream;
mod timeline;
mod top;
mod ue;
mod watch;
mod wish;

use clap::Parser;
use cli::{Cli, Command};
use std::io;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read us has read enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rollcall: {}", format!("{error:#}").replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Lab(args) => lab_command::run(args),
        Command::Node(args) => node_command::run(&args),
        Command::Hss(args) => hss::run(&args),
        Command::Ue(args) => ue::run(args.command),
        Command::As(args) => as_::run(*args),
        Command::Load(args) => load::run(args.command),
        Command::Users(args) => show::users(&args),
        Command::User(args) => show::user(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Reauthenticate(args) => wish::reauthenticate(&args),
        Command::Deregister(args) => wish::deregister(&args),
        Command::Cluster(args) => show::cluster(&args),
        Command::Drain(args) => wish::drain(&args),
        Command::Ready(args) => ready::run(&args),
        Command::Completions { shell } => {
            cli::complete(shell);
            Ok(())
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
