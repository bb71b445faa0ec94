//! The scripted endpoint answers as told, and sees what was sent.

use std::time::Duration;

use crate::support::raw::RawRequest;
use crate::support::{Answer, Endpoint, eventually};

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn answers_follow_the_script_and_then_the_rule() {
    let endpoint = Endpoint::start().await;
    endpoint
        .answer_next([Answer::status(503).header("retry-after", "7"), Answer::ok().body("done")]);
    endpoint.answer_otherwise(Answer::status(410));

    let address = endpoint.address();
    let send = async |body: &str| RawRequest::post("/x?y=1", body).send(address).await;
    let first = send("one").await;
    assert_eq!((first.status, first.head.header("retry-after")), (503, Some("7")));
    let second = send("two").await;
    assert_eq!((second.status, second.body.as_slice()), (200, b"done".as_slice()));
    assert_eq!(send("three").await.status, 410);

    let calls = endpoint.wait_for_calls(3, PATIENCE).await;
    assert_eq!((calls[0].method.as_str(), calls[0].target.as_str()), ("POST", "/x?y=1"));
    assert_eq!(calls[1].body, b"two");
    assert_eq!(calls[2].header("content-type"), "application/json");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_answer_waits_for_its_release() {
    let endpoint = Endpoint::start().await;
    endpoint.answer_next([Answer::ok().held()]);
    let address = endpoint.address();
    let sending = tokio::spawn(async move { RawRequest::post("/", "x").send(address).await });
    endpoint.wait_for_calls(1, PATIENCE).await;
    assert_eq!(endpoint.answered(), 0);
    assert!(!sending.is_finished());
    endpoint.release(1);
    assert_eq!(sending.await.unwrap().status, 200);
    eventually(PATIENCE, "the count", || async { (endpoint.answered() == 1).then_some(()) }).await;
}
