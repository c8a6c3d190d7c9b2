use super::*;

/// What HdrHistogram's own serializer writes for 1 µs, 100 times 250 µs, 2,047, 2,048, 15,000 and
/// 3,600,000,000 µs.
const WRITTEN_BY_THE_LIBRARY: &str =
    "HISTEwAAABEAAAAAAAAAAwAAAAAAAAABAAAAANaTpAA/8AAAAAAAAAAC7wPIAYccAgKjLQK/nQIC";

fn sample() -> Histogram {
    let mut histogram = Histogram::default();
    histogram.record_us(1);
    for _ in 0..100 {
        histogram.record_us(250);
    }
    for latency in [2_047, 2_048, 15_000, 3_600_000_000] {
        histogram.record_us(latency);
    }
    histogram
}

#[test]
fn writes_what_the_library_writes() {
    assert_eq!(sample().encode(), WRITTEN_BY_THE_LIBRARY);
}

#[test]
fn reads_what_it_writes() {
    for histogram in [sample(), Histogram::default(), Histogram::coarse()] {
        assert_eq!(Histogram::decode(&histogram.encode()), Ok(histogram));
    }
    let mut coarse = Histogram::coarse();
    let mut latency: u64 = 1;
    while latency < 4_000_000_000 {
        coarse.record_us(latency);
        latency = latency * 17 / 16 + 1;
    }
    assert_eq!(Histogram::decode(&coarse.encode()), Ok(coarse));
}
