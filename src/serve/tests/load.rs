//! Right answers to many at once, and between broken requests.

use std::thread::scope;

use super::*;

#[test]
fn concurrent_requests_each_get_their_own_answer() {
    let server = serve(Toy::new(), |_| {});
    scope(|scope| {
        for thread in 0..8_u8 {
            let server = &server;
            scope.spawn(move || {
                let mut client = Client::connect(server.address()).unwrap();
                for round in 0..60_u8 {
                    let pixels = pixels((thread * 31).wrapping_add(round).max(20));
                    let request = match round % 2 {
                        0 => post("/v1/predict", "image/png", &png(&pixels)),
                        _ => post("/v1/predict", "application/json", &body(&pixels)),
                    };
                    assert_eq!(client.ask(&request).unwrap().json()["predictions"][0], expected(&pixels));
                }
            });
        }
    });
}

#[test]
fn broken_requests_change_no_answer() {
    let server = serve(Toy::new(), |options| options.timeout = Duration::from_secs(5));
    let good = (0..6).map(|index| {
        let pixels = pixels(40 + index * 30);
        let request = match index % 2 {
            0 => post("/v1/predict", "image/png", &png(&pixels)),
            _ => post("/v1/predict", "application/json", &body(&pixels)),
        };
        fuzz::Good { request, answer: json!({ "predictions": [expected(&pixels)] }).to_string().into_bytes() }
    });
    let good = good.collect::<Vec<_>>();
    let cases = cases(4000) / 4;
    scope(|scope| {
        let runs = (0..4).map(|seed| {
            let (server, good) = (&server, &good);
            scope.spawn(move || fuzz::run(server.address(), good, seed, cases, <[u8]>::eq).unwrap())
        });
        for run in runs.collect::<Vec<_>>() {
            let tally = run.join().unwrap();
            assert_eq!((tally.good, &tally.wrong), (cases / 10, &vec![]));
            let unfit = tally.statuses.keys().find(|status| !matches!(status, 0 | 200 | 400..500));
            assert_eq!(unfit, None, "{:?}", tally.statuses);
            assert!(tally.statuses.len() > 4, "{:?}", tally.statuses);
        }
    });
    let text = Client::connect(server.address()).unwrap().get("/metrics").unwrap().text();
    assert!(text.contains("kiln_panics_total 0\n"), "{text}");
}
