//! `examples/embed.rs` does what `docs/embed.md` says: its commands are run against it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::support::daemon::{loopback, program};
use crate::support::eventually;
use crate::support::port::free_port;
use crate::support::raw::RawRequest;
use crate::tidy;

#[allow(dead_code)]
#[path = "../../examples/embed.rs"]
mod example;

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_steps_of_the_page_work() {
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("examples")).unwrap();
    std::fs::create_dir(place.path().join("target")).unwrap();
    let (public, admin) = (loopback(free_port()), loopback(free_port()));
    let config = std::fs::read_to_string(tidy::root().join("examples/embed.toml")).unwrap();
    let config = config.replace("127.0.0.1:8090", &public.to_string());
    let config = config.replace("127.0.0.1:8091", &admin.to_string());
    let file = place.path().join("examples/embed.toml");
    std::fs::write(&file, config).unwrap();
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let serving = tokio::spawn(async move { example::serve(&file, stop).await });
    eventually(PATIENCE, "readiness", || async {
        let answer = RawRequest::new("GET", "/readyz").try_send(public).await;
        answer.is_ok_and(|answer| answer.status == 200).then_some(())
    })
    .await;

    let page = std::fs::read_to_string(tidy::root().join("docs/embed.md")).unwrap();
    let commands: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    assert_eq!(commands.first(), Some(&"cargo run --example embed"), "it is what runs here");
    for command in &commands[1..] {
        let arguments: Vec<&str> = command
            .strip_prefix("cargo run -- ")
            .unwrap_or_else(|| panic!("no test knows: {command}"))
            .split(' ')
            .collect();
        let run = async || {
            let output = program(place.path(), &arguments).output().await.unwrap();
            let text =
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(output.status.success(), "$ {command}\n{text}");
            text
        };
        if command.contains("delivery list") {
            eventually(PATIENCE, "the delivery", || async {
                run().await.contains("delivered").then_some(())
            })
            .await;
        } else {
            let text = run().await;
            assert!(text.contains("accepted") && text.contains("duplicate"), "{text}");
        }
    }
    let url = format!("sqlite://{}", place.path().join("target/embed.db").display());
    let mut connection = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url).await.unwrap();
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM ledger").fetch_one(&mut connection).await.unwrap();
    assert_eq!(rows, 1);
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}
