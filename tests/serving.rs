//! The server as a process: what it answers, and how it stops.

use crate::fixture::Folder;

#[cfg(unix)]
#[test]
fn the_server_answers_as_predict_does_and_stops_in_good_order() {
    use std::io::{BufRead as _, BufReader};

    use crate::client::{Client, post};

    let folder = Folder::new();
    folder.train(&["train.epochs=1"]);
    image::GrayImage::from_fn(12, 12, |x, y| image::Luma([(x * y) as u8]))
        .save(folder.path().join("picture.png"))
        .unwrap();
    let expected = folder.json(&["predict", "runs/smoke-0001", "picture.png"]);

    let mut server = folder.start_piped(&["serve", "runs/smoke-0001", "--addr", "127.0.0.1:0", "--json"]);
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = said["url"].as_str().unwrap().trim_start_matches("http://").trim_end_matches('/');
    let mut client = Client::connect(address.parse().unwrap()).unwrap();
    let picture = std::fs::read(folder.path().join("picture.png")).unwrap();
    let reply = client.ask(&post("/v1/predict", "image/png", &picture)).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let prediction = &reply.json()["predictions"][0];
    assert_eq!((&prediction["label"], &prediction["probability"]), (&expected["label"], &expected["probability"]));

    let sent = std::process::Command::new("kill").args(["-TERM", &server.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(server.wait().unwrap().code(), Some(0));
}

/// The runs on the board at `address`, by name and status.
#[cfg(unix)]
fn statuses(address: &str) -> Vec<(String, String)> {
    let mut client = crate::client::Client::connect(address.parse().unwrap()).unwrap();
    let runs = client.get("/api/runs").unwrap().json()["runs"].as_array().unwrap().clone();
    let text = |run: &serde_json::Value, key: &str| run[key].as_str().unwrap().to_owned();
    runs.iter().map(|run| (text(run, "name"), text(run, "status"))).collect()
}

#[cfg(unix)]
#[test]
fn the_board_tells_a_run_in_training_from_one_that_was_killed() {
    use std::io::{BufRead as _, BufReader};

    use crate::fixture::small;

    let folder = Folder::new();
    let mut board = folder.start_piped(&["board", "--addr", "127.0.0.1:0", "--json"]);
    let mut line = String::new();
    BufReader::new(board.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = said["url"].as_str().unwrap().trim_start_matches("http://").trim_end_matches('/').to_owned();
    assert!(statuses(&address).is_empty(), "the folder does not exist yet");

    let mut training = folder.start(&small(&["train"], &["train.epochs=100000"]));
    let run = |status: &str| vec![("smoke-0001".to_owned(), status.to_owned())];
    let begun = std::time::Instant::now();
    while statuses(&address) != run("running") {
        assert!(begun.elapsed().as_secs() < 60, "{:?}", statuses(&address));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    training.kill().unwrap();
    training.wait().unwrap();
    assert_eq!(statuses(&address), run("stopped"));

    std::process::Command::new("kill").args(["-TERM", &board.id().to_string()]).status().unwrap();
    assert_eq!(board.wait().unwrap().code(), Some(0));
}

#[test]
fn an_address_in_use_is_an_error_that_names_it() {
    let folder = Folder::new();
    folder.train(&["train.epochs=1"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = folder.kiln(&["serve", "runs/smoke-0001", "--addr", &address]);
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains(&address), "{}", ran.stderr);
}
