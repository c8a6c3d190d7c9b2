#!/usr/bin/env python3
"""The table of ops/peers: what rounds of several servers say, and whether they say anything.

    loadtest/peers/table.py --self-test
    loadtest/peers/table.py FILE          draws a table.json anew

In: runs, as `beside.py` writes them. A figure is set against the same figure of the baseline in the
same round, so that what slows the machine down for minutes slows both; the median of these ratios
is told with the least and the greatest. Noisy runs count only for a cell that has no majority of
quiet rounds, and such a cell concludes nothing.
"""

import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

# Percentiles, and what they are percentiles of; ten events must lie beyond one that is told.
PERCENTILES = {"p99_ms": "delivered", "login_p99_ms": "logins"}
ENOUGH = 1000
# What a reader must know beside a mark.
MARKS = {
    "~": "too few quiet rounds: from noisy ones too, concludes nothing",
    "<": "the generator had no CPU time left: the rate is its own, and the server, with less to do at "
    "once, may have cost more for each message than it would have",
    "!": "a threshold of the scenario did not hold (something lost, doubled, refused or late)",
}


@dataclass(frozen=True)
class Column:
    """A figure in a table: its name in result.json or in `derived`, and how it is written."""

    figure: str
    title: str
    digits: int = 1
    scale: float = 1.0
    ratio: bool = False


MESSAGES = (
    Column("server_cpu_us_per_message", "server CPU, µs a message", ratio=True),
    Column("rate", "messages/s", digits=0),
    Column("p50_ms", "p50, ms", digits=2),
    Column("p99_ms", "p99, ms", digits=2),
    Column("server_cores", "cores used", digits=2),
)
COLUMNS = {
    "pairs-1": MESSAGES,
    "pairs-10": MESSAGES,
    "idle": (
        Column("bytes_per_session", "KB a session", scale=1 / 1000, ratio=True),
        Column("idle_cpu_us_per_session_second", "CPU, µs a session and second", digits=2, ratio=True),
    ),
    "logins": (
        Column("server_cpu_us_per_login", "server CPU, µs a login", digits=0, ratio=True),
        Column("logins_per_core_second", "logins a second and core", digits=0),
        Column("login_rate", "logins/s", digits=0),
        Column("login_p99_ms", "p99, ms"),
    ),
}
TITLES = {
    "pairs-1": "50 pairs, window 1, 512 bytes",
    "pairs-10": "50 pairs, window 10, 512 bytes",
    "idle": "{sessions:,} idle sessions, a keep-alive each 10 s",
    "logins": "Logins, 32 at once",
}
REMARKS = {
    "logins": "Passwords stand in the clear in ejabberd and Prosody, and each login compares two strings: "
    "a hash, which those who run them use, costs more. The relays let anybody in. Entente verifies an "
    "EdDSA token.",
}


def derived(figures):
    """Figures with those that follow from them, without percentiles of too few events."""
    few = {name for name, count in PERCENTILES.items() if figures.get(count, 0) < ENOUGH}
    found = {name: value for name, value in figures.items() if name not in few}
    cost = figures.get("server_cpu_us_per_login")
    return found | ({"logins_per_core_second": 1e6 / cost} if cost else {})


@dataclass(frozen=True)
class Spread:
    """Some rounds of one number: the median, the least, the greatest, and whether they conclude."""

    median: float
    least: float
    greatest: float
    rounds: int
    concludes: bool

    def written(self, digits, scale=1.0):
        """`4.1 (3.9-4.4)`, or one number for one round."""
        median, least, greatest = (
            f"{each * scale:,.{digits}f}" for each in (self.median, self.least, self.greatest)
        )
        text = median if self.rounds == 1 else f"{median} ({least}-{greatest})"
        return text if self.concludes else f"{text} ~"


def spread(rounds, asked):
    """Of (value, is noisy) pairs, one a round; None without any. Noisy ones count only if the quiet
    ones are no majority of the rounds that were asked for."""
    quiet = [value for value, noisy in rounds if not noisy]
    concludes = len(quiet) > asked // 2
    values = quiet if concludes else [value for value, _ in rounds]
    if not values:
        return None
    return Spread(statistics.median(values), min(values), max(values), len(values), concludes)


def times(ratio):
    """A ratio in words: three digits of it mean something."""
    return ratio.written(2 if ratio.median < 10 else 1)


