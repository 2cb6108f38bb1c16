//! Each route answers what it is for.

use super::super::routes::ROUTES;
use super::*;

#[test]
fn every_route_answers_and_is_described() {
    let server = serve(Toy::new(), |_| {});
    let mut client = Client::connect(server.address()).unwrap();
    let document = client.get("/openapi.json").unwrap().json();
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let described = document["paths"].as_object().unwrap();
    assert_eq!(described.len(), ROUTES.len());
    for (path, method) in ROUTES {
        assert!(described[path][method.as_str().to_ascii_lowercase()].is_object(), "{path}");
        let reply = match method.as_str() {
            "GET" => client.get(path).unwrap(),
            _ => client.ask(&post(path, "application/json", &body(&pixels(1)))).unwrap(),
        };
        assert_eq!(reply.status, 200, "{path}");
        let content = &described[path][method.as_str().to_ascii_lowercase()]["responses"]["200"]["content"];
        let kind = reply.header("content-type").split(';').next().unwrap();
        assert!(content[kind].is_object(), "{path} answers {kind}");
        assert_eq!(reply.header("x-content-type-options"), "nosniff");
    }
    let parameters = &document["paths"]["/v1/predict"]["post"]["parameters"];
    assert_eq!(parameters[0]["schema"]["maximum"], 5);
    assert_eq!(client.get("/v1/model").unwrap().json(), Toy::new().manifest().unwrap());
    assert_eq!(client.get("/healthz").unwrap().text(), r#"{"status":"ok"}"#);
}

#[test]
fn pictures_and_pixels_get_the_same_answer() {
    let server = serve(Toy::new(), |_| {});
    let pixels = pixels(100);
    let json = ask_json(&server, &body(&pixels)).json();
    assert_eq!(json["predictions"], json!([expected(&pixels)]));
    for path in ["/v1/predict", "/v1/predict?raw=true"] {
        assert_eq!(ask(&server, &post(path, "image/png", &png(&pixels))).json(), json);
        assert_eq!(ask(&server, &post(path, "application/x-www-form-urlencoded", &png(&pixels))).json(), json);
    }
    let full = ask(&server, &post("/v1/predict?top=5&input=true", "application/json", &body(&pixels))).json();
    assert_eq!(full["predictions"][0]["input"], json!(pixels));
    assert_eq!(full["predictions"][0]["top"].as_array().unwrap().len(), 5);
    assert_eq!(full["predictions"][0]["label"], full["predictions"][0]["top"][0]["label"]);
}

#[test]
fn a_batch_is_answered_in_order_even_if_it_goes_through_in_pieces() {
    let server = serve(Toy::new(), |options| options.batch_size = 7);
    let images = (0..200).map(|index| pixels(index + 20)).collect::<Vec<_>>();
    let reply = ask_json(&server, json!({ "images": images }).to_string().as_bytes()).json();
    assert_eq!(reply["predictions"], images.iter().map(|image| expected(image)).collect::<Value>());
    let text = Client::connect(server.address()).unwrap().get("/metrics").unwrap().text();
    assert!(text.contains("kiln_batch_images_bucket{le=\"8\"} 29\n"), "{text}");
    assert!(text.contains("kiln_batch_images_sum 200\nkiln_batch_images_count 29\n"), "{text}");
}

#[test]
fn requests_are_counted() {
    let server = serve(Toy::new(), |_| {});
    let mut client = Client::connect(server.address()).unwrap();
    client.get("/nowhere").unwrap();
    client.get("/healthz").unwrap();
    client.get("/healthz").unwrap();
    ask_json(&server, b"{");
    let reply = client.get("/metrics").unwrap();
    assert_eq!(reply.header("content-type"), "text/plain; version=0.0.4");
    let text = reply.text();
    for line in [
        "kiln_requests_total{route=\"/healthz\",status=\"200\"} 2",
        "kiln_requests_total{route=\"/v1/predict\",status=\"400\"} 1",
        "kiln_requests_total{route=\"elsewhere\",status=\"404\"} 1",
        "kiln_request_duration_seconds_bucket{route=\"/healthz\",le=\"+Inf\"} 2",
        "kiln_request_duration_seconds_count{route=\"/healthz\"} 2",
        "kiln_panics_total 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn the_page_comes_with_a_strict_policy() {
    let server = serve(Toy::new(), |_| {});
    let reply = Client::connect(server.address()).unwrap().get("/").unwrap();
    let policy = reply.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(reply.text().starts_with("<!doctype html>"));
}
