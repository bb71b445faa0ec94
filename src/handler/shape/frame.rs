//! What the daemon and a worker of it say to one another: frames of a length (four bytes, big-endian) and so
//! many bytes, which hold fields of the same form.
//!
//! The daemon sends the expressions, then an event a request. The worker answers each with one frame:
//! the version that it is of, or what the expressions made of the event.

use std::io;

use bytes::Bytes;
use chrono::DateTime;
use entity::Name;
use uuid::Uuid;

use super::{EXPRESSION_BYTES_MAX, Failure, Made, ShapeSettings, TRANSFORMED_BYTES_MAX};
use crate::event::Event;
use crate::received::Headers;

/// The length before a frame or a field.
pub(super) const LENGTH_BYTES: usize = 4;

/// The longest request: more than any body that could be parsed in a worker's memory.
pub(super) const REQUEST_BYTES_MAX: usize = 1 << 30;

/// The longest first frame: both expressions.
pub(super) const SETTINGS_BYTES_MAX: usize = 2 * (LENGTH_BYTES + EXPRESSION_BYTES_MAX);

/// The longest answer: what a filter may make, or a failure's texts.
pub(super) const ANSWER_BYTES_MAX: usize = TRANSFORMED_BYTES_MAX + EXPRESSION_BYTES_MAX;

/// The longest text of a failure. A cause may quote a name as long as an expression; what is longer is cut, because
/// a failure that can't be told would be taken for a process that hangs.
const TEXT_BYTES_MAX: usize = 4 * EXPRESSION_BYTES_MAX;

/// How an answer begins.
const MADE: u8 = 0;
const FAILED: u8 = 1;
const WHOLE: u8 = 2;
const SKIPPED: u8 = 3;

/// The length that a frame announces, when it is at most `most`.
pub(super) fn length(bytes: [u8; LENGTH_BYTES], most: usize) -> io::Result<usize> {
    usize::try_from(u32::from_be_bytes(bytes))
        .ok()
        .filter(|length| *length <= most)
        .ok_or_else(|| invalid("a frame is too long"))
}

/// A frame of these bytes.
pub(super) fn frame(content: &[&[u8]]) -> io::Result<Vec<u8>> {
    let length = content.iter().map(|part| part.len()).sum::<usize>();
    let announced = u32::try_from(length).map_err(|_| invalid("a frame is too long"))?;
    let mut frame = Vec::with_capacity(LENGTH_BYTES + length);
    frame.extend_from_slice(&announced.to_be_bytes());
    content.iter().for_each(|part| frame.extend_from_slice(part));
    Ok(frame)
}

/// The frame of expressions; one that there isn't is empty, which none may be.
pub(super) fn settings(settings: &ShapeSettings) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    for text in [&settings.when, &settings.transform] {
        put(&mut content, text.as_deref().unwrap_or_default().as_bytes())?;
    }
    frame(&[&content])
}

/// The expressions of the first frame's content.
pub(super) fn expressions(content: &[u8]) -> io::Result<ShapeSettings> {
    let mut rest = content;
    let mut next = || text(&mut rest).map(|it| Some(it).filter(|it| !it.is_empty()));
    Ok(ShapeSettings { when: next()?, transform: next()? })
}

/// The frame of an event, and of whether `when` is to be judged of it too.
pub(super) fn request(event: &Event, also_when: bool) -> io::Result<Vec<u8>> {
    let mut facts = Vec::with_capacity(256);
    facts.push(u8::from(also_when));
    facts.extend_from_slice(event.id.as_bytes());
    facts.extend_from_slice(&event.received_at.timestamp().to_be_bytes());
    facts.extend_from_slice(&event.received_at.timestamp_subsec_nanos().to_be_bytes());
    let texts = [event.source.as_str(), &event.event_id, &event.kind].map(str::as_bytes);
    for field in texts.into_iter().chain([event.headers.as_bytes()]) {
        put(&mut facts, field)?;
    }
    let whole = facts.len() + event.body.len();
    if whole > REQUEST_BYTES_MAX {
        return Err(invalid("an event is too long for a worker"));
    }
    frame(&[&facts, &event.body])
}

/// The event of a request's content, and whether `when` is to be judged of it too.
pub(super) fn event(content: Vec<u8>) -> io::Result<(Event, bool)> {
    let content = Bytes::from(content);
    let mut rest = &content[..];
    let [also_when] = array(&mut rest)?;
    let id = Uuid::from_bytes(array(&mut rest)?);
    let seconds = i64::from_be_bytes(array(&mut rest)?);
    let nanos = u32::from_be_bytes(array(&mut rest)?);
    // What it says quotes the text.
    let source = Name::new(&text(&mut rest)?).map_err(|_quotes| invalid("a source has no name"))?;
    let event = Event {
        id,
        source,
        event_id: text(&mut rest)?,
        kind: text(&mut rest)?,
        received_at: DateTime::from_timestamp(seconds, nanos)
            .ok_or_else(|| invalid("a time is out of range"))?,
        headers: Headers::from_bytes(field(&mut rest)?),
        body: content.slice_ref(rest),
    };
    Ok((event, also_when != 0))
}

