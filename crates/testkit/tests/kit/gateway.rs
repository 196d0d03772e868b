//! The handle on the binary, tried on a stand-in: this test program, run as a child that answers `/readyz`.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use longshore_testkit::gateway::{OPS_BIND, Setup};

fn setup() -> Setup {
    let stand_in = Setup::new(std::env::current_exe().unwrap()).env("STAND_IN", "1");
    stand_in.arg("--exact").arg("gateway::stand_in").arg("--nocapture")
}

/// The child's part; in the parent it has nothing to do.
#[test]
fn stand_in() {
    if std::env::var_os("STAND_IN").is_none() {
        return;
    }
    println!("standing in");
    let listener = TcpListener::bind(std::env::var(OPS_BIND).unwrap()).unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let length = stream.read(&mut [0; 1024]).unwrap();
        assert!(length > 0);
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nready").unwrap();
    }
}

#[tokio::test]
async fn a_gateway_is_killed_restarted_stopped_and_measured() {
    let mut gateway = setup().start().await;
    let (addr, pid) = (gateway.addr(), gateway.pid());

    assert_eq!(gateway.get("/readyz").await, Some((200, "ready".to_owned())));
    assert!(gateway.usage().rss_kib > 0);
    gateway.kill_9().await;
    assert!(!gateway.is_ready().await);
    gateway.restart().await;

    assert!(gateway.is_ready().await && gateway.pid() != pid && gateway.addr() == addr);
    assert_eq!(gateway.sigterm(Duration::from_secs(10)).await.signal(), Some(15));
    assert_eq!(gateway.log().matches("standing in").count(), 2);
}

#[tokio::test]
#[should_panic(expected = "ended with exit status: 1 instead of starting")]
async fn a_gateway_that_does_not_start_is_no_riddle() {
    Setup::new("false").start().await;
}

#[tokio::test]
async fn other_commands_run_with_the_same_environment() {
    let printed = Setup::new("env").env("LONGSHORE__A__B", "c").run_ok(Vec::<String>::new()).await;

    assert!(printed.lines().any(|line| line == "LONGSHORE__A__B=c"));
    assert!(!printed.contains("DATABASE_URL"));
}
