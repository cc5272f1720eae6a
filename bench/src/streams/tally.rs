//! What producers and readers were sent: answers, and each reader's copy of each text, every byte of which is checked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::heard::Frame;
use super::schedule::Plan;
use super::script::Script;

/// What a reader has of a stream.
#[derive(Debug, Default)]
pub(crate) struct Copied {
    points: u64,
    /// With text.
    pub(crate) chunks: u32,
    ended: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// By the stream's number.
    pub(crate) copies: BTreeMap<usize, Copied>,
    /// Chunks with text, and ends.
    pub(crate) frames: u32,
}

/// While appends are sent.
#[derive(Debug)]
pub(crate) struct Pacing {
    begun: Instant,
    length: Duration,
    /// Appends that were answered before the last was due.
    pub(crate) in_time: u64,
    /// From when an append was due until a reader had it.
    pub(crate) waits: Vec<Duration>,
}

#[derive(Debug)]
pub(crate) struct Tally {
    plan: Plan,
    pub(crate) scripts: Vec<Script>,
    /// The first connections are theirs, the others are readers'.
    producers: usize,
    pub(crate) readers: Vec<Reader>,
    /// Answers that each connection waits for.
    pub(crate) in_flight: Vec<u32>,
    pub(crate) outstanding: u64,
    /// By the stream's number.
    pub(crate) fences: Vec<u64>,
    /// Copies that are not whole yet, of all readers.
    pub(crate) missing: usize,
    /// Openings and ends that readers were told of.
    pub(crate) opened: usize,
    pub(crate) ended: usize,
    /// Of no stream, to any reader.
    pub(crate) messages: u32,
    pub(crate) heard: u64,
    pub(crate) pacing: Option<Pacing>,
}

impl Tally {
    pub(crate) fn new(plan: Plan, producers: usize) -> Result<Self> {
        let script = |stream| Script::new(stream, plan.appends, plan.token_bytes);
        let streams = u32::try_from(plan.streams())?;
        Ok(Self {
            plan,
            scripts: (0..streams).map(script).collect(),
            producers,
            readers: Vec::new(),
            in_flight: Vec::new(),
            outstanding: 0,
            fences: vec![0; plan.streams()],
            missing: 0,
            opened: 0,
            ended: 0,
            messages: 0,
            heard: 0,
            pacing: None,
        })
    }

    pub(crate) fn asked(&mut self, link: usize) {
        self.in_flight[link] += 1;
        self.outstanding += 1;
    }

    /// The reader becomes a member of the room: it is to get all its streams.
    pub(crate) fn expect(&mut self, reader: usize, room: usize) {
        let streams = self.plan.streams_per_room as usize;
        for stream in room * streams..(room + 1) * streams {
            self.readers[reader].copies.insert(stream, Copied::default());
            self.missing += 1;
        }
    }

    pub(crate) fn begin(&mut self) -> Instant {
        let begun = Instant::now();
        let length = self.plan.length();
        self.pacing = Some(Pacing { begun, length, in_time: 0, waits: Vec::new() });
        begun
    }

    /// All that readers have of all streams.
    pub(crate) fn copies(&self) -> impl Iterator<Item = &Copied> {
        self.readers.iter().flat_map(|reader| reader.copies.values())
    }

    pub(crate) fn hear(&mut self, link: usize, frame: &Frame<'_>) -> Result<()> {
        self.heard += 1;
        match frame.kind {
            "reply" => self.reply(link, frame),
            "chunk" => self.chunk(link, frame),
            "complete" => self.complete(link, frame),
            "m" => {
                self.messages += 1;
                Ok(())
            }
            "joined" | "position" | "pong" => Ok(()),
            _ => bail!("this was not to come"),
        }
    }

    fn reply(&mut self, link: usize, frame: &Frame<'_>) -> Result<()> {
        ensure!(frame.ok, "refused");
        self.in_flight[link] = self.in_flight[link].checked_sub(1).context("nothing was asked")?;
        self.outstanding -= 1;
        if let Some(pacing) = &mut self.pacing {
            pacing.in_time += u64::from(pacing.begun.elapsed() <= pacing.length);
        }
        if let (Some(fence), Some(stream)) = (frame.fence, frame.reference) {
            *self.fences.get_mut(stream).context("a fence of an unknown stream")? = fence;
        }
        Ok(())
    }

