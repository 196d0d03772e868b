//! The `longshore` binary as a child process: started, killed, stopped, restarted and measured.
//!
//! It knows the binary by its public face only: environment, HTTP routes, signals, exit status. Invariant: the
//! process ends with the value, and its log is printed when the test failed.

mod process;

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

pub use process::Usage;

use crate::unique;

/// The variable that tells the binary where to take events.
pub const HTTP_BIND: &str = "LONGSHORE__HTTP__BIND";
/// The variable that tells the binary where to serve the operational routes.
pub const OPS_BIND: &str = "LONGSHORE__OPS__BIND";
/// How long a start may take, migrations and first connections included.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
const LOG_LINES: usize = 200;

/// How to start a gateway.
#[derive(Clone, Debug)]
pub struct Setup {
    binary: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// `binary serve`, with an empty environment. A test of the binary's crate passes
    /// `env!("CARGO_BIN_EXE_longshore")`.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self { binary: binary.into(), arguments: vec!["serve".into()], environment: Vec::new() }
    }

    /// With an argument more.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// With an environment variable more, e.g. `LONGSHORE__DATABASE__URL`.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Runs another command of the binary, e.g. `migrate up`, with the same environment, to its end.
    ///
    /// # Panics
    /// When the binary cannot be run.
    pub async fn run<A: Into<OsString>>(&self, arguments: impl IntoIterator<Item = A>) -> Output {
        let mut command = self.command();
        command.args(arguments.into_iter().map(Into::into)).stdin(Stdio::null());
        let output = command.output().await;
        output.unwrap_or_else(|error| panic!("`{}` cannot be run: {error}", self.binary.display()))
    }

    /// Runs another command of the binary and returns what it printed.
    ///
    /// # Panics
    /// When it fails; what it said is in the message.
    pub async fn run_ok<A: Into<OsString>>(&self, arguments: impl IntoIterator<Item = A>) -> String {
        let output = self.run(arguments).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`{}` failed: {said}", self.binary.display());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Starts the gateway on free loopback ports and waits until `/readyz` says yes.
    ///
    /// # Panics
    /// When it ends or is not ready within a minute; its log is in the message.
    pub async fn start(self) -> Gateway {
        let dir = TempDir::new().expect("a scratch directory");
        let (addr, ops_addr) = (unique::free_addr(), unique::free_addr());
        let mut gateway = Gateway { setup: self, addr, ops_addr, dir, child: None };
        gateway.restart().await;
        gateway
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.env_clear().envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "HOME"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).kill_on_drop(true);
        command
    }
}

/// A running gateway, or one that was killed and can be restarted.
#[derive(Debug)]
pub struct Gateway {
    setup: Setup,
    addr: SocketAddr,
    ops_addr: SocketAddr,
    dir: TempDir,
    child: Option<Child>,
}

impl Gateway {
    /// Where it takes events; a restart keeps it.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it serves the operational routes; a restart keeps it.
    #[must_use]
    pub const fn ops_addr(&self) -> SocketAddr {
        self.ops_addr
    }

    /// The URL of a path where it takes events.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// How it was started; for [`Setup::run`].
    #[must_use]
    pub const fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Its PID, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Kills it at once, as `kill -9` does, and returns when it is gone.
    ///
    /// # Panics
    /// When it is not running.
    pub async fn kill_9(&mut self) {
        let mut child = self.child.take().expect("the gateway is running");
        child.kill().await.expect("a child can be killed");
    }

    /// Asks it to stop and waits for its exit status.
    ///
    /// # Panics
    /// When it is not running, or has not ended within `patience`.
    pub async fn sigterm(&mut self, patience: Duration) -> ExitStatus {
        let mut child = self.child.take().expect("the gateway is running");
        let pid = child.id().expect("it was not waited for yet");
        process::signal(pid, "TERM").await;
        match timeout(patience, child.wait()).await {
            Ok(status) => status.expect("a child can be waited for"),
            Err(_) => panic!("the gateway did not stop within {patience:?}\n{}", self.log_tail()),
        }
    }

    /// Starts it again, on the same ports with the same settings, and waits until it is ready.
    ///
    /// # Panics
    /// When it is running, ends, or is not ready within a minute.
    pub async fn restart(&mut self) {
        assert!(self.child.is_none(), "the gateway is running");
        let log = OpenOptions::new().create(true).append(true).open(self.log_path()).expect("a log file");
        let errors = File::try_clone(&log).expect("a second handle of the log");
        let mut command = self.setup.command();
        command.args(&self.setup.arguments).env(HTTP_BIND, self.addr.to_string());
        command.env(OPS_BIND, self.ops_addr.to_string());
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let binary = self.setup.binary.display();
        let child = command.spawn().unwrap_or_else(|error| panic!("`{binary}` cannot be run: {error}"));
        self.child = Some(child);
        self.wait_ready().await;
    }

    /// Whether `/readyz` says yes.
    pub async fn is_ready(&self) -> bool {
        matches!(self.get("/readyz").await, Some((200, _)))
    }

    /// Status and body of a GET of an operational route, e.g. `/metrics`, or `None` when nobody answers.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        // HTTP/1.0: the answer ends with the connection, so that no client is needed to read it.
        let request = format!("GET {path} HTTP/1.0\r\nhost: {}\r\n\r\n", self.ops_addr);
        let answer = timeout(Duration::from_secs(5), async {
            let mut stream = TcpStream::connect(self.ops_addr).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            std::io::Result::Ok(answer)
        });
        let answer = String::from_utf8_lossy(&answer.await.ok()?.ok()?).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// What it uses of the machine: memory and CPU time of the process.
    ///
    /// # Panics
    /// When it is not running, or where there is no `/proc`.
    #[must_use]
    pub fn usage(&self) -> Usage {
        process::usage(self.pid().expect("the gateway is running"))
    }

    /// Everything it has logged, over all starts.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        Path::new(self.dir.path()).join("longshore.log")
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    async fn wait_ready(&mut self) {
        let deadline = Instant::now() + START_TIMEOUT;
        while !self.is_ready().await {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                panic!("the gateway ended with {status} instead of starting\n{}", self.log_tail());
            }
            assert!(Instant::now() < deadline, "the gateway does not get ready\n{}", self.log_tail());
            sleep(POLL).await; // another process gives no signal
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the gateway's log ends with\n{}", self.log_tail());
        }
    }
}
