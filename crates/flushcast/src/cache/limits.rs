//! Owns how long loads may take, and how long others wait for them.

use std::sync::Arc;
use std::time::Duration;

use flushcast_core::load::{Alarm, LoadLimit};

use crate::alarm;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Of a load.
    pub(super) load: Option<Duration>,
    /// Of who has an expired copy to serve instead.
    pub(super) patience: Option<Duration>,
    /// After a load that has failed in the background.
    pub(super) pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { load: None, patience: None, pause: Duration::from_secs(10) }
    }
}

impl Limits {
    /// Of a load, with an alarm for it, on any executor.
    pub(super) fn of_loads(self) -> Option<LoadLimit> {
        let alarm = |after| Box::pin(alarm::sleep(after)) as Alarm;
        self.load.map(|length| LoadLimit { length, alarm: Arc::new(alarm) })
    }
}
