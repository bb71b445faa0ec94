//! `hookonce::testing`: the receiver in an embedder's own tests, and the example that shows it.

use std::time::Duration;

use hookonce::app::App;
use hookonce::fixture::Fixture;
use hookonce::handler::Outcome;
use hookonce::testing::{TestError, TestServer};

use crate::tidy;

#[allow(dead_code)]
#[path = "../../examples/fixtures.rs"]
mod example;

/// For deliveries to be settled; the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

const STRIPE: &str = r#"
[sources.stripe]
provider = "stripe"
secrets = [{ value = "whsec_a9f3c2e17b6d4058913fd2c7e6a1b045" }]
"#;

fn paid() -> Fixture {
    Fixture::shipped("stripe", "invoice.paid").unwrap().with_id("evt_1")
}

fn done(app: App) -> App {
    app.on("stripe", "invoice.*", |_, _| async { Outcome::done() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_holds() {
    example::one_effect(&tidy::root().join("examples/fixtures")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_in_one_process_know_nothing_of_each_other() {
    let one = TestServer::start(STRIPE, done).await.unwrap();
    let other = TestServer::start(STRIPE, done).await.unwrap();
    for server in [&one, &other] {
        let mut codes = server.send_twice(&paid()).await.unwrap().map(|sent| sent.code);
        codes.sort();
        assert_eq!(codes, ["accepted", "duplicate"]);
        server.settled_within(PATIENCE).await.unwrap();
        let deliveries = server.deliveries().await.unwrap();
        let [delivery] = deliveries.as_slice() else { panic!("{deliveries:?}") };
        assert_eq!((delivery.event_id.as_str(), delivery.state.as_str()), ("evt_1", "delivered"));
        assert_eq!((delivery.handler.as_str(), delivery.attempts), ("on.stripe.invoice._", 1));
    }
    assert_ne!(one.database_url(), other.database_url());
    let place = one.database_url().strip_prefix("sqlite://").unwrap().to_owned();
    one.stop().await;
    assert!(!std::path::Path::new(&place).exists(), "the database is gone");
    let later = [paid().with_id("evt_2"), paid().with_id("evt_3")];
    let ids: Vec<_> =
        other.send_reordered(&later).await.unwrap().into_iter().map(|sent| sent.event_id).collect();
    assert_eq!(ids, [Some("evt_3".to_owned()), Some("evt_2".to_owned())]);
    other.settled_within(PATIENCE).await.unwrap();
    assert_eq!(other.deliveries().await.unwrap().len(), 3);
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_is_an_error_that_says_what() {
    let fails = |app: App| {
        app.on("stripe", "invoice.*", |_, _| async { Outcome::retry("the ledger is closed") })
    };
    let server = TestServer::start(STRIPE, fails).await.unwrap();
    assert_eq!(server.send(&paid()).await.unwrap().code, "accepted");
    let error = server.settled_within(Duration::from_millis(200)).await.unwrap_err();
    let TestError::Unsettled { open, .. } = &error else { panic!("{error}") };
    assert!(open[0].starts_with("on.stripe.invoice._ of evt_1: "), "{error}");
    let nobody = server.send_to("nobody", &paid()).await.unwrap_err();
    assert!(nobody.to_string().contains("no source `nobody`"), "{nobody}");
    drop(server);

    let faulty = TestServer::start("[sources.stripe]\nprovidr = 1", done).await.unwrap_err();
    assert!(faulty.to_string().contains("provider"), "{faulty}");
    let unknown =
        TestServer::start(STRIPE, |app| app.on("nobody", "x", |_, _| async { Outcome::done() }));
    let unknown = unknown.await.unwrap_err();
    assert!(unknown.to_string().contains("no source `nobody`"), "{unknown}");
    assert!(Fixture::load("no/such.json").unwrap_err().to_string().contains("no/such.json"));
    assert!(paid().set("/no/such/place", "1").is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_fixture_is_a_request_for_any_http_stack() {
    let server = TestServer::start(STRIPE, done).await.unwrap();
    let (config, _) = hookonce::config::Config::read(
        STRIPE,
        "config",
        &Default::default(),
        std::path::Path::new(""),
    )
    .unwrap();
    let source = hookonce::source::Source::compile(config.sources[0].clone()).unwrap();
    let request = paid().set("/data/object/amount_paid", "7").unwrap().sign(&source).unwrap();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/in/stripe"));
    let mut post = reqwest::Client::new().post(server.url() + &request.target).body(request.body);
    for (name, value) in request.headers.iter() {
        post = post.header(name, value);
    }
    let answer = post.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.unwrap().contains("accepted"));
    server.stop().await;
}
