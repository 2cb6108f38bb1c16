//! The binary: parse, run, render the error, exit.

use std::process::ExitCode;

/// Burn's CPU backends allocate a fresh buffer for nearly every operation; mimalloc gives training a fifth more speed.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Burn restores optimizer state on `Device::default()`, which in a build with a GPU backend is that GPU, there or
    // not. Naming flex makes it land on the CPU; it moves to its parameter's device with the next update.
    // SAFETY: the first statement of the program, before any other thread exists.
    #[allow(unsafe_code)]
    unsafe {
        std::env::set_var("BURN_DEVICE", "flex");
    }
    ExitCode::from(kiln::cli::main())
}
