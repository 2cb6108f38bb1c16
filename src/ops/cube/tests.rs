//! The kernels on an adapter, one in software where there is no other, against Burn's operations on the CPU. They need the
//! feature `wgpu`, and see nothing where there is no adapter.

use burn::tensor::{Device, DeviceType, TensorData};

use super::*;
use crate::ops::{Decay, stock};

fn adapter() -> Option<Device> {
    Device::enumerate(DeviceType::Wgpu).into_vec().into_iter().next()
}

/// Numbers between -1 and 1 that depend on `seed`.
fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|index| ((index * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect()
}

fn tensor<const D: usize>(shape: [usize; D], seed: usize, device: &Device) -> Tensor<D> {
    let values = numbers(shape.iter().product(), seed);
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
}

#[track_caller]
fn assert_close<const D: usize>(found: Tensor<D>, expected: Tensor<D>, what: &str) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let [found, expected] = [found, expected].map(|tensor| tensor.try_into_vec_as::<f32>().unwrap());
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let difference = (found - expected).abs();
        assert!(difference <= 1e-4 * (1.0 + expected.abs()), "{what}[{index}]: {found} is not {expected}");
    }
}

#[test]
fn a_device_that_binds_few_arrays_updates_fewer_parameters_at_once_and_one_that_binds_too_few_has_no_kernels() {
    let parts = |arrays| Kernels::binding(arrays).map(Kernels::parts);
    assert_eq!([6, 7, 8, 9, 10, 31].map(parts), [None, Some(1), Some(2), Some(3), Some(4), Some(4)]);
}

#[test]
fn updates_of_any_number_of_parts_are_burns() {
    let Some(device) = adapter() else { return };
    let host = Device::flex();
    let lengths = [70, 64, 3, 129];
    let step = AdamStep {
        learning_rate: 0.01,
        beta_1: 0.9,
        beta_2: 0.99,
        epsilon: 1e-8,
        decay: Decay::Decoupled(0.1),
        time: 3,
    };
    for (count, bound) in [(1, 1), (2, 2), (1, 2), (3, 3), (4, 4), (2, 4)] {
        let of = |device: &Device| {
            let parts = |seed: usize| -> Vec<Tensor<1>> {
                (0..count).map(|part| tensor([lengths[part]], seed + part, device)).collect()
            };
            let array = |seed| stock::joined(parts(seed), 64);
            (parts(1), array(10), [array(20), array(30).abs()])
        };
        let (gradients, parameters, moments) = of(&device);
        let found = Kernels { parts: bound }.adam(step, &gradients, parameters, moments, 64);
        let (gradients, parameters, moments) = of(&host);
        let expected = stock::adam(step, stock::joined(gradients, 64), parameters, moments);
        let what = format!("{count} parts, {bound} bound");
        assert_close(found.0, expected.0, &format!("parameters of {what}"));
        for (found, expected) in found.1.into_iter().zip(expected.1) {
            assert_close(found, expected, &format!("moments of {what}"));
        }
    }
}

#[test]
fn the_loss_its_gradient_and_the_sums_are_burns() {
    let Some(device) = adapter() else { return };
    // More rows than a cube has threads, and fewer.
    for rows in [300, 5] {
        let of = |device: &Device| {
            let targets: Vec<i32> = (0..rows).map(|row| (row * 3 % 7) as i32).collect();
            let targets = Tensor::<1, Int>::from_data(TensorData::new(targets, [rows]), (device, DType::I32));
            (tensor([rows, 7], 5, &device.clone().autodiff()).require_grad(), targets)
        };
        let kernels = Kernels::binding(10).unwrap();
        let (logits, targets) = of(&device);
        let loss = kernels.cross_entropy(logits.clone(), targets.clone(), 0.1);
        let (expected_logits, expected_targets) = of(&Device::flex());
        let expected = stock::cross_entropy(expected_logits.clone(), expected_targets.clone(), 0.1);
        let before = |device: &Device| tensor([2], 1, device);
        let sums = kernels.tally(logits.clone().inner(), targets, loss.clone().inner(), before(&device));
        let expected_sums = stock::tally(
            expected_logits.clone().inner(),
            expected_targets,
            expected.clone().inner(),
            before(&Device::flex()),
        );
        assert_close(sums, expected_sums, "sums");
        assert_close(loss.clone().inner(), expected.clone().inner(), "loss");
        let (found, expected) = (loss.backward(), expected.backward());
        let [found, expected] = [(logits, found), (expected_logits, expected)].map(|(of, by)| of.grad(&by).unwrap());
        assert_close(found, expected, "gradient");
    }
}

