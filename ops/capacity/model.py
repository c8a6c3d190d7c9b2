"""From what a provider has to what a deployment needs: every line with its formula and its constants.

In: volumes, sizes of nodes, the measured constants of costs.json. Out: lines, and what is full first. A
constant that was not measured is an assumption and is named as one wherever it is used.
"""

import math
from dataclasses import dataclass, field, fields

DAY = 86_400
MIB, GIB = 1 << 20, 1 << 30
SMALL_KIB = 0.5
# Partitions of the wake-ups, however few there are: what `entente init` writes for a cluster.
LEAST_WAKES = 8

# name: (value, unit, why). Limits of the code say where; what nobody measured is marked so.
LIMITS = {
    "shards": (1024, "partitions", "storage.shards is 1 to 1024"),
    "wake_partitions": (1024, "partitions", "storage.wake_partitions is no more than storage.shards"),
    "connections": (50_000, "connections a node", "connection.limits.connections as it comes"),
    "redis_cores": (1, "cores", "a Redis process takes commands on one thread; a Redis Cluster has several"),
    "mesh": (4096, "connections a listener", "CONNECTIONS in services/base/mesh/src/listen.rs"),
    "ahead": (2 * MIB, "bytes a partition", "AHEAD_KIB in services/backends/kafka/src/client.rs: fetched ahead of "
              "the owner, who alone follows a partition of the input"),
    "segment": (GIB, "bytes", "segment.bytes of Kafka: DeleteRecords frees whole segments, and not the newest"),
}  # fmt: skip
ASSUMED = {
    "copy": (1.0, "of the leader's CPU", "what a follower costs a broker; measured is one copy"),
    "shard_cores": (0.5, "cores", "how much of a core one shard may take: its owner is one task, and the rest "
                    "of a message's work at the router is elsewhere"),
    "shards_a_router": (4, "shards", "fewer, and one router has much more than the next"),
    "waiting_overhead": (256, "bytes a message", "of the rows of a waiting message in memory"),
    "journal": (3.0, "times the rows", "a journal stays below a few times the rows (decision 0009)"),
    "partitions_a_broker": (4000, "partitions", "what Kafka's own pages advise"),
    "wakes": (0.3, "wake-ups a message", "a user who is away is woken once for several messages"),
    "rss": (1.5, "times", "resident memory beside what was counted, for fragments and peaks"),
}  # fmt: skip


class Refused(Exception):
    """Input that makes no plan; the text says which."""


@dataclass(frozen=True)
class Volumes:
    """What a provider has, and what nodes are to be bought."""

    messages_per_day: float
    sessions: float
    accounts: float = 0.0
    peak: float = 3.0
    offline: float = 0.3
    offline_days: float = 0.5
    message_bytes: float = 512.0
    devices: float = 1.0
    logins: float = 4.0
    replicas: int = 3
    use: float = 0.6
    node_cores: int = 8
    node_memory: float = 32 * GIB
    broker_cores: int = 8
    broker_disk: float = 2048 * GIB
    network: float = 10e9 / 8

    def check(self):
        for each in fields(self):
            value = getattr(self, each.name)
            if not math.isfinite(value) or value < 0:
                raise Refused(f"{each.name} is {value}: it must be a number from 0 on")
        positive = ("messages_per_day", "sessions", "message_bytes", "node_cores", "node_memory", "broker_cores",
                    "broker_disk", "network", "use")  # fmt: skip
        for name in positive:
            if getattr(self, name) == 0:
                raise Refused(f"{name} must be more than 0")
        if self.offline > 1 or self.use > 1:
            raise Refused("offline and use are shares: 0 to 1")
        for name, least in (("peak", 1), ("devices", 1), ("replicas", 1)):
            if getattr(self, name) < least:
                raise Refused(f"{name} must be at least {least}")


@dataclass
class Line:
    """One figure of a plan."""

    name: str
    value: float
    unit: str
    formula: str
    constants: list = field(default_factory=list)
    assumptions: list = field(default_factory=list)


