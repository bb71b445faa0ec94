//! One run of a handler, to the end of its key.

use std::rc::Rc;
use std::time::Duration;

use actix_web::Error;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse};
use actix_web::error::{ErrorGatewayTimeout, ErrorInternalServerError, InternalError};

use super::commit::commit;
use super::current::{Current, Kind};
use super::reply::{answer, replayed};
use crate::idempotency::{Begun, Concluded, Ended, Engine, Rules};

/// How long a transaction is waited for that a handler left to something that goes on behind it.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(5);

pub(super) async fn run<S, B>(
    request: ServiceRequest,
    service: Rc<S>,
    current: Current,
    engine: &Engine,
    rules: &Rules,
) -> Result<ServiceResponse<BoxBody>, Error>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    let work = async {
        let (request, response) = match service.call(request).await {
            Ok(response) => {
                let (request, response) = response.map_into_boxed_body().into_parts();
                (Some(request), response)
            }
            // The request went with it. (No copy of it may be kept: the router wants it for itself.)
            Err(error) => (None, error.error_response()),
        };
        let (head, body) = response.into_parts();
        (request, head, actix_web::body::to_bytes(body).await)
    };
    let worked = match current.kind() {
        Kind::Run(run) => Some(run.guard(work).await),
        // Others wait for its connection, on SQLite all of them.
        Kind::Transaction(_) => tokio::time::timeout(rules.lease, work).await.ok(),
    };
    let ended = match &worked {
        Some((_, head, Ok(body))) => Ended::Answered(answer(head, body, rules.answer_max)),
        Some((_, _, Err(_))) => Ended::Unknown("the handler's answer broke off".to_owned()),
        None => Ended::Unknown("the handler took longer than its lease".to_owned()),
    };
    let instead = match current.kind() {
        Kind::Run(run) => match run.conclude(&ended).await {
            Concluded::Overtaken(Begun::Replay(kept)) => Some(replayed(*kept)),
            Concluded::Overtaken(_) | Concluded::Stands | Concluded::Unwritten => None,
        },
        Kind::Transaction(transaction) => {
            let whole = tokio::time::timeout(GIVEN_BACK_WITHIN, transaction.lock()).await;
            let transaction = whole.ok().and_then(|mut whole| whole.take());
            commit(transaction, &ended, engine, rules).await
        }
    };
    let Some((request, head, whole)) = worked else {
        return Err(match instead {
            Some(instead) => {
                InternalError::from_response("the handler took too long", instead).into()
            }
            None => ErrorGatewayTimeout("the handler took too long: nothing was done"),
        });
    };
    let response = match (instead, whole) {
        (Some(instead), _) => instead,
        (None, Ok(body)) => head.set_body(BoxBody::new(body)),
        (None, Err(error)) => return Err(ErrorInternalServerError(error.to_string())),
    };
    match request {
        Some(request) => Ok(ServiceResponse::new(request, response)),
        None => Err(InternalError::from_response("the handler failed", response).into()),
    }
}
