//! The whole program: what an event can do to a handler's `transform` ends a process, and never the daemon.

use super::{PATIENCE, STRIPE, billing, stripe};
use crate::both_databases;
use crate::support::daemon::wait_until_settled;
use crate::support::leash::{children, runs, signal};
use crate::support::{Daemon, DaemonPlan, Endpoint, TestDatabase, eventually};
use crate::transform::{ENDED, HOSTILE};

const SETTLED: &str = "SELECT e.event_id || ' ' || d.state || ' ' || coalesce(d.cause, '-')
    FROM delivery d JOIN event e ON e.id = d.event_id ORDER BY e.event_id";

/// Tries enough for what is late because the machine is busy.
const MANY: u32 = 30;

/// A handler whose filter does to itself what the event's type names.
fn hostile(db: &TestDatabase, endpoint: &Endpoint, tries: u32) -> DaemonPlan {
    hostile_and(db, endpoint, tries, "")
}

fn hostile_and(db: &TestDatabase, endpoint: &Endpoint, tries: u32, also: &str) -> DaemonPlan {
    let mut filter = "def spin: spin; ".to_owned();
    for (kind, what) in HOSTILE {
        filter += &format!("if $event.type == \"{kind}\" then ({what}) else ");
    }
    filter += "if $event.type == \"endless\" then spin else {id: $event.id} end";
    filter += &" end".repeat(HOSTILE.len());
    // A process that is late on a busy machine is asked again, so that only what is final ends a delivery.
    let retry = format!("retry = {{ attempts = {tries}, backoff = [\"10ms\"] }}");
    billing(db, endpoint, &format!("transform = '''{filter}'''\n{retry}\n{also}"))
}

/// The daemon's processes for filters.
fn workers(daemon: u32) -> Vec<u32> {
    let is_worker = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| line == b"hookonce\0shape-worker\0")
    };
    children(daemon).into_iter().filter(is_worker).collect()
}

async fn send(daemon: &Daemon, id: &str, kind: &str) {
    daemon.sender().send(STRIPE, &stripe().event(id, kind)).await.assert_accepted();
}

both_databases!(no_event_ends_the_daemon_through_a_filter, |db| async move {
    let endpoint = Endpoint::start().await;
    let daemon = hostile(&db, &endpoint, MANY).start().await;
    for (kind, _) in HOSTILE {
        send(&daemon, &format!("evt_{kind}"), kind).await;
        send(&daemon, &format!("evt_{kind}_then"), "flat").await;
    }
    wait_until_settled(&db, PATIENCE).await;
    let mut want = Vec::new();
    for (kind, _) in HOSTILE {
        want.push(format!("evt_{kind} dead {ENDED}"));
        want.push(format!("evt_{kind}_then delivered -"));
    }
    want.sort();
    assert_eq!(db.texts(SETTLED).await, want);
    assert_eq!(endpoint.count(), HOSTILE.len());
    // It was never started again: who starts it in these tests is us.
    assert!(runs(daemon.pid()));
    assert_eq!(daemon.get("/metrics").await.status, 200);
    eventually(PATIENCE, "every process that ended to be collected", || async {
        children(daemon.pid()).into_iter().all(runs).then_some(())
    })
    .await;
});

both_databases!(filters_that_never_end_keep_no_place, |db| async move {
    let endpoint = Endpoint::start().await;
    let daemon = hostile(&db, &endpoint, 3).start().await;
    // More than a handler has places.
    for n in 0..5 {
        send(&daemon, &format!("evt_{n}"), "endless").await;
    }
    wait_until_settled(&db, PATIENCE * 2).await;
    send(&daemon, "evt_then", "flat").await;
    endpoint.wait_for_calls(1, PATIENCE).await;
    for settled in db.texts(SETTLED).await.iter().take(5) {
        assert!(settled.contains(" dead "), "{settled}");
        assert!(settled.contains("`when` and `transform` took longer than"), "{settled}");
    }
    eventually(PATIENCE, "every process that was killed to be collected", || async {
        children(daemon.pid()).into_iter().all(runs).then_some(())
    })
    .await;
    assert!(workers(daemon.pid()).len() <= 4);
});

// More of them than places, so that the last ones wait longer than anybody may; and each may be tried once.
both_databases!(who_waits_in_vain_for_a_place_loses_no_try, |db| async move {
    let endpoint = Endpoint::start().await;
    let daemon = hostile_and(&db, &endpoint, 1, "concurrency = 64").start().await;
    for n in 10..36 {
        send(&daemon, &format!("evt_{n}"), "endless").await;
    }
    wait_until_settled(&db, PATIENCE * 2).await;
    let settled = db.texts(SETTLED).await;
    assert_eq!(settled.len(), 26);
    for settled in settled {
        assert!(settled.contains(" dead given up after 1 tries: "), "{settled}");
        assert!(!settled.contains("busy with other events"), "{settled}");
    }
    let waited = "SELECT count(*) FROM attempt WHERE outcome = 'snooze'
        AND error LIKE '%busy with other events of the handler%'";
    assert!(db.number(waited).await > 0, "nobody waited");
});

