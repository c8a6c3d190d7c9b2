use super::*;

fn error(text: &str, overrides: &[&str]) -> String {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    Scenario::parse("x.toml", text, &overrides)
        .unwrap_err()
        .to_string()
}

#[test]
fn an_unknown_key_is_named_with_its_line_and_column() {
    let text = error("about = 'x'\n[load]\nwindow = 2\n  rote = 5\n", &[]);
    assert!(
        text.starts_with("x.toml:4:3: unknown field `rote`"),
        "{text}"
    );
    let text = error("[lode]\n", &[]);
    assert!(
        text.starts_with("x.toml:1:2: unknown field `lode`"),
        "{text}"
    );
}

#[test]
fn a_wrong_type_a_wrong_word_and_broken_toml_are_placed_too() {
    for (text, at) in [
        ("[load]\nrate = 'many'\n", "x.toml:2:8: invalid type"),
        (
            "[load]\npattern = 'pear'\n",
            "x.toml:2:11: unknown variant `pear`",
        ),
        (
            "[run]\ntime = '5 parsecs'\n",
            "x.toml:2:8: \"5 parsecs\" is no span",
        ),
        ("[run\n", "x.toml:1:5:"),
        ("[load]\nrate = 1\nrate = 2\n", "x.toml:3:1: duplicate key"),
    ] {
        let found = error(text, &[]);
        assert!(found.starts_with(at), "{found}");
    }
}

#[test]
fn values_that_make_no_sense_are_named_with_their_line() {
    for (text, wanted) in [
        (
            "\n[load]\nreceipts = 1.5\n",
            "x.toml:3: load.receipts: must be 0 to 1",
        ),
        (
            "[run]\ntime = '0s'\n",
            "x.toml:2: run.time: must be longer than 0",
        ),
        (
            "[target]\nkind = 'xmpp'\n",
            "x.toml: target.address: is needed",
        ),
        (
            "[logins]\n[load]\nwindow = 3\n",
            "x.toml: load.pattern: must be \"none\"",
        ),
        ("[noisy]\n", "x.toml: sessions.partners: must be at least 2"),
        (
            "[load]\ndelivered_receipts = 0.5\n[sessions]\nmanage = false\n",
            "x.toml:2: load.delivered_receipts: need sessions.manage",
        ),
    ] {
        let found = error(text, &[]);
        assert!(found.starts_with(wanted), "{found}");
    }
}

#[test]
fn overrides_win_and_name_themselves_when_they_do_not_fit() {
    let overrides = [
        "load.rate=250",
        "run.time=3s",
        "load.arrivals=poisson",
        "load.sizes=[{bytes=64}]",
    ];
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    let scenario = Scenario::parse("x", "[load]\nrate = 1\n", &overrides).unwrap();
    assert_eq!(scenario.load.rate, 250.0);
    assert_eq!(scenario.run.time, Duration::from_secs(3));
    assert_eq!(scenario.load.arrivals, Arrivals::Poisson);
    assert_eq!(scenario.load.sizes.len(), 1);
    for (given, wanted) in [
        ("load.rote=1", "--set load.rote=1: unknown field `rote`"),
        ("load.rate=many", "--set load.rate=many: invalid type"),
        ("about.x=1", "--set about.x=1: about is no table"),
        ("load", "--set load: write key=value"),
    ] {
        let found = error("about = 'x'\n", &[given]);
        assert!(found.starts_with(wanted), "{found}");
    }
}

#[test]
fn a_scenario_written_and_read_is_the_same() {
    let text = "[noisy]\n[load]\narrivals='poisson'\ncurve=[1.0,2.0]\n[sessions]\npartners=2\n";
    let scenario = Scenario::parse("x", text, &[]).unwrap();
    let again = Scenario::parse("x", &scenario.to_toml().unwrap(), &[]).unwrap();
    assert_eq!(scenario, again);
}

/// Every scenario of the repository is good, says what it models, and has thresholds.
#[test]
fn the_scenarios_of_the_repository_are_good() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let mut seen = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let scenario = Scenario::read(&path, &[]).unwrap();
        assert!(scenario.about.len() > 40, "{}", path.display());
        assert!(!scenario.thresholds.is_empty(), "{}", path.display());
        assert!(
            std::fs::read_to_string(&path).unwrap().starts_with('#'),
            "{}",
            path.display()
        );
        seen += 1;
    }
    assert!(seen >= 11, "{seen} scenarios");
}

/// The page is made from the types: `entente-loadtest scenario --reference`.
#[test]
fn the_reference_in_the_repository_is_the_one_that_the_types_give() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios.md");
    let written = std::fs::read_to_string(file).unwrap();
    assert!(
        written.ends_with(&reference()),
        "run: entente-loadtest scenario --reference"
    );
    for key in [
        "`rate`",
        "`[load]`",
        "`[target.tls]`",
        "`\"poisson\"`",
        "`[noisy]`",
        "`factor`",
    ] {
        assert!(reference().contains(key), "{key}");
    }
}
