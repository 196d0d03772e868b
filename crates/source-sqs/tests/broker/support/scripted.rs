//! An endpoint that answers by script, for what no test server of SQS ever answers: refusals and faults of AWS.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// An answer: a result, or an error's code.
pub(crate) type Answer = Result<Value, &'static str>;

/// Ends with the value.
pub(crate) struct Scripted {
    pub(crate) endpoint: String,
    task: JoinHandle<()>,
}

impl Scripted {
    /// `answer` gets the operation's name and its input.
    pub(crate) async fn start(answer: impl Fn(&str, &Value) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let answer = Arc::new(answer);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&answer)));
            }
        });
        Self { endpoint, task }
    }

    pub(crate) fn settings(&self) -> Value {
        json!({
            "queue_name": "scripted", "endpoint": self.endpoint, "default_region": "us-east-1",
            "access_key_id": "test", "secret_key": "test", "pollers": 1, "wait_time": 1
        })
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut socket: TcpStream, answer: Arc<impl Fn(&str, &Value) -> Answer>) {
    let mut request = Vec::new();
    loop {
        let Some((operation, input, length)) = parse(&request) else {
            let read = socket.read_buf(&mut request).await;
            if !matches!(read, Ok(1..)) {
                return;
            }
            continue;
        };
        request.drain(..length);
        let (status, body) = match answer(&operation, &input) {
            Ok(body) => ("200 OK", body),
            Err(code) => {
                ("400 Bad Request", json!({ "__type": format!("com.amazonaws.sqs#{code}"), "message": "no" }))
            }
        };
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if socket.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The first request in `bytes`, once it is whole: its operation, its input and its length.
fn parse(bytes: &[u8]) -> Option<(String, Value, usize)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, rest) = text.split_once("\r\n\r\n")?;
    let header = |name: &str| {
        let found = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name))?;
        found.split_once(": ").map(|(_, value)| value)
    };
    let length = header("content-length")?.parse::<usize>().ok()?;
    let body = rest.get(..length)?;
    let operation = header("x-amz-target")?.trim_start_matches("AmazonSQS.").to_owned();
    Some((operation, serde_json::from_str(body).ok()?, head.len() + 4 + length))
}
