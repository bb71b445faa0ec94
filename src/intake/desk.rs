//! Where a thread's answers arrive.
//!
//! The HTTP framework's workers are threads with a runtime each, and to wake a task of another thread's
//! runtime is a system call. One a batch and thread is enough: the recorder sends all answers for one
//! thread as one parcel, and they are handed out there, where waking a task costs next to nothing.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::near::Near;
use crate::store::{Recorded, StoreError};

/// Where the answers to what one thread submits arrive. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Desk {
    parcels: mpsc::UnboundedSender<Vec<Letter>>,
    /// Commits what is submitted from here while nothing else waits.
    pub(super) near: Option<Arc<Near>>,
}

/// An answer, and who waits for it.
#[derive(Debug)]
pub(super) enum Letter {
    One(oneshot::Sender<Result<Recorded, StoreError>>, Result<Recorded, StoreError>),
    Many(oneshot::Sender<Result<Vec<Recorded>, StoreError>>, Result<Vec<Recorded>, StoreError>),
}

impl Desk {
    /// A desk, and what hands out its answers: to be run as a task of the thread that waits for them.
    ///
    /// When that task ends before its time, answers are handed over one by one. Bounded by what may
    /// wait for the database: each answer's event was in the recorder's queue.
    pub(super) fn open(near: Option<Near>) -> (Self, impl Future<Output = ()> + 'static) {
        let (parcels, mut arriving) = mpsc::unbounded_channel::<Vec<Letter>>();
        let hand_out = async move {
            while let Some(parcel) = arriving.recv().await {
                parcel.into_iter().for_each(Letter::deliver);
            }
        };
        (Self { parcels, near: near.map(Arc::new) }, hand_out)
    }

    fn is(&self, other: &Self) -> bool {
        self.parcels.same_channel(&other.parcels)
    }
}

impl Letter {
    fn deliver(self) {
        let gone = match self {
            Self::One(to, answer) => to.send(answer).is_err(),
            Self::Many(to, answer) => to.send(answer).is_err(),
        };
        if gone {
            tracing::debug!("the sender had left before its event was recorded");
        }
    }
}

/// The answers of one batch, by the desk that they go to.
#[derive(Debug, Default)]
pub(super) struct Post(Vec<(Desk, Vec<Letter>)>);

impl Post {
    pub(super) fn add(&mut self, desk: Desk, letter: Letter) {
        // As many desks as threads: few.
        match self.0.iter_mut().find(|(known, _)| known.is(&desk)) {
            Some((_, parcel)) => parcel.push(letter),
            None => self.0.push((desk, vec![letter])),
        }
    }

    pub(super) fn send(self) {
        for (desk, parcel) in self.0 {
            if let Err(mpsc::error::SendError(parcel)) = desk.parcels.send(parcel) {
                parcel.into_iter().for_each(Letter::deliver);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn copy(id: u128) -> Recorded {
        Recorded::Duplicate { event: Uuid::from_u128(id), conflict: false }
    }

    #[tokio::test]
    async fn each_answer_reaches_who_waits_for_it() {
        let (near, hand_out) = Desk::open(None);
        let near_task = tokio::spawn(hand_out);
        let (far, hand_out) = Desk::open(None);
        let far_task = tokio::spawn(hand_out);
        let mut post = Post::default();
        let mut waiting = Vec::new();
        for id in 0..10 {
            let (to, answered) = oneshot::channel();
            let desk = if id % 3 == 0 { &near } else { &far };
            post.add(desk.clone(), Letter::One(to, Ok(copy(id))));
            waiting.push(answered);
        }
        assert_eq!(post.0.len(), 2, "one parcel a desk");
        post.send();
        for (id, answered) in waiting.into_iter().enumerate() {
            let answer = answered.await.expect("an answer").expect("recorded");
            assert_eq!(answer.event(), Uuid::from_u128(id as u128));
        }
        drop((near, far));
        near_task.await.expect("ended");
        far_task.await.expect("ended");
    }

    #[tokio::test]
    async fn an_answer_is_not_lost_with_the_task_that_hands_it_out() {
        let (desk, hand_out) = Desk::open(None);
        drop(hand_out);
        let (to, answered) = oneshot::channel();
        let mut post = Post::default();
        post.add(desk, Letter::Many(to, Ok(vec![copy(1)])));
        post.send();
        assert_eq!(answered.await.expect("an answer").expect("recorded").len(), 1);
    }
}
