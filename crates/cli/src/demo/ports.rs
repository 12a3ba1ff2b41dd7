//! The web ports: checked before anything is started, so that one clear error comes first.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

use crate::failure::Failure;

#[derive(Debug, thiserror::Error)]
pub(super) enum PortError {
    #[error("--port {port} leaves no room for {instances} instances: ports end at {}", u16::MAX)]
    OutOfRange { port: u16, instances: u16 },
    #[error("port {port} is taken")]
    Taken { port: u16 },
    #[error("port {port} cannot be listened on: {source}")]
    Other { port: u16, source: io::Error },
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Failure {
        match error {
            PortError::OutOfRange { instances, .. } => {
                let highest = u16::MAX - instances;
                Failure::usage(error, format!("pass --port {highest} or lower"))
            }
            PortError::Taken { .. } => {
                Failure::new(error, "stop what is listening there, or pass another --port")
            }
            PortError::Other { .. } => Failure::new(error, "pass another --port"),
        }
    }
}

/// The port of the last instance.
pub(super) fn last(port: u16, instances: u16) -> Result<u16, PortError> {
    port.checked_add(instances).ok_or(PortError::OutOfRange { port, instances })
}

/// Listens on `port`, after a check that the port of every instance can be listened on too.
pub(super) fn claim(port: u16, instances: u16) -> Result<TcpListener, PortError> {
    let last = last(port, instances)?;
    let front = listen(port)?;
    for port in port + 1..=last {
        check(port)?;
    }
    Ok(front)
}

/// Checks that a port can be listened on.
pub(super) fn check(port: u16) -> Result<(), PortError> {
    listen(port).map(drop)
}

fn listen(port: u16) -> Result<TcpListener, PortError> {
    let listen = || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => PortError::Taken { port },
        _ => PortError::Other { port, source },
    })
}
