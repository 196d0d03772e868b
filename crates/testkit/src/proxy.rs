//! Proxies on the loopback: HTTP `CONNECT` and SOCKS 5. They keep what they were asked, refuse by script, and can stand
//! in for a receiver's address, so that tests reach the loopback by a public name.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// `CONNECT`.
    Http,
    /// SOCKS 5 without or with user name and password.
    Socks5,
}

/// The proxy; dropping it closes its port and every connection.
#[derive(Debug)]
pub struct ProxyServer {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct State {
    kind: ProxyKind,
    credentials: Option<(String, String)>,
    refusal: Option<u16>,
    routes: HashMap<String, SocketAddr>,
    asked: Vec<String>,
}

impl ProxyServer {
    /// Listens on a free loopback port and connects to whatever it is asked for.
    ///
    /// # Panics
    /// When the loopback has no free port.
    pub async fn start(kind: ProxyKind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free loopback port");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let state =
            State { kind, credentials: None, refusal: None, routes: HashMap::new(), asked: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, Arc::clone(&state), stop.clone()));
        Self { addr, state, _stop: stop.drop_guard() }
    }

    /// Its address.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on it wants these credentials.
    pub fn demand(&self, username: &str, password: &str) {
        state(&self.state).credentials = Some((username.to_owned(), password.to_owned()));
    }

    /// From now on it refuses with that status (HTTP) or code (SOCKS).
    pub fn refuse(&self, code: u16) {
        state(&self.state).refusal = Some(code);
    }

    /// Connects there when asked for `host:port`.
    pub fn route(&self, target: &str, to: SocketAddr) {
        state(&self.state).routes.insert(target.to_owned(), to);
    }

    /// What it was asked to connect to, as `host:port`, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        state(&self.state).asked.clone()
    }
}

fn state(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, shared: Arc<Mutex<State>>, stop: CancellationToken) {
    while let Some(Ok((stream, _))) = stop.run_until_cancelled(listener.accept()).await {
        let shared = Arc::clone(&shared);
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            let kind = state(&shared).kind;
            // An error is the client's hanging up.
            let _ = match kind {
                ProxyKind::Http => connect(stream, &shared).await,
                ProxyKind::Socks5 => socks5(stream, &shared).await,
            };
        }));
    }
}

/// Notes what is asked for; where to connect, or the refusal.
fn ask(target: String, shared: &Mutex<State>) -> Result<String, u16> {
    let mut state = state(shared);
    let to = state.routes.get(&target).map_or_else(|| target.clone(), SocketAddr::to_string);
    state.asked.push(target);
    state.refusal.map_or(Ok(to), Err)
}

async fn connect(mut client: TcpStream, shared: &Mutex<State>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let wanted = state(shared).credentials.clone();
    if let Some((username, password)) = wanted {
        use base64::Engine;
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
        if !head.contains(&format!("Proxy-Authorization: Basic {pair}\r\n")) {
            let answer = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n";
            return client.write_all(answer).await;
        }
    }
    let to = match ask(target, shared) {
        Ok(to) => to,
        Err(status) => {
            return client.write_all(format!("HTTP/1.1 {status} Not Today\r\n\r\n").as_bytes()).await;
        }
    };
    let Ok(mut server) = TcpStream::connect(to).await else {
        return client.write_all(b"HTTP/1.1 502 Bad Gateway\r\n\r\n").await;
    };
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await.map(|_| ())
}

async fn socks5(mut client: TcpStream, shared: &Mutex<State>) -> std::io::Result<()> {
    let mut greeting = [0; 2];
    client.read_exact(&mut greeting).await?;
    let mut methods = vec![0; usize::from(greeting[1])];
    client.read_exact(&mut methods).await?;
    let wanted = state(shared).credentials.clone();
    match wanted {
        None => client.write_all(&[5, 0]).await?,
        Some(_) if !methods.contains(&2) => return client.write_all(&[5, 0xff]).await,
        Some(wanted) => {
            client.write_all(&[5, 2]).await?;
            let _version = client.read_u8().await?;
            let (username, password) = (text(&mut client).await?, text(&mut client).await?);
            let is_right = (username, password) == wanted;
            client.write_all(&[1, u8::from(!is_right)]).await?;
            if !is_right {
                return Ok(());
            }
        }
    }
    let mut request = [0; 4];
    client.read_exact(&mut request).await?;
    let host = match request[3] {
        1 => std::net::Ipv4Addr::from(client.read_u32().await?).to_string(),
        4 => format!("[{}]", std::net::Ipv6Addr::from(client.read_u128().await?)),
        _ => text(&mut client).await?,
    };
    let target = format!("{host}:{}", client.read_u16().await?);
    let connected = match ask(target, shared) {
        Ok(to) => TcpStream::connect(to).await.map_err(|_| 5),
        Err(code) => Err(code),
    };
    let code = connected.as_ref().err().map_or(0, |code| u8::try_from(*code).unwrap_or(1));
    client.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    if let Ok(mut server) = connected {
        copy_bidirectional(&mut client, &mut server).await?;
    }
    Ok(())
}

async fn text(client: &mut TcpStream) -> std::io::Result<String> {
    let mut bytes = vec![0; usize::from(client.read_u8().await?)];
    client.read_exact(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
