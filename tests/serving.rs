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
