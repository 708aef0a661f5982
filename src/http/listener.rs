//! Accepts connections and speaks HTTP/1.1 on them, within bounds.

use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::access::Remote;
use super::problem::{Kind, Problem};

/// How long a request's head may take to come, and a connection may be silent between two requests.
const HEAD: Duration = Duration::from_secs(30);

/// How long a peer may leave an answer unread.
const UNREAD: Duration = Duration::from_secs(60);

/// How long accepting pauses when the system has no descriptor or memory left.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections beyond the bound that are told so; further ones are closed without a word.
const TOLD: usize = 64;

/// Serves until told to stop, and then until what is under way is answered, for a while.
pub(super) async fn serve(
    listeners: Vec<TcpListener>,
    router: Router,
    connections: usize,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(connections));
    let told = Arc::new(Semaphore::new(TOLD));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        accepting.spawn(accept(listener, router.clone(), room.clone(), told.clone(), stopped.clone()));
    }
    is_told(&mut stopped).await;
    accepting.shutdown().await;
    let all = u32::try_from(connections).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(super::FAREWELL, room.acquire_many(all)).await;
    Ok(())
}

async fn accept(
    listener: tokio::net::TcpListener,
    router: Router,
    room: Arc<Semaphore>,
    told: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
) {
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!("cannot accept an HTTP connection for now: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (permit, is_full) = match room.clone().try_acquire_owned() {
            Ok(permit) => (Ok(permit), false),
            Err(_) => (told.clone().try_acquire_owned(), true),
        };
        let Ok(permit) = permit else { continue };
        if let Err(error) = set_options(&stream) {
            tracing::debug!(%address, "socket options: {error}");
        }
        let connection =
            converse(stream, address.ip().to_canonical(), router.clone(), is_full, stopped.clone());
        tokio::spawn(async move {
            connection.await;
            drop(permit);
        });
    }
}

async fn converse(
    stream: TcpStream,
    address: IpAddr,
    router: Router,
    is_full: bool,
    mut stopped: watch::Receiver<bool>,
) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Remote(address));
        let answer = (!is_full).then(|| router.call(request));
        async move {
            match answer {
                Some(answer) => answer.await,
                None => Ok(too_many().into_response()),
            }
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(!is_full);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = is_told(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%address, "an HTTP connection ended: {error}");
    }
}

async fn is_told(stopped: &mut watch::Receiver<bool>) {
    // Without a sender there is no server.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

fn too_many() -> Problem {
    Problem::new(Kind::BUSY, "As many HTTP connections are open as the server allows").retry_after(1)
}

fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_keepalive(true)?;
    socket.set_tcp_user_timeout(Some(UNREAD))
}
