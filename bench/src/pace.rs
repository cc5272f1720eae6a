//! Publishing from within the crowd, at a rate or one after the other, and how long each message takes to each client.

use std::fmt::Write as _;
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;

use crate::client::{Crowd, Progress, STALL_LIMIT};
use crate::publish::Moorline;

/// Longer waits are given up.
const WAIT_MAX_NS: u64 = 60_000_000_000;
/// Significant digits that the histogram keeps.
const DIGITS: u8 = 3;
/// Answers over HTTP that may be due before one is waited for.
const ANSWERS_MAX: u32 = 64;
/// The most publications of one order: their times are kept until everyone has everything.
const PUBLICATIONS_MAX: usize = 1_000_000;
/// Of all deliveries, in percent.
const SHARES: [f64; 4] = [50.0, 90.0, 99.0, 99.9];

/// How publications get to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    /// By the first client, which is a member and gets them too.
    Socket,
    /// Over an HTTP connection of its own.
    Http,
}

/// What to publish, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    pub(crate) voice: Voice,
    pub(crate) publications: u32,
    /// Messages of each.
    pub(crate) burst: u32,
    /// Each is due so long after the one before, whether or not that has arrived; zero: when everyone has the one before.
    pub(crate) every: Duration,
}

impl std::fmt::Display for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let voice = if self.voice == Voice::Socket { "socket" } else { "http" };
        write!(f, "{voice} {} {} {}", self.publications, self.burst, self.every.as_micros())
    }
}

impl FromStr for Pace {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let words: Vec<&str> = text.split(' ').collect();
        let [voice, publications, burst, every] = words[..] else { bail!("unknown pace {text:?}") };
        let voice = match voice {
            "socket" => Voice::Socket,
            "http" => Voice::Http,
            _ => bail!("unknown voice {voice:?}"),
        };
        let every = Duration::from_micros(every.parse()?);
        Ok(Self { voice, publications: publications.parse()?, burst: burst.parse()?, every })
    }
}

/// From when a message was due until a client had it, in microseconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Waits {
    pub(crate) deliveries: u64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
}

impl Waits {
    fn of(histogram: &Histogram<u64>) -> Self {
        // Less than 2^53 nanoseconds.
        let us = |ns: u64| ns as f64 / 1e3;
        let [p50_us, p90_us, p99_us, p999_us] = SHARES.map(|share| us(histogram.value_at_percentile(share)));
        Self { deliveries: histogram.len(), p50_us, p90_us, p99_us, p999_us, max_us: us(histogram.max()) }
    }

    /// One line for the parent process.
    pub(crate) fn line(&self) -> String {
        let mut line = self.deliveries.to_string();
        for us in [self.p50_us, self.p90_us, self.p99_us, self.p999_us, self.max_us] {
            // Writing to a String does not fail.
            let _ = write!(line, " {us}");
        }
        line
    }

    pub(crate) fn parse(line: &str) -> Result<Self> {
        let (deliveries, rest) = line.split_once(' ').with_context(|| format!("waits {line:?}"))?;
        let us: Vec<f64> =
            rest.split(' ').map(str::parse).collect::<Result<_, _>>().with_context(|| line.to_owned())?;
        let [p50_us, p90_us, p99_us, p999_us, max_us] = us[..] else { bail!("waits {line:?}") };
        Ok(Self { deliveries: deliveries.parse()?, p50_us, p90_us, p99_us, p999_us, max_us })
    }
}

/// Publishes, until everyone has everything.
pub(crate) fn run(crowd: &mut Crowd, pace: Pace, data: &str) -> Result<Waits> {
    ensure!(pace.publications as usize <= PUBLICATIONS_MAX, "at most {PUBLICATIONS_MAX} publications");
    let mut speaker = Speaker::new(crowd, pace, data)?;
    let mut record = Record::new(crowd.last_id()? + 1, pace.burst)?;
    let each = u64::from(pace.burst) * crowd.open();
    let first = crowd.delivered();
    let (begun, total) = (Instant::now(), each * u64::from(pace.publications));
    let mut progress = Progress::new(0);
    while crowd.delivered() - first < total {
        let sent = u32::try_from(record.due.len())?;
        let due = if pace.every.is_zero() {
            (crowd.delivered() - first == each * u64::from(sent)).then(Instant::now)
        } else {
            Some(begun + pace.every * sent).filter(|due| *due <= Instant::now())
        };
        if let Some(due) = due.filter(|_| sent < pace.publications) {
            record.due.push(due);
            speaker.publish(crowd)?;
        }
        crowd.look(&mut |id| record.note(id))?;
        ensure!(
            !progress.stalled(crowd.delivered() + record.due.len() as u64),
            "{} of {total} deliveries arrived; none for {STALL_LIMIT:?}",
            crowd.delivered() - first
        );
    }
    ensure!(crowd.delivered() - first == total, "more than {total} deliveries");
    speaker.finish()?;
    Ok(Waits::of(&record.waits))
}

