//! What a process of its own costs a `transform`: the figures that `docs/handlers.md` quotes.
//!
//! Small in the normal tests; `HOOKONCE_BENCH_TRANSFORMS=10000 cargo test --release --test it measure_transform --
//! --nocapture` is the full size.

use std::time::{Duration, Instant};

use hookonce::handler::shape::Shaped;

use super::setting;
use crate::transform::{both, event};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn measure_transform_on_a_thread_and_in_a_process() {
    let times = usize::try_from(setting("HOOKONCE_BENCH_TRANSFORMS", 100)).unwrap();
    let text = format!(r#"{{"id": "evt_1", "amount": 4200, "note": "{}"}}"#, "z".repeat(2_000));
    let event = event(text);
    let shapes = both("{id, paid: .amount, of: $event.source}");
    for (name, shape) in ["thread", "process"].into_iter().zip(&shapes) {
        let began = Instant::now();
        let first = shape.apply(&event).await;
        let cold = began.elapsed();
        assert!(!matches!(first, Shaped::Failed(_)), "{first:?}");
        let mut took = Vec::with_capacity(times);
        for _ in 0..times {
            let began = Instant::now();
            let shaped = shape.apply(&event).await;
            took.push(began.elapsed());
            assert!(!matches!(shaped, Shaped::Failed(_)), "{shaped:?}");
        }
        took.sort();
        let at = |part: usize| -> Duration { took[(times - 1) * part / 100] };
        println!(
            "transform in a {name}: first {cold:.1?}, p50 {:.1?}, p99 {:.1?} of {times}",
            at(50),
            at(99)
        );
    }
}
