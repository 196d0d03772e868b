//! The receiver that is left running: a line for every webhook, with what its signatures are worth.

use std::io::Write;
use std::time::Duration;

use longshore_testkit::receiver::Receiver;

use super::tally::verify;

const POLL: Duration = Duration::from_millis(50);
/// Characters of a body that are shown.
const SHOWN: usize = 200;

/// Writes down every webhook after the first `seen`, for ever.
///
/// # Errors
/// When it cannot write.
pub async fn write_down(receiver: &Receiver, mut seen: usize, to: &mut impl Write) -> std::io::Result<()> {
    loop {
        let requests = receiver.requests();
        for request in &requests[seen..] {
            let verdict =
                verify(request).map_or_else(|fault| format!("REFUSED ({fault})"), |()| "verified".to_owned());
            let body: String = String::from_utf8_lossy(&request.body).chars().take(SHOWN).collect();
            writeln!(to, "{} {} {verdict} {body}", request.path(), request.webhook_id().unwrap_or("-"))?;
        }
        seen = requests.len();
        tokio::time::sleep(POLL).await;
    }
}
