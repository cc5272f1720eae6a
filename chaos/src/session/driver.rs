//! Drives the client machine: connects, reads, performs what it wants, and takes commands.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use moorline_proto::client::{Client, ClientConfig, Input, Output};
use moorline_proto::id::{RoomName, SessionId};
use moorline_proto::position::{Epoch, Offset};
use moorline_proto::resume::Since;
use moorline_proto::time::Instant;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::log::{Log, Record};
use super::{Command, Seat};
use crate::history::{Ending, Entry, What};
use crate::proxy::Link;
use crate::random::Random;
use crate::run::{Run, uncount};
use crate::socket::{Incoming, Socket, SocketError};

pub(super) struct Driver {
    pub(super) run: Arc<Run>,
    pub(super) seat: Seat,
    pub(super) random: Random,
    pub(super) machine: Client,
    /// What the machine wants and is not done yet.
    pub(super) todo: VecDeque<Output>,
    /// How much its clock is ahead: it was told that a delay is over.
    pub(super) ahead: Duration,
    pub(super) socket: Option<Socket>,
    pub(super) link: Option<Arc<Link>>,
    pub(super) connection: u32,
    /// The next text that is sent is `hello`.
    pub(super) greets: bool,
    pub(super) is_up: bool,
    pub(super) lost_at: Option<Instant>,
    /// The epochs that this connection named.
    pub(super) epochs: HashMap<RoomName, Epoch>,
    /// Acknowledgements without an answer, on this connection.
    pub(super) acks: BTreeMap<u32, (RoomName, Offset)>,
    pub(super) acks_sent: u32,
    /// Messages since the last acknowledgement.
    pub(super) unacked: HashMap<RoomName, u32>,
    pub(super) members: HashSet<RoomName>,
    /// Rooms that were asked for and are not confirmed.
    pub(super) joining: HashSet<RoomName>,
    /// Rooms whose last message is waited for.
    pub(super) awaited: HashSet<RoomName>,
    pub(super) log: Log,
    /// Where each publish is in the record.
    pub(super) publishes: HashMap<String, usize>,
    pub(super) lingering: Vec<JoinHandle<Vec<Entry>>>,
    pub(super) frozen_until: Option<tokio::time::Instant>,
    pub(super) settles: Option<Arc<HashSet<RoomName>>>,
    commands: mpsc::Receiver<Command>,
}

impl Driver {
    pub(super) fn new(run: Arc<Run>, seat: Seat, commands: mpsc::Receiver<Command>) -> Self {
        let mut random = Random::part(run.seed, seat.number as u64 + 1_000);
        let session = SessionId::new(&seat.name).ok();
        let config = ClientConfig { session, seed: random.draw(), ..ClientConfig::default() };
        Self {
            machine: Client::new(config, run.now()),
            log: Log::new(Arc::clone(&run)),
            run,
            seat,
            random,
            todo: VecDeque::new(),
            ahead: Duration::ZERO,
            socket: None,
            link: None,
            connection: 0,
            greets: false,
            is_up: false,
            lost_at: None,
            epochs: HashMap::new(),
            acks: BTreeMap::new(),
            acks_sent: 0,
            unacked: HashMap::new(),
            members: HashSet::new(),
            joining: HashSet::new(),
            awaited: HashSet::new(),
            publishes: HashMap::new(),
            lingering: Vec::new(),
            frozen_until: None,
            settles: None,
            commands,
        }
    }

    pub(super) async fn run(mut self) -> Record {
        loop {
            self.collect();
            while let Some(output) = self.todo.pop_front() {
                self.perform(output).await;
                self.collect();
            }
            self.settle();
            if let Some(until) = self.frozen_until.take() {
                tokio::time::sleep_until(until).await;
            }
            if !self.wait().await {
                return self.finish().await;
            }
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.run.now() + self.ahead
    }

    pub(super) fn tell(&mut self, input: Input) {
        let now = self.now();
        self.machine.handle(now, input);
    }

    fn collect(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            self.todo.push_back(output);
        }
    }

