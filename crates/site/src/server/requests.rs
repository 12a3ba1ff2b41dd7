//! What is done around each request: its body is read first, whole and in time; event streams are
//! counted; and every error is answered in JSON.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Error, Router};
use futures_util::{FutureExt, StreamExt};
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::api::{ApiError, error};
use crate::limits::MAX_BODY_BYTES;
use crate::server::Limits;
use crate::server::places::Place;

/// Puts the limits around routes.
pub(super) fn limit(router: Router, limits: &Limits) -> Router {
    let streams = Arc::new(Semaphore::new(limits.streams));
    let room = Arc::new(Semaphore::new(limits.held_bytes));
    let bodies = Bodies { within: limits.body_within, room };
    router
        .layer(middleware::from_fn(answer_panics))
        .layer(middleware::from_fn_with_state(streams, count_streams))
        .layer(middleware::from_fn_with_state(bodies, read_body))
        .layer(middleware::map_response(tell_in_json))
}

#[derive(Debug, Clone)]
struct Bodies {
    within: Duration,
    /// A permit for each byte that may still be held.
    room: Arc<Semaphore>,
}

/// Reads the body before anything else is done for the request: a slow one holds up nobody, and its
/// connection can still give way.
async fn read_body(State(bodies): State<Bodies>, mut request: Request, next: Next) -> Response {
    let place = request.extensions_mut().remove::<Arc<Place>>();
    let (parts, body) = request.into_parts();
    let read = timeout(bodies.within, bodies.read(body)).await.unwrap_or_else(|_| {
        let why = "the body of the request took too long";
        Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, why))
    });
    let (bytes, room) = match read {
        Ok(read) => read,
        Err(refused) => return closing(refused.into_response()),
    };
    let answering = place.map(Place::answering);
    let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
    drop(room);
    response.map(|body| holding(body, answering))
}

impl Bodies {
    /// All of a body, and what keeps room for it.
    async fn read(&self, body: Body) -> Result<(Bytes, OwnedSemaphorePermit), ApiError> {
        let too_large = || {
            let why = format!("the request is over the limit of {MAX_BODY_BYTES} bytes");
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, why)
        };
        // Before the client is asked to go on.
        if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
            return Err(too_large());
        }
        let (mut body, mut bytes) = (body.into_data_stream(), Vec::new());
        let mut room = self.keep_room(0)?;
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| {
                let why = format!("the body of the request cannot be read: {error}");
                ApiError::new(StatusCode::BAD_REQUEST, why)
            })?;
            if bytes.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(too_large());
            }
            room.merge(self.keep_room(chunk.len())?);
            bytes.extend_from_slice(&chunk);
        }
        Ok((bytes.into(), room))
    }

    fn keep_room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        Arc::clone(&self.room).try_acquire_many_owned(bytes).map_err(|_| {
            let why = "too many requests are large at the same time: try again";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, why)
        })
    }
}

/// After a body that was not read to its end the connection cannot be used again.
fn closing(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// An event stream lasts as long as its client likes, so there is a limit to how many are open.
async fn count_streams(
    State(streams): State<Arc<Semaphore>>,
    request: Request,
    next: Next,
) -> Response {
    let response = next.run(request).await;
    if !has_type(&response, "text/event-stream") {
        return response;
    }
    match streams.try_acquire_owned() {
        Ok(permit) => response.map(|body| holding(body, permit)),
        Err(_) => {
            let why = "too many event streams are open: close another page, and try again";
            error(StatusCode::SERVICE_UNAVAILABLE, why)
        }
    }
}

/// What went wrong is written to the log, not to the client.
async fn answer_panics(request: Request, next: Next) -> Response {
    AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| {
        error(StatusCode::INTERNAL_SERVER_ERROR, "this request ran into a bug: look at the log")
    })
}

/// Some libraries answer errors by themselves, with text or with nothing.
async fn tell_in_json(response: Response) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error())
        || has_type(&response, "application/json")
    {
        return response;
    }
    let why = status.canonical_reason().unwrap_or("an error").to_lowercase();
    let (mut parts, told) = (response.into_parts().0, error(status, &why));
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::from_parts(parts, told.into_body())
}

fn has_type(response: &Response, wanted: &str) -> bool {
    let is = response.headers().get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    is.is_some_and(|is| is.split(';').next() == Some(wanted))
}

/// The same body; `held` is dropped with it, when all of it is sent or its client is gone.
fn holding<T: Send + Unpin + 'static>(body: Body, held: T) -> Body {
    Body::new(Holding { body, _held: held })
}

struct Holding<T> {
    body: Body,
    _held: T,
}

impl<T: Unpin> HttpBody for Holding<T> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