class Table:
    """All runs of a comparison."""

    def __init__(self, facts):
        self.facts = facts
        self.asked = facts["rounds"]
        self.baseline = facts["baseline"]
        self.runs = {(run["scenario"], run["server"], run["round"]): run for run in facts["runs"]}

    def servers(self, scenario):
        """Who was to run a scenario: a run that broke off is a run."""
        ran = {server for found, server, _ in self.runs if found == scenario}
        return [server for server in self.facts["servers"] if server in ran]

    def values(self, scenario, server, figure):
        """(value, is noisy) of each round that has the figure."""
        found = []
        for number in range(1, self.asked + 1):
            run = self.runs.get((scenario, server, number))
            value = None if run is None or run["broken"] else derived(run["figures"]).get(figure)
            found.append(None if value is None else (value, run["noisy"]))
        return found

    def figure(self, scenario, server, figure):
        """The spread of a figure."""
        return spread([each for each in self.values(scenario, server, figure) if each], self.asked)

    def ratio(self, scenario, server, figure):
        """The spread of a figure over the baseline's of the same round."""
        pairs = zip(
            self.values(scenario, server, figure),
            self.values(scenario, self.baseline, figure),
            strict=True,
        )
        rounds = [
            (ours[0] / base[0], ours[1] or base[1]) for ours, base in pairs if ours and base and base[0] > 0
        ]
        return spread(rounds, self.asked)

    def marks(self, scenario, server):
        """The marks that any round of a server earned, in order."""
        runs = [self.runs.get((scenario, server, number)) for number in range(1, self.asked + 1)]
        return "".join(sorted({mark for run in runs if run for mark in run["marks"]}))

    def cells(self):
        """Each figure and ratio, for programs."""
        found = []
        for scenario in self.facts["scenarios"]:
            for server in self.servers(scenario):
                for column in COLUMNS[scenario]:
                    value = self.figure(scenario, server, column.figure)
                    ratio = self.ratio(scenario, server, column.figure)
                    found.append(
                        {
                            "scenario": scenario,
                            "server": server,
                            "figure": column.figure,
                            "decides": column.ratio,
                            "value": value and vars(value),
                            "over_baseline": ratio and vars(ratio),
                        }
                    )
        return found

    def concludes(self):
        """Whether every cost and its ratio have a majority of quiet rounds."""
        costs = [cell for cell in self.cells() if cell["decides"]]
        spreads = [cell[each] for cell in costs for each in ("value", "over_baseline")]
        return all(each and each["concludes"] for each in spreads)

    def markdown(self):
        """The table as Markdown."""
        lines = ["# Servers side by side", "", *self.preamble()]
        for scenario in self.facts["scenarios"]:
            lines += ["", f"## {TITLES[scenario].format_map(self.facts)}", "", *self.section(scenario)]
            if scenario in REMARKS:
                lines += ["", REMARKS[scenario]]
        used = {mark for scenario in self.facts["scenarios"] for server in self.servers(scenario)
                for mark in self.marks(scenario, server)}  # fmt: skip
        if not self.concludes():
            used.add("~")
        lines += [""] + [f"`{mark}` {MARKS[mark]}  " for mark in sorted(used)]
        lines += ["", "## Noise", "", *self.noise()]
        return "\n".join(lines) + "\n"

    def preamble(self):
        """What was run, and whether it concludes anything."""
        facts = self.facts
        rounds = "One round" if self.asked == 1 else f"{self.asked} interleaved rounds"
        lines = [
            f"{rounds} of {facts['seconds']} s; each server fresh for each run and alone on core "
            f"{facts['server_core']}, the generator on core {facts['generator_core']}. TLS 1.3 with full "
            "handshakes, SASL PLAIN, XEP-0198 on both sides but for logins. Medians (least-greatest); ratios "
            f"are over {self.baseline} in the same round.",
            "",
            f"{facts['machine']}; {facts['versions']}.",
            "",
        ]
        if self.concludes():
            quiet = f"Of every cost, most rounds were quiet: at most {facts['noise']} % steal and foreign CPU."
            return [*lines, quiet]
        return [
            *lines,
            "**The machine was too noisy to conclude, or runs are missing**: cells with `~` and empty cells "
            f"say nothing. A run is noisy above {facts['noise']} % steal and foreign CPU.",
        ]

    def section(self, scenario):
        """One scenario's rows."""
        heads = ["server"]
        for column in COLUMNS[scenario]:
            heads += [column.title, f"/ {self.baseline}"] if column.ratio else [column.title]
        lines = [f"| {' | '.join([*heads, 'marks'])} |", "|---" * (len(heads) + 1) + "|"]
        for server in self.servers(scenario):
            row = [server]
            for column in COLUMNS[scenario]:
                value = self.figure(scenario, server, column.figure)
                row.append(value.written(column.digits, column.scale) if value else "")
                if column.ratio:
                    ratio = self.ratio(scenario, server, column.figure)
                    row.append(times(ratio) if ratio and server != self.baseline else "")
            lines.append(f"| {' | '.join([*row, self.marks(scenario, server)])} |")
        return lines

    def noise(self):
        """What took CPU time that was nobody's part, run by run."""
        lines = ["| scenario | server | round | steal, % | foreign, % | |", "|---|---|---|---|---|---|"]
        for run in self.facts["runs"]:
            say = "; ".join(filter(None, ["noisy" if run["noisy"] else "", run["broken"], *run["notes"]]))
            numbers = [f"{run[each]:.1f}" if run[each] is not None else "" for each in ("steal", "foreign")]
            lines.append(f"| {run['scenario']} | {run['server']} | {run['round']} | {' | '.join(numbers)} | {say} |")
        return lines


