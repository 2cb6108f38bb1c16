//! Wrong input: each is answered with its status and code, and the server goes on.

use super::*;

/// What is sent as the body of a prediction: content type, query, body, status, code.
fn bodies() -> Vec<(&'static str, &'static str, Vec<u8>, u16, &'static str)> {
    let good = png(&pixels(50));
    let mut huge = good.clone();
    huge[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    let list = |count: usize, value: &str| format!("{{\"pixels\": [{}]}}", vec![value; count].join(","));
    let with_last = |value: &str| format!("{{\"pixels\": [{},{value}]}}", vec!["0"; 29].join(","));
    let (json, image) = ("application/json", "image/png");
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        (json, "", text(""), 400, "bad_json"),
        (json, "", text("{"), 400, "bad_json"),
        (json, "", text("nonsense"), 400, "bad_json"),
        (json, "", text("{\"pixels\": [NaN]}"), 400, "bad_json"),
        (json, "", text("{\"pixels\": [Infinity]}"), 400, "bad_json"),
        (json, "", text("{\"pixels\": [1,]}"), 400, "bad_json"),
        (json, "", vec![0xff, 0xfe, 0x00], 400, "bad_json"),
        (json, "", good.clone(), 400, "bad_json"),
        (json, "", text(&(list(30, "1") + "x")), 400, "bad_json"),
        (json, "", text("null"), 422, "bad_pixels"),
        (json, "", text("[]"), 422, "bad_pixels"),
        (json, "", text("{}"), 422, "bad_pixels"),
        (json, "", text("{\"pixel\": []}"), 422, "bad_pixels"),
        (json, "", text("{\"pixels\": \"AAAA\"}"), 422, "bad_pixels"),
        (json, "", text("{\"pixels\": {}}"), 422, "bad_pixels"),
        (json, "", text("{\"pixels\": [], \"pixels\": []}"), 422, "bad_pixels"),
        (json, "", text(&list(0, "1")), 422, "bad_pixels"),
        (json, "", text(&list(29, "1")), 422, "bad_pixels"),
        (json, "", text(&list(31, "1")), 422, "bad_pixels"),
        (json, "", text(&with_last("256")), 422, "bad_pixels"),
        (json, "", text(&with_last("-1")), 422, "bad_pixels"),
        (json, "", text(&with_last("0.1")), 422, "bad_pixels"),
        (json, "", text(&with_last("1e308")), 422, "bad_pixels"),
        (json, "", text(&with_last("null")), 422, "bad_pixels"),
        (json, "", text(&with_last("true")), 422, "bad_pixels"),
        (json, "", text(&with_last("\"7\"")), 422, "bad_pixels"),
        (json, "", text(&with_last("[1]")), 422, "bad_pixels"),
        (json, "", text("{\"images\": []}"), 422, "bad_pixels"),
        (json, "", text("{\"images\": [[1,2],[3]]}"), 422, "bad_pixels"),
        (json, "", text(&format!("{{\"images\": [{}]}}", vec!["[0]"; 2000].join(","))), 422, "bad_pixels"),
        (json, "", text(&format!("{{\"pixels\": {}", "[".repeat(200_000))), 422, "bad_pixels"),
        (image, "", text(""), 422, "bad_picture"),
        (image, "", text("not a picture"), 422, "bad_picture"),
        (image, "", good[..8].to_vec(), 422, "bad_picture"),
        (image, "", good[..good.len() / 2].to_vec(), 422, "bad_picture"),
        (image, "", huge, 422, "bad_picture"),
        (image, "", text(&list(30, "1")), 422, "bad_picture"),
        (image, "", text("GIF89a\u{1}\u{1}\u{1}\u{1}"), 422, "bad_picture"),
        (image, "", text("PANIC"), 500, "failed"),
        ("multipart/form-data; boundary=x", "", good.clone(), 415, "unsupported_type"),
        (image, "?top=0", good.clone(), 400, "bad_query"),
        (image, "?top=6", good.clone(), 400, "bad_query"),
        (image, "?top=-1", good.clone(), 400, "bad_query"),
        (image, "?top=1.5", good.clone(), 400, "bad_query"),
        (image, "?top=99999999999999999999999", good.clone(), 400, "bad_query"),
        (image, "?raw=perhaps", good.clone(), 400, "bad_query"),
        (image, "?tops=1", good.clone(), 400, "bad_query"),
        (image, "?top=1&top=2", good, 400, "bad_query"),
    ]
}

