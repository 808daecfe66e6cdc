//! Serves one port over HTTP/1.1, with a freedom that axum's own server has not: to hang up instead
//! of answering.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// After a connection could not be accepted: the machine may be short of file descriptors for a
/// moment.
const BREATH: Duration = Duration::from_millis(50);

/// Marks an answer that is not sent: the connection is closed instead.
#[derive(Clone, Copy, Debug)]
struct HangUp;

#[derive(Debug, thiserror::Error)]
#[error("hung up instead of answering")]
struct HungUp;

/// What a router answers to have the connection closed without an answer.
pub(crate) fn hang_up() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(HangUp);
    response
}

/// Whether an answer means that none is sent.
pub(crate) fn is_hang_up(response: &Response) -> bool {
    response.extensions().get::<HangUp>().is_some()
}

/// Serves until `stop` says true and every request under way is answered. Dropped, it closes its
/// connections.
pub(crate) async fn serve(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, router.clone(), stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a sandbox port cannot accept a connection");
                    tokio::time::sleep(BREATH).await;
                }
            },
            Some(_) = connections.join_next() => {}
            _ = async { stop.wait_for(|stop| *stop).await.is_ok() } => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn converse(stream: TcpStream, router: Router, mut stop: watch::Receiver<bool>) {
    // Answers are small and awaited.
    let _ = stream.set_nodelay(true);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let answer = router.call(request);
        async move {
            let answered: Result<Response, Infallible> = answer.await;
            let Ok(response) = answered;
            // hyper closes the connection when its service fails.
            match is_hang_up(&response) {
                true => Err(HungUp),
                false => Ok(response),
            }
        }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // Sessions of ECS Exec become websockets.
    let connection = connection.with_upgrades();
    tokio::pin!(connection);
    // That a client hangs up is how connections end.
    let stopped = tokio::select! {
        _ = connection.as_mut() => false,
        stopped = async { stop.wait_for(|stop| *stop).await.is_ok() } => stopped,
    };
    if stopped {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
}
