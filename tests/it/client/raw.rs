//! Servers below HTTP: they say exactly what they are told to, and hang up.

use std::{future::pending, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// What a raw server does with a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    /// Reads the request, writes these bytes and closes.
    Say(&'static str),
    /// Closes before it reads anything.
    Close,
    /// Reads the request, writes these bytes and stays silent.
    SayAndHang(&'static str),
    /// Reads the request and resets the connection.
    Reset,
}

pub(crate) struct RawServer {
    pub(crate) url: String,
    task: JoinHandle<()>,
}

impl RawServer {
    pub(crate) async fn start(act: Act) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, act));
            }
        });
        Self { url, task }
    }
}

impl Drop for RawServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An address at which nobody listens.
pub(crate) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

async fn serve(mut connection: TcpStream, act: Act) {
    if let Act::Close = act {
        return;
    }
    read_request(&mut connection).await;
    match act {
        Act::Say(bytes) => {
            connection.write_all(bytes.as_bytes()).await.unwrap();
            connection.shutdown().await.unwrap();
        }
        Act::SayAndHang(bytes) => {
            connection.write_all(bytes.as_bytes()).await.unwrap();
            pending::<()>().await;
        }
        Act::Reset => connection.set_zero_linger().unwrap(),
        Act::Close => {}
    }
}

/// Reads until the sender has nothing more to say for a moment.
async fn read_request(connection: &mut TcpStream) {
    let mut buffer = [0; 4096];
    let mut wait = Duration::from_secs(10);
    while let Ok(Ok(1..)) = tokio::time::timeout(wait, connection.read(&mut buffer)).await {
        wait = Duration::from_millis(1);
    }
}
