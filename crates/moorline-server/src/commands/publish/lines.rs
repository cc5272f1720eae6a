//! Many messages, one a line.

use std::io::{BufRead, Read as _};

use anyhow::bail;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::message::Message;
use super::{INPUT_MAX, Publish, shown};
use crate::client::Server;
use crate::exit::UsageError;
use crate::output::Out;

/// Publishes in one request.
const BATCH_MAX: usize = 100;
/// Bytes in one request, but for a single message that is larger: below the smallest usual bound of a server's bodies.
const BATCH_BYTES: usize = 512 * 1024;

#[derive(Deserialize)]
struct Results<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

/// One of the results, as far as it failed.
#[derive(Deserialize)]
struct Outcome {
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    code: String,
    message: String,
}

/// What goes into one request.
#[derive(Default)]
struct Batch {
    frames: Vec<String>,
    /// The line of each, from 1.
    lines: Vec<u64>,
    bytes: usize,
}

/// Publishes standard input line by line, in order, until the first that fails.
pub(super) async fn publish(arguments: &Publish, server: &Server) -> anyhow::Result<()> {
    let mut input = std::io::stdin().lock();
    let (mut out, mut batch, mut number) = (Out::new(), Batch::default(), 0);
    while let Some(line) = next_line(&mut input, number + 1)? {
        number += 1;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let message = match Message::parse(&line, arguments.kind.as_deref()) {
            Ok(message) => message,
            Err(wrong) => {
                batch.send(arguments, server, &mut out).await?;
                bail!("line {number}: {wrong}; the lines before it were published");
            }
        };
        let frame = arguments.frame(&message);
        if batch.is_full_with(&frame) {
            std::mem::take(&mut batch).send(arguments, server, &mut out).await?;
        }
        batch.push(frame, number);
    }
    batch.send(arguments, server, &mut out).await
}

/// The next line, without its end; none at the end of the input.
fn next_line(input: &mut impl BufRead, number: u64) -> anyhow::Result<Option<String>> {
    let mut line = Vec::new();
    input
        .take(INPUT_MAX + 1)
        .read_until(b'\n', &mut line)
        .map_err(|error| UsageError::new(format!("standard input: {error}")))?;
    if line.len() as u64 > INPUT_MAX {
        bail!("line {number} is longer than {INPUT_MAX} bytes");
    }
    if line.is_empty() {
        return Ok(None);
    }
    match String::from_utf8(line) {
        Ok(line) => Ok(Some(line)),
        Err(_) => bail!("line {number} is not UTF-8"),
    }
}

impl Batch {
    fn push(&mut self, frame: String, line: u64) {
        self.bytes += frame.len();
        self.frames.push(frame);
        self.lines.push(line);
    }

    fn is_full_with(&self, frame: &str) -> bool {
        let is_full = self.frames.len() >= BATCH_MAX || self.bytes + frame.len() > BATCH_BYTES;
        is_full && !self.frames.is_empty()
    }

    /// Publishes them, and says which line failed.
    async fn send(self, arguments: &Publish, server: &Server, out: &mut Out) -> anyhow::Result<()> {
        let (Some(first), Some(last)) = (self.lines.first(), self.lines.last()) else { return Ok(()) };
        let body = format!("{{\"publishes\":[{}]}}", self.frames.join(","));
        let answer = match server.send(&["v1", "batch"], body).await {
            Ok(answer) => answer,
            Err(error) => {
                let lines =
                    if first == last { format!("line {first}") } else { format!("lines {first} to {last}") };
                return Err(anyhow::Error::new(error).context(lines));
            }
        };
        let Results { results } = server.parse(&answer)?;
        let mut failed = None;
        for (line, result) in self.lines.iter().zip(&results) {
            match server.parse::<Outcome>(result.get())?.error {
                None => shown(out, server, arguments.output.output, result.get())?,
                Some(failure) => drop(failed.get_or_insert((*line, failure))),
            }
        }
        if results.len() != self.lines.len() {
            bail!("lines {first} to {last}: the server answered {} of them", results.len());
        }
        match failed {
            None => Ok(()),
            Some((line, Failure { code, message })) => {
                bail!(
                    "line {line}: {code}: {message}; what is printed above was published, nothing after line {last}"
                )
            }
        }
    }
}
