//! The format that other engines compute: opset 18, one input `image` of raw pixels (`[batch, channels, height,
//! width]`, 0 to 255 as float, any batch), outputs `logits` and `probabilities`, both `[batch, classes]`.
//!
//! Burn's exporter traces the network and gives the graph; this file names its ends, adds the softmax, stores the
//! weights in the asked type and puts the manifest into the model's metadata. The weights keep kiln's own names and
//! layout as initializers, so the file can be read back without running the graph.

use std::collections::HashSet;

use burn::tensor::{Device, Tensor, TensorData};
use burn_onnx::export::{AxisSpec, InputSpec, OnnxExporter};
use onnx_ir::{AttributeProto, AttributeType, GraphProto, Message as _, ModelProto, NodeProto, TensorProto};

mod answers;

use super::format::exactly;
use super::{COPY_AGAIN, Content, DIGEST_KEY, Dtype, MANIFEST_KEY, Manifest, Payload, sha256};
use crate::models::{Composition, Network, WeightTensor, Weights, qualified};
use crate::{Error, Result};

/// The name of the graph's input.
const INPUT: &str = "image";
/// The names of its outputs.
const LOGITS: &str = "logits";
const PROBABILITIES: &str = "probabilities";
/// The name of the number that the logits are divided by for them.
const TEMPERATURE: &str = "temperature";
/// SHA-256 of the model without its metadata: it covers the graph, which no other digest does.
const GRAPH_KEY: &str = "kiln_graph_sha256";

/// The most bytes of a file that are no data: the graph of the deepest network, with group norms, has little more than half of it.
const LARGEST_STRUCTURE: usize = 4 << 20;

/// ONNX's numbers for the types of tensors (`TensorProto.DataType`).
const FLOAT: i32 = 1;
const FLOAT16: i32 = 10;

pub(super) struct Container;

impl super::format::Container for Container {
    fn name(&self) -> &'static str {
        "onnx"
    }

    fn extension(&self) -> &'static str {
        "onnx"
    }

    fn about(&self) -> &'static str {
        "A graph that any ONNX runtime computes, .onnx"
    }

    fn holds_graph(&self) -> bool {
        true
    }

    fn begins(&self, start: &[u8]) -> bool {
        // Protobuf field 1, `ir_version`, as every ONNX writer puts first.
        matches!(start, [0x08, version, ..] if *version < 0x80)
    }

    fn encode(&self, model: &Payload) -> Result<Vec<u8>> {
        let traced = trace(model.manifest, model.weights)?;
        let mut proto = ModelProto::parse_from_bytes(&traced).map_err(cannot_be_made)?;
        proto.producer_name = "kiln".into();
        proto.producer_version = env!("CARGO_PKG_VERSION").into();
        let graph = proto.graph.mut_or_insert_default();
        graph.name = model.manifest.model.kind().into();
        let outputs = graph.output.iter().map(|output| output.name.clone()).collect::<Vec<_>>();
        let Some(input) = graph.input.first().map(|input| input.name.clone()) else {
            return Err(Error::failed("the traced graph has no input"));
        };
        let views = model.manifest.views();
        match views.as_slice() {
            [_] => rename(graph, &input, INPUT),
            views => answers::add_views(graph, &input, views),
        }
        match outputs.as_slice() {
            [output] if views.len() == 1 => rename(graph, output, LOGITS),
            outputs => answers::add_mean(graph, outputs, views.len())?,
        }
        name_weights(graph, model.manifest, model.weights)?;
        add_softmax(graph, model.manifest.temperature());
        if model.manifest.dtype == Dtype::F16 {
            store_halves(graph, model.weights);
        }
        let graph_digest = sha256(&proto.write_to_bytes().map_err(cannot_be_made)?);
        with_metadata(proto, &model.digest, &graph_digest, &model.text)
    }

    fn decode(&self, bytes: &[u8]) -> Result<Content> {
        check_structure(bytes)?;
        let mut model = ModelProto::parse_from_bytes(bytes)
            .map_err(|error| Error::usage("the ONNX file is truncated or damaged").caused_by(error).tip(COPY_AGAIN))?;
        let properties = std::mem::take(&mut model.metadata_props);
        let property = |key: &str| properties.iter().find(|entry| entry.key == key).map(|entry| entry.value.clone());
        let (manifest, digest) = (property(MANIFEST_KEY), property(DIGEST_KEY));
        let (Some(text), Some(text_digest)) = (&manifest, &digest) else {
            return Ok(Content { manifest, digest, dtype: Dtype::F32, weights: Weights::default() });
        };
        let rest = model.write_to_bytes().map_err(|error| Error::usage("the ONNX file is damaged").caused_by(error))?;
        let graph_digest = sha256(&rest);
        if property(GRAPH_KEY).as_ref() != Some(&graph_digest) {
            let error = "the graph is damaged or was changed: it does not have the SHA-256 that it names";
            return Err(Error::usage(error).tip(COPY_AGAIN));
        }
        let (dtype, weights) = weights(&model)?;
        // Protobuf has more than one way to write the same, and the digests do not cover the metadata's other entries.
        exactly(bytes, &with_metadata(model, text_digest, &graph_digest, text)?)?;
        Ok(Content { manifest, digest, dtype, weights })
    }
}

