//! The leaf values that a file may say, each with its own words for what is wrong.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use chrono::NaiveTime;
use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

use crate::handler::control::Rate;
use crate::retry::Backoff;

/// A value that is written as a text in a form of its own.
pub(crate) trait Written: Sized {
    /// The name in the JSON Schema.
    const NAME: &'static str;
    /// What is expected, with an example.
    const EXPECTED: &'static str;
    /// Reads the text; the error says what is wrong with it.
    fn read(text: &str) -> Result<Self, String>;
}

/// A field that is written as a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text<T>(pub(crate) T);

impl<'de, T: Written> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading<T>(PhantomData<T>);
        impl<T: Written> Visitor<'_> for Reading<T> {
            type Value = Text<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<T>, E> {
                T::read(text.trim()).map(Text).map_err(|why| {
                    let shown: String = text.chars().take(80).collect();
                    E::custom(format!("`{shown}` is not {}: {why}", T::EXPECTED))
                })
            }
        }
        deserializer.deserialize_str(Reading(PhantomData))
    }
}

impl<T: Written> JsonSchema for Text<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::NAME.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": T::EXPECTED })
    }
}

/// A span of time.
pub(crate) type Span = Text<Duration>;

impl Written for Duration {
    const NAME: &'static str = "Duration";
    const EXPECTED: &'static str = "a duration such as \"5m\", \"2.5s\" or \"35d\"";

    fn read(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text).map_err(|why| why.to_string())
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) usize);

impl Written for Bytes {
    const NAME: &'static str = "Size";
    const EXPECTED: &'static str = "a size such as \"8 MiB\" or \"512 KiB\"";

    fn read(text: &str) -> Result<Self, String> {
        let size = bytesize::ByteSize::from_str(text)?;
        usize::try_from(size.as_u64()).map(Self).map_err(|_| "it is too large".to_owned())
    }
}

impl Written for IpNet {
    const NAME: &'static str = "Network";
    const EXPECTED: &'static str = "an address or a network such as \"10.0.0.0/8\"";

    fn read(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<std::net::IpAddr>() {
            return Ok(Self::from(address));
        }
        let network: Self = text.parse().map_err(|_| "it can't be read".to_owned())?;
        if network.trunc() != network {
            return Err(format!("it has bits beyond its prefix; write \"{}\"", network.trunc()));
        }
        Ok(network)
    }
}

impl Written for std::net::SocketAddr {
    const NAME: &'static str = "Listen";
    const EXPECTED: &'static str = "an address and port such as \"127.0.0.1:8080\"";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| match text.strip_prefix("localhost:") {
            Some(port) => format!("write \"127.0.0.1:{port}\""),
            None => "names are not looked up here".to_owned(),
        })
    }
}

impl Written for url::Url {
    const NAME: &'static str = "Url";
    const EXPECTED: &'static str = "a URL such as \"https://billing.internal/stripe\"";

    fn read(text: &str) -> Result<Self, String> {
        let url: Self = text.parse().map_err(|why: url::ParseError| why.to_string())?;
        match url.scheme() {
            "http" | "https" if url.has_host() => Ok(url),
            _ => Err("it must begin with http:// or https://".to_owned()),
        }
    }
}

/// Reads `100/s`: how many, and in how many seconds.
fn ratio(text: &str) -> Result<(u32, u32), String> {
    let (count, unit) = text.split_once('/').ok_or("there is no `/`")?;
    let count = count.trim().parse().map_err(|_| "the count is not a whole number")?;
    match unit.trim() {
        "s" => Ok((count, 1)),
        "m" => Ok((count, 60)),
        "h" => Ok((count, 3600)),
        _ => Err("the unit is none of s, m and h".to_owned()),
    }
}

/// How many a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PerSecond(pub(crate) u32);

impl Written for PerSecond {
    const NAME: &'static str = "Rate";
    const EXPECTED: &'static str = "a rate such as \"100/s\" or \"6000/m\"";

    fn read(text: &str) -> Result<Self, String> {
        let (count, seconds) = ratio(text)?;
        if count == 0 || !count.is_multiple_of(seconds) {
            return Err("it must come to 1, 2, 3 … a second".to_owned());
        }
        Ok(Self(count / seconds))
    }
}

/// So many in a second, a minute or an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace(pub(crate) Rate);

impl Written for Pace {
    const NAME: &'static str = "Pace";
    const EXPECTED: &'static str = "a rate such as \"50/s\" or \"10/m\"";

