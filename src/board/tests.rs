//! The board over real sockets and folders: every route, what a folder may hold, and what changes while somebody looks.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Options, start};
use crate::http::Server;
use crate::run::RunDir;
use crate::run::lock::RunLock;
use crate::serve::tests::client::{Client, Reply, post};

/// A folder of runs and its board.
struct Board {
    folder: tempfile::TempDir,
    server: Server,
}

impl Board {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            runs: folder.path().join("runs"),
            address: ([127, 0, 0, 1], 0).into(),
            allow_hosts: vec!["board.example".to_owned()],
        };
        let server = start(&options).unwrap();
        Self { folder, server }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.folder.path().join("runs").join(path);
        let folder = path.parent().unwrap();
        fs::create_dir_all(folder).unwrap();
        // As kiln writes: a name that is put into its place, which the folder's time tells.
        let new = folder.join(".new");
        fs::write(&new, text).unwrap();
        fs::rename(new, path).unwrap();
    }

    fn append(&self, path: &str, text: &str) {
        let path = self.folder.path().join("runs").join(path);
        fs::OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn dir(&self, name: &str) -> RunDir {
        RunDir::at(self.folder.path().join("runs").join(name))
    }

    /// A run with two of four epochs.
    fn run(&self, name: &str, status: &str) {
        self.write(&format!("{name}/config.toml"), CONFIG);
        self.write(&format!("{name}/metrics.jsonl"), &[epoch(1, 0.9), epoch(2, 0.8)].concat());
        self.write(&format!("{name}/run.json"), &record(status).to_string());
    }

    fn get(&self, path: &str) -> Reply {
        Client::connect(self.server.address()).unwrap().get(path).unwrap()
    }

    fn runs(&self) -> Vec<Value> {
        let reply = self.get("/api/runs");
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()["runs"].as_array().unwrap().clone()
    }

    fn status(&self, name: &str) -> Value {
        let found = self.runs().into_iter().find(|run| run["name"] == name);
        found.map_or(Value::Null, |run| run["status"].clone())
    }

    fn listen(&self) -> Events {
        let mut stream = TcpStream::connect(self.server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        Events { lines: BufReader::new(stream) }
    }
}

/// The events of one connection.
struct Events {
    lines: BufReader<TcpStream>,
}

impl Events {
    /// The next event of this kind; nothing when the answer has ended.
    fn next(&mut self, kind: &str) -> Option<Value> {
        let (mut line, mut found) = (String::new(), false);
        // Heartbeats come for ever: a test must end all the same.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(30) {
            line.clear();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            let text = line.trim_end();
            if text == "0" {
                return None;
            }
            if let Some(name) = text.strip_prefix("event: ") {
                found = name == kind;
            }
            if let Some(data) = text.strip_prefix("data: ").filter(|_| found) {
                return Some(serde_json::from_str(data).unwrap());
            }
        }
        panic!("no event `{kind}` came");
    }
}

const CONFIG: &str = "name = \"a\"\n[data]\nkind = \"mnist\"\n[model]\nkind = \"mlp\"\n[train]\nepochs = 4\n";

fn record(status: &str) -> Value {
    json!({
        "schema_version": 1, "status": status, "started": "2026-01-02T03:04:05Z", "kiln_version": "0.1.0",
        "burn_version": "0.22.1", "device": "flex", "seed": 7, "threads": 2, "data_fingerprint": "x", "warnings": [],
        "history": [], "result": (status == "done").then(|| json!({ "test_accuracy": 0.97 })),
    })
}

fn epoch(number: usize, validation: f64) -> String {
    let line = json!({
        "epoch": number, "iteration": number * 10, "learning_rate": 0.1, "train_loss": 1.0 / number as f64,
        "train_accuracy": 0.5, "validation_loss": 1.0, "validation_accuracy": validation, "weights_sha256": "",
        "images_per_second": 100.0, "seconds": 2.0,
    });
    format!("{line}\n")
}

