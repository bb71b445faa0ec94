//! What the program is made of: the bans of deny.toml that would break the guarantee, without cargo-deny.

use std::process::Command;

use super::assert_none;

/// Crates that must not be built in, and why.
const BANNED: [(&str, &str); 5] = [
    ("ring", "with two TLS providers in one program rustls panics at the first connection"),
    ("openssl-sys", "rustls with aws-lc-rs is the one TLS here"),
    ("native-tls", "rustls with aws-lc-rs is the one TLS here"),
    ("actix-governor", "it is GPL-3.0"),
    ("rusqlite", "it links SQLite a second time"),
];

/// `name features`, one line a crate, as cargo resolved them for the program on this machine.
fn built_in() -> Vec<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p} {f}"])
        .current_dir(super::root())
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    String::from_utf8(tree.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn faults(lines: &[String]) -> Vec<String> {
    let mut faults = Vec::new();
    for line in lines {
        let name = line.split(' ').next().unwrap_or_default();
        if let Some((_, why)) = BANNED.iter().find(|(banned, _)| *banned == name) {
            faults.push(format!("{line}: {why}"));
        }
        // Also when another crate switches it on for us.
        if name.starts_with("actix-") && line.contains("compress-") {
            faults.push(format!("{line}: bodies would be decompressed before they are verified"));
        }
    }
    faults
}

#[test]
fn nothing_is_built_in_that_would_break_the_guarantee() {
    let lines = built_in();
    assert!(
        lines.iter().any(|line| line.starts_with("actix-http v")),
        "the tree is read: {lines:?}"
    );
    assert_none(&faults(&lines));
}

#[test]
fn the_check_sees_a_banned_crate_and_a_feature() {
    let line = |text: &str| vec![text.to_owned()];
    assert_eq!(faults(&line("ring v0.17.14 default")).len(), 1);
    assert_eq!(faults(&line("actix-http v3.20.0 compress-gzip,http2")).len(), 1);
    assert_none(&faults(&line("actix-http v3.20.0 http2,ws")));
    assert_none(&faults(&line("ringbuffer v1.0.0 compress-gzip")));
}
