//! The proxy's faults, in front of an echo server.

use std::io::ErrorKind;
use std::time::Duration;

use longshore_testkit::chaos::ChaosProxy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn echo_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    addr.to_string()
}

async fn echoes(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"ping").await?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"ping");
    Ok(())
}

#[tokio::test]
async fn forwards_until_a_cut_resets_what_is_open() {
    let proxy = ChaosProxy::start(&echo_server().await).await;
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    echoes(&mut stream).await.unwrap();

    proxy.cut();

    assert_eq!(stream.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    echoes(&mut TcpStream::connect(proxy.addr()).await.unwrap()).await.unwrap();
    assert_eq!(proxy.accepted(), 2);
}

#[tokio::test]
async fn refuses_every_connection_until_restored() {
    let proxy = ChaosProxy::start(&echo_server().await).await;
    proxy.refuse();

    for _ in 0..3 {
        let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
        assert!(echoes(&mut stream).await.is_err());
    }
    proxy.restore();

    echoes(&mut TcpStream::connect(proxy.addr()).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_stalled_line_carries_nothing_and_goes_on_where_it_was() {
    let proxy = ChaosProxy::start(&echo_server().await).await;
    let mut old = TcpStream::connect(proxy.addr()).await.unwrap();
    echoes(&mut old).await.unwrap();
    proxy.stall();
    let mut new = TcpStream::connect(proxy.addr()).await.unwrap();

    for stream in [&mut old, &mut new] {
        let silence = tokio::time::timeout(Duration::from_millis(50), echoes(stream)).await;
        assert!(silence.is_err(), "{silence:?}");
    }
    proxy.restore();

    for stream in [&mut old, &mut new] {
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"ping");
    }
}

#[tokio::test]
async fn urls_keep_all_but_host_and_port() {
    let proxy = ChaosProxy::start("127.0.0.1:1").await;
    let addr = proxy.addr();

    assert_eq!(
        proxy.url("amqp://u:p@host:5672/%2f?heartbeat=2"),
        format!("amqp://u:p@{addr}/%2f?heartbeat=2")
    );
    assert_eq!(proxy.url("postgres://host/db"), format!("postgres://{addr}/db"));
    assert_eq!(ChaosProxy::authority("amqp://u:p@host:5672/%2f"), "host:5672");
}
