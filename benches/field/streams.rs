//! Both ends of what the field is measured with: the upstream that every proxy forwards to, and a client that has many
//! streams open and times each chunk. At 500 streams of a chunk every 10 ms Python would be what is measured.
//! `benches/field/run.sh` starts it.

mod client;
mod upstream;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use rustix::time::{ClockId, clock_gettime};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug, Parser)]
struct Flags {
    #[command(subcommand)]
    end: Option<End>,
    /// `cargo bench` says so
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum End {
    /// Answers every chat completion at once, or streams it as its text asks: [[n=100 gap=10 hold=0]]
    Upstream {
        #[arg(long, value_name = "ADDR")]
        listen: SocketAddr,
    },
    /// Has COUNT streams at once and prints, as JSON, when their chunks came
    Client(Streams),
}

/// What the client does.
#[derive(Debug, clap::Args)]
struct Streams {
    #[arg(long, value_name = "ADDR")]
    to: SocketAddr,
    /// A whole request, head and body, as it is sent
    #[arg(long, value_name = "FILE")]
    request: PathBuf,
    #[arg(long)]
    count: usize,
    /// How many chunks each stream has
    #[arg(long)]
    chunks: usize,
    /// Milliseconds between the first request and the last
    #[arg(long, default_value_t = 250)]
    ramp: u64,
    /// Seconds after which what has not come is missing
    #[arg(long, default_value_t = 10)]
    limit: u64,
    /// Once each has had its first chunk, says how many and keeps them open until stdin ends
    #[arg(long)]
    hold: bool,
}

/// Nanoseconds of the clock that all processes of a machine share.
fn now() -> i64 {
    let at = clock_gettime(ClockId::Monotonic);
    at.tv_sec * 1_000_000_000 + at.tv_nsec
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match Flags::parse().end {
        Some(End::Upstream { listen }) => runtime.block_on(upstream::serve(listen)),
        Some(End::Client(streams)) => runtime.block_on(client::run(&streams)),
        None => {
            println!("nothing to measure in here; `upstream` and `client` are the ends of a bench");
            Ok(())
        }
    }
}
