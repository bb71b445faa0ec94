//! Lists and single rows for people.

use entity::State;
use hookonce::source::{Source, SourceSettings};
use hookonce::store::{DeliveryFilter, EventFilter, NewEvent, Store, StoreError};

use crate::both_databases;
use crate::store::ground::{dead, delivered, event, event_of, fresh, name, received, verified};

both_databases!(pages_go_through_every_event_once_newest_first, |db| async move {
    let store = db.store().await;
    for at in 0..7 {
        fresh(&store, event(&format!("evt_{at}"), b"{}", &["a"])).await;
    }
    let mut seen = Vec::new();
    let mut filter = EventFilter { limit: Some(3), ..EventFilter::default() };
    loop {
        let page = store.events(&filter).await.unwrap();
        assert!(page.items.len() <= 3);
        seen.extend(page.items.into_iter().map(|row| row.event.event_id));
        match page.next_cursor {
            Some(cursor) => filter.cursor = Some(cursor),
            None => break,
        }
    }
    assert_eq!(seen, ["evt_6", "evt_5", "evt_4", "evt_3", "evt_2", "evt_1", "evt_0"]);
});

both_databases!(each_filter_narrows_the_list, |db| async move {
    let store = db.store().await;
    delivered(&store, "evt_ok", "a").await;
    dead(&store, "evt_bad", "a").await;
    let ours = fresh(&store, event_of("club", "evt_club", b"{}", &[])).await;
    let ids = async |filter: EventFilter| -> Vec<String> {
        store
            .events(&filter)
            .await
            .unwrap()
            .items
            .into_iter()
            .map(|row| row.event.event_id)
            .collect()
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(ids(EventFilter { source: some("club"), ..Default::default() }).await, ["evt_club"]);
    assert_eq!(
        ids(EventFilter { state: Some(State::Dead), ..Default::default() }).await,
        ["evt_bad"]
    );
    assert_eq!(ids(EventFilter { id: some("evt_ok"), ..Default::default() }).await, ["evt_ok"]);
    assert_eq!(
        ids(EventFilter { id: Some(ours.to_string()), ..Default::default() }).await,
        ["evt_club"]
    );
    assert_eq!(ids(EventFilter { kind: some("order.*"), ..Default::default() }).await.len(), 3);
    assert_eq!(ids(EventFilter { kind: some("order_paid"), ..Default::default() }).await.len(), 0);
    let now = store.probe().await.unwrap().now;
    let hour = chrono::TimeDelta::hours(1);
    assert_eq!(ids(EventFilter { since: Some(now - hour), ..Default::default() }).await.len(), 3);
    assert_eq!(ids(EventFilter { since: Some(now + hour), ..Default::default() }).await.len(), 0);
    assert_eq!(ids(EventFilter { until: Some(now - hour), ..Default::default() }).await.len(), 0);
    let wrong = EventFilter { cursor: some("x"), ..Default::default() };
    assert!(matches!(store.events(&wrong).await, Err(StoreError::Invalid(_))));
});

both_databases!(an_event_is_found_by_our_id_and_by_the_providers, |db| async move {
    let store = db.store().await;
    let (ours, delivery) = dead(&store, "evt_1", "a").await;
    fresh(&store, event_of("club", "evt_1", b"{}", &[])).await;
    let both = store.event("evt_1").await.unwrap();
    assert_eq!(both.len(), 2, "two sources share the id");
    let one = store.event(&ours.to_string()).await.unwrap().pop().unwrap();
    assert_eq!(one.deliveries[0].delivery.id, delivery);
    assert_eq!(one.deliveries[0].tries.len(), 1);
    assert!(store.event("nobody").await.unwrap().is_empty());
});

both_databases!(an_event_of_a_shared_group_is_found_by_another_process, |db| async move {
    let store = db.store().await;
    let spec = toml::from_str("verify = \"none\"\nevent = { id = \"header:x-id\" }\n").unwrap();
    let shared = Source::compile(SourceSettings {
        dedupe_group: Some(name("both-shops")),
        ..SourceSettings::new(name("shop"), spec)
    });
    let verified = verified(&shared.unwrap(), received(&[("x-id", b"evt_1")], b"{}"));
    let ours = fresh(&store, NewEvent { verified, ..event("evt_1", b"{}", &[]) }).await;
    fresh(&store, event("evt_2", b"{}", &[])).await;
    // One that has never seen these groups.
    let other = Store::open_beside(&db.settings()).await.unwrap();
    for (id, events) in [("evt_1", 1), ("evt_2", 1), ("evt_3", 0)] {
        assert_eq!(other.event(id).await.unwrap().len(), events, "{id}");
        let filter = EventFilter { id: Some(id.to_owned()), ..Default::default() };
        assert_eq!(other.events(&filter).await.unwrap().items.len(), events, "{id}");
    }
    assert_eq!(other.event("evt_1").await.unwrap()[0].event.id, ours);
    assert_eq!(db.number("SELECT count(*) FROM dedupe_group").await, 2);
});

both_databases!(dead_letters_are_the_deliveries_that_are_dead, |db| async move {
    let store = db.store().await;
    delivered(&store, "evt_ok", "a").await;
    let (_, bad) = dead(&store, "evt_bad", "a").await;
    dead(&store, "evt_bad_b", "b").await;
    let filter = DeliveryFilter {
        state: Some(State::Dead),
        handler: Some("a".to_owned()),
        source: Some("shop".to_owned()),
        kind: Some("order.*".to_owned()),
        ..Default::default()
    };
    let page = store.deliveries(&filter).await.unwrap();
    assert_eq!(page.items.len(), 1);
    assert_eq!(page.items[0].delivery.id, bad);
    assert_eq!(page.items[0].event.event_id, "evt_bad");
    let other = DeliveryFilter { source: Some("club".to_owned()), ..Default::default() };
    assert!(store.deliveries(&other).await.unwrap().items.is_empty());
});

both_databases!(the_backlog_and_the_sizes_are_measured, |db| async move {
    let store = db.store().await;
    dead(&store, "evt_1", "a").await;
    fresh(&store, event("evt_2", b"{}", &["a"])).await;
    let backlog = store.backlog(vec![name("a"), name("b")]).await.unwrap();
    let of_a = backlog.iter().find(|one| one.handler.as_str() == "a").unwrap();
    assert_eq!((of_a.pending, of_a.dead), (1, 1));
    let of_b = backlog.iter().find(|one| one.handler.as_str() == "b").unwrap();
    assert_eq!((of_b.pending, of_b.dead, of_b.oldest.as_secs()), (0, 0, 0));
    let sizes = store.table_sizes().await.unwrap();
    assert!(sizes.iter().any(|size| size.bytes.is_some_and(|bytes| bytes > 0)));
});
