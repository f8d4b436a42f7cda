//! The `brainstem` command.

use std::process::ExitCode;

use clap::Parser;

// Bodies of a megabyte come and go with every long ask; the system's allocator maps and unmaps each.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    brainstem::cli::Cli::parse().run()
}
