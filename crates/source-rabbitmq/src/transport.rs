//! From a node's address to an open AMQP connection: TCP, TLS, handshake.
//!
//! It dials by itself, because the client cannot be told to stop: its thread waits for a peer that took the
//! connection and never answers, for ever. Invariant: an attempt that is dropped hangs up.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::tcp::{AsyncTcpStream, OwnedIdentity, OwnedTLSConfig};
use lapin::types::LongString;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Connection, ConnectionProperties};
use longshore_source::SourceError;
use tokio::time::timeout;

use crate::address::shown;
use crate::config::RabbitMqConfig;
use crate::error::explain;

/// TCP and TLS, before there is anything to hang up.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects to `node`. Dropping the future ends the attempt.
pub(crate) async fn dial(
    config: &RabbitMqConfig,
    name: Option<&str>,
    node: AMQPUri,
) -> Result<Connection, SourceError> {
    let doing = format!("connecting to `{}`", shown(&node));
    let tls =
        if node.scheme == AMQPScheme::AMQPS { read_tls(config).await? } else { OwnedTLSConfig::default() };
    let runtime = lapin::runtime::default_runtime().map_err(|error| explain(&error, &doing))?;
    let name = name.map_or_else(|| "longshore".to_owned(), |name| format!("longshore {name}"));
    let properties = ConnectionProperties::default().with_connection_name(LongString::from(name));
    let attempt = Attempt::default();
    let socket = Arc::clone(&attempt.socket);
    let dialling = Connection::connector(
        node,
        runtime,
        async move |node, runtime| {
            let address = (node.authority.host.clone(), node.authority.port);
            let opening = async {
                let stream = AsyncTcpStream::connect(&runtime, runtime.to_socket_addrs(address)).await?;
                if let AsyncTcpStream::Plain(plain) = &stream {
                    // Acknowledgements are small frames that nothing follows.
                    plain.get_ref().set_nodelay(true)?;
                    let handle = std::net::TcpStream::from(plain.get_ref().as_fd().try_clone_to_owned()?);
                    *socket.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
                }
                match node.scheme {
                    AMQPScheme::AMQP => Ok(stream),
                    AMQPScheme::AMQPS => stream.into_tls(&node.authority.host, tls.as_ref()).await,
                }
            };
            let opened = timeout(DIAL_TIMEOUT, opening).await;
            opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(lapin::Error::from)
        },
        properties,
    );
    let connection = dialling.await.map_err(|error| explain(&error, &doing))?;
    attempt.succeeded();
    Ok(connection)
}

/// Holds a second handle of the socket until the handshake is over, and shuts it down if it never is.
#[derive(Default)]
struct Attempt {
    socket: Arc<Mutex<Option<std::net::TcpStream>>>,
}

impl Attempt {
    fn succeeded(self) {
        self.take();
    }

    fn take(&self) -> Option<std::net::TcpStream> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(socket) = self.take() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

async fn read_tls(config: &RabbitMqConfig) -> Result<OwnedTLSConfig, SourceError> {
    let Some(tls) = config.tls.clone() else { return Ok(OwnedTLSConfig::default()) };
    let reading = tokio::task::spawn_blocking(move || {
        let read = |field: &str, path: &std::path::Path| {
            std::fs::read(path).map_err(|error| {
                SourceError::Misconfigured(format!("`{field}` `{}` cannot be read: {error}", path.display()))
            })
        };
        let cert_chain = match &tls.ca_file {
            Some(path) => Some(String::from_utf8_lossy(&read("tls.ca_file", path)?).into_owned()),
            None => None,
        };
        let identity = match (&tls.client_pkcs12_file, &tls.client_cert_file, &tls.client_key_file) {
            (Some(path), ..) => Some(OwnedIdentity::PKCS12 {
                der: read("tls.client_pkcs12_file", path)?,
                password: tls.client_pkcs12_password.reveal().to_owned(),
            }),
            (None, Some(pem), Some(key)) => Some(OwnedIdentity::PKCS8 {
                pem: read("tls.client_cert_file", pem)?,
                key: read("tls.client_key_file", key)?,
            }),
            _ => None,
        };
        Ok(OwnedTLSConfig { identity, cert_chain })
    });
    reading.await.unwrap_or_else(|_| Err(SourceError::Disconnected("shutting down".to_owned())))
}
