//! The page: settings are in its template, so that they can be read at once; what the instances
//! tell is filled in by its scripts.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse};

use crate::Site;
use crate::api::ApiError;
use crate::settings::BOUND;
use crate::store::Setting;

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";

pub(crate) async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, JAVASCRIPT)], include_str!("../assets/app.js"))
}

pub(crate) async fn fabric() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, JAVASCRIPT)], include_str!("../assets/fabric.js"))
}

pub(crate) async fn chart() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, JAVASCRIPT)], include_str!("../assets/chart.js"))
}

pub(crate) async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, CSS)], include_str!("../assets/style.css"))
}

pub(crate) async fn fabric_style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, CSS)], include_str!("../assets/fabric.css"))
}

pub(crate) async fn page(State(site): State<Arc<Site>>) -> Result<Html<String>, ApiError> {
    let copy = site.settings.read().await?;
    let page = Page {
        instance: site.node.name(),
        bound: BOUND.as_secs(),
        version: copy.snapshot.version,
        settings: &copy.snapshot.settings,
        blank_setting: &Setting::new("", ""),
    };
    Ok(Html(page.render()?))
}

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    instance: &'a str,
    /// In seconds.
    bound: u64,
    version: u64,
    settings: &'a [Setting],
    /// What the script makes new settings from: the same markup, with nothing in it.
    blank_setting: &'a Setting,
}