#[test]
fn wrong_bodies_are_refused_with_a_reason_and_a_tip() {
    let server = serve(Toy::new(), |_| {});
    let mut client = Client::connect(server.address()).unwrap();
    for (kind, query, sent, status, code) in bodies() {
        let reply = client.ask(&post(&format!("/v1/predict{query}"), kind, &sent)).unwrap();
        let shown = String::from_utf8_lossy(&sent[..sent.len().min(60)]).into_owned();
        let error = &reply.json()["error"];
        assert_eq!((reply.status, error["code"].as_str().unwrap()), (status, code), "{kind} {query} {shown}: {error}");
        assert!(!error["message"].as_str().unwrap().is_empty(), "{shown}");
        assert!(error["tip"].is_string(), "{shown}: {error}");
    }
    let pixels = pixels(60);
    let reply = client.ask(&post("/v1/predict", "application/json", &body(&pixels))).unwrap();
    assert_eq!(reply.json()["predictions"][0], expected(&pixels));
}

#[test]
fn unknown_paths_and_methods_are_named() {
    let server = serve(Toy::new(), |_| {});
    let mut client = Client::connect(server.address()).unwrap();
    for (request, status, code, allowed) in [
        ("GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "unknown_path", ""),
        ("GET /v1/predict/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "unknown_path", ""),
        ("GET /../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "unknown_path", ""),
        ("GET /v1/predict HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "unknown_method", "POST"),
        ("DELETE /v1/model HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "unknown_method", "GET, HEAD"),
        ("BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, "unknown_method", "GET, HEAD"),
    ] {
        let reply = client.ask(request.as_bytes()).unwrap();
        let error = reply.json();
        assert_eq!((reply.status, error["error"]["code"].as_str().unwrap()), (status, code), "{request}");
        assert_eq!(reply.header("allow"), allowed, "{request}");
    }
}

#[test]
fn what_is_not_http_is_refused_or_cut_off() {
    let server = serve(Toy::new(), |_| {});
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "y".repeat(1 << 20));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(1000));
    for request in [
        "\r\n\r\n\r\n",
        "nonsense\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nHo st: x\r\n\r\n",
        "GET /\u{0} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /v1/predict HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        "POST /v1/predict HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST /v1/predict HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "POST /v1/predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST /v1/predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        "POST /v1/predict HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}",
        &long,
        &many,
    ] {
        let mut client = Client::connect(server.address()).unwrap();
        let _ = client.send(request.as_bytes());
        let _ = client.finish();
        match client.receive() {
            Ok(reply) => assert!((400..500).contains(&reply.status), "{} for {:.60}", reply.status, request),
            Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "{request:.60}"),
        }
    }
    assert_eq!(Client::connect(server.address()).unwrap().get("/healthz").unwrap().status, 200);
}

#[test]
fn what_is_addressed_to_another_host_or_comes_from_another_page_is_refused() {
    let server = serve(Toy::new(), |options| options.allow_hosts = vec!["digits.example.org".into()]);
    let port = server.address().port();
    for (head, status, code) in [
        (format!("Host: 127.0.0.1:{port}"), 200, ""),
        (format!("Host: localhost:{port}\r\nOrigin: http://localhost:{port}"), 200, ""),
        ("Host: digits.example.org\r\nOrigin: https://digits.example.org".into(), 200, ""),
        (format!("Host: evil.example:{port}"), 421, "unknown_host"),
        ("Host: evil.example\r\nHost: localhost".into(), 421, "unknown_host"),
        (format!("Host: 127.0.0.1:{port}\r\nOrigin: http://evil.example"), 403, "unknown_origin"),
        (format!("Host: 127.0.0.1:{port}\r\nOrigin: null"), 403, "unknown_origin"),
    ] {
        for path in ["/", "/healthz", "/v1/model", "/metrics", "/nowhere"] {
            let reply = ask(&server, format!("GET {path} HTTP/1.1\r\n{head}\r\n\r\n").as_bytes());
            let expected = if status == 200 && path == "/nowhere" { 404 } else { status };
            assert_eq!(reply.status, expected, "{head} {path}: {}", reply.text());
            if status != 200 {
                let error = &reply.json()["error"];
                assert_eq!(error["code"], code, "{head} {path}");
                assert!(error["tip"].as_str().unwrap().contains("--allow-host"), "{error}");
            }
        }
    }
    let options = Options { allow_hosts: vec!["no name".into()], ..Options::default() };
    assert!(crate::serve::start(Arc::new(Toy::new()), &options).is_err());
}
