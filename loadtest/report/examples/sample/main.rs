//! Writes a report of a made-up run, to look at: `cargo run -p entente-report --example sample --
//! OUT.html`. `--json` after it writes `result.json`'s form beside it, `--compare` a comparison of
//! made-up rounds instead.

use std::error::Error;
use std::path::PathBuf;

use entente_report::{Rounds, RunResult, Side, compare, html, write_whole};

mod run;

/// Seeds of the rounds of either side.
const A: [u64; 5] = [1, 2, 3, 4, 5];
const B: [u64; 5] = [11, 12, 13, 14, 15];

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args_os().skip(1);
    let out = PathBuf::from(
        words
            .next()
            .ok_or("where to? sample OUT.html [--json | --compare]")?,
    );
    let more = words.next().unwrap_or_default();
    if more == "--compare" {
        write_whole(&out, comparison()?.as_bytes())?;
        return Ok(());
    }
    let result = run::sample(7)?;
    write_whole(&out, html(&result)?.as_bytes())?;
    if more == "--json" {
        result.write(&out.with_extension("json"))?;
    }
    Ok(())
}

/// Rounds of two made-up servers, of which the second spends a tenth less.
fn comparison() -> Result<String, Box<dyn Error>> {
    let rounds = |seeds: [u64; 5]| {
        seeds
            .into_iter()
            .map(run::sample)
            .collect::<Result<Vec<_>, _>>()
    };
    let (a, mut b) = (rounds(A)?, rounds(B)?);
    let cheaper = |run: &mut RunResult| {
        for process in &mut run.processes {
            for sample in &mut process.samples {
                sample.cpu_us = sample.cpu_us * 9 / 10;
            }
        }
        run.judge(&[])
    };
    b.iter_mut().try_for_each(cheaper)?;
    let side = |name, rounds| Side { name, rounds };
    let (a, b) = (
        side("before (SAMPLE, made up)", &a),
        side("after (SAMPLE, made up)", &b),
    );
    Ok(compare(a, b, Rounds::InTurns).html())
}
