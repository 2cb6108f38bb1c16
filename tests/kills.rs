//! Kills at random moments of everything that trains: each journey ends with the weights of the one that was never killed.

use std::time::Duration;

use serde_json::Value;

use crate::fixture::Folder;

/// Kills in all; `KILN_KILLS` asks for more.
fn kills() -> usize {
    std::env::var("KILN_KILLS").ok().map_or(12, |text| text.parse().unwrap())
}

/// A run of some hundred milliseconds with many checkpoints.
const SETS: [&str; 10] = [
    "data.train=200",
    "data.validation=40",
    "data.test=20",
    "data.height=8",
    "data.width=8",
    "train.epochs=60",
    "train.batch_size=20",
    "train.accumulation=2",
    "checkpoint.every_iterations=4",
    "checkpoint.keep_last=2",
];

/// The legs of a journey: train until it stops early, extend the run, fork it.
fn legs(name: &str, optimizer: &str) -> [(Vec<String>, String); 3] {
    let (first, second) = (format!("runs/{name}-0001"), format!("runs/{name}-fork-0001"));
    let mut train: Vec<String> = ["train", "smoke", "--quiet", "--device", "flex"].map(str::to_owned).into();
    let own = [
        format!("name={name}"),
        format!("optimizer.kind={optimizer}"),
        "early_stopping.patience=50".into(),
        "early_stopping.min_delta=0.5".into(),
    ];
    for set in SETS.iter().map(|set| (*set).to_owned()).chain(own) {
        train.extend(["--set".to_owned(), set]);
    }
    let line = |text: String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    [
        (train, first.clone()),
        (line(format!("extend {first} --epochs 75 --quiet")), first.clone()),
        (line(format!("fork {first} --set name={name}-fork --set train.epochs=65 --quiet")), second),
    ]
}

fn words(command: &[String]) -> Vec<&str> {
    command.iter().map(String::as_str).collect()
}

/// The weights after every epoch of both runs, and those of both model files.
fn weights(folder: &Folder, name: &str) -> Vec<Value> {
    let runs = [format!("runs/{name}-0001"), format!("runs/{name}-fork-0001")];
    let epochs = runs.iter().flat_map(|run| folder.metrics(run)).map(|line| line["weights_sha256"].clone());
    let models = runs.iter().map(|run| folder.json(&["verify", run])["weights_sha256"].clone());
    epochs.chain(models).collect()
}

/// Random numbers enough for moments (Steele, Lea and Flood, 2014: SplitMix64).
struct Moments(u64);

impl Moments {
    fn milliseconds(&mut self, most: u64) -> Duration {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Duration::from_millis((mixed ^ (mixed >> 31)) % most)
    }
}

/// Walks one leg, killing whatever lives at random moments until `left` is used up, then to its end.
fn killed_leg(folder: &Folder, (command, run): &(Vec<String>, String), moments: &mut Moments, left: &mut usize) {
    let extends = command[0] == "extend";
    let config = || std::fs::read_to_string(folder.path().join(run).join("config.toml")).unwrap_or_default();
    let before = config();
    let resume = words_of(&["resume", run, "--quiet"]);
    let mut begun = false;
    loop {
        // A run that never came to be is asked for again; so is an extension that died before it was begun.
        begun |= if extends { config() != before } else { folder.path().join(run).is_dir() };
        let next = if begun { &resume } else { command };
        let mut child = folder.start(&words(next));
        let moment = moments.milliseconds(260);
        if *left > 0 {
            std::thread::sleep(moment);
            if child.try_wait().unwrap().is_none() {
                let _ = child.kill();
                *left -= 1;
            }
        }
        match child.wait().unwrap().code() {
            None => {}
            Some(0) => return,
            Some(2) => {
                let again = folder.kiln(&words(next)).stderr;
                if begun && again.contains("is complete") {
                    // It was killed between its last write and its end.
                    return;
                }
                // Between the extension's checkpoint and its config.toml, only a resume knows that it was begun.
                assert!(extends && again.contains("must be more than the run's"), "{next:?}: {again}");
                begun = true;
            }
            code => panic!("{next:?} ended with {code:?}, and again: {}", folder.kiln(&words(next)).stderr),
        }
    }
}

fn words_of(command: &[&str]) -> Vec<String> {
    command.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn random_kills_lose_nothing() {
    let mut moments = Moments(1);
    let mut done = 0;
    let whole = Folder::new();
    for (number, optimizer) in ["adam", "sgd", "adamw", "muon"].into_iter().cycle().enumerate() {
        if number < 4 {
            for (command, _) in legs(optimizer, optimizer) {
                let ran = whole.kiln(&words(&command));
                assert_eq!(ran.code, 0, "{}", ran.stderr);
            }
        }
        let folder = Folder::new();
        let name = format!("killed{number}");
        for leg in legs(&name, optimizer) {
            let mut left = 3.min(kills() - done);
            let asked = left;
            killed_leg(&folder, &leg, &mut moments, &mut left);
            done += asked - left;
        }
        assert_eq!(weights(&folder, &name), weights(&whole, optimizer), "journey {number}, {optimizer}");
        if done >= kills() {
            return;
        }
    }
}
