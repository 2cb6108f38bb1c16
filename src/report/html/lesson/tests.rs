use super::page;
use crate::data::ImageShape;
use crate::predict::LayerOutput;
use crate::report::{
    Answer, BatchRow, Cut, Explanation, FilterChange, FilterShape, FollowedWeight, Frame, HeldOut, Layer, LayerWords,
    Lesson, Parameter, PlanWords, PredictionRow, RateRun, Watched,
};

const HOSTILE: [&str; 3] =
    ["</style><script>alert(1)</script>", "\" onclick=\"alert(1)", "'><img src=x onerror=alert(1)>"];

fn run(factor: f64, losses: &[f64], diverged_at: Option<usize>) -> RateRun {
    let accuracy = diverged_at.is_none().then_some(0.5);
    RateRun { factor, learning_rate: 0.01 * factor, losses: losses.to_vec(), diverged_at, accuracy }
}

fn explanation(batch: usize) -> Explanation {
    let row = |image: usize| PredictionRow {
        predicted: 0,
        probability: 0.5,
        label: image % 3,
        label_probability: [0.5, 0.3, 0.2][image % 3],
    };
    let parameter = Parameter { name: "output.weight".into(), count: 36, gradient_norm: 2.0, update_to_weight: 0.01 };
    Explanation {
        images: (0..batch).collect(),
        input_shape: vec![batch, 3, 2, 2],
        layers: vec![Layer { name: "output".into(), shape: vec![batch, 3], mean: 0.0, sd: 1.0 }],
        predictions: (0..batch).map(row).collect(),
        correct_before: batch.div_ceil(3),
        loss_before: 1.0,
        parameters: vec![parameter],
        learning_rate: 0.01,
        loss_same_batch: [1.0, 0.5],
        correct_after: 2,
    }
}

fn lesson(names: &[&str]) -> Lesson {
    let (batch, filter) = (7, vec![0.5, -0.5, 0.25, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]);
    let filters = vec![filter; 3];
    let frame = |iteration: usize| Frame {
        iteration,
        accuracy: 0.25,
        loss: 1.25,
        answers: (0..3).map(|class| Answer { class, probability: 0.5, label_probability: 0.5 }).collect(),
        filters: filters.clone(),
    };
    let words = LayerWords {
        name: "output".into(),
        description: "fully connected".into(),
        output_shape: vec![3],
        parameters: 39,
    };
    Lesson {
        experiment: "<lesson>".into(),
        model: "linear".into(),
        optimizer: "sgd".into(),
        classes: names.iter().map(|name| (*name).to_owned()).collect(),
        shape: ImageShape { channels: 3, height: 2, width: 2 },
        cut: Cut {
            train_images: 21,
            batch_size: batch,
            batches_per_pass: 3,
            iterations_per_epoch: 3,
            epochs: 2,
            total_iterations: 6,
            accumulation: 1,
        },
        plan: PlanWords { lines: String::new(), arithmetic: "One.\nTwo.".into(), layers: vec![words] },
        explanation: explanation(batch),
        rows: (1..=3).map(|batch| BatchRow { batch, size: 7, pixels: vec![vec![batch as u8; 12]; 7] }).collect(),
        inputs: vec![vec![9; 12]; batch],
        augmentation: Vec::new(),
        logits: vec![1.0, 0.5, 0.1],
        outputs: vec![LayerOutput { name: "output".into(), shape: vec![3], values: vec![1.0, 0.5, 0.1] }],
        label_smoothing: 0.0,
        clipped: None,
        weight: Some(FollowedWeight {
            tensor: "output.weight".into(),
            place: vec![5, 1],
            before: 0.5,
            gradient: -2.0,
            learning_rate: 0.01,
            after: f64::from(0.52_f32),
            rule: "SGD".into(),
        }),
        filters: Some(FilterChange {
            form: FilterShape { tensor: "output.weight".into(), shape: vec![12, 3], count: 3, size: (3, 2, 2) },
            before: filters.clone(),
            gradient: filters.clone(),
            after: filters.clone(),
        }),
        runs: vec![
            run(0.01, &[1.0, 0.99, 0.98], None),
            run(1.0, &[1.0, 0.6, 0.2], None),
            run(100.0, &[1.0, 900.0], Some(3)),
        ],
        held_out: HeldOut {
            part: "validation",
            images: 8,
            watched: (0..3).map(|label| Watched { index: label, label, pixels: vec![7; 12] }).collect(),
        },
        frames: [0, 1, 3].map(frame).to_vec(),
    }
}

