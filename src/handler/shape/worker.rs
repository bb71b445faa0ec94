//! The process in which expressions run: what an event makes of one ends here, and takes nothing else along.
//!
//! It knows its expressions and one event after the other, and nothing of the daemon: of its variables none but
//! `TZ`, and it opens no database and no connection. What it may take is limited before it reads its first event.

use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel, sync_channel};
use std::thread::Builder;

use super::frame;
use super::{Made, PANICKED, Shape, ShapeSettings, plain};

/// The program's argument that makes it a worker. Not a command: nothing shows it, and only a daemon speaks
/// its language.
pub const ARGUMENT: &str = "shape-worker";

/// How much address space it may take beside what it has when it starts. A body of 8 MiB, the default limit,
/// takes 440 MB at the worst, which is a million objects of one number.
const MEMORY_BYTES: u64 = 512 * 1024 * 1024;

/// The stack on which filters run: four times that of a thread of the daemon, so that no filter that works
/// there fails here.
const STACK_BYTES: usize = 8 * 1024 * 1024;

/// No core is as small, and of a limit of 0 a system that pipes its cores to a program takes no notice.
const CORE_BYTES: u64 = 1;

/// Serves until `input` ends, as it does when the daemon is gone, however that came about, or until nothing can be
/// answered any more. Answers go to `output`, and nobody reads anything else that it could say.
///
/// Limits the whole process, so nothing else must run in it.
pub fn serve(
    mut input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
) -> ExitCode {
    let Ok(settings) = limit().and_then(|()| expressions(&mut input)) else {
        return ExitCode::FAILURE;
    };
    let (give, take) = sync_channel(1);
    let (leave, left) = channel();
    let leave_too = leave.clone();
    let works = Builder::new().name("shape".to_owned()).stack_size(STACK_BYTES).spawn(move || {
        let worked = work(&settings, &take, output);
        let code = if worked.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        leave.send(code).unwrap_or_default();
    });
    // It only reads, so that the end of the daemon ends a filter that never does.
    let reads = Builder::new().name("pipe".to_owned()).spawn(move || {
        while let Ok(content) = read(&mut input, frame::REQUEST_BYTES_MAX) {
            if give.send(content).is_err() {
                break;
            }
        }
        leave_too.send(ExitCode::SUCCESS).unwrap_or_default();
    });
    // Whichever ends first ends the other: it is in the middle of what nobody waits for.
    match (works, reads) {
        (Ok(_), Ok(_)) => left.recv().unwrap_or(ExitCode::FAILURE),
        _ => ExitCode::FAILURE,
    }
}

/// Compiles, then answers each event, also one that can't be read. Ends when there is nobody to answer.
fn work(
    settings: &ShapeSettings,
    events: &Receiver<Vec<u8>>,
    mut output: impl Write,
) -> io::Result<()> {
    let mut say = |frame: Vec<u8>| output.write_all(&frame).and_then(|()| output.flush());
    let shape = match Shape::new(settings) {
        Ok(Some(shape)) => shape,
        Ok(None) => return say(frame::answer(&Err(plain("there is nothing to run")))?),
        Err(faults) => {
            let why = faults.first().map_or("", |fault| fault.why.as_str());
            return say(frame::answer(&Err(plain(why)))?);
        }
    };
    say(frame::answer(&Ok(Made::Body(env!("CARGO_PKG_VERSION").into())))?)?;
    for content in events {
        let made = match frame::event(content) {
            Ok((event, also_when)) => {
                catch_unwind(AssertUnwindSafe(|| shape.rules.judge(&event, also_when)))
                    .unwrap_or_else(|_| Err(plain(PANICKED)))
            }
            Err(why) => Err(plain(format!("the event did not reach its process whole: {why}"))),
        };
        say(frame::answer(&made)?)?;
    }
    Ok(())
}

fn expressions(input: &mut impl Read) -> io::Result<ShapeSettings> {
    frame::expressions(&read(input, frame::SETTINGS_BYTES_MAX)?)
}

fn read(input: &mut impl Read, most: usize) -> io::Result<Vec<u8>> {
    let mut head = [0; frame::LENGTH_BYTES];
    input.read_exact(&mut head)?;
    let mut content = vec![0; frame::length(head, most)?];
    input.read_exact(&mut content)?;
    Ok(content)
}

/// Takes away what a filter never needs, and bounds what it does.
#[cfg(target_os = "linux")]
fn limit() -> io::Result<()> {
    use nix::sys::resource::{Resource, setrlimit};

    // For people only: it was started by the name of a link, which would be its name in `top`.
    drop(std::fs::write("/proc/self/comm", "hookonce-shape"));
    // When the machine has no memory left, this is the process to end; elsewhere it may be forbidden.
    drop(std::fs::write("/proc/self/oom_score_adj", "1000"));
    let status = std::fs::read_to_string("/proc/self/status")?;
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:"));
    let kibibytes = size.and_then(|it| it.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    let kibibytes = kibibytes.ok_or(io::ErrorKind::InvalidData)?;
    let memory = kibibytes * 1024 + MEMORY_BYTES;
    setrlimit(Resource::RLIMIT_AS, memory, memory)?;
    setrlimit(Resource::RLIMIT_FSIZE, 0, 0)?;
    setrlimit(Resource::RLIMIT_CORE, CORE_BYTES, CORE_BYTES)?;
    Ok(())
}

/// Elsewhere nothing says how much it has at the start, and no limit of address space is kept.
#[cfg(not(target_os = "linux"))]
fn limit() -> io::Result<()> {
    use nix::sys::resource::{Resource, setrlimit};

    setrlimit(Resource::RLIMIT_FSIZE, 0, 0)?;
    setrlimit(Resource::RLIMIT_CORE, CORE_BYTES, CORE_BYTES)?;
    Ok(())
}
