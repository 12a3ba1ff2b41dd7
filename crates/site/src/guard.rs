//! What a browser may and may not do here, as headers and checks around every route.
//!
//! The site has no login, so it must never take orders from a page of somebody else: it answers
//! on loopback only, takes saves as JSON only (see `api.rs`), and serves nothing that can be framed.

use axum::Router;
use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use std::net::IpAddr;

const HEADERS: [(HeaderName, HeaderValue); 3] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
             img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    // What is shown is asked anew each time, by the back button too.
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// Puts the headers and checks around routes.
pub fn protect<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router
        .layer(middleware::from_fn(refuse_other_hosts))
        .layer(middleware::map_response(add_headers))
}

async fn add_headers(mut response: Response) -> Response {
    response.headers_mut().extend(HEADERS);
    response
}

/// A foreign name that was made to lead to this machine would give its page all rights here.
async fn refuse_other_hosts(request: Request, next: Next) -> Response {
    match request.headers().get(header::HOST) {
        Some(host) if !is_loopback(host) => crate::api::error(
            StatusCode::MISDIRECTED_REQUEST,
            "this site is served for this machine only: open it at http://127.0.0.1 or localhost",
        ),
        _ => next.run(request).await,
    }
}

fn is_loopback(host: &HeaderValue) -> bool {
    let Ok(authority) = Authority::try_from(host.as_bytes()) else {
        return false;
    };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_served() {
        for host in ["127.0.0.1:8081", "localhost", "LOCALHOST:80", "[::1]:8081", "127.0.0.2"] {
            assert!(is_loopback(&HeaderValue::from_static(host)), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:8081", "", "localhost."] {
            assert!(!is_loopback(&HeaderValue::from_static(host)), "{host}");
        }
    }
}
