//! Owns the way of what a node tells to the log. What listens there is the application's code: it may
//! wait, for a terminal that is paused, or ask the node. So a thread of its own writes, which is there
//! only while there is something to write, and nobody waits for it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::mem::{Discriminant, discriminant};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flushcast_core::node::Report;
use parking_lot::Mutex;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::NoSubscriber;
use tracing::{Dispatch, Level, dispatcher};

#[cfg(feature = "tls")]
use crate::security::CertificateNews;

/// So many lines of a kind are told at once, and one a second behind them; others are dropped, and
/// counted. So nobody else's doings fill a disk, and no kind keeps another from being read.
const AT_ONCE: u32 = 64;
/// Between two more.
const ONE_EACH: Duration = Duration::from_secs(1);
/// So many lines wait for whoever reads the log; older ones are dropped, and counted.
const KEPT: usize = 256;

/// One node's.
#[derive(Debug)]
pub(crate) struct Log {
    node: String,
    /// Who listened where the node was started; a thread of its own would not find one that listens
    /// to one thread only.
    listener: Dispatch,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Line>,
    dropped: u64,
    /// How many more of a kind may be told, and since when that is so.
    left: HashMap<Kind, (u32, Instant)>,
    /// There is a thread that writes until nothing is left.
    is_written: bool,
}

/// What lines have in common that say the same of different things.
type Kind = (Discriminant<Line>, Option<Discriminant<Report>>);

/// What is told.
#[derive(Debug)]
pub(crate) enum Line {
    Report(Arc<Report>),
    /// A discovery source fails with something else than before, or works again.
    Source {
        source: Arc<str>,
        error: Option<String>,
    },
    /// No connection of a peer's could be accepted.
    CannotAccept(io::Error),
    /// Who has dialled did not prove to be a member.
    TurnedAway {
        from: SocketAddr,
        why: String,
    },
    /// Links are open to everybody.
    Plaintext(SocketAddr),
    #[cfg(feature = "tls")]
    Certificate(CertificateNews),
    /// Lines are missing here.
    Dropped(u64),
    /// Some peers had not read to the end when the node stopped.
    GoodbyeNotTaken,
    /// The node was shut down, and some of its tasks are still there.
    TasksNotEnded,
}

impl Log {
    pub(crate) fn new(node: String) -> Arc<Self> {
        let listener = dispatcher::get_default(Clone::clone);
        Arc::new(Self { node, listener, waiting: Mutex::default() })
    }

    /// Adds a line, under whatever lock; [`Self::write`] has it written.
    pub(crate) fn add(&self, line: Line) {
        if line.level() > LevelFilter::current() {
            // Nobody listens.
            return;
        }
        let mut waiting = self.waiting.lock();
        if !waiting.may_tell(line.kind(), Instant::now()) {
            waiting.dropped += 1;
            return;
        }
        if waiting.lines.len() == KEPT {
            waiting.lines.pop_front();
            waiting.dropped += 1;
        }
        waiting.lines.push_back(line);
    }

    /// Has written what was added; `writing` is held until it is.
    pub(crate) fn write(self: &Arc<Self>, writing: TaskTrackerToken) {
        {
            let mut waiting = self.waiting.lock();
            if waiting.is_written || waiting.lines.is_empty() {
                return;
            }
            waiting.is_written = true;
        }
        let log = Arc::clone(self);
        let thread = std::thread::Builder::new().name("flushcast log".to_owned());
        let spawned = thread.spawn(move || {
            while let Some(line) = log.next() {
                // A listener that panics must not keep the other lines from being written.
                let _ = catch_unwind(AssertUnwindSafe(|| log.tell(&line)));
            }
            drop(writing);
        });
        if spawned.is_err() {
            // Whoever adds the next line tries again.
            self.waiting.lock().is_written = false;
        }
    }

    fn next(&self) -> Option<Line> {
        let mut waiting = self.waiting.lock();
        if waiting.dropped > 0 {
            return Some(Line::Dropped(std::mem::take(&mut waiting.dropped)));
        }
        let line = waiting.lines.pop_front();
        waiting.is_written = line.is_some();
        line
    }

    fn tell(&self, line: &Line) {
        let node = self.node.as_str();
        let tell = || match line.level() {
            Level::DEBUG => tracing::debug!(node, "{line}"),
            Level::INFO => tracing::info!(node, "{line}"),
            _ => tracing::warn!(node, "{line}"),
        };
        if self.listener.is::<NoSubscriber>() {
            // Whoever listens has come since, and to all threads.
            tell();
        } else {
            dispatcher::with_default(&self.listener, tell);
        }
    }
}

impl Waiting {
    /// Takes one of those of a kind that may be told, if there is one.
    fn may_tell(&mut self, kind: Kind, now: Instant) -> bool {
        let (left, since) = self.left.entry(kind).or_insert((AT_ONCE, now));
        let more = now.duration_since(*since).as_secs() / ONE_EACH.as_secs();
        if more > 0 {
            *left = left.saturating_add(u32::try_from(more).unwrap_or(u32::MAX)).min(AT_ONCE);
            *since = now;
        }
        let may = *left > 0;
        *left = left.saturating_sub(1);
        may
    }
}

