//! The container that other engines compute: opset 18, one input `image` of raw pixels (`[batch, channels, height,
//! width]`, 0 to 255 as float, any batch), outputs `logits` and `probabilities`, both `[batch, classes]`.
//!
//! Burn's exporter traces the network and gives the graph; this file names its ends, adds the softmax, stores the
//! weights in the asked type and puts the manifest into the model's metadata. The weights keep kiln's own names and
//! layout as initializers, so the file can be read back without running the graph.

use std::collections::HashSet;

use burn::module::Module as _;
use burn::tensor::{Device, Tensor, TensorData};
use burn_onnx::export::{AxisSpec, InputSpec, OnnxExporter};
use onnx_ir::{AttributeProto, AttributeType, GraphProto, Message as _, ModelProto, NodeProto, TensorProto};

use super::{Content, DIGEST_KEY, Dtype, MANIFEST_KEY, Manifest, sha256};
use crate::models::{Network, WeightTensor, Weights};
use crate::{Error, Result};

/// The name of the graph's input.
const INPUT: &str = "image";
/// The names of its outputs.
const LOGITS: &str = "logits";
const PROBABILITIES: &str = "probabilities";
/// SHA-256 of the model without its metadata: it covers the graph, which no other digest does.
const GRAPH_KEY: &str = "kiln_graph_sha256";

/// ONNX's numbers for the types of tensors (`TensorProto.DataType`).
const FLOAT: i32 = 1;
const FLOAT16: i32 = 10;

/// The file's bytes.
pub(super) fn encode(manifest: &Manifest, weights: &Weights) -> Result<Vec<u8>> {
    let failed = |error: protobuf::Error| Error::failed("the ONNX file cannot be made").caused_by(error);
    let traced = trace(manifest, weights)?;
    let mut model = ModelProto::parse_from_bytes(&traced).map_err(failed)?;
    model.producer_name = "kiln".into();
    model.producer_version = env!("CARGO_PKG_VERSION").into();
    let graph = model.graph.mut_or_insert_default();
    graph.name = manifest.model.kind().into();
    let (Some(input), Some(output)) = (graph.input.first(), graph.output.first()) else {
        return Err(Error::failed("the traced graph has no input or no output"));
    };
    let (input, output) = (input.name.clone(), output.name.clone());
    rename(graph, &input, INPUT);
    rename(graph, &output, LOGITS);
    name_weights(graph, manifest, weights)?;
    add_softmax(graph);
    if manifest.dtype == Dtype::F16 {
        store_halves(graph, weights);
    }
    let text = manifest.to_json()?;
    let digest = sha256(&model.write_to_bytes().map_err(failed)?);
    for (key, value) in [(DIGEST_KEY, sha256(text.as_bytes())), (GRAPH_KEY, digest), (MANIFEST_KEY, text)] {
        model.metadata_props.push(Default::default());
        if let Some(entry) = model.metadata_props.last_mut() {
            entry.key = key.into();
            entry.value = value;
        }
    }
    model.write_to_bytes().map_err(failed)
}

/// The network as Burn's exporter sees it, preprocessing in front.
fn trace(manifest: &Manifest, weights: &Weights) -> Result<Vec<u8>> {
    let (shape, preprocess) = (manifest.preprocess.shape, &manifest.preprocess);
    let device = Device::flex();
    let network = manifest.model.init(shape, manifest.classes.len(), &device)?.load(weights)?.valid();
    // (pixel / 255 - mean) / std = pixel * scale + shift
    let scale = preprocess.std.iter().map(|&std| (1.0 / (255.0 * f64::from(std))) as f32).collect::<Vec<_>>();
    let shift = preprocess.mean.iter().zip(&preprocess.std);
    let shift = shift.map(|(&mean, &std)| (-f64::from(mean) / f64::from(std)) as f32).collect::<Vec<_>>();
    let forward = |network: &Network, images: Tensor<4>| {
        let per_channel = |values: &[f32]| {
            Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, shape.channels, 1, 1]), &images.device())
        };
        let (scale, shift) = (per_channel(&scale), per_channel(&shift));
        network.forward(images * scale + shift)
    };
    let sample = |batch| Tensor::<4>::zeros([batch, shape.channels, shape.height, shape.width], &device);
    let axes = [AxisSpec::dynamic("batch"), AxisSpec::Static, AxisSpec::Static, AxisSpec::Static];
    OnnxExporter::new()
        .export_dynamic(&network, sample(2), sample(3), &[InputSpec::new(axes)], forward)
        .map(|model| model.into_bytes())
        .map_err(|error| Error::failed("the network cannot be traced for ONNX").caused_by(error))
}

/// Gives a value another name wherever it is used.
fn rename(graph: &mut GraphProto, old: &str, new: &str) {
    let ends =
        graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info).map(|value| &mut value.name);
    let used = graph.node.iter_mut().flat_map(|node| node.input.iter_mut().chain(&mut node.output));
    let stored = graph.initializer.iter_mut().map(|tensor| &mut tensor.name);
    ends.chain(used).chain(stored).filter(|name| *name == old).for_each(|name| *name = new.to_owned());
}

