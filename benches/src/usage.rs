//! CPU time and memory of everything that takes part, from the kernel.
//!
//! A server's PID comes from `scripts/servers`; of a server given by the environment nothing is known. Linux only.

use std::time::Duration;

use longshore_testkit::broker::BrokerKind;
use serde_json::{Value, json};

/// The kernel's unit of CPU time in `/proc`, the same on every Linux platform of today.
const TICK: Duration = Duration::from_millis(10);

/// CPU time so far: of each part since its start, and of the machine since it booted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    gateway: Duration,
    postgres: Option<Duration>,
    broker: Option<Duration>,
    load: Duration,
    machine: Duration,
}

impl Cpu {
    /// Reads it. A gateway that does not run yet has used none.
    #[must_use]
    pub fn now(gateway: Option<u32>, broker: BrokerKind) -> Self {
        Self {
            gateway: gateway.and_then(own).unwrap_or_default(),
            postgres: pid_of("LONGSHORE_TEST_POSTGRES_PID").and_then(family),
            broker: pid_of(&format!("LONGSHORE_TEST_{}_PID", broker.as_str().to_uppercase())).and_then(own),
            load: own(std::process::id()).unwrap_or_default(),
            machine: machine().unwrap_or_default(),
        }
    }

    /// Milliseconds per event since an earlier reading, by part. `elsewhere` is what the machine did besides, all in
    /// all: where it is not small, the figures are those of a shared machine.
    #[must_use]
    pub fn per_event(self, before: Self, events: usize) -> Value {
        let per_event = |spent: Duration| {
            let ms = spent.as_secs_f64() * 1_000.0 / events.max(1) as f64;
            (ms * 10_000.0).round() / 10_000.0
        };
        let gateway = self.gateway.saturating_sub(before.gateway);
        let load = self.load.saturating_sub(before.load);
        let postgres = since(self.postgres, before.postgres);
        let broker = since(self.broker, before.broker);
        let known = gateway + load + postgres.unwrap_or_default() + broker.unwrap_or_default();
        let elsewhere = self.machine.saturating_sub(before.machine).saturating_sub(known);
        json!({
            "gateway": per_event(gateway),
            "postgres": postgres.map(per_event),
            "gateway_and_postgres": postgres.map(|postgres| per_event(gateway + postgres)),
            "broker": broker.map(per_event),
            "load_and_sink": per_event(load),
            "elsewhere": per_event(elsewhere),
        })
    }
}

fn since(now: Option<Duration>, before: Option<Duration>) -> Option<Duration> {
    Some(now?.saturating_sub(before?))
}

fn pid_of(variable: &str) -> Option<u32> {
    std::env::var(variable).ok()?.parse().ok()
}

/// The numbers of `/proc/<pid>/stat` from the third field on: after the name, which may hold spaces.
fn stat(pid: u32) -> Option<Vec<u64>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
}

fn ticks(n: u64) -> Duration {
    TICK * u32::try_from(n).unwrap_or(u32::MAX)
}

/// `utime` and `stime`, all threads.
fn own(pid: u32) -> Option<Duration> {
    let stat = stat(pid)?;
    Some(ticks(stat.get(11)? + stat.get(12)?))
}

/// Of a process, its children, and those of its children that have ended (`cutime` and `cstime`).
fn family(parent: u32) -> Option<Duration> {
    let of_parent = stat(parent)?;
    let mut sum = ticks(of_parent.get(11..15)?.iter().sum());
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        let pid: Option<u32> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(stat) = pid.and_then(stat) else { continue };
        if stat.get(1) == Some(&u64::from(parent)) && stat.len() > 13 {
            sum += ticks(stat[11] + stat[12]);
        }
    }
    Some(sum)
}

/// What all processors have spent on anything: not idle, not waiting for a disk.
fn machine() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let fields: Vec<u64> =
        stat.lines().next()?.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = fields[..] else { return None };
    Some(ticks(user + nice + system + irq + softirq + steal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_and_its_machine_are_seen() {
        let until = std::time::Instant::now() + Duration::from_millis(60);
        while std::time::Instant::now() < until {
            std::hint::spin_loop();
        }
        let cpu = Cpu::now(None, BrokerKind::RabbitMq);

        assert!(cpu.load > Duration::ZERO);
        assert!(cpu.machine > cpu.load);
        assert!(family(std::process::id()).unwrap() >= cpu.load);
    }
}
