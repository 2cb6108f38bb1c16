//! What each operation takes: time, arithmetic and memory traffic, recorded while a thread asks for it. Otherwise an
//! operation costs one relaxed load more.
//!
//! Arithmetic is counted as in a plan: 2 per multiply-add of convolutions and fully connected layers, whether a kernel
//! computes all of them or skips those that are zero. Traffic is the arrays that an operation cannot do without, each
//! read or written once; what a kernel reads again, or finds in a cache, is not seen.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde::Serialize;

use super::kernels::conv::{Gradients, NeedsGradient};
use super::kernels::geometry::ConvGeometry;
use super::kernels::{linear, norm, peak};

/// The best that this machine can do, as measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Peak {
    /// Threads that compute together.
    pub threads: usize,
    /// Floating-point operations per second of one thread, in a large matrix product.
    pub one_thread_flops_per_second: f64,
    /// The same of all threads together.
    pub flops_per_second: f64,
    /// Bytes read and written per second in a large copy by all threads together.
    pub bytes_per_second: f64,
}

impl Peak {
    /// Measures, which takes about two seconds.
    pub fn measure() -> Self {
        Self {
            threads: rayon::current_num_threads(),
            one_thread_flops_per_second: peak::flops_of_one_thread(),
            flops_per_second: peak::flops_of_all_threads(),
            bytes_per_second: peak::bytes_per_second(),
        }
    }
}

/// The part of a training step that an operation belongs to, in the order of the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    /// Making the batch.
    Data,
    /// From the images to the loss.
    Forward,
    /// From the loss back to the parameters.
    Backward,
    /// The optimizer.
    Update,
}

/// An operation before it runs.
pub struct Operation {
    /// Where in the step.
    pub pass: Pass,
    /// What it is.
    pub name: &'static str,
    /// The sizes that it works on, for one image.
    pub shape: String,
    /// The layer, where it is known by itself.
    pub layer: Option<&'static str>,
    /// What the operation and its gradients have in common and no other operation of the step has: the address of its
    /// weights. 0: nothing.
    pub key: usize,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes in and out.
    pub bytes: u64,
}

/// An operation that ran.
#[derive(Clone, Debug)]
pub struct Record {
    /// Where in the step.
    pub pass: Pass,
    /// What it is.
    pub name: &'static str,
    /// The layer that it belongs to, as the network names it; empty for the optimizer.
    pub layer: String,
    /// The sizes that it works on, for one image.
    pub shape: String,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes in and out.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    key: usize,
}

/// Threads that record.
static RECORDING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// What this thread has recorded; none when it does not record.
    static RECORDS: RefCell<Option<Vec<Record>>> = const { RefCell::new(None) };
}

/// Ends a recording, also when what is recorded panics.
struct Recording;

impl Recording {
    fn begin() -> Self {
        RECORDING.fetch_add(1, Ordering::Relaxed);
        RECORDS.set(Some(Vec::new()));
        Self
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        RECORDING.fetch_sub(1, Ordering::Relaxed);
        RECORDS.set(None);
    }
}

/// Does `work` and tells what operations this thread ran in it, in their order.
pub fn record<T>(work: impl FnOnce() -> T) -> (T, Vec<Record>) {
    let _recording = Recording::begin();
    let result = work();
    (result, RECORDS.take().unwrap_or_default())
}

/// Whether anybody records. Another thread's recording costs this one a look at its own list.
pub fn is_on() -> bool {
    RECORDING.load(Ordering::Relaxed) > 0
}

/// Does `work`, the operation that `describe` describes.
pub fn measured<T>(describe: impl FnOnce() -> Operation, work: impl FnOnce() -> T) -> T {
    if !is_on() {
        return work();
    }
    let started = Instant::now();
    let result = work();
    let seconds = started.elapsed().as_secs_f64();
    RECORDS.with_borrow_mut(|records| {
        if let Some(records) = records {
            push(records, describe(), seconds);
        }
    });
    result
}

fn push(records: &mut Vec<Record>, operation: Operation, seconds: f64) {
    let Operation { pass, name, shape, layer, key, flops, bytes } = operation;
    let forward = || records.iter().rev().find(|record| record.key == key && record.pass == Pass::Forward);
    let layer = match (layer, pass) {
        (Some(layer), _) => layer.to_owned(),
        (None, Pass::Backward) => forward().map(|record| record.layer.clone()).unwrap_or_default(),
        _ => String::new(),
    };
    records.push(Record { pass, name, layer, shape, flops, bytes, seconds, key });
}

