//! The live view: a stream of what all instances answer, for as long as a page is open.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::time::{Instant, sleep_until};

use crate::{Site, instances};

/// Between two rounds of questions to the instances; flushes show within one.
const PACE: Duration = Duration::from_millis(500);

/// `GET /api/events`: an event `instances` with all rows at once, and whenever one has changed.
pub(crate) async fn events(
    State(site): State<Arc<Site>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let changes = unfold((site, String::new(), Instant::now()), async |(site, told, due)| {
        let (rows, asked) = next(&site, &told, due).await;
        let event = Event::default().event("instances").data(&rows);
        Some((Ok(event), (site, rows, asked + PACE)))
    });
    Sse::new(changes).keep_alive(KeepAlive::default())
}

/// Asks from `due` on until the answers are others than those that were told.
async fn next(site: &Arc<Site>, told: &str, mut due: Instant) -> (String, Instant) {
    loop {
        sleep_until(due).await;
        let asked = Instant::now();
        let rows = instances::ask_all(site).await;
        match serde_json::to_string(&rows) {
            Ok(rows) if rows != told => return (rows, asked),
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "the rows have no text"),
        }
        due = asked + PACE;
    }
}
