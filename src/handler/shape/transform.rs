//! `transform`: a jq filter that makes one JSON value of an event's body.

use std::io;

use jaq_core::data::JustLut;
use jaq_core::load::{Arena, File, Loader};
use jaq_core::native::{Fun, bome, run, v};
use jaq_core::{Compiler, Ctx, Filter, Vars, load, unwrap_valr};
use jaq_json::{Val, read, write};

use super::{Failure, TRANSFORMED_BYTES_MAX, compiled, json, plain, sane};
use crate::event::Event;

type Data = JustLut<Val>;

/// What a filter on our side of the process must not do: read the environment, end the process, write
/// values to the log or to stderr.
const TAKEN_OUT: [&str; 8] = [
    "env",
    "halt",
    "halt_error",
    "stderr",
    "stderr_empty",
    "debug",
    "debug_empty",
    "input_filename",
];

/// Global variables of a filter, in the order of their values.
const VARIABLES: [&str; 2] = ["$event", "$headers"];

/// A compiled filter.
pub(super) struct Transform {
    filter: Filter<Data>,
}

impl Transform {
    /// Compiles; the fault says what is wrong, and where in the filter.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        sane(text)?;
        compiled(|| Self::compile(text))
    }

    fn compile(text: &str) -> Result<Self, String> {
        let kept = |def: &load::parse::Def<&'static str>| !TAKEN_OUT.contains(&def.name);
        let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs()).filter(kept);
        let arena = Arena::default();
        let modules = Loader::new(defs)
            .load(&arena, File { code: text, path: () })
            .map_err(|errors| not_jq(text, errors))?;
        let filter = Compiler::default()
            .with_funs(functions())
            .with_global_vars(VARIABLES)
            .compile(modules)
            .map_err(|errors| {
                let unknown = errors.iter().flat_map(|(_, errors)| errors).next();
                unknown.map_or_else(
                    || "is not jq".to_owned(),
                    |(name, what)| {
                        format!("names `{name}`: there is no such {} here", what.as_str())
                    },
                )
            })?;
        Ok(Self { filter })
    }

    /// The one value that the filter makes of the event's body, as JSON.
    pub(super) fn run(&self, event: &Event) -> Result<Vec<u8>, Failure> {
        // Strictly first: jaq reads more than JSON. Then by jaq, which keeps numbers as they are written.
        json::check(&event.body).map_err(|why| plain(format!("`transform`: {why}")))?;
        let body = read::parse_single(&event.body)
            .map_err(|_| plain("`transform`: the event's body isn't JSON"))?;
        let variables = Vars::new([facts(event), headers(event)]);
        let context = Ctx::<Data>::new(&self.filter.lut, variables);
        let mut outputs = self.filter.id.run((context, body)).map(unwrap_valr);
        let output = match outputs.next() {
            Some(Ok(output)) => output,
            Some(Err(error)) => return Err(failed(&error)),
            None => return Err(plain("`transform` gave no value; it must give one")),
        };
        match outputs.next() {
            None => written(&output),
            Some(Ok(_)) => {
                Err(plain("`transform` gave more than one value; put them into an array: […]"))
            }
            Some(Err(error)) => Err(failed(&error)),
        }
    }
}

/// jaq's own functions, but for what is taken out, and with a `fromjson` that nothing deep gets into.
fn functions() -> impl Iterator<Item = Fun<Data>> {
    let deep = |(name, _, _): &Fun<Data>| *name != "fromjson" && !TAKEN_OUT.contains(name);
    let fromjson = run::<Data>(("fromjson", v(0), |cv| {
        let fail = || jaq_core::Error::str("cannot parse as JSON");
        let read = |bytes: &[u8]| {
            if json::is_shallow(bytes) { read::parse_single(bytes).ok() } else { None }
        };
        let parsed = match &cv.1 {
            Val::TStr(bytes) => read(bytes),
            _ => None,
        };
        bome(parsed.ok_or_else(fail))
    }));
    let theirs = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    theirs.filter(deep).chain([fromjson])
}

fn not_jq(text: &str, errors: load::Errors<&str, ()>) -> String {
    let at = |rest: &str| {
        let before = text.len().saturating_sub(rest.len());
        let rest: String = rest.chars().take(20).collect();
        match text.get(..before) {
            _ if rest.is_empty() => "its end".to_owned(),
            Some(before) if text.ends_with(&rest) || !rest.is_empty() => {
                format!("line {}, at `{rest}`", before.matches('\n').count() + 1)
            }
            _ => format!("`{rest}`"),
        }
    };
    match errors.into_iter().next().map(|(_, error)| error) {
        Some(load::Error::Lex(errors)) => match errors.first() {
            Some((expected, rest)) => {
                format!("is not jq: a {} is expected at {}", expected.as_str(), at(rest))
            }
            None => "is not jq".to_owned(),
        },
        Some(load::Error::Parse(errors)) => match errors.first() {
            Some((expected, rest)) => {
                format!("is not jq: {} is expected at {}", expected.as_str(), at(rest))
            }
            None => "is not jq".to_owned(),
        },
        Some(load::Error::Io(_)) => {
            "imports a module: everything must stand in the filter".to_owned()
        }
        None => "is not jq".to_owned(),
    }
}

/// jaq's own text quotes the values that it is about; the cause doesn't.
fn failed(error: &jaq_json::Error) -> Failure {
    let text = error.to_string();
    let cause = if text.starts_with("cannot index ") {
        "it looks for a field in what isn't an object"
    } else if text.starts_with("cannot use ") {
        "a value has another type than the filter needs"
    } else if text.starts_with("cannot calculate ") {
        "it calculates with what isn't a number"
    } else {
        "the filter raised an error"
    };
    Failure {
        cause: format!("`transform`: {cause}"),
        detail: format!("`transform`: {}", text.chars().take(500).collect::<String>()),
    }
}

/// A writer that refuses to grow over [`TRANSFORMED_BYTES_MAX`].
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > TRANSFORMED_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn written(output: &Val) -> Result<Vec<u8>, Failure> {
    let mut bytes = Bounded(Vec::new());
    write::write(&mut bytes, &write::Pp::default(), 0, output).map_err(|_too_large| {
        plain(format!("`transform` gave more than {TRANSFORMED_BYTES_MAX} bytes"))
    })?;
    // jaq has values that JSON hasn't, and writes them: NaN, bytes, keys that are no strings.
    match serde_json::from_slice::<&serde_json::value::RawValue>(&bytes.0) {
        Ok(_) => Ok(bytes.0),
        Err(_) => Err(plain("`transform` gave a value that JSON can't hold, such as NaN")),
    }
}

fn text(text: impl Into<String>) -> Val {
    Val::from(text.into())
}

fn facts(event: &Event) -> Val {
    let received = event.received_at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let facts = [
        ("id", event.event_id.clone()),
        ("type", event.kind.clone()),
        ("source", event.source.to_string()),
        ("received_at", received),
        ("uuid", event.id.to_string()),
    ];
    Val::obj(facts.into_iter().map(|(key, value)| (text(key), text(value))).collect())
}

/// By lower-case name; the values of a repeated one joined by `, `, as for `when`.
fn headers(event: &Event) -> Val {
    let joined = super::condition::joined_headers(event);
    Val::obj(joined.into_iter().map(|(name, value)| (text(name), text(value))).collect())
}
