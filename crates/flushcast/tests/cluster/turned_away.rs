//! Who got no link, and what both sides say of it.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use flushcast::{LinkState, Node, Peer};
use tempfile::NamedTempFile;

use super::{PATIENCE, until};

/// What is known of the one peer of a node, once nobody of its cluster was found there.
pub async fn trouble_of(node: &Node) -> String {
    let told = |peer: &Peer| match &peer.following {
        LinkState::Connecting { trouble } => trouble.clone(),
        _ => None,
    };
    until(node, |peers| peers.iter().any(|peer| told(peer).is_some())).await;
    node.peers().iter().find_map(told).unwrap()
}

/// Waits until so many were turned away.
pub async fn has_turned_away(node: &Node, count: u64) {
    let counted = async {
        while node.turned_away() < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.expect("it is counted");
}

/// The log of all nodes of this process. A listener of one thread would miss lines, as which of them
/// are wanted is remembered by what other threads wanted.
pub static LOG: LazyLock<NamedTempFile> = LazyLock::new(|| {
    let file = NamedTempFile::new().unwrap();
    let lines = Arc::new(file.reopen().unwrap());
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(lines).finish();
    tracing::subscriber::set_global_default(log).unwrap();
    file
});

/// Waits until a node has written this to the log.
pub async fn logs(node: &str, wanted: &str) {
    logs_times(node, wanted, 1).await;
}

/// Waits until a node has written this to the log so often.
pub async fn logs_times(node: &str, wanted: &str, times: usize) {
    let text = || std::fs::read_to_string(LOG.path()).unwrap();
    let is_it = |line: &&str| line.contains(wanted) && line.contains(&format!("node=\"{node}\""));
    let said = async {
        while text().lines().filter(is_it).count() < times {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let said = tokio::time::timeout(PATIENCE, said).await;
    assert!(said.is_ok(), "{wanted:?} of {node} is not {times} times in {}", text());
}
