//! What a graph has besides the networks where an answer is the mean of several: the views of an image before them, the mean
//! probability behind them.

use onnx_ir::{GraphProto, NodeProto, TensorProto};

use super::{FLOAT, INPUT, LOGITS, integer, named, rename};
use crate::data::View;
use crate::{Error, Result};

/// ONNX's number for whole numbers of 64 bits.
const INT64: i32 = 7;

/// All views of all images: those of the first view, then those of the second.
const VIEWS: &str = "views";

/// Makes `views` of the graph's input, which the networks take by the name `taken`: they see all views of all images as one
/// batch, so that the weights stand in the graph once.
pub(super) fn add_views(graph: &mut GraphProto, taken: &str, views: &[View]) {
    rename(graph, taken, VIEWS);
    if let Some(input) = graph.input.first_mut() {
        input.name = INPUT.into();
    }
    // What is said of sizes on the way is for as many images as go in.
    graph.value_info.clear();
    let mut added = Added { graph, nodes: Vec::new() };
    let seen = views.iter().enumerate().map(|(index, view)| added.view(index, view)).collect::<Vec<_>>();
    added.node("Concat", VIEWS, seen, Some(0));
    let Added { graph, nodes } = added;
    graph.node.splice(0..0, nodes);
}

/// What is put before the networks.
struct Added<'a> {
    graph: &'a mut GraphProto,
    nodes: Vec<NodeProto>,
}

impl Added<'_> {
    /// Adds a view of the input; gives its name.
    fn view(&mut self, index: usize, view: &View) -> String {
        let name = |what: &str| format!("view_{index}_{what}");
        let mut seen = INPUT.to_owned();
        let step = |added: &mut Self, operator: &str, what: &str, other: &str, axis: Option<i64>, seen: &mut String| {
            let output = name(what);
            added.node(operator, &output, vec![std::mem::take(seen), other.to_owned()], axis);
            *seen = output;
        };
        // Pixels are whole numbers, so taking the colour away, and adding it where it is all there is, loses nothing.
        let colour = view.shows_outside().then(|| {
            let colour = name("colour");
            self.numbers(
                &colour,
                &[view.outside.len(), 1, 1],
                &view.outside.iter().copied().map(f32::from).collect::<Vec<_>>(),
            );
            colour
        });
        if let Some(colour) = &colour {
            step(self, "Sub", "from_colour", colour, None, &mut seen);
        }
        for (what, places, axis, shape) in
            [("rows", &view.rows, 2, vec![view.rows.len(), 1]), ("columns", &view.columns, 3, vec![view.columns.len()])]
        {
            if places.iter().enumerate().any(|(place, seen)| *seen != Some(place)) {
                self.places(&name(what), places);
                step(self, "Gather", &format!("of_{what}"), &name(what), Some(axis), &mut seen);
            }
            if places.iter().any(Option::is_none) {
                let inside = name(&format!("{what}_inside"));
                self.numbers(
                    &inside,
                    &shape,
                    &places.iter().map(|place| f32::from(u8::from(place.is_some()))).collect::<Vec<_>>(),
                );
                step(self, "Mul", &format!("within_{what}"), &inside, None, &mut seen);
            }
        }
        if let Some(colour) = &colour {
            step(self, "Add", "seen", colour, None, &mut seen);
        }
        seen
    }

    fn node(&mut self, operator: &str, output: &str, inputs: Vec<String>, axis: Option<i64>) {
        let mut node = NodeProto { input: inputs, ..named(output, operator, "", output) };
        node.attribute.extend(axis.map(|axis| integer("axis", axis)));
        self.nodes.push(node);
    }

    fn places(&mut self, name: &str, places: &[Option<usize>]) {
        let bytes = places.iter().flat_map(|place| (place.unwrap_or(0) as i64).to_le_bytes()).collect();
        self.tensor(name, INT64, &[places.len()], bytes);
    }

    fn numbers(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.tensor(name, FLOAT, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect());
    }

    fn tensor(&mut self, name: &str, data_type: i32, shape: &[usize], bytes: Vec<u8>) {
        let mut tensor = TensorProto::new();
        tensor.name = name.to_owned();
        tensor.data_type = data_type;
        tensor.dims = shape.iter().map(|&side| side as i64).collect();
        tensor.raw_data = bytes.into();
        self.graph.initializer.push(tensor);
    }
}

/// Adds what makes `logits` of the logits of the members, each for all views: `ln(mean(softmax))`, as `m + ln(mean(exp(l - m)))`
/// with `l` their logarithmic softmax and `m` the largest of each class.
pub(super) fn add_mean(graph: &mut GraphProto, outputs: &[String], views: usize) -> Result<()> {
    let Some(mut output) = graph.output.first().cloned() else {
        return Err(Error::failed("the traced graph has no output"));
    };
    let [highest, mean, logarithm] = ["mean_highest", "mean_of_members", "mean_logarithm"];
    let (mut answers, mut parts) = (Vec::new(), Vec::new());
    let mut differences = Vec::new();
    for (index, output) in of_each_view(graph, outputs, views).iter().enumerate() {
        let [answer, difference, part] = ["answer", "difference", "part"].map(|what| format!("member_{index}_{what}"));
        let mut node = named(&answer, "LogSoftmax", output, &answer);
        node.attribute.push(integer("axis", 1));
        graph.node.push(node);
        let mut subtraction = named(&difference, "Sub", &answer, &difference);
        subtraction.input.push(highest.to_owned());
        differences.extend([subtraction, named(&part, "Exp", &difference, &part)]);
        answers.push(answer);
        parts.push(part);
    }
    graph.node.push(NodeProto { input: answers, ..named(highest, "Max", "", highest) });
    graph.node.append(&mut differences);
    graph.node.push(NodeProto { input: parts, ..named(mean, "Mean", "", mean) });
    graph.node.push(named(logarithm, "Log", mean, logarithm));
    let mut sum = named(LOGITS, "Add", logarithm, LOGITS);
    sum.input.push(highest.to_owned());
    graph.node.push(sum);
    output.name = LOGITS.into();
    graph.output = vec![output];
    Ok(())
}

/// Takes what each network gives for all views apart: the names of the parts, as many as networks and views.
fn of_each_view(graph: &mut GraphProto, outputs: &[String], views: usize) -> Vec<String> {
    if views == 1 {
        return outputs.to_vec();
    }
    let mut all = Vec::new();
    for (index, output) in outputs.iter().enumerate() {
        let parts = (0..views).map(|view| format!("member_{index}_view_{view}")).collect::<Vec<_>>();
        let mut node = named(&format!("member_{index}_views"), "Split", output, "");
        node.output = parts.clone();
        node.attribute.extend([integer("axis", 0), integer("num_outputs", views as i64)]);
        graph.node.push(node);
        all.extend(parts);
    }
    all
}
