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

#[test]
fn adding_is_exact_in_any_order() {
    let mut dice = 7_u64;
    let mut parts: Vec<Histogram> = (0..5).map(|_| Histogram::default()).collect();
    let mut whole = Histogram::default();
    for turn in 0..20_000 {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        let latency = dice >> (dice % 60);
        parts[turn % 5].record_us(latency);
        whole.record_us(latency);
    }
    for turned in [false, true] {
        let mut sum = Histogram::default();
        for place in 0..5 {
            let part = &parts[if turned { 4 - place } else { place }];
            sum.add(&Histogram::decode(&part.encode()).unwrap())
                .unwrap();
        }
        assert_eq!(sum, whole, "seed 7");
        assert_eq!(sum.encode(), whole.encode());
    }
    assert_eq!(whole.add(&Histogram::coarse()), Err(Error::Digits));
}

#[test]
fn damaged_and_foreign_bytes_are_refused() {
    let good = sample().bytes();
    let refused = |bytes: &[u8]| Histogram::from_bytes(bytes).unwrap_err();
    assert_eq!(Histogram::decode("???"), Err(Error::Base64));
    assert_eq!(
        Histogram::decode(&"A".repeat(10_000_000)),
        Err(Error::Damaged)
    );
    for length in 0..good.len() {
        refused(good.split_at(length).0);
    }
    // Deflated, another offset, other digits, other bounds, another ratio.
    for (place, value) in [(3, 0x14), (11, 1), (15, 4), (23, 2), (28, 1), (32, 0)] {
        let mut bytes = good.clone();
        bytes[place] = value;
        assert_eq!(refused(&bytes), Error::Foreign, "byte {place}");
    }
    let with = |numbers: &[i64]| {
        let mut body = Vec::new();
        numbers.iter().for_each(|number| put(&mut body, *number));
        let mut bytes = good.split_at(HEADER).0.to_vec();
        bytes[4..8].copy_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
        bytes.extend(body);
        bytes
    };
    assert_eq!(Histogram::from_bytes(&with(&[-5, 3])).unwrap().count(), 3);
    assert_eq!(
        refused(&with(&[i64::MAX, i64::MAX, i64::MAX])),
        Error::Damaged
    );
    let mut full = Histogram::from_bytes(&with(&[i64::MAX, i64::MAX])).unwrap();
    assert_eq!(full.add(&full.clone()), Err(Error::Damaged));
    assert!(
        full.quantile_us(1.0).is_some(),
        "counts near their end do not overflow"
    );
    assert_eq!(refused(&with(&[i64::MIN, 1])), Error::Damaged);
    assert_eq!(refused(&with(&[-30_000, 1])), Error::Damaged);
}

#[test]
fn numbers_of_any_size_are_read_back() {
    for number in [
        0,
        1,
        -1,
        63,
        64,
        -64,
        -65,
        1 << 55,
        -(1 << 55),
        i64::MAX,
        i64::MIN,
    ] {
        let mut bytes = Vec::new();
        put(&mut bytes, number);
        assert!(bytes.len() <= 9);
        assert_eq!(take(&mut bytes.as_slice()), Some(number));
    }
}

#[test]
fn what_is_longer_than_an_hour_counts_as_an_hour() {
    let mut histogram = Histogram::default();
    histogram.record(Duration::from_secs(86_400));
    histogram.record(Duration::MAX);
    let most = histogram.max_us().unwrap();
    assert!(
        (HIGHEST_US..HIGHEST_US + HIGHEST_US / 500).contains(&most),
        "{most}"
    );
    assert_eq!(Histogram::decode(&histogram.encode()), Ok(histogram));
    assert_eq!(Histogram::default().quantile_us(0.5), None);
}
