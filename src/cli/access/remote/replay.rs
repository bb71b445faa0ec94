//! Replays of many deliveries, carried on by the daemon.

use std::time::Duration;

use reqwest::Method;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Remote;
use crate::cli::Failure;
use crate::http::admin::shape::{ReplayReport, ReplayResume, ReplaysRequest};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);

impl Remote {
    pub(in crate::cli::access) async fn begin_replay(
        &self,
        wanted: &ReplaysRequest,
    ) -> Result<ReplayReport, Failure> {
        self.post(&["replays"], Some(wanted)).await
    }

    pub(in crate::cli::access) async fn resume_replay(
        &self,
        id: Uuid,
        rate: Option<&str>,
    ) -> Result<ReplayReport, Failure> {
        let wanted = ReplayResume { rate: rate.map(str::to_owned) };
        self.post(&["replays", &id.to_string(), "resume"], Some(&wanted)).await
    }

    pub(in crate::cli::access) async fn follow_replay(
        &self,
        id: Uuid,
        stop: &CancellationToken,
        seen: &mut (dyn FnMut(&ReplayReport) + Send),
    ) -> Result<ReplayReport, Failure> {
        loop {
            let report: ReplayReport = self.get(&["replays", &id.to_string()], Vec::new()).await?;
            seen(&report);
            if report.state != "running" || stop.is_cancelled() {
                return Ok(report);
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    pub(in crate::cli::access) async fn stop_replay(
        &self,
        id: Uuid,
    ) -> Result<ReplayReport, Failure> {
        let request = self.request(Method::DELETE, &["replays", &id.to_string()])?;
        self.read(self.send(request).await?).await
    }
}
