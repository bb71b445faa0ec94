//! What the probes say over a real socket.

use actix_web::web;

use crate::http::wire_tests::{Echo, status};
use crate::http::{Readiness, probe};

#[tokio::test(flavor = "multi_thread")]
async fn operators_are_told_what_is_wrong_although_requests_are_welcome() {
    let readiness = Readiness::new();
    readiness.set_writable(true);
    readiness.set_detail(Some("the cleanup failed".to_owned()));
    let shared = web::Data::new(readiness.clone());
    let server = Echo::serve(move |config| {
        config.app_data(shared.clone()).configure(probe::detailed_routes);
    });
    let ask =
        async || server.send(b"GET /readyz HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    let told = ask().await;
    assert_eq!(status(&told), 200, "it takes no traffic away");
    assert!(told.ends_with("\r\n\r\nok\nthe cleanup failed\n"), "{told}");
    readiness.set_detail(None);
    assert!(ask().await.ends_with("\r\n\r\nok\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_tell_whether_new_requests_are_welcome() {
    let readiness = Readiness::new();
    let shared = web::Data::new(readiness.clone());
    let server = Echo::serve(move |config| {
        config.app_data(shared.clone()).configure(probe::routes);
    });
    let ask = async |line: &str| {
        let head = format!("{line} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
        server.send(head.as_bytes()).await
    };
    assert_eq!(status(&ask("GET /livez").await), 200);
    assert_eq!(status(&ask("GET /readyz").await), 503);
    readiness.set_writable(true);
    assert!(ask("GET /readyz").await.ends_with("\r\n\r\nok\n"));
    assert_eq!(status(&ask("HEAD /readyz").await), 200);
    readiness.set_detail(Some("the cleanup failed".to_owned()));
    assert!(ask("GET /readyz").await.ends_with("\r\n\r\nok\n"), "the world is not told");
    readiness.drain();
    assert!(ask("GET /readyz").await.ends_with("\r\n\r\nshutting down"));
    assert_eq!(status(&ask("GET /livez").await), 200);
    let refused = ask("POST /livez").await;
    assert_eq!(status(&refused), 405);
    assert!(refused.to_ascii_lowercase().contains("allow: get, head"), "{refused}");
}
