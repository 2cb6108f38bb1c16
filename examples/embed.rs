//! A trained model inside another program: no training code, no config, one file.
//!
//! ```text
//! cargo run --example embed -- model.bpk digit.png
//! ```
//!
//! The file says how pictures are brought to the network's size and what its answers are called, so a program that
//! embeds it has nothing to repeat, and nothing to get wrong.

use std::process::ExitCode;

use kiln::Predictor;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), Some(picture)) = (arguments.next(), arguments.next()) else {
        complain("give a model file and a picture");
        return ExitCode::from(2);
    };
    match answer(&model, &picture) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.render());
            ExitCode::from(error.exit_code())
        }
    }
}

#[allow(clippy::print_stdout)]
fn answer(model: &str, picture: &str) -> kiln::Result<()> {
    // Opening checks the whole file; afterwards the predictor can be shared by threads.
    let predictor = Predictor::open(model)?;

    let image = image::open(picture)
        .map_err(|error| kiln::Error::usage(format!("cannot read the picture `{picture}`")).caused_by(error))?;
    let prediction = predictor.predict(&image)?;
    for answer in prediction.ranked.iter().take(3) {
        println!("{:<12} {:6.2} %", answer.label, answer.probability * 100.0);
    }

    // Many at a time: pixels of the network's size, as they were in training.
    let inputs = [&prediction.input[..], &prediction.input[..]];
    assert_eq!(predictor.predict_prepared(&inputs)?.len(), inputs.len());
    Ok(())
}

#[allow(clippy::print_stderr)]
fn complain(text: &str) {
    eprintln!("{text}");
}
