//! The words in a sentence each, and what to do next.

use maud::{Markup, html};

use super::count;
use crate::report::lesson::Lesson;
use crate::report::thousands;

/// `has` says which sections the page has.
pub(super) fn section(lesson: &Lesson, has: impl Fn(&str) -> bool) -> Markup {
    let cut = &lesson.cut;
    let words = [
        ("Training set", "batch", "the pictures with labels that the network learns from.".to_owned()),
        (
            "Batch",
            "batch",
            format!("{} that go through the network together.", count(cut.batch_size, "picture")),
        ),
        ("Iteration", "update", "one batch processed once: forward propagation, loss, back propagation, update.".into()),
        (
            "Epoch",
            "batch",
            format!(
                "one pass over the training set; here {} make one.",
                count(cut.iterations_per_epoch, "iteration")
            ),
        ),
        ("Parameter", "forward", "a weight or a bias: one of the numbers that training changes.".into()),
        (
            "Forward propagation",
            "forward",
            "from the picture through all layers to the prediction, each layer computing from the output of the one before.".into(),
        ),
        (
            "Filter",
            "backward",
            "the weights of one output of the first layer, seen as a picture; a convolution's filter is also called its kernel.".into(),
        ),
        ("Logit", "forward", "what the last layer says of a class, before softmax makes a probability of it.".into()),
        ("Loss", "loss", "how wrong the predictions are, in one number: cross-entropy, the mean of −ln p of the label.".into()),
        (
            "Back propagation",
            "backward",
            "from the loss back through all layers, to find each parameter's gradient.".into(),
        ),
        ("Gradient", "backward", "how the loss changes when a parameter grows a little.".into()),
        ("Learning rate", "rates", "how far the update goes against the gradient.".into()),
        ("Update", "update", "moving every parameter a little, so that the loss falls.".into()),
        (
            "Validation and test set",
            "film",
            "pictures that the network does not learn from: the one to choose by while training, the other to measure once, at the end.".into(),
        ),
    ];
    html! {
        dl.words {
            @for (word, place, meaning) in &words {
                dt { @if has(place) { a href={ "#" (place) } { (word) } } @else { (word) } }
                dd { (capital(meaning)) }
            }
        }
        h3 { "Now you" }
        p {
            "A whole run with this config is " (count(cut.epochs, "epoch")) ", " (thousands(cut.total_iterations as u64)) " of the iterations that you have seen:"
        }
        pre tabindex="0" aria-label="The command" { "kiln train " (lesson.experiment) }
        p { "It leaves a page of its own, " code { "report.html" } ", and a model that " code { "kiln predict" } " and " code { "kiln serve" } " use." }
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
