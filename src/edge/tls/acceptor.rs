//! The TLS handshake of a listener.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Tls;

/// Greets the connections of one listener. Cheap to clone.
#[derive(Clone)]
pub struct Acceptor {
    tls: Arc<Tls>,
    asks_clients: bool,
}

impl Acceptor {
    const fn new(tls: Arc<Tls>, asks_clients: bool) -> Self {
        Self { tls, asks_clients }
    }

    /// Greets a client with what is current. Takes as long as the client likes; dropping the future closes the
    /// connection.
    ///
    /// # Errors
    /// What the client has done wrong, or that it hung up; and the connection, on which it was told so.
    pub async fn accept(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, (io::Error, TcpStream)> {
        TlsAcceptor::from(self.tls.presented(self.asks_clients)).accept(stream).into_fallible().await
    }
}

impl Tls {
    /// For a listener that asks clients for their certificates, if the operator wants that.
    pub fn asking(self: &Arc<Self>) -> Acceptor {
        Acceptor::new(Arc::clone(self), true)
    }

    /// For a listener that does not: probes and monitors have none.
    pub fn open_to_all(self: &Arc<Self>) -> Acceptor {
        Acceptor::new(Arc::clone(self), false)
    }
}
