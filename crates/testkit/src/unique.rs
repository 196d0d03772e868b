//! Names that no other test, process or machine gives at the same time.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, OnceLock};

/// Where a PID means what it means here: this boot of this machine, or this container of it.
fn machine() -> u32 {
    static MACHINE: LazyLock<u32> = LazyLock::new(|| {
        let mut hash = DefaultHasher::new();
        std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default().hash(&mut hash);
        std::fs::read_link("/proc/self/ns/pid").unwrap_or_default().hash(&mut hash);
        std::env::var_os("HOSTNAME").hash(&mut hash);
        hash.finish() as u32
    });
    *MACHINE
}

/// What the names of every process on this machine begin with.
pub(crate) fn machine_prefix() -> String {
    format!("longshore_test_{:08x}_", machine())
}

/// A name of its own: `<machine_prefix><pid>_<n>_<label>`, in characters every server takes.
pub(crate) fn name(label: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}{}_{:x}{n}_{label}", machine_prefix(), std::process::id(), start())
}

/// Tells this process from an earlier one that had its PID.
fn start() -> u16 {
    static START: OnceLock<u16> = OnceLock::new();
    *START.get_or_init(|| {
        let mut hash = DefaultHasher::new();
        std::fs::read_to_string("/proc/self/stat").unwrap_or_default().hash(&mut hash);
        hash.finish() as u16
    })
}

/// The process that made a name, if it was made on this machine.
pub(crate) fn maker(name: &str) -> Option<u32> {
    name.strip_prefix(machine_prefix().as_str())?.split('_').next()?.parse().ok()
}

/// A loopback address nobody listens on. Its port is below the range that outgoing connections take theirs
/// from, so that it is still free when a process that was killed comes back.
pub fn free_addr() -> SocketAddr {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(u32::from(start()));
        let port = FIRST + step.wrapping_mul(7_919) % COUNT;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, u16::try_from(port).expect("below 32,000")));
        if TcpListener::bind(addr).is_ok() {
            return addr;
        }
    }
}
