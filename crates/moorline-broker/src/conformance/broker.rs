//! The contract of [`Broker`]. Runs in a tokio runtime; the clauses about concurrency prove more in one with threads.

use std::sync::Arc;

use moorline_proto::batch::{Page, ReadFrom};
use moorline_proto::id::RoomName;
use moorline_proto::message::Message;
use moorline_proto::position::{Offset, Position};
use moorline_proto::record::Except;
use moorline_proto::resume::{ResetReason, Resume, Since, Survey, SurveyRequest};

use super::{ALL, broker_announcements, broker_streams, key, message, room, session, user};
use crate::broker::{Broker, BrokerError, Durability, Keep, Publication, Published};
use crate::log::{AppendError, ReadLimit};

/// Runs all clauses. `make` gives a broker over an empty log that keeps at least 100 records for each room, each time one
/// of its own.
pub async fn broker<B: Broker>(make: impl Fn() -> B) {
    publications_take_effect_in_the_order_of_their_calls(make()).await;
    a_record_is_read_as_it_was_published(make()).await;
    a_page_holds_the_rooms_state_and_keeps_to_its_limit(make()).await;
    the_same_publish_under_its_id_is_stored_once(make()).await;
    no_weaker_durability_is_given_than_asked(make()).await;
    a_subscribed_rooms_state_is_that_of_its_log(make()).await;
    a_survey_counts_what_is_for_its_reader(make()).await;
    a_survey_answers_in_the_order_of_its_requests(make()).await;
    clearing_removes_the_records_and_no_number(make()).await;
    broker_announcements::all(&make).await;
    broker_streams::all(&make).await;
}

/// A publication to be stored, without an id.
pub(super) fn publication(room: &RoomName, message: Message) -> Publication {
    let keep = Keep::Record { key: None, durability: None };
    Publication { room: room.clone(), message, except: None, keep }
}

pub(super) async fn publish(broker: &impl Broker, room: &RoomName, number: u64) -> Position {
    stored(broker, publication(room, message(number))).await
}

pub(super) async fn stored(broker: &impl Broker, publication: Publication) -> Position {
    match broker.publish(publication).await {
        Ok(Published::Stored { position, duplicate: false, .. }) => position,
        other => panic!("expected a new record, got {other:?}"),
    }
}

pub(super) async fn page(broker: &impl Broker, room: &RoomName) -> Page {
    broker.read(room.clone(), ReadFrom::After(Offset::START), ALL).await.expect("a page")
}

async fn survey(broker: &impl Broker, reader: (&str, Option<&str>), since: Since) -> Survey {
    let requests = vec![SurveyRequest::new(room("a"), since)];
    let surveys = broker.survey(session(reader.0), reader.1.map(user), requests).await.expect("a survey");
    assert_eq!(surveys.len(), 1);
    surveys[0]
}

/// What is published by later calls comes later, and dropping the future withdraws nothing: it only waits.
pub async fn publications_take_effect_in_the_order_of_their_calls(broker: impl Broker) {
    let name = room("a");
    let mut answers = Vec::new();
    for number in 0..60 {
        let answer = broker.publish(publication(&name, message(number)));
        if number % 3 == 0 {
            drop(answer);
        } else {
            answers.push(answer);
        }
    }
    // The last call's answer comes first.
    while let Some(answer) = answers.pop() {
        assert!(matches!(answer.await, Ok(Published::Stored { .. })));
    }
    let order: Vec<_> = page(&broker, &name).await.records.into_iter().map(|record| record.message).collect();
    assert_eq!(order, (0..60).map(message).collect::<Vec<_>>());
}