fn point(iteration: usize) -> String {
    let line = json!({
        "epoch": 3, "epochs": 4, "iteration": iteration, "iterations": 40, "loss": 0.25, "accuracy": 0.75,
        "images_per_second": 90.0, "seconds": 5.0,
    });
    format!("{line}\n")
}

#[test]
fn a_run_is_told_in_a_line_and_in_full() {
    let board = Board::new();
    board.run("a-0001", "done");
    let [run] = &board.runs()[..] else { panic!("one run") };
    let expected = json!({
        "name": "a-0001", "status": "done", "experiment": "a", "data": "mnist", "model": "mlp", "optimizer": null, "seed": 7,
        "epochs": 4, "epochs_done": 2, "progress": 1.0, "best_epoch": 1, "validation_accuracy": 0.9,
        "test_accuracy": 0.97, "seconds": 4.0, "train_loss": 0.5, "has_report": false, "message": null,
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&run[key], value, "{key}");
    }
    let whole = board.get("/api/runs/a-0001").json();
    assert_eq!(&whole["run"], run);
    assert_eq!(whole["epochs"].as_array().unwrap().len(), 2);
    assert_eq!((&whole["record"]["threads"], &whole["config"]), (&json!(2), &json!(CONFIG)));
}

#[test]
fn the_lock_decides_whether_a_run_is_in_training() {
    let board = Board::new();
    board.run("a-0001", "running");
    let lock = RunLock::acquire(&board.dir("a-0001")).unwrap();
    assert_eq!(board.status("a-0001"), "running");
    // What a kill leaves: a record that says running, a lock file with a process in it, and nobody who holds it.
    drop(lock);
    board.write("a-0001/lock", "4000000000\n");
    assert_eq!(board.status("a-0001"), "stopped");
    let message = board.runs()[0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("was killed") && message.contains("kiln resume"), "{message}");
    // Asking left the run as it was, and free to go on.
    let again = RunLock::acquire(&board.dir("a-0001")).unwrap();
    assert_eq!(again.taken_over_from, Some(4_000_000_000));
    assert_eq!(board.status("a-0001"), "running");
}

#[test]
fn what_is_appended_is_sent_and_so_is_the_end() {
    let board = Board::new();
    board.run("a-0001", "running");
    board.write("a-0001/progress.jsonl", &point(21));
    let lock = RunLock::acquire(&board.dir("a-0001")).unwrap();
    let mut events = board.listen();
    let all = events.next("all").unwrap();
    assert_eq!((&all["runs"][0]["status"], &all["runs"][0]["progress"]), (&json!("running"), &json!(0.525)));
    board.append("a-0001/progress.jsonl", &point(22));
    let points = events.next("points").unwrap();
    assert_eq!(
        (&points["run"], &points["reset"], &points["progress"][0]["iteration"]),
        (&json!("a-0001"), &json!(false), &json!(22))
    );
    board.append("a-0001/metrics.jsonl", &epoch(3, 0.95));
    assert_eq!(
        events.next("points").unwrap()["epochs"],
        json!([serde_json::from_str::<Value>(&epoch(3, 0.95)).map(without_digest).unwrap()])
    );
    board.append("a-0001/metrics.jsonl", &epoch(4, 0.96));
    board.write("a-0001/run.json", &record("done").to_string());
    drop(lock);
    assert_eq!(events.next("points").unwrap()["epochs"][0]["epoch"], 4);
    let run = loop {
        let event = events.next("runs").unwrap();
        if event["changed"][0]["status"] != "running" {
            break event["changed"][0].clone();
        }
    };
    assert_eq!(
        (&run["status"], &run["epochs_done"], &run["validation_accuracy"]),
        (&json!("done"), &json!(4), &json!(0.96))
    );
    fs::remove_dir_all(board.dir("a-0001").path()).unwrap();
    assert_eq!(events.next("runs").unwrap()["gone"], json!(["a-0001"]));
    // The answer ends with the board, and the board does not wait for it.
    let Board { folder: _folder, server } = board;
    server.stop().unwrap();
    assert_eq!(events.next("runs"), None);
}

