//! Does one thing of the micro-benchmarks a given number of times, for who counts instructions:
//! `count NAME TIMES`. See `benches/instructions.py`.
#![allow(clippy::expect_used, clippy::panic, reason = "a benchmark that can't begin should say so")]

use std::hint::black_box;

use hookonce::store::NewEvent;

#[path = "micro/work.rs"]
mod work;

use work::{admit_one, encode_one, new_event, request, source};

fn main() {
    // `cargo test --benches` and `cargo bench` pass flags of their own, and name nothing.
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let Some(name) = arguments.next() else { return };
    let times: usize = arguments.next().and_then(|text| text.parse().ok()).expect("NAME TIMES");
    match name.split_once('-') {
        Some(("admit", provider)) => {
            let source = source(provider);
            let signed = request(&source, 1);
            for _ in 0..times {
                black_box(admit_one(black_box(&source), signed.clone()));
            }
        }
        Some(("encode", events)) => {
            let source = source("stripe");
            let events: usize = events.parse().expect("a number of events");
            let batch: Vec<NewEvent> = (0..events).map(|n| new_event(&source, n)).collect();
            let batch: Vec<&NewEvent> = batch.iter().collect();
            for _ in 0..times {
                black_box(encode_one(black_box(&batch)));
            }
        }
        _ => panic!("`{name}` is not admit-PROVIDER or encode-EVENTS"),
    }
}