#[test]
fn a_hostile_class_name_is_text_wherever_it_stands() {
    let page = page(&lesson(&HOSTILE)).unwrap();
    assert!(page.contains("&lt;/style&gt;&lt;script&gt;alert(1)&lt;/script&gt;") && page.contains("&lt;lesson&gt;"));
    for hostile in ["<script>alert", "onclick=\"", "<img"] {
        assert!(!page.contains(hostile), "{hostile}");
    }
    assert_eq!(page.matches("</style>").count(), page.matches("<style>").count());
    assert_eq!(page.matches("<script").count(), 1);
}

#[test]
fn the_page_allows_its_own_script_and_nothing_from_elsewhere() {
    let page = page(&lesson(&["a", "b", "c"])).unwrap();
    let script = page.split_once("<script>").unwrap().1.split_once("</script>").unwrap().0;
    assert_eq!(script, super::SCRIPT);
    assert!(page.contains("script-src 'sha256-") && !page.contains("script-src 'unsafe"));
    for foreign in ["http:", "https:", "@import", "src=", " onclick"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert_eq!(page.matches("url(").count(), page.matches("url(data:image/png;base64,").count());
}

#[test]
fn every_link_has_its_place() {
    let page = page(&lesson(&["a", "b", "c"])).unwrap();
    let links: Vec<&str> = page.split("href=\"#").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0)).collect();
    assert!(links.len() > 15, "{links:?}");
    for link in links {
        assert_eq!(page.matches(&format!("<section id=\"{link}\">")).count(), 1, "{link}");
    }
}

#[test]
fn what_is_said_of_a_rate_follows_from_its_losses() {
    let page_of = |runs: Vec<RateRun>| page(&Lesson { runs, ..lesson(&["a", "b", "c"]) }).unwrap();
    let found = page_of(lesson(&["a", "b", "c"]).runs);
    for words in ["Too small", "barely moved", "Right: ", "Too large", "in iteration 3 it was no number any more"] {
        assert!(found.contains(words), "{words}");
    }
    // A large rate that does well is not called too large, nor a small one too small.
    let found = page_of(vec![
        run(0.01, &[1.0, 0.6, 0.1], None),
        run(1.0, &[1.0, 0.6, 0.2], None),
        run(100.0, &[1.0, 0.1, 0.05], None),
    ]);
    assert!(!found.contains("Too small") && !found.contains("Too large") && !found.contains("Right: "));
    assert!(found.contains("Not the best of the three"));
    let found = page_of(vec![run(1.0, &[1.0, 5.0, 4.0], None)]);
    assert!(found.contains("shot up from 1.0000 to 5 in iteration 2"));
}

#[test]
fn a_plain_step_is_worked_out_and_another_one_told() {
    let found = page(&lesson(&["a", "b", "c"])).unwrap();
    assert!(found.contains("0.5 − 0.01 × (−2) = <strong>0.52</strong>"), "the formula");
    assert!(found.contains("from the pixel in channel 2, row 1, column 2 to output 2"));
    let mut other = lesson(&["a", "b", "c"]);
    other.weight = other.weight.map(|weight| FollowedWeight { after: 0.51, rule: "Adam".into(), ..weight });
    let found = page(&other).unwrap();
    assert!(found.contains("0.5 to <strong>0.51</strong>") && found.contains("as long as the learning rate"));
}

#[test]
fn a_lesson_that_has_less_has_a_page() {
    let mut less = lesson(&["a", "b", "c"]);
    (less.filters, less.weight) = (None, None);
    less.frames.iter_mut().for_each(|frame| frame.filters.clear());
    assert!(page(&less).unwrap().contains("id=\"film\""));
    // A run whose first loss is no number has neither frames nor curves.
    (less.runs, less.frames) = (vec![run(1.0, &[], Some(1))], Vec::new());
    less.explanation.predictions[0].label_probability = 0.0;
    let found = page(&less).unwrap();
    assert!(!found.contains("id=\"film\"") && found.contains("id=\"words\""));
}
