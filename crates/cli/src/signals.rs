//! What ends a process from outside.

use std::io;

/// Waits for whatever asks this process to end.
#[derive(Debug)]
pub(crate) struct Signals {
    #[cfg(unix)]
    ends: Vec<tokio::signal::unix::Signal>,
    /// Kept because a signal that somebody holds no longer ends the process by itself.
    #[cfg(unix)]
    _ignored: Vec<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    /// For the process that the user started: Ctrl-C, a polite kill, or a closed terminal end it.
    pub(crate) fn of_user() -> io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        let ends = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let ends = ends.into_iter().map(signal).collect::<io::Result<_>>()?;
        Ok(Signals { ends, _ignored: Vec::new() })
    }

    /// For a process that the demo started: a terminal sends its signals to this one too, but it
    /// is the demo that ends it.
    pub(crate) fn of_instance() -> io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        let ends = vec![signal(SignalKind::terminate())?];
        let ignored = vec![signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?];
        Ok(Signals { ends, _ignored: ignored })
    }

    /// Waits until one of them comes.
    pub(crate) async fn end(&mut self) {
        std::future::poll_fn(|context| {
            let mut ends = self.ends.iter_mut();
            match ends.any(|signal| signal.poll_recv(context).is_ready()) {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
        .await;
    }
}

#[cfg(not(unix))]
impl Signals {
    /// For the process that the user started: Ctrl-C ends it.
    pub(crate) fn of_user() -> io::Result<Signals> {
        Ok(Signals {})
    }

    /// For a process that the demo started: see `end`.
    pub(crate) fn of_instance() -> io::Result<Signals> {
        Ok(Signals {})
    }

    /// Waits for Ctrl-C, which every process of a console gets.
    pub(crate) async fn end(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
