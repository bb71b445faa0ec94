//! The `log` handler: one line an event, never its body.

use super::{Context, Handler, Outcome};
use crate::event::Event;

/// Writes one line at `info` for each delivery and is done.
#[derive(Debug, Clone, Copy)]
pub struct LogHandler;

#[async_trait::async_trait]
impl Handler for LogHandler {
    async fn handle(&self, event: &Event, context: &Context) -> Outcome {
        // The id and the type are the provider's words: recorded as text fields, which the log writer
        // escapes, and not as part of the message.
        tracing::info!(
            handler.name = %context.handler,
            source.name = %event.source,
            event.id = %event.id,
            event.provider_id = event.event_id.as_str(),
            event.kind = event.kind.as_str(),
            event.received_at = %event.received_at.to_rfc3339(),
            body.bytes = event.body.len(),
            delivery.id = %context.delivery,
            delivery.attempt = context.attempt,
            "event {} from {}", event.id, event.source
        );
        Outcome::done()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::handler::sample;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no panic while held").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn one_line_names_the_event_and_never_holds_its_body() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let mut event = sample::event(b"{\"canary\":\"s3cr3t-body\"}");
        event.event_id = "evt_1\nforged line".to_owned();
        let guard = tracing::subscriber::set_default(subscriber);
        let outcome = LogHandler.handle(&event, &sample::context()).await;
        drop(guard);
        assert_eq!(outcome, Outcome::done());
        let text =
            String::from_utf8(lines.0.lock().expect("no panic while held").clone()).expect("UTF-8");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(&event.id.to_string()) && text.contains("evt_1"), "{text}");
        assert!(!text.contains("s3cr3t-body"), "{text}");
    }
}