/// Who publishes.
enum Speaker {
    Socket(Vec<u8>),
    Http { moorline: Moorline, burst: u32, due: u32 },
}

impl Speaker {
    fn new(crowd: &Crowd, pace: Pace, data: &str) -> Result<Self> {
        Ok(match pace.voice {
            Voice::Socket => Self::Socket(crowd.manners().publication(pace.burst, data)?),
            Voice::Http => {
                let moorline = Moorline::connect(crowd.server(), data)?;
                Self::Http { moorline, burst: pace.burst, due: 0 }
            }
        })
    }

    fn publish(&mut self, crowd: &mut Crowd) -> Result<()> {
        match self {
            Self::Socket(frames) => crowd.say(frames),
            Self::Http { moorline, burst, due } => {
                if *due == ANSWERS_MAX {
                    *due -= 1;
                    moorline.http.confirm()?;
                }
                *due += 1;
                moorline.send(*burst)
            }
        }
    }

    /// Every publication was accepted.
    fn finish(self) -> Result<()> {
        match self {
            Self::Socket(_) => Ok(()),
            Self::Http { mut moorline, due, .. } => {
                (0..due).try_for_each(|_| moorline.http.confirm().map(drop))
            }
        }
    }
}

/// When publications were due, and how long their messages took.
struct Record {
    first_id: u64,
    burst: u64,
    due: Vec<Instant>,
    waits: Histogram<u64>,
}

impl Record {
    fn new(first_id: u64, burst: u32) -> Result<Self> {
        let waits = Histogram::new_with_max(WAIT_MAX_NS, DIGITS)?;
        Ok(Self { first_id, burst: u64::from(burst), due: Vec::new(), waits })
    }

    /// A client has this message.
    fn note(&mut self, id: u64) -> Result<()> {
        let number = id.checked_sub(self.first_id).map(|later| later / self.burst);
        let due = number.and_then(|number| self.due.get(usize::try_from(number).ok()?));
        let due = due.with_context(|| format!("message {id} came, which nobody published"))?;
        let wait = u64::try_from(due.elapsed().as_nanos())?;
        self.waits.record(wait.min(WAIT_MAX_NS)).context("recording a wait")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_and_answers_go_over_one_line() {
        let pace =
            Pace { voice: Voice::Http, publications: 250, burst: 3, every: Duration::from_micros(20_000) };
        assert_eq!(pace.to_string(), "http 250 3 20000");
        assert_eq!(pace.to_string().parse::<Pace>().unwrap(), pace);
        assert!("shout 1 1 1".parse::<Pace>().is_err() && "socket 1".parse::<Pace>().is_err());

        let mut histogram = Histogram::new_with_max(WAIT_MAX_NS, DIGITS).unwrap();
        (1..=1_000).for_each(|us| histogram.record(us * 1_000).unwrap());
        let waits = Waits::of(&histogram);
        assert_eq!(waits.deliveries, 1_000);
        assert!((waits.p99_us - 990.0).abs() < 1.0 && (waits.p50_us - 500.0).abs() < 1.0, "{waits:?}");
        assert_eq!(Waits::parse(&waits.line()).unwrap(), waits);
        assert!(Waits::parse("1 2").is_err());
    }

    #[test]
    fn a_wait_is_from_when_its_publication_was_due() {
        let mut record = Record::new(8, 2).unwrap();
        assert!(record.note(8).is_err(), "nothing was published");
        let now = Instant::now();
        record.due = vec![now.checked_sub(Duration::from_secs(2)).unwrap(), now];
        assert!(record.note(7).is_err(), "it was there before");
        record.note(9).unwrap();
        assert!(record.waits.min() >= 1_999_000_000);
        record.note(10).unwrap();
        assert!(record.waits.min() < 1_000_000_000);
        assert!(record.note(12).is_err(), "nobody published it");
    }
}
