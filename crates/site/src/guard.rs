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

pub(crate) const HEADERS: [(HeaderName, HeaderValue); 3] = [
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
pub(crate) fn protect(router: Router) -> Router {
    router
        .layer(middleware::from_fn(refuse_other_hosts))
        .layer(middleware::map_response(add_headers))
}

async fn add_headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        // An answer that was passed on has them already.
        response.headers_mut().insert(name, value);
    }
    response
}

/// A foreign name that was made to lead to this machine would give its page all rights here.
async fn refuse_other_hosts(request: Request, next: Next) -> Response {
    let mut named = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (named.next(), named.next()) else {
        return crate::api::error(StatusCode::BAD_REQUEST, "a request has to have one Host header");
    };
    let host = Authority::try_from(host.as_bytes()).ok();
    // The first line may name a host too, and by HTTP's rules that one counts.
    let also = request.uri().authority();
    if !host.as_ref().is_some_and(is_loopback) || !also.is_none_or(is_loopback) {
        return crate::api::error(
            StatusCode::MISDIRECTED_REQUEST,
            "this site is served for this machine only: open it at http://127.0.0.1 or localhost",
        );
    }
    next.run(request).await
}

fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_loopback = || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    // No user: that is no part of a host's name.
    !authority.as_str().contains('@') && (host.eq_ignore_ascii_case("localhost") || is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_served() {
        let is_loopback = |host: &str| Authority::try_from(host).is_ok_and(|it| is_loopback(&it));
        for host in ["127.0.0.1:8081", "localhost", "LOCALHOST:80", "[::1]:8081", "127.0.0.2"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1:8081",
            "",
            "localhost.",
            "localhost@evil.example",
            "evil.example@localhost",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
