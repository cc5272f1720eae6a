//! The contract of [`Broker`]: streams. Text that waits is shown by the broker's own timer or with the end of its stream: these clauses
//! need no more than the end.

use std::time::Duration;

use moorline_proto::batch::{Page, ReadFrom};
use moorline_proto::id::StreamName;
use moorline_proto::position::Offset;
use moorline_proto::resume::{Since, SurveyRequest};
use moorline_proto::stream::{Canceller, Command, Done, Outcome, StreamError, StreamState};
use serde_json::Value;

use super::broker::{page, publication, publish};
use super::broker_producer::{Heard, Producer, appended, outcome};
use super::{ALL, message, room, session};
use crate::broker::{Announcement, Announcements, Broker};
use crate::log::ReadLimit;

/// A broker that announces nothing for this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs all clauses about streams.
pub async fn all<B: Broker>(make: &impl Fn() -> B) {
    a_stream_is_read_as_it_was_written(make()).await;
    streams_and_publications_take_effect_in_the_order_of_their_calls(make()).await;
    what_is_announced_of_a_stream_is_its_log(make()).await;
    no_text_is_announced_before_it_can_be_read(make()).await;
    a_repeated_command_is_answered_as_the_first_was(make()).await;
    a_refused_command_changes_nothing(make()).await;
    only_the_holder_writes(make()).await;
    open_streams_and_their_views_are_what_readers_may_see(make()).await;
    the_text_of_open_streams_is_read_where_a_reader_stands(make()).await;
    a_stream_that_has_ended_is_no_open_one(make()).await;
    a_long_text_is_read_in_pages(make()).await;
    the_holder_is_asked_to_stop_once(make()).await;
    who_lost_announcements_finds_the_stream_in_the_log(make()).await;
}

async fn receive(from: &mut Box<dyn Announcements>) -> Vec<Announcement> {
    let mut into = Vec::new();
    let received = tokio::time::timeout(PATIENCE, from.receive(&mut into, 1)).await;
    assert!(received.expect("nothing was announced"), "the broker is gone");
    into
}

async fn read(broker: &impl Broker, from: ReadFrom, limit: ReadLimit) -> Page {
    broker.read(room("a"), from, limit).await.expect("a page")
}

/// What was opened, appended and ended is read as text in order, with the object that opening carried, and its one end.
pub async fn a_stream_is_read_as_it_was_written(broker: impl Broker) {
    let mut producer = Producer::new(&broker, "s");
    assert_eq!(producer.open().await, Ok(0));
    assert_eq!(producer.append(0, "häl").await, appended(3));
    assert_eq!(producer.append(3, "").await, appended(3));
    assert_eq!(producer.append(3, "lo \u{1f600}").await, appended(7));
    let end = producer.ended().await;
    let page = page(&broker, &room("a")).await;
    let heard = Heard::of("s", &page);
    assert!(heard.is_whole("hällo \u{1f600}"), "{heard:?}");
    assert_eq!(heard.data, Some(serde_json::json!({"reply_to": 7})));
    assert_eq!((page.state.head, page.end, heard.records.last()), (end, end, Some(&end)));
    assert!(heard.records.is_sorted_by(|a, b| a < b) && page.is_last());
    let last = page.records.last().expect("the end");
    let frame: Value = serde_json::from_slice(last.message.as_bytes()).expect("JSON");
    assert_eq!(frame["message"]["tokens"], 2);
}

/// Commands and publications to a room take their places in the order of the calls, and dropping a future withdraws nothing.
pub async fn streams_and_publications_take_effect_in_the_order_of_their_calls(broker: impl Broker) {
    let mut producer = Producer::new(&broker, "s");
    producer.open().await.expect("an open stream");
    let mut answers = Vec::new();
    for number in 0..20 {
        let publishing = broker.publish(publication(&producer.room, message(number)));
        let appending = producer.append(number, "x");
        if number % 3 == 0 {
            drop((publishing, appending));
        } else {
            answers.push((publishing, appending, number));
        }
    }
    let ending = producer.end();
    let last = broker.publish(publication(&producer.room, message(20)));
    // The last call's answer comes first.
    let last = last.await.expect("a place");
    let Ok(Done::Ended { message_id }) = ending.await else { panic!("not ended") };
    assert!(matches!(last, crate::Published::Stored { position, .. } if position.offset > message_id));
    while let Some((publishing, appending, number)) = answers.pop() {
        assert!(publishing.await.is_ok());
        assert_eq!(appending.await, appended(number + 1));
    }
    let page = page(&broker, &producer.room).await;
    assert!(Heard::of("s", &page).is_whole(&"x".repeat(20)));
    let kept: Vec<_> = page.records.iter().map(|record| record.message.clone()).collect();
    let published: Vec<_> =
        kept.into_iter().filter(|kept| (0..=20).any(|number| message(number) == *kept)).collect();
    assert_eq!(published, (0..=20).map(message).collect::<Vec<_>>());
}

