//! The door of a listener: so many connections at once, one more is closed as it comes.
//!
//! Whoever opens connections needs no proof for it, and each takes one of the files that the process may have open;
//! without a bound, strangers would shut out operators, certificates that rotate, and the store's own files.
//! Source: docs/spec/federation.md section 6 (7).

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Files kept for all else, where the process may have enough.
const KEPT: usize = 256;
/// Connections at most, however many files there may be: each costs some 20 KiB.
const MOST: usize = 8192;
/// What a process may usually have open, where the system does not tell.
const USUAL: usize = 1024;

/// Lets connections in while there is room, without Nagle's delay.
#[derive(Debug, Clone)]
pub struct Door(Arc<Semaphore>);

impl Door {
    /// For so many connections at once.
    pub fn with_room(connections: usize) -> Self {
        Self(Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))))
    }

    /// For as many as the open files of this process leave room for.
    pub fn of_process() -> Self {
        Self::with_room(room(open_files()))
    }
}

/// Connections that so many open files leave room for.
fn room(files: usize) -> usize {
    files.saturating_sub(KEPT.min(files / 2)).min(MOST)
}

/// How many files this process may have open.
fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    soft.map_or(USUAL, |soft| soft.parse().unwrap_or(if soft == "unlimited" { usize::MAX } else { USUAL }))
}

impl<S> Accept<TcpStream, S> for Door {
    type Stream = Counted;
    type Service = S;
    type Future = Ready<io::Result<(Counted, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let Ok(seat) = Arc::clone(&self.0).try_acquire_owned() else {
            metrics::counter!("asp_http_connections_refused_total").increment(1);
            return ready(Err(io::Error::new(
                io::ErrorKind::ConnectionRefused,
                "there is room for no more connections",
            )));
        };
        ready(stream.set_nodelay(true).map(|()| (Counted { stream, _seat: seat }, service)))
    }
}

/// A connection that takes up room until it ends.
#[derive(Debug)]
pub struct Counted {
    stream: TcpStream,
    _seat: OwnedSemaphorePermit,
}

impl AsyncRead for Counted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn answered(address: std::net::SocketAddr) -> Option<TcpStream> {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.ok()?;
        let mut some = [0; 12];
        match stream.read_exact(&mut some).await {
            Ok(_) => Some(stream),
            Err(_) => None,
        }
    }

    #[tokio::test]
    async fn one_connection_too_many_is_closed_and_room_comes_back() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap().into_std().unwrap();
        let address = listener.local_addr().unwrap();
        let server = axum_server::from_tcp(listener).unwrap().acceptor(Door::with_room(2));
        tokio::spawn(server.serve(axum::Router::new().into_make_service()));
        let (one, two) = (answered(address).await, answered(address).await);
        assert!(one.is_some() && two.is_some());
        assert!(answered(address).await.is_none(), "there is room for two");
        drop(one);
        for _ in 0..100 {
            if answered(address).await.is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the room of a connection that ended did not come back");
    }

    #[test]
    fn files_are_left_for_all_else() {
        assert_eq!([64, 256, 1024, usize::MAX].map(room), [32, 128, 768, MOST]);
        assert!(open_files() >= 64);
    }
}
