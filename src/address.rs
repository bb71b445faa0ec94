//! Connecting only to addresses that belong to the public internet.
//!
//! A name is resolved once for each connection, every address is checked, and the connection goes
//! to one of the addresses that were checked: a second answer of the name server is never asked for.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// A resolver that refuses a name when any of its addresses is special.
#[derive(Debug)]
pub struct PublicOnly {
    /// Whose rule it is, for the refusal: such as "`deny_private`".
    pub rule: &'static str,
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let rule = self.rule;
        Box::pin(async move {
            let host = name.as_str().to_owned();
            // reqwest puts the URL's port in the place of 0.
            let addresses: Vec<_> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            for address in &addresses {
                if let Some(why) = special(address.ip()) {
                    // One bad address is enough: a name that is half public is how rebinding looks.
                    return Err(io::Error::other(format!(
                        "{host} is at {}, {why}, which {rule} refuses",
                        address.ip()
                    ))
                    .into());
                }
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Checks a host that is an address already: reqwest doesn't ask the resolver about these. Fails with
/// what kind of special address it is.
pub fn check_literal(url: &Url) -> Result<(), String> {
    let address = match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address),
        Some(Host::Domain(_)) | None => return Ok(()),
    };
    match special(address) {
        Some(why) => Err(format!("{address} is {why}")),
        None => Ok(()),
    }
}

/// What kind of special address this is; `None` for one of the public internet.
fn special(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => special_v4(address),
        IpAddr::V6(address) => special_v6(address),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    Some(match address.octets() {
        [0, ..] => "an address of \"this network\"",
        [127, ..] => "a loopback address",
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => "a private address",
        [100, 64..=127, ..] => "an address of carrier-grade NAT",
        [169, 254, ..] => "a link-local address",
        [192, 0, 0, _] | [192, 88, 99, _] => "an address reserved for protocols",
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => "a documentation address",
        [198, 18..=19, ..] => "a benchmark address",
        [224..=239, ..] => "a multicast address",
        [255, 255, 255, 255] => "the broadcast address",
        [240..=255, ..] => "a reserved address",
        _ => return None,
    })
}

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    let [s0, s1, s2, s3, s4, s5, s6, s7] = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        special_v4(Ipv4Addr::new(a, b, c, d))
    };
    match (s0, s1) {
        // ::ffff:a.b.c.d is the IPv4 address itself.
        (0, 0) if (s2, s3, s4, s5) == (0, 0, 0, 0xffff) => embedded(s6, s7),
        // Behind NAT64 and 6to4 stands an IPv4 address, and the packet goes there.
        (0x64, 0xff9b) if (s2, s3, s4, s5) == (0, 0, 0, 0) => embedded(s6, s7),
        (0x2002, _) => embedded(s1, s2),
        (0x2001, 0xdb8) | (0x3fff, 0..=0x0fff) => Some("a documentation address"),
        (0x2001, 0..=0x01ff) => Some("an address reserved for protocols"),
        // 2000::/3 is all of the public internet there is.
        (0x2000..=0x3fff, _) => None,
        (0, 0) if address.is_loopback() => Some("a loopback address"),
        (0xfc00..=0xfdff, _) => Some("a private address"),
        (0xfe80..=0xfebf, _) => Some("a link-local address"),
        (0xff00..=0xffff, _) => Some("a multicast address"),
        _ => Some("a reserved address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_pass() {
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
        ] {
            assert_eq!(special(public.parse().expect(public)), None, "{public}");
        }
        for hidden in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:a00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(special(hidden.parse().expect(hidden)).is_some(), "{hidden}");
        }
    }

    #[test]
    fn an_address_in_the_url_is_checked_however_it_is_written() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://0x7f000001/",
            "http://2130706433/",
            "http://017700000001/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::1]/",
        ] {
            assert!(check_literal(&Url::parse(url).expect(url)).is_err(), "{url}");
        }
        assert!(check_literal(&Url::parse("http://8.8.8.8/").expect("a URL")).is_ok());
        assert!(check_literal(&Url::parse("http://example.com/").expect("a URL")).is_ok());
    }
}
