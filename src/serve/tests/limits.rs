//! Each limit holds, says so, and is lifted afterwards.

use std::io::ErrorKind;
use std::thread::spawn;
use std::time::Instant;

use super::*;

#[test]
fn a_body_that_is_too_large_is_refused_whether_declared_or_not() {
    let server = serve(Toy::new(), |options| options.max_body = 1000);
    let declared = ask(&server, &post("/v1/predict", "image/png", &vec![b'x'; 5_000_000]));
    assert_eq!((declared.status, &declared.json()["error"]["code"]), (413, &json!("too_large")));
    let head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let chunks = [b"1f4\r\n".to_vec(), vec![b'x'; 500], b"\r\n".to_vec()].concat().repeat(4);
    let chunked = ask(&server, &[head, chunks, b"0\r\n\r\n".to_vec()].concat());
    assert_eq!((chunked.status, &chunked.json()["error"]["code"]), (413, &json!("too_large")));
    let exact = ask(&server, &post("/v1/predict", "image/png", &[b'x'; 1000]));
    assert_eq!(exact.status, 422);
}

#[test]
fn a_client_that_trickles_is_cut_off() {
    let server = serve(Toy::new(), |options| options.timeout = Duration::from_millis(300));
    // The head of a request, one byte at a time: every byte in time, the whole never.
    let begun = Instant::now();
    let mut slow = Client::connect(server.address()).unwrap();
    for byte in b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy".chunks(1) {
        if slow.send(byte).is_err() {
            break;
        }
        sleep(Duration::from_millis(20));
    }
    assert!(slow.receive().is_err());
    // Nothing at all, and nothing after an answer.
    assert_eq!(Client::connect(server.address()).unwrap().receive().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    let mut idle = Client::connect(server.address()).unwrap();
    assert_eq!(idle.get("/healthz").unwrap().status, 200);
    assert!(idle.receive().is_err());
    assert!(begun.elapsed() < Duration::from_secs(20));
    // A body that stops coming.
    let mut body = Client::connect(server.address()).unwrap();
    let reply = body.ask(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc").unwrap();
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (408, &json!("slow_body")));
}

#[test]
fn a_network_that_is_too_slow_is_not_waited_for() {
    let server = serve(Toy { pause: Duration::from_millis(600), ..Toy::new() }, |options| {
        options.timeout = Duration::from_millis(200);
    });
    let reply = ask_json(&server, &body(&pixels(60)));
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (504, &json!("too_slow")));
}

#[test]
fn more_than_can_be_done_is_refused_at_once() {
    let server = serve(Toy { pause: Duration::from_millis(500), ..Toy::new() }, |options| options.max_concurrent = 2);
    let address = server.address();
    let ask = move || {
        let mut client = Client::connect(address).unwrap();
        client.ask(&post("/v1/predict", "application/json", &body(&pixels(60)))).unwrap()
    };
    let replies: Vec<_> =
        (0..12).map(|_| spawn(ask)).collect::<Vec<_>>().into_iter().map(|one| one.join().unwrap()).collect();
    let served = replies.iter().filter(|reply| reply.status == 200).count();
    assert!((2..12).contains(&served), "{served}");
    for reply in replies.iter().filter(|reply| reply.status != 200) {
        assert_eq!((reply.status, reply.header("retry-after")), (503, "1"));
        assert_eq!(reply.json()["error"]["code"], "busy");
    }
    assert_eq!(ask().status, 200);
    // What costs nothing is not refused.
    assert_eq!(Client::connect(server.address()).unwrap().get("/healthz").unwrap().status, 200);
}

#[test]
fn a_broken_network_harms_its_own_batch_only() {
    let server = serve(Toy::new(), |_| {});
    for (first, message) in [(PANIC, "the network failed unexpectedly"), (FAIL, "the device is gone")] {
        let reply = ask_json(&server, &body(&pixels(first)));
        assert_eq!((reply.status, &reply.json()["error"]["code"]), (500, &json!("failed")));
        assert_eq!(reply.json()["error"]["message"], message);
        assert_eq!(ask_json(&server, &body(&pixels(60))).status, 200);
    }
    let text = Client::connect(server.address()).unwrap().get("/metrics").unwrap().text();
    assert!(text.contains("kiln_panics_total 1\n"), "{text}");
}

