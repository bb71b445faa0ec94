//! Where a RabbitMQ is.

use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use percent_encoding::percent_decode_str;
use url::Url;

use crate::secret::Secret;

/// Seconds between signs of life: a connection without any is given up after twice that.
const HEARTBEAT: u16 = 20;

/// The most bytes of a virtual host's name.
const VHOST_BYTES_MAX: usize = 255;

/// The URL of a RabbitMQ, checked. It may hold a password, so `Debug` and `shown` have none.
#[derive(Clone)]
pub struct AmqpServer {
    url: Secret,
    shown: String,
}

impl std::fmt::Debug for AmqpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AmqpServer({})", self.shown)
    }
}

impl AmqpServer {
    /// Checks `amqp://` (or `amqps://` for TLS) with user, password, host, port and virtual host, as
    /// RabbitMQ defines them: without a path the virtual host is `/`, without a user it is `guest`. The
    /// error says what is wrong and shows nothing of the URL.
    pub fn new(url: Secret) -> Result<Self, String> {
        let (uri, path) = parsed(url.expose())?;
        let AMQPAuthority { host, port, .. } = &uri.authority;
        let brackets = if host.contains(':') { ("[", "]") } else { ("", "") };
        let shown = format!("{}://{}{host}{}:{port}{path}", uri.scheme, brackets.0, brackets.1);
        Ok(Self { url, shown })
    }

    /// Without user and password.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    pub(super) fn uri(&self) -> Result<AMQPUri, String> {
        parsed(self.url.expose()).map(|(uri, _)| uri)
    }
}

/// What the text means, and its path as it is written. Not by lapin's own reader: that one takes an IPv6
/// address for localhost, and puts texts of the URL into its errors.
fn parsed(text: &str) -> Result<(AMQPUri, String), String> {
    let (scheme, port) = match text.split_once("://").map(|(scheme, _)| scheme) {
        Some("amqp") => (AMQPScheme::AMQP, 5672),
        Some("amqps") => (AMQPScheme::AMQPS, 5671),
        _ => {
            return Err(
                "must begin with amqp:// or amqps://, such as amqp://127.0.0.1:5672".to_owned()
            );
        }
    };
    let url = Url::parse(text).map_err(|why| format!("can't be read: {why}"))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(
            "has a part after `?` or `#`, which isn't read: leave it out, or write %3F and %23"
                .to_owned(),
        );
    }
    let host = match url.host_str() {
        Some(host) if !host.is_empty() => host.trim_matches(['[', ']']).to_owned(),
        _ => return Err("names no host".to_owned()),
    };
    let decoded = |part: &str| match percent_decode_str(part).decode_utf8() {
        Ok(part) => Ok(part.into_owned()),
        Err(_) => Err("has bytes after a `%` that are no text".to_owned()),
    };
    let username = match url.username() {
        "" => "guest".to_owned(),
        name => decoded(name)?,
    };
    let password = url.password().map_or_else(|| Ok("guest".to_owned()), decoded)?;
    let vhost = url.path().strip_prefix('/').map_or_else(|| Ok("/".to_owned()), decoded)?;
    if vhost.len() > VHOST_BYTES_MAX {
        return Err(format!("names a virtual host of more than {VHOST_BYTES_MAX} bytes"));
    }
    let authority = AMQPAuthority {
        userinfo: AMQPUserInfo { username, password },
        host,
        port: url.port().unwrap_or(port),
    };
    let query = AMQPQueryString { heartbeat: Some(HEARTBEAT), ..AMQPQueryString::default() };
    Ok((AMQPUri { scheme, authority, vhost, query }, url.path().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> Result<AmqpServer, String> {
        AmqpServer::new(Secret::new(url.to_owned()))
    }

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("amqp://127.0.0.1", "amqp://127.0.0.1:5672"),
            ("amqps://ann:hunter2@mq.internal/orders", "amqps://mq.internal:5671/orders"),
            ("amqp://ann:hunter2@[::1]:1/%2f", "amqp://[::1]:1/%2f"),
        ] {
            let server = server(url).expect(url);
            assert_eq!(server.shown(), shown);
            assert!(!format!("{server:?}").contains("hunter2"));
        }
        for url in [
            "",
            "http://ann:hunter2@x",
            "amqp://ann:hunter2@",
            "amqp://ann:hunter2@x:port",
            "amqp://ann:hunter2@x/?heartbeat=1",
            "amqp://ann:hunter2%ff@x",
            "amqp://ann:hunter2#@x",
        ] {
            let why = server(url).expect_err(url);
            assert!(!why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn a_url_means_what_rabbitmq_says_it_means() {
        for (url, user, password, host, port, vhost) in [
            ("amqp://mq", "guest", "guest", "mq", 5672, "/"),
            ("amqp://mq/", "guest", "guest", "mq", 5672, ""),
            ("amqp://a%40b:c%2Fd@mq:1/%2f", "a@b", "c/d", "mq", 1, "/"),
            ("amqps://ann:x@[::1]/orders", "ann", "x", "::1", 5671, "orders"),
        ] {
            let uri = server(url).and_then(|server| server.uri()).expect(url);
            let AMQPAuthority { userinfo, host: its_host, port: its_port } = uri.authority;
            assert_eq!((userinfo.username.as_str(), userinfo.password.as_str()), (user, password));
            assert_eq!((its_host.as_str(), its_port, uri.vhost.as_str()), (host, port, vhost));
        }
    }
}
