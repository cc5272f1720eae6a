//! One connection: TLS where there is any, then HTTP/1.1 until it ends or is upgraded.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Response;
use futures_util::future::Either;
use http::Request;
use hyper::body::Incoming;
use hyper::service::Service as HyperService;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::accept::Outcome;
use super::places::{Place, Places};
use crate::http::{Door, Front};
use crate::proxy::PeerAddress;
use crate::tls::Tls;

/// How long a request's head may be, and take; a TLS handshake may take as long.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) max_bytes: usize,
    pub(super) timeout: Duration,
}

/// What every connection of a server shares.
pub(super) struct Service {
    pub(super) front: Front,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) head: Head,
    pub(super) places: Arc<Places>,
    pub(super) stopped: CancellationToken,
}

/// Serves an accepted socket, which has its place until it ends or is upgraded. A plain one stays what it is, so that an
/// upgrade can take it out of hyper.
pub(super) async fn serve(stream: TcpStream, peer: SocketAddr, _place: Place, service: Arc<Service>) {
    let peer = PeerAddress(peer);
    match &service.tls {
        None => {
            Outcome::Accepted.count();
            http(stream, Located { service: Arc::clone(&service), peer }, &service).await;
        }
        Some(tls) => {
            if let Some(stream) = handshake(tls, stream, &service).await {
                http(stream, Located { service: Arc::clone(&service), peer }, &service).await;
            }
        }
    }
}

/// The TLS handshake, within the time that a head has.
async fn handshake(tls: &Tls, stream: TcpStream, service: &Service) -> Option<TlsStream<TcpStream>> {
    // Small frames must not wait for an acknowledgement of the one before; failing that, they are only later.
    let _slower = stream.set_nodelay(true);
    let accepted = tokio::select! {
        biased;
        () = service.stopped.cancelled() => return None,
        accepted = tokio::time::timeout(service.head.timeout, tls.accept(stream)) => accepted,
    };
    match accepted {
        Ok(Ok(stream)) => {
            Outcome::Accepted.count();
            Some(stream)
        }
        Ok(Err(error)) => {
            Outcome::TlsFailed.count();
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_late) => {
            Outcome::TlsTimeout.count();
            tracing::debug!("a TLS handshake took too long");
            None
        }
    }
}

async fn http<S>(stream: S, router: Located, service: &Service)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(service.head.timeout)
        .max_buf_size(service.head.max_bytes)
        .half_close(false);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), router).with_upgrades());
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = service.stopped.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP connection ended badly");
    }
}

/// The front as one connection sees it: its requests know where they come from.
struct Located {
    service: Arc<Service>,
    peer: PeerAddress,
}

impl HyperService<Request<Incoming>> for Located {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response, Infallible>>, Routed>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        let Front { router, door } = &self.service.front;
        match door {
            Some(door) if Door::is_for(&request) => Either::Left(ready(Ok(door.answer(request)))),
            _ => Either::Right(TowerToHyperService::new(router.clone()).call(request)),
        }
    }
}

/// What the router will answer.
type Routed = <TowerToHyperService<Router> as HyperService<Request<Incoming>>>::Future;