impl Line {
    fn kind(&self) -> Kind {
        let report = match self {
            Self::Report(report) => Some(discriminant(&**report)),
            _ => None,
        };
        (discriminant(self), report)
    }

    fn level(&self) -> Level {
        let report = match self {
            Self::Report(report) => &**report,
            Self::Source { error: None, .. } => return Level::INFO,
            #[cfg(feature = "tls")]
            Self::Certificate(CertificateNews::New) => return Level::INFO,
            _ => return Level::WARN,
        };
        match report {
            Report::Following { .. }
            | Report::Left { .. }
            | Report::Healed { reset: false, .. }
            | Report::InSync { .. } => Level::INFO,
            // A node that joins hears of everybody who has died before: nothing is lost by that.
            Report::Behind { .. } => Level::DEBUG,
            _ => Level::WARN,
        }
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Report(report) => report.fmt(out),
            Self::Source { source, error: Some(why) } => write!(out, "source {source}: {why}"),
            Self::Source { source, error: None } => write!(out, "source {source} works again"),
            Self::CannotAccept(error) => {
                write!(out, "cannot accept connections from peers, trying again: {error}")
            }
            Self::TurnedAway { from, why } => write!(out, "turned away {from}: {why}"),
            Self::Plaintext(address) => write!(
                out,
                "links at {address} are neither encrypted nor authenticated, as \
                 insecure_plaintext() asks for: whoever reaches it is a member"
            ),
            #[cfg(feature = "tls")]
            Self::Certificate(news) => news.fmt(out),
            Self::Dropped(count) => {
                write!(
                    out,
                    "{count} lines are missing here: there were too many of a kind, or whoever reads \
                     the log was too slow"
                )
            }
            Self::GoodbyeNotTaken => out.write_str("stopped before all peers took the goodbye"),
            Self::TasksNotEnded => out.write_str(
                "stopped, and some of its tasks are still there: the runtime that it was started in \
                 is blocked, or whoever reads the log is",
            ),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that fails panics")]
mod tests {
    use std::sync::mpsc;

    use tokio_util::task::TaskTracker;
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};

    use super::*;

    /// Bounds waits that are not expected to be long.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Tells each message, and waits to be let go on.
    struct Slow(mpsc::Sender<String>, Mutex<mpsc::Receiver<()>>);

    struct Message(String);

    impl Visit for Message {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            if field.name() == "message" {
                self.0 = format!("{value:?}");
            }
        }
    }

    impl tracing::Subscriber for Slow {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &tracing::Event<'_>) {
            let mut message = Message(String::new());
            event.record(&mut message);
            let panics = message.0.contains("n1 ");
            self.0.send(message.0).unwrap();
            // All that come when nobody will ever let them go on go on.
            let _ = self.1.lock().recv_timeout(PATIENCE);
            assert!(!panics, "a listener");
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn a_flood_of_one_kind_of_lines_is_cut_and_hides_no_other() {
        let mut waiting = Waiting::default();
        let line = |report: Report| Line::Report(Arc::new(report)).kind();
        let (flood, other) =
            (line(Report::Left { node: "n".into() }), line(Report::Missed { node: "n".into() }));
        let start = Instant::now();
        let mut told = |kind, after: Duration| waiting.may_tell(kind, start + after);
        let at_once = (0..10_000).filter(|_| told(flood, Duration::ZERO)).count();
        assert_eq!(at_once, AT_ONCE as usize);
        assert!(told(other, Duration::ZERO));
        let later =
            (0..10_000).filter(|number| told(flood, Duration::from_millis(*number))).count();
        assert_eq!(later, 9);
        let rested = (0..10_000).filter(|_| told(flood, Duration::from_secs(3600))).count();
        assert_eq!(rested, AT_ONCE as usize);
    }

    #[test]
    fn lines_are_written_in_order_and_those_that_are_missing_counted() {
        let (tell, told) = mpsc::channel();
        let (let_go_on, wait) = mpsc::channel();
        let listener = Dispatch::new(Slow(tell, Mutex::new(wait)));
        let log = dispatcher::with_default(&listener, || Log::new("it".to_owned()));
        let tasks = TaskTracker::new();
        let say = |number| {
            // As if so many came over a longer time.
            log.waiting.lock().left.clear();
            log.add(Line::Report(Arc::new(Report::Left { node: format!("n{number}") })));
            log.write(tasks.token());
        };
        let next = || told.recv_timeout(PATIENCE).unwrap();
        say(0);
        assert_eq!(next(), "n0 left");
        // It is stuck there. The listener panics at the first of these that is left.
        for number in 1 - 3..=KEPT as i32 {
            say(number);
        }
        drop(let_go_on);
        assert!(next().starts_with("3 lines are missing here"));
        for number in 1..=KEPT {
            assert_eq!(next(), format!("n{number} left"));
        }
        say(0);
        assert_eq!(next(), "n0 left");
    }
}
