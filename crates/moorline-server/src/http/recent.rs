//! Answers that are good for a moment, so that however many ask, the work is done once.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

/// The last answer. Whoever comes while a new one is being found waits for that one.
pub(crate) struct Recent<T> {
    good_for: fn(Duration) -> Duration,
    last: Mutex<Option<Last<T>>>,
}

struct Last<T> {
    answer: T,
    found: Instant,
    good_for: Duration,
}

impl<T: Clone> Recent<T> {
    /// `good_for`: for how long an answer is good that took so long to find.
    pub(crate) fn new(good_for: fn(Duration) -> Duration) -> Self {
        Self { good_for, last: Mutex::new(None) }
    }

    /// The last answer while it is good, else the one that `ask` gives.
    pub(crate) async fn answer(&self, ask: impl Future<Output = T>) -> T {
        let mut last = self.last.lock().await;
        if let Some(last) = last.as_ref().filter(|last| last.found.elapsed() < last.good_for) {
            return last.answer.clone();
        }
        let asked = Instant::now();
        let answer = ask.await;
        let good_for = (self.good_for)(asked.elapsed());
        *last = Some(Last { answer: answer.clone(), found: Instant::now(), good_for });
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    async fn asked_by_two(good_for: fn(Duration) -> Duration) -> (usize, usize) {
        let (recent, asked) = (Recent::new(good_for), AtomicUsize::new(0));
        let ask = || async {
            tokio::task::yield_now().await;
            asked.fetch_add(1, Ordering::Relaxed)
        };
        tokio::join!(recent.answer(ask()), recent.answer(ask()))
    }

    #[tokio::test]
    async fn an_answer_is_given_to_all_who_ask_while_it_is_good() {
        assert_eq!(asked_by_two(|_| Duration::MAX).await, (0, 0));
        assert_eq!(asked_by_two(|_| Duration::ZERO).await, (0, 1));
    }
}
