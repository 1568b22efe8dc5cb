//! The tokio runtime beside the stream threads: it serves HTTP and signals, and no record.

use tokio::runtime::{Builder, Runtime};

use super::failure::Failure;

/// Starts the runtime. One thread is enough: answers that wait do so on threads of their own.
///
/// # Errors
/// When the system has no thread for it.
pub fn start() -> Result<Runtime, Failure> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("tidemill-serve")
        .enable_all()
        .build()
        .map_err(Failure::io("start the runtime of HTTP and signals"))
}
