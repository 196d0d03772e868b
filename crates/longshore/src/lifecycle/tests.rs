use std::cell::RefCell;
use std::future::pending;
use std::sync::{Arc, Mutex};

use tokio::time::sleep;

use super::*;

const LIMITS: Shutdown = Shutdown { drain: Duration::from_secs(25), hard: Duration::from_secs(5) };

/// Resolves once per call that is left, then never.
fn signals(count: usize) -> impl FnMut() -> std::pin::Pin<Box<dyn Future<Output = &'static str>>> {
    let left = RefCell::new(count);
    move || {
        let mut left = left.borrow_mut();
        if *left == 0 {
            return Box::pin(pending());
        }
        *left -= 1;
        Box::pin(async {
            sleep(Duration::from_millis(10)).await;
            "SIGTERM"
        })
    }
}

#[tokio::test(start_paused = true)]
async fn stages_end_in_order() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Tasks::default();
    let stop = tasks.stop().clone();
    for (name, stage, token) in [
        ("health", Stage::Support, stop.hard.clone()),
        ("dispatch", Stage::Dispatch, stop.ingested.clone()),
        ("ingest", Stage::Ingest, stop.soft.clone()),
    ] {
        let order = order.clone();
        tasks.spawn(name, stage, async move {
            token.cancelled().await;
            sleep(Duration::from_secs(1)).await;
            order.lock().unwrap().push(name);
            Ok(())
        });
    }
    let mut is_told = false;

    tasks.run(&LIMITS, signals(1), || is_told = true).await.unwrap();

    assert!(is_told);
    assert_eq!(*order.lock().unwrap(), ["ingest", "dispatch", "health"]);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_drain_is_told_to_give_up() {
    let mut tasks = Tasks::default();
    let stop = tasks.stop().clone();
    tasks.spawn("dispatch", Stage::Dispatch, async move {
        stop.hard.cancelled().await;
        Ok(())
    });
    let start = Instant::now();

    tasks.run(&LIMITS, signals(1), || ()).await.unwrap();

    assert_eq!(start.elapsed().as_secs(), LIMITS.drain.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_second_signal_does_not_wait() {
    let mut tasks = Tasks::default();
    let stop = tasks.stop().clone();
    tasks.spawn("dispatch", Stage::Dispatch, async move {
        stop.hard.cancelled().await;
        Ok(())
    });
    let start = Instant::now();

    tasks.run(&LIMITS, signals(2), || ()).await.unwrap();

    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn what_never_ends_is_dropped_and_named() {
    let mut tasks = Tasks::default();
    tasks.spawn("stuck", Stage::Ingest, pending());
    let start = Instant::now();

    let error = tasks.run(&LIMITS, signals(1), || ()).await.unwrap_err();

    assert!(error.to_string().contains("stuck"), "{error}");
    assert_eq!(start.elapsed().as_secs(), (LIMITS.drain + LIMITS.hard).as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_task_that_ends_unasked_ends_the_process_with_failure() {
    for fails in [true, false] {
        let mut tasks = Tasks::default();
        let stop = tasks.stop().clone();
        tasks.spawn("feed", Stage::Support, async move { if fails { Err(anyhow!("boom")) } else { Ok(()) } });
        tasks.spawn("ingest", Stage::Ingest, async move {
            stop.soft.cancelled().await;
            Ok(())
        });

        let error = tasks.run(&LIMITS, signals(0), || ()).await.unwrap_err();

        assert!(format!("{error:#}").contains("`feed`"), "{error:#}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_the_process_with_failure() {
    let mut tasks = Tasks::default();
    tasks.spawn("dispatch", Stage::Dispatch, async { panic!("boom") });

    assert!(tasks.run(&LIMITS, signals(0), || ()).await.is_err());
}