fn without_digest(mut line: Value) -> Value {
    line.as_object_mut().unwrap().remove("weights_sha256");
    line
}

#[test]
fn a_run_that_goes_on_from_an_earlier_checkpoint_is_read_anew() {
    let board = Board::new();
    board.run("a-0001", "interrupted");
    board.write("a-0001/progress.jsonl", &[point(21), point(25)].concat());
    let mut events = board.listen();
    assert_eq!(events.next("all").unwrap()["runs"][0]["status"], "stopped");
    let _lock = RunLock::acquire(&board.dir("a-0001")).unwrap();
    let mut resumed = record("running");
    resumed["history"] = json!(["resumed"]);
    board.write("a-0001/progress.jsonl", &point(21));
    board.write("a-0001/run.json", &resumed.to_string());
    assert_eq!(events.next("points").unwrap()["reset"], true);
    board.append("a-0001/progress.jsonl", &point(23));
    assert_eq!(events.next("points").unwrap()["progress"][0]["iteration"], 23);
}

#[test]
fn whatever_is_in_the_folder_there_is_a_list() {
    let board = Board::new();
    assert_eq!(board.runs(), Vec::<Value>::new(), "the folder does not exist");
    fs::create_dir_all(board.dir("").path()).unwrap();
    assert_eq!(board.runs(), Vec::<Value>::new());
    board.run("good", "done");
    board.write("no-run/notes.txt", "");
    board.write("file", "");
    board.write(".kiln-new-x/run.json", "{}");
    board.write("no-record/config.toml", "[train]\nepochs = -3\n");
    board.write("torn/run.json", "{\"schema_version\":1,");
    board.write("newer/run.json", "{\"schema_version\":99}");
    board.write("<img src=x onerror=alert(1)>/run.json", "\u{0}\u{fffd}");
    board.run("damaged-lines", "failed");
    board.append("damaged-lines/metrics.jsonl", "null\n{}\n{\"epoch\":3,\"train_loss\":null}\n{\"epoch\":4,");
    fs::create_dir_all(board.dir("folders").path().join("run.json")).unwrap();
    fs::create_dir_all(board.dir("folders").path().join("checkpoints")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("/nowhere", board.dir("dangling").path()).unwrap();
    let runs = board.runs();
    let told: Vec<(&str, &str)> =
        runs.iter().map(|run| (run["name"].as_str().unwrap(), run["status"].as_str().unwrap())).collect();
    let expected = [
        ("<img src=x onerror=alert(1)>", "unreadable"),
        ("damaged-lines", "failed"),
        ("folders", "unreadable"),
        ("good", "done"),
        ("newer", "unreadable"),
        ("no-record", "unreadable"),
        ("torn", "unreadable"),
    ];
    assert_eq!(told, expected);
    assert!(runs[4]["message"].as_str().unwrap().contains("version 99"), "{}", runs[4]);
    assert_eq!(runs[1]["epochs_done"], 3);
    for run in &runs {
        let name: String = run["name"].as_str().unwrap().bytes().map(|byte| format!("%{byte:02X}")).collect();
        assert_eq!(board.get(&format!("/api/runs/{name}")).status, 200, "{run}");
    }
    fs::remove_dir_all(board.dir("").path()).unwrap();
    assert_eq!(board.runs(), Vec::<Value>::new(), "the folder is gone");
}

#[test]
fn a_thousand_runs_are_listed_right_and_a_second_look_sees_what_changed() {
    let board = Board::new();
    for number in 0..1000 {
        board.run(&format!("r-{number:04}"), if number % 2 == 0 { "done" } else { "interrupted" });
    }
    let runs = board.runs();
    assert_eq!(runs.len(), 1000);
    for (number, run) in runs.iter().enumerate() {
        assert_eq!(run["name"], format!("r-{number:04}"));
        assert_eq!(run["status"], if number % 2 == 0 { "done" } else { "stopped" });
    }
    board.run("r-0003", "done");
    board.run("r-1000", "failed");
    fs::remove_dir_all(board.dir("r-0500").path()).unwrap();
    let runs = board.runs();
    assert_eq!(runs.len(), 1000);
    assert_eq!(
        (&runs[3]["status"], &runs[500]["name"], &runs[999]["status"]),
        (&json!("done"), &json!("r-0501"), &json!("failed"))
    );
}

#[test]
fn nothing_outside_of_the_runs_that_were_found_can_be_asked_for() {
    let board = Board::new();
    board.run("a-0001", "done");
    fs::write(board.folder.path().join("report.html"), "secret").unwrap();
    fs::write(board.folder.path().join("run.json"), "{}").unwrap();
    fs::write(Path::new(board.dir("").path()).join("report.html"), "secret").unwrap();
    for name in [
        "..",
        ".",
        "%2e%2e",
        "..%2f..",
        "a-0001%2f..",
        "%2e%2e%2fruns%2fa-0001",
        "%00",
        "%ff",
        "a-0001%00",
        "a-0002",
        ".",
    ] {
        for path in ["/reports/", "/api/runs/"] {
            let reply = board.get(&format!("{path}{name}"));
            assert_eq!(reply.status, 404, "{path}{name}: {}", reply.text());
            assert!(!reply.text().contains("secret"));
        }
    }
    for path in ["/reports/../report.html", "/../report.html", "/reports/", "/api", "/a-0001/run.json", "//"] {
        assert_eq!(board.get(path).status, 404, "{path}");
    }
}

#[test]
fn a_report_is_served_as_a_page_that_can_do_nothing() {
    let board = Board::new();
    board.run("a-0001", "done");
    let missing = board.get("/reports/a-0001");
    assert_eq!((missing.status, &missing.json()["error"]["code"]), (404, &json!("no_report")));
    assert!(
        missing.json()["error"]["tip"].as_str().unwrap().starts_with("make one: kiln report "),
        "{}",
        missing.text()
    );
    board.write("a-0001/report.html", "<!doctype html><script>alert(1)</script>");
    let reply = board.get("/reports/a-0001");
    assert_eq!((reply.status, reply.text().as_str()), (200, "<!doctype html><script>alert(1)</script>"));
    let policy = reply.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; ") && policy.ends_with("; sandbox"), "{policy}");
    assert!(!policy.contains("script-src"), "{policy}");
    assert_eq!(board.runs()[0]["has_report"], true);
}

#[test]
fn only_looking_is_answered_and_only_to_those_who_may() {
    let board = Board::new();
    board.run("a-0001", "done");
    let page = board.get("/");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    let ask = |request: &str| Client::connect(board.server.address()).unwrap().ask(request.as_bytes()).unwrap();
    for path in ["/", "/api/runs", "/api/runs/a-0001", "/api/events", "/reports/a-0001"] {
        let refused = ask(&format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n"));
        assert_eq!(refused.status, 421, "{path}");
        let foreign = ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n"));
        assert_eq!(foreign.status, 403, "{path}");
        let posted = Client::connect(board.server.address()).unwrap().ask(&post(path, "text/plain", b"x")).unwrap();
        assert_eq!((posted.status, posted.header("allow")), (405, "GET, HEAD"), "{path}");
    }
    assert_eq!(ask("GET /api/runs HTTP/1.1\r\nHost: board.example\r\n\r\n").status, 200);
}

#[test]
fn a_name_in_an_address_is_written_so_that_it_is_read_back() {
    assert_eq!(super::fragment("mnist-0001"), "#mnist-0001");
    assert_eq!(super::fragment("a,b c%"), "#a%2Cb%20c%25");
}
