//! The live view: a stream of what all instances answer, for as long as a page is open.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::time::{Instant, sleep_until};

use crate::{Site, overview};

/// Between two rounds of questions to the instances; flushes show within one.
const PACE: Duration = Duration::from_millis(500);

/// `GET /api/events`: an event `overview` with all rows and flushes at once, and whenever anything
/// has changed.
pub(crate) async fn events(
    State(site): State<Arc<Site>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let changes = unfold((site, String::new(), Instant::now()), async |(site, told, due)| {
        let (overview, asked) = next(&site, &told, due).await;
        let event = Event::default().event("overview").data(&overview);
        Some((Ok(event), (site, overview, asked + PACE)))
    });
    Sse::new(changes).keep_alive(KeepAlive::default())
}

/// Asks from `due` on until the answers are others than those that were told.
async fn next(site: &Arc<Site>, told: &str, mut due: Instant) -> (String, Instant) {
    loop {
        sleep_until(due).await;
        let asked = Instant::now();
        let overview = overview::look(site).await;
        match serde_json::to_string(&*overview) {
            Ok(overview) if overview != told => return (overview, asked),
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "the overview has no text"),
        }
        due = asked + PACE;
    }
}