/// Takes the name of the network's kind off the front of every weight's name.
fn name_weights(graph: &mut GraphProto, manifest: &Manifest, weights: &Weights) -> Result<()> {
    for (name, _) in weights.iter() {
        let own = |stored: &str| stored.split_once('.').is_some_and(|(_, rest)| rest == name);
        let stored = graph.initializer.iter().map(|tensor| &tensor.name).find(|stored| own(stored)).cloned();
        match stored {
            Some(stored) => rename(graph, &stored, name),
            None => {
                let kind = manifest.model.kind();
                return Err(Error::failed(format!("the traced {kind} lacks the tensor `{name}`")));
            }
        }
    }
    Ok(())
}

/// Adds the output `probabilities`.
fn add_softmax(graph: &mut GraphProto) {
    let mut axis = AttributeProto::new();
    axis.name = "axis".into();
    axis.i = 1;
    axis.type_ = AttributeType::INT.into();
    let mut node = named(PROBABILITIES, "Softmax", LOGITS, PROBABILITIES);
    node.attribute.push(axis);
    graph.node.push(node);
    if let Some(mut output) = graph.output.first().cloned() {
        output.name = PROBABILITIES.into();
        graph.output.push(output);
    }
}

/// Stores the weights in 16 bits and widens them in front of the graph, which computes in 32.
fn store_halves(graph: &mut GraphProto, weights: &Weights) {
    let mut casts = Vec::new();
    for (name, tensor) in weights.iter() {
        let wide = format!("{name}.f32");
        rename(graph, name, &wide);
        if let Some(stored) = graph.initializer.iter_mut().find(|stored| stored.name == wide) {
            name.clone_into(&mut stored.name);
            stored.data_type = FLOAT16;
            stored.float_data.clear();
            stored.raw_data = Dtype::F16.bytes(&tensor.values).into();
            let mut to = AttributeProto::new();
            to.name = "to".into();
            to.i = i64::from(FLOAT);
            to.type_ = AttributeType::INT.into();
            let mut node = named(&format!("{name}.cast"), "Cast", name, &wide);
            node.attribute.push(to);
            casts.push(node);
        }
    }
    graph.node.splice(0..0, casts);
}

fn named(name: &str, operator: &str, input: &str, output: &str) -> NodeProto {
    let mut node = NodeProto::new();
    node.name = name.into();
    node.op_type = operator.into();
    node.input = vec![input.into()];
    node.output = vec![output.into()];
    node
}

/// What the file holds.
pub(super) fn decode(bytes: &[u8]) -> Result<Content> {
    let again = "copy the file again, or export the model again from its run";
    let mut model = ModelProto::parse_from_bytes(bytes)
        .map_err(|error| Error::usage("the ONNX file is truncated or damaged").caused_by(error).tip(again))?;
    let properties = std::mem::take(&mut model.metadata_props);
    let property = |key: &str| properties.iter().find(|entry| entry.key == key).map(|entry| entry.value.clone());
    let (manifest, digest) = (property(MANIFEST_KEY), property(DIGEST_KEY));
    if manifest.is_none() {
        return Ok(Content { manifest, digest, weights: Weights::default() });
    }
    let rest = model.write_to_bytes().map_err(|error| Error::usage("the ONNX file is damaged").caused_by(error))?;
    if property(GRAPH_KEY) != Some(sha256(&rest)) {
        return Err(
            Error::usage("the graph is damaged or was changed: it does not have the SHA-256 that it names").tip(again)
        );
    }
    let graph = model.graph.unwrap_or_default();
    // The graph's other initializers are its own constants, under names without a module.
    let used = graph.node.iter().flat_map(|node| &node.input).collect::<HashSet<_>>();
    let own = graph.initializer.iter().filter(|tensor| tensor.name.contains('.') && used.contains(&tensor.name));
    let weights = own.map(|tensor| Ok((tensor.name.clone(), values(tensor)?))).collect::<Result<Weights>>()?;
    Ok(Content { manifest, digest, weights })
}

fn values(tensor: &TensorProto) -> Result<WeightTensor> {
    let shape = tensor.dims.iter().map(|&side| usize::try_from(side)).collect::<Result<Vec<_>, _>>();
    let values = match tensor.data_type {
        FLOAT if tensor.raw_data.is_empty() => Some(tensor.float_data.clone()),
        FLOAT => Dtype::F32.values(&tensor.raw_data),
        FLOAT16 => Dtype::F16.values(&tensor.raw_data),
        _ => None,
    };
    match (shape, values) {
        (Ok(shape), Some(values)) => Ok(WeightTensor { shape, values }),
        _ => Err(Error::usage(format!("tensor `{}` must hold numbers of 32 or 16 bits", tensor.name))),
    }
}
