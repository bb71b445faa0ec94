//! A room stands above everything that it imports, and rooms on one floor don't know each other.

use std::collections::BTreeSet;

use super::code::{line_of, read, words};
use super::{Text, assert_none, files, root};

/// The house, top down. `docs/architecture.md` shows the same table, and a test compares the two.
const FLOORS: [(u8, &[&str]); 9] = [
    (8, &["main", "cli", "testing"]),
    (7, &["app"]),
    (6, &["config"]),
    (5, &["http"]),
    (4, &["intake", "worker", "upkeep", "keys", "idempotency", "replay"]),
    (3, &["store", "handler", "fixture", "fetch"]),
    (2, &["source", "statement"]),
    (1, &["verify", "redis_address"]),
    (0, &["received", "event", "retry", "secret", "metric", "telemetry", "address"]),
];

/// The exceptions to "rooms on one floor don't know each other", each in one direction.
const SAME_FLOOR_ALLOWED: [(&str, &str); 2] = [
    // `main` parses and calls `cli`; nobody calls `main`.
    ("main", "cli"),
    // An event carries its header lines as they were received.
    ("event", "received"),
];

fn floor_of(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(_, rooms)| rooms.contains(&room)).map(|(floor, _)| *floor)
}

/// `src/store/claim.rs` and `src/store.rs` are in `store`; `lib.rs` is the house's door and no room.
fn room_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    let room = inside.split('/').next()?;
    let room = room.strip_suffix(".rs").unwrap_or(room);
    (room != "lib").then_some(room)
}

/// The rooms that a file names, with the line of each.
fn imports(path: &str, text: &str) -> Vec<(String, usize)> {
    let code = read(text);
    let depth = path.matches('/').count();
    // `main` sees the library by its name.
    let doors = ["crate::".to_owned(), "hookonce::".to_owned(), "super::".repeat(depth)];
    let mut found = Vec::new();
    for door in doors {
        for at in words(&code.bare, &door) {
            // `super::super::` also ends in a longer chain; the longest one is what counts.
            if door.starts_with("super") && code.bare[..at].ends_with("super::") {
                continue;
            }
            let line = line_of(&code.bare, at);
            let after = &code.bare[at + door.len()..];
            found.extend(first_names(after).into_iter().map(|name| (name, line)));
        }
    }
    found
}

/// The first segment of a path, or of every path of a group `{a::b, c}`.
fn first_names(after: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(group) = after.strip_prefix('{') else { return vec![name(after)] };
    let mut depth = 0;
    let mut names = vec![name(group)];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(name(&group[at + 1..])),
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Imports that go up or sideways, and rooms that have no floor.
fn faults(texts: &[Text]) -> Vec<String> {
    let mut faults = Vec::new();
    for text in texts {
        let Some(room) = room_of(&text.path) else { continue };
        let Some(floor) = floor_of(room) else {
            faults.push(format!(
                "{}: the room `{room}` has no floor; give it one in tidy/floors.rs",
                text.path
            ));
            continue;
        };
        for (other, line) in imports(&text.path, &text.content) {
            let allowed = other == room || SAME_FLOOR_ALLOWED.contains(&(room, other.as_str()));
            match floor_of(&other) {
                Some(below) if allowed || below < floor => {}
                // `crate::NAME` re-exports of lib.rs would hide whose they are.
                None => faults.push(format!("{}:{line}: `{other}` is no room", text.path)),
                Some(above) => faults.push(format!(
                    "{}:{line}: `{room}` (floor {floor}) imports `{other}` (floor {above})",
                    text.path
                )),
            }
        }
    }
    faults
}

#[test]
fn a_room_imports_only_from_floors_below() {
    assert_none(&faults(&files("src", &[".rs"])));
}

#[test]
fn the_documented_floors_are_the_checked_ones() {
    let page = std::fs::read_to_string(root().join("docs/architecture.md"))
        .expect("docs/architecture.md shows the floors");
    let section = page.split("## Floors").nth(1).expect("a section `## Floors`");
    let table = section.split("```").nth(1).expect("a table in a code block");
    // A floor's number stands on its first line only; two spaces end the rooms and begin the words.
    let mut floor = 0;
    let mut documented = BTreeSet::new();
    for line in table.lines().skip(1) {
        let (number, rest) = line.split_at(line.len().min(4));
        if let Ok(number) = number.trim().parse::<u8>() {
            floor = number;
        }
        let rooms = rest.split("   ").next().unwrap_or_default().split([' ', ',']);
        // The ground is crates, which can't import rooms.
        let rooms = rooms.filter(|room| !["", "entity", "migration"].contains(room));
        documented.extend(rooms.map(|room| (floor, room)));
    }
    let checked: BTreeSet<(u8, &str)> = FLOORS
        .iter()
        .flat_map(|(floor, rooms)| rooms.iter().map(move |room| (*floor, *room)))
        .collect();
    assert_eq!(documented, checked);
}

#[test]
fn the_check_sees_imports_upwards_sideways_grouped_and_by_super() {
    let bad = [
        ("src/store/claim.rs", "use crate::http::Problem;"),
        ("src/intake.rs", "use crate::{event::Event, worker::{Worker, settle}};"),
        ("src/worker/attempt.rs", "fn f() { super::super::intake::g() }"),
        ("src/worker.rs", "use super::upkeep::x;"),
        ("src/verify/hmac.rs", "use crate::\n    source::Source;"),
        ("src/pantry.rs", ""),
        ("src/http.rs", "use crate::App;"),
        ("src/received.rs", "use crate::event::Event;"),
        ("src/cli/send.rs", "use crate::main;"),
    ];
    for (path, text) in bad {
        assert_eq!(faults(&[Text::new(path, text)]).len(), 1, "{path}: {text}");
    }
    let good = [
        (
            "src/http/body.rs",
            "//! crate::cli\nuse crate::store::{Store, claim::{a, b}};\nuse super::peer;",
        ),
        ("src/store/claim.rs", "use super::StoreSettings; use super::super::event::Event;"),
        ("src/main.rs", "use hookonce::cli; fn main() { hookonce::config::load() }"),
        ("src/lib.rs", "pub mod anything;"),
        ("src/worker.rs", "#[cfg(test)]\nmod tests { use crate::cli::x; }"),
    ];
    for (path, text) in good {
        assert_none(&faults(&[Text::new(path, text)]));
    }
}
