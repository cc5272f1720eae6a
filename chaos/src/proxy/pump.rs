//! One direction of a connection.

use std::io::ErrorKind;
use std::net::Shutdown;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::Flow;

const BUFFER_BYTES: usize = 16 * 1024;
/// Pieces of a throttled direction come this often.
const BEAT: Duration = Duration::from_millis(20);
const BEATS_PER_S: usize = 50;

/// Both directions are to end with RST.
#[derive(Debug)]
pub(super) struct Broken;

/// Carries bytes as the flow says until the sender ends, which is passed on.
pub(super) async fn pump(
    from: &TcpStream,
    to: &TcpStream,
    flow: &mut watch::Receiver<Flow>,
) -> Result<(), Broken> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut until_cut = None;
    loop {
        let now = *flow.borrow_and_update();
        let at_once = match now {
            Flow::Hold => {
                flow.changed().await.map_err(|_| Broken)?;
                continue;
            }
            Flow::Reset => return Err(Broken),
            Flow::HalfClose => break,
            Flow::Slice(bytes) => bytes.clamp(1, BUFFER_BYTES),
            Flow::Throttle(bytes) => (bytes / BEATS_PER_S).clamp(1, BUFFER_BYTES),
            Flow::Cut(after) => (*until_cut.get_or_insert(after)).min(BUFFER_BYTES),
            Flow::Pass => BUFFER_BYTES,
        };
        if at_once == 0 {
            return Err(Broken);
        }
        tokio::select! {
            changed = flow.changed() => {
                changed.map_err(|_| Broken)?;
                continue;
            }
            readable = from.readable() => readable.map_err(|_| Broken)?,
        }
        let length = match from.try_read(&mut buffer[..at_once]) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(_) => return Err(Broken),
        };
        tokio::select! {
            written = write(to, &buffer[..length]) => written?,
            // The other side takes nothing: it must still be possible to break this.
            _reset = flow.wait_for(|flow| *flow == Flow::Reset) => return Err(Broken),
        }
        match now {
            Flow::Throttle(_) => tokio::time::sleep(BEAT).await,
            Flow::Slice(_) => tokio::task::yield_now().await,
            Flow::Cut(_) => until_cut = until_cut.map(|left: usize| left.saturating_sub(length)),
            _ => {}
        }
    }
    // Whoever is gone needs no telling.
    let _gone = SockRef::from(to).shutdown(Shutdown::Write);
    Ok(())
}

async fn write(to: &TcpStream, mut bytes: &[u8]) -> Result<(), Broken> {
    while !bytes.is_empty() {
        to.writable().await.map_err(|_| Broken)?;
        match to.try_write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return Err(Broken),
        }
    }
    Ok(())
}