/// The forward operations that have no layer yet were those of `layer`.
pub fn layer(layer: &str) {
    let name = |records: &mut Vec<Record>| {
        // Those of earlier steps have one: the search ends where a step begins.
        for record in records.iter_mut().rev().take_while(|record| record.pass == Pass::Forward) {
            if record.layer.is_empty() {
                layer.clone_into(&mut record.layer);
            }
        }
    };
    RECORDS.with_borrow_mut(|records| records.as_mut().map(name));
}

/// Bytes of this many 32-bit floats.
fn bytes(values: usize) -> u64 {
    4 * values as u64
}

fn address(weight: &[f32]) -> usize {
    weight.as_ptr() as usize
}

fn conv_operation(pass: Pass, name: &'static str, geometry: &ConvGeometry, weight: &[f32]) -> Operation {
    let bytes = bytes(geometry.arrays().into_iter().sum());
    Operation {
        pass,
        name,
        shape: geometry.to_string(),
        layer: None,
        key: address(weight),
        flops: 2 * geometry.multiply_adds(),
        bytes,
    }
}

/// A convolution's forward pass.
pub fn conv<T>(geometry: &ConvGeometry, weight: &[f32], work: impl FnOnce() -> T) -> T {
    measured(|| conv_operation(Pass::Forward, "convolution", geometry, weight), work)
}

/// A convolution's gradients, which `work` computes. While recording it is asked for one after the other, so that each
/// has its own time; what they share is then done twice.
pub fn conv_gradients(
    geometry: &ConvGeometry,
    weight: &[f32],
    needs: NeedsGradient,
    work: impl Fn(NeedsGradient) -> Gradients,
) -> Gradients {
    if !is_on() {
        return work(needs);
    }
    let alone = |name, needs: NeedsGradient| {
        measured(|| conv_operation(Pass::Backward, name, geometry, weight), || work(needs))
    };
    let input = match needs.input {
        true => alone("convolution, input gradient", NeedsGradient { parameters: false, ..needs }).input,
        false => Vec::new(),
    };
    match needs.parameters {
        true => Gradients { input, ..alone("convolution, weight gradient", NeedsGradient { input: false, ..needs }) },
        false => Gradients { input, ..Gradients::default() },
    }
}

fn linear_operation(pass: Pass, name: &'static str, geometry: &linear::Geometry, weight: &[f32]) -> Operation {
    let [batch, outputs] = geometry.output();
    let inputs = weight.len() / outputs.max(1);
    Operation {
        pass,
        name,
        shape: format!("{inputs} -> {outputs}"),
        layer: None,
        key: address(weight),
        flops: 2 * (batch * weight.len()) as u64,
        bytes: bytes(batch * (inputs + outputs) + weight.len()),
    }
}

/// A fully connected layer's forward pass.
pub fn linear<T>(geometry: &linear::Geometry, weight: &[f32], work: impl FnOnce() -> T) -> T {
    measured(|| linear_operation(Pass::Forward, "linear", geometry, weight), work)
}

/// One of a fully connected layer's two products in the backward pass.
pub fn linear_gradient<T>(
    name: &'static str,
    geometry: &linear::Geometry,
    weight: &[f32],
    work: impl FnOnce() -> T,
) -> T {
    measured(|| linear_operation(Pass::Backward, name, geometry, weight), work)
}

/// What else a fully connected layer's backward pass does: `passes` over the gradient of its output; 0: nothing.
pub fn linear_pass<T>(
    name: &'static str,
    geometry: &linear::Geometry,
    weight: &[f32],
    passes: usize,
    work: impl FnOnce() -> T,
) -> T {
    if passes == 0 {
        return work();
    }
    let describe = || {
        let bytes = bytes(passes * geometry.output().iter().product::<usize>());
        Operation { flops: 0, bytes, ..linear_operation(Pass::Backward, name, geometry, weight) }
    };
    measured(describe, work)
}

fn norm_operation(
    pass: Pass,
    name: &'static str,
    geometry: &norm::Geometry,
    gamma: &[f32],
    values: usize,
) -> Operation {
    let [_, channels, height, width] = geometry.output();
    let shape = format!("{channels}x{height}x{width}");
    Operation { pass, name, shape, layer: None, key: address(gamma), flops: 0, bytes: bytes(values) }
}

