//! Who sent a request, when proxies stand between.
//!
//! `X-Forwarded-For` is a claim of whoever sends it. It is believed only as far as it was written by
//! a proxy that the operator trusts: the walk begins at the connection's own address and goes on to
//! the left as long as the address that vouches for the next one is trusted. The result decides
//! `allow_ips` and is shown in rejections; it is never used for a signature.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// The sender's address, or `None` when a trusted proxy wrote something that is not an address.
///
/// `forwarded` are the values of all `X-Forwarded-For` lines, in order. With no trusted proxy, or
/// when the connection comes from elsewhere, they are not looked at.
#[must_use]
pub(super) fn peer<'a>(
    connection: IpAddr,
    forwarded: impl Iterator<Item = &'a [u8]>,
    trusted: &[IpNet],
) -> Option<IpAddr> {
    let connection = connection.to_canonical();
    if !is_trusted(connection, trusted) {
        return Some(connection);
    }
    // Later lines were added by proxies that are nearer to us, so all lines read as one list.
    let hops: Vec<&[u8]> = forwarded.flat_map(|line| line.split(|byte| *byte == b',')).collect();
    let mut sender = connection;
    for hop in hops.into_iter().rev() {
        // "unknown", an obfuscated name or garbage: we don't know who it was, and must not go on to
        // the left, where the sender itself may have written anything.
        sender = address(hop)?;
        if !is_trusted(sender, trusted) {
            break;
        }
    }
    Some(sender)
}

/// Whether an address is a proxy's that the operator trusts.
pub(super) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// An address as proxies write it: plain, or with a port, an IPv6 one perhaps in brackets.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let plain = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = plain
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|with_port| with_port.ip()))
        .ok()?;
    // An IPv4 client of a dual-stack proxy is the same client.
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(connection: &str, lines: &[&str], trusted: &[&str]) -> Option<String> {
        let trusted: Vec<IpNet> = trusted.iter().map(|n| n.parse().expect("a net")).collect();
        peer(
            connection.parse().expect("an address"),
            lines.iter().map(|line| line.as_bytes()),
            &trusted,
        )
        .map(|address| address.to_string())
    }

    #[test]
    fn the_walk_stops_at_the_first_address_that_no_trusted_proxy_vouches_for() {
        let net = &["10.0.0.0/8", "fd00::/8"];
        for (connection, lines, want) in [
            // Nobody is trusted to speak for another but a proxy of ours.
            ("203.0.113.9", vec!["198.51.100.1"], Some("203.0.113.9")),
            ("10.0.0.1", vec!["198.51.100.1"], Some("198.51.100.1")),
            // The sender wrote the left part itself.
            ("10.0.0.1", vec!["127.0.0.1, 198.51.100.1"], Some("198.51.100.1")),
            ("10.0.0.1", vec!["127.0.0.1", "198.51.100.1, 10.0.0.2"], Some("198.51.100.1")),
            // All ours: the leftmost is the sender.
            ("10.0.0.1", vec!["10.0.0.3,10.0.0.2"], Some("10.0.0.3")),
            ("10.0.0.1", vec![], Some("10.0.0.1")),
            ("10.0.0.1", vec!["198.51.100.1:4711"], Some("198.51.100.1")),
            ("10.0.0.1", vec!["[2001:db8::1]:4711"], Some("2001:db8::1")),
            ("10.0.0.1", vec!["[2001:db8::1]"], Some("2001:db8::1")),
            ("fd00::1", vec!["2001:db8::1"], Some("2001:db8::1")),
            ("::ffff:10.0.0.1", vec!["::ffff:198.51.100.1"], Some("198.51.100.1")),
            // Not an address: unknown, and nothing further left is believed.
            ("10.0.0.1", vec!["198.51.100.1, unknown"], None),
            ("10.0.0.1", vec![""], None),
        ] {
            assert_eq!(walk(connection, &lines, net).as_deref(), want, "{connection} {lines:?}");
        }
    }

    #[test]
    fn without_trusted_proxies_the_header_is_never_read() {
        assert_eq!(walk("10.0.0.1", &["198.51.100.1"], &[]).as_deref(), Some("10.0.0.1"));
    }

    #[test]
    fn bytes_that_are_not_text_are_no_address() {
        let trusted = ["10.0.0.0/8".parse().expect("a net")];
        let lines: [&[u8]; 1] = [b"\xff\xfe"];
        assert_eq!(peer([10, 0, 0, 1].into(), lines.into_iter(), &trusted), None);
    }
}
