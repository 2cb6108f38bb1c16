use super::page;
use crate::data::{ImageSet, ImageShape};
use crate::eval::{Predictions, Suspect};
use crate::report::{Report, Test};
use crate::run::{EpochMetrics, RunRecord, Status};

fn epoch(number: usize) -> EpochMetrics {
    EpochMetrics {
        epoch: number,
        iteration: number * 10,
        learning_rate: 0.01,
        train_loss: 1.0 / number as f64,
        train_accuracy: 0.5,
        validation_loss: (number > 1).then_some(0.25),
        validation_accuracy: (number > 1).then_some(0.75),
        validation_balanced_accuracy: None,
        validation_macro_f1: None,
        score: None,
        weights_sha256: String::new(),
        images_per_second: 1234.0,
        seconds: 1.0,
    }
}

/// Image `index` of a set whose labels go round.
fn suspect(index: usize, classes: usize) -> Suspect {
    let (label, suggested) = (index % classes, (index + 1) % classes);
    Suspect { index, label, suggested, margin: -0.9, neighbour_margin: -0.5, confident: true, known: index == 3 }
}

fn report(names: &[String], shape: ImageShape, images: usize) -> Report {
    let count = names.len();
    let labels: Vec<u16> = (0..images).map(|image| (image % count) as u16).collect();
    // Noise cannot be compressed: the largest page that these pictures can give.
    let mut state = 1_u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let pixels = (0..images * shape.len()).map(|_| noise()).collect();
    let set = ImageSet::new(shape, pixels, labels.clone(), names.to_vec().into()).unwrap();
    let logits: Vec<f32> = (0..images * count).map(|_| f32::from(noise()) / 64.0).collect();
    let predictions = Predictions::from_logits(&logits, &labels, names);
    Report {
        run: "a <run>".into(),
        record: RunRecord {
            schema_version: 1,
            status: Status::Done,
            message: None,
            started: "2026-01-01T00:00:00Z".into(),
            ended: None,
            kiln_version: "0".into(),
            burn_version: "0".into(),
            git_commit: None,
            device: "flex".into(),
            seed: 1,
            threads: 1,
            kernels: None,
            measured_on: crate::run::MeasuredOn::Test,
            data_fingerprint: String::new(),
            teacher_sha256: None,
            parent: None,
            warnings: Vec::new(),
            history: Vec::new(),
            result: None,
        },
        notices: Vec::new(),
        epochs: (1..=3).map(epoch).collect(),
        best_epoch: Some(2),
        test: Some(
            Test::new(&predictions, &set, (0..20).map(|index| suspect(index, count)).collect(), vec![3, 9]).unwrap(),
        ),
        inputs: None,
        filters: None,
        activations: None,
        plan: None,
        config: "name = \"</pre><script>\"".into(),
        weights_sha256: None,
    }
}

fn grey(side: usize) -> ImageShape {
    ImageShape { channels: 1, height: side, width: side }
}

#[test]
fn a_hostile_class_name_is_text_wherever_it_stands() {
    let names = ["</style><script>alert(1)</script>", "\" onclick=\"alert(1)", "'><img src=x onerror=alert(1)>"];
    let page = page(&report(&names.map(str::to_owned), grey(8), 60));
    assert!(page.contains("&lt;/style&gt;&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(page.contains("a &lt;run&gt;"));
    for hostile in ["<script", "onclick=\"", "<img"] {
        assert!(!page.contains(hostile), "{hostile}");
    }
    assert_eq!(page.matches("</style>").count(), page.matches("<style>").count());
}

#[test]
fn every_cell_of_the_confusion_matrix_that_counts_opens_its_pictures() {
    let names: Vec<String> = (0..4).map(|class| format!("class {class}")).collect();
    let report = report(&names, grey(8), 400);
    let page = page(&report);
    let confusion = &report.test.as_ref().unwrap().evaluation.confusion;
    for (label, row) in confusion.iter().enumerate() {
        for (answer, &count) in row.iter().enumerate() {
            let id = format!("cell-{label}-{answer}");
            assert_eq!(
                page.contains(&format!("popovertarget=\"{id}\" aria-labelledby=\"{id}-name\"")),
                count > 0,
                "{id}"
            );
            assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), usize::from(count > 0), "{id}");
            assert!(count == 0 || page.contains(&format!("answer class {answer}: {count} image")), "{id}");
        }
    }
}

#[test]
fn a_page_needs_nothing_from_elsewhere() {
    let page = page(&report(&["a".to_owned(), "b".to_owned()], grey(8), 20));
    for foreign in ["http:", "https:", "<script", "@import", "src=", " onclick"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert_eq!(page.matches("url(").count(), page.matches("url(data:image/png;base64,").count());
}

#[test]
fn a_hundred_classes_of_colour_pictures_of_noise_stay_below_3_mb() {
    let names: Vec<String> = (0..100).map(|class| format!("{class} {}", "long ".repeat(30))).collect();
    let names: Vec<String> = names.iter().map(|name| name.trim_end().to_owned()).collect();
    let bytes = page(&report(&names, ImageShape { channels: 3, height: 64, width: 64 }, 3000)).len();
    assert!(bytes < 3_000_000, "{bytes}");
}

#[test]
fn a_run_without_a_test_result_or_an_epoch_has_a_page() {
    let mut report = report(&["a".to_owned(), "b".to_owned()], grey(8), 20);
    (report.test, report.epochs) = (None, Vec::new());
    let page = page(&report);
    assert!(page.contains("There is no test result") && !page.contains("id=\"confusion\""));
    report.epochs = vec![epoch(1)];
    assert!(super::page(&report).contains("epoch 1: training 1.000"));
}