fn cannot_be_made(error: protobuf::Error) -> Error {
    Error::failed("the ONNX file cannot be made").caused_by(error)
}

/// The file of a model that has no metadata yet.
fn with_metadata(mut model: ModelProto, digest: &str, graph_digest: &str, text: &str) -> Result<Vec<u8>> {
    for (key, value) in [(DIGEST_KEY, digest), (GRAPH_KEY, graph_digest), (MANIFEST_KEY, text)] {
        // The entries' type has no public name.
        model.metadata_props.push(Default::default());
        if let Some(entry) = model.metadata_props.last_mut() {
            entry.key = key.into();
            entry.value = value.into();
        }
    }
    model.write_to_bytes().map_err(cannot_be_made)
}

/// The network's weights, and the type in which they are stored.
fn weights(model: &ModelProto) -> Result<(Dtype, Weights)> {
    let graph = &model.graph;
    // The graph's other initializers are its own constants, under names without a module.
    let used = graph.node.iter().flat_map(|node| &node.input).collect::<HashSet<_>>();
    let own = graph.initializer.iter().filter(|tensor| tensor.name.contains('.') && used.contains(&tensor.name));
    let mut stored = None;
    let mut weights = Weights::default();
    for tensor in own {
        let (dtype, tensor_values) = values(tensor)?;
        if *stored.get_or_insert(dtype) != dtype {
            return Err(Error::usage(format!("tensor `{}`: must be of the same type as the others", tensor.name)));
        }
        weights.insert(tensor.name.clone(), tensor_values);
    }
    Ok((stored.unwrap_or(Dtype::F32), weights))
}

/// One initializer's type and values.
fn values(tensor: &TensorProto) -> Result<(Dtype, WeightTensor)> {
    let shape = tensor.dims.iter().map(|&side| usize::try_from(side)).collect::<Result<Vec<_>, _>>();
    let (dtype, values) = match tensor.data_type {
        FLOAT if tensor.raw_data.is_empty() => (Dtype::F32, Some(tensor.float_data.clone())),
        FLOAT16 => (Dtype::F16, Dtype::F16.values(&tensor.raw_data)),
        FLOAT => (Dtype::F32, Dtype::F32.values(&tensor.raw_data)),
        _ => (Dtype::F32, None),
    };
    match (shape, values) {
        (Ok(shape), Some(values)) => Ok((dtype, WeightTensor { shape, values })),
        _ => Err(Error::usage(format!("tensor `{}` must hold numbers of 32 or 16 bits", tensor.name))),
    }
}

/// Refuses a file of which more than [`LARGEST_STRUCTURE`] is something else than the numbers of tensors and the values of
/// metadata. Two bytes can be a whole node, which takes a hundred times that in memory.
fn check_structure(bytes: &[u8]) -> Result<()> {
    // model.graph.initializer.raw_data and .float_data, model.metadata_props.value
    let data = [&[7, 5, 9][..], &[7, 5, 4], &[14, 2]].map(|path| payloads(bytes, path));
    let data = data.into_iter().sum::<Option<usize>>();
    let data = data.ok_or_else(|| Error::usage("the ONNX file is truncated or damaged").tip(COPY_AGAIN))?;
    let structure = bytes.len() - data;
    if structure > LARGEST_STRUCTURE {
        return Err(Error::usage(format!(
            "the ONNX file must have at most {LARGEST_STRUCTURE} bytes of graph, got {structure}"
        )));
    }
    Ok(())
}

/// The bytes in all fields at `path`, field numbers from the outermost message inwards; none when they are no messages.
fn payloads(bytes: &[u8], path: &[u64]) -> Option<usize> {
    let [number, inner @ ..] = path else { return Some(bytes.len()) };
    let (mut rest, mut total) = (bytes, 0);
    while !rest.is_empty() {
        let (found, payload, after) = field(rest)?;
        if found == *number {
            total += payloads(payload, inner)?;
        }
        rest = after;
    }
    Some(total)
}

/// The first field of a protobuf message: its number, its bytes if it has a length, and what follows it.
fn field(bytes: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let (tag, rest) = varint(bytes)?;
    let (length, rest) = match tag & 7 {
        0 => return Some((tag >> 3, &[], varint(rest)?.1)),
        1 => (8, rest),
        2 => varint(rest)?,
        5 => (4, rest),
        _ => return None,
    };
    let (payload, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((tag >> 3, payload, after))
}

/// A number of 7 bits per byte, the lowest first, and what follows it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let length = bytes.iter().take(10).position(|byte| byte & 0x80 == 0)? + 1;
    let (number, rest) = bytes.split_at(length);
    Some((number.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f)), rest))
}

