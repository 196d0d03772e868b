//! The operational routes, asked over a real socket.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use longshore_api::{Health, Reason, ops_router, probe_router};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn serve(router: axum::Router) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn get(address: std::net::SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[tokio::test]
async fn readiness_names_its_reasons_and_liveness_ignores_them() {
    let health = Health::new();
    let recorder = PrometheusBuilder::new().build_recorder();
    let address = serve(ops_router(health.clone(), recorder.handle())).await;

    health.set(Reason::Draining);
    assert_eq!(
        get(address, "/readyz").await,
        (503, r#"{"ready":false,"reasons":["starting","draining"]}"#.to_owned())
    );
    assert_eq!(get(address, "/healthz").await, (200, r#"{"alive":true}"#.to_owned()));

    health.clear(Reason::Starting);
    health.clear(Reason::Draining);
    assert_eq!(get(address, "/readyz").await, (200, r#"{"ready":true,"reasons":[]}"#.to_owned()));
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || metrics::counter!("longshore_events_total").increment(3));
    let address = serve(ops_router(Health::new(), recorder.handle())).await;

    let (status, text) = get(address, "/metrics").await;

    assert_eq!(status, 200);
    assert!(text.contains("longshore_events_total 3"), "{text}");
}

#[tokio::test]
async fn the_public_listener_has_no_metrics() {
    let address = serve(probe_router(Health::new())).await;

    assert_eq!(get(address, "/healthz").await.0, 200);
    assert_eq!(get(address, "/metrics").await.0, 404);
}