    fn read(text: &str) -> Result<Self, String> {
        let (calls, seconds) = ratio(text)?;
        if calls == 0 {
            return Err("a rate of nothing would stop it: pause it instead".to_owned());
        }
        Ok(Self(Rate { calls, per: Duration::from_secs(seconds.into()) }))
    }
}

/// A cron expression with seconds, normalised to six fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schedule(pub(crate) String);

impl Written for Schedule {
    const NAME: &'static str = "Schedule";
    const EXPECTED: &'static str =
        "a schedule in UTC such as \"0 */5 * * * *\", \"*/5 * * * *\" or \"@hourly\"";

    fn read(text: &str) -> Result<Self, String> {
        let six = match text {
            "@hourly" => "0 0 * * * *".to_owned(),
            "@daily" | "@midnight" => "0 0 0 * * *".to_owned(),
            "@weekly" => "0 0 0 * * 0".to_owned(),
            "@monthly" => "0 0 0 1 * *".to_owned(),
            "@yearly" | "@annually" => "0 0 0 1 1 *".to_owned(),
            _ if text.starts_with('@') => {
                return Err("known are @hourly, @daily, @weekly, @monthly and @yearly".to_owned());
            }
            _ => match text.split_whitespace().count() {
                5 => format!("0 {}", text.split_whitespace().collect::<Vec<_>>().join(" ")),
                6 => text.split_whitespace().collect::<Vec<_>>().join(" "),
                n => return Err(format!("it has {n} fields, not five or six")),
            },
        };
        // The same settings as the scheduler's own parser, so that what passes here runs there.
        let cron = croner::parser::CronParser::builder()
            .seconds(croner::parser::Seconds::Required)
            .dom_and_dow(true)
            .build()
            .parse(&six)
            .map_err(|why| why.to_string())?;
        cron.find_next_occurrence(&chrono::Utc::now(), false)
            .map_err(|_| "it never comes".to_owned())?;
        Ok(Self(six))
    }
}

/// Two times of day, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window(pub(crate) NaiveTime, pub(crate) NaiveTime);

impl Written for Window {
    const NAME: &'static str = "Window";
    const EXPECTED: &'static str = "two times of day in UTC such as \"01:00-05:00\"";

    fn read(text: &str) -> Result<Self, String> {
        let (from, to) = text.split_once('-').ok_or("there is no `-`")?;
        let time = |text: &str| {
            NaiveTime::parse_from_str(text.trim(), "%H:%M")
                .map_err(|_| format!("`{}` is not a time of day", text.trim()))
        };
        let (from, to) = (time(from)?, time(to)?);
        if from == to {
            return Err("it begins when it ends".to_owned());
        }
        Ok(Self(from, to))
    }
}

/// `"10s..1h"`, or a list of durations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waits(pub(crate) Backoff);

impl Waits {
    const EXPECTED: &'static str = "\"10s..1h\" or a list of durations such as [\"1s\", \"5s\"]";
}

impl<'de> Deserialize<'de> for Waits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;
        impl<'de> Visitor<'de> for Reading {
            type Value = Waits;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(Waits::EXPECTED)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Waits, E> {
                let (first, max) = text
                    .split_once("..")
                    .ok_or_else(|| E::custom(format!("expected {}", Waits::EXPECTED)))?;
                let span = |text: &str| {
                    Duration::read(text.trim()).map_err(|why| {
                        E::custom(format!("`{}` is not {}: {why}", text.trim(), Duration::EXPECTED))
                    })
                };
                let (first, max) = (span(first)?, span(max)?);
                if first.is_zero() || first > max {
                    return Err(E::custom("the first wait must be over 0 and at most the last"));
                }
                Ok(Waits(Backoff::Exponential { first, max }))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Waits, A::Error> {
                let mut waits = Vec::new();
                while let Some(Text(wait)) = seq.next_element::<Span>()? {
                    waits.push(wait);
                }
                if waits.is_empty() {
                    return Err(de::Error::custom("the list of waits is empty"));
                }
                Ok(Waits(Backoff::List(waits)))
            }
        }
        deserializer.deserialize_any(Reading)
    }
}

impl JsonSchema for Waits {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Backoff".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": Self::EXPECTED,
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }]
        })
    }
}

/// One text, or a list of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;
        impl<'de> Visitor<'de> for Reading {
            type Value = Names;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or a list of names")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Names, E> {
                Ok(Names(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element::<String>()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_any(Reading)
    }
}

impl JsonSchema for Names {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Names".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}