/// The network as Burn's exporter sees it, preprocessing in front.
fn trace(manifest: &Manifest, weights: &Weights) -> Result<Vec<u8>> {
    let (shape, preprocess) = (manifest.preprocess.shape, &manifest.preprocess);
    let device = Device::flex();
    let networks = manifest.model.load(preprocess, manifest.classes.len(), weights, &device)?.into_networks();
    // (pixel / 255 - mean) / std = pixel * scale + shift
    let factors = |mean: &[f32], std: &[f32]| {
        let scale = std.iter().map(|&std| (1.0 / (255.0 * f64::from(std))) as f32).collect::<Vec<_>>();
        let shift = mean.iter().zip(std).map(|(&mean, &std)| (-f64::from(mean) / f64::from(std)) as f32);
        [scale, shift.collect()]
    };
    let factors = match &manifest.model {
        Composition::Single(_) => vec![factors(&preprocess.mean, &preprocess.std)],
        Composition::Ensemble(members) => members.iter().map(|member| factors(&member.mean, &member.std)).collect(),
    };
    // Every member's logits; what is made of them is added to the graph.
    let forward = |networks: &Vec<Network>, images: Tensor<4>| {
        let per_channel = |values: &[f32]| {
            Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, shape.channels, 1, 1]), &images.device())
        };
        let answer = |(network, [scale, shift]): (&Network, &[Vec<f32>; 2])| {
            network.forward(images.clone() * per_channel(scale) + per_channel(shift))
        };
        networks.iter().zip(&factors).map(answer).collect::<Vec<_>>()
    };
    let sample = |batch| Tensor::<4>::zeros([batch, shape.channels, shape.height, shape.width], &device);
    let axes = [AxisSpec::dynamic("batch"), AxisSpec::Static, AxisSpec::Static, AxisSpec::Static];
    OnnxExporter::new()
        .export_dynamic(&networks, sample(2), sample(3), &[InputSpec::new(axes)], forward)
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

/// Gives every weight its own name: the tracer puts the place of its network before it.
fn name_weights(graph: &mut GraphProto, manifest: &Manifest, weights: &Weights) -> Result<()> {
    let is_ensemble = matches!(manifest.model, Composition::Ensemble(_));
    // As traced: a name that was given already may end like one that is looked for.
    let traced = graph.initializer.iter().map(|tensor| tensor.name.clone()).collect::<Vec<_>>();
    for (name, _) in weights.iter() {
        match traced.iter().find(|stored| traced_name(stored, is_ensemble).as_deref() == Some(name)) {
            Some(stored) => rename(graph, stored, name),
            None => {
                let kind = manifest.model.kind();
                return Err(Error::failed(format!("the traced {kind} lacks the tensor `{name}`")));
            }
        }
    }
    Ok(())
}

/// The name of a weight that is traced as `0.Convnet.output.weight`: `members.0.output.weight` in an ensemble,
/// `output.weight` alone.
fn traced_name(stored: &str, is_ensemble: bool) -> Option<String> {
    let (index, rest) = stored.split_once('.')?;
    let (_, rest) = rest.split_once('.')?;
    Some(if is_ensemble { qualified(index, rest) } else { rest.to_owned() })
}

/// Adds the output `probabilities`, the softmax of the logits divided by the temperature.
fn add_softmax(graph: &mut GraphProto, temperature: f64) {
    let mut logits = LOGITS;
    if temperature != 1.0 {
        let mut divisor = TensorProto::new();
        divisor.name = TEMPERATURE.into();
        divisor.data_type = FLOAT;
        divisor.raw_data = (temperature as f32).to_le_bytes().to_vec().into();
        graph.initializer.push(divisor);
        logits = "calibrated_logits";
        let mut division = named(logits, "Div", LOGITS, logits);
        division.input.push(TEMPERATURE.into());
        graph.node.push(division);
    }
    let mut node = named(PROBABILITIES, "Softmax", logits, PROBABILITIES);
    node.attribute.push(integer("axis", 1));
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
            let mut node = named(&format!("{name}.cast"), "Cast", name, &wide);
            node.attribute.push(integer("to", i64::from(FLOAT)));
            casts.push(node);
        }
    }
    graph.node.splice(0..0, casts);
}

fn integer(name: &str, value: i64) -> AttributeProto {
    let mut attribute = AttributeProto::new();
    attribute.name = name.into();
    attribute.i = value;
    attribute.type_ = AttributeType::INT.into();
    attribute
}

fn named(name: &str, operator: &str, input: &str, output: &str) -> NodeProto {
    let mut node = NodeProto::new();
    node.name = name.into();
    node.op_type = operator.into();
    node.input = vec![input.into()];
    node.output = vec![output.into()];
    node
}
