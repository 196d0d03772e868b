//! What the kernel knows of a process, and signals to it.

use std::time::Duration;

use tokio::process::Command;

/// What a process uses of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Memory resident now, in KiB.
    pub rss_kib: u64,
    /// The most memory that was ever resident, in KiB.
    pub peak_rss_kib: u64,
    /// CPU time of all threads since the start, to 10 ms.
    pub cpu: Duration,
}

/// The kernel's unit of CPU time in `/proc`, the same on every Linux platform of today.
const TICK: Duration = Duration::from_millis(10);

/// Reads `/proc`.
///
/// # Panics
/// When there is no such process.
pub(super) fn usage(pid: u32) -> Usage {
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("`{path}` cannot be read: {error}"))
    };
    let (status, stat) = (read("status"), read("stat"));
    Usage { rss_kib: kib(&status, "VmRSS:"), peak_rss_kib: kib(&status, "VmHWM:"), cpu: cpu(&stat) }
}

fn kib(status: &str, field: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// `utime` and `stime`: fields 14 and 15, counted after the command's name, which may hold spaces.
fn cpu(stat: &str) -> Duration {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u32 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    TICK * ticks
}

/// Sends a signal to a child process. The child was not waited for, so that its PID is still its own.
///
/// # Panics
/// When there is no `kill` command.
pub(super) async fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().await;
    status.unwrap_or_else(|error| panic!("`kill` cannot be run: {error}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_proc_are_found() {
        let stat = "4242 (a (strange) name) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";

        assert_eq!(cpu(stat), Duration::from_secs(2));
        assert_eq!(kib("Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n", "VmRSS:"), 1024);
        assert!(usage(std::process::id()).rss_kib > 0);
    }
}