/// Message and exclusion are read as they were published, at the position that the answer named.
pub async fn a_record_is_read_as_it_was_published(broker: impl Broker) {
    let name = room("@session/s");
    let except = Except { sessions: vec![session("s")], users: vec![user("u")] };
    let excluding = Publication { except: Some(Arc::new(except.clone())), ..publication(&name, message(2)) };
    let positions = [publish(&broker, &name, 1).await, stored(&broker, excluding).await];
    let page = page(&broker, &name).await;
    let read: Vec<_> =
        page.records.iter().map(|r| (r.offset, r.message.clone(), r.except.as_deref())).collect();
    let expected =
        [(positions[0].offset, message(1), None), (positions[1].offset, message(2), Some(&except))];
    assert_eq!(read, expected);
    assert!(positions.iter().all(|position| position.epoch == page.state.epoch));
    assert_eq!(page.state.head, positions[1].offset);
}

/// A page names what the log knew, where it began, and holds what lies there, up to the limit and at least one record.
pub async fn a_page_holds_the_rooms_state_and_keeps_to_its_limit(broker: impl Broker) {
    let name = room("a");
    let unknown = page(&broker, &name).await;
    assert_eq!((unknown.state.head, unknown.records.len()), (Offset(0), 0));
    let mut offsets = Vec::new();
    for number in 0..10 {
        offsets.push(publish(&broker, &name, number).await.offset);
    }
    for (limit, count) in [
        (ReadLimit { records: 4, bytes: usize::MAX }, 4),
        (ReadLimit { records: usize::MAX, bytes: 0 }, 1),
        (ALL, 8),
    ] {
        let page = broker.read(name.clone(), ReadFrom::After(offsets[1]), limit).await.expect("a page");
        let read: Vec<_> = page.records.iter().map(|record| record.offset).collect();
        assert_eq!(read, offsets[2..2 + count], "{limit:?}");
        assert_eq!((page.after(), page.state.head), (offsets[1], offsets[9]));
        assert_eq!(page.is_last(), count == 8);
    }
}

/// A repeated publish is answered as the first was, and stores nothing; another message under its id is refused.
pub async fn the_same_publish_under_its_id_is_stored_once(broker: impl Broker) {
    let name = room("a");
    let keep = Keep::Record { key: Some(key("s", "1")), durability: None };
    let keyed = Publication { keep, ..publication(&name, message(1)) };
    let first = stored(&broker, keyed.clone()).await;
    for _ in 0..3 {
        match broker.publish(keyed.clone()).await {
            Ok(Published::Stored { position, duplicate: true, .. }) => assert_eq!(position, first),
            other => panic!("expected a duplicate, got {other:?}"),
        }
    }
    let refused = broker.publish(Publication { message: message(2), ..keyed }).await;
    assert_eq!(refused, Err(BrokerError::Append(AppendError::Conflict)));
    assert_eq!(page(&broker, &name).await.records.len(), 1);
}

/// A publication is as safe as it was asked to be when it is answered; where that cannot be, it is refused, not stored.
pub async fn no_weaker_durability_is_given_than_asked(broker: impl Broker) {
    let name = room("a");
    let mut count = 0;
    for asked in [None, Some(Durability::Memory), Some(Durability::Disk), Some(Durability::Broker)] {
        let keep = Keep::Record { key: None, durability: asked };
        match broker.publish(Publication { keep, ..publication(&name, message(count)) }).await {
            Ok(Published::Stored { durability, .. }) => {
                assert!(Some(durability) >= asked, "{durability:?} instead of {asked:?}");
                count += 1;
            }
            Err(BrokerError::Durability { strongest }) => assert!(Some(strongest) < asked, "{asked:?}"),
            other => panic!("asked for {asked:?}, got {other:?}"),
        }
    }
    assert_eq!(page(&broker, &name).await.records.len() as u64, count, "what was refused is not stored");
}

