//! A connection to RabbitMQ that can be cut off, and channels for one message at a time.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::tcp::{AsyncTcpStream, OwnedTLSConfig};
use lapin::types::ShortString;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, ErrorKind};
use tokio::time::timeout;

use super::AmqpServer;

/// The most characters of what the server says that go into a cause.
const SAID_MAX: usize = 200;

/// Why a message was not taken.
#[derive(Debug)]
pub(super) enum Failure {
    /// It may be taken another time.
    Again(String),
    /// It never will.
    Never(String),
}

/// A connection, and channels of it that wait for work.
///
/// A channel has one message under way at a time. The client gives a returned message to the confirm that
/// comes next, and confirms may come several at once: with two under way the wrong one could be told
/// delivered. A call that is dropped half-way takes its channel with it.
pub(super) struct Link {
    connection: Connection,
    idle: Mutex<Vec<Channel>>,
    socket: Socket,
}

impl Link {
    /// Connects, which takes at most `patience`. Nothing is left of it when it fails or is dropped.
    pub(super) async fn open(server: &AmqpServer, patience: Duration) -> Result<Self, String> {
        let uri = server.uri()?;
        let runtime = lapin::runtime::default_runtime().map_err(|error| said(&error))?;
        let unfinished = CutWhenDropped(Socket::default());
        let socket = unfinished.0.clone();
        let (dialler, dialled) = (runtime.clone(), socket.clone());
        // The client calls it on a thread of its own, which ends when the socket does.
        let dial = async move |uri: AMQPUri, _| {
            let dialling = async {
                let place = (uri.authority.host.clone(), uri.authority.port);
                let addresses = dialler.to_socket_addrs(place);
                let stream = AsyncTcpStream::connect(&dialler, addresses).await?;
                let AsyncTcpStream::Plain(plain) = &stream else {
                    return Err(io::Error::other("not a plain connection"));
                };
                plain.get_ref().set_nodelay(true)?;
                dialled.hold(plain.get_ref().as_fd().try_clone_to_owned()?.into())?;
                match uri.scheme {
                    AMQPScheme::AMQP => Ok(stream),
                    AMQPScheme::AMQPS => {
                        let config = OwnedTLSConfig::default();
                        stream.into_tls(&uri.authority.host, config.as_ref()).await
                    }
                }
            };
            match timeout(patience, dialling).await {
                Ok(stream) => stream.map_err(lapin::Error::from),
                Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            }
        };
        let properties = ConnectionProperties::default().with_connection_name("hookonce".into());
        let connecting = Connection::connector(uri, runtime, dial, properties);
        let connection = match timeout(patience, connecting).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(format!("no connection: {}", said(&error))),
            Err(_) => return Err("no connection in time".to_owned()),
        };
        unfinished.keep();
        Ok(Self { connection, idle: Mutex::default(), socket })
    }

    /// Whether it may be used.
    pub(super) fn is_up(&self) -> bool {
        !self.socket.is_cut() && self.connection.status().connected()
    }

    /// Ends it at once, whatever the server does; what was not sent yet never will be.
    pub(super) fn cut(&self) {
        self.socket.cut();
    }

    /// Publishes a message and waits until the server has it on disk, in a queue. Without a deadline: the
    /// caller drops it, and cuts the link when that was because nothing came.
    pub(super) async fn publish(
        &self,
        exchange: &ShortString,
        routing_key: &ShortString,
        body: &[u8],
        properties: BasicProperties,
    ) -> Result<(), Failure> {
        if self.connection.status().blocked() {
            let why = "RabbitMQ takes no messages now: it is short of memory or disk";
            return Err(Failure::Again(why.to_owned()));
        }
        let channel = self.channel().await.map_err(|error| failure(&error))?;
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let sent = channel
            .basic_publish(exchange.clone(), routing_key.clone(), options, body, properties)
            .await;
        let confirmed = match sent {
            Ok(confirm) => confirm.await,
            Err(error) => Err(error),
        };
        let confirmation = confirmed.map_err(|error| failure(&error))?;
        self.idle().push(channel);
        match confirmation {
            Confirmation::Ack(None) => Ok(()),
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => Err(Failure::Again(
                "no queue is bound for this key: make one, or correct it".to_owned(),
            )),
            Confirmation::Nack(None) => {
                Err(Failure::Again("RabbitMQ could not keep the message (nack)".to_owned()))
            }
            Confirmation::NotRequested => Err(Failure::Again("no confirm was given".to_owned())),
        }
    }

    /// One that has nothing under way.
    async fn channel(&self) -> Result<Channel, lapin::Error> {
        while let Some(channel) = self.take_idle() {
            if channel.status().connected() {
                return Ok(channel);
            }
        }
        let channel = self.connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }

    fn take_idle(&self) -> Option<Channel> {
        self.idle().pop()
    }

    /// As many at most as calls at once.
    fn idle(&self) -> MutexGuard<'_, Vec<Channel>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an error of the client's means for the message.
fn failure(error: &lapin::Error) -> Failure {
    if let ErrorKind::ProtocolError(told) = error.kind()
        && *told.kind() == AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED)
        && told.get_message().as_str().contains("message size")
    {
        return Failure::Never("the message is larger than RabbitMQ's max_message_size".to_owned());
    }
    Failure::Again(said(error))
}

/// What the client or the server says, which never holds the password.
fn said(error: &lapin::Error) -> String {
    let said = match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_message().to_string(),
        ErrorKind::InvalidConnectionState(_) => "not connected".to_owned(),
        _ => error.to_string(),
    };
    said.chars().take(SAID_MAX).collect()
}

/// A second hold on a connection's socket, by which it can be ended from outside of the client. That one
/// waits without end for a server that takes connections and says nothing.
#[derive(Clone, Default)]
struct Socket(Arc<Mutex<Held>>);

#[derive(Default)]
enum Held {
    #[default]
    NotYet,
    Open(TcpStream),
    Cut,
}

impl Socket {
    /// Fails when it was cut before it was there.
    fn hold(&self, socket: TcpStream) -> io::Result<()> {
        let mut held = self.held();
        if matches!(*held, Held::Cut) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        *held = Held::Open(socket);
        Ok(())
    }

    fn cut(&self) {
        if let Held::Open(socket) = std::mem::replace(&mut *self.held(), Held::Cut)
            && let Err(error) = socket.shutdown(Shutdown::Both)
        {
            // It was down already.
            tracing::debug!(%error, "cutting a connection to RabbitMQ");
        }
    }

    fn is_cut(&self) -> bool {
        matches!(*self.held(), Held::Cut)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cuts a socket unless it is kept: for the time in which nobody owns the connection.
struct CutWhenDropped(Socket);

impl CutWhenDropped {
    /// Somebody owns it now.
    fn keep(mut self) {
        self.0 = Socket::default();
    }
}

impl Drop for CutWhenDropped {
    fn drop(&mut self) {
        self.0.cut();
    }
}
