//! The live view: bars on a terminal, a line per second elsewhere.

use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

const WIDTH: usize = 30;
const EVERY: Duration = Duration::from_secs(1);

/// One line of the view.
pub type Row = (&'static str, usize, usize);

/// The view.
#[derive(Debug)]
pub struct Board {
    is_live: bool,
    drawn: usize,
    said: Option<Instant>,
}

impl Default for Board {
    fn default() -> Self {
        Self { is_live: std::io::stdout().is_terminal(), drawn: 0, said: None }
    }
}

impl Board {
    /// Shows how far each row is, over what was shown before.
    pub fn show(&mut self, rows: &[Row], is_last: bool) {
        let mut text = String::new();
        if self.is_live {
            if self.drawn > 0 {
                text.push_str(&format!("\x1b[{}A", self.drawn));
            }
            for row in rows {
                text.push_str(&format!("\x1b[2K  {}\n", bar(row)));
            }
            self.drawn = rows.len();
        } else if is_last || self.said.is_none_or(|said| said.elapsed() >= EVERY) {
            let parts: Vec<String> =
                rows.iter().map(|(name, now, all)| format!("{name} {now}/{all}")).collect();
            text = format!("  {}\n", parts.join(", "));
            self.said = Some(Instant::now());
        }
        // Somebody who closes the view early wants no more of it.
        let _ = std::io::stdout().write_all(text.as_bytes());
    }
}

fn bar((name, now, all): &Row) -> String {
    let filled = (now * WIDTH).checked_div(*all).unwrap_or(WIDTH).min(WIDTH);
    format!("{name:<23} {}{} {now:>5} / {all}", "█".repeat(filled), "░".repeat(WIDTH - filled))
}
