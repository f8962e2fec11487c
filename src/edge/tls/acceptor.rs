//! The TLS handshake of a listener.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Tls;

/// Performs the handshakes of one listener. Cheap to clone.
#[derive(Clone)]
pub struct Acceptor {
    tls: Arc<Tls>,
    asks_clients: bool,
}

impl Acceptor {
    const fn new(tls: Arc<Tls>, asks_clients: bool) -> Self {
        Self { tls, asks_clients }
    }

    /// Performs the handshake with the current certificate, without a time limit. Dropping the future closes the
    /// connection.
    ///
    /// # Errors
    /// The error of the handshake, and the connection, on which an alert was sent.
    pub async fn accept(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, (io::Error, TcpStream)> {
        TlsAcceptor::from(self.tls.presented(self.asks_clients)).accept(stream).into_fallible().await
    }
}

impl Tls {
    /// Returns an acceptor that requires client certificates, if that is configured.
    pub fn asking(self: &Arc<Self>) -> Acceptor {
        Acceptor::new(Arc::clone(self), true)
    }

    /// Returns an acceptor that requires no client certificates, since probes and monitors have none.
    pub fn open_to_all(self: &Arc<Self>) -> Acceptor {
        Acceptor::new(Arc::clone(self), false)
    }
}
