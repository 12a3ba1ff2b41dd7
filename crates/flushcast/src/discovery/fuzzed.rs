//! Owns the way in for a fuzzer: what a source makes of bytes, in a world where each name leads to
//! the same addresses. It must never be part of a build that is not a fuzzer's.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use flushcast_core::peers::Listed;

use super::address::Name;
use super::file::texts_of;
use super::names::Names;
use super::system::System;
use crate::strict::list_of;

/// What was read.
#[derive(Debug)]
pub struct Read {
    /// As it is written.
    pub texts: Vec<String>,
    /// What the core is told.
    pub listed: Vec<Listed>,
    /// Whether nobody is taken off.
    pub partly: bool,
    /// All that is wrong, for people.
    pub problem: Option<String>,
    /// What it is as a [`Fixed`](super::Fixed) list of a node with strict caches.
    pub fixed: Result<Vec<SocketAddr>, String>,
}

/// Reads a members file as [`File`](super::File) does. Each name resolves to `addresses`, or to nothing
/// if there are none; there is no route to those of IPv6. `own` is where the node says to be.
///
/// # Errors
/// What is wrong with all of it, for people.
pub async fn read(bytes: &[u8], addresses: &[SocketAddr], own: SocketAddr) -> Result<Read, String> {
    let texts = texts_of(bytes)?;
    let mut names = Names::new(Scripted(addresses.into()));
    names.set(&texts);
    names.ask();
    names.settled().await;
    let list = names.list().check();
    let problem = list.problem();
    let fixed = list_of(own, vec![("fixed".to_owned(), Some(texts.clone()))]);
    let fixed = fixed.map_err(|error| error.to_string());
    Ok(Read { texts, listed: list.listed, partly: list.partly, problem, fixed })
}

#[derive(Debug, Clone)]
struct Scripted(Arc<[SocketAddr]>);

impl System for Scripted {
    async fn look_up(&self, _: Name) -> io::Result<Vec<SocketAddr>> {
        match self.0.is_empty() {
            true => Err(io::Error::other("no such name")),
            false => Ok(self.0.to_vec()),
        }
    }

    fn has_route(&self, address: SocketAddr) -> bool {
        address.is_ipv4()
    }
}
