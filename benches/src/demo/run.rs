//! Publishes, receives, shows, and judges.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use longshore_testkit::receiver::Receiver;
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use super::board::Board;
use super::channel::Channel;
use super::plan::{self, BY_BROKER, BY_HTTP};
use super::tally::Tally;
use crate::http_load::Client;
use crate::publisher::Publisher;
use crate::report;

/// Events per second through the broker: some seconds to look at.
const RATE: u32 = 250;
/// How long the gateway may take to start.
const START: Duration = Duration::from_secs(120);
/// How long nothing may arrive before what is missing counts as lost.
const PATIENCE: Duration = Duration::from_secs(20);
const REDRAW: Duration = Duration::from_millis(100);

/// Where everything is.
#[derive(Clone, Debug)]
pub struct Places {
    /// Where the gateway takes events.
    pub gateway: SocketAddr,
    /// Where it serves its operational routes.
    pub ops: SocketAddr,
    /// The gateway's database.
    pub database: String,
}

/// Runs the demo. Whether nothing was lost or doubled and every signature held.
///
/// # Errors
/// When it cannot be run at all.
pub async fn run(places: &Places, channel: &Channel, receiver: &Receiver) -> anyhow::Result<bool> {
    let mut database = PgConnection::connect(&places.database).await.context("Postgres does not answer")?;
    let publisher = channel.publisher();
    wait_ready(places.ops).await?;

    let events = (BY_BROKER + BY_HTTP) as usize;
    let sent = RefCell::new(vec![None; events]);
    let (mut board, mut tally) = (Board::default(), Tally::default());
    let mut stored;
    {
        let publishing = std::pin::pin!(publish(&publisher, places.gateway, &sent));
        let mut publishing = Some(publishing);
        let mut redraw = steady(REDRAW);
        let mut progress = Progress::new();
        loop {
            match publishing.as_mut() {
                Some(work) => tokio::select! {
                    done = work => { done?; publishing = None; }
                    _ = redraw.tick() => {}
                },
                None => drop(redraw.tick().await),
            }
            for request in &receiver.requests()[tally.webhooks()..] {
                tally.take(request, &sent.borrow());
            }
            stored = count(&mut database, "SELECT count(*) FROM events").await?;
            let is_done = publishing.is_none() && tally.delivered >= expected();
            let is_over = is_done || progress.is_stalled(tally.webhooks() + stored, publishing.is_none());
            show(&mut board, &sent.borrow(), stored, &tally, is_over);
            if is_over {
                break;
            }
        }
    }
    // A webhook too many would come soon after the others.
    sleep(Duration::from_millis(500)).await;
    for request in &receiver.requests()[tally.webhooks()..] {
        tally.take(request, &sent.borrow());
    }
    Ok(judge(&channel.name(), &tally, events, stored))
}

async fn publish(
    publisher: &Publisher,
    gateway: SocketAddr,
    sent: &RefCell<Vec<Option<Instant>>>,
) -> anyhow::Result<()> {
    let message = |n: u32| {
        sent.borrow_mut()[n as usize] = Some(Instant::now());
        plan::message(n)
    };
    let by_http = async {
        let mut client = Client::connect(gateway, plan::API_KEY).await?;
        let mut pace = steady(Duration::from_secs(1) * BY_BROKER / RATE / BY_HTTP);
        for n in BY_BROKER..BY_BROKER + BY_HTTP {
            pace.tick().await;
            let status = client.post(&plan::path(n), &message(n).body.unwrap_or_default()).await?;
            anyhow::ensure!(status == 201, "the gateway answered an event with {status}");
        }
        anyhow::Ok(())
    };
    tokio::try_join!(publisher.paced(BY_BROKER, RATE, message), by_http)?;
    Ok(())
}

