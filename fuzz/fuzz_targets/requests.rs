//! Any bytes, as a request to every preset: nothing is accepted without the right secret.

#![no_main]

use chrono::DateTime;
use libfuzzer_sys::fuzz_target;

/// As of the requests' usual times, so that freshness is judged either way.
const NOW: i64 = 1_767_225_600;

fuzz_target!(|bytes: &[u8]| {
    let now = DateTime::from_timestamp(NOW, 0).unwrap_or_default();
    if let Err(why) = hookonce::source::hostile::requests(bytes, now) {
        panic!("{why}");
    }
});
