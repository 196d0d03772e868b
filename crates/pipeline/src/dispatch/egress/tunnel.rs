//! Asks a proxy for a connection to a receiver: `CONNECT`, or SOCKS 5.
//!
//! What it does not do: decide whether the receiver may be reached. Invariant: once it returns, every byte is the
//! receiver's.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use url::Host;

use super::proxy::{Credentials, Proxy, ProxyKind};
use super::stream::Stream;

/// Longest answer to `CONNECT`.
const LONGEST_HEAD: usize = 8 * 1024;

/// Opens the way through.
///
/// # Errors
/// What the proxy said, for people.
pub(super) async fn open(
    stream: &mut Stream,
    proxy: &Proxy,
    host: &Host<String>,
    port: u16,
) -> Result<(), String> {
    match proxy.kind {
        ProxyKind::Http { .. } => connect(stream, proxy.credentials.as_ref(), host, port).await,
        ProxyKind::Socks5 { .. } => socks5(stream, proxy.credentials.as_ref(), host, port).await,
    }
}

async fn connect(
    stream: &mut Stream,
    credentials: Option<&Credentials>,
    host: &Host<String>,
    port: u16,
) -> Result<(), String> {
    let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
    if let Some(credentials) = credentials {
        request.push_str(&format!("Proxy-Authorization: {}\r\n", credentials.basic()));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut head = Vec::with_capacity(256);
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        if head.len() >= LONGEST_HEAD {
            return Err("its answer to CONNECT does not end".to_owned());
        }
        if stream.read_buf(&mut head).await.map_err(broken)? == 0 {
            return Err("it closed the connection without an answer to CONNECT".to_owned());
        }
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line).into_owned();
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse::<u16>().ok());
    match status {
        Some(200..=299) if head.ends_with(b"\r\n\r\n") => Ok(()),
        Some(200..=299) => Err("it sent bytes of its own after its answer to CONNECT".to_owned()),
        Some(407) => Err(format!("it wants other credentials than it got: {}", reason(&line))),
        Some(403) => Err(format!("it does not let this receiver through: {}", reason(&line))),
        Some(_) => Err(format!("it refused the connection: {}", reason(&line))),
        None => Err("its answer to CONNECT is not HTTP".to_owned()),
    }
}

/// Status and reason of a status line.
fn reason(line: &str) -> &str {
    line.get(9..).unwrap_or_default().trim()
}

async fn socks5(
    stream: &mut Stream,
    credentials: Option<&Credentials>,
    host: &Host<String>,
    port: u16,
) -> Result<(), String> {
    // Without credentials (0), and by user name and password (2) when there are some.
    let greeting: &[u8] = if credentials.is_some() { &[5, 2, 0, 2] } else { &[5, 1, 0] };
    stream.write_all(greeting).await.map_err(broken)?;
    let mut choice = [0; 2];
    stream.read_exact(&mut choice).await.map_err(broken)?;
    match (choice, credentials) {
        ([5, 0], _) => {}
        ([5, 2], Some(credentials)) => log_in(stream, credentials).await?,
        ([5, 0xff], None) => return Err("it wants credentials".to_owned()),
        ([5, _], _) => return Err("it takes no way of logging in that we have".to_owned()),
        _ => return Err("its answer is not SOCKS 5".to_owned()),
    }
    let mut request = vec![5, 1, 0];
    match host {
        Host::Ipv4(address) => {
            request.push(1);
            request.extend(address.octets());
        }
        Host::Ipv6(address) => {
            request.push(4);
            request.extend(address.octets());
        }
        Host::Domain(name) => {
            let length = u8::try_from(name.len()).map_err(|_| "the receiver's name is too long for SOCKS")?;
            request.extend([3, length]);
            request.extend(name.as_bytes());
        }
    }
    request.extend(port.to_be_bytes());
    stream.write_all(&request).await.map_err(broken)?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.map_err(broken)?;
    if answer[0] != 5 {
        return Err("its answer is not SOCKS 5".to_owned());
    }
    if answer[1] != 0 {
        return Err(format!("it refused the connection: {}", refusal(answer[1])));
    }
    // The address it is bound to, which nobody needs.
    let length = match answer[3] {
        1 => 4,
        4 => 16,
        3 => usize::from(stream.read_u8().await.map_err(broken)?),
        _ => return Err("its answer is not SOCKS 5".to_owned()),
    };
    let mut bound = [0; 255 + 2];
    stream.read_exact(&mut bound[..length + 2]).await.map_err(broken)?;
    Ok(())
}

/// RFC 1929.
async fn log_in(stream: &mut Stream, credentials: &Credentials) -> Result<(), String> {
    let mut request = vec![1];
    for part in [&credentials.username, &credentials.password] {
        request.push(u8::try_from(part.len()).map_err(|_| "user or password is too long")?);
        request.extend(part.as_bytes());
    }
    stream.write_all(&request).await.map_err(broken)?;
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await.map_err(broken)?;
    if answer[1] == 0 { Ok(()) } else { Err("it wants other credentials than it got".to_owned()) }
}

/// RFC 1928 section 6.
const fn refusal(code: u8) -> &'static str {
    match code {
        2 => "its rules do not let this receiver through",
        3 => "the network cannot be reached",
        4 => "the host cannot be reached",
        5 => "the receiver refused it",
        6 => "its time to live is over",
        7 => "it does not know the command",
        8 => "it does not know this kind of address",
        _ => "a failure of its own",
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of `map_err`")]
fn broken(error: std::io::Error) -> String {
    format!("its connection broke off: {error}")
}