def self_test():
    """Numbers that were worked out by hand."""

    def run(server, number, value, **more):
        return {
            "scenario": "pairs-1", "server": server, "round": number, "noisy": False, "broken": None,
            "figures": {"server_cpu_us_per_message": value}, "marks": "", "notes": [], "steal": 0.0,
            "foreign": 1.0, **more,
        }  # fmt: skip

    def table(*runs, rounds=3):
        return Table(
            {
                "rounds": rounds, "baseline": "entente", "runs": list(runs), "scenarios": ["pairs-1"],
                "servers": ["entente", "other"], "seconds": 20, "noise": 5, "machine": "m", "versions": "v",
                "server_core": 0, "generator_core": 1,
            }
        )  # fmt: skip

    cost = ("pairs-1", "other", "server_cpu_us_per_message")
    ours = [run("entente", 1, 10.0), run("entente", 2, 20.0), run("entente", 3, 10.0)]
    # Pairs of a round: 4, 4 and 5. The ratio of the medians would be 5.
    whole = table(*ours, run("other", 1, 40.0), run("other", 2, 80.0), run("other", 3, 50.0))
    assert whole.ratio(*cost) == Spread(4.0, 4.0, 5.0, 3, True)
    assert whole.figure(*cost) == Spread(50.0, 40.0, 80.0, 3, True)
    assert "| other | 50.0 (40.0-80.0) | 4.00 (4.00-5.00) |" in whole.markdown()
    # One noisy round is left out; of two, all count and nothing is concluded.
    one = table(*ours, run("other", 1, 40.0), run("other", 2, 80.0), run("other", 3, 90.0, noisy=True))
    assert one.ratio(*cost) == Spread(4.0, 4.0, 4.0, 2, True)
    two = table(*ours, run("other", 1, 40.0), run("other", 2, 80.0, noisy=True), run("other", 3, 90.0, noisy=True))
    assert two.ratio(*cost) == Spread(4.0, 4.0, 9.0, 3, False)
    assert "4.00 (4.00-9.00) ~" in two.markdown() and "too noisy to conclude" in two.markdown()
    # Noise of the baseline is noise of the ratio.
    loud = [run("entente", number, 10.0, noisy=True) for number in (1, 2, 3)]
    quiet = [run("other", number, 40.0) for number in (1, 2, 3)]
    assert table(*loud, *quiet).ratio(*cost) == Spread(4.0, 4.0, 4.0, 3, False)
    assert table(*loud, *quiet).figure(*cost).concludes
    # A run that is missing or broke off is no number, and two of three are enough.
    broken = table(*ours, run("other", 1, 40.0), run("other", 2, 1.0, broken="it ended"), run("other", 3, 50.0))
    assert broken.ratio(*cost) == Spread(4.5, 4.0, 5.0, 2, True)
    assert not table(*ours, run("other", 1, 40.0)).ratio(*cost).concludes
    # Who was not to run is not missed; who failed is.
    assert table(*ours).ratio(*cost) is None and table(*ours).servers("pairs-1") == ["entente"]
    failed = [run("other", number, 1.0, broken="it did not start") for number in (1, 2, 3)]
    assert table(*ours).concludes() and not table(*ours, *failed).concludes()
    # One round is a number without a spread; so many rounds need so many quiet ones.
    assert table(*ours[:1], *quiet[:1], rounds=1).ratio(*cost).written(1) == "4.0"
    assert [spread([(1.0, False)] * 2, asked).concludes for asked in (2, 3, 4, 5)] == [True, True, False, False]
    assert derived({"server_cpu_us_per_login": 400.0})["logins_per_core_second"] == 2500.0
    assert derived({"p99_ms": 1.0, "p50_ms": 1.0, "delivered": 999}) == {"p50_ms": 1.0, "delivered": 999}
    assert derived({"login_p99_ms": 1.0, "logins": 1000})["login_p99_ms"] == 1.0
    marked = table(run("entente", 1, 1.0, marks="!"), run("entente", 2, 1.0, marks="<!"))
    assert marked.marks("pairs-1", "entente") == "!<"


def main():
    if sys.argv[1:] == ["--self-test"]:
        self_test()
        return 0
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    print(Table(json.loads(Path(sys.argv[1]).read_text())).markdown(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
