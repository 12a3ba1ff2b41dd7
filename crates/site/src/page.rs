//! The page: its first paint comes from a template, later changes from `app.js`.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse};

use crate::Site;
use crate::api::{ApiError, CopyReport};
use crate::overview::{self, Row};
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

pub(crate) async fn page(State(site): State<Arc<Site>>) -> Result<Html<String>, ApiError> {
    let copy = site.settings.read().await?;
    let rows = overview::look(&site).await.rows;
    let page = Page {
        instance: site.node.name(),
        bound: BOUND.as_secs(),
        version: copy.snapshot.version,
        settings: &copy.snapshot.settings,
        rows: rows.iter().map(|row| RowView::new(row, site.node.name())).collect(),
        blank_setting: &Setting::new("", ""),
        blank_row: &RowView::default(),
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
    rows: Vec<RowView>,
    /// What the script makes new rows from: the same markup, with nothing in it.
    blank_setting: &'a Setting,
    blank_row: &'a RowView,
}

/// A row of the table as it is shown; `app.js` fills in the same fields.
#[derive(Default)]
struct RowView {
    instance: String,
    own: bool,
    address: String,
    shown_address: String,
    date: String,
    version: String,
    loaded_at: String,
    loads: String,
    hits: String,
    state: String,
    is_cut_off: bool,
    healed: String,
    last_flush: String,
    error: String,
}

impl RowView {
    fn new(row: &Row, own: &str) -> RowView {
        match row {
            Row::Answered { copy, address, last_flush, .. } => RowView {
                last_flush: last_flush
                    .as_ref()
                    .map_or_else(|| "–".to_owned(), |it| it.text.clone()),
                ..RowView::answered(copy, address, own)
            },
            Row::Silent { instance, address, error } => RowView {
                instance: instance.clone(),
                own: instance == own,
                address: address.clone(),
                shown_address: shown_address(address),
                date: "–".to_owned(),
                version: "–".to_owned(),
                loads: "–".to_owned(),
                hits: "–".to_owned(),
                state: "–".to_owned(),
                last_flush: "–".to_owned(),
                error: error.clone(),
                ..RowView::default()
            },
        }
    }

    fn answered(copy: &CopyReport, address: &str, own: &str) -> RowView {
        RowView {
            instance: copy.instance.clone(),
            own: copy.instance == own,
            address: address.to_owned(),
            shown_address: shown_address(address),
            date: shown(&copy.date),
            version: copy.version.to_string(),
            loaded_at: time_of(&copy.loaded_at).to_owned(),
            loads: copy.loads.to_string(),
            hits: copy.hits.to_string(),
            state: copy.state.text.clone(),
            is_cut_off: !copy.state.in_sync,
            healed: copy.state.healed.as_ref().map_or_else(String::new, |it| it.text.clone()),
            ..RowView::default()
        }
    }
}

fn shown_address(address: &str) -> String {
    address.replace("http://", "")
}

/// A date as people read it; that it is UTC stands beside it.
fn shown(date: &str) -> String {
    date.replace('T', " ").replace('Z', "")
}

/// Its time of day: a copy lives for an hour at most.
fn time_of(date: &str) -> &str {
    date.split_once('T').map_or(date, |(_, time)| time.trim_end_matches('Z'))
}
