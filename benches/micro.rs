//! What one request costs before the database: `cargo bench --bench micro`.
#![allow(clippy::expect_used, reason = "a benchmark that can't begin should say so and end")]

use std::hint::black_box;

use divan::Bencher;
use hookonce::store::NewEvent;

#[path = "micro/work.rs"]
mod work;

use work::{admit_one, encode_one, new_event, request, source};

fn main() {
    divan::main();
}

/// Verify and read the id. GitHub's id is a header, so its body is hashed twice and not parsed;
/// Stripe's is in the body, which is scanned as well: the difference is the scan.
#[divan::bench(args = ["github", "stripe"])]
fn admit(bencher: Bencher<'_, '_>, provider: &str) {
    let source = source(provider);
    let signed = request(&source, 1);
    bencher
        .with_inputs(|| signed.clone())
        .bench_values(|request| admit_one(black_box(&source), request));
}

/// The parameters of one statement for a batch of events, each with one delivery.
#[divan::bench(args = [1, 64, 256])]
fn encode_batch(bencher: Bencher<'_, '_>, events: usize) {
    let source = source("stripe");
    let batch: Vec<NewEvent> = (0..events).map(|n| new_event(&source, n)).collect();
    let batch: Vec<&NewEvent> = batch.iter().collect();
    bencher.bench(|| encode_one(black_box(&batch)));
}
