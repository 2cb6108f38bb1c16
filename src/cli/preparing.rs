//! What is seen of a device that compiles and tunes its kernels, before the first iterations of a run are done.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::ui::{self, Ui};
use crate::ops::launches::Following;
use crate::report::duration;

/// After so long somebody wonders what happens.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between two changes of the line.
const STEP: Duration = Duration::from_millis(500);

/// Says what the device does, from one second after it began until it is dropped: a line that changes on a terminal, one line
/// elsewhere.
pub struct Preparing {
    /// Its end tells the thread to stop.
    wanted: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Preparing {
    /// Begins now. Without a thread to be had there is no line.
    pub fn begin(ui: Ui) -> Self {
        let (wanted, until) = channel();
        let following = Following::begin();
        let show = move || show(ui, &following, &until);
        Self { wanted: Some(wanted), thread: thread::Builder::new().name("preparing".into()).spawn(show).ok() }
    }
}

impl Drop for Preparing {
    fn drop(&mut self) {
        drop(self.wanted.take());
        // It wakes at once; a panic of its own takes nothing with it.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn show(ui: Ui, following: &Following, until: &Receiver<()>) {
    let begun = Instant::now();
    if until.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
        return;
    }
    if !ui.is_live() {
        ui.lines("preparing      kernels are compiled and tuned where they are met for the first time");
        let _ = until.recv();
        return;
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
    bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()));
    ui::put_up(&bar);
    loop {
        let (launches, last) = following.so_far();
        let line = words(begun.elapsed(), launches, last.as_deref());
        bar.set_message(line.chars().take(ui::columns_of(&io::stderr())).collect::<String>());
        if until.recv_timeout(STEP) != Err(RecvTimeoutError::Timeout) {
            break;
        }
    }
    bar.finish_and_clear();
    ui::take_down();
}

/// The line after so long.
fn words(elapsed: Duration, launches: u64, last: Option<&str>) -> String {
    let seconds = duration(elapsed.as_secs_f64());
    match last {
        None => format!("preparing      {seconds}: waiting for the device"),
        Some(kernel) => {
            format!("preparing      {seconds}: kernels are compiled and tuned, {launches} launched, now {kernel}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_is_waited_for() {
        let after = Duration::from_secs(12);
        assert!(words(after, 0, None).ends_with(": waiting for the device"));
        let line = words(after, 340, Some("matmul_entry"));
        assert!(line.starts_with("preparing      12") && line.ends_with("340 launched, now matmul_entry"), "{line}");
    }

    #[test]
    fn it_ends_when_nobody_wants_it_any_more() {
        let preparing = Preparing::begin(Ui::new(ui::Mode::Quiet));
        assert!(preparing.thread.is_some());
        // It would wait for ever.
        drop(preparing);
    }
}
