//! The whole program: what happens between an ack and a settled delivery, whatever dies meanwhile.

mod brokers;
mod delivering;
mod dying;
mod holding;
mod isolating;
mod responding;
mod shaping;
mod stopping;
mod versions;

use std::time::Duration;

use crate::support::{DaemonPlan, Endpoint, Signer, TestDatabase};

pub const STRIPE: &str = "/in/stripe";

/// For deliveries to be settled; the machine may be busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The shortest lease that the config allows: after a kill, a delivery is tried again when it lapsed.
pub const LEASE: &str = "lease = \"3s\"";

pub fn stripe() -> Signer {
    Signer::of("stripe")
}

/// Stripe's events go to one endpoint.
pub fn billing(db: &TestDatabase, endpoint: &Endpoint, lines: &str) -> DaemonPlan {
    DaemonPlan::on(db).source(&stripe()).calls("billing", "stripe", &endpoint.url("/stripe"), lines)
}
