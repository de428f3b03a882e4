//! Ctrl-C and SIGTERM, heard from the start of the job, whatever it is doing.

use std::{future::Future, io, process::exit, sync::Arc};

use tokio::sync::watch;

use crate::view::{self, View};

/// Whether the job was told to stop.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// A signal ends the process at once, as it does by itself.
    pub(crate) fn never() -> Self {
        Self(watch::channel(false).1)
    }

    /// The first signal tells to stop; the second leaves at once, which loses nothing: what is in flight is in doubt in the ledger.
    pub(crate) fn at_first_signal(view: Arc<View>) -> io::Result<Self> {
        let (tell, told) = watch::channel(false);
        let mut signals = Signals::new()?;
        tokio::spawn(async move {
            signals.next().await;
            tell.send_replace(true);
            signals.next().await;
            view.close();
            view::complain("left at once; what was in flight is repeated by the next run");
            exit(130);
        });
        Ok(Self(told))
    }

    /// Completes when the job is told to stop.
    pub(crate) fn told(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut told = self.0.clone();
        async move {
            if told.wait_for(|told| *told).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! { _ = self.interrupt.recv() => {}, _ = self.terminate.recv() => {} }
    }
}

#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn new() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) {
        self.0.recv().await;
    }
}
