//! What each instance answers when it is asked live.
//!
//! Never tells what this instance remembers of another: it is that instance's own answer, or the
//! reason why there is none.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use flushcast::{LoadError, Peer};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::api::CopyReport;
use crate::flushes::FlushesReport;
use crate::server::limits::UNUSED_WITHIN;
use crate::store::ReadError;
use crate::{Site, WEB_LABEL};

/// How long an instance may take for its whole answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// The largest answer that is read, in bytes; among 50 instances an ordinary one has some thousand.
const MAX_ANSWER_BYTES: usize = 128 * 1024;

/// What an instance answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    /// What it tells of its copy.
    #[serde(flatten)]
    pub copy: CopyReport,
    /// When it began to read that copy, in milliseconds since 1970.
    pub read_at: i64,
    /// What it tells of its flushes.
    pub flushes: FlushesReport,
}

/// An instance that was asked.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Its name, as far as it is known.
    pub(crate) instance: String,
    /// Its web address, or that of its node where it never told the other.
    pub(crate) address: String,
    /// What it answered, or why it did not.
    pub(crate) answer: Result<Answer, String>,
}

impl Asked {
    /// `instance-2` comes before `instance-10`.
    fn order(&self) -> (String, u64, String) {
        let name = &self.instance;
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        let number = name[stem.len()..].parse().unwrap_or(0);
        (stem.to_owned(), number, self.address.clone())
    }
}

impl Answer {
    /// This instance's own.
    pub(crate) async fn of(site: &Site) -> Result<Answer, LoadError<ReadError>> {
        let read_at = Timestamp::now().as_millisecond();
        let copy = site.settings.look().await?;
        Ok(Answer { copy: CopyReport::new(site, &copy), read_at, flushes: site.flushes.report() })
    }
}

/// The client that asks the other instances: directly, and never elsewhere than told.
pub(crate) fn client() -> Result<reqwest::Client, reqwest::Error> {
    crate::tls::choose();
    reqwest::Client::builder()
        .timeout(ASK_TIMEOUT)
        .pool_idle_timeout(UNUSED_WITHIN)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
}

/// Asks all at the same time, this instance among them; in the order of their names.
pub(crate) async fn ask_all(site: &Arc<Site>) -> Vec<Asked> {
    let mut asked = JoinSet::new();
    for peer in site.node.peers() {
        asked.spawn(ask_peer(site.client.clone(), peer));
    }
    let answer = Answer::of(site).await.map_err(|error| error.to_string());
    let (instance, address) = (site.node.name().to_owned(), site.address.clone());
    let mut all = asked.join_all().await;
    all.push(Asked { instance, address, answer });
    all.sort_by_cached_key(Asked::order);
    all
}

async fn ask_peer(client: reqwest::Client, peer: Peer) -> Asked {
    let instance = peer.name.clone().unwrap_or_else(|| "unknown".to_owned());
    let Some(address) = peer.labels.get(WEB_LABEL).cloned() else {
        let error = "it was not met yet, so its web address is not known".to_owned();
        return Asked { instance, address: peer.address.to_string(), answer: Err(error) };
    };
    let answer = match ask(&client, &address).await {
        Ok(Answer { copy, .. }) if copy.instance != instance => {
            Err(format!("{} answers at its address", copy.instance))
        }
        answer => answer.map_err(|error| error.to_string()),
    };
    Asked { instance, address, answer }
}

#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("no answer within {} s", ASK_TIMEOUT.as_secs())]
    TimedOut,
    #[error("no answer: {0}")]
    Failed(String),
    #[error("answered {0}")]
    Refused(reqwest::StatusCode),
    #[error("its answer is over {MAX_ANSWER_BYTES} bytes long")]
    TooLong,
    #[error("its answer is not understood: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl From<reqwest::Error> for AskError {
    fn from(error: reqwest::Error) -> AskError {
        if error.is_timeout() {
            return AskError::TimedOut;
        }
        // The last cause is the one that tells something: "Connection refused".
        let mut cause: &dyn Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        AskError::Failed(cause.to_string())
    }
}

async fn ask(client: &reqwest::Client, address: &str) -> Result<Answer, AskError> {
    let mut response = client.get(format!("{address}/api/copy")).send().await?;
    if !response.status().is_success() {
        return Err(AskError::Refused(response.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(AskError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(serde_json::from_slice(&body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_the_order_people_count_in() {
        let row = |name: &str| Asked {
            instance: name.to_owned(),
            address: String::new(),
            answer: Err(String::new()),
        };
        let mut rows = ["instance-10", "web", "instance-2", "instance-1", "instance"].map(row);
        rows.sort_by_cached_key(Asked::order);
        let names = rows.map(|row| row.order().0 + &row.order().1.to_string());
        assert_eq!(names, ["instance0", "instance-1", "instance-2", "instance-10", "web0"]);
    }

    async fn row_of_a_peer_that_answers(answer: impl Into<String>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let answer = answer.into();
        let route = axum::routing::get(move || async move { answer });
        let router = axum::Router::new().route("/api/copy", route);
        tokio::spawn(axum::serve(listener, router).into_future());
        match ask(&client().unwrap(), &address).await {
            Ok(copy) => format!("{copy:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn what_a_peer_answers_is_believed_only_where_it_is_understood() {
        let error = row_of_a_peer_that_answers("<h1>hello</h1>").await;
        assert!(error.starts_with("its answer is not understood"), "{error}");
        let error = row_of_a_peer_that_answers("{}").await;
        assert!(error.contains("missing field"), "{error}");
        let error = row_of_a_peer_that_answers(" ".repeat(MAX_ANSWER_BYTES + 1)).await;
        assert_eq!(error, format!("its answer is over {MAX_ANSWER_BYTES} bytes long"));
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_is_told_with_its_reason() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let error = ask(&client().unwrap(), &address).await.unwrap_err().to_string();
        assert!(error.contains("refused"), "{error}");
    }
}
