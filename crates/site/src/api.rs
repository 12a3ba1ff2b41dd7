//! The JSON routes, for the page's script, for the other instances and for `curl`.
//!
//! Every answer is JSON, errors included: `{"error":"…"}`.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use flushcast::LoadError;
use serde::{Deserialize, Serialize};

use crate::Site;
use crate::flushes::Verdict;
use crate::instances::Answer;
use crate::limits::{self, MAX_BODY_BYTES};
use crate::live;
use crate::overview;
use crate::settings::LocalCopy;
use crate::state::StateReport;
use crate::store::{ReadError, SaveError, Setting};

/// Beside the JSON, `GET /health` answers at once, for who spreads requests over the instances.
pub(crate) fn routes() -> Router<Arc<Site>> {
    Router::new()
        .route("/api/copy", get(copy))
        // Nothing, where only the instance answers: the demo's own port has the controls.
        .route("/api/control", get(async || Json(())))
        .route("/health", get(async || "healthy\n"))
        .route("/api/instances", get(all_instances))
        .route("/api/flushes", get(all_flushes))
        .route("/api/events", get(live::events))
        .route("/api/settings", get(settings).put(save))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
}

/// An answer that says what went wrong.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    message: String,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl ToString) -> ApiError {
        ApiError { status, message: message.to_string() }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        error(self.status, &self.message)
    }
}

/// An error as the site answers it: JSON, with the reason.
pub fn error(status: StatusCode, message: &str) -> Response {
    (status, Json(serde_json::json!({ "error": message }))).into_response()
}

impl From<LoadError<ReadError>> for ApiError {
    fn from(error: LoadError<ReadError>) -> ApiError {
        tracing::warn!(%error, "the settings cannot be read");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error)
    }
}

impl From<SaveError> for ApiError {
    fn from(error: SaveError) -> ApiError {
        let status = match error {
            SaveError::Conflict { .. } => StatusCode::CONFLICT,
            SaveError::Database(_) | SaveError::Read(_) | SaveError::Unknown(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        ApiError::new(status, error)
    }
}

impl From<askama::Error> for ApiError {
    fn from(error: askama::Error) -> ApiError {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the page has no text: {error}"))
    }
}

/// What one instance tells of its own copy; with its flushes it is the answer of `GET /api/copy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyReport {
    /// The name of the instance.
    pub instance: String,
    /// When the settings in this copy were saved.
    pub date: String,
    /// Which save they are of.
    pub version: u64,
    /// When the instance loaded its copy.
    pub loaded_at: String,
    /// How it did.
    pub loaded_by: String,
    /// How many of the instance's reads asked the database.
    pub loads: u64,
    /// How many were served from the copy, those of this report and the live view left out.
    pub hits: u64,
    /// Whether the instance is in sync with the others, and what it healed from.
    pub state: StateReport,
}

impl CopyReport {
    pub(crate) fn new(site: &Site, copy: &LocalCopy) -> CopyReport {
        let counts = site.settings.counts();
        CopyReport {
            instance: site.node.name().to_owned(),
            date: copy.snapshot.date.clone(),
            version: copy.snapshot.version,
            loaded_at: copy.loaded_at.clone(),
            loaded_by: format!("load {}, from the store", copy.load),
            loads: counts.loads,
            hits: counts.hits,
            state: StateReport::new(&site.node, &site.healing),
        }
    }
}

async fn copy(State(site): State<Arc<Site>>) -> Result<Json<Answer>, ApiError> {
    Ok(Json(Answer::of(&site).await?))
}

async fn all_instances(State(site): State<Arc<Site>>) -> Response {
    Json(&overview::look(&site).await.rows).into_response()
}

async fn all_flushes(State(site): State<Arc<Site>>) -> Response {
    Json(&overview::look(&site).await.flushes).into_response()
}

#[derive(Serialize)]
struct SettingsAnswer {
    version: u64,
    date: String,
    settings: Vec<Setting>,
}

async fn settings(State(site): State<Arc<Site>>) -> Result<Json<SettingsAnswer>, ApiError> {
    let copy = site.settings.read().await?;
    let snapshot = copy.snapshot.clone();
    let (version, date, settings) = (snapshot.version, snapshot.date, snapshot.settings);
    Ok(Json(SettingsAnswer { version, date, settings }))
}

#[derive(Deserialize)]
struct SaveRequest {
    version: u64,
    settings: Vec<Setting>,
}

#[derive(Serialize)]
struct SaveAnswer {
    /// Which instance made the save.
    instance: String,
    version: u64,
    date: String,
    flush: Verdict,
}

async fn save(
    State(site): State<Arc<Site>>,
    // JSON only, by its content type too: a form on another page cannot send that.
    request: Result<Json<SaveRequest>, JsonRejection>,
) -> Result<Json<SaveAnswer>, ApiError> {
    let Json(request) =
        request.map_err(|error| ApiError::new(error.status(), error.body_text()))?;
    limits::validate(&request.settings)
        .map_err(|invalid| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, invalid))?;
    let (saved, flush) = site.settings.save(request.version, request.settings).await?;
    let (version, date) = (saved.version, saved.date);
    let flush = site.flushes.follow(version, flush).await;
    let instance = site.node.name().to_owned();
    Ok(Json(SaveAnswer { instance, version, date, flush }))
}

pub(crate) async fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "nothing is served at this path: the page is at /")
}

/// For paths that take requests of other methods only.
pub async fn method_not_allowed() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this path takes no request of this method")
}
