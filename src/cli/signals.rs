//! SIGTERM and SIGINT: the first asks for an orderly stop, the second ends the process.

use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::failure::Failure;

/// The wish to stop. Clones share it.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Listens for signals on this runtime, for the rest of the process.
    ///
    /// # Errors
    /// When the system refuses a handler.
    pub fn on_signals(runtime: &Handle) -> Result<Self, Failure> {
        let _entered = runtime.enter();
        let listen = |kind| signal(kind).map_err(Failure::io("listen for signals"));
        let mut terminate = listen(SignalKind::terminate())?;
        let mut interrupt = listen(SignalKind::interrupt())?;
        let (wish, wished) = watch::channel(false);
        runtime.spawn(async move {
            loop {
                let number = tokio::select! {
                    _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
                    _ = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
                };
                if *wish.borrow() {
                    tracing::warn!("second signal: ending at once");
                    // Not `std::process::exit`: it frees what the other threads still use, and one
                    // of them would then end the process otherwise.
                    signal_hook::low_level::exit(128 + number);
                }
                tracing::info!("stopping; a second signal ends at once");
                // Fails only when nobody waits any more.
                let _ = wish.send(true);
            }
        });
        Ok(Self(wished))
    }

    /// Waits until a stop is asked for.
    pub async fn wait(&mut self) {
        // An error means that the listener ended with its runtime: time to stop as well.
        let _ = self.0.wait_for(|wished| *wished).await;
    }
}