both_databases!(what_a_shutdown_cuts_off_before_its_call_needs_nobody_to_decide, |db| async move {
    let endpoint = Endpoint::start().await;
    let plan = hostile_and(&db, &endpoint, MANY, "on_unknown = \"park\"");
    let mut daemon = plan.server("grace = \"0s\"").start().await;
    send(&daemon, "evt_1", "endless").await;
    eventually(PATIENCE, "its filter to run", || async {
        (!workers(daemon.pid()).is_empty()).then_some(())
    })
    .await;
    assert!(daemon.stop().await.success());
    let settled = db.texts(SETTLED).await;
    assert!(settled[0].starts_with("evt_1 pending "), "{settled:?}");
});

both_databases!(a_process_that_is_killed_while_idle_costs_no_try, |db| async move {
    let endpoint = Endpoint::start().await;
    let daemon = hostile(&db, &endpoint, MANY).start().await;
    let mut before = Vec::new();
    for n in 1..=3 {
        send(&daemon, &format!("evt_{n}"), "flat").await;
        endpoint.wait_for_calls(n, PATIENCE).await;
        wait_until_settled(&db, PATIENCE).await;
        let now = workers(daemon.pid());
        assert_eq!(now.len(), 1, "one after the other needs one: {now:?}");
        assert_ne!(now, before, "it was replaced");
        signal("KILL", &now);
        eventually(PATIENCE, "its end", || async { (!runs(now[0])).then_some(()) }).await;
        before = now;
    }
    let noticed = "SELECT count(*) FROM attempt WHERE error LIKE '%process%'";
    assert_eq!(db.number(noticed).await, 0, "{}", daemon.log());
    assert_eq!(db.number("SELECT count(*) FROM delivery WHERE state = 'delivered'").await, 3);
});

both_databases!(no_process_outlives_its_daemon, |db| async move {
    let endpoint = Endpoint::start().await;
    let mut daemon = hostile(&db, &endpoint, MANY).start().await;
    send(&daemon, "evt_1", "flat").await;
    endpoint.wait_for_calls(1, PATIENCE).await;
    send(&daemon, "evt_2", "endless").await;
    send(&daemon, "evt_3", "endless").await;
    let found = eventually(PATIENCE, "two that work", || async {
        let found = workers(daemon.pid());
        (found.len() >= 2).then_some(found)
    })
    .await;
    daemon.kill().await;
    eventually(PATIENCE, "their end", || async {
        (!found.iter().any(|pid| runs(*pid))).then_some(())
    })
    .await;
});

both_databases!(a_filter_sees_no_secret_and_is_limited, |db| async move {
    let endpoint = Endpoint::start().await;
    let plan = hostile(&db, &endpoint, MANY).environment("STRIPE_SECRET", "whsec_s3cret");
    let daemon = plan.start().await;
    send(&daemon, "evt_1", "flat").await;
    endpoint.wait_for_calls(1, PATIENCE).await;
    let worker = workers(daemon.pid())[0];
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{worker}/{name}")).unwrap();
    assert_eq!(read("environ"), "MIMALLOC_ARENA_RESERVE=32M\0");
    assert_eq!(read("comm"), "hookonce-shape\n");
    let limits = read("limits");
    let limit = |name: &str| -> String {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_ascii_whitespace().next().unwrap().to_owned()
    };
    assert_eq!(limit("Max core file size"), "1");
    assert_eq!(limit("Max file size"), "0");
    let most: u64 = limit("Max address space").parse().unwrap();
    assert!(most < 2 << 30, "{most}");
    // Nothing that the daemon has opened: no database, no socket, no log.
    let database = db.url();
    let home = daemon.dir().display().to_string();
    for fd in std::fs::read_dir(format!("/proc/{worker}/fd")).unwrap() {
        let open = std::fs::read_link(fd.unwrap().path()).unwrap().display().to_string();
        let ours = open.starts_with("socket:") || open.starts_with("anon_inode:");
        assert!(!ours && !open.starts_with(&home), "{open}");
        assert!(!database.contains(&open) || open == "/", "{open}");
    }
});

both_databases!(a_filter_that_is_only_tried_is_apart_as_well, |db| async move {
    let endpoint = Endpoint::start().await;
    let mut daemon = hostile(&db, &endpoint, MANY).start().await;
    send(&daemon, "evt_1", "recursion").await;
    wait_until_settled(&db, PATIENCE).await;
    let words = ["handler", "test", "billing", "--event", "evt_1"];
    let url = daemon.admin_url();
    for remote in [true, false] {
        if !remote {
            assert!(daemon.stop().await.success());
        }
        let mut words = words.to_vec();
        if remote {
            words.extend(["--url", &url]);
        }
        let said = daemon.run(&words).await;
        said.code(1);
        assert!(format!("{}{}", said.text(), said.err).contains(ENDED), "{}", said.text());
    }
});