/// Multiples of 1/64: sums of their products are exact in any order, so that both sides meet the same ties.
fn exact<const D: usize>(shape: [usize; D], seed: usize, device: &Device) -> Tensor<D> {
    let values: Vec<f32> =
        numbers(shape.iter().product(), seed).into_iter().map(|value| (value * 64.0).round() / 64.0).collect();
    Tensor::from_data(TensorData::new(values, shape), (&device.clone().autodiff(), DType::F32)).require_grad()
}

/// Holds `kernel` on the adapter to `stock` on the CPU: outputs, and the gradients of all inputs for some cotangents.
fn assert_same<const N: usize>(
    what: &str,
    shapes: &[Vec<usize>],
    kernel: impl Fn(&[Tensor<1>]) -> [Tensor<1>; N],
    stock: impl Fn(&[Tensor<1>]) -> [Tensor<1>; N],
) {
    let Some(adapter) = adapter() else { return };
    let run = |function: &dyn Fn(&[Tensor<1>]) -> [Tensor<1>; N], device: &Device| {
        let inputs: Vec<_> =
            shapes.iter().enumerate().map(|(seed, shape)| exact([shape.iter().product()], seed, device)).collect();
        let outputs = function(&inputs);
        let sum = (outputs[0].clone() * exact(outputs[0].dims(), 99, device).detach()).sum();
        let gradients = sum.backward();
        let gradients = inputs.iter().map(|input| input.grad(&gradients).unwrap()).collect::<Vec<_>>();
        (outputs.map(Tensor::inner), gradients)
    };
    let ((found, found_gradients), (expected, expected_gradients)) =
        (run(&kernel, &adapter), run(&stock, &Device::flex()));
    for (index, (found, expected)) in found.into_iter().zip(expected).enumerate() {
        assert_close(found, expected, &format!("{what}: output {index}"));
    }
    for (index, (found, expected)) in found_gradients.into_iter().zip(expected_gradients).enumerate() {
        assert_close(found, expected, &format!("{what}: gradient {index}"));
    }
}

#[test]
fn convolutions_are_burns() {
    for (index, (stride, padding, relu, pool)) in
        [(1, 0, false, false), (1, 1, true, true), (2, 1, true, false), (1, 2, false, true)].into_iter().enumerate()
    {
        let (input, weight) = ([3, 2, 9, 8], [4, 2, 3, 3]);
        let options = Conv2dOptions { stride, padding, relu, pool };
        let of = |x: &[Tensor<1>]| (x[0].clone().reshape(input), x[1].clone().reshape(weight), x[2].clone());
        assert_same(
            &format!("convolution {index}"),
            &[input.to_vec(), weight.to_vec(), vec![4]],
            |x| {
                let (input, weight, bias) = of(x);
                [Kernels::binding(10).unwrap().conv2d(input, weight, bias, options).flatten(0, 3)]
            },
            |x| {
                let (input, weight, bias) = of(x);
                [stock::conv2d(input, weight, Some(bias), options).flatten(0, 3)]
            },
        );
    }
}

#[test]
fn batch_norms_are_burns() {
    for (relu, pool) in [(false, false), (true, false), (true, true), (false, true)] {
        let (shape, options) = ([5, 3, 7, 6], NormOptions { relu, pool });
        let of = |x: &[Tensor<1>]| (x[0].clone().reshape(shape), x[1].clone(), x[2].clone());
        let flat = |result: Normalised| [result.output.flatten(0, 3), result.mean, result.variance];
        assert_same(
            &format!("relu {relu}, pool {pool}"),
            &[shape.to_vec(), vec![3], vec![3]],
            |x| {
                let (input, gamma, beta) = of(x);
                flat(Kernels::binding(7).unwrap().batch_norm_train(input, gamma, beta, 1e-5, options))
            },
            |x| {
                let (input, gamma, beta) = of(x);
                flat(stock::batch_norm_train(input, gamma, beta, 1e-5, options))
            },
        );
    }
}
