//! One session, claimed by everyone: by another user, with an old token, by guesses, and by a thousand at once.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::room;
use crate::peer::{Heard, Peer, PeerError};
use crate::publisher::{Letter, Publisher};
use crate::random::Random;
use crate::report::{Bar, Verdict};
use crate::server::Server;
use crate::socket::Place;
use crate::world::Plan;

const RACERS: u32 = 1_000;
const GUESSES: usize = 1_000;
/// How long a connection is listened to for what it must not get.
const LISTEN: Duration = Duration::from_millis(300);
const LIMIT: Duration = Duration::from_secs(60);

/// The session that everyone wants.
const SESSION: &str = "wanted";
const OWNER: &str = "ann";

pub(super) async fn run(plan: &Plan) -> Result<Verdict> {
    let setup = plan.setup().with("SESSION__PER_USER_MAX", 100_000);
    let mut server = Server::start(setup, &plan.folder).await?;
    let mut publisher = Publisher::new(std::sync::Arc::clone(&plan.run), server.api().clone(), 1);
    let place = Place::at(server.address());
    let bars = vec![
        strangers(&place, &mut publisher).await?,
        rotated(&place).await?,
        guesses(plan, &place, &mut publisher).await?,
        race(plan, &server, &mut publisher).await?,
    ];
    server.ensure_alive()?;
    Ok(Verdict { bars, skipped: None })
}

fn claim(token: Option<&str>) -> Value {
    match token {
        Some(token) => json!({"session": SESSION, "resume_token": token}),
        None => json!({"session": SESSION}),
    }
}

/// Whether a connection that came for the session got it, or anything of it.
async fn leaks(peer: &mut Peer) -> bool {
    let is_its = peer.greeting.resumed || peer.greeting.session == SESSION;
    let (texts, _) = peer.texts(LISTEN, |_| false).await;
    is_its || texts.iter().any(|text| text.contains("\"chaos\""))
}

async fn whisper(publisher: &mut Publisher) -> Result<()> {
    let accepted = publisher.publish(Letter::to_room(&own()), LIMIT).await;
    ensure!(accepted, "a publish to the session was not accepted");
    Ok(())
}

fn own() -> moorline_proto::id::RoomName {
    let name = format!("@session/{SESSION}");
    moorline_proto::id::RoomName::stored(&name).unwrap_or_else(|_| room("none"))
}

/// Another user, and nobody at all, with and without the right token.
async fn strangers(place: &Place, publisher: &mut Publisher) -> Result<Bar> {
    let owner = Peer::open(place, Some(OWNER), &claim(None)).await?;
    let token = owner.greeting.resume_token.clone();
    let mut leaked = 0;
    let tries = [(Some("bob"), Some(token.as_str())), (Some("bob"), None), (None, None)];
    for (user, token) in tries {
        let mut stranger = Peer::open(place, user, &claim(token)).await?;
        whisper(publisher).await?;
        leaked += usize::from(leaks(&mut stranger).await);
    }
    // The same while the owner is away.
    drop(owner);
    for (user, token) in tries {
        whisper(publisher).await?;
        let mut stranger = Peer::open(place, user, &claim(token)).await?;
        leaked += usize::from(leaks(&mut stranger).await);
    }
    Ok(Bar::new(format!("nobody else gets the session or its messages ({leaked} leaks)"), leaked == 0))
}

/// Tokens alone: each establishment gives a new one, and the old one ends once a newer one was presented.
async fn rotated(place: &Place) -> Result<Bar> {
    let hello = |token: &str| json!({"session": "rotated", "resume_token": token});
    let first = Peer::open(place, None, &json!({"session": "rotated"})).await?;
    let second = Peer::open(place, None, &hello(&first.greeting.resume_token)).await?;
    let again = Peer::open(place, None, &hello(&first.greeting.resume_token)).await?;
    let third = Peer::open(place, None, &hello(&again.greeting.resume_token)).await?;
    let old = Peer::open(place, None, &hello(&first.greeting.resume_token)).await?;
    let works = second.greeting.resumed && again.greeting.resumed && third.greeting.resumed;
    let what = "a token works until a newer one was presented, and not after that";
    Ok(Bar::new(what, works && !old.greeting.resumed && old.greeting.session != "rotated"))
}

async fn guesses(plan: &Plan, place: &Place, publisher: &mut Publisher) -> Result<Bar> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    whisper(publisher).await?;
    let mut random = Random::part(plan.run.seed, 1);
    let mut guessing = JoinSet::new();
    for _ in 0..GUESSES {
        let token: String = (0..43).map(|_| char::from(DIGITS[random.index(DIGITS.len())])).collect();
        let place = place.clone();
        guessing.spawn(async move {
            let mut peer = Peer::open(&place, None, &claim(Some(&token))).await?;
            Ok::<_, PeerError>(leaks(&mut peer).await)
        });
    }
    let mut leaked = 0;
    while let Some(guessed) = guessing.join_next().await {
        leaked += usize::from(guessed??);
    }
    Ok(Bar::new(format!("{GUESSES} guessed tokens get nothing ({leaked} leaks)"), leaked == 0))
}

/// All present the same good token at once: each is resumed, and one of them is left.
async fn race(plan: &Plan, server: &Server, publisher: &mut Publisher) -> Result<Bar> {
    let count = plan.sessions(RACERS);
    let owner = Peer::open(&Place::at(server.address()), Some(OWNER), &claim(None)).await?;
    let token = owner.greeting.resume_token.clone();
    let mut racing = JoinSet::new();
    for _ in 0..count {
        let (place, token) = (Place::at(server.address()), token.clone());
        racing.spawn(async move { Peer::open(&place, Some(OWNER), &claim(Some(&token))).await });
    }
    let mut racers = vec![owner];
    // Whoever was replaced before it was greeted got no session.
    let mut ungreeted = 0;
    while let Some(racer) = racing.join_next().await {
        match racer? {
            Ok(racer) => racers.push(racer),
            Err(PeerError::Closed(Some(4001))) => ungreeted += 1,
            Err(error) => return Err(error).context("a racer"),
        }
    }
    whisper(publisher).await?;
    let (mut owners, mut replaced, mut other) = (0, 0, 0);
    let mut listening = JoinSet::new();
    for mut racer in racers {
        let is_its = racer.greeting.session == SESSION;
        listening.spawn(async move {
            let last = format!("\"key\":\"1.{}\"", LAST_WHISPER);
            (is_its, racer.texts(LISTEN * 3, |text| text.contains(&last)).await.1)
        });
    }
    while let Some(heard) = listening.join_next().await {
        match heard? {
            (true, Heard::Last) => owners += 1,
            (true, Heard::Closed(Some(4001))) => replaced += 1,
            _ => other += 1,
        }
    }
    let what = format!(
        "of {count} at once exactly one owns it (owners {owners}, closed with 4001 after the greeting {replaced}, before it {ungreeted}, others {other})"
    );
    Ok(Bar::new(what, owners == 1 && other == 0))
}

/// The number of the message that only the owner may get: six came to strangers, one to guessers, and this one.
const LAST_WHISPER: u32 = 8;
