//! The fabric: all instances of the demo, from their start to their end.
//!
//! Never restarts an instance by itself, and never forgets one: whoever dies stays in the members
//! file, as a crashed machine would, so that the flushes of the others have to name it. Who is asked
//! to leave, by a smaller scale, is taken out.

use std::collections::BTreeMap;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

use flushcast_site::store;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::demo::child::{Child, Event, Events, Place, State};
use crate::demo::data::DataFolder;
use crate::demo::members::{self, MembersError};
use crate::demo::orders::{Action, Order, OrderError, Orders, Shown};
use crate::demo::{MAX_INSTANCES, ports};
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
    #[error(transparent)]
    Members(#[from] MembersError),
}

impl From<FabricError> for Failure {
    fn from(error: FabricError) -> Failure {
        let hint = match error {
            FabricError::Members(error) => return error.into(),
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
    port: u16,
    data: DataFolder,
    store: Option<store::Place>,
    /// By their numbers.
    children: BTreeMap<u16, Child>,
    sender: Events,
    events: mpsc::Receiver<(u16, Event)>,
    /// The web addresses of those that live and are not to leave.
    living: watch::Sender<Vec<SocketAddrV4>>,
}

impl Fabric {
    /// Starts the instances; instance i is at web port `port` + i.
    pub(super) fn start(
        port: u16,
        instances: u16,
        data: DataFolder,
        store: Option<store::Place>,
    ) -> Result<Fabric, FabricError> {
        let (sender, events) = mpsc::channel(EVENT_QUEUE);
        let (children, living) = (BTreeMap::new(), watch::Sender::default());
        let mut fabric = Fabric { port, data, store, children, sender, events, living };
        for number in 1..=instances {
            fabric.start_one(number, instances - 1)?;
        }
        Ok(fabric)
    }

    fn start_one(&mut self, number: u16, others: u16) -> Result<(), FabricError> {
        let place =
            Place { number, web_port: self.port + number, others, store: self.store.as_ref() };
        let child = Child::start(place, &self.data, self.sender.clone())
            .map_err(|source| FabricError::Spawn { name: format!("instance-{number}"), source })?;
        self.children.insert(number, child);
        self.tell_living();
        Ok(())
    }

    fn tell_living(&self) {
        let living = self.children.values();
        let living = living.filter(|it| matches!(it.state, State::Running | State::Paused));
        self.living.send_replace(living.map(|child| child.web).collect());
    }

    pub(super) fn data(&self) -> &DataFolder {
        &self.data
    }

    pub(super) fn children(&self) -> impl Iterator<Item = &Child> {
        self.children.values()
    }

    /// The web addresses of those that live, kept up to date.
    pub(super) fn living(&self) -> watch::Receiver<Vec<SocketAddrV4>> {
        self.living.subscribe()
    }

    /// Waits until each is linked with all others, both ways.
    pub(super) async fn until_in_sync(&mut self) -> Result<(), FabricError> {
        self.until_each("listening", |child| child.mesh.is_some()).await?;
        self.write_members()?;
        self.until_each("in sync", |child| child.in_sync).await
    }

    fn write_members(&self) -> Result<(), MembersError> {
        let mesh: Vec<SocketAddr> = self.children.values().filter_map(|child| child.mesh).collect();
        members::write(&self.data.members(), &mesh)
    }

    /// Carries out orders, and tells of each instance that ends by itself, until none is left.
    pub(super) async fn run(&mut self, orders: &mut Orders) -> FabricError {
        while self.children.values().any(|child| child.state != State::Ended) {
            let done = tokio::select! {
                event = self.events.recv() => match event {
                    Some((number, event)) => self.on_event(number, event),
                    None => break,
                },
                order = orders.recv() => {
                    if let Some(order) = order {
                        self.carry_out(order);
                    }
                    Ok(())
                }
            };
            if let Err(error) = done {
                return error;
            }
        }
        FabricError::AllEnded
    }

    fn on_event(&mut self, number: u16, event: Event) -> Result<(), FabricError> {
        let was_listening = self.children.get(&number).is_some_and(|it| it.mesh.is_some());
        let was_leaving = self.children.get(&number).is_some_and(|it| it.state == State::Leaving);
        self.note(number, &event);
        match event {
            Event::Ended { .. } if was_leaving => {
                self.children.remove(&number);
                self.write_members()?;
            }
            Event::Ended { how, in_order } => {
                let Some(Child { name, pid, .. }) = self.children.get(&number) else {
                    return Ok(());
                };
                let flushes = match in_order {
                    true => "it said goodbye, so flushes do not wait for it",
                    false => "it stays in the members file, so flushes will name it as unconfirmed",
                };
                say::note(format_args!(
                    "{name} (process {pid}) ended by itself: {how}. It is not restarted; {flushes}."
                ));
            }
            Event::Reported(Report::Listening { .. }) if !was_listening => self.write_members()?,
            Event::Reported(_) => {}
        }
        Ok(())
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Show { answer } => {
                let shown = self.children.values().map(|child| Shown {
                    name: child.name.clone(),
                    state: child.state,
                    cut: child.cut,
                });
                // Who asked may have gone.
                let _ = answer.send(shown.collect());
            }
            Order::Scale { instances, answer } => {
                let _ = answer.send(self.scale(instances));
            }
            Order::Act { name, action, answer } => {
                let _ = answer.send(self.act(&name, action));
            }
        }
    }

    /// Starts or ends instances until there are so many. The highest numbers go first; a number
    /// whose instance has died is given to a new one.
    fn scale(&mut self, instances: u16) -> Result<(), OrderError> {
        if instances < 1 || i64::from(instances) > MAX_INSTANCES {
            return Err(OrderError::Count);
        }
        let stays = |child: &Child| matches!(child.state, State::Running | State::Paused);
        let mut count = self.children.values().filter(|child| stays(child)).count();
        for child in self.children.values_mut().rev().filter(|child| stays(child)) {
            if count <= usize::from(instances) {
                break;
            }
            child.let_go();
            count -= 1;
        }
        self.tell_living();
        let is_free = |number: &u16| {
            self.children.get(number).is_none_or(|child| child.state == State::Ended)
        };
        let missing = usize::from(instances).saturating_sub(count);
        let free: Vec<u16> = (1..).filter(is_free).take(missing).collect();
        for number in free {
            let port = self.port.checked_add(number).ok_or(OrderError::Count)?;
            ports::check(port).map_err(|error| OrderError::Start(error.to_string()))?;
            self.start_one(number, 0).map_err(|error| OrderError::Start(error.to_string()))?;
            if let Some(Child { name, pid, web, .. }) = self.children.get(&number) {
                say::line(format_args!("  {name:<12}  http://{web}  process {pid}  (started now)"));
            }
        }
        Ok(())
    }

    fn act(&mut self, name: &str, action: Action) -> Result<(), OrderError> {
        let child = self.children.values_mut().find(|child| child.name == name);
        let child = child.ok_or_else(|| OrderError::Unknown(name.to_owned()))?;
        let done = match (action, child.state) {
            (Action::Kill, State::Running | State::Paused) => {
                child.kill();
                Ok(())
            }
            (Action::Pause, State::Running) => child.pause(),
            (Action::Resume, State::Paused) => child.resume(),
            (Action::Cut, State::Running) => child.cut(true),
            (Action::Heal, State::Running) => child.cut(false),
            (_, state) => return Err(OrderError::NotNow { name: name.to_owned(), state }),
        };
        done.map_err(|error| OrderError::Start(error.to_string()))
    }

    /// Ends all that live: asks them first, and kills those who take too long.
    pub(super) async fn stop(&mut self) {
        for child in self.children.values_mut().filter(|child| child.state != State::Ended) {
            child.let_go();
        }
        if timeout(STOP_TIMEOUT, self.until_all_ended()).await.is_ok() {
            return;
        }
        for child in self.children.values_mut().filter(|child| child.state != State::Ended) {
            say::note(format_args!("{} takes too long to end: it is killed", child.name));
            child.kill();
        }
        let _ = timeout(KILL_TIMEOUT, self.until_all_ended()).await;
    }

    /// Removes what it has made, once all have ended.
    pub(super) fn close(self) {
        self.data.close();
    }

    async fn until_all_ended(&mut self) {
        while self.children.values().any(|child| child.state != State::Ended) {
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
            while !self.children.values().all(reached) {
                match self.next_event().await {
                    Some((number, Event::Ended { how, .. })) => {
                        return Err(FabricError::EndedEarly { name: self.name(number), how });
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
        let waiting = self.children.values().filter(|child| !reached(child));
        let waiting = waiting.map(|child| child.name.clone()).collect();
        Err(FabricError::TooSlow { waiting, step })
    }

    fn name(&self, number: u16) -> String {
        self.children.get(&number).map_or_else(String::new, |child| child.name.clone())
    }

    async fn next_event(&mut self) -> Option<(u16, Event)> {
        let (number, event) = self.events.recv().await?;
        self.note(number, &event);
        Some((number, event))
    }

    fn note(&mut self, number: u16, event: &Event) {
        let Some(child) = self.children.get_mut(&number) else { return };
        match event {
            Event::Reported(Report::Listening { mesh }) => child.mesh = Some(*mesh),
            Event::Reported(Report::InSync) => child.in_sync = true,
            Event::Reported(Report::Cut { cut }) => child.cut = *cut,
            Event::Ended { .. } => {
                child.state = State::Ended;
                self.tell_living();
            }
        }
    }
}