/// Batches follow each other without a hole, with what was published between them; each piece and the end are announced once, and
/// together they are what the log has.
pub async fn what_is_announced_of_a_stream_is_its_log(broker: impl Broker) {
    let mut from = broker.announcements();
    broker.subscribe(room("a")).await.expect("a state");
    let mut producer = Producer::new(&broker, "s");
    producer.open().await.expect("an open stream");
    for number in 0..10 {
        publish(&broker, &producer.room, number).await;
        assert_eq!(producer.append(number, "y").await, appended(number + 1));
    }
    let end = producer.ended().await;
    let (mut heard, mut head) = (Heard::default(), Offset::START);
    while head < end {
        for announcement in receive(&mut from).await {
            let Announcement::Batch(batch) = announcement else { panic!("not a batch: {announcement:?}") };
            assert_eq!(batch.after, head, "a hole or a repetition");
            head = batch.last();
            batch.records.iter().for_each(|record| heard.hear("s", record));
        }
    }
    assert!(heard.is_whole(&"y".repeat(10)), "{heard:?}");
    assert!(heard.records.is_sorted_by(|a, b| a < b));
    assert_eq!(heard.data, Some(serde_json::json!({"reply_to": 7})));
    let page = page(&broker, &producer.room).await;
    assert_eq!((page.end, Heard::of("s", &page).text), (end, heard.text));
}

/// Whoever hears of a chunk finds its text in the log, at once.
pub async fn no_text_is_announced_before_it_can_be_read(broker: impl Broker) {
    let mut from = broker.announcements();
    broker.subscribe(room("a")).await.expect("a state");
    let mut producer = Producer::new(&broker, "s");
    producer.open().await.expect("an open stream");
    let answers: Vec<_> = (0..10).map(|at| producer.append(at, "z")).collect();
    let ending = producer.end();
    let mut heard = Heard::default();
    while heard.ends.is_empty() {
        for announcement in receive(&mut from).await {
            let Announcement::Batch(batch) = announcement else { panic!("not a batch: {announcement:?}") };
            batch.records.iter().for_each(|record| heard.hear("s", record));
            let page = page(&broker, &batch.room).await;
            assert!(page.end >= batch.last() && page.state.head >= batch.last());
            assert!(Heard::of("s", &page).text.starts_with(&heard.text));
        }
    }
    assert!(ending.await.is_ok());
    for answer in answers {
        assert!(answer.await.is_ok());
    }
}

/// Repeating changes nothing: neither text that stands there, nor an end.
pub async fn a_repeated_command_is_answered_as_the_first_was(broker: impl Broker) {
    let mut producer = Producer::new(&broker, "s");
    producer.open().await.expect("an open stream");
    for (at, content, length) in
        [(0, "abc", 3), (0, "abc", 3), (1, "bcde", 5), (1, "bc", 5), (0, "abcde", 5), (5, "", 5)]
    {
        assert_eq!(producer.append(at, content).await, appended(length));
    }
    let end = producer.ended().await;
    assert_eq!(producer.ended().await, end);
    let page = page(&broker, &producer.room).await;
    assert!(Heard::of("s", &page).is_whole("abcde"));
    assert_eq!(page.state.head, end);
}

/// What is refused changes nothing.
pub async fn a_refused_command_changes_nothing(broker: impl Broker) {
    let mut producer = Producer::new(&broker, "s");
    assert_eq!(producer.append(0, "x").await, Err(StreamError::NotFound.into()));
    producer.open().await.expect("an open stream");
    assert_eq!(producer.append(0, "abc").await, appended(3));
    assert_eq!(producer.append(1, "xx").await, Err(StreamError::Conflict.into()));
    assert_eq!(producer.append(4, "x").await, Err(StreamError::AtMismatch { at: 3 }.into()));
    let end = producer.ended().await;
    let other = Command::End { holder: producer.holder(), outcome: Outcome::Cancelled };
    for refused in [producer.append(3, "x").await, producer.ask(other).await] {
        assert_eq!(refused, Err(StreamError::Ended.into()));
    }
    assert_eq!(producer.open().await, Err(StreamError::Ended.into()));
    let page = page(&broker, &producer.room).await;
    assert!(Heard::of("s", &page).is_whole("abc"));
    assert_eq!(page.state.head, end);
}