    fn chunk(&mut self, link: usize, frame: &Frame<'_>) -> Result<()> {
        let stream = frame.stream()?;
        let at = frame.at.context("a chunk without `at`")?;
        let script = self.scripts.get(stream).context("an unknown stream")?;
        let end = script.check(at, &frame.content)?;
        let reader = reader(&mut self.readers, self.producers, link)?;
        let copy = reader.copies.get_mut(&stream).context("a stream of another room")?;
        if frame.content.is_empty() {
            self.opened += 1;
            return Ok(());
        }
        ensure!(at <= copy.points, "a gap: the reader has {} code points", copy.points);
        ensure!(!copy.ended, "a chunk after the end");
        copy.chunks += 1;
        reader.frames += 1;
        let had = copy.points;
        copy.points = had.max(end);
        let whole = script.points();
        self.missing -= usize::from(had < whole && copy.points == whole);
        if let Some(pacing) = &mut self.pacing {
            let now = pacing.begun.elapsed();
            let numbers = had / script.token_points()..copy.points / script.token_points();
            let plan = self.plan;
            pacing.waits.extend(numbers.map(|number| now.saturating_sub(plan.when(stream, number))));
        }
        Ok(())
    }

    fn complete(&mut self, link: usize, frame: &Frame<'_>) -> Result<()> {
        let stream = frame.stream()?;
        let script = self.scripts.get(stream).context("an unknown stream")?;
        let reader = reader(&mut self.readers, self.producers, link)?;
        let copy = reader.copies.get_mut(&stream).context("a stream of another room")?;
        ensure!(copy.points == script.points(), "the reader has {} code points", copy.points);
        ensure!(!std::mem::replace(&mut copy.ended, true), "a second end");
        reader.frames += 1;
        self.ended += 1;
        Ok(())
    }
}

fn reader(readers: &mut [Reader], producers: usize, link: usize) -> Result<&mut Reader> {
    link.checked_sub(producers).and_then(|number| readers.get_mut(number)).context("it is no member")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One producer, and one reader of one stream of two appends.
    fn tally() -> Tally {
        let plan = Plan { rooms: 1, streams_per_room: 1, appends: 2, token_bytes: 9, per_second: Some(1) };
        let mut tally = Tally::new(plan, 1).unwrap();
        tally.readers.push(Reader::default());
        tally.in_flight = vec![0; 2];
        tally.expect(0, 0);
        tally
    }

    fn told(tally: &mut Tally, link: usize, kind: &str, rest: &str) -> Result<()> {
        let text = format!(r#"{{"type":"{kind}","stream":"s0"{rest}}}"#);
        tally.hear(link, &Frame::parse(text.as_bytes()).unwrap())
    }

    fn chunk(tally: &mut Tally, at: u64, content: &str) -> Result<()> {
        told(tally, 1, "chunk", &format!(r#","at":{at},"content":"{content}""#))
    }

    #[test]
    fn a_copy_is_whole_when_all_of_the_text_came() {
        let mut tally = tally();
        let (first, second) =
            (tally.scripts[0].token(0).unwrap().to_owned(), tally.scripts[0].token(1).unwrap().to_owned());
        tally.begin();
        chunk(&mut tally, 0, "").unwrap();
        chunk(&mut tally, 0, &first).unwrap();
        assert!(chunk(&mut tally, 9, "x").is_err(), "a gap, and another text");
        assert!(told(&mut tally, 1, "complete", "").is_err(), "too early");
        assert_eq!((tally.missing, tally.opened), (1, 1));
        chunk(&mut tally, 0, &format!("{first}{second}")).unwrap();
        assert_eq!((tally.missing, tally.readers[0].frames), (0, 2));
        assert_eq!(tally.pacing.as_ref().unwrap().waits.len(), 2);
        told(&mut tally, 1, "complete", "").unwrap();
        assert!(told(&mut tally, 1, "complete", "").is_err(), "twice");
        assert!(chunk(&mut tally, 0, &first).is_err(), "after the end");
        assert_eq!(tally.copies().next().unwrap().chunks, 2);
    }

    #[test]
    fn answers_are_counted_and_refusals_are_errors() {
        let mut tally = tally();
        tally.asked(0);
        told(&mut tally, 0, "reply", r#","ref":0,"ok":true,"fence":5"#).unwrap();
        assert_eq!((tally.outstanding, tally.fences[0]), (0, 5));
        assert!(told(&mut tally, 0, "reply", r#","ok":true"#).is_err(), "nothing was asked");
        tally.asked(0);
        assert!(told(&mut tally, 0, "reply", r#","ok":false"#).is_err());
        assert!(told(&mut tally, 0, "chunk", r#","at":0"#).is_err(), "a producer is no member");
        assert!(told(&mut tally, 1, "reset", "").is_err());
    }
}
