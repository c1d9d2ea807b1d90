//! `healthcheck`: asks the process with these settings whether it is ready, for containers without a shell or curl.
//!
//! `gateway healthcheck` takes the settings of `gateway`, by flags and variables, and needs of them only where the admin
//! listener is.

use std::{
    env,
    ffi::OsString,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

const WORD: &str = "healthcheck";
/// How long the answer may take. A process that is well answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(3);
/// How much of the answer is read, in bytes: a head, and some reasons.
const MAX_ANSWER: u64 = 8192;

/// Whether the first word of this process asks for it.
pub fn is_asked_for() -> bool {
    env::args_os().nth(1).is_some_and(|word| word == WORD)
}

/// The words of this process without the one that asks for it.
pub(crate) fn words_besides() -> impl Iterator<Item = OsString> {
    let asked_for = is_asked_for();
    env::args_os().enumerate().filter(move |(n, _)| !(asked_for && *n == 1)).map(|(_, word)| word)
}

/// Asks `/readyz` of the admin listener at `listen`, over loopback if it listens everywhere. Success if it is ready;
/// else failure, and one line that says why.
pub fn ask(listen: SocketAddr) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.to_string()),
    };
    match runtime.block_on(readiness(listen)) {
        Ok(()) => {
            println!("ready");
            ExitCode::SUCCESS
        }
        Err(why) => fail(&why),
    }
}

fn fail(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}

/// Why it is not ready, in one line.
async fn readiness(listen: SocketAddr) -> Result<(), String> {
    let address = from_here(listen);
    let answer = match timeout(PATIENCE, get_readyz(address)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(format!("nobody answers at {address}: {error}")),
        Err(_) => return Err(format!("no answer from {address} within {PATIENCE:?}")),
    };
    if answer.starts_with("HTTP/1.1 200 ") {
        return Ok(());
    }
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body.trim());
    Err(if body.is_empty() { format!("no answer of ours from {address}") } else { body.to_owned() })
}

async fn get_readyz(address: SocketAddr) -> io::Result<String> {
    let mut connection = TcpStream::connect(address).await?;
    connection.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    connection.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Where something that listens at `listen` is reached from this machine.
fn from_here(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{Health, Tasks, admin};

    #[tokio::test]
    async fn it_says_whether_the_process_is_ready_and_why_not() {
        let (health, tasks) = (Health::default(), Tasks::default());
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let everywhere = listener.local_addr().unwrap();
        tasks.spawn("admin", admin::serve(listener, health.clone(), metrics, tasks.clone()));

        assert_eq!(readiness(everywhere).await, Ok(()));
        health.unready("redis", "it is away");
        assert_eq!(readiness(everywhere).await, Err("not ready: redis: it is away".to_owned()));
    }

    #[tokio::test]
    async fn nobody_there_is_said() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let left = listener.local_addr().unwrap();
        drop(listener);
        assert!(readiness(left).await.unwrap_err().starts_with("nobody answers at 127.0.0.1:"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_hangs_is_not_waited_for_long() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hangs = listener.local_addr().unwrap();
        assert!(readiness(hangs).await.unwrap_err().starts_with("no answer from 127.0.0.1:"));
    }
}