#[test]
fn small_requests_do_not_wait_for_large_ones() {
    let server = serve(Toy { pause: Duration::from_millis(20), ..Toy::new() }, |options| options.batch_size = 8);
    let address = server.address();
    let images = (0..400).map(|_| pixels(60)).collect::<Vec<_>>();
    let large = json!({ "images": images }).to_string().into_bytes();
    let large = spawn(move || {
        let mut client = Client::connect(address).unwrap();
        let reply = client.ask(&post("/v1/predict", "application/json", &large)).unwrap();
        (reply.status, Instant::now())
    });
    sleep(Duration::from_millis(100));
    assert_eq!(ask_json(&server, &body(&pixels(61))).status, 200);
    let small = Instant::now();
    let (status, end) = large.join().unwrap();
    assert_eq!(status, 200);
    assert!(small < end, "the small request came last");
}

#[test]
fn stopping_lets_requests_under_way_finish_and_takes_no_more() {
    let server = serve(Toy::new(), |_| {});
    let address = server.address();
    let mut idle = Client::connect(address).unwrap();
    assert_eq!(idle.get("/healthz").unwrap().status, 200);
    let under_way = spawn(move || {
        let mut client = Client::connect(address).unwrap();
        client.ask(&post("/v1/predict", "application/json", &body(&pixels(SLOW)))).unwrap()
    });
    sleep(Duration::from_millis(200));
    server.stop().unwrap();
    assert_eq!(under_way.join().unwrap().json()["predictions"][0], expected(&pixels(SLOW)));
    assert!(idle.receive().is_err());
    assert!(Client::connect(address).and_then(|mut client| client.get("/healthz")).is_err());
}

#[test]
fn a_server_says_why_it_cannot_start() {
    let server = serve(Toy::new(), |_| {});
    let taken = Options { address: server.address(), ..Options::default() };
    let error = crate::serve::start(Arc::new(Toy::new()), &taken).unwrap_err().render();
    assert!(error.contains("cannot listen on `127.0.0.1:") && error.contains("tip: choose another"), "{error}");
    let none = Options { batch_size: 0, ..Options::default() };
    assert!(
        crate::serve::start(Arc::new(Toy::new()), &none)
            .unwrap_err()
            .render()
            .contains("`batch-size`: must be more than 0")
    );
}

#[test]
fn a_client_that_has_said_all_it_has_to_say_is_answered() {
    let server = serve(Toy { pause: Duration::from_millis(5), ..Toy::new() }, |_| {});
    let pixels = pixels(60);
    let requests = [
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), "status"),
        (post("/v1/predict", "application/json", &body(&pixels)), "predictions"),
        (post("/v1/predict", "image/png", &png(&pixels)), "predictions"),
    ];
    for (request, key) in requests.iter().cycle().take(30) {
        let mut client = Client::connect(server.address()).unwrap();
        client.send(request).unwrap();
        client.finish().unwrap();
        let reply = client.receive().unwrap();
        assert_eq!(reply.status, 200);
        assert!(!reply.json()[key].is_null(), "{}", reply.text());
        // And then it is let go.
        assert_eq!(client.receive().unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }
}

#[test]
fn a_picture_that_takes_too_much_memory_is_refused_with_numbers() {
    let server = serve(Toy::new(), |options| options.max_decoded = 2 << 20);
    let reply = ask(&server, &post("/v1/predict", "image/png", &vec![b'x'; 3 << 20]));
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (413, &json!("too_many_pixels")));
    let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!(message, "the picture takes 3 MiB of memory to decode, and may take 2");
    assert_eq!(ask(&server, &post("/v1/predict", "image/png", &png(&pixels(60)))).status, 200);
}

#[test]
fn pictures_wait_for_memory_that_others_have_and_not_for_ever() {
    let server = serve(Toy::new(), |options| {
        options.max_decoded = 2 << 20;
        options.timeout = Duration::from_millis(300);
    });
    let large =
        |begin: &[u8]| post("/v1/predict", "image/png", &[begin, &vec![b'x'; (2 << 20) - begin.len()]].concat());
    let address = server.address();
    let holding = large(b"HOLD");
    let holding = spawn(move || Client::connect(address).unwrap().ask(&holding).unwrap().status);
    sleep(Duration::from_millis(100));
    let reply = ask(&server, &large(b""));
    // With one thread that decodes it never gets to ask for the memory.
    let several = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
    assert_eq!(reply.status, if several { 503 } else { 504 }, "{}", reply.text());
    assert_eq!(holding.join().unwrap(), 504);
    sleep(Duration::from_millis(500));
    assert_eq!(ask(&server, &large(b"")).status, 422);
}
