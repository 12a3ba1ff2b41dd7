//! Owns how a written address becomes one that can be dialled.

use std::net::SocketAddr;

/// Resolves `host:port` texts. A name stands for one node, so that of several addresses the first
/// is taken. Gives back what could be resolved, and what could not with the reason.
pub(super) async fn resolve(texts: &[String]) -> (Vec<SocketAddr>, Option<String>) {
    let (mut addresses, mut wrong) = (Vec::new(), None);
    for text in texts {
        if let Ok(address) = text.parse() {
            addresses.push(address);
            continue;
        }
        let found = tokio::net::lookup_host(text).await.map(|mut found| found.next());
        match found {
            Ok(Some(address)) => addresses.push(address),
            Ok(None) => wrong = Some(format!("{text:?} has no address")),
            Err(error) => {
                wrong = Some(format!("{text:?} does not resolve ({error}): write host:port"));
            }
        }
    }
    (addresses, wrong)
}