class Plan:
    """All lines, and what is full first."""

    def __init__(self, volumes, costs):
        volumes.check()
        self.volumes, self.costs = volumes, costs
        self.lines, self.used, self.assumed = {}, [], []
        self.rates()
        self.cpu()
        self.shards()
        self.nodes()
        self.memory()
        self.brokers()
        self.walls = sorted(self.limits(), key=lambda each: each["factor"])

    # --- What lines are made of.

    def cost(self, name):
        """A measured constant."""
        if name not in self.costs:
            raise Refused(f"costs.json has no constant {name}: measure it anew")
        self.used.append(name)
        return self.costs[name]["value"]

    def limit(self, name):
        self.used.append(f"limit {name}")
        return LIMITS[name][0]

    def guess(self, name):
        self.assumed.append(name)
        return ASSUMED[name][0]

    def line(self, name, value, unit, formula):
        """Adds a figure with whatever constants were asked for since the last one."""
        self.lines[name] = Line(name, value, unit, formula, sorted(set(self.used)), sorted(set(self.assumed)))
        self.used, self.assumed = [], []
        return value

    def __getitem__(self, name):
        return self.lines[name].value

    def message(self, role):
        """Core seconds of a message of the given size."""
        more = max(0.0, self.cost(f"cpu.kib.{role}")) * (self.volumes.message_bytes / 1024 - SMALL_KIB)
        return max(0.0, self.cost(f"cpu.message.{role}") + more) / 1e6

    # --- The lines, in order.

    def rates(self):
        of = self.volumes
        self.line("messages", of.messages_per_day * of.peak / DAY, "messages/s", "messages_per_day × peak / 86400")
        # A message goes to each device of the recipient.
        self.line("deliveries", self["messages"] * of.devices, "deliveries/s", "messages × devices")
        self.line("logins", of.sessions * of.logins * of.peak / DAY, "logins/s", "sessions × logins × peak / 86400")
        wakes = self["messages"] * of.offline * self.guess("wakes")
        self.line("wakes", wakes, "wake-ups/s", "messages × offline × wakes")

    def cpu(self):
        of = self.volumes
        for role in ("connection", "router"):
            cores = self["deliveries"] * self.message(role) + self["logins"] * self.cost(f"cpu.login.{role}") / 1e6
            cores += of.sessions * self.cost(f"cpu.idle.{role}") / 1e6
            cores += self["wakes"] * self.cost(f"cpu.wake.{role}") / 1e6
            formula = "deliveries × (message + kib × (KiB − 0.5)) + logins × login + sessions × idle + wakes × wake"
            self.line(f"cores.{role}", cores, "cores", formula)
        cores = self["logins"] * self.cost("cpu.login.identity") / 1e6
        self.line("cores.identity", cores, "cores", "logins × login")
        self.line("cores.push", self["wakes"] * self.cost("cpu.wake.push") / 1e6, "cores", "wakes × wake")
        cores = self["deliveries"] * self.message("broker") + self["logins"] * self.cost("cpu.login.broker") / 1e6
        cores += self["wakes"] * self.cost("cpu.wake.broker") / 1e6
        cores *= 1 + (of.replicas - 1) * self.guess("copy")
        formula = "(deliveries × message + logins × login + wakes × wake) × (1 + (replicas − 1) × copy)"
        self.line("cores.broker", cores, "cores", formula)
        commands = self["deliveries"] * self.cost("redis.message") + self["logins"] * self.cost("redis.login")
        self.line("redis", commands, "commands/s", "deliveries × message + logins × login")
        cores = self["deliveries"] * self.cost("cpu.message.redis") + self["logins"] * self.cost("cpu.login.redis")
        self.line("cores.redis", cores / 1e6, "cores", "deliveries × message + logins × login")

    def shards(self):
        of = self.volumes
        routers = math.ceil(self["cores.router"] / (of.node_cores * of.use))
        by_cpu = self["cores.router"] / self.guess("shard_cores")
        by_share = (max(2, routers) + 2) * self.guess("shards_a_router")
        wanted = max(by_cpu, by_share)
        # The next power of two: the number is fixed for good, and twice as much comes sooner than one thinks.
        value = 2 ** math.ceil(math.log2(max(wanted, 8)))
        formula = "power of two from max(cores.router / shard_cores, nodes.router × shards_a_router)"
        self.line("partitions", value, "partitions a topic", formula)
        by_cpu = self["cores.push"] / self.guess("shard_cores")
        value = 2 ** math.ceil(math.log2(max(by_cpu, LEAST_WAKES)))
        formula = f"power of two from max({LEAST_WAKES}, cores.push / shard_cores)"
        self.line("partitions.wake", value, "partitions of the wake-ups", formula)

    def nodes(self):
        of = self.volumes
        room = of.node_cores * of.use
        for role in ("connection", "router", "identity", "push"):
            needed = self[f"cores.{role}"] / (room - self.cost(f"cpu.rest.{role}"))
            formula = f"max(2, cores.{role} / (node_cores × use − rest)) + 2"
            if role == "connection":
                by_sessions = of.sessions / (self.limit("connections") * of.use)
                needed = max(needed, by_sessions)
                formula = "max(2, cores.connection / (node_cores × use − rest), sessions / (connections × use)) + 2"
            # One may be lost while another is being replaced.
            self.line(f"nodes.{role}", max(2, math.ceil(needed)) + 2, "nodes", formula)

    def memory(self):
        of = self.volumes
        value = of.sessions * self.cost("memory.session.connection") * self.guess("rss") / (self["nodes.connection"] - 2)
        formula = "sessions × memory.session × rss / (nodes.connection − 2)"
        self.line("memory.connection", value, "bytes a node", formula)
        waiting = of.messages_per_day * of.offline * of.offline_days
        self.line("waiting", waiting, "messages", "messages_per_day × offline × offline_days")
        rows = waiting * (of.message_bytes + self.guess("waiting_overhead"))
        self.line("rows", rows, "bytes", "waiting × (message_bytes + waiting_overhead)")
        accounts = max(of.accounts, of.sessions)
        value = accounts * self.cost("memory.account.router") + of.sessions * self.cost("memory.session.router")
        value = (value + self["rows"]) * self.guess("rss") / (self["nodes.router"] - 2)
        value += self["partitions"] * self.limit("ahead") / (self["nodes.router"] - 2)
        formula = "((accounts × account + sessions × session + rows) × rss + partitions × ahead) / (nodes.router − 2)"
        self.line("memory.router", value, "bytes a node", formula)

    def brokers(self):
        of = self.volumes
        kib = of.message_bytes / 1024 - SMALL_KIB
        for topic in ("input", "state"):
            size = self.cost(f"log.message.{topic}") + max(0.0, self.cost(f"log.kib.{topic}")) * kib
            waits = of.offline * self.cost(f"log.waiting.{topic}")
            online = (1 - of.offline) * size
            login = self["logins"] * self.cost(f"log.login.{topic}")
            value = self["deliveries"] * max(0.0, online + waits) + login
            formula = "deliveries × ((1 − offline) × (message + kib × (KiB − 0.5)) + offline × waiting) + logins × login"
            self.line(f"log.{topic}", value, "bytes/s, one copy", formula)
        written = self["log.input"] + self["log.state"]
        self.line("disk.written", written * of.replicas, "bytes/s", "(log.input + log.state) × replicas")
        disk = (2 * self["partitions"] * self.limit("segment") + self["rows"] * self.guess("journal")) * of.replicas
        self.line("disk", disk, "bytes", "(2 × partitions × segment + rows × journal) × replicas")
        taken = self["deliveries"] * self.cost("network.message.broker.taken") + kib * self["deliveries"] * 1024
        sent = self["deliveries"] * self.cost("network.message.broker.sent") + kib * self["deliveries"] * 1024
        into = max(0.0, taken) * of.replicas
        out = max(0.0, sent) + max(0.0, taken) * (of.replicas - 1)
        formula = "deliveries × broker.taken × replicas; deliveries × (broker.sent + broker.taken × (replicas − 1))"
        self.line("network", max(into, out), "bytes/s, the busier way", formula)
        needed = {
            "CPU": self["cores.broker"] / (of.broker_cores * of.use),
            "disk": self["disk"] / (of.broker_disk * of.use),
            "network": self["network"] / (of.network * of.use),
            "partitions": 2 * (self["partitions"] + self["partitions.wake"]) * of.replicas / self.guess("partitions_a_broker"),
        }
        decides = max(needed, key=needed.get)
        value = max(of.replicas, math.ceil(needed[decides])) + 1
        formula = f"max(replicas, most of CPU, disk, network, partitions: {decides}) + 1"
        self.line("nodes.broker", value, "nodes", formula)

    def limits(self):
        """What more nodes do not help, and how many times the volumes fill it."""
        of = self.volumes

        def wall(name, used, room, why):
            return {"what": name, "used": used, "room": room, "factor": room / used if used else math.inf, "why": why}

        for role, name, limit in (("router", "partitions", "shards"), ("push", "partitions of the wake-ups", "wake_partitions")):
            most, each = LIMITS[limit], ASSUMED["shard_cores"][0]
            yield wall(name, self[f"cores.{role}"] / each, most[0], f"{most[2]}; one has {each} cores")
        shards = LIMITS["shards"]
        redis = LIMITS["redis_cores"]
        yield wall("one Redis", self["cores.redis"], redis[0] * of.use, redis[2])
        mesh = LIMITS["mesh"]
        nodes = sum(self[f"nodes.{role}"] for role in ("connection", "router", "identity", "push"))
        yield wall("connections of a router's mesh listener", nodes, mesh[0], mesh[2])
        # All rows are in memory, and there are no more routers than shards to spread them over.
        rows = self["rows"] * ASSUMED["rss"][0]
        room = shards[0] * of.node_memory * of.use
        yield wall("memory of as many routers as there may be shards", rows, room, "the rows of all owned shards are in memory")

    def full(self):
        """How many times the peak each role bears with one node lost, as planned."""
        of = self.volumes
        found = {}
        for role in ("connection", "router", "identity", "broker"):
            cores = of.broker_cores if role == "broker" else of.node_cores
            needed = self[f"cores.{role}"]
            found[role] = (self[f"nodes.{role}"] - 1) * cores / needed if needed else math.inf
        return dict(sorted(found.items(), key=lambda each: each[1]))
