//! What an instance and the demo that started it tell each other: one JSON object a line, the one on
//! its stdout, the other on its stdin.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// How far an instance has come.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Report {
    /// Its web port answers, and its node has this address.
    Listening { mesh: SocketAddr },
    /// It is linked with all other instances, both ways.
    InSync,
    /// Nothing passes between its node and the others, or no longer so.
    Cut { cut: bool },
}

/// What the demo tells an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub(crate) enum Command {
    /// Let nothing pass between its node and the others, or let it again.
    Cut { cut: bool },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_flat_json_object() {
        let mesh = "127.0.0.1:40001".parse().unwrap();
        let text = serde_json::to_string(&Report::Listening { mesh }).unwrap();
        assert_eq!(text, r#"{"event":"listening","mesh":"127.0.0.1:40001"}"#);
        let text = serde_json::to_string(&Report::InSync).unwrap();
        assert_eq!(text, r#"{"event":"in_sync"}"#);
        let text = serde_json::to_string(&Command::Cut { cut: true }).unwrap();
        assert_eq!(text, r#"{"command":"cut","cut":true}"#);
    }
}
