//! What ends a process from outside, or stops it for a while.

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

/// Stops a process where it is.
#[cfg(unix)]
pub(crate) fn pause(pid: u32) -> io::Result<()> {
    send(pid, rustix::process::Signal::STOP)
}

/// Lets a stopped process go on.
#[cfg(unix)]
pub(crate) fn resume(pid: u32) -> io::Result<()> {
    send(pid, rustix::process::Signal::CONT)
}

#[cfg(unix)]
fn send(pid: u32, signal: rustix::process::Signal) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("its process is gone"))?;
    Ok(rustix::process::kill_process(pid, signal)?)
}

#[cfg(not(unix))]
pub(crate) fn pause(_: u32) -> io::Result<()> {
    Err(io::Error::other("this system cannot stop a process where it is"))
}

#[cfg(not(unix))]
pub(crate) fn resume(_: u32) -> io::Result<()> {
    Err(io::Error::other("this system cannot stop a process where it is"))
}

/// Has the system end this process with the one that started it, even while it is stopped and does
/// not see its stdin end.
pub(crate) fn end_with_parent() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        let signal = rustix::process::Signal::KILL;
        rustix::process::set_parent_process_death_signal(Some(signal))?;
    }
    Ok(())
}
