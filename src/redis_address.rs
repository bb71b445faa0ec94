//! Where a Redis is.

use std::error::Error as _;
use std::fmt;

use redis::{ConnectionAddr, IntoConnectionInfo, RedisError};

use crate::secret::{Fingerprint, Secret};

/// The URL of a Redis, checked. It may hold a password, so `Debug` and `Display` show it without.
#[derive(Clone)]
pub struct RedisAddress {
    url: Secret,
    shown: String,
}

impl RedisAddress {
    /// Checks `redis://` (or `rediss://` for TLS) with user, password, host, port and database. The error says
    /// what is wrong and shows nothing of the URL.
    pub fn new(url: Secret) -> Result<Self, String> {
        let text = url.expose();
        if !text.starts_with("redis://") && !text.starts_with("rediss://") {
            return Err(
                "must begin with redis:// or rediss://, such as redis://127.0.0.1:6379".to_owned()
            );
        }
        let parsed = url::Url::parse(text).map_err(|why| format!("can't be read: {why}"))?;
        if parsed.fragment().is_some() {
            return Err("has a part after `#`: certificates are always checked".to_owned());
        }
        let info = text
            .into_connection_info()
            .map_err(|_| "is no Redis URL: write redis://user:password@host:port/database")?;
        let shown = match info.addr() {
            ConnectionAddr::Tcp(host, port) => format!("redis://{host}:{port}"),
            ConnectionAddr::TcpTls { host, port, .. } => format!("rediss://{host}:{port}"),
            _ => return Err("names no host".to_owned()),
        };
        let shown = format!("{shown}/{}", info.redis_settings().db());
        Ok(Self { url, shown })
    }

    pub(crate) fn url(&self) -> &str {
        self.url.expose()
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.url.fingerprint()
    }
}

/// What went wrong: of an error on the wire its cause as well, such as a certificate; of another one its kind alone, as
/// its own words could hold what was asked for.
pub(crate) fn kind_of(error: &RedisError) -> String {
    match error.source().filter(|_| error.is_io_error()) {
        Some(cause) => format!("{:?}: {cause}", error.kind()),
        None => format!("{:?}", error.kind()),
    }
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisAddress({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("redis://127.0.0.1:6379", "redis://127.0.0.1:6379/0"),
            ("rediss://ann:hunter2@cache.internal/3", "rediss://cache.internal:6379/3"),
        ] {
            let address = RedisAddress::new(Secret::new(url.to_owned())).unwrap();
            assert_eq!(address.to_string(), shown);
            assert!(!format!("{address:?}").contains("hunter2"));
        }
        for url in ["", "http://hunter2@x", "redis://:hunter2@", "rediss://x:hunter2@h/#insecure"] {
            let why = RedisAddress::new(Secret::new(url.to_owned())).unwrap_err();
            assert!(!why.contains("hunter2"), "{why}");
        }
    }
}