fn steady(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

fn expected() -> usize {
    (0..BY_BROKER + BY_HTTP).map(|n| plan::expected(n).len()).sum()
}

fn show(board: &mut Board, sent: &[Option<Instant>], stored: usize, tally: &Tally, is_last: bool) {
    let (by_broker, by_http) = sent.split_at(BY_BROKER as usize);
    let published = |events: &[Option<Instant>]| events.iter().flatten().count();
    let rows = [
        ("published to the broker", published(by_broker), by_broker.len()),
        ("posted over HTTP", published(by_http), by_http.len()),
        ("stored", stored, sent.len()),
        ("webhooks delivered", tally.delivered, expected()),
        ("signatures verified", tally.verified, expected()),
    ];
    board.show(&rows, is_last);
}

fn judge(broker: &str, tally: &Tally, published: usize, stored: usize) -> bool {
    let lost = expected() - tally.delivered;
    let duplicated = tally.repeated + stored.saturating_sub(published);
    let webhooks = tally.webhooks();
    println!();
    println!("  published            {published} events ({BY_BROKER} through {broker}, {BY_HTTP} over HTTP)");
    println!("  stored               {stored} events");
    println!("  delivered            {} of {} webhooks", tally.delivered, expected());
    println!("  lost                 {lost}");
    println!("  duplicated           {duplicated}");
    println!("  filtered wrongly     {}", tally.unexpected);
    println!(
        "  signatures verified  {} of {webhooks}, by Standard Webhooks and by the v1 contract",
        tally.verified
    );
    let latencies = |from: u32, to: u32| {
        let some = tally.latencies.iter().filter(|(n, _)| (from..to).contains(n));
        line(&report::percentiles(some.map(|(_, latency)| *latency).collect()))
    };
    println!("  {:<21}{}", format!("{broker} to webhook"), latencies(0, BY_BROKER));
    println!("  POST to webhook      {}", latencies(BY_BROKER, BY_BROKER + BY_HTTP));
    if let Some(fault) = &tally.fault {
        println!("  the first signature that did not hold: {fault}");
    }
    let is_well = stored == published
        && lost == 0
        && duplicated == 0
        && tally.unexpected == 0
        && tally.verified == webhooks;
    println!(
        "\n  {}",
        if is_well { "Nothing lost, nothing doubled, every signature verified." } else { "FAILED" }
    );
    is_well
}

fn line(percentiles: &Value) -> String {
    let [p50, p90, p99] = ["p50", "p90", "p99"].map(|p| percentiles[p].as_f64().unwrap_or(f64::NAN));
    format!("p50 {p50:.1} ms, p90 {p90:.1} ms, p99 {p99:.1} ms")
}

async fn count(database: &mut PgConnection, sql: &'static str) -> anyhow::Result<usize> {
    let count: i64 = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(database).await?;
    Ok(usize::try_from(count)?)
}

async fn wait_ready(ops: SocketAddr) -> anyhow::Result<()> {
    let deadline = Instant::now() + START;
    while !is_ready(ops).await.unwrap_or(false) {
        anyhow::ensure!(Instant::now() < deadline, "the gateway does not get ready");
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Ready, and a member of its group where the broker has groups: else the first events would tell how long joining takes.
async fn is_ready(ops: SocketAddr) -> std::io::Result<bool> {
    if get(ops, "/readyz").await?.get(9..12).is_none_or(|status| status != "200") {
        return Ok(false);
    }
    let metrics = get(ops, "/metrics").await?;
    let mut rebalances = metrics.lines().filter(|line| line.starts_with("source_rebalances_total"));
    Ok(rebalances.all(|line| !line.ends_with(" 0")))
}

async fn get(ops: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(ops).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Whether anything still happens.
struct Progress {
    seen: usize,
    since: Instant,
}

impl Progress {
    fn new() -> Self {
        Self { seen: 0, since: Instant::now() }
    }

    fn is_stalled(&mut self, count: usize, is_published: bool) -> bool {
        if count != self.seen || !is_published {
            (self.seen, self.since) = (count, Instant::now());
        }
        self.since.elapsed() > PATIENCE
    }
}
