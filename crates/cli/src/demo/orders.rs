//! Orders to the fabric, and the routes of the demo's own port that give them.
//!
//! Only for this machine, and only with the token that `GET /api/control` tells: a page of somebody
//! else can neither read that nor send the token.

use std::fmt;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use flushcast_site::api;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::demo::MAX_INSTANCES;
use crate::demo::child::State;

/// The header that holds the token.
const TOKEN_HEADER: &str = "x-flushcast-token";
/// Orders that wait to be carried out, a count.
const QUEUE: usize = 16;
/// How often an instance is looked at that was told something, and how many times at most.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
const MOST_LOOKS: usize = 1000;

pub(super) type Orders = mpsc::Receiver<Order>;
type Answer<T> = oneshot::Sender<T>;

/// Something that the fabric is asked to do.
#[derive(Debug)]
pub(super) enum Order {
    /// Tell which instances there are.
    Show { answer: Answer<Vec<Shown>> },
    /// Have so many instances.
    Scale { instances: u16, answer: Answer<Result<(), OrderError>> },
    /// Do something to one of them.
    Act { name: String, action: Action, answer: Answer<Result<(), OrderError>> },
}

/// An instance, as far as the demo knows.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    pub(super) name: String,
    pub(super) state: State,
    pub(super) cut: bool,
}

/// What can be done to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    /// End its process, without a goodbye.
    Kill,
    /// Stop its process where it is.
    Pause,
    /// Let it go on.
    Resume,
    /// Let no flush pass between it and the others, either way, as a dead network would.
    Cut,
    /// Let them pass again.
    Heal,
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    #[error("there can be 1 to {MAX_INSTANCES} instances")]
    Count,
    #[error("there is no instance {0:?}")]
    Unknown(String),
    #[error("{name} is {state}")]
    NotNow { name: String, state: State },
    #[error("{0}")]
    Start(String),
    #[error("{0} was told, and has not said that it is so yet; look again")]
    Unconfirmed(String),
    #[error("the demo is ending")]
    Ending,
    #[error("send the token that GET /api/control tells, as {TOKEN_HEADER}")]
    NoToken,
    #[error("{0}")]
    Malformed(String),
    #[error("{}", .0.body_text())]
    Body(#[from] JsonRejection),
    #[error("{}", .0.body_text())]
    Path(#[from] PathRejection),
}

impl fmt::Display for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            State::Running => "running",
            State::Paused => "paused",
            State::Leaving => "leaving",
            State::Ended => "ended",
        })
    }
}

impl IntoResponse for OrderError {
    fn into_response(self) -> Response {
        let status = match self {
            OrderError::Count | OrderError::Malformed(_) => StatusCode::UNPROCESSABLE_ENTITY,
            OrderError::Unknown(_) => StatusCode::NOT_FOUND,
            OrderError::NotNow { .. } => StatusCode::CONFLICT,
            OrderError::NoToken => StatusCode::FORBIDDEN,
            OrderError::Start(_) => StatusCode::INTERNAL_SERVER_ERROR,
            OrderError::Unconfirmed(_) => StatusCode::GATEWAY_TIMEOUT,
            OrderError::Ending => StatusCode::SERVICE_UNAVAILABLE,
            OrderError::Body(ref rejection) => rejection.status(),
            OrderError::Path(ref rejection) => rejection.status(),
        };
        api::error(status, &self.to_string())
    }
}

#[derive(Debug, Clone)]
struct Control {
    token: String,
    orders: mpsc::Sender<Order>,
}

/// The routes, and where their orders arrive.
pub(super) fn routes() -> (Router, Orders) {
    let (sender, orders) = mpsc::channel(QUEUE);
    let control = Control { token: uuid::Uuid::new_v4().to_string(), orders: sender };
    let router = Router::new()
        .route("/api/control", get(show))
        .route("/api/scale", post(scale))
        .route("/api/instances/{name}/{action}", post(act))
        .method_not_allowed_fallback(api::method_not_allowed)
        .with_state(control);
    (router, orders)
}

impl Control {
    /// Gives an order, and waits until it is carried out.
    async fn give<T>(&self, order: impl FnOnce(Answer<T>) -> Order) -> Result<T, OrderError> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(order(answer)).await.map_err(|_| OrderError::Ending)?;
        answered.await.map_err(|_| OrderError::Ending)
    }

    /// Waits until an instance has said that it is cut or healed, or does not run any more: who looks
    /// behind an order sees it carried out.
    ///
    /// # Errors
    /// If it has not said so in ten seconds.
    async fn until_cut(&self, name: &str, cut: bool) -> Result<(), OrderError> {
        for _ in 0..MOST_LOOKS {
            let shown = self.give(|answer| Order::Show { answer }).await?;
            if shown.iter().all(|it| it.name != name || it.cut == cut || it.state != State::Running)
            {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Err(OrderError::Unconfirmed(name.to_owned()))
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), OrderError> {
        let given = headers.get(TOKEN_HEADER);
        match given.is_some_and(|given| given.as_bytes() == self.token.as_bytes()) {
            true => Ok(()),
            false => Err(OrderError::NoToken),
        }
    }
}

async fn show(Shared(control): Shared<Control>) -> Result<Response, OrderError> {
    let instances = control.give(|answer| Order::Show { answer }).await?;
    let body = serde_json::json!({
        "token": control.token, "most": MAX_INSTANCES, "instances": instances,
    });
    Ok(Json(body).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Scale {
    instances: u16,
}

async fn scale(
    Shared(control): Shared<Control>,
    headers: HeaderMap,
    scale: Result<Json<Scale>, JsonRejection>,
) -> Result<Json<serde_json::Value>, OrderError> {
    control.check(&headers)?;
    let Json(Scale { instances }) = scale?;
    control.give(|answer| Order::Scale { instances, answer }).await??;
    Ok(Json(serde_json::json!({ "instances": instances })))
}

async fn act(
    Shared(control): Shared<Control>,
    headers: HeaderMap,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<serde_json::Value>, OrderError> {
    control.check(&headers)?;
    let Path((name, action)) = path?;
    let wanted = serde_json::from_value(serde_json::Value::String(action.clone()));
    let wanted: Action = wanted.map_err(|_| {
        OrderError::Malformed(format!("{action:?} is none of cut, heal, kill, pause and resume"))
    })?;
    let order = |answer| Order::Act { name: name.clone(), action: wanted, answer };
    control.give(order).await??;
    if let Action::Cut | Action::Heal = wanted {
        control.until_cut(&name, wanted == Action::Cut).await?;
    }
    Ok(Json(serde_json::json!({ "done": action })))
}