/// Subscribing answers the head at that moment; it can be done and undone any number of times.
pub async fn a_subscribed_rooms_state_is_that_of_its_log(broker: impl Broker) {
    let name = room("a");
    let fresh = broker.subscribe(name.clone()).await.expect("a state");
    assert_eq!((fresh.head, fresh.cut), (Offset(0), Offset(0)));
    let position = publish(&broker, &name, 1).await;
    let again = broker.subscribe(name.clone()).await.expect("a state");
    assert_eq!(again.position(), position);
    for _ in 0..3 {
        broker.unsubscribe(name.clone());
    }
    assert_eq!(page(&broker, &name).await.state, again, "unsubscribing removes nothing");
}

/// `deliverable` counts kept records after the start that do not exclude the session or its user.
pub async fn a_survey_counts_what_is_for_its_reader(broker: impl Broker) {
    let mut positions = Vec::new();
    for number in 0..20 {
        let sessions = if number % 2 == 0 { vec![session("even")] } else { vec![] };
        let users = if number % 5 == 0 { vec![user("fifth")] } else { vec![] };
        let except = Some(Arc::new(Except { sessions, users }));
        let publication = Publication { except, ..publication(&room("a"), message(number)) };
        positions.push(stored(&broker, publication).await);
    }
    let (tenth, last) = (positions[9], positions[19]);
    for (reader, since, count) in [
        (("other", None), Since::Start, 20),
        (("other", None), Since::Now, 0),
        (("other", None), Since::Position(tenth), 10),
        (("other", None), Since::Position(last), 0),
        (("even", None), Since::Start, 10),
        (("even", None), Since::Position(tenth), 5),
        (("other", Some("fifth")), Since::Start, 16),
        (("even", Some("fifth")), Since::Start, 8),
        (("fifth", Some("even")), Since::Start, 20),
    ] {
        let survey = survey(&broker, reader, since).await;
        assert_eq!(survey.deliverable, count, "{reader:?} {since:?}");
        assert_eq!(survey.resume, since.resume(&survey.state));
        assert_eq!(survey.state.position(), last);
    }
    let beyond = Position { offset: last.offset.next(), ..last };
    let ahead = survey(&broker, ("other", None), Since::Position(beyond)).await;
    assert_eq!(ahead.deliverable, 20, "a reset to the cut leaves everything that is kept");
}

/// Each request has its answer, in order, rooms that are unknown or asked for twice included.
pub async fn a_survey_answers_in_the_order_of_its_requests(broker: impl Broker) {
    for (name, count) in [("a", 1), ("b", 2), ("c", 3)] {
        for number in 0..count {
            publish(&broker, &room(name), number).await;
        }
    }
    let names = ["c", "unknown", "a", "c", "b"].map(room);
    let request = |room: &RoomName| SurveyRequest::new(room.clone(), Since::Start);
    let requests = names.iter().map(request).collect();
    let surveys = broker.survey(session("s"), None, requests).await.expect("surveys");
    assert_eq!(surveys.iter().map(|survey| survey.deliverable).collect::<Vec<_>>(), [3, 0, 1, 3, 2]);
    assert_eq!(broker.survey(session("s"), None, vec![]).await.expect("none").len(), 0);
}

/// A cleared room keeps its head; who had not read everything is told why; what comes is announced as ever.
pub async fn clearing_removes_the_records_and_no_number(broker: impl Broker) {
    let name = room("a");
    broker.subscribe(name.clone()).await.expect("a state");
    let first = publish(&broker, &name, 1).await;
    let head = publish(&broker, &name, 2).await;
    broker.clear(name.clone()).await.expect("cleared");
    let Page { state, records, .. } = page(&broker, &name).await;
    assert_eq!((state.head, state.cut, state.cleared), (head.offset, head.offset, head.offset));
    assert_eq!(records, []);
    let told = survey(&broker, ("s", None), Since::Position(first)).await;
    let reset = Resume::Reset { reason: ResetReason::Cleared, from: Some(first.offset), to: head.offset };
    assert_eq!((told.resume, told.deliverable), (reset, 0));
    let next = publish(&broker, &name, 3).await;
    assert!(next.offset > head.offset);
    assert_eq!(page(&broker, &name).await.records.len(), 1);
}