    /// Waits for whatever comes first. False when it is told to stop.
    async fn wait(&mut self) -> bool {
        let now = self.now();
        let timeout = self.machine.poll_timeout().map_or(Duration::from_secs(3600), |at| at.since(now));
        tokio::select! {
            biased;
            incoming = receive(&mut self.socket) => self.take(incoming).await,
            command = self.commands.recv() => match command {
                None | Some(Command::Stop) => return false,
                Some(command) => self.command(command).await,
            },
            () = tokio::time::sleep(timeout) => {
                let now = self.now();
                self.machine.handle_timeout(now);
            }
        }
        true
    }

    async fn take(&mut self, incoming: Result<Incoming, SocketError>) {
        match incoming {
            Ok(Incoming::Text(text)) => self.hear(text),
            Ok(Incoming::Ping(payload)) => {
                if let Some(socket) = &mut self.socket
                    && socket.pong(&payload).await.is_err()
                {
                    self.lost(Ending::Gone);
                }
            }
            Ok(Incoming::Closed(Some(code))) => {
                if let Some(socket) = &mut self.socket {
                    socket.close(code).await;
                }
                self.lost(Ending::Code(code));
            }
            Ok(Incoming::Closed(None)) | Err(_) => self.lost(Ending::Gone),
        }
    }

    /// The connection has ended.
    pub(super) fn lost(&mut self, ending: Ending) {
        if self.socket.take().is_some() {
            self.log.push(self.connection, What::Closed(ending));
        }
        self.down();
        let code = if let Ending::Code(code) = ending { Some(code) } else { None };
        self.tell(Input::Closed(code));
    }

    /// It is not connected any more.
    pub(super) fn down(&mut self) {
        self.link = None;
        if std::mem::take(&mut self.is_up) {
            uncount(&self.run.progress.established);
            self.lost_at = Some(self.run.now());
        }
    }

    async fn perform(&mut self, output: Output) {
        match output {
            Output::Connect => self.connect().await,
            Output::SendText(text) => self.send(text).await,
            Output::Close(code) => {
                if let Some(mut socket) = self.socket.take() {
                    if let Some(code) = code {
                        socket.close(code.number()).await;
                    }
                    self.log.push(self.connection, What::Closed(Ending::Ours));
                }
                self.down();
            }
            Output::Event(event) => self.event(event),
        }
    }

    async fn connect(&mut self) {
        let path = format!("/ws?user={}", self.seat.user);
        match Socket::open(&self.seat.place, &path).await {
            Ok(socket) => {
                self.connection += 1;
                self.epochs.clear();
                self.acks.clear();
                self.greets = true;
                self.link = self.seat.proxy.as_ref().and_then(|proxy| proxy.link(socket.address()?));
                self.socket = Some(socket);
                self.tell(Input::Opened);
            }
            Err(_) => self.tell(Input::Closed(None)),
        }
    }

    pub(super) async fn send(&mut self, text: String) {
        let greets = std::mem::take(&mut self.greets);
        let text = if greets && self.seat.forgetful && self.random.one_in(2) {
            without_positions(&text)
        } else {
            text
        };
        if let Some(socket) = &mut self.socket
            && socket.text(&text).await.is_err()
        {
            self.lost(Ending::Gone);
        }
    }

    pub(super) fn join(&mut self, room: RoomName) {
        self.log.push(self.connection, What::Joining { room: room.clone() });
        self.joining.insert(room.clone());
        self.tell(Input::Join { room, since: Since::Now });
    }

    async fn finish(mut self) -> Record {
        if self.is_up {
            uncount(&self.run.progress.established);
        }
        if let Some(mut socket) = self.socket.take() {
            socket.close(1000).await;
            self.log.push(self.connection, What::Closed(Ending::Ours));
        }
        let mut record = std::mem::take(&mut self.log.record);
        for lingering in self.lingering {
            // A task that broke has seen nothing.
            record.entries.extend(lingering.await.unwrap_or_default());
        }
        record.entries.sort_by_key(|entry| entry.at);
        record
    }
}

/// What comes next; never, without a connection.
async fn receive(socket: &mut Option<Socket>) -> Result<Incoming, SocketError> {
    match socket {
        Some(socket) => socket.receive().await,
        None => std::future::pending().await,
    }
}

/// A `hello` that names no positions.
fn without_positions(hello: &str) -> String {
    let mut frame: serde_json::Value = serde_json::from_str(hello).unwrap_or_default();
    match frame.as_object_mut() {
        Some(fields) => {
            fields.remove("positions");
            frame.to_string()
        }
        None => hello.to_owned(),
    }
}
