use super::*;

/// A `/proc` made of files, with ticks of 10 ms.
struct Fake(tempfile::TempDir);

impl Fake {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn proc(&self) -> Proc {
        Proc {
            root: self.0.path().to_owned(),
            tick_us: 10_000,
        }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        fs::write(path, text).unwrap();
    }

    fn remove(&self, path: &str) {
        fs::remove_dir_all(self.0.path().join(path)).unwrap();
    }

    /// A process with one thread, 4 KiB of memory and three descriptors.
    fn process(&self, pid: u32, started: u64, ticks: u64, children: &str) {
        self.state(pid, 'S', started, ticks);
        self.write(&format!("{pid}/status"), "VmRSS: 4 kB\n");
        self.write(&format!("{pid}/smaps_rollup"), "Rss: 4 kB\nPss: 3 kB\n");
        self.write(&format!("{pid}/schedstat"), "1 1 1\n");
        self.write(&format!("{pid}/task/{pid}/children"), children);
        for fd in 0..3 {
            self.write(&format!("{pid}/fd/{fd}"), "");
        }
        self.thread(pid, pid, 0, 0);
    }

    fn state(&self, pid: u32, state: char, started: u64, ticks: u64) {
        let stat = format!(
            "{pid} (a) {state} 1 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 {started} 1 1 1"
        );
        self.write(&format!("{pid}/stat"), &stat);
    }

    fn thread(&self, pid: u32, tid: u32, ran_us: u64, waits: u64) {
        self.write(
            &format!("{pid}/task/{tid}/schedstat"),
            &format!("{} 5 1\n", ran_us * 1_000),
        );
        self.write(
            &format!("{pid}/task/{tid}/status"),
            &format!("voluntary_ctxt_switches: {waits}\nnonvoluntary_ctxt_switches: 1\n"),
        );
    }
}

fn watch(pid: u32, children: bool) -> Watch {
    Watch {
        name: "server".to_owned(),
        role: Role::Server,
        pid,
        children,
    }
}

#[test]
fn nanoseconds_are_taken_and_ticks_keep_what_ended_threads_spent() {
    let fake = Fake::new();
    fake.process(7, 100, 1, "");
    fake.thread(7, 7, 12_345, 3);
    fake.thread(7, 8, 6_000, 2);
    let proc = fake.proc();
    let mut watched = Watched::new(&proc, watch(7, false)).unwrap();
    let sample = watched.look(&proc, 1, true).unwrap();
    assert_eq!((sample.cpu_us, sample.user_us), (18_345, 10_000));
    assert_eq!((sample.waits, sample.preemptions), (5, 2));
    assert_eq!((sample.rss, sample.pss), (4_096, Some(3_072)));
    assert_eq!(sample.descriptors, Some(3));
    // A thread ends; what it had spent stays.
    fake.remove("7/task/8");
    let sample = watched.look(&proc, 2, false).unwrap();
    assert_eq!((sample.cpu_us, sample.waits, sample.pss), (18_345, 5, None));
    // One came and went between two looks: only the ticks know.
    fake.state(7, 'S', 100, 9);
    assert_eq!(watched.look(&proc, 3, false).unwrap().cpu_us, 90_000);
    // Its number comes again with a younger thread.
    fake.thread(7, 7, 1_000, 0);
    fake.state(7, 'S', 100, 1);
    let sample = watched.look(&proc, 4, false).unwrap();
    assert_eq!(
        (sample.cpu_us, sample.user_us),
        (90_000, 90_000),
        "never falls"
    );
}

#[test]
fn without_schedstat_the_clock_is_ticks() {
    let fake = Fake::new();
    fake.process(7, 100, 5, "");
    fs::remove_file(fake.0.path().join("7/schedstat")).unwrap();
    let proc = fake.proc();
    let mut watched = Watched::new(&proc, watch(7, false)).unwrap();
    assert_eq!(watched.look(&proc, 1, false).unwrap().cpu_us, 50_000);
    assert_eq!(watched.into_process("m", Vec::new()).clock, Clock::Ticks);
}

#[test]
fn children_are_added_and_stay_counted_when_they_end() {
    let fake = Fake::new();
    fake.process(7, 100, 1, "8 ");
    fake.process(8, 101, 2, "9 ");
    fake.process(9, 102, 4, "7 8 9 ");
    let proc = fake.proc();
    let mut alone = Watched::new(&proc, watch(7, false)).unwrap();
    assert_eq!(alone.look(&proc, 1, true).unwrap().cpu_us, 10_000);
    let mut watched = Watched::new(&proc, watch(7, true)).unwrap();
    let sample = watched.look(&proc, 1, true).unwrap();
    assert_eq!((sample.cpu_us, sample.threads), (70_000, 3));
    assert_eq!((sample.rss, sample.pss), (3 * 4_096, Some(3 * 3_072)));
    fake.write("8/task/8/children", "");
    fake.remove("9");
    let sample = watched.look(&proc, 2, true).unwrap();
    assert_eq!((sample.cpu_us, sample.threads), (70_000, 2));
    // The pid of one is given to a new child.
    fake.process(8, 200, 3, "");
    assert_eq!(watched.look(&proc, 3, true).unwrap().cpu_us, 100_000);
}

#[test]
fn a_process_that_ends_says_so_and_keeps_its_last_totals() {
    let fake = Fake::new();
    fake.process(7, 100, 1, "");
    let proc = fake.proc();
    let mut watched = Watched::new(&proc, watch(7, false)).unwrap();
    watched.look(&proc, 1, false).unwrap();
    fake.state(7, 'Z', 100, 6);
    let last = watched.look(&proc, 2, false).unwrap();
    assert_eq!((last.cpu_us, last.rss), (60_000, 4_096));
    assert_eq!(watched.ended_us, Some(2));
    assert_eq!(watched.look(&proc, 3, false), None);

    let mut other = Watched::new(&proc, watch(7, false)).unwrap();
    fake.process(7, 900, 1, "");
    assert_eq!(other.look(&proc, 4, false), None, "the pid is another's");
    assert_eq!(other.ended_us, Some(4));
    assert!(Watched::new(&proc, watch(99, false)).is_err());
}

#[test]
fn hostile_texts_neither_panic_nor_count() {
    let fake = Fake::new();
    fake.process(7, 100, 1, "");
    let proc = fake.proc();
    let mut watched = Watched::new(&proc, watch(7, true)).unwrap();
    for text in [
        "",
        "\0\0",
        "99999999999999999999999 -1 x",
        "VmRSS: x kB",
        "\u{feff}) (",
    ] {
        for file in [
            "status",
            "smaps_rollup",
            "task/7/status",
            "task/7/schedstat",
            "task/7/children",
        ] {
            fake.write(&format!("7/{file}"), text);
        }
        let sample = watched.look(&proc, 1, true).unwrap();
        assert_eq!(sample.cpu_us, 10_000, "{text:?}");
    }
    fake.write("7/stat", "7 (");
    assert_eq!(watched.look(&proc, 2, true), None);
}
