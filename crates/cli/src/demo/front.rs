//! The port itself: leads to one of the instances that live, as a load balancer would.

use std::convert::Infallible;
use std::net::{SocketAddrV4, TcpListener};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use tokio::sync::watch;

use crate::failure::Failure;

type Living = watch::Receiver<Vec<SocketAddrV4>>;

/// Serves until it cannot.
pub(super) async fn serve(listener: TcpListener, living: Living) -> Result<Infallible, Failure> {
    let serve = async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        axum::serve(listener, Router::new().fallback(lead).with_state(living)).await
    };
    let error = serve.await.err().map_or_else(String::new, |error| format!(": {error}"));
    Err(Failure::new(format!("the port itself is no longer served{error}"), "start the demo again"))
}

/// To the same path at an instance, by the same method and with the same body.
async fn lead(State(living): State<Living>, uri: Uri) -> Response {
    let Some(web) = living.borrow().first().copied() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "no instance is left\n").into_response();
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Redirect::temporary(&format!("http://{web}{path}")).into_response()
}
