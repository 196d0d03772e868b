//! The receiver that is left running: a line for every webhook, with what its signatures are worth.

use std::net::SocketAddr;
use std::time::Duration;

use longshore_testkit::receiver::Receiver;

use super::tally::verify;

const POLL: Duration = Duration::from_millis(50);
/// Characters of a body that are shown.
const SHOWN: usize = 200;

/// Receives and prints until the process is ended.
pub async fn receive(addr: SocketAddr) {
    let receiver = Receiver::start_at(addr).await;
    let mut shown = 0;
    loop {
        let requests = receiver.requests();
        for request in &requests[shown..] {
            let verdict =
                verify(request).map_or_else(|fault| format!("REFUSED ({fault})"), |()| "verified".to_owned());
            let body: String = String::from_utf8_lossy(&request.body).chars().take(SHOWN).collect();
            println!("{} {} {verdict} {body}", request.path(), request.webhook_id().unwrap_or("-"));
        }
        shown = requests.len();
        tokio::time::sleep(POLL).await;
    }
}