/// Who opens a stream of its own that is open goes on where the text stands, and the holder before is fenced; nobody else gets it.
pub async fn only_the_holder_writes(broker: impl Broker) {
    let mut former = Producer::new(&broker, "s");
    former.open().await.expect("an open stream");
    assert_eq!(former.append(0, "abc").await, appended(3));
    let mut stranger = Producer { principal: "user/v", ..Producer::new(&broker, "s") };
    assert_eq!(stranger.open().await, Err(StreamError::Taken.into()));
    stranger.fence = former.fence;
    assert_eq!(stranger.append(3, "x").await, Err(StreamError::Fenced.into()));
    let mut present = Producer { session: Some(session("q")), ..Producer::new(&broker, "s") };
    assert_eq!(present.open().await, Ok(3));
    assert!(present.fence > former.fence);
    assert_eq!(former.append(3, "x").await, Err(StreamError::Fenced.into()));
    assert_eq!(former.end().await, Err(StreamError::Fenced.into()));
    assert_eq!(present.append(3, "def").await, appended(6));
    present.ended().await;
    assert!(Heard::of("s", &page(&broker, &present.room).await).is_whole("abcdef"));
}

/// The open ones are listed by name, without their texts; each is viewed with its text, also after its end.
pub async fn open_streams_and_their_views_are_what_readers_may_see(broker: impl Broker) {
    let list = async || {
        let open = broker.open_streams(room("a")).await.expect("a list");
        assert!(open.iter().all(|view| view.content.is_empty() && view.state == StreamState::Open));
        open.into_iter().map(|view| view.stream.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(list().await, [""; 0]);
    let (mut second, mut first) = (Producer::new(&broker, "t"), Producer::new(&broker, "s"));
    for producer in [&mut second, &mut first] {
        producer.open().await.expect("an open stream");
    }
    assert_eq!(list().await, ["s", "t"]);
    let view =
        async |stream: &StreamName| broker.view_stream(room("a"), stream.clone()).await.expect("a view");
    assert_eq!(view(&StreamName::new("none").expect("a name")).await, None);
    assert_eq!(first.append(0, "abc").await, appended(3));
    let open = view(&first.stream).await.expect("it is kept");
    assert!("abc".starts_with(&open.content), "{open:?}");
    assert_eq!((open.state, open.cancel, open.data.is_some()), (StreamState::Open, false, true));
    first.ended().await;
    let ended = view(&first.stream).await.expect("it is kept");
    assert_eq!((ended.state, ended.at, &ended.content[..]), (StreamState::Ended(outcome()), 3, "abc"));
    assert_eq!(list().await, ["t"]);
}

/// A reader gets the texts of the streams that were open where it stands, as far as they were shown there: all of it stands there. What
/// is read behind that place follows without a hole.
pub async fn the_text_of_open_streams_is_read_where_a_reader_stands(broker: impl Broker) {
    let mut producer = Producer::new(&broker, "s");
    producer.open().await.expect("an open stream");
    assert_eq!(producer.append(0, "abc").await, appended(3));
    let at = publish(&broker, &producer.room, 1).await.offset;
    assert_eq!(producer.append(3, "def").await, appended(6));
    let texts = ReadFrom::Texts { at, after: Offset::START };
    let before = read(&broker, texts, ALL).await;
    producer.ended().await;
    for page in [&before, &read(&broker, texts, ALL).await] {
        assert!(page.records.iter().all(|record| record.offset == at), "it stands elsewhere");
        assert_eq!((page.end, page.is_last(), &page.records), (at, true, &before.records));
    }
    let mut heard = Heard::of("s", &before);
    assert_eq!((heard.ends.len(), heard.data.is_some()), (0, true));
    let rest = read(&broker, ReadFrom::After(at), ALL).await;
    assert!(rest.records.iter().all(|record| record.offset > at));
    rest.records.iter().for_each(|record| heard.hear("s", record));
    assert!(heard.is_whole("abcdef"), "{heard:?}");
}

/// Of a stream that had ended where a reader stands nothing is read as the text of an open one.
pub async fn a_stream_that_has_ended_is_no_open_one(broker: impl Broker) {
    let mut producer = Producer::new(&broker, "s");
    assert!(!survey_finds_texts(&broker).await);
    producer.open().await.expect("an open stream");
    assert_eq!(producer.append(0, "abc").await, appended(3));
    assert!(survey_finds_texts(&broker).await);
    let at = producer.ended().await;
    assert!(!survey_finds_texts(&broker).await);
    let page = read(&broker, ReadFrom::Texts { at, after: Offset::START }, ALL).await;
    assert_eq!((page.records.len(), page.end), (0, at));
}

async fn survey_finds_texts(broker: &impl Broker) -> bool {
    let requests = vec![SurveyRequest::new(room("a"), Since::Now)];
    let surveys = broker.survey(session("r"), None, requests).await.expect("a survey");
    surveys[0].has_texts
}

/// A text is read in pages that keep to their limit; each says where the next one begins, and nothing is left out.
pub async fn a_long_text_is_read_in_pages(broker: impl Broker) {
    let mut producer = Producer::new(&broker, "s");
    producer.open().await.expect("an open stream");
    let text: String = ('a'..='z').cycle().take(300 * 1024).collect();
    assert_eq!(producer.append(0, &text).await, appended(text.len() as u64));
    producer.ended().await;
    let limit = ReadLimit { records: 2, bytes: 100 * 1024 };
    let (mut heard, mut after, mut pages) = (Heard::default(), Offset::START, 0);
    loop {
        let page = read(&broker, ReadFrom::After(after), limit).await;
        assert!((1..=2).contains(&page.records.len()) && page.end > after);
        page.records.iter().for_each(|record| heard.hear("s", record));
        (after, pages) = (page.end, pages + 1);
        if page.is_last() {
            break;
        }
    }
    assert!(heard.is_whole(&text) && pages >= 3);
}

/// The session that opened or appended last is told once that somebody asks to stop; whoever appends next is answered so.
pub async fn the_holder_is_asked_to_stop_once(broker: impl Broker) {
    let mut from = broker.announcements();
    broker.subscribe(room("a")).await.expect("a state");
    let mut producer = Producer::new(&broker, "s");
    producer.open().await.expect("an open stream");
    for by in ["c", "d"] {
        producer.cancel(by).await;
    }
    let last = publish(&broker, &producer.room, 1).await.offset;
    let (mut asked, mut head) = (Vec::new(), Offset::START);
    while head < last {
        for announcement in receive(&mut from).await {
            match announcement {
                Announcement::Cancel(cancel) => asked.push(cancel),
                Announcement::Batch(batch) => head = batch.last(),
                other => panic!("not asked for: {other:?}"),
            }
        }
    }
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!((asked[0].holder.as_str(), &asked[0].stream), ("p", &producer.stream));
    assert_eq!(asked[0].by.session, Some(session("c")));
    assert_eq!(producer.append(0, "x").await, Ok(Done::Appended { at: 1, cancel: true }));
    let view = broker.view_stream(room("a"), producer.stream.clone()).await.expect("a view");
    assert!(view.expect("it is kept").cancel);
    producer.ended().await;
    let late = producer.ask(Command::Cancel { by: Canceller::default() }).await;
    assert_eq!(late, Err(StreamError::Ended.into()));
}

/// Who takes up the announcements anew reads in the log what it was not told, and goes on from there without a hole.
pub async fn who_lost_announcements_finds_the_stream_in_the_log(broker: impl Broker) {
    let former = broker.announcements();
    broker.subscribe(room("a")).await.expect("a state");
    let mut producer = Producer::new(&broker, "s");
    producer.open().await.expect("an open stream");
    assert_eq!(producer.append(0, "abc").await, appended(3));
    let mut from = broker.announcements();
    drop(former);
    let page = page(&broker, &producer.room).await;
    let (mut heard, mut head) = (Heard::of("s", &page), page.end);
    assert_eq!(producer.append(3, "def").await, appended(6));
    producer.ended().await;
    while heard.ends.is_empty() {
        for announcement in receive(&mut from).await {
            match announcement {
                Announcement::Batch(batch) if batch.last() <= head => {}
                Announcement::Batch(batch) if batch.after <= head => {
                    let new = batch.records.iter().filter(|record| record.offset > head);
                    new.for_each(|record| heard.hear("s", record));
                    head = batch.last();
                }
                Announcement::Batch(_) | Announcement::Lost => {
                    let page = read(&broker, ReadFrom::After(head), ALL).await;
                    page.records.iter().for_each(|record| heard.hear("s", record));
                    head = page.end;
                }
                other => panic!("not asked for: {other:?}"),
            }
            if !heard.ends.is_empty() {
                break;
            }
        }
    }
    assert!(heard.is_whole("abcdef"), "{heard:?}");
}
