//! Who waits for the answer of a handler, to pass it on to the sender.
//!
//! Whoever receives an event listens, whoever settles its delivery tells. Nobody waits for anybody
//! here, and nothing depends on it: what another replica settled is found in the database.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use entity::Name;
use tokio::sync::oneshot;
use uuid::Uuid;

/// The most bytes of an answer that is passed on; a longer one is kept as any response is, and the sender
/// gets the usual ack.
pub const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Listeners at once; who comes later gets the usual ack. Each holds a request of the sender's open.
const LISTENERS_MAX: usize = 4096;

/// What a handler answers to the sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// From 200 to 299.
    pub status: u16,
    /// As the handler said it, or what the body looks like.
    pub content_type: String,
    /// At most [`ANSWER_BYTES_MAX`].
    pub body: Bytes,
}

/// What became of a try: its answer, or none that could be passed on.
pub type Told = Option<Answer>;

type Listeners = HashMap<(Uuid, Name), Vec<(u64, oneshot::Sender<Told>)>>;

/// Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Answers(Arc<Mutex<Registry>>);

#[derive(Debug, Default)]
struct Registry {
    listeners: Listeners,
    count: usize,
    next: u64,
}

/// Waits for one answer; forgotten when dropped.
#[derive(Debug)]
pub struct Listener {
    answers: Answers,
    key: (Uuid, Name),
    number: u64,
    told: oneshot::Receiver<Told>,
}

impl Answers {
    /// Listens for what becomes of an event's delivery to a handler. `None` when too many do.
    #[must_use]
    pub fn listen(&self, event: Uuid, handler: &Name) -> Option<Listener> {
        let mut registry = self.locked();
        if registry.count >= LISTENERS_MAX {
            return None;
        }
        let (tell, told) = oneshot::channel();
        let (key, number) = ((event, handler.clone()), registry.next);
        registry.next += 1;
        registry.count += 1;
        registry.listeners.entry(key.clone()).or_default().push((number, tell));
        Some(Listener { answers: self.clone(), key, number, told })
    }

    /// Tells all who listen. Call it when what is told is durable.
    pub fn tell(&self, event: Uuid, handler: &Name, told: &Told) {
        let listeners = {
            let mut registry = self.locked();
            if registry.count == 0 {
                return;
            }
            let listeners = registry.listeners.remove(&(event, handler.clone()));
            let listeners = listeners.unwrap_or_default();
            registry.count -= listeners.len();
            listeners
        };
        for (_, tell) in listeners {
            // Who is gone by now needs it no more.
            if tell.send(told.clone()).is_err() {
                tracing::debug!(event.id = %event, "nobody waits for this answer any more");
            }
        }
    }

    /// Nothing that holds the lock can panic half-way.
    fn locked(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    /// What became of the try. `None` inside when it has no answer; the outer one when nobody will tell.
    pub async fn told(&mut self) -> Option<Told> {
        (&mut self.told).await.ok()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut registry = self.answers.locked();
        let Some(listeners) = registry.listeners.get_mut(&self.key) else { return };
        let before = listeners.len();
        listeners.retain(|(number, _)| *number != self.number);
        let gone = before - listeners.len();
        if listeners.is_empty() {
            registry.listeners.remove(&self.key);
        }
        registry.count -= gone;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Answer {
        Answer {
            status: 200,
            content_type: "text/plain".to_owned(),
            body: Bytes::from_static(b"x"),
        }
    }

    #[tokio::test]
    async fn all_who_listen_are_told_and_nobody_else() {
        let (answers, name) = (Answers::default(), Name::new("slash").expect("a name"));
        let (event, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut one = answers.listen(event, &name).expect("room");
        let mut two = answers.listen(event, &name).expect("room");
        let mut three = answers.listen(other, &name).expect("room");
        answers.tell(event, &name, &Some(answer()));
        assert_eq!(one.told().await, Some(Some(answer())));
        assert_eq!(two.told().await, Some(Some(answer())));
        assert!(futures::poll!(Box::pin(three.told())).is_pending());
        answers.tell(other, &Name::new("b").expect("a name"), &None);
        answers.tell(other, &name, &None);
        assert_eq!(three.told().await, Some(None));
    }

    #[test]
    fn who_stops_listening_leaves_nothing_behind() {
        let (answers, name) = (Answers::default(), Name::new("slash").expect("a name"));
        let event = Uuid::from_u128(1);
        let listeners: Vec<_> = (0..3).filter_map(|_| answers.listen(event, &name)).collect();
        assert_eq!(answers.locked().count, 3);
        drop(listeners);
        answers.tell(event, &name, &None);
        let registry = answers.locked();
        assert!(registry.listeners.is_empty() && registry.count == 0);
    }

    #[test]
    fn there_is_an_end_to_those_who_listen() {
        let (answers, name) = (Answers::default(), Name::new("slash").expect("a name"));
        let listen = || answers.listen(Uuid::nil(), &name);
        let mut all: Vec<_> = (0..LISTENERS_MAX).map_while(|_| listen()).collect();
        assert_eq!(all.len(), LISTENERS_MAX);
        assert!(listen().is_none());
        all.pop();
        assert!(listen().is_some());
    }
}
