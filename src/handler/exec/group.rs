//! One run of a program in a process group of its own.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use process_wrap::tokio::{ChildWrapper, CommandWrap, ProcessGroup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::process::{ChildStdin, Command};

/// How long output is still read after the program ended: a process that left the group may hold
/// the pipe open for ever.
const DRAIN_AFTER_EXIT: Duration = Duration::from_millis(200);

/// How a run ended.
pub(super) struct Ended {
    /// The program's exit.
    pub(super) status: ExitStatus,
    /// The first bytes of what it wrote to both outputs, in the order in which it wrote them.
    pub(super) output: Bytes,
    /// Whether it wrote more.
    pub(super) cut: bool,
}

/// Runs `command` with `body` on its standard input until it ends.
///
/// Output beyond `keep` bytes is read and forgotten, so that the program never blocks on
/// it. When the program ends, what is left of its group is killed. Dropping the future kills the
/// whole group. Fails when the program can't be started or watched.
pub(super) async fn run(command: Command, body: Bytes, keep: usize) -> io::Result<Ended> {
    let (mut group, stdin, output) = spawn(command)?;
    let mut kept = Kept { bytes: Vec::new(), room: keep, cut: false };
    let status = {
        let io = async {
            let (fed, drained) = tokio::join!(feed(stdin, &body), drain(output, &mut kept));
            fed.and(drained)
        };
        tokio::pin!(io);
        let mut io_done = false;
        let status = loop {
            tokio::select! {
                status = group.leader_exit() => break status?,
                result = &mut io, if !io_done => {
                    result?;
                    io_done = true;
                }
            }
        };
        group.kill();
        if !io_done {
            // Elapsed means that somebody outside of the group still holds a pipe. What was read
            // until now is kept; an error now can't change the program's own judgement.
            match tokio::time::timeout(DRAIN_AFTER_EXIT, &mut io).await {
                Ok(Ok(())) | Err(_) => {}
                Ok(Err(error)) => tracing::debug!(%error, "output of an ended program was lost"),
            }
        }
        status
    };
    group.reap().await;
    Ok(Ended { status, output: Bytes::from(kept.bytes), cut: kept.cut })
}

/// A running process group. Dropping it kills every process in it.
struct Group {
    child: Box<dyn ChildWrapper>,
    over: bool,
}

fn spawn(mut command: Command) -> io::Result<(Group, Option<ChildStdin>, pipe::Receiver)> {
    // One pipe for both outputs keeps their lines in order.
    let (reader, writer) = io::pipe()?;
    let reader = pipe::Receiver::from_owned_fd(reader.into())?;
    command.stdin(Stdio::piped()).stdout(writer.try_clone()?).stderr(writer);
    let mut wrap = CommandWrap::from(command);
    wrap.wrap(ProcessGroup::leader());
    let mut child = wrap.spawn()?;
    let stdin = child.stdin().take();
    // `wrap` holds our copies of the writing end; while they are open the pipe never ends.
    drop(wrap);
    Ok((Group { child, over: false }, stdin, reader))
}

impl Group {
    /// Waits for the program itself, not for what it started.
    async fn leader_exit(&mut self) -> io::Result<ExitStatus> {
        self.child.inner_mut().wait().await
    }

    /// Kills whatever is left of the group.
    fn kill(&mut self) {
        if self.over {
            return;
        }
        self.over = true;
        // The group's id stays taken while any of its processes lives, and when none does, this
        // finds nobody (ESRCH), which is what we want. Between the leader's end and this call the
        // number would have to go once around to mean somebody else.
        if let Err(error) = self.child.start_kill()
            && error.kind() != io::ErrorKind::NotFound
            && error.raw_os_error() != Some(ESRCH)
        {
            tracing::error!(%error, "a process group could not be killed");
        }
    }

    /// Collects killed stragglers, which are our children when we are process 1 of a container.
    async fn reap(&mut self) {
        match tokio::time::timeout(DRAIN_AFTER_EXIT, self.child.wait()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "stragglers could not be collected"),
            Err(_elapsed) => tracing::debug!("stragglers take long to end"),
        }
    }
}

/// "No such process", the same number on every Unix.
const ESRCH: i32 = 3;

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Writes the body and closes. A program need not read it.
async fn feed(stdin: Option<ChildStdin>, body: &[u8]) -> io::Result<()> {
    let Some(mut stdin) = stdin else { return Ok(()) };
    match stdin.write_all(body).await {
        // The program closed its input or ended: its exit code says what that means.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// The first bytes of an output.
struct Kept {
    bytes: Vec<u8>,
    room: usize,
    cut: bool,
}

/// Reads to the end, keeps the first bytes.
async fn drain(mut output: pipe::Receiver, kept: &mut Kept) -> io::Result<()> {
    let mut chunk = vec![0; 8 * 1024];
    loop {
        let read = output.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        let fits = read.min(kept.room);
        kept.bytes.extend_from_slice(&chunk[..fits]);
        kept.room -= fits;
        kept.cut |= fits < read;
    }
}
