//! The daemon as a value, in the test's own process.

use std::path::Path;

use hookonce::app::{App, Running};
use hookonce::config::{Config, Environment};

use super::daemon::{DaemonPlan, loopback};
use super::database::TestDatabase;
use super::sender::Sender;

/// A running app. It asserts at its end that nothing is left to deliver, unless the test said so.
#[derive(Debug)]
pub struct TestApp {
    running: Option<Running>,
    database: TestDatabase,
    leaves_work: bool,
}

impl TestApp {
    /// Starts what the plan says, on free ports, with what `add` adds to it: handlers in Rust.
    ///
    /// # Panics
    /// When the plan has faults.
    pub async fn start(
        database: &TestDatabase,
        plan: &DaemonPlan,
        add: impl FnOnce(App) -> App,
    ) -> Self {
        let text = plan.text(loopback(0), loopback(0));
        let environment = Environment::default();
        let (config, _) =
            Config::read(&text, "test", &environment, Path::new("")).unwrap_or_else(|faults| {
                panic!("{faults}\n{text}");
            });
        let app = add(App::build(config, &Default::default()).unwrap());
        let running = app.start().await.unwrap();
        Self { running: Some(running), database: database.clone(), leaves_work: false }
    }

    /// This test ends with deliveries that are pending or leased.
    pub fn leaving_work(mut self) -> Self {
        self.leaves_work = true;
        self
    }

    /// The running app.
    pub fn running(&self) -> &Running {
        self.running.as_ref().expect("the app runs")
    }

    /// A sender to its public listener.
    pub fn sender(&self) -> Sender {
        Sender::new(self.running().public_address())
    }

    /// Shuts down in order, and checks what is left.
    ///
    /// # Panics
    /// When a delivery is left leased, or pending though the test did not say so.
    pub async fn finish(mut self) {
        self.running.take().expect("the app runs").shutdown().await;
        let leased =
            self.database.number("SELECT count(*) FROM delivery WHERE state = 'leased'").await;
        assert_eq!(leased, 0, "a shutdown leaves no lease");
        let pending =
            self.database.number("SELECT count(*) FROM delivery WHERE state = 'pending'").await;
        assert!(self.leaves_work || pending == 0, "{pending} deliveries are left pending");
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        // A failed test has said what is wrong; otherwise its end was not checked.
        if self.running.is_some() && !std::thread::panicking() {
            panic!("a TestApp ends with `finish`, which checks that nothing is left to deliver");
        }
    }
}
