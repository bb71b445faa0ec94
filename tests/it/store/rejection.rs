//! The ring of refused requests.

use hookonce::handler::Routes;
use hookonce::intake::readmit::{Readmission, ReadmitFilter};
use hookonce::store::{NewRejection, RejectionFilter, Retention};

use crate::both_databases;
use crate::store::ground::{DAY, name, received, source};

fn rejection(source: &str, body: &[u8]) -> NewRejection {
    NewRejection {
        source: name(source),
        code: "signature_mismatch",
        detail: "no secret matches \0".to_owned(),
        received: received(&[("x-odd", b"\xff\0"), ("a", b"1")], body),
    }
}

both_databases!(a_refused_request_is_kept_byte_for_byte, |db| async move {
    let store = db.store().await;
    let sent = rejection("shop", b"\0\xff body");
    store.keep_rejections(vec![sent.clone()]).await.unwrap();
    let page = store.rejections(&RejectionFilter::default()).await.unwrap();
    let kept = store.rejection(page.items[0].id).await.unwrap().unwrap();
    assert_eq!(kept.body, b"\0\xff body");
    assert_eq!(hookonce::received::Headers::from_bytes(&kept.headers), sent.received.headers);
    assert_eq!(
        (kept.code.as_str(), kept.detail.as_str()),
        ("signature_mismatch", "no secret matches \\0")
    );
    let apart = kept.arrived_at - sent.received.arrived_at;
    assert!(apart.num_milliseconds().abs() <= 1, "{apart}");
});

both_databases!(the_ring_drops_the_oldest_of_its_source_beyond_its_bytes, |db| async move {
    let store = db.store().await;
    for at in 0..10_u8 {
        store.keep_rejections(vec![rejection("shop", &[at; 1000])]).await.unwrap();
    }
    store.keep_rejections(vec![rejection("club", b"other")]).await.unwrap();
    let one = rejection("shop", &[0; 1000]).size() as i64;
    assert_eq!(store.trim_rejections(name("shop"), one * 4).await.unwrap(), 6);
    let left = store
        .rejections(&RejectionFilter { source: Some("shop".to_owned()), ..Default::default() })
        .await
        .unwrap();
    let bodies: Vec<u8> = left.items.iter().map(|row| row.body[0]).collect();
    assert_eq!(bodies, [9, 8, 7, 6], "the newest stay");
    assert_eq!(db.number("SELECT count(*) FROM rejection WHERE source = 'club'").await, 1);
});

both_databases!(old_rejections_are_swept_in_batches, |db| async move {
    let store = db.store().await;
    for _ in 0..5 {
        store.keep_rejections(vec![rejection("shop", b"x")]).await.unwrap();
    }
    let day = DAY;
    assert_eq!(store.sweep_rejections(3, day).await.unwrap(), 0);
    assert_eq!(store.sweep_rejections(3, std::time::Duration::ZERO).await.unwrap(), 3);
    assert_eq!(store.sweep_rejections(3, std::time::Duration::ZERO).await.unwrap(), 2);
});

both_databases!(
    what_was_refused_before_its_body_was_read_never_becomes_an_event,
    |db| async move {
        let store = db.store().await;
        for code in
            ["ip_denied", "content_type", "body_too_large", "body_timeout", "signature_mismatch"]
        {
            let mut kept = rejection("shop", b"");
            kept.code = code;
            kept.received.headers.push("x-id", code.as_bytes());
            store.keep_rejections(vec![kept]).await.unwrap();
        }
        // The source accepts everything, so only the code speaks against them.
        let sources = hookonce::source::Sources::new([source("shop")]);
        let readmission = Readmission {
            store: &store,
            sources: &sources,
            routes: &Routes::default(),
            retention: Retention { keys: DAY, bodies: DAY, dead: DAY, rejections: DAY },
        };
        let done = readmission.run(&ReadmitFilter::default(), false).await.unwrap();
        assert_eq!(done.len(), 5);
        assert_eq!(db.texts("SELECT event_id FROM event").await, ["signature_mismatch"]);
    }
);
