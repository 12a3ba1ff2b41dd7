//! `flushcast demo`: plays the fabric that runs an app as several instances.
//!
//! One folder, one role a file: `ports` and `data` check what the demo needs before anything is
//! started; `child` is one instance's process; `fabric` holds them all; `members` is the file that
//! tells each node of the others; `front` spreads requests over them; `orders` has more or fewer of
//! them, and plays faults. Never restarts an instance by itself, and never leaves one behind.

mod child;
mod data;
mod fabric;
mod front;
mod members;
mod orders;
mod ports;

use std::convert::Infallible;
use std::net::TcpListener;
use std::path::PathBuf;

use flushcast_site::server::Limits;
use flushcast_site::store::{Place, PlaceError};

use crate::demo::data::DataFolder;
use crate::demo::fabric::Fabric;
use crate::failure::Failure;
use crate::say;
use crate::signals::Signals;
use crate::store;

/// The most instances, a count: every node links with every other one.
const MAX_INSTANCES: i64 = 50;

/// Run a settings site as several instances on this machine, and watch a save reach all of them
///
/// Each instance is a process of its own, with its own copy of the settings in its own memory.
/// They share one SQLite database, or one blob in a cloud. The addresses are printed once all
/// instances are in sync; Ctrl-C ends everything.
#[derive(clap::Args)]
pub(crate) struct DemoArgs {
    /// How many instances to start, 1 to 50
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 3,
        hide_possible_values = true,
        value_parser = clap::value_parser!(u16).range(1..=MAX_INSTANCES)
    )]
    instances: u16,
    /// TCP port on loopback that leads to one of the instances; instance i is at this port + i
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 8080,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    port: u16,
    /// Folder for the settings database and the members file, made if missing; a temporary one,
    /// removed at the end, if not given
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Blob that holds the settings, in place of a database: azure://account/container/blob,
    /// s3://bucket/blob or gs://bucket/blob; credentials come from the environment
    #[arg(long, value_name = "URL", value_parser = shared_place)]
    store: Option<Place>,
}

impl DemoArgs {
    /// What can be told to be wrong before anything is looked at.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        ports::last(self.port, self.instances)?;
        Ok(())
    }
}

/// All instances have to reach it.
fn shared_place(text: &str) -> Result<Place, String> {
    let place: Place = text.parse().map_err(|error: PlaceError| error.to_string())?;
    match place.is_in_memory() {
        true => Err("each instance has a memory of its own".to_owned()),
        false => Ok(place),
    }
}

/// Runs until Ctrl-C, or until no instance is left.
pub(crate) async fn run(args: DemoArgs) -> Result<(), Failure> {
    let mut signals = Signals::of_user().map_err(|error| {
        Failure::new(format!("signals cannot be received: {error}"), "try again")
    })?;
    let front = ports::claim(args.port, args.instances)?;
    let data = DataFolder::open(args.data.as_deref())?;
    // Made here, once, so that its errors are told once.
    store::open(args.store.as_ref(), data.path()).await?;
    say::line(format_args!("Starting {} ...", instances(args.instances)));
    let mut fabric = Fabric::start(args.port, args.instances, data, args.store.clone())?;
    let ended = tokio::select! {
        ended = play(&args, &mut fabric, front) => ended.map(|never| match never {}),
        () = signals.end() => Ok(()),
    };
    fabric.stop().await;
    fabric.close();
    ended
}

async fn play(
    args: &DemoArgs,
    fabric: &mut Fabric,
    front: TcpListener,
) -> Result<Infallible, Failure> {
    fabric.until_in_sync().await?;
    say_addresses(args, fabric);
    let (control, mut orders) = orders::routes();
    tokio::select! {
        ended = front::serve(front, control, fabric.living(), Limits::default()) => ended,
        ended = fabric.run(&mut orders) => Err(ended.into()),
    }
}

fn say_addresses(args: &DemoArgs, fabric: &Fabric) {
    say::line(format_args!("{} in sync:\n", instances(args.instances)));
    for child in fabric.children() {
        let (name, web, pid) = (&child.name, child.web, child.pid);
        say::line(format_args!("  {name:<12}  http://{web}  process {pid}"));
    }
    say::line(format_args!("  {:<12}  http://127.0.0.1:{}\n", "any of them", args.port));
    match &args.store {
        Some(place) => say::line(format_args!("Settings are in {place}.")),
        None => say::line(format_args!("Data is in {}.", fabric.data())),
    }
    say::line("Ctrl-C ends everything.");
}

fn instances(count: u16) -> String {
    if count == 1 { "1 instance".to_owned() } else { format!("{count} instances") }
}
