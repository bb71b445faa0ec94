//! What a handshake asks us to do before it is answered.

use std::time::Duration;

use tracing::{error, warn};

use super::{Ending, Visit};
use crate::http::problem::Problem;
use crate::intake::Capturing;
use crate::received::Received;
use crate::source::{Admitted, Answer, Deed};
use crate::verify::Code;

/// How long a handshake waits until the secret that it brings is durable.
const CAPTURE_WAIT: Duration = Duration::from_secs(5);

impl Visit<'_> {
    /// Does what must be done first. What can't be done now is 503: the provider tries again, and an
    /// answer without the deed would be a lie.
    pub(super) async fn shake(&self, mut answer: Answer) -> Ending {
        match answer.first.take() {
            None => Ending::Handshake(Box::new(answer)),
            Some(Deed::Fetch(url)) => {
                if !self.state.may_call(self.source.name()) {
                    let detail = "this source was asked to call too often; try again later";
                    return unavailable(60, detail);
                }
                match self.state.fetcher.get(&url).await {
                    Ok(_) => Ending::Handshake(Box::new(answer)),
                    Err(cause) => {
                        warn!(source.name = %self.source.name(), error = %cause,
                            "a handshake of {} could not be confirmed", self.source.name());
                        unavailable(5, "the provider could not be called")
                    }
                }
            }
            Some(Deed::Capture(secret)) => {
                let keeping = self.state.captures.keep(self.source, secret);
                // It may become durable after that: the provider's next try is answered then.
                match tokio::time::timeout(CAPTURE_WAIT, keeping).await {
                    Err(_) => {
                        error!(source.name = %self.source.name(),
                            "the secret of {} was not kept in time", self.source.name());
                        let detail = "the secret could not be made durable in time";
                        Ending::Failed(Problem::later("store_unavailable", 5, detail), None)
                    }
                    Ok(Ok(Capturing::Done)) => Ending::Handshake(Box::new(answer)),
                    Ok(Ok(Capturing::Closed)) => {
                        let detail = "another handshake came first; see `hookonce source reopen`";
                        let problem = Problem::refused(Code::HandshakeClosed, detail.to_owned());
                        Ending::Refused(problem, None)
                    }
                    Ok(Err(cause)) => {
                        error!(source.name = %self.source.name(),
                            error = &cause as &dyn std::error::Error,
                            "the secret of {} could not be kept", self.source.name());
                        let detail = "the secret could not be made durable";
                        Ending::Failed(Problem::later("store_unavailable", 5, detail), None)
                    }
                }
            }
        }
    }

    /// Judges a request, and once more when it is refused for want of a secret that another replica
    /// captured.
    pub(super) async fn judge_knowing(&self, received: Received) -> Result<Admitted, Ending> {
        let refused = self.judge(received);
        let Err(Ending::Refused(problem, Some(received))) = refused else { return refused };
        let may_lack = self.source.captures()
            && [Code::SignatureMismatch, Code::HandshakeClosed]
                .iter()
                .any(|code| code.as_str() == problem.code);
        if may_lack && self.state.captures.look(self.source).await {
            return self.judge(*received);
        }
        Err(Ending::Refused(problem, Some(received)))
    }
}

fn unavailable(seconds: u32, detail: &str) -> Ending {
    let problem = Problem::later(Code::HandshakeUnavailable.as_str(), seconds, detail);
    Ending::Failed(problem, None)
}