/// A norm's forward pass, which reads `inputs` arrays like its input.
pub fn norm<T>(
    name: &'static str,
    geometry: &norm::Geometry,
    gamma: &[f32],
    inputs: usize,
    work: impl FnOnce() -> T,
) -> T {
    let values = || inputs * geometry.values() + geometry.output().iter().product::<usize>();
    measured(|| norm_operation(Pass::Forward, name, geometry, gamma, values()), work)
}

/// A norm's backward pass, which reads its input and the gradient of its output and writes `inputs` gradients like
/// its input.
pub fn norm_gradients<T>(
    name: &'static str,
    geometry: &norm::Geometry,
    gamma: &[f32],
    inputs: usize,
    work: impl FnOnce() -> T,
) -> T {
    let values = || (1 + inputs) * geometry.values() + geometry.output().iter().product::<usize>();
    measured(|| norm_operation(Pass::Backward, name, geometry, gamma, values()), work)
}

/// The loss, which computes its gradient in the same pass.
pub fn loss<T>(shape: [usize; 2], work: impl FnOnce() -> T) -> T {
    let describe = || {
        let (name, layer) = ("cross-entropy and its gradient", Some("loss"));
        let (shape, bytes) = (shape[1].to_string(), bytes(2 * shape[0] * shape[1]));
        Operation { pass: Pass::Forward, name, shape, layer, key: 0, flops: 0, bytes }
    };
    measured(describe, work)
}

/// Dropout of this many values, in either pass; `seed` is what both passes of a layer have in common.
pub fn dropout<T>(pass: Pass, values: usize, seed: u64, work: impl FnOnce() -> T) -> T {
    let name = if pass == Pass::Forward { "dropout" } else { "dropout, gradient" };
    let (flops, bytes) = (0, bytes(2 * values));
    let describe = || Operation { pass, name, shape: String::new(), layer: None, key: seed as usize, flops, bytes };
    measured(describe, work)
}

/// An optimizer's update that reads and writes so many `arrays` of `values` each.
pub fn update<T>(name: &'static str, arrays: usize, values: usize, work: impl FnOnce() -> T) -> T {
    let (pass, bytes) = (Pass::Update, bytes(arrays * values));
    measured(|| Operation { pass, name, shape: String::new(), layer: None, key: 0, flops: 0, bytes }, work)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(pass: Pass, key: usize) -> Operation {
        Operation { pass, name: "test", shape: String::new(), layer: None, key, flops: 6, bytes: 8 }
    }

    #[test]
    fn nothing_is_recorded_when_nobody_asks() {
        let describe = || panic!("nobody asked for a description");
        assert_eq!(measured(describe, || 7), 7);
        let ((), records) = record(|| ());
        assert!(records.is_empty());
        assert_eq!(measured(describe, || 8), 8);
        let outcome = std::panic::catch_unwind(|| record(|| panic!("a failing step")));
        assert!(outcome.is_err());
        assert_eq!(measured(describe, || 9), 9);
    }

    #[test]
    fn another_threads_operations_are_its_own() {
        let ((), records) = record(|| {
            let other = std::thread::spawn(|| measured(|| panic!("this thread does not record"), || ()));
            other.join().unwrap();
            measured(|| operation(Pass::Forward, 1), || ());
        });
        assert_eq!(records.len(), 1);
        assert_eq!((records[0].flops, records[0].bytes), (6, 8));
    }

    #[test]
    fn gradients_have_the_layer_of_the_latest_operation_with_their_weights() {
        let ((), records) = record(|| {
            for names in [["first", "second"], ["third", "fourth"]] {
                for (key, name) in [1, 2].into_iter().zip(names) {
                    measured(|| operation(Pass::Forward, key), || ());
                    layer(name);
                }
                for key in [2, 1] {
                    measured(|| operation(Pass::Backward, key), || ());
                }
                measured(|| operation(Pass::Update, 0), || ());
            }
        });
        let layers = records.iter().map(|record| record.layer.as_str()).collect::<Vec<_>>();
        let expected = ["first", "second", "second", "first", "", "third", "fourth", "fourth", "third", ""];
        assert_eq!(layers, expected);
    }
}
