//! `moorline stream`, as it is typed, against `moorline dev`.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// A server, and where it is.
fn dev(more: &[&str]) -> (Running, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_moorline"))
        .arg("dev")
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let server = Running(child);
    let url = lines.find_map(|line| Some(format!("http{}", line.unwrap().split_once("http")?.1))).unwrap();
    let url = url.split_whitespace().next().unwrap().to_owned();
    // What it says later has nowhere else to go.
    std::thread::spawn(move || lines.for_each(drop));
    (server, url)
}

const ANYWHERE: [&str; 2] = ["--listen", "127.0.0.1:0"];

fn signal(running: &Running, signal: &str) {
    let killed = Command::new("kill").args([signal, &running.0.id().to_string()]).status().unwrap();
    assert!(killed.success());
}

fn moorline(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moorline"));
    command.args(arguments).args(["--url", url]).env_remove("MOORLINE_KEY").env_remove("MOORLINE_URL");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn start(url: &str, arguments: &[&str]) -> (Running, ChildStdin) {
    let mut child = moorline(url, arguments).spawn().unwrap();
    let input = child.stdin.take().unwrap();
    (Running(child), input)
}

/// Waits until the room's messages hold that.
fn wait_for(url: &str, wanted: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let output = moorline(url, &["rooms", "messages", "r", "-o", "json"]).output().unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        if shown.contains(wanted) {
            return;
        }
        assert!(Instant::now() < until, "{wanted} is not in {shown}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The exit code, the output and the complaints.
fn end(mut running: Running) -> (i32, String, String) {
    let (mut output, mut errors) = (String::new(), String::new());
    running.0.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    running.0.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    (running.0.wait().unwrap().code().unwrap(), output, errors)
}

#[test]
fn r27_streams_standard_input_is_written_before_its_lines_end() {
    let (_server, url) = dev(&ANYWHERE);
    let (running, mut input) = start(&url, &["stream", "r"]);
    input.write_all(b"no end of a line").unwrap();
    wait_for(&url, r#""content":"no end of a line""#);
    input.write_all("\u{e9}".as_bytes()).unwrap();
    drop(input);
    let (code, output, errors) = end(running);
    let name = errors.trim_end().strip_prefix("moorline: the stream is ").unwrap();
    assert!(
        code == 0 && output.starts_with("r ") && output.ends_with(&format!(" stream={name} at=17\n")),
        "{output}"
    );
    wait_for(&url, r#""complete""#);
}

#[test]
fn r27_streams_a_signal_ends_the_stream_as_cancelled() {
    let (_server, url) = dev(&ANYWHERE);
    for (word, name) in [("-INT", "a"), ("-TERM", "b")] {
        let (running, mut input) = start(&url, &["stream", "r", "--stream", name]);
        input.write_all(name.as_bytes()).unwrap();
        wait_for(&url, &format!(r#""content":"{name}""#));
        signal(&running, word);
        let (code, output, errors) = end(running);
        assert_eq!((code, output.as_str()), (130, ""), "{errors}");
        wait_for(&url, &format!(r#""type":"cancelled","stream":"{name}""#));
    }
}

#[test]
fn r27_streams_what_is_no_text_is_exit_code_1_and_a_wrong_name_2() {
    let (_server, url) = dev(&ANYWHERE);
    let (running, mut input) = start(&url, &["stream", "r"]);
    input.write_all(b"ab\xffcd").unwrap();
    drop(input);
    let (code, _, errors) = end(running);
    assert!(code == 1 && errors.contains("byte 2"), "{errors}");
    for wrong in [&["stream", "@all"][..], &["stream", "r", "--stream", "@a"], &["stream", ""]] {
        let (running, _input) = start(&url, wrong);
        let (code, _, errors) = end(running);
        assert!(code == 2 && !errors.is_empty(), "{wrong:?}: {errors}");
    }
    // Those may be names, and cannot be written into a URL.
    for wrong in
        [&["stream", "r", "--stream", "."][..], &["stream", "r", "--stream", ".."], &["stream", ".."]]
    {
        let (running, _input) = start(&url, wrong);
        let (code, output, errors) = end(running);
        assert!(code == 2 && output.is_empty() && errors.contains("choose another"), "{wrong:?}: {errors}");
    }
}

/// A directory that goes with the test.
struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

fn folder(name: &str) -> Folder {
    let name = format!("{name}-{}", std::process::id());
    Folder(std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name))
}

#[test]
fn r27_streams_a_restart_of_the_server_is_bridged() {
    let folder = folder("stream-restart");
    let data = folder.0.join("data");
    let keep = ["--data", data.to_str().unwrap(), "--listen"];
    let (mut server, url) = dev(&[keep[0], keep[1], keep[2], "127.0.0.1:0"]);
    let address = url.strip_prefix("http://").unwrap().trim_end_matches('/').to_owned();
    let (running, mut input) = start(&url, &["stream", "r", "--stream", "a"]);
    input.write_all("one é".as_bytes()).unwrap();
    wait_for(&url, r#""content":"one é""#);
    for (word, more, so_far) in [("-TERM", ", two", "one é, two"), ("-KILL", ", three", "one é, two, three")]
    {
        signal(&server, word);
        server.0.wait().unwrap();
        // Nobody is there to take it.
        input.write_all(more.as_bytes()).unwrap();
        server = dev(&[keep[0], keep[1], keep[2], &address]).0;
        wait_for(&url, &format!(r#""content":"{so_far}""#));
    }
    drop(input);
    let (code, output, errors) = end(running);
    assert!(code == 0 && output.ends_with(" stream=a at=17\n"), "{output} {errors}");
    assert!(errors.contains("trying again") && errors.contains("going on"), "{errors}");
    wait_for(&url, r#""type":"complete","stream":"a""#);
}

/// Sends a request, the beginning of its body too, and returns the connection.
fn begin(address: &str, request: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head =
        format!("{request} HTTP/1.1\r\nHost: {address}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    socket.write_all(head.as_bytes()).unwrap();
    socket
}

fn answer(mut socket: TcpStream) -> String {
    let mut answer = Vec::new();
    // A server that refuses may cut what it does not read.
    let _cut = socket.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

#[test]
fn r27_streams_a_request_that_a_restart_ends_is_gone_on_with() {
    let folder = folder("put-restart");
    let data = folder.0.join("data");
    let keep = ["--data", data.to_str().unwrap(), "--listen"];
    let (mut server, url) = dev(&[keep[0], keep[1], keep[2], "127.0.0.1:0"]);
    let address = url.strip_prefix("http://").unwrap().trim_end_matches('/').to_owned();
    let socket = begin(&address, "PUT /v1/rooms/r/streams/a");
    wait_for(&url, r#""content":"abc""#);
    signal(&server, "-TERM");
    let answered = answer(socket);
    assert!(server.0.wait().unwrap().success());
    assert!(answered.starts_with("HTTP/1.1 503 ") && answered.contains(r#""at":3"#), "{answered}");
    server = dev(&[keep[0], keep[1], keep[2], &address]).0;
    let mut socket = begin(&address, "PUT /v1/rooms/r/streams/a?at=3");
    socket.write_all(b"0\r\n\r\n").unwrap();
    wait_for(&url, r#""type":"complete","stream":"a""#);
    wait_for(&url, r#""content":"abcabc""#);
    drop(server);
    assert!(answer(socket).contains(r#""at":6"#));
}
