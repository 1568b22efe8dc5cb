//! The `tidemill` command: see `tidemill --help`.

use std::process::ExitCode;

mod cli;

/// librdkafka allocates on its own threads what stream threads free: jemalloc does that without
/// locks, and keeps the memory of a long run together.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::main()
}
