//! The fabric: all instances of the demo, from their start to their end.
//!
//! Never restarts an instance, and never forgets one: whoever dies stays in the members file, as a
//! crashed machine would, so that the flushes of the others have to name it.

use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use flushcast_site::store;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::demo::child::{Child, Event, Place};
use crate::demo::data::DataFolder;
use crate::failure::Failure;
use crate::report::Report;
use crate::say;

/// How long the instances may take for each step of their start.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);
/// How long they may take to end before they are killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the system may take to end what was killed.
const KILL_TIMEOUT: Duration = Duration::from_secs(2);
/// Events of instances that wait to be handled, a count.
const EVENT_QUEUE: usize = 64;

#[derive(Debug, thiserror::Error)]
pub(super) enum FabricError {
    #[error("{name} cannot be started: {source}")]
    Spawn { name: String, source: std::io::Error },
    #[error("{name} ended before it was ready ({how}); what it wrote stands above")]
    EndedEarly { name: String, how: String },
    #[error("{} not {step} within {} s", .waiting.join(", "), STEP_TIMEOUT.as_secs())]
    TooSlow { waiting: Vec<String>, step: &'static str },
    #[error("all instances have ended")]
    AllEnded,
}

impl From<FabricError> for Failure {
    fn from(error: FabricError) -> Failure {
        let hint = match error {
            FabricError::Spawn { .. } => "end other programs, or pass fewer --instances",
            FabricError::EndedEarly { .. } => "mend what it names, then start the demo again",
            FabricError::TooSlow { .. } => {
                "pass fewer --instances, or start with RUST_LOG=info to see what they wait for"
            }
            FabricError::AllEnded => "start the demo again",
        };
        Failure::new(&error, hint)
    }
}

/// All instances, the dead ones included.
#[derive(Debug)]
pub(super) struct Fabric {
    children: Vec<Child>,
    events: mpsc::Receiver<(usize, Event)>,
    /// The web addresses of those that live.
    living: watch::Sender<Vec<SocketAddrV4>>,
}

impl Fabric {
    /// Starts the instances; instance i is at web port `port` + i.
    pub(super) fn start(
        port: u16,
        instances: u16,
        data: &DataFolder,
        store: Option<&store::Place>,
    ) -> Result<Fabric, FabricError> {
        let (sender, events) = mpsc::channel(EVENT_QUEUE);
        let mut children = Vec::new();
        for (web_port, index) in (port + 1..=port + instances).zip(0..) {
            let place = Place { index, web_port, others: instances - 1, store };
            let child = Child::start(place, data, sender.clone()).map_err(|source| {
                FabricError::Spawn { name: format!("instance-{}", index + 1), source }
            })?;
            children.push(child);
        }
        let living = watch::Sender::new(children.iter().map(|child| child.web).collect());
        Ok(Fabric { children, events, living })
    }

    pub(super) fn children(&self) -> &[Child] {
        &self.children
    }

    /// The web addresses of those that live, kept up to date.
    pub(super) fn living(&self) -> watch::Receiver<Vec<SocketAddrV4>> {
        self.living.subscribe()
    }

    /// Waits until each has told where its node listens; gives those addresses.
    pub(super) async fn until_listening(&mut self) -> Result<Vec<SocketAddr>, FabricError> {
        self.until_each("listening", |child| child.mesh.is_some()).await?;
        Ok(self.children.iter().filter_map(|child| child.mesh).collect())
    }

    /// Waits until each is linked with all others, both ways.
    pub(super) async fn until_in_sync(&mut self) -> Result<(), FabricError> {
        self.until_each("in sync", |child| child.in_sync).await
    }

    /// Waits until the last one has ended, and tells of each that does.
    pub(super) async fn until_none_is_left(&mut self) -> FabricError {
        while !self.living.borrow().is_empty() {
            let Some((index, event)) = self.next_event().await else {
                break;
            };
            if let Event::Ended { how, in_order } = event {
                let Child { name, pid, .. } = &self.children[index];
                let flushes = match in_order {
                    true => "it said goodbye, so flushes do not wait for it",
                    false => "it stays in the members file, so flushes will name it as unconfirmed",
                };
                say::note(format_args!(
                    "{name} (process {pid}) ended by itself: {how}. It is not restarted; {flushes}."
                ));
            }
        }
        FabricError::AllEnded
    }

    /// Ends all that live: asks them first, and kills those who take too long.
    pub(super) async fn stop(&mut self) {
        for child in &mut self.children {
            child.let_go();
        }
        if timeout(STOP_TIMEOUT, self.until_all_ended()).await.is_ok() {
            return;
        }
        let slow =
            self.children.iter_mut().filter(|child| self.living.borrow().contains(&child.web));
        for child in slow {
            say::note(format_args!("{} takes too long to end: it is killed", child.name));
            child.kill();
        }
        let _ = timeout(KILL_TIMEOUT, self.until_all_ended()).await;
    }

    async fn until_all_ended(&mut self) {
        while !self.living.borrow().is_empty() {
            if self.next_event().await.is_none() {
                return;
            }
        }
    }

    /// Waits until each has come that far.
    async fn until_each(
        &mut self,
        step: &'static str,
        reached: fn(&Child) -> bool,
    ) -> Result<(), FabricError> {
        let wait = async {
            while !self.children.iter().all(reached) {
                match self.next_event().await {
                    Some((index, Event::Ended { how, .. })) => {
                        let name = self.children[index].name.clone();
                        return Err(FabricError::EndedEarly { name, how });
                    }
                    Some(_) => {}
                    None => return Err(FabricError::AllEnded),
                }
            }
            Ok(())
        };
        if let Ok(ended) = timeout(STEP_TIMEOUT, wait).await {
            return ended;
        }
        let waiting = self.children.iter().filter(|child| !reached(child));
        let waiting = waiting.map(|child| child.name.clone()).collect();
        Err(FabricError::TooSlow { waiting, step })
    }

    async fn next_event(&mut self) -> Option<(usize, Event)> {
        let (index, event) = self.events.recv().await?;
        let child = &mut self.children[index];
        match &event {
            Event::Reported(Report::Listening { mesh }) => child.mesh = Some(*mesh),
            Event::Reported(Report::InSync) => child.in_sync = true,
            Event::Ended { .. } => {
                let gone = child.web;
                self.living.send_modify(|living| living.retain(|web| *web != gone));
            }
        }
        Some((index, event))
    }
}
