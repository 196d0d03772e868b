//! The configuration file of a running process, followed by content.
//!
//! By content and not by the file system's events: Kubernetes swaps a link somewhere above the file, and network
//! file systems tell nothing. What it does not do: change anything but the sources; the rest of the file takes effect
//! with the next start. Invariant: a file that cannot be read, or is wrong, changes nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use longshore_core::ids;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::declared::FileSource;
use super::secrets::files_of;
use crate::config::load::load;
use crate::config::{Config, Faults, Inputs};

/// Between two looks. With what a change takes then, it is in effect within two seconds.
const EVERY: Duration = Duration::from_millis(500);

/// Follows one file and the files it names.
pub(super) struct Watch {
    inputs: Inputs,
    /// The digest of each file's content; `None` when there is none.
    seen: Vec<(PathBuf, Option<u128>)>,
    /// Everything but the sources, as shown.
    rest: Option<String>,
    /// What is wrong with the file as it is.
    problem: Option<String>,
}

impl Watch {
    pub(super) const fn new(inputs: Inputs) -> Self {
        Self { inputs, seen: Vec::new(), rest: None, problem: None }
    }

    /// Publishes what the file declares whenever that changes, until `stop`.
    pub(super) async fn run(self, sources: watch::Sender<Arc<Vec<FileSource>>>, stop: CancellationToken) {
        if self.inputs.file.is_none() {
            return stop.cancelled().await;
        }
        let mut this = self;
        while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            // Reading may block for as long as a network file system likes.
            let looked = tokio::task::spawn_blocking(move || {
                let found = this.look();
                (this, found)
            });
            let found;
            match stop.run_until_cancelled(looked).await {
                Some(Ok(looked)) => (this, found) = looked,
                Some(Err(_)) | None => return stop.cancelled().await,
            }
            let Some(found) = found else { continue };
            let changed = sources.send_if_modified(|now| {
                let differs = **now != found;
                if differs {
                    *now = Arc::new(found);
                }
                differs
            });
            if changed {
                info!("the sources of the configuration file changed");
            }
        }
    }

    /// The declared sources, when a file changed since the last look and everything is right.
    fn look(&mut self) -> Option<Vec<FileSource>> {
        // Before reading them for use: what changes in between is seen by the next look.
        let seen: Vec<_> =
            self.seen.iter().map(|(path, _)| path.clone()).map(|path| (digest(&path), path)).collect();
        let is_same = self.seen.iter().zip(&seen).all(|((_, before), (now, _))| before == now);
        if is_same && !self.seen.is_empty() && self.problem.is_none() {
            return None;
        }
        match self.read() {
            Ok(sources) => {
                self.problem = None;
                Some(sources)
            }
            Err(faults) => {
                self.watch_only(Vec::new());
                // Once per problem, however long it lasts.
                let problem = faults.to_string();
                if self.problem.as_ref() != Some(&problem) {
                    warn!(
                        "the configuration file is not taken up, what was declared before stays: {problem}"
                    );
                }
                self.problem = Some(problem);
                None
            }
        }
    }

    fn read(&mut self) -> Result<Vec<FileSource>, Faults> {
        let mut files = Vec::new();
        loop {
            // The digests come first; see `look`.
            self.watch_only(files);
            let config = load(&self.inputs)?.config;
            files = config.sources.iter().flat_map(|source| source.tables().flat_map(files_of)).collect();
            files.sort();
            files.dedup();
            // The first file watched is the configuration itself.
            if self
                .seen
                .iter()
                .skip(1)
                .map(|(path, _)| path.as_os_str())
                .eq(files.iter().map(std::ffi::OsStr::new))
            {
                self.note_rest(config.clone());
                return Ok(config.sources.iter().map(FileSource::new).collect());
            }
        }
    }

    /// Watches the configuration file and these.
    fn watch_only(&mut self, files: Vec<String>) {
        let files = self.inputs.file.iter().cloned().chain(files.into_iter().map(PathBuf::from));
        self.seen = files.map(|path| (path.clone(), digest(&path))).collect();
    }

    /// Tells when something changed that is read at the start only.
    fn note_rest(&mut self, config: Config) {
        let rest = Config { sources: Vec::new(), ..config };
        let rest = serde_json::to_string(&rest).unwrap_or_default();
        if self.rest.as_ref().is_some_and(|before| *before != rest) {
            warn!("the configuration file changed beyond its sources; that takes effect with the next start");
        }
        self.rest = Some(rest);
    }
}

fn digest(path: &std::path::Path) -> Option<u128> {
    std::fs::read(path).ok().map(|content| ids::digest(&[&content]))
}

#[cfg(test)]
mod tests;