/// The frame of what expressions made.
pub(super) fn answer(made: &Result<Made, Failure>) -> io::Result<Vec<u8>> {
    match made {
        Ok(Made::Body(body)) => frame(&[&[MADE], body]),
        Ok(Made::Whole) => frame(&[&[WHOLE]]),
        Ok(Made::Skipped) => frame(&[&[SKIPPED]]),
        Err(Failure { cause, detail }) => {
            let mut texts = vec![FAILED];
            put(&mut texts, cut(cause).as_bytes())?;
            frame(&[&texts, cut(detail).as_bytes()])
        }
    }
}

/// What the expressions made, of an answer's content.
pub(super) fn made(mut content: Vec<u8>) -> io::Result<Result<Made, Failure>> {
    match content.first() {
        Some(&MADE) => {
            content.remove(0);
            Ok(Ok(Made::Body(content)))
        }
        Some(&WHOLE) if content.len() == 1 => Ok(Ok(Made::Whole)),
        Some(&SKIPPED) if content.len() == 1 => Ok(Ok(Made::Skipped)),
        Some(&FAILED) => {
            let mut rest = &content[1..];
            let cause = text(&mut rest)?;
            let detail = String::from_utf8_lossy(rest).into_owned();
            Ok(Err(Failure { cause, detail }))
        }
        _ => Err(invalid("an answer begins with an unknown byte")),
    }
}

/// As much of a text as fits.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

fn put(into: &mut Vec<u8>, field: &[u8]) -> io::Result<()> {
    let length = u32::try_from(field.len()).map_err(|_| invalid("a field is too long"))?;
    into.extend_from_slice(&length.to_be_bytes());
    into.extend_from_slice(field);
    Ok(())
}

fn array<const N: usize>(rest: &mut &[u8]) -> io::Result<[u8; N]> {
    let (first, others) =
        rest.split_first_chunk().ok_or_else(|| invalid("a frame ends too soon"))?;
    *rest = others;
    Ok(*first)
}

fn field<'a>(rest: &mut &'a [u8]) -> io::Result<&'a [u8]> {
    let length = length(array(rest)?, REQUEST_BYTES_MAX)?;
    let (first, others) =
        rest.split_at_checked(length).ok_or_else(|| invalid("a frame ends too soon"))?;
    *rest = others;
    Ok(first)
}

fn text(rest: &mut &[u8]) -> io::Result<String> {
    String::from_utf8(field(rest)?.to_vec()).map_err(|_| invalid("a text isn't UTF-8"))
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::sample;

    #[test]
    fn an_event_survives_the_pipe_and_a_cut_one_is_refused() {
        let mut event = sample::event(b"{\"a\": 1}");
        event.headers.push("x-odd", b" \xff: tail ");
        event.headers.push("x-odd", b"");
        let frame = request(&event, true).expect("a frame");
        let (head, content) = frame.split_at(LENGTH_BYTES);
        let announced = length(head.try_into().expect("four bytes"), REQUEST_BYTES_MAX);
        assert_eq!(announced.expect("a length"), content.len());
        let (back, also_when) = super::event(content.to_vec()).expect("an event");
        assert_eq!(format!("{back:?}"), format!("{event:?}"));
        assert!(also_when);
        let without = request(&event, false).expect("a frame")[LENGTH_BYTES..].to_vec();
        assert!(!super::event(without).expect("an event").1);
        // What comes before the body can't be cut without notice.
        for end in 0..content.len() - event.body.len() {
            assert!(super::event(content[..end].to_vec()).is_err(), "{end}");
        }
    }

    #[test]
    fn expressions_survive_the_pipe() {
        let text = |text: &str| Some(text.to_owned());
        for (when, transform) in
            [(None, text(".")), (text("é"), None), (text("a"), text("b")), (None, None)]
        {
            let given = ShapeSettings { when, transform };
            let frame = settings(&given).expect("a frame");
            assert_eq!(expressions(&frame[LENGTH_BYTES..]).expect("expressions"), given);
            assert!(expressions(&frame[LENGTH_BYTES..frame.len() - 1]).is_err());
        }
    }

    #[test]
    fn an_answer_survives_the_pipe() {
        let failure = Failure { cause: "because".to_owned(), detail: "of “this”".to_owned() };
        let bodies = [b"{}".to_vec(), Vec::new()].map(|body| Ok(Made::Body(body)));
        let others = [Ok(Made::Whole), Ok(Made::Skipped), Err(failure)];
        for answered in bodies.into_iter().chain(others) {
            let frame = answer(&answered).expect("a frame");
            assert_eq!(made(frame[LENGTH_BYTES..].to_vec()).expect("an answer"), answered);
        }
        let long = "é".repeat(TRANSFORMED_BYTES_MAX);
        let failure = Err(Failure { cause: format!("x{long}"), detail: long });
        let frame = answer(&failure).expect("a frame");
        assert!(frame.len() - LENGTH_BYTES <= ANSWER_BYTES_MAX, "it can be read");
        let told = made(frame[LENGTH_BYTES..].to_vec()).expect("an answer").expect_err("a failure");
        assert_eq!(told.cause, format!("x{}", "é".repeat(TEXT_BYTES_MAX / 2 - 1)));
        assert_eq!(told.detail, "é".repeat(TEXT_BYTES_MAX / 2));
        for bad in [&b""[..], b"\x07", b"\x02x", b"\x03x", b"\x01\0\0", b"\x01\0\0\0\x09abc"] {
            assert!(made(bad.to_vec()).is_err(), "{bad:?}");
        }
        assert!(length(*b"\x40\0\0\x01", REQUEST_BYTES_MAX).is_err());
    }
}
