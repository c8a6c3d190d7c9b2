//! Prints a table of every model and seeded bug: states visited, depth, result. Ends with failure
//! when a sound model breaks a property or a bug goes unnoticed.

use std::fmt::Debug;
use std::hash::Hash;
use std::process::ExitCode;

use entente_model::check::{Finding, Seeded, broken, clean};
use entente_model::delivery::Delivery;
use entente_model::handover::Handover;
use entente_model::submit::Submit;
use entente_model::takeover::Takeover;

#[expect(clippy::print_stdout, reason = "the table is the program's output")]
fn main() -> ExitCode {
    println!("| model | bounds | bug | states | depth | result |");
    println!("|---|---|---|---:|---:|---|");
    let fine = [
        rows::<Takeover>(),
        rows::<Handover>(),
        rows::<Submit>(),
        rows::<Delivery>(),
    ];
    if fine.iter().all(|fine| *fine) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn rows<M>() -> bool
where
    M: Seeded + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let mut fine = true;
    for bounds in 0..M::BOUNDS.len() {
        let finding = clean::<M>(bounds);
        fine &= finding.broken.is_empty();
        row(
            &finding,
            if finding.broken.is_empty() {
                "every property holds"
            } else {
                "BROKEN"
            },
        );
    }
    for (bug, bounds, property) in M::BUGS {
        let finding = broken::<M>(*bug, *bounds, property);
        let result = match finding.path.len() {
            0 => format!("NOT NOTICED by \"{property}\""),
            steps => format!("breaks \"{property}\" in {steps} steps"),
        };
        fine &= !finding.path.is_empty();
        row(&finding, &result);
    }
    fine
}

#[expect(clippy::print_stdout, reason = "the table is the program's output")]
fn row(finding: &Finding, result: &str) {
    let Finding {
        model,
        bounds,
        bug,
        states,
        depth,
        ..
    } = finding;
    println!("| {model} | {bounds} | {bug:?} | {states} | {depth} | {result} |");
}
