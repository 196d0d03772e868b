use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::mpsc;

use super::*;

type Sent = mpsc::UnboundedReceiver<String>;

/// Supervises text declarations; each run reports its start and its end. `fail` ends at once, `leave` as well but
/// without an error.
fn supervised(
    first: &[(&'static str, &'static str)],
) -> (watch::Sender<Wanted<&'static str, &'static str>>, Sent, CancellationToken, tokio::task::JoinHandle<()>)
{
    let (wanted, receiver) = watch::channel(declared(first));
    let (sender, sent) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let start = move |key: &&'static str, declared: &&'static str, stop: CancellationToken| {
        let (sender, key, declared) = (sender.clone(), *key, *declared);
        async move {
            sender.send(format!("+{key}={declared}")).unwrap();
            match declared {
                "fail" => anyhow::bail!("no such queue"),
                "leave" => return Ok(()),
                _ => stop.cancelled().await,
            }
            sender.send(format!("-{key}={declared}")).unwrap();
            Ok(())
        }
    };
    let task = tokio::spawn(supervise(receiver, start, StdRng::seed_from_u64(1), stop.clone()));
    (wanted, sent, stop, task)
}

fn declared(entries: &[(&'static str, &'static str)]) -> Wanted<&'static str, &'static str> {
    Arc::new(entries.iter().copied().collect())
}

#[tokio::test(start_paused = true)]
async fn changes_are_followed_and_never_two_run_at_once() {
    let (wanted, mut sent, stop, task) = supervised(&[("a", "1")]);
    assert_eq!(sent.recv().await.unwrap(), "+a=1");

    wanted.send(declared(&[("a", "2")])).unwrap();
    assert_eq!(sent.recv().await.unwrap(), "-a=1");
    assert_eq!(sent.recv().await.unwrap(), "+a=2");

    wanted.send(declared(&[("b", "1")])).unwrap();
    let mut both = [sent.recv().await.unwrap(), sent.recv().await.unwrap()];
    both.sort();
    assert_eq!(both, ["+b=1", "-a=2"]);

    stop.cancel();
    assert_eq!(sent.recv().await.unwrap(), "-b=1");
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_ends_unasked_is_started_again_with_growing_pauses() {
    for declaration in ["fail", "leave"] {
        let (_wanted, mut sent, stop, task) = supervised(&[("a", declaration)]);
        let mut pauses = Vec::new();
        sent.recv().await.unwrap();
        for _ in 0..12 {
            let before = Instant::now();
            sent.recv().await.unwrap();
            pauses.push(before.elapsed());
        }

        assert!(pauses[0] <= 2 * SHORTEST + Duration::from_millis(2), "{pauses:?}");
        assert!(pauses[4] > 4 * pauses[0], "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= LONGEST + Duration::from_millis(2)), "{pauses:?}");
        assert!(pauses[11] >= LONGEST / 2, "{pauses:?}");
        stop.cancel();
        task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_not_waited_out_when_the_declaration_changes() {
    let (wanted, mut sent, stop, task) = supervised(&[("a", "fail")]);
    for _ in 0..8 {
        sent.recv().await.unwrap();
    }
    let before = Instant::now();

    wanted.send(declared(&[("a", "good")])).unwrap();

    assert_eq!(sent.recv().await.unwrap(), "+a=good");
    assert!(before.elapsed() < Duration::from_millis(100));
    stop.cancel();
    task.await.unwrap();
}
