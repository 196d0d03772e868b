//! A DNS server on the loopback (UDP) that answers by script and counts what it was asked.
//!
//! Every name has a list of answers for its addresses; each query for `A` takes the next, the last one repeats. Names
//! without a script do not exist. It speaks as much of RFC 1035 as a stub resolver needs.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio_util::sync::{CancellationToken, DropGuard};

const A: u16 = 1;
const AAAA: u16 = 28;
/// Response, recursion desired and available.
const FLAGS: u16 = 0x8180;
const NO_SUCH_NAME: u16 = 3;

/// The server; dropping it closes its port.
#[derive(Debug)]
pub struct DnsServer {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
    _stop: DropGuard,
}

#[derive(Debug, Default)]
struct State {
    scripts: HashMap<String, VecDeque<Records>>,
    queries: HashMap<String, usize>,
}

#[derive(Clone, Debug)]
struct Records {
    addresses: Vec<IpAddr>,
    ttl: u32,
}

impl DnsServer {
    /// Listens on a free loopback port.
    ///
    /// # Panics
    /// When the loopback has no free port.
    pub async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free loopback port");
        let addr = socket.local_addr().expect("a bound socket has an address");
        let state = Arc::<Mutex<State>>::default();
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(serve(socket, Arc::clone(&state))));
        Self { addr, state, _stop: stop.drop_guard() }
    }

    /// Its address.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers queries for `name` with these addresses in turn, each list valid for `ttl`; the last one repeats.
    ///
    /// # Panics
    /// When an address is none.
    pub fn script(&self, name: &str, ttl: Duration, answers: &[&[&str]]) {
        let ttl = u32::try_from(ttl.as_secs()).expect("a short time");
        let records = answers.iter().map(|addresses| {
            let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
            Records { addresses, ttl }
        });
        state(&self.state).scripts.insert(name.to_owned(), records.collect());
    }

    /// How often it was asked for the IPv4 addresses of a name.
    #[must_use]
    pub fn queries(&self, name: &str) -> usize {
        state(&self.state).queries.get(name).copied().unwrap_or(0)
    }
}

fn state(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(socket: UdpSocket, shared: Arc<Mutex<State>>) {
    let mut query = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut query).await {
        if let Some(answer) = answer(&query[..length], &shared) {
            let _ = socket.send_to(&answer, from).await;
        }
    }
}

/// The answer to a query of one question.
fn answer(query: &[u8], shared: &Mutex<State>) -> Option<Vec<u8>> {
    let (name, end) = name_of(query.get(12..)?)?;
    let question = query.get(12..12 + end + 4)?;
    let kind = u16::from_be_bytes([*question.get(end)?, *question.get(end + 1)?]);
    let mut state = state(shared);
    let records = match state.scripts.get_mut(&name) {
        // Both families of one lookup get the same list: the query for `AAAA` looks at it, the one for `A` takes it.
        Some(script) if script.len() > 1 && kind == A => script.pop_front(),
        Some(script) => script.front().cloned(),
        None => None,
    };
    if kind == A {
        *state.queries.entry(name).or_default() += 1;
    }
    drop(state);
    let rdata = |address: &IpAddr| match (kind, address) {
        (A, IpAddr::V4(v4)) => Some(v4.octets().to_vec()),
        (AAAA, IpAddr::V6(v6)) => Some(v6.octets().to_vec()),
        _ => None,
    };
    let code = if records.is_some() { 0 } else { NO_SUCH_NAME };
    let ttl = records.as_ref().map_or(0, |records| records.ttl);
    let data: Vec<Vec<u8>> =
        records.iter().flat_map(|records| &records.addresses).filter_map(rdata).collect();
    let mut message = query.get(..2)?.to_vec();
    let count = u16::try_from(data.len()).ok()?;
    for number in [FLAGS | code, 1, count, 0, 0] {
        message.extend(number.to_be_bytes());
    }
    message.extend(question);
    for data in data {
        // The name of the question, by reference to where it is.
        message.extend([0xc0, 12]);
        message.extend(kind.to_be_bytes());
        message.extend(1_u16.to_be_bytes());
        message.extend(ttl.to_be_bytes());
        message.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        message.extend(data);
    }
    Some(message)
}

/// A name in lower case without its last dot, and its length on the wire.
fn name_of(bytes: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), 0);
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = bytes.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += length;
    }
}
