//! The socket of one connection. Ends it if the client does not read what it asked for, and answers
//! errors of HTTP itself in JSON: hyper answers them with a status alone, or not at all.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep, timeout};

use crate::guard;
use crate::server::limits::{LINGER, MAX_HEAD_BYTES};

/// The statuses with which hyper refuses what it cannot read.
const UNREADABLE: [StatusCode; 2] =
    [StatusCode::BAD_REQUEST, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE];

#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    reads_within: Duration,
    /// Runs while the client reads nothing.
    patience: Option<Pin<Box<Sleep>>>,
    /// What hyper has refused a request with. Its answer is held back, for one in JSON.
    refused: Option<StatusCode>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream, reads_within: Duration) -> Wire {
        Wire { stream, reads_within, patience: None, refused: None }
    }

    /// Ends the connection, and tells the client why if it has to know. `is_asking` says whether it
    /// has begun to send a request.
    pub(super) async fn close(mut self, ended: hyper::Result<()>, is_asking: bool) {
        let status = match ended {
            Err(error) if error.is_timeout() && is_asking => Some(StatusCode::REQUEST_TIMEOUT),
            Err(error) if error.is_parse() => self.refused.or(Some(StatusCode::BAD_REQUEST)),
            _ => None,
        };
        let close = async {
            if let Some(status) = status {
                self.write_all(&refusal(status)).await?;
            }
            self.shutdown().await?;
            // With data unread the system ends it by a reset, and the client may lose its answer.
            let mut nowhere = tokio::io::sink();
            let _ = timeout(LINGER, tokio::io::copy(&mut self.stream, &mut nowhere)).await;
            io::Result::Ok(())
        };
        // The client may be gone.
        let _ = close.await;
    }

    fn within_patience<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.patience = None;
            return written;
        }
        let patience = || Box::pin(sleep(self.reads_within));
        match self.patience.get_or_insert_with(patience).as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// An answer that is written past hyper, which is done with the connection.
fn refusal(status: StatusCode) -> Vec<u8> {
    let why = match status {
        StatusCode::REQUEST_TIMEOUT => "the head of the request took too long".to_owned(),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            format!("the head of the request is over {MAX_HEAD_BYTES} bytes, or has too many lines")
        }
        _ => "this is no request of HTTP/1.1".to_owned(),
    };
    let body = serde_json::json!({ "error": why }).to_string();
    let mut answer = format!("HTTP/1.1 {status}\r\n").into_bytes();
    let mut put = |name: &HeaderName, value: &HeaderValue| {
        answer.extend_from_slice(name.as_str().as_bytes());
        answer.extend_from_slice(b": ");
        answer.extend_from_slice(value.as_bytes());
        answer.extend_from_slice(b"\r\n");
    };
    for (name, value) in &guard::HEADERS {
        put(name, value);
    }
    let rest = format!(
        "content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    answer.extend_from_slice(rest.as_bytes());
    answer
}

/// The status, if these bytes are what hyper writes by itself. The site's own errors have a body.
fn hypers_own(bytes: &[u8]) -> Option<StatusCode> {
    let status = StatusCode::from_bytes(bytes.strip_prefix(b"HTTP/1.1 ")?.get(..3)?).ok()?;
    let is_empty = || bytes.windows(21).any(|it| it == b"\r\ncontent-length: 0\r\n");
    (UNREADABLE.contains(&status) && is_empty()).then_some(status)
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(status) = hypers_own(bytes) {
            self.refused = Some(status);
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.within_patience(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
