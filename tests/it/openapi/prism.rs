//! Prism, a validating proxy made by others, as a child process.

use std::{env, net::TcpListener, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// A running proxy, which ends with this value.
pub(super) struct Prism {
    pub(super) url: String,
    _process: Child,
}

impl Prism {
    /// Starts the Prism that the environment variable `PRISM` names, in front of `upstream`.
    pub(super) async fn in_front_of(upstream: &str) -> Self {
        let program = env::var_os("PRISM").expect("PRISM names the program; .ci/prism installs and sets it");
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let document = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/wawp-contacts.json");
        let mut process = Command::new(program)
            .args(["proxy", document, upstream, "--errors", "--host", "127.0.0.1", "--port", &port.to_string()])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let output = process.stdout.take().unwrap();
        timeout(Duration::from_secs(60), listening(output)).await.expect("Prism did not start within a minute");
        Self { url: format!("http://127.0.0.1:{port}"), _process: process }
    }
}

/// Waits for the line that says so, and goes on reading so that the child is never held up by a full pipe.
async fn listening(output: ChildStdout) {
    let mut lines = BufReader::new(output).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        if line.contains("Prism is listening") {
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return;
        }
    }
    panic!("Prism ended without listening");
}
