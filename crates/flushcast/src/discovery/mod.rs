//! Owns how nodes find each other: sources that tell who exists.
//! It must never tell who can be reached; the mesh finds that out.

mod address;
mod dns;
mod file;
mod fixed;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzed;
mod list;
mod members;
mod names;
mod system;

use std::pin::Pin;

pub(crate) use address::unusable;
pub use dns::Dns;
pub use file::File;
pub use fixed::Fixed;
pub use flushcast_core::peers::Listed;
pub(crate) use members::run;
pub use members::{Members, SourceStatus};

/// A source that tells who exists, again and again for as long as the node runs.
///
/// Write your own for a fabric that has none here; [`Members`] takes what it finds.
pub trait Discovery: Send + 'static {
    /// What it is called in [`Source::Discovery`](crate::Source::Discovery) and in logs.
    fn name(&self) -> String;

    /// The whole list as `host:port`, if it is known from the start and never changes.
    fn fixed(&self) -> Option<Vec<String>> {
        None
    }

    /// Tells `members` each list as it changes. Ends when there is nothing more to tell; the node
    /// ends it when it stops. The last list stays in use, after a panic, too.
    fn watch(self: Box<Self>, members: Members) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}
