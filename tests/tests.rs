//! End-to-end tests through the binary, on small made-up data. One test binary: linking kiln once is enough.

#![allow(clippy::unwrap_used, reason = "a test that meets an error fails, and says where")]

/// Running the binary in a folder of its own.
mod fixture;

/// From a config to a model file, and what can be done with it.
mod training;

/// A run on one page, and its mistakes in the terminal.
mod reports;

/// What a run tells elsewhere: event files for TensorBoard, and a run in the terminal.
mod logs;

/// Data sets in files: found from every folder, and refused before they fill the memory.
mod data_sets;

/// Stopping, killing, damaging and going on.
mod resuming;

/// Ensembles, distillation, and answers that say how sure they are.
mod trusting;

/// Every way in which stopping a run once lost something.
mod lifecycle;

/// A kill and a full disk at every operation on a run's files.
mod faults;

/// Kills at random moments of everything that trains.
mod kills;

/// A blocking HTTP client, the one of the server's own tests.
#[cfg(unix)]
#[path = "../src/serve/tests/client.rs"]
mod client;

/// The server as a process.
mod serving;

/// Workers on other machines.
#[cfg(unix)]
mod workers;

/// Model files that are not what they should be, and data that are not what they were.
mod models;

/// Commands that train nothing: plan, config, devices, completions, and wrong input.
mod commands;

/// Whether one is better than another.
mod comparing;

/// Many trials and the best of them: killed, resumed, failed, shared.
mod sweeping;

/// The runs of a folder: listed, told apart, deleted.
mod listing;

/// A run trained once more.
mod reruns;

/// What is tried before a long run.
mod trying;

/// Which room of the code may know which.
mod structure;

/// The lesson on one page.
mod lessons;

/// The documents and the configs say what is so.
mod documents;

/// The README in somebody's hands.
mod readme;
