//! An SMTP server on the loopback, in the clear, that keeps what it is handed.
//!
//! As much of RFC 5321 as a client needs to hand in a message. Invariant: a message is on record before it is confirmed.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A message that was handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// Headers and body, with lines ended by `\n`.
    pub text: String,
}

/// The server; dropping it closes its port.
#[derive(Debug)]
pub struct MailServer {
    addr: SocketAddr,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Shared {
    mails: Mutex<Vec<Mail>>,
    refused: String,
    count: watch::Sender<usize>,
}

impl MailServer {
    /// Listens on a free port and takes everything, except for recipients that contain `refused`, if that is not empty.
    ///
    /// # Panics
    /// When the loopback has no free port.
    pub async fn start(refused: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free loopback port");
        let addr = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            mails: Mutex::default(),
            refused: refused.to_owned(),
            count: watch::Sender::new(0),
        });
        let stop = CancellationToken::new();
        let (taken, stopped) = (Arc::clone(&shared), stop.clone());
        tokio::spawn(async move {
            while let Some(Ok((stream, _))) = stopped.run_until_cancelled(listener.accept()).await {
                let serving = serve(stream, Arc::clone(&taken));
                tokio::spawn(stopped.clone().run_until_cancelled_owned(serving));
            }
        });
        Self { addr, shared, _stop: stop.drop_guard() }
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.addr.port()
    }

    /// What was handed in so far.
    #[must_use]
    pub fn mails(&self) -> Vec<Mail> {
        self.shared.mails.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until `n` messages were handed in.
    ///
    /// # Panics
    /// When they have not been within `timeout`.
    pub async fn wait_for(&self, n: usize, timeout: Duration) -> Vec<Mail> {
        let mut count = self.shared.count.subscribe();
        let arrived = tokio::time::timeout(timeout, count.wait_for(|count| *count >= n)).await.is_ok();
        assert!(arrived, "waited {timeout:?} for {n} mails: {:?}", self.mails());
        self.mails()
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut stream = BufReader::new(stream);
    // An error is the client's hanging up.
    let _ = exchange(&mut stream, &shared).await;
}

async fn exchange(stream: &mut BufReader<TcpStream>, shared: &Shared) -> std::io::Result<()> {
    stream.write_all(b"220 testkit ESMTP\r\n").await?;
    let (mut from, mut to) = (String::new(), Vec::new());
    while let Some(line) = next_line(stream).await? {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let answer = match verb.as_str() {
            "EHLO" => "250-testkit\r\n250 8BITMIME",
            "HELO" | "RSET" | "NOOP" => "250 ok",
            "MAIL" => {
                from = address(&line);
                "250 ok"
            }
            "RCPT" if !shared.refused.is_empty() && line.contains(&shared.refused) => "550 no such mailbox",
            "RCPT" => {
                to.push(address(&line));
                "250 ok"
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                let mut text = String::new();
                while let Some(line) = next_line(stream).await?.filter(|line| line != ".") {
                    text.push_str(line.strip_prefix('.').unwrap_or(&line));
                    text.push('\n');
                }
                let mail = Mail { from: std::mem::take(&mut from), to: std::mem::take(&mut to), text };
                shared.mails.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
                shared.count.send_modify(|count| *count += 1);
                "250 taken"
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => "502 not here",
        };
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}

async fn next_line(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<String>> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).await?;
    Ok((read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned()))
}

/// What is between `<` and `>`.
fn address(line: &str) -> String {
    let inner = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inner.map_or_else(String::new, |(address, _)| address.to_owned())
}
